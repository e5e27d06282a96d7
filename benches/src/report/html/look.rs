//! Who is drawn how, the same in every plot.

use crate::record::Row;
use crate::report::duel::PATHS;

/// A colour and a dash, as classes of the page's style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) class: String,
    /// Where it is drawn: later ones lie on top.
    pub(super) layer: u8,
}

/// Colours of the page, with a dash where two share one.
const OTHERS: [(&str, &str); 18] = [
    ("gemm", "c0"),
    ("candle", "c0 dash"),
    ("burn", "c0 dot"),
    ("matrixmultiply", "c1"),
    ("ndarray", "c1 dash"),
    ("faer", "c2"),
    ("nano-gemm", "c2 dash"),
    ("mkl", "c3"),
    ("openblas", "c4"),
    ("blis", "c5"),
    ("libxsmm", "c6"),
    ("onednn", "c7"),
    ("torch", "c8"),
    ("torch-compiled", "c8 dash"),
    ("torch-heap", "c8 dot"),
    ("jax", "c9"),
    ("tensorflow", "c9 dash"),
    ("paddle", "c9 dot"),
];

/// Of a row; `best` is the path that programs get.
pub(super) fn of(row: &Row, best: &str) -> Look {
    let look = |class: &str, layer| Look { class: class.into(), layer };
    if row.is_naive() {
        return look("naive dot", 0);
    }
    if !row.ours {
        let known = OTHERS.iter().find(|(name, _)| *name == row.who());
        return look(known.map_or("c5 dot", |(_, class)| class), 1);
    }
    if row.is_packed() {
        return look("ours thin dash", 2);
    }
    match PATHS.iter().position(|path| *path == row.who()) {
        _ if row.who() == best => look("ours", 3),
        Some(0) => look("ours thin dot", 2),
        _ => look("ours thin dash", 2),
    }
}
