//! CSV files, and a classifier from one to another.

use tilewise_nn::Classifier;
use tilewise_nn::data::csv::{Csv, Names, Table};
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

const FLOWERS: &str = "length,\"kind, of\",width\n1.5, rose ,2\n\n\"2.5\",\"tu\"\"lip\",-3e-1\n";

#[test]
fn a_table_becomes_a_data_set_with_names() {
    let table = Csv::new().from_bytes(FLOWERS.as_bytes(), "f.csv").unwrap();
    assert_eq!((table.len(), table.columns().len(), table.cell(1, 1)), (2, 3, Some("tu\"lip")));
    let flowers = table.classes_in::<f64>("kind, of").unwrap();
    assert_eq!(flowers.names.classes, ["rose", "tu\"lip"]);
    assert_eq!(flowers.names.features, ["length", "width"]);
    assert_eq!(flowers.data.features().data(), [1.5, 2.0, 2.5, -0.3]);
    assert_eq!(flowers.data.labels(), [0, 1]);
    // Numbers sort as numbers, other separators and missing headers are asked for.
    let table =
        Csv::new().header(false).separator(b';').from_bytes(b"10;1\n9;2\n10;3\n", "n").unwrap();
    let numbers = table.classes_in::<f32>("0").unwrap();
    assert_eq!(
        (numbers.names.classes, numbers.data.labels()),
        (vec!["9".into(), "10".into()], &[1, 0, 1][..])
    );
    // The mark that some programs put in front is no part of a name.
    let marked = Csv::new().from_bytes("\u{feff}a,b\n1,2\n".as_bytes(), "m").unwrap();
    assert_eq!(marked.columns(), ["a", "b"]);
}

#[test]
fn wrong_tables_are_errors_that_say_where() {
    let error = |text: &[u8], label: &str| {
        let table = Csv::new().from_bytes(text, "t.csv");
        table.and_then(|table| table.classes_in::<f32>(label)).unwrap_err().to_string()
    };
    assert_eq!(
        error(b"a,b,kind\n1,2,x\n3,oops,y\n", "kind"),
        "t.csv: line 3, column \"b\": expected a finite number (drop_missing(&[\"oops\"]) leaves \
         such rows out), got \"oops\""
    );
    assert_eq!(
        error(b"a,kind\n1,x\n,y\n", "kind"),
        "t.csv: line 3, column \"a\": expected a finite number (drop_missing(&[]) leaves such rows \
         out), got nothing"
    );
    for word in ["NaN", "inf", "1e999", "0x10", "1,5"] {
        let text = format!("a,kind\n\"{word}\",x\n");
        assert!(error(text.as_bytes(), "kind").contains("expected a finite number"), "{word}");
    }
    assert_eq!(
        error(b"a,kind\n1,x\n2,\n", "kind"),
        "t.csv: line 3, column \"kind\": expected one of \"x\", got nothing"
    );
    assert_eq!(
        error(b"a,kind\n1,x\n", "sort"),
        "t.csv: column: expected one of \"a\", \"kind\", got \"sort\""
    );
    let other = Csv::new().separator(b';').from_bytes(b"a,kind\n1,x\n", "t.csv").unwrap();
    let message = other.classes_in::<f32>("kind").unwrap_err().to_string();
    assert!(message.contains("(is the separator ','? see Csv::separator)"), "{message}");
    assert_eq!(
        error(b"a;kind\n1;x\n", "kind"),
        "t.csv: column: expected one of \"a;kind\" (is the separator ';'? see Csv::separator), got \"kind\""
    );
    assert_eq!(
        error(b"a,kind\n1,x,2\n", "kind"),
        "t.csv: line 2: expected 2 cells, as before, got 3"
    );
    // Lines are those that an editor shows, whatever ends them.
    for end in ["\n", "\r\n", "\r"] {
        for (mark, gap) in [("", ""), ("\u{feff}", end)] {
            let lines = ["a,kind", "1,x", "\"2\",\"y", "z\"", "oops,x", ""].join(end);
            let text = format!("{mark}{}", lines.replacen("1,x", &format!("{gap}1,x"), 1));
            let line = if gap.is_empty() { 5 } else { 6 };
            let message = error(text.as_bytes(), "kind");
            assert!(message.starts_with(&format!("t.csv: line {line}, column \"a\"")), "{message}");
            let ragged = error(text.replace("oops,x", "oops").as_bytes(), "kind");
            assert!(
                ragged.starts_with(&format!("t.csv: line {line}: expected 2 cells")),
                "{ragged}"
            );
        }
    }
    assert!(error(b"a,kind\n\xff,x\n", "kind").starts_with("t.csv: table: expected lines"));
    assert!(error(b"a,a\n1,x\n", "a").contains("two called \"a\""));
    assert!(error(b"", "kind").contains("column: expected one of "));
    let missing = Csv::new().read("/nowhere/t.csv").unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/t.csv: "), "{missing}");
}

