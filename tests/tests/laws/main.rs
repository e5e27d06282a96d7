//! The laws of all operations, on every path: at the edges, on random cases, in worked numbers and
//! by differences. One program, because each would compile the kernels that it uses anew.

mod accuracy;
mod edges;
mod edges_of_layers;
mod gradients;
mod halves;
mod properties;
mod worked_numbers;
