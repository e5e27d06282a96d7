//! The same network in `f64`, by the obvious loops.

/// Added to variances.
const EPSILON: f64 = 1e-5;

/// A linear layer: the weight by inputs first, then factors and shifts of the batch normalisation behind it,
/// or the bias of the last one.
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Vec<f64>,
    pub vectors: Vec<Vec<f64>>,
}

/// What a layer's backward pass needs: its input, the normalised product, one over its deviation, and what the
/// ReLU was given.
struct Pass {
    x: Vec<f64>,
    normal: Vec<f64>,
    scale: Vec<f64>,
    y: Vec<f64>,
}

/// The mean loss, and the gradients by weight and vectors, layer by layer.
pub struct Expected {
    loss: f64,
    gradients: Vec<Vec<f64>>,
}

/// Of the mean cross-entropy of rows with a class each.
pub fn gradients(layers: &[Layer], x: &[f64], classes: &[usize]) -> Expected {
    let rows = classes.len();
    let (mut passes, mut x) = (Vec::new(), x.to_vec());
    for layer in layers {
        let pass = forward(layer, x, rows);
        x = pass.y.clone();
        if layer.vectors.len() == 2 {
            x.iter_mut().for_each(|y| *y = y.max(0.0));
        }
        passes.push(pass);
    }
    let (loss, mut dy) = cross_entropy(&x, classes);
    let mut gradients = Vec::new();
    for (layer, pass) in layers.iter().zip(&passes).rev() {
        let (found, dx) = backward(layer, pass, dy, rows);
        gradients.splice(0..0, found);
        dy = dx;
    }
    Expected { loss, gradients }
}

fn forward(layer: &Layer, x: Vec<f64>, rows: usize) -> Pass {
    let n = layer.outputs;
    let mut y = vec![0.0; rows * n];
    for (x, y) in x.chunks(layer.inputs).zip(y.chunks_mut(n)) {
        for (&x, weight) in x.iter().zip(layer.weight.chunks(n)) {
            y.iter_mut().zip(weight).for_each(|(y, &weight)| *y += x * weight);
        }
    }
    let (mut normal, mut scale) = (Vec::new(), Vec::new());
    match &layer.vectors[..] {
        [gamma, beta] => {
            let mean = columns(&y, n, |y, _| y / rows as f64);
            let var = columns(&y, n, |y, j| (y - mean[j]) * (y - mean[j]) / rows as f64);
            scale = var.iter().map(|var| 1.0 / (var + EPSILON).sqrt()).collect();
            normal = each(&y, n, |y, j| (y - mean[j]) * scale[j]);
            y = each(&normal, n, |y, j| y * gamma[j] + beta[j]);
        }
        vectors => y = each(&y, n, |y, j| y + vectors[0][j]),
    }
    Pass { x, normal, scale, y }
}

/// The gradients by weight and vectors, and by the input.
fn backward(layer: &Layer, pass: &Pass, dy: Vec<f64>, rows: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let n = layer.outputs;
    let (vectors, dz) = match &layer.vectors[..] {
        [gamma, _] => {
            let open = |(&dy, &y): (&f64, &f64)| if y > 0.0 { dy } else { 0.0 };
            let dy: Vec<f64> = dy.iter().zip(&pass.y).map(open).collect();
            let products: Vec<f64> = dy.iter().zip(&pass.normal).map(|(dy, x)| dy * x).collect();
            let dgamma = columns(&products, n, |product, _| product);
            let dbeta = columns(&dy, n, |dy, _| dy);
            let means = each(&pass.normal, n, |x, j| (dbeta[j] + x * dgamma[j]) / rows as f64);
            let apart: Vec<f64> = dy.iter().zip(&means).map(|(dy, mean)| dy - mean).collect();
            let dz = each(&apart, n, |apart, j| apart * gamma[j] * pass.scale[j]);
            (vec![dgamma, dbeta], dz)
        }
        _ => (vec![columns(&dy, n, |dy, _| dy)], dy),
    };
    let (mut dweight, mut dx) = (vec![0.0; layer.weight.len()], vec![0.0; pass.x.len()]);
    for ((x, dx), dz) in
        pass.x.chunks(layer.inputs).zip(dx.chunks_mut(layer.inputs)).zip(dz.chunks(n))
    {
        let weights = layer.weight.chunks(n).zip(dweight.chunks_mut(n));
        for ((&x, dx), (weight, dweight)) in x.iter().zip(dx).zip(weights) {
            *dx = weight.iter().zip(dz).map(|(weight, dz)| weight * dz).sum();
            dweight.iter_mut().zip(dz).for_each(|(dweight, &dz)| *dweight += x * dz);
        }
    }
    (std::iter::once(dweight).chain(vectors).collect(), dx)
}

