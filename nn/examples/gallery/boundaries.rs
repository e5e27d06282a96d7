//! Softmax regression without hidden layers: the boundaries of three to six classes are straight. Rings
//! want a hidden layer.

use std::error::Error;

use tilewise_nn::SequentialBuilder;
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

/// Three rings around one another.
fn rings(seed: u64) -> Result<Dataset> {
    let mut random = Random::new(seed);
    let labels: Vec<usize> = (0..ROWS).map(|row| row % 3).collect();
    let mut values = Vec::with_capacity(2 * ROWS);
    for &label in &labels {
        let angle = random.uniform() * std::f64::consts::TAU;
        let radius = 0.15 + 0.3 * label as f64 + 0.03 * random.normal();
        values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    Dataset::new(Matrix::new(values, ROWS, 2)?, labels, 3)
}

pub(crate) fn draw(options: &Options) -> Result<(String, String), Box<dyn Error>> {
    let mut drawing = Drawing::new(900.0, 490.0);
    let mut found = Vec::new();
    for (panel, classes) in (3..=6).enumerate() {
        let data = points(classes, options.seed)?;
        let plan = Sequential::new().linear(2, classes);
        let place = (format!("{classes} classes"), [panel, 0]);
        let accuracy = panel_of(&mut drawing, place, plan, &data, options.seed)?;
        found.push(format!("C = {classes}: {accuracy:.3}"));
    }
    let data = rings(options.seed)?;
    let hidden = Sequential::new().linear(2, 16).tanh().linear(16, 3);
    for (panel, plan, name) in
        [(0, Sequential::new().linear(2, 3), "linear"), (1, hidden, "hidden layer")]
    {
        let place = (format!("rings, {name}"), [panel, 1]);
        let accuracy = panel_of(&mut drawing, place, plan, &data, options.seed)?;
        found.push(format!("rings, {name}: {accuracy:.3}"));
    }
    Ok((found.join(", "), drawing.finish()))
}

/// Trains a model, draws its regions and the data, and gives its accuracy.
fn panel_of(
    drawing: &mut Drawing,
    (title, [column, row]): (String, [usize; 2]),
    plan: SequentialBuilder,
    data: &Dataset,
    seed: u64,
) -> Result<f64> {
    let mut model = plan.build(seed)?;
    let trainer = Trainer::new(Adam::default().learning_rate(0.05)).epochs(80).progress(false);
    trainer.fit(&mut model, data, data)?;
    let accuracy = model.evaluate(data)?.accuracy;
    let place = [40.0 + 220.0 * column as f64, 25.0 + 240.0 * row as f64, 180.0, 180.0];
    let frame = Frame { place, x: [-1.0, 1.0], y: [-1.0, 1.0] };
    regions(drawing, &frame, &model)?;
    for (row, &label) in data.labels().iter().enumerate() {
        let point = data.features().row(row);
        drawing.dot(frame.at(f64::from(point[0]), f64::from(point[1])), COLORS[label]);
    }
    frame.draw(drawing, &format!("{title}: {:.1} % right", 100.0 * accuracy));
    Ok(accuracy)
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
