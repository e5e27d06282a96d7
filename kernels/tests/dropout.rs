//! Masks of dropout: how random they are, at fixed seeds, and that they never change.

use tilewise_kernels::{Dropout, Exec, Par};

const COUNT: usize = 1 << 20;

/// Whether each of `count` values is dropped.
fn mask(dropout: Dropout, count: usize) -> Vec<bool> {
    let mut y = vec![0.0_f32; count];
    dropout.forward(&vec![1.0; count], &mut y, Exec::serial()).unwrap();
    y.iter().map(|&y| y == 0.0).collect()
}

/// How many standard deviations the chi-square statistic of patterns of eight independent events of
/// probability `rate` is above or below its mean (the cube root is nearly normal: Wilson and Hilferty 1931).
fn deviation(patterns: &[u64; 256], rate: f64) -> f64 {
    let total = patterns.iter().sum::<u64>() as f64;
    let statistic: f64 = patterns
        .iter()
        .enumerate()
        .map(|(pattern, &found)| {
            let dropped = pattern.count_ones() as i32;
            let expected = total * rate.powi(dropped) * (1.0 - rate).powi(8 - dropped);
            (found as f64 - expected).powi(2) / expected
        })
        .sum();
    const FREE: f64 = 255.0;
    let spread = 2.0 / (9.0 * FREE);
    ((statistic / FREE).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// Counts the patterns of eight masks at the same place.
fn patterns<'a>(masks: impl Fn(usize, usize) -> &'a bool, places: usize) -> [u64; 256] {
    let mut found = [0; 256];
    for place in 0..places {
        let pattern = (0..8).fold(0, |bits, mask| bits << 1 | usize::from(*masks(mask, place)));
        found[pattern] += 1;
    }
    found
}

#[test]
fn as_many_are_dropped_as_there_should_be() {
    for rate in [0.01, 0.1, 0.25, 0.5, 0.9] {
        // Blocks of 1024: their counts have the variance of independent draws, their mean its mean.
        let mask = mask(Dropout::new(rate, 11).unwrap(), COUNT);
        let blocks = COUNT as f64 / 1024.0;
        let (mean, variance) = (1024.0 * rate, 1024.0 * rate * (1.0 - rate));
        let counts: Vec<f64> =
            mask.chunks(1024).map(|block| block.iter().filter(|&&d| d).count() as f64).collect();
        let off = counts.iter().sum::<f64>() / blocks - mean;
        assert!(off.abs() < 4.0 * (variance / blocks).sqrt(), "{rate}: mean off by {off}");
        let found = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / blocks;
        assert!((found / variance - 1.0).abs() < 4.0 * (2.0 / blocks).sqrt(), "{rate}: {found}");
    }
}

#[test]
fn neighbours_and_rows_are_independent() {
    for rate in [0.5, 0.25] {
        for seed in 0..3 {
            let mask = mask(Dropout::new(rate, seed).unwrap(), COUNT);
            for apart in [1, 2, 3, 8, 16, 64, 100, 256, 1000, 1024, 4096] {
                let found = patterns(|k, place| &mask[place + k * apart], COUNT - 7 * apart);
                // Patterns overlap, which triples the spread at most.
                let z = deviation(&found, rate);
                assert!(z < 6.0, "{rate}, seed {seed}, {apart} apart: {z} deviations");
            }
        }
    }
}

#[test]
fn streams_seeds_and_positions_far_apart_are_independent() {
    let of = |seed| Dropout::new(0.5, seed).unwrap();
    let eight = |change: fn(Dropout, u64) -> Dropout| {
        (0..8).map(|k| mask(change(of(5), k), COUNT)).collect::<Vec<_>>()
    };
    let all = [
        ("streams", eight(|dropout, k| dropout.stream(k))),
        ("upper halves of positions", eight(|dropout, k| dropout.first(k << 32))),
        ("seeds", (0..8).map(|seed| mask(of(seed), COUNT)).collect()),
    ];
    for (what, masks) in all {
        let z = deviation(&patterns(|k, place| &masks[k][place], COUNT), 0.5);
        assert!(z.abs() < 4.0, "{what}: {z} deviations");
    }
}

#[test]
fn patterns_that_depend_on_each_other_are_found() {
    let mut dependent = mask(Dropout::new(0.5, 1).unwrap(), COUNT);
    // One place in a hundred repeats the one before it.
    (100..COUNT).step_by(100).for_each(|i| dependent[i] = dependent[i - 1]);
    let found = patterns(|k, place| &dependent[place + k], COUNT - 7);
    assert!(deviation(&found, 0.5) > 6.0);
}

#[test]
fn masks_are_pinned() {
    // Networks that were trained with a seed should train the same in later versions.
    let bits = |dropout: Dropout| {
        mask(dropout, 64).iter().fold(0_u64, |bits, &dropped| bits << 1 | u64::from(dropped))
    };
    let dropout = Dropout::new(0.5, 42).unwrap();
    let found = [bits(dropout), bits(dropout.stream(1)), bits(dropout.first((1 << 32) - 32))];
    // As a few lines of Python have them.
    assert_eq!(found, [0xD9CD_C294_7337_C06D, 0xD387_9397_7893_4839, 0x0A84_3FB6_4553_6C53]);
}

#[test]
fn a_part_has_the_mask_of_the_whole() {
    let dropout = Dropout::new(0.3, 9).unwrap().stream(4);
    let whole = mask(dropout, 1000);
    for start in [0, 1, 17, 500, 999] {
        assert_eq!(mask(dropout.first(start as u64), 1000 - start), whole[start..]);
    }
    // Backward: the same values, on many threads too.
    let x: Vec<f64> = (0..300_000).map(f64::from).collect();
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    dropout.forward(&x, &mut y, Exec::serial()).unwrap();
    dropout.backward(&x, &mut dx, Exec::default().par(Par::Threads(3))).unwrap();
    assert_eq!(y, dx);
}

#[test]
fn bad_arguments_are_errors() {
    for rate in [-0.1, 1.1, f64::NAN] {
        let error = Dropout::new(rate, 0).unwrap_err().to_string();
        assert!(error.starts_with("dropout rate: expected a value in [0, 1]"), "{error}");
    }
    let mut y = [7.0_f32; 2];
    let error = Dropout::new(1.0, 0).unwrap().forward(&[1.0], &mut y, Exec::default()).unwrap_err();
    assert!(error.to_string().starts_with("dropout output"), "{error}");
    assert_eq!(y, [7.0; 2]);
}
