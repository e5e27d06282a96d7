//! Softmax regression without hidden layers: the boundaries of three to six classes are straight.

use std::error::Error;

use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

use super::Options;
use super::svg::{COLORS, Drawing, Frame};

const CELLS: usize = 45;
const ROWS: usize = 120;

/// Points around the corners of a polygon.
fn points(classes: usize, seed: u64) -> Result<Dataset> {
    let mut random = Random::new(seed);
    let labels: Vec<usize> = (0..ROWS).map(|row| row % classes).collect();
    let mut values = Vec::with_capacity(2 * ROWS);
    for &label in &labels {
        let angle = label as f64 / classes as f64 * std::f64::consts::TAU;
        values.push((0.6 * angle.cos() + 0.13 * random.normal()) as f32);
        values.push((0.6 * angle.sin() + 0.13 * random.normal()) as f32);
    }
    Dataset::new(Matrix::new(values, ROWS, 2)?, labels, classes)
}

pub(crate) fn draw(options: &Options) -> Result<(String, String), Box<dyn Error>> {
    let mut drawing = Drawing::new(900.0, 250.0);
    let mut found = Vec::new();
    for (panel, classes) in (3..=6).enumerate() {
        let data = points(classes, options.seed)?;
        let mut model = Sequential::new().linear(2, classes).build(options.seed)?;
        let trainer = Trainer::new(Adam::default().learning_rate(0.05)).epochs(80).progress(false);
        trainer.fit(&mut model, &data, &data)?;
        let accuracy = model.evaluate(&data)?.accuracy;
        found.push(format!("C = {classes}: {accuracy:.3}"));
        let place = [40.0 + 220.0 * panel as f64, 25.0, 180.0, 180.0];
        let frame = Frame { place, x: [-1.0, 1.0], y: [-1.0, 1.0] };
        regions(&mut drawing, &frame, &model)?;
        for (row, &label) in data.labels().iter().enumerate() {
            let point = data.features().row(row);
            drawing.dot(frame.at(f64::from(point[0]), f64::from(point[1])), COLORS[label]);
        }
        frame.draw(&mut drawing, &format!("{classes} classes, {:.1} % right", 100.0 * accuracy));
    }
    Ok((found.join(", "), drawing.finish()))
}

/// Paints what the model says of every place, neighbours alike in one stroke.
fn regions(drawing: &mut Drawing, frame: &Frame, model: &Sequential) -> Result<()> {
    let centre = |cell: usize| ((cell as f64 + 0.5) / CELLS as f64 * 2.0 - 1.0) as f32;
    let [left, top, width, height] = frame.place;
    let (across, down) = (width / CELLS as f64, height / CELLS as f64);
    for row in 0..CELLS {
        let y = -centre(row);
        let line: Vec<[f32; 2]> = (0..CELLS).map(|column| [centre(column), y]).collect();
        let classes = model.predict(&Matrix::from_rows(&line)?)?;
        let mut begin = 0;
        for end in 1..=CELLS {
            if end == CELLS || classes[end] != classes[begin] {
                let (x, y) = (left + begin as f64 * across, top + row as f64 * down);
                drawing.add(format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{down:.1}\" \
                     fill=\"{}\" fill-opacity=\".3\"/>",
                    (end - begin) as f64 * across,
                    COLORS[classes[begin]]
                ));
                begin = end;
            }
        }
    }
    Ok(())
}
