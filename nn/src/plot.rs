//! Learning curves as SVG.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::train::Epoch;

const SIZE: (u32, u32) = (720, 400);

/// Losses on the left axis and accuracy on the right one, over the number of the epoch.
/// `path` names it in errors.
pub(crate) fn learning_curve(epochs: &[Epoch], path: &Path) -> Result<String> {
    let mut svg = String::new();
    draw(epochs, &mut svg).map_err(|error| {
        Error::format(&path.display().to_string(), "learning curve", "a drawing", error)
    })?;
    Ok(svg)
}

fn draw(epochs: &[Epoch], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let numbers = 1.0..(epochs.len() as f64).max(2.0);
    let losses = range(epochs.iter().flat_map(|epoch| [epoch.train_loss, epoch.valid_loss]));
    let accuracies = range(epochs.iter().map(|epoch| epoch.valid_accuracy));
    // No share is beyond these.
    let accuracies = accuracies.start.max(0.0)..accuracies.end.min(1.0);
    let mut chart = ChartBuilder::on(&root)
        .caption("Learning curve", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .right_y_label_area_size(60)
        .build_cartesian_2d(numbers.clone(), losses)?
        .set_secondary_coord(numbers, accuracies);
    // Between two epochs there is none.
    let whole =
        |number: &f64| if number.fract() == 0.0 { format!("{number:.0}") } else { String::new() };
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&whole)
        .y_desc("loss")
        .max_light_lines(0)
        .draw()?;
    chart.configure_secondary_axes().y_desc("accuracy").draw()?;
    let line = |value: fn(&Epoch) -> f64| {
        epochs.iter().enumerate().map(move |(i, epoch)| (i as f64 + 1.0, value(epoch)))
    };
    let key = |color: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color);
    chart
        .draw_series(LineSeries::new(line(|epoch| epoch.train_loss), BLUE))?
        .label("training loss")
        .legend(key(BLUE));
    chart
        .draw_series(LineSeries::new(line(|epoch| epoch.valid_loss), RED))?
        .label("validation loss")
        .legend(key(RED));
    chart
        .draw_secondary_series(LineSeries::new(line(|epoch| epoch.valid_accuracy), BLACK))?
        .label("validation accuracy")
        .legend(key(BLACK));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        // Curves go on behind it.
        .background_style(WHITE.mix(0.6))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    drop(chart);
    Ok(())
}

/// From the smallest to the largest finite value, and never empty.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match high - low {
        width if width > 0.0 => low - 0.02 * width..high + 0.02 * width,
        _ if low.is_finite() => low - 0.5..low + 0.5,
        _ => 0.0..1.0,
    }
}
