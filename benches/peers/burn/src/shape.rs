//! What an id says about a network.

/// Values of all activations and weights together, and layers: many times more than any case has, and little
/// enough for the copies in `f64` that the check makes.
const MOST_VALUES: usize = 1 << 25;
const MOST_LAYERS: usize = 64;

/// A network of rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    /// Features, hidden units, classes.
    pub widths: Vec<usize>,
}

impl Shape {
    /// Of a case; nothing where it is none of a network of rows in `f32`. Where ours splits values into
    /// halves, burn multiplies `f32`, which is as accurate.
    ///
    /// # Errors
    /// If it is one of a network that cannot be built.
    pub fn of(case: &str) -> Result<Option<Self>, String> {
        let starts = ["training_step/f32/", "training_step/f32-as-bf16x6/"];
        let Some(shape) = starts.iter().find_map(|start| case.strip_prefix(start)) else {
            return Ok(None);
        };
        let read = || {
            let (rows, widths) = shape.split_once('x')?;
            let widths: Vec<usize> =
                widths.split('-').map(|width| width.parse().ok()).collect::<Option<_>>()?;
            let rows = rows.parse().ok()?;
            let whole = rows > 0 && widths.len() > 1 && !widths.contains(&0);
            whole.then_some(Self { rows, widths })
        };
        let wrong =
            || format!("expected ROWSxFEATURES-...-CLASSES, each at least 1, got {shape:?}");
        let read = read().ok_or_else(wrong)?;
        let small = read.widths.len() <= MOST_LAYERS + 1;
        if !small || read.values().is_none_or(|values| values > MOST_VALUES) {
            return Err(format!(
                "expected at most {MOST_LAYERS} layers and {MOST_VALUES} values, got {shape:?}"
            ));
        }
        Ok(Some(read))
    }

    /// Activations and weights; nothing where they are too many to be counted.
    fn values(&self) -> Option<usize> {
        let activations = self.widths.iter().map(|&width| self.rows.checked_mul(width));
        let weights = self.widths.windows(2).map(|ends| ends[0].checked_mul(ends[1]));
        activations.chain(weights).try_fold(0_usize, |sum, values| sum.checked_add(values?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_rows_in_f32_are_read() {
        let shape = || Ok(Some(Shape { rows: 128, widths: vec![784, 512, 10] }));
        assert_eq!(Shape::of("training_step/f32/128x784-512-10"), shape());
        assert_eq!(Shape::of("training_step/f32-as-bf16x6/128x784-512-10"), shape());
    }

    #[test]
    fn other_cases_are_not_for_burn() {
        for case in ["conv_step/f32/64x1x28x28-16-32-10", "training_step/f64/8x8-8", "gemm", ""] {
            assert_eq!(Shape::of(case), Ok(None), "{case}");
        }
        // Products rounded to halves are less accurate: nobody who multiplies f32 stands beside them.
        assert_eq!(Shape::of("training_step/f32-as-bf16/8x8-8"), Ok(None));
    }

    #[test]
    fn impossible_networks_are_refused_with_their_shape() {
        let all = ["", "8", "8x8", "x8-8", "0x8-8", "8x0-8", "8x8-", "8x8-8/burn", "-8x8-8"];
        for shape in all.into_iter().chain(["99999999999999999999x8-8"]) {
            let error = Shape::of(&format!("training_step/f32/{shape}")).expect_err(shape);
            assert!(
                error.contains("at least 1") && error.contains(&format!("{shape:?}")),
                "{error}"
            );
        }
        let deep = "8".to_owned() + &"-8".repeat(MOST_LAYERS + 1);
        let large = ["99999999999x784-10", "1x99999999-99999999", "8388608x4-1", "1x4-9000-9000"];
        for shape in large.map(str::to_owned).into_iter().chain([format!("8x{deep}")]) {
            let error = Shape::of(&format!("training_step/f32/{shape}")).expect_err(&shape);
            assert!(error.contains("at most") && error.contains(&shape), "{error}");
        }
        assert!(Shape::of(&format!("training_step/f32/8x{}", &deep[2..])).is_ok());
    }
}
