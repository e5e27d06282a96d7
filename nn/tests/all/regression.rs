//! Training, measuring and predicting where targets are values.

use tilewise_nn::data::csv::{Csv, ValueNames};
use tilewise_nn::data::{Regression, Supervised};
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;
use tilewise_nn::search::fingerprint;
use tilewise_nn::{Classifier, Regressor};

/// Two values of three features with noise in the second.
fn waves(rows: usize) -> Regression {
    let mut random = Random::new(11);
    let (mut features, mut values) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let x = [0; 3].map(|_| random.normal());
        features.extend(x.map(|x| x as f32));
        values.push((x[0].sin() + x[1] * x[2]) as f32);
        values.push((2.0 * x[0] - x[2] + 0.1 * random.normal()) as f32);
    }
    let features = Matrix::new(features, rows, 3).unwrap();
    Regression::new(features, Matrix::new(values, rows, 2).unwrap()).unwrap()
}

fn network() -> Sequential {
    Sequential::new()
        .linear(3, 32)
        .batch_norm()
        .relu()
        .linear(32, 32)
        .tanh()
        .linear(32, 2)
        .build(2)
        .unwrap()
}

fn quiet<L>(trainer: Trainer<Adam, L>) -> Trainer<Adam, L> {
    trainer.epochs(30).batch_size(32).progress(false)
}

#[test]
fn a_network_learns_values_and_says_how_much_it_explains() {
    let (train, test) = waves(600).random_split(100, 3).unwrap();
    assert_eq!((train.len(), test.len()), (500, 100));
    let mut model = network();
    let before = model.evaluate_with(&test, &MeanSquaredError).unwrap();
    let trainer = quiet(Trainer::new(Adam::default().learning_rate(0.01)).loss(MeanSquaredError));
    let mut best = KeepBest::new();
    let history = trainer.fit_with(&mut model, &train, &test, &mut [&mut best]).unwrap();
    let after = model.evaluate_with(&test, &MeanSquaredError).unwrap();
    assert!(before.accuracy < 0.2 && after.accuracy > 0.8, "{before:?} {after:?}");
    let least = history.epochs.iter().map(|e| e.valid_loss).fold(f64::INFINITY, f64::min);
    assert_eq!(after.loss, least, "the best epoch is kept");
    assert!(history.epochs.iter().any(|epoch| epoch.valid_accuracy == after.accuracy));
    // R² by hand.
    let outputs = model.predict_values(test.features()).unwrap();
    let (mut left, mut all) = (0.0, 0.0);
    for column in 0..2 {
        let of =
            |m: &Matrix<f32>| (0..100).map(|row| f64::from(m.row(row)[column])).collect::<Vec<_>>();
        let (y, got) = (of(test.values()), of(&outputs));
        let mean = y.iter().sum::<f64>() / 100.0;
        all += y.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>();
        left += y.iter().zip(got).map(|(y, got)| (y - got) * (y - got)).sum::<f64>();
    }
    assert!((1.0 - left / all - after.accuracy).abs() < 1e-12);
}

#[test]
fn several_minibatches_and_checkpoints_go_with_values_too() {
    let (train, test) = waves(150).random_split(30, 3).unwrap();
    let path = std::env::temp_dir().join(format!("tilewise-regression-{}", std::process::id()));
    let trainer = |epochs| {
        let trainer = Trainer::new(Adam::default()).loss(Huber::new(0.5)).accumulate(3);
        trainer.epochs(epochs).batch_size(16).progress(false)
    };
    let mut whole = network();
    trainer(4).fit(&mut whole, &train, &test).unwrap();
    let mut again = network();
    trainer(2).checkpoints(&path, 5).fit(&mut again, &train, &test).unwrap();
    let mut resumed = network();
    trainer(4).checkpoints(&path, 5).fit(&mut resumed, &train, &test).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(whole.to_safetensors().unwrap(), resumed.to_safetensors().unwrap());
}

#[test]
fn values_that_do_not_fit_are_refused_before_anything_changes() {
    let data = waves(40);
    let mut model = network();
    let before = model.to_safetensors().unwrap();
    let mut refused = |data: &Regression, words: &[&str]| {
        let trainer = quiet(Trainer::new(Adam::default()).loss(MeanSquaredError));
        let error = trainer.fit(&mut model, data, data).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(model.to_safetensors().unwrap(), before);
    };
    let narrow = Matrix::zeros(40, 1).unwrap();
    let narrow = Regression::new(data.features().clone(), narrow).unwrap();
    refused(&narrow, &["training values", "2 columns", "1 columns"]);
    let mut broken = data.values().clone();
    broken.data_mut()[7] = f32::NAN;
    let broken = Regression::new(data.features().clone(), broken).unwrap();
    refused(&broken, &["training values", "row 3"]);
    let empty = data.select(&[]).unwrap();
    refused(&empty, &["training data", "at least one row"]);
    assert!(Regression::new(data.features().clone(), Matrix::zeros(39, 2).unwrap()).is_err());
    assert!(data.random_split(41, 0).is_err());
    let mut model = network();
    let classes = Dataset::new(data.features().clone(), vec![0; 40], 2).unwrap();
    let trainer = quiet(Trainer::new(Adam::default()).loss(MeanSquaredError));
    let error = trainer.fit(&mut model, &classes, &classes).unwrap_err().to_string();
    assert!(error.contains("values, one for each output"), "{error}");
}

