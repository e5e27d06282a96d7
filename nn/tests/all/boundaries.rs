//! What networks with and without hidden layers can tell apart in the plane.

use tilewise_nn::SequentialBuilder;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

/// Points of the plane with their class, as polar coordinates give them.
fn plane(classes: usize, polar: impl Fn(usize, &mut Random) -> [f64; 2]) -> Dataset {
    let mut random = Random::new(9);
    let labels: Vec<usize> = (0..40 * classes).map(|row| row % classes).collect();
    let points = labels.iter().flat_map(|&label| {
        let [radius, angle] = polar(label, &mut random);
        [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
    });
    Dataset::new(Matrix::new(points.collect(), labels.len(), 2).unwrap(), labels, classes).unwrap()
}

fn trained(plan: SequentialBuilder, data: &Dataset) -> (Sequential, f64) {
    let mut model = plan.build(1).unwrap();
    let trainer = Trainer::new(Adam::default().learning_rate(0.05)).epochs(100).batch_size(30);
    trainer.fit(&mut model, data, data).unwrap();
    let accuracy = model.evaluate(data).unwrap().accuracy;
    (model, accuracy)
}

#[test]
fn c7_boundaries_are_straight_without_hidden_layers_and_rings_want_one() {
    for classes in 3..=6 {
        let data = plane(classes, |label, random| {
            [1.0 + 0.1 * random.normal(), label as f64 / classes as f64 * std::f64::consts::TAU]
        });
        let (model, accuracy) = trained(Sequential::new().linear(2, classes), &data);
        assert!(accuracy > 0.98, "{classes}: {accuracy}");
        // Between two places of one class, every place is of that class.
        let mut random = Random::new(2);
        let mut place = || 4.0 * random.uniform() as f32 - 2.0;
        for _ in 0..2000 {
            let ([a, b], [c, d]) = ([place(), place()], [place(), place()]);
            let middle = [(a + c) / 2.0, (b + d) / 2.0];
            let x = Matrix::from_rows(&[[a, b], [c, d], middle]).unwrap();
            let predicted = model.predict(&x).unwrap();
            assert!(
                predicted[0] != predicted[1] || predicted[2] == predicted[0],
                "{classes}: {x:?}"
            );
        }
    }
    let rings = plane(3, |label, random| {
        let radius = 0.2 + 0.3 * label as f64 + 0.03 * random.normal();
        [radius, random.uniform() * std::f64::consts::TAU]
    });
    let (_, linear) = trained(Sequential::new().linear(2, 3), &rings);
    let (_, hidden) = trained(Sequential::new().linear(2, 16).tanh().linear(16, 3), &rings);
    assert!(linear < 0.7 && hidden >= 0.98, "linear {linear}, hidden {hidden}");
}
