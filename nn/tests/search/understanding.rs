//! What a finished study tells: importance and the report.

use std::time::Duration;

use crate::common::{Scratch, parabola, quickest, run};
use tilewise_nn::Error;
use tilewise_nn::search::{Importance, RandomSearch, Study, Tpe, Trial};

fn importance(study: &Study) -> Vec<Importance> {
    study.look(|history| history.importance()).unwrap()
}

fn names(all: &[Importance]) -> Vec<&str> {
    all.iter().map(|importance| importance.name.as_str()).collect()
}

#[test]
fn a1_importance_ranks_a_synthetic_problem() {
    for seed in 0..10 {
        let study = Study::maximize("synthetic").seed(seed).sampler(RandomSearch).open().unwrap();
        run(&study, 600, 1, |trial| {
            let alpha = trial.log("alpha", 1e-4, 1.0)?.log10() + 2.3;
            let beta = (1.0 - trial.one_minus_log("beta", 0.9, 0.999)?).log10() + 2.0;
            let kind = *trial.choice("kind", &["a", "b", "c"])?;
            trial.int("useless", 1, 9)?;
            Ok(-(4.0 * alpha * alpha + 3.0 * beta * beta + 0.8 * f64::from(u8::from(kind != "b"))))
        });
        let all = importance(&study);
        assert_eq!(names(&all), ["alpha", "beta", "kind", "useless"], "seed {seed}: {all:?}");
        assert!((all.iter().map(|i| i.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(all[0].share > 0.5 && all[3].share < 0.05, "seed {seed}: {all:?}");
    }
}

#[test]
fn a1_importance_takes_branches_and_little_data() {
    let study = Study::minimize("branches").seed(1).open().unwrap();
    let objective = |trial: &mut Trial<'_>| {
        trial.uniform("fixed", 2.0, 2.0)?;
        Ok(match *trial.choice("optimiser", &["sgd", "momentum"])? {
            "sgd" => 1.0,
            _ => (trial.one_minus_log("beta", 0.9, 0.999)? - 0.99).abs(),
        })
    };
    run(&study, 7, 1, objective);
    assert_eq!(importance(&study), []);
    run(&study, 400, 1, objective);
    let all = importance(&study);
    assert_eq!(names(&all)[2], "fixed");
    assert!(all[2].share < 1e-12, "{all:?}");
    assert!(all[1].share > 0.05, "{all:?}");
}

/// A name that would be markup, or end an attribute, or break the document.
const HOSTILE: &str = "</title><script>alert(\"1\")</script>'&\u{0}\u{8}<img src=x onerror=\"y\">";

/// Reads the document tag by tag; gives the tags and the text between them.
fn walk(html: &str) -> (Vec<&str>, String) {
    let (mut open, mut tags, mut text) = (Vec::new(), Vec::new(), String::new());
    for part in html.split('<').skip(1) {
        let (tag, after) = part.split_once('>').expect("every tag ends");
        text.push_str(after);
        let name = tag.split([' ', '/']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "tags are nested");
        } else {
            tags.push(tag);
            let alone = ["!DOCTYPE", "meta"].contains(&name) || tag.ends_with('/');
            if !alone {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "all tags are closed");
    (tags, text)
}

#[test]
fn a16_the_report_is_complete_in_itself_and_escapes_everything() {
    let scratch = Scratch::new("report");
    let path = scratch.file("dir/report.html");
    let study = Study::minimize(HOSTILE).seed(5).open().unwrap();
    run(&study, 60, 1, |trial| {
        let loss = parabola(trial)?;
        trial.uniform(HOSTILE, 0.0, 1.0)?;
        trial.choice("kind", &[HOSTILE, "plain"])?;
        for step in 0..4 {
            trial.report(step, if step == 2 { f64::NAN } else { loss + step as f64 })?;
        }
        match trial.number() {
            7 => Err(Error::failed(HOSTILE)),
            8 => Ok(f64::INFINITY),
            _ => Ok(loss),
        }
    });
    study.save_html(&path).unwrap();
    let html = std::fs::read_to_string(&path).unwrap();
    let (tags, text) = walk(&html);
    for tag in &tags {
        let name = tag.split([' ', '/']).next().unwrap();
        let known = "!DOCTYPE html head meta title style body h1 h2 p div span svg rect circle \
                     polyline line g text table tr td th";
        assert!(known.split(' ').any(|known| known == name), "<{tag}>");
        for forbidden in ["src=", "href", "onerror", "url(", "http"] {
            // Quoted text of ours may hold the words, with their quotes escaped.
            let outside: String = tag.split('"').step_by(2).collect();
            assert!(!outside.contains(forbidden), "<{tag}>");
        }
    }
    assert!(!text.contains("@import") && !text.contains("url(") && !html.contains('\u{0}'));
    assert!(text.contains("&lt;script&gt;alert(&quot;1&quot;)") && text.contains("1 failed"));
    let count = |name: &str| tags.iter().filter(|tag| tag.starts_with(name)).count();
    // History, curves, three slices, contour, parallel coordinates.
    assert_eq!(count("svg"), 7);
    assert_eq!(count("table"), 3, "importance, the best, failures");
    // 58 finite values in the history and each slice, and as many in the contour.
    assert_eq!(count("circle"), 5 * 58);
    assert!(!html.contains("NaN,") && !html.contains("\"NaN") && !html.contains(",NaN"));
}

#[test]
fn a16_reports_of_odd_studies_are_documents_too() {
    let scratch = Scratch::new("odd");
    for (name, trials) in [("empty", 0), ("one", 1), ("two", 2)] {
        let study = Study::minimize(name).open().unwrap();
        run(&study, trials, 1, |_| Ok(3.0));
        let path = scratch.file(name);
        study.save_html(&path).unwrap();
        walk(&std::fs::read_to_string(&path).unwrap());
    }
    let failed = Study::minimize("failed").open().unwrap();
    run(&failed, 3, 1, |_| Err(Error::failed("no")));
    failed.save_html(scratch.file("failed")).unwrap();
    assert!(std::fs::read_to_string(scratch.file("failed")).unwrap().contains("3 failed"));
}

#[test]
fn a16_ten_thousand_trials_are_reported_in_seconds() {
    let scratch = Scratch::new("large");
    let study =
        Study::minimize("large").sampler(Tpe::default().startup(usize::MAX)).open().unwrap();
    run(&study, 10_000, 1, |trial| {
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            trial.uniform(name, 0.0, 1.0)?;
        }
        let loss = parabola(trial)?;
        trial.report(1, loss)?;
        Ok(loss)
    });
    let path = scratch.file("large.html");
    let time = quickest(3, || study.save_html(&path).unwrap());
    assert!(time < Duration::from_secs(20), "{time:?}");
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 8 << 20, "{size}");
}

/// A study with all that a report can hold.
fn full(name: &str) -> Study {
    let study = Study::minimize(name).seed(5).open().unwrap();
    run(&study, 80, 1, |trial| {
        let loss = parabola(trial)?;
        let beta = trial.one_minus_log("beta", 0.9, 0.999)?;
        let units = trial.log_int("hidden_units", 16, 4096)?;
        let kind = *trial.choice("kind", &["relu", "leaky relu", "sigmoid"])?;
        for step in 1..=9 {
            trial.report(step, loss + 1.0 / step as f64)?;
        }
        match trial.number() % 20 {
            7 => Err(Error::failed("the loss left the finite numbers")),
            8 => Ok(1e30),
            _ => Ok(loss + (beta - 0.97).abs() + 1e-4 * units as f64 + kind.len() as f64 * 1e-2),
        }
    });
    study
}

#[test]
#[ignore = "needs Chromium and a Python with playwright: its path in TILEWISE_BROWSER_PYTHON"]
fn a16_a_browser_shows_reports_light_and_dark_narrow_and_wide() {
    let python = std::env::var("TILEWISE_BROWSER_PYTHON").expect("TILEWISE_BROWSER_PYTHON is set");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/search/with_browser.py");
    let scratch = Scratch::new("browser");
    let path = scratch.file("report.html");
    full("all that a report can hold").save_html(&path).unwrap();
    let look = || {
        let pictures = std::env::var_os("TILEWISE_BROWSER_PICTURES");
        let output =
            std::process::Command::new(&python).arg(script).arg(&path).args(pictures).output();
        let output = output.unwrap();
        println!("{}", String::from_utf8_lossy(&output.stdout));
        output.status.success()
    };
    assert!(look());
    // It notices what is wrong.
    let html = std::fs::read_to_string(&path).unwrap();
    for (right, wrong) in [
        ("max-width:980px", "width:2000px"),
        ("color-scheme:light dark", "color-scheme:light"),
        ("fill:currentColor", "fill:#888"),
        ("font:11px", "font:40px"),
    ] {
        assert!(html.contains(right));
        std::fs::write(&path, html.replace(right, wrong)).unwrap();
        assert!(!look(), "{wrong}");
    }
}

#[test]
fn a14_batch_normalisation_widens_the_range_of_learning_rates() {
    use tilewise_nn::prelude::*;
    use tilewise_nn::search::{Grid, Space};
    let data: Dataset = digits().unwrap();
    let (train, valid) = data.stratified_split(360, 1).unwrap();
    let trained = |normalised: bool| {
        let space = Space::new().log("alpha", 1e-4, 1e3).unwrap();
        let sampler = Grid::new(space, 22).unwrap();
        let study = Study::maximize("robust").sampler(sampler).open().unwrap();
        run(&study, 22, 2, |trial| {
            let layers = Sequential::new().linear(64, 64);
            let layers = if normalised { layers.batch_norm() } else { layers }.relu();
            let layers = layers.linear(64, 64);
            let layers = if normalised { layers.batch_norm() } else { layers }.relu();
            let mut model = layers.linear(64, 10).build(1)?;
            let alpha = trial.log("alpha", 1e-4, 1e3)?;
            let trainer = Trainer::new(Sgd::new(alpha)).epochs(5).batch_size(32);
            trainer.drop_last(true).seed(1).progress(false).fit(&mut model, &train, &valid)?;
            Ok(model.evaluate(&valid)?.accuracy)
        });
        study.look(|history| history.ranked().filter(|t| t.value > Some(0.9)).count()).unwrap()
    };
    let (with, without) = (trained(true), trained(false));
    assert!(with > without && without > 0, "{with} and {without} of 22 learning rates train");
}
