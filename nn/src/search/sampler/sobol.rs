//! Sobol's sequence: points that leave no gaps.

use crate::error::{Error, Result};
use crate::random::Random;
use crate::search::history::History;
use crate::search::sampler::{Ask, Sampler, keyed};
use crate::search::space::Space;

const BITS: usize = 32;
/// Polynomials up to degree 9 give 100 dimensions, the van der Corput sequence one more.
const MAX_DEGREE: u32 = 9;
/// Sets of initial numbers among which one is chosen per dimension.
const CANDIDATES: u64 = 32;
/// Squares are judged by as many points as two to this.
const JUDGED: usize = 8;
/// Earlier dimensions with which a new one is judged.
const NEIGHBOURS: usize = 8;

/// Sobol's quasi-random sequence over a space, shifted digitally by the study's seed.
///
/// Every block of 2^k trials has one point in each interval of length 2^-k, in every dimension.
///
/// The direction numbers are computed here, not taken from a table: dimension after dimension gets the
/// next primitive polynomial over GF(2), found by the length of its shift register's cycle, and the
/// recurrence of Sobol ("On the distribution of points in a cube", 1967) extends the first, free
/// numbers. Of several seeded sets of those, the one is kept whose planes with the dimensions before
/// leave the fewest elementary rectangles empty.
#[derive(Debug, Clone)]
pub struct Sobol {
    space: Space,
    directions: Vec<[u32; BITS]>,
}

impl Sobol {
    /// Dimensions in the order of the space.
    ///
    /// # Errors
    /// If there are more than 101 of them.
    pub fn new(space: Space) -> Result<Self> {
        let polynomials = primitive_polynomials();
        let dimensions = space.dimensions().len();
        if dimensions > polynomials.len() + 1 {
            let most = format!("at most {}", polynomials.len() + 1);
            return Err(Error::argument("dimensions of a Sobol sequence", most, dimensions));
        }
        let mut directions: Vec<[u32; BITS]> = Vec::with_capacity(dimensions);
        for dimension in 0..dimensions {
            let next = match dimension.checked_sub(1).map(|index| polynomials[index]) {
                None => std::array::from_fn(|bit| 1 << (BITS - 1 - bit)),
                Some(polynomial) => choose(polynomial, dimension as u64, &directions),
            };
            directions.push(next);
        }
        Ok(Self { space, directions })
    }

    /// Coordinate `dimension` of point `index`, without a shift.
    ///
    /// # Panics
    /// If the space has no such dimension.
    pub fn coordinate(&self, index: u64, dimension: usize) -> f64 {
        to_unit(digits(&self.directions[dimension], index))
    }
}

impl Sampler for Sobol {
    fn position(&self, ask: &Ask<'_>, _: &History<'_>) -> Result<f64> {
        let Some(dimension) = self.space.index(ask.name) else {
            let what = format!("parameter `{}`: name", ask.name);
            return Err(Error::argument(what, "one of the Sobol sequence's space", ask.name));
        };
        let shift = (keyed(ask.seed, ask.name).bits_at(0) >> 32) as u32;
        Ok(to_unit(digits(&self.directions[dimension], ask.trial) ^ shift))
    }
}

/// The middle of the smallest interval, so that no point lies on an edge.
fn to_unit(digits: u32) -> f64 {
    (f64::from(digits) + 0.5) / (1u64 << BITS) as f64
}

fn digits(directions: &[u32; BITS], index: u64) -> u32 {
    let set = (0..BITS).filter(|bit| index >> bit & 1 == 1);
    set.fold(0, |digits, bit| digits ^ directions[bit])
}

/// Primitive polynomials over GF(2) by degree and size; bit k is the coefficient of x^k.
fn primitive_polynomials() -> Vec<u32> {
    let of_degree = |degree: u32| {
        // The first and last coefficients of a primitive polynomial are 1.
        let odd = move |rest: u32| (1 << degree) | (rest << 1) | 1;
        (0..1u32 << (degree - 1)).map(odd).filter(move |&p| is_primitive(p, degree))
    };
    (1..=MAX_DEGREE).flat_map(of_degree).collect()
}

/// Whether x has the order 2^degree - 1: the shift register goes through all states.
fn is_primitive(polynomial: u32, degree: u32) -> bool {
    let period = (1u32 << degree) - 1;
    let mut state = 1u32;
    for step in 1..=period {
        state <<= 1;
        if state >> degree & 1 == 1 {
            state ^= polynomial;
        }
        if state == 1 {
            return step == period;
        }
    }
    false
}

/// The best direction numbers found for a polynomial beside the dimensions before.
fn choose(polynomial: u32, dimension: u64, before: &[[u32; BITS]]) -> [u32; BITS] {
    let neighbours = &before[before.len().saturating_sub(NEIGHBOURS)..];
    let seeds = Random::new(dimension);
    let candidates = (0..CANDIDATES).map(|candidate| {
        let directions = extend(polynomial, &mut seeds.stream(candidate));
        let empty: usize = neighbours.iter().map(|other| empty_boxes(&directions, other)).sum();
        (empty, candidate, directions)
    });
    let best = candidates.min_by_key(|&(empty, candidate, _)| (empty, candidate));
    best.map_or([0; BITS], |(_, _, directions)| directions)
}

/// Sobol's recurrence from odd initial numbers `m_i < 2^i`; direction i is `m_i / 2^i` in binary.
fn extend(polynomial: u32, random: &mut Random) -> [u32; BITS] {
    let degree = (31 - polynomial.leading_zeros()) as usize;
    let mut directions = [0u32; BITS];
    for bit in 0..BITS {
        directions[bit] = if bit < degree {
            let odd = 2 * random.below(1 << bit) as u32 + 1;
            odd << (BITS - 1 - bit)
        } else {
            let last = directions[bit - degree];
            (1..degree)
                .filter(|&k| polynomial >> (degree - k) & 1 == 1)
                .fold(last ^ (last >> degree), |sum, k| sum ^ directions[bit - k])
        };
    }
    directions
}

/// How many of the rectangles of area 2^-JUDGED that powers of two cut from a square hold none of the
/// first 2^JUDGED points.
fn empty_boxes(a: &[u32; BITS], b: &[u32; BITS]) -> usize {
    let points: Vec<(u32, u32)> =
        (0..1u64 << JUDGED).map(|i| (digits(a, i), digits(b, i))).collect();
    let empty = |columns: usize| {
        let rows = JUDGED - columns;
        let mut seen = vec![false; 1 << JUDGED];
        for &(x, y) in &points {
            let (x, y) = (u64::from(x) >> (BITS - columns), u64::from(y) >> (BITS - rows));
            seen[((x << rows) | y) as usize] = true;
        }
        seen.iter().filter(|seen| !**seen).count()
    };
    (1..JUDGED).map(empty).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_polynomials_are_counted_as_theory_counts_them() {
        let all = primitive_polynomials();
        let of_degree = |degree| all.iter().filter(|&&p| p >> degree == 1).count();
        // φ(2^d - 1)/d.
        let counts: Vec<usize> = (1..=MAX_DEGREE).map(of_degree).collect();
        assert_eq!(counts, [1, 1, 2, 2, 6, 6, 18, 16, 48]);
        assert_eq!(all[..4], [0b11, 0b111, 0b1011, 0b1101]);
    }
}