#[test]
fn what_a_constant_gives_is_nothing_to_explain() {
    let constant = Matrix::new(vec![2.0; 10], 10, 1).unwrap();
    let data = Regression::new(Matrix::zeros(10, 3).unwrap(), constant).unwrap();
    let model = Sequential::new().linear(3, 1).build(1).unwrap();
    let metrics = model.evaluate_with(&data, &MeanSquaredError).unwrap();
    assert_eq!((metrics.loss, metrics.accuracy), (4.0, 0.0));
}

#[test]
fn a_fingerprint_sees_every_value() {
    let data = waves(5);
    let print = fingerprint(&data);
    let mut other = data.values().clone();
    other.data_mut()[9] += 1.0;
    let other = Regression::new(data.features().clone(), other).unwrap();
    assert_ne!(fingerprint(&other), print);
    assert_eq!(fingerprint(&data.clone()), print);
    let any: &dyn Supervised<f32> = &data;
    assert_eq!(fingerprint(any), print);
}

/// Rents of flats by area and floor, with a column that says nothing and one that is constant.
fn rents(rows: usize) -> String {
    let mut random = Random::new(7);
    let mut text = "floor,rent,area,country\n".to_owned();
    for row in 0..rows {
        let (floor, area) = (row % 6, 75.0 + 20.0 * random.normal());
        let rent = 200.0 + 9.0 * area + 25.0 * floor as f64 + 10.0 * random.normal();
        text += &format!("{floor},{rent},{area},7\n");
    }
    text
}

#[test]
fn b1_a_regressor_is_saved_with_both_standardizers_and_names() {
    let table = Csv::new().from_bytes(rents(400).as_bytes(), "rents.csv").unwrap();
    let rents = table.values_in::<f32>(&["rent"]).unwrap();
    assert_eq!(rents.names.features, ["floor", "area", "country"]);
    let (train, test) = rents.data.random_split(100, 1).unwrap();
    let features = Standardizer::fit(train.features()).unwrap();
    let values = Standardizer::fit(train.values()).unwrap();
    let scaled = |data: &Regression| {
        let x = features.transform(data.features()).unwrap();
        Regression::new(x, values.transform(data.values()).unwrap()).unwrap()
    };
    let (scaled_train, scaled_test) = (scaled(&train), scaled(&test));
    let build = |names: &ValueNames| {
        let plan = Sequential::new().linear(names.features.len(), 16).batch_norm().relu();
        plan.linear(16, names.values.len()).build(1)
    };
    let mut model = build(&rents.names).unwrap();
    let trainer = quiet(Trainer::new(Adam::default().learning_rate(0.01)).loss(MeanSquaredError));
    trainer.fit(&mut model, &scaled_train, &scaled_test).unwrap();
    let regressor = Regressor::new(model, features, values, rents.names).unwrap();

    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("regressor");
    let path = directory.join("rents.safetensors");
    regressor.save(&path).unwrap();
    let loaded: Regressor = Regressor::load_with(&path, build).unwrap();
    assert_eq!(loaded.names(), regressor.names());
    let predicted = loaded.predict(test.features()).unwrap();
    assert_eq!(predicted, regressor.predict(test.features()).unwrap());
    // In the units of the table: the noise has a deviation of 10 where rents have one of 190.
    let pairs = predicted.data().iter().zip(test.values().data());
    let squares: f32 = pairs.map(|(got, rent)| (got - rent) * (got - rent)).sum();
    assert!((squares / 100.0).sqrt() < 20.0, "{}", (squares / 100.0).sqrt());
    let new = Csv::new().from_bytes(b"area,id,country,floor\n100,x,7,2\n", "new.csv").unwrap();
    let rent = loaded.predict_table(&new).unwrap().data()[0];
    assert!((rent - 1150.0).abs() < 50.0, "{rent}");

    // Neither bare weights nor a classifier.
    let mut bare = build(regressor.names()).unwrap();
    let error = bare.load(&path).unwrap_err().to_string();
    assert!(error.contains("(Classifier or Regressor reads this file)"), "{error}");
    bare.save(directory.join("bare.safetensors")).unwrap();
    let error = Regressor::<f32>::load_with(directory.join("bare.safetensors"), build).unwrap_err();
    assert!(error.to_string().contains("metadata: expected names of features and values"));
    let error = Classifier::<f32>::load(&path, bare).unwrap_err();
    assert!(error.to_string().contains("metadata: expected names of features and classes"));
    let error = table.values_in::<f32>(&["rents"]).unwrap_err().to_string();
    assert!(error.contains("expected one of \"floor\", \"rent\""), "{error}");
}

#[test]
fn b1_standardised_values_come_back() {
    let x = Matrix::from_rows(&[[1.0f64, 5.0], [2.0, 5.0], [6.0, 5.0]]).unwrap();
    let standardizer = Standardizer::fit(&x).unwrap();
    let back = standardizer.restore(&standardizer.transform(&x).unwrap()).unwrap();
    for (back, x) in back.data().iter().zip(x.data()) {
        assert!((back - x).abs() < 1e-14, "{back} {x}");
    }
    let error = standardizer.restore(&Matrix::from_rows(&[[1.0]]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "features: expected 2 columns, got 1 columns");
}