#[test]
fn a_table_as_it_is_found_becomes_numbers() {
    let text = "id,colour,size,kind\n1,red,2.5,a\n2,blue,NA,b\n3,,1,a\n4,blue,4,b\n5,red,3,?\n";
    let table = Csv::new().from_bytes(text.as_bytes(), "t.csv").unwrap();
    let error = table.classes_in::<f32>("kind").unwrap_err().to_string();
    assert_eq!(
        error,
        "t.csv: line 2, column \"colour\": expected a finite number (Table::one_hot takes texts, \
         Table::without leaves the column out), got \"red\""
    );
    let error = table.clone().without(&["key"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "t.csv: column: expected one of \"id\", \"colour\", \"size\", \"kind\", got \"key\""
    );
    assert!(table.clone().one_hot("key").is_err());
    let whole = table.drop_missing(&["NA", "?"]);
    assert_eq!((whole.len(), whole.cell(1, 0)), (2, Some("4")));
    let train = whole.without(&["id"]).unwrap().one_hot("colour").unwrap();
    assert_eq!(train.columns(), ["colour=blue", "colour=red", "size", "kind"]);
    let train = train.classes_in::<f32>("kind").unwrap();
    assert_eq!(train.names.features, ["colour=blue", "colour=red", "size"]);
    assert_eq!(train.data.features().data(), [0.0, 1.0, 2.5, 1.0, 0.0, 4.0]);
    // Tables that come later stay as they are.
    let later = Csv::new().from_bytes(b"size,colour\n7,blue\n", "later.csv").unwrap();
    let features = later.features::<f32>(&train.names.features).unwrap();
    assert_eq!(features.data(), [1.0, 0.0, 7.0]);
    let other = Csv::new().from_bytes(b"size,colour\n7,blue\n8,green\n", "later.csv").unwrap();
    let error = other.features::<f32>(&train.names.features).unwrap_err().to_string();
    assert_eq!(
        error,
        "later.csv: line 3, column \"colour\": expected one of \"blue\", \"red\", got \"green\""
    );
    // Names and texts may hold the sign between them, but not so that one name means two things.
    let signs = Csv::new().from_bytes(b"a=b,c\nx=y,1\nz,2\n", "t.csv").unwrap();
    let made = signs.clone().one_hot("a=b").unwrap();
    assert_eq!(made.columns(), ["a=b=x=y", "a=b=z", "c"]);
    let features = made.features::<f32>(made.columns()).unwrap();
    assert_eq!(features.data(), [1.0, 0.0, 1.0, 0.0, 1.0, 2.0]);
    assert_eq!(signs.features::<f32>(made.columns()).unwrap(), features);
    for text in ["a,a=x\nx,1\n", "a,a=b\nb=c,1\n"] {
        let error = Csv::new().from_bytes(text.as_bytes(), "t.csv").unwrap().one_hot("a");
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("t.csv: column \"a\": expected texts that make new"), "{error}");
    }
    let comma = Csv::new().separator(b';').from_bytes(b"a;kind\n1,5;x\n", "t.csv").unwrap();
    let error = comma.classes_in::<f32>("kind").unwrap_err().to_string();
    assert!(error.contains("a finite number (with a point before its fraction), got \"1,5\""));
}

#[test]
fn gaps_are_filled_in_one_column_and_left_out_in_others() {
    let text = "heating,area,kind\ngas,70,a\n,NA,b\nn/a,55,b\nNA,,a\noil,NA,b\n";
    let table = Csv::new().from_bytes(text.as_bytes(), "t.csv").unwrap();
    let marks = ["NA", "n/a"];
    let filled = table.clone().fill_missing("heating", &marks, "unknown").unwrap();
    let column = |table: &Table, at| -> Vec<String> {
        (0..table.len()).map(|row| table.cell(row, at).unwrap().to_owned()).collect()
    };
    assert_eq!(column(&filled, 0), ["gas", "unknown", "unknown", "unknown", "oil"]);
    assert_eq!(column(&filled, 1), column(&table, 1));
    let whole = filled.drop_missing(&marks).one_hot("heating").unwrap();
    assert_eq!(whole.columns(), ["heating=gas", "heating=unknown", "area", "kind"]);
    assert_eq!(whole.classes_in::<f32>("kind").unwrap().data.features().row(1), [0.0, 1.0, 55.0]);
    let error = table.fill_missing("colour", &[], "").unwrap_err().to_string();
    assert!(error.starts_with("t.csv: column: expected one of \"heating\""), "{error}");
}

