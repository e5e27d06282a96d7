//! Ranges and scales.

use tilewise_nn::search::{Ask, Distribution, Space, Study, Tier, Value, ewa_window};
use tilewise_nn::search::{Caviar, RandomSearch, Sampler};

/// Values of `distribution` in trials of a study.
fn draws(distribution: &Distribution, count: u64) -> Vec<f64> {
    let study = Study::minimize("none").open().unwrap();
    let position = |trial| {
        let ask = Ask::new(1, trial, "x", distribution);
        study.look(|history| RandomSearch.position(&ask, &history).unwrap()).unwrap()
    };
    let kept = (0..count).map(|trial| distribution.at(position(trial)));
    kept.map(|kept| distribution.value(kept).as_f64().unwrap()).collect()
}

fn quantiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

#[test]
fn a4_integers_are_uniform() {
    let mut seen = [0usize; 51];
    draws(&Distribution::int(50, 100), 10_000).iter().for_each(|&x| seen[x as usize - 50] += 1);
    // Five standard deviations of a count of 10⁴/51.
    assert!(seen.iter().all(|&count| count.abs_diff(196) < 70), "{seen:?}");
    let mut seen = [0usize; 3];
    draws(&Distribution::int(2, 4), 10_000).iter().for_each(|&x| seen[x as usize - 2] += 1);
    assert!(seen.iter().all(|&count| (count as f64 / 1e4 - 1.0 / 3.0).abs() < 0.02), "{seen:?}");
}

#[test]
fn a5_a_logarithmic_scale_gives_decades_equal_shares() {
    let decades = |distribution| {
        let mut seen = [0usize; 4];
        let decade = |x: f64| ((x.log10() + 4.0) as usize).min(3);
        draws(&distribution, 10_000).iter().for_each(|&x| seen[decade(x)] += 1);
        seen.map(|count| count as f64 / 1e4)
    };
    let shares = decades(Distribution::log(1e-4, 1.0));
    assert!(shares.iter().all(|share| (share - 0.25).abs() < 0.02), "{shares:?}");
    let linear = decades(Distribution::uniform(1e-4, 1.0));
    assert!((linear[3] - 0.9).abs() < 0.02, "{linear:?}");
}

#[test]
fn a6_one_minus_beta_is_logarithmic() {
    let values = draws(&Distribution::one_minus_log(0.9, 0.999), 40_000);
    let above = values.iter().filter(|&&beta| beta > 0.99).count() as f64 / 4e4;
    assert!((above - 0.5).abs() < 0.01, "{above}");
    let got = quantiles(values);
    for (got, expected) in got.iter().zip([0.968_38, 0.990_0, 0.996_84]) {
        // 1-β moves by 1.2 % where the rank moves by a quarter of a percent, one standard deviation.
        assert!(((1.0 - got) / (1.0 - expected) - 1.0).abs() < 0.05, "{got} for {expected}");
    }
    let exact = Distribution::one_minus_log(0.9, 0.999);
    for (position, expected) in [(0.25, 0.968_377), (0.5, 0.99), (0.75, 0.996_838)] {
        let Value::Float(beta) = exact.value(exact.at(position)) else { panic!("a number") };
        assert!((beta - expected).abs() < 1e-6, "{beta}");
    }
}

#[test]
fn a7_the_window_of_an_average() {
    for (beta, window) in [(0.9, 10.0), (0.9005, 10.050_3), (0.999, 1000.0), (0.9995, 2000.0)] {
        let got: f64 = ewa_window(beta);
        assert!((got - window).abs() < 1e-4 * window, "{got}");
    }
}

#[test]
fn a8_the_median_of_a_decade_of_windows() {
    let range = Distribution::one_minus_log(0.9, 0.99);
    let beta = range.value(range.at(0.5)).as_f64().unwrap();
    assert!((beta - 0.968_377).abs() < 1e-6, "{beta}");
    let median = quantiles(draws(&range, 40_000))[1];
    assert!((median - 0.968_377).abs() < 1e-3, "{median}");
}

