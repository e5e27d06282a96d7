//! An operation that a user wrote.

use tilewise_kernels::{Error, Float, Result};
use tilewise_nn::autodiff::{
    InputGradients, Op, Saved, Shape, Tape, Tensor, Uses, Var, View, check_gradients,
};
use tilewise_nn::layers::Pass;

use crate::common::normal;

/// The squared distance of each row of a matrix from a point; keeps the differences.
#[derive(Debug, Default)]
struct Distance<T> {
    differences: Vec<T>,
}

impl<T: Float> Op<T> for Distance<T> {
    fn name(&self) -> &'static str {
        "distance"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [rows, cols] = inputs[0].matrix("points")?;
        if inputs[1].dims() != [cols] {
            return Err(Error::shape("centre", format!("[{cols}]"), inputs[1]));
        }
        Shape::new(&[rows])
    }

    fn uses(&self) -> Uses {
        Uses::NOTHING
    }

    fn forward(&mut self, inputs: &[View<'_, T>], y: &mut [T], _: Pass) -> Result<()> {
        let centre = inputs[1].data;
        self.differences.clear();
        for (row, y) in inputs[0].data.chunks_exact(centre.len()).zip(y) {
            let differences = row.iter().zip(centre).map(|(&x, &c)| x - c);
            self.differences.extend(differences.clone());
            *y = differences.map(|d| d * d).sum();
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: InputGradients<'_, '_, T>,
        _: Pass,
    ) -> Result<()> {
        assert!(saved.inputs[0].data.is_empty(), "it asked for no inputs");
        let cols = saved.inputs[1].shape.len();
        let two = T::from_f64(2.0);
        let [points, centre] = dx else { return Ok(()) };
        if let Some(centre) = centre {
            centre.fill(T::ZERO);
        }
        for (i, &difference) in self.differences.iter().enumerate() {
            let slope = two * difference * saved.dy[i / cols];
            if let Some(points) = points {
                points[i] = slope;
            }
            if let Some(centre) = centre {
                centre[i % cols] -= slope;
            }
        }
        Ok(())
    }
}

fn distance<'t, T: Float>(points: Var<'t, T>, centre: Var<'t, T>) -> Var<'t, T> {
    let op = Distance { differences: Vec::new() };
    points.tape().apply(op, &[points, centre])
}

#[test]
fn it_plugs_in_and_passes_the_checker() {
    let inputs = [normal(1, &[4, 3]), normal(2, &[3])];
    let check = check_gradients(&inputs, |x| distance(x[0].tanh(), x[1]).ln()).unwrap();
    assert!(check.error < 1e-7, "{check:?}");
    let alone = check_gradients(&inputs[..1], |x| {
        distance(x[0], x[0].tape().constant(Tensor::full(0.5, &[3]).unwrap()))
    });
    assert!(alone.unwrap().error < 1e-7);
}

#[test]
fn its_errors_are_named_like_any_other() {
    let tape = Tape::new();
    let points = tape.watched(Tensor::<f32>::zeros(&[4, 3]).unwrap());
    let error = distance(points, tape.constant(Tensor::zeros(&[2]).unwrap())).value().unwrap_err();
    assert_eq!(error.to_string(), "distance of [4, 3] and [2]: centre: expected [3], got [2]");
}