/// Points around two centres, as text.
fn points(rows: usize, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut text = "x,side,y\n".to_owned();
    for row in 0..rows {
        let (side, centre) = if row % 3 == 0 { ("left", -200.0) } else { ("right", 200.0) };
        let (x, y) = (centre + 60.0 * random.normal(), 1e-3 * random.normal());
        text += &format!("{x},{side},{y}\n");
    }
    text
}

#[test]
fn b1_a_classifier_is_saved_with_its_standardizer_and_names() {
    let table = Csv::new().from_bytes(points(150, 1).as_bytes(), "train.csv").unwrap();
    let train = table.classes_in::<f32>("side").unwrap();
    let standardizer = Standardizer::fit(train.data.features()).unwrap();
    let scaled =
        train.data.with_features(standardizer.transform(train.data.features()).unwrap()).unwrap();
    let network =
        |seed| Sequential::new().linear(2, 8).batch_norm().relu().linear(8, 2).build(seed).unwrap();
    let mut model = network(1);
    Trainer::new(Adam::default().learning_rate(0.01))
        .epochs(20)
        .fit(&mut model, &scaled, &scaled)
        .unwrap();
    let classifier = Classifier::new(model, standardizer, train.names.clone()).unwrap();

    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("classifier/sides.safetensors");
    classifier.save(&path).unwrap();
    let loaded = Classifier::load(&path, network(2)).unwrap();
    // Raw numbers, columns in another order, one more of them and no labels.
    let new = Csv::new().from_bytes(b"id,y,x\n7,0.0005,-230\n8,-0.001,250\n", "new.csv").unwrap();
    assert_eq!(loaded.predict_table(&new).unwrap(), ["left", "right"]);
    assert_eq!(loaded.names(), &train.names);
    assert_eq!(loaded.standardizer(), classifier.standardizer());
    let test = Csv::new().from_bytes(points(90, 2).as_bytes(), "test.csv").unwrap();
    let test = test.like::<f32>("side", loaded.names()).unwrap();
    let predicted = loaded.predict(test.features()).unwrap();
    let hits = predicted
        .iter()
        .zip(test.labels())
        .filter(|(p, l)| **p == train.names.classes[**l])
        .count();
    assert!(hits >= 88, "{hits} of 90");

    // Weights alone are no classifier, and a classifier's file is not that of bare weights.
    let mut bare = network(3);
    let error = bare.load(&path).unwrap_err().to_string();
    assert!(
        error.contains("tensor standardizer.mean: expected only tensors of the model"),
        "{error}"
    );
    assert!(error.contains("(Classifier or Regressor reads this file)"), "{error}");
    // A second program builds the network of the names in the file.
    let build = |names: &Names| {
        let plan = Sequential::new().linear(names.features.len(), 8).batch_norm().relu();
        plan.linear(8, names.classes.len()).build(4)
    };
    let again = Classifier::load_with(&path, build).unwrap();
    assert_eq!(again.predict_table(&new).unwrap(), ["left", "right"]);
    bare.save(&path).unwrap();
    let error = Classifier::load(&path, network(3)).unwrap_err().to_string();
    assert!(error.contains("metadata: expected names of features and classes"), "{error}");
    let (standardizer, names) = (classifier.standardizer().clone(), classifier.names().clone());
    let wide = Sequential::new().linear(3, 2).build(1).unwrap();
    let error = Classifier::new(wide, standardizer, names).unwrap_err().to_string();
    assert_eq!(error, "features of the standardizer: expected 3, as the model has, got 2");
}

#[test]
fn classes_of_test_data_are_those_of_the_training_data() {
    let train = Csv::new().from_bytes(b"a,kind\n1,x\n2,y\n", "train.csv").unwrap();
    let names = train.classes_in::<f32>("kind").unwrap().names;
    let test = Csv::new().from_bytes(b"kind,a\ny,5\n", "test.csv").unwrap();
    let data = test.like::<f32>("kind", &names).unwrap();
    assert_eq!((data.labels(), data.features().data(), data.classes()), (&[1][..], &[5.0][..], 2));
    let other = Csv::new().from_bytes(b"kind,a\nz,5\n", "test.csv").unwrap();
    let error = other.like::<f32>("kind", &names).unwrap_err().to_string();
    assert_eq!(error, "test.csv: line 2, column \"kind\": expected one of \"x\", \"y\", got \"z\"");
}