#[test]
fn a1_the_course_preset_has_its_tiers() {
    let space = Space::course().unwrap();
    let names = |tier| {
        let all = space.clone().up_to(tier);
        all.dimensions().iter().map(|d| d.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(Tier::First), ["alpha"]);
    assert_eq!(names(Tier::Second), ["alpha", "beta", "hidden_units", "minibatch"]);
    assert_eq!(names(Tier::Third).len(), 6);
    assert_eq!(names(Tier::Rarely)[6..], ["beta1", "beta2", "epsilon"]);
    assert_eq!(space.get("alpha").unwrap().distribution, Distribution::log(1e-4, 1.0));
}

#[test]
fn a1_every_scale_reaches_its_ends_and_knows_its_positions() {
    for range in [
        Distribution::uniform(-2.0, 3.0),
        Distribution::log(1e-7, 1e3),
        Distribution::step(0.0, 1.0, 0.1),
        Distribution::step(0.5, 2.4, 0.5),
        Distribution::one_minus_log(0.0, 0.9999),
        Distribution::int(-3, 3),
        Distribution::Int { low: 16, high: 129, log: false, step: 16 },
        Distribution::log_int(1, 1000),
        Distribution::choice(["a", "b", "c"]),
        Distribution::uniform(4.0, 4.0),
        Distribution::int(4, 4),
    ] {
        range.check("x").unwrap();
        for i in 0..=200 {
            let kept = range.at(f64::from(i) / 200.0);
            assert!(range.contains(kept), "{range:?} does not hold {kept}");
            let again = range.at(range.position(kept));
            assert!(
                (again - kept).abs() <= 1e-12 * kept.abs().max(1e-3),
                "{range:?}: {again} {kept}"
            );
            let back = range.keep(&range.value(kept)).unwrap();
            assert!(
                (back - kept).abs() <= 1e-12 * kept.abs().max(1e-3),
                "{range:?}: {back} {kept}"
            );
        }
        assert_eq!((range.at(-1.0), range.at(f64::NAN)), (range.at(0.0), range.at(0.0)));
        assert_eq!(range.at(2.0), range.at(1.0));
    }
    let steps = Distribution::step(0.5, 2.4, 0.5);
    assert_eq!((steps.cells(), steps.at(0.0), steps.at(1.0)), (Some(4), 0.5, 2.0));
    assert_eq!(Distribution::step(0.0, 1.0, 0.1).cells(), Some(11));
    let log = Distribution::log(1e-4, 1.0);
    assert_eq!((log.at(0.0), log.at(1.0)), (1e-4, 1.0));
    let weights = Distribution::one_minus_log(0.9, 0.999);
    assert_eq!(weights.value(weights.at(0.0)), Value::Float(0.9));
    assert!((weights.value(weights.at(1.0)).as_f64().unwrap() - 0.999).abs() < 1e-15);
}

#[test]
fn a1_errors_name_the_parameter() {
    for (range, part) in [
        (Distribution::uniform(1.0, 0.0), "low <= high"),
        (Distribution::uniform(0.0, f64::NAN), "finite"),
        (Distribution::uniform(-f64::MAX, f64::MAX), "finite"),
        (Distribution::log(0.0, 1.0), "positive"),
        (Distribution::step(0.0, 1.0, 0.0), "positive"),
        (Distribution::step(0.0, 1e300, 1e-300), "2^53"),
        (Distribution::one_minus_log(0.9, 1.0), "high < 1"),
        (Distribution::one_minus_log(-0.1, 0.5), "0 <= low"),
        (Distribution::int(3, 2), "low <= high"),
        (Distribution::int(0, i64::MAX), "2^53"),
        (Distribution::int(i64::MAX, i64::MIN), "low <= high"),
        (Distribution::Int { low: 0, high: 9, log: false, step: 0 }, "at least 1"),
        (Distribution::log_int(0, 5), "at least 1"),
        (Distribution::choice::<bool>([]), "at least one"),
    ] {
        let error = range.check("width").unwrap_err().to_string();
        assert!(error.contains("`width`") && error.contains(part), "{error}");
        // Whatever they are asked for before that is a value.
        for position in [0.0, 0.3, 1.0] {
            let kept = range.at(position);
            let _ = (range.contains(kept), range.value(kept), range.position(kept), range.cells());
        }
    }
    assert!(Distribution::int(0, 1).check("one_minus_x").is_err());
    assert!(Distribution::int(0, 1).check("").is_err());
    let space = Space::new().int("width", 1, 2).unwrap();
    assert!(space.log("width", 0.1, 1.0).unwrap_err().to_string().contains("`width`"));
}

#[test]
fn a1_a_trial_asks_as_it_runs() {
    let study = Study::minimize("branches").seed(4).open().unwrap();
    Caviar::new(40)
        .progress(false)
        .run(&study, |trial| {
            let layers = trial.int("layers", 1, 3)?;
            let mut size = 0;
            for layer in 0..layers {
                size += trial.log_int(&format!("units{layer}"), 8, 512)?;
            }
            let rate = trial.step("dropout", 0.0, 0.5, 0.1)?;
            assert_eq!(rate, trial.step("dropout", 0.0, 0.5, 0.1)?, "asked twice");
            let on = *trial.choice("norm", &[true, false])?;
            Ok(size as f64 + rate + f64::from(u8::from(on)))
        })
        .unwrap();
    for trial in study.trials().unwrap() {
        let layers = trial.number_of("layers").unwrap() as usize;
        let units = trial.params.iter().filter(|p| p.name.starts_with("units")).count();
        assert_eq!((units, trial.failure()), (layers, None));
    }
    let mut trial = study.ask().unwrap();
    let error = trial.uniform("layers", 0.0, 1.0).unwrap_err().to_string();
    assert!(error.contains("`layers`"), "{error}");
    trial.uniform("fresh", 0.0, 1.0).unwrap();
    let error = trial.uniform("fresh", 2.0, 3.0).unwrap_err().to_string();
    assert!(error.contains("`fresh`"), "{error}");
}
