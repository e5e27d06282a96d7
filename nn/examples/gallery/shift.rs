//! Covariate shift: x becomes 3x + 5, and new statistics without labels bring the accuracy back.

use std::error::Error;

use tilewise_nn::prelude::*;

use super::Options;
use super::svg::{COLORS, Drawing, Frame};

pub(crate) fn draw(options: &Options) -> Result<(String, String), Box<dyn Error>> {
    let (train, test) = digits()?.stratified_split(360, 1)?;
    let plan = Sequential::new().linear(64, 64).batch_norm().relu().linear(64, 10);
    let mut model = plan.build(options.seed)?;
    let trainer = Trainer::new(Adam::default()).epochs(options.epochs).progress(false);
    trainer.fit(&mut model, &train, &test)?;
    let mut shifted = test.features().clone();
    shifted.data_mut().iter_mut().for_each(|x| *x = 3.0 * *x + 5.0);
    let shifted = test.with_features(shifted)?;
    let before = model.evaluate(&test)?.accuracy;
    let lost = model.evaluate(&shifted)?.accuracy;
    model.recalibrate(shifted.features())?;
    let after = model.evaluate(&shifted)?.accuracy;

    let mut drawing = Drawing::new(480.0, 260.0);
    let frame = Frame { place: [50.0, 30.0, 400.0, 190.0], x: [0.0, 3.0], y: [0.0, 1.0] };
    frame.draw(&mut drawing, "accuracy on the test images");
    let bars = [("as trained", before), ("x → 3x + 5", lost), ("recalibrated", after)];
    for (index, (name, accuracy)) in bars.into_iter().enumerate() {
        let (x, y) = frame.at(index as f64 + 0.2, accuracy);
        let height = 220.0 - y;
        drawing.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"80\" height=\"{height:.1}\" fill=\"{}\"/>",
            COLORS[index]
        ));
        drawing.text((x, 250.0), &format!("{name}: {accuracy:.3}"));
    }
    let found = format!("{before:.3} as trained, {lost:.3} shifted, {after:.3} recalibrated");
    Ok((found, drawing.finish()))
}