fn cross_entropy(logits: &[f64], classes: &[usize]) -> (f64, Vec<f64>) {
    let (rows, n) = (classes.len() as f64, logits.len() / classes.len());
    let (mut loss, mut dx) = (0.0, Vec::new());
    for (row, &class) in logits.chunks(n).zip(classes) {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        loss += (sum.ln() - row[class]) / rows;
        let hit = |j| if j == class { 1.0 } else { 0.0 };
        dx.extend(row.iter().enumerate().map(|(j, x)| (x.exp() / sum - hit(j)) / rows));
    }
    (loss, dx)
}

/// What `f` makes of each value in its column.
fn each(values: &[f64], n: usize, f: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    values.iter().enumerate().map(|(i, &value)| f(value, i % n)).collect()
}

/// The column sums of that.
fn columns(values: &[f64], n: usize, f: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; n];
    values.iter().enumerate().for_each(|(i, &value)| sums[i % n] += f(value, i % n));
    sums
}

/// Compares the loss as a value and each tensor's gradient as a vector, as the other checks of training steps
/// do: where the input of a ReLU is within rounding of zero, a few elements move by much.
pub fn compare(expected: &Expected, loss: f64, gradients: &[Vec<f64>]) -> Result<(), String> {
    let tolerance = 30.0 * f64::from(f32::EPSILON).sqrt();
    let want = expected.loss;
    // Which no NaN is.
    let is_near = |apart: f64, most: f64| apart <= most;
    if !is_near((loss - want).abs(), tolerance * want) {
        return Err(format!("loss: expected {want}, got {loss}"));
    }
    if expected.gradients.len() != gradients.len() {
        let (want, got) = (expected.gradients.len(), gradients.len());
        return Err(format!("expected {want} gradients, got {got}"));
    }
    for (i, (want, got)) in expected.gradients.iter().zip(gradients).enumerate() {
        if want.len() != got.len() {
            let (want, got) = (want.len(), got.len());
            return Err(format!("gradient {i}: expected {want} values, got {got}"));
        }
        let apart = norm(want.iter().zip(got).map(|(want, got)| want - got));
        let most = tolerance * norm(want.iter().copied());
        if !is_near(apart, most) {
            return Err(format!("gradient {i}: expected at most {most} to ours, got {apart}"));
        }
    }
    Ok(())
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [usize; 5] = [0, 1, 1, 2, 0];

    /// Some values that follow no rule, between -1 and 1.
    fn values(count: usize, seed: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7 + seed * 13 + 1) as f64 * 1.7).sin()).collect()
    }

    /// Of widths 4, 6, 3, and its input.
    fn network() -> (Vec<Layer>, Vec<f64>) {
        let layer = |inputs, outputs, vectors: usize| Layer {
            inputs,
            outputs,
            weight: values(inputs * outputs, outputs),
            vectors: (0..vectors).map(|seed| values(outputs, seed)).collect(),
        };
        (vec![layer(4, 6, 2), layer(6, 3, 1)], values(5 * 4, 9))
    }

    /// The tensors that gradients are by, in their order.
    fn tensors(layers: &mut [Layer]) -> Vec<&mut Vec<f64>> {
        let parts = layers.iter_mut().map(|layer| (&mut layer.weight, &mut layer.vectors));
        parts.flat_map(|(weight, vectors)| std::iter::once(weight).chain(vectors)).collect()
    }

    #[test]
    fn gradients_are_what_differences_of_the_loss_say() {
        let (mut layers, x) = network();
        let expected = gradients(&layers, &x, &CLASSES);
        let step = 1e-5;
        for (t, gradient) in expected.gradients.iter().enumerate() {
            for (i, &gradient) in gradient.iter().enumerate() {
                let mut loss = |step: f64| {
                    tensors(&mut layers)[t][i] += step;
                    let loss = gradients(&layers, &x, &CLASSES).loss;
                    tensors(&mut layers)[t][i] -= step;
                    loss
                };
                let slope = (loss(step) - loss(-step)) / (2.0 * step);
                assert!((slope - gradient).abs() < 1e-8, "{t}, {i}: {slope}, not {gradient}");
            }
        }
        let counts: Vec<usize> = expected.gradients.iter().map(Vec::len).collect();
        assert_eq!(counts, [24, 6, 6, 18, 3]);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let (layers, x) = network();
        let expected = gradients(&layers, &x, &CLASSES);
        let (loss, right) = (expected.loss, expected.gradients.clone());
        assert_eq!(compare(&expected, loss, &right), Ok(()));
        let refused = |loss: f64, change: fn(&mut Vec<Vec<f64>>), why: &str| {
            let mut gradients = right.clone();
            change(&mut gradients);
            let error = compare(&expected, loss, &gradients).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused(f64::NAN, |_| {}, "loss: expected");
        refused(loss * 1.02, |_| {}, "loss: expected");
        refused(loss, |all| all.truncate(4), "expected 5 gradients, got 4");
        refused(loss, |all| all[2].truncate(5), "gradient 2: expected 6 values, got 5");
        refused(loss, |all| all[3].iter_mut().for_each(|x| *x *= 1.02), "gradient 3: expected at");
        refused(loss, |all| all[0][0] = f64::NAN, "gradient 0: expected at");
    }
}
