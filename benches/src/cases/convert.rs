//! Conversion of `f32` to halves and back.

use tilewise_kernels::{Convert, ConvertTo, Float, bf16, f16, naive};

use super::LENGTHS;
use crate::case::{Case, Implementation, Work, Workload};
use crate::data::Random;

/// All four conversions for `f32`, none for other types. No operations are counted.
pub fn cases<T: Float>() -> Vec<Case> {
    if T::NAME != f32::NAME {
        return Vec::new();
    }
    let of = |len: usize| {
        [
            case::<f32, bf16>("f32-bf16", len),
            case::<f32, f16>("f32-f16", len),
            case::<bf16, f32>("bf16-f32", len),
            case::<f16, f32>("f16-f32", len),
        ]
    };
    LENGTHS.into_iter().flat_map(of).collect()
}

/// An element type.
trait Element: naive::Number + Default + Send + 'static {}

impl<T: naive::Number + Default + Send + 'static> Element for T {}

fn case<A: Element + ConvertTo<B>, B: Element>(types: &str, len: usize) -> Case {
    let work = Work::Bytes((len * (size_of::<A>() + size_of::<B>())) as u64);
    Case::new(format!("convert/{types}/{len}"), work, move || {
        // Numbers that all types hold.
        let x = Random::new(1).uniform::<f32>(len, -6e4, 6e4);
        let x = x.iter().map(|&x| A::nearest(x.to_f64())).collect();
        Conversion::<A, B> { x, y: vec![B::default(); len] }
    })
}

struct Conversion<A, B> {
    x: Vec<A>,
    y: Vec<B>,
}

impl<A: Element + ConvertTo<B>, B: Element> Workload for Conversion<A, B> {
    fn run(&mut self, by: Implementation) {
        match by.exec() {
            Some(exec) => Convert::new(&self.x, &mut self.y)
                .and_then(|op| op.run(exec))
                .expect("valid arguments"),
            None => naive::convert(&self.x, &mut self.y),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        self.y.iter().map(|y| y.to_f64()).collect()
    }

    /// All agree to the bit.
    fn tolerance(&self) -> f64 {
        0.0
    }
}
