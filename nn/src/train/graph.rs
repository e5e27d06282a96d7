//! A model as the graph that TensorBoard draws: a message `GraphDef` of one `NodeDef` per layer.

use super::tensorboard::{VARINT, bytes_field, varint};
use crate::model::Summary;

/// TensorFlow's number for the element type float.
const FLOAT: u8 = 1;
/// The version of graphs that TensorBoard's reader was made for.
const PRODUCER: u64 = 22;
/// How the features are called.
const INPUT: &str = "input";

/// The bytes of the graph.
pub(super) fn graph(summary: &Summary) -> Vec<u8> {
    let mut graph = Vec::new();
    bytes_field(&mut graph, 1, &node(INPUT, "Placeholder", &[], summary.inputs, None));
    // TensorFlow knows no blanks in names.
    let names: Vec<String> = summary.rows.iter().map(|row| row.name.replace(' ', "_")).collect();
    for (row, name) in summary.rows.iter().zip(&names) {
        let kind = row.name.rsplit(' ').next().unwrap_or(&row.name);
        let reads: Vec<&str> = row
            .reads
            .iter()
            .map(|&value| value.checked_sub(1).map_or(INPUT, |i| &names[i]))
            .collect();
        let message = node(name, kind, &reads, row.outputs, Some(row.parameters));
        bytes_field(&mut graph, 1, &message);
    }
    let mut versions = vec![1 << 3 | VARINT];
    varint(&mut versions, PRODUCER);
    bytes_field(&mut graph, 4, &versions);
    graph
}

/// A node that reads others and gives any number of rows of `columns` values.
fn node(
    name: &str,
    op: &str,
    reads: &[&str],
    columns: usize,
    parameters: Option<usize>,
) -> Vec<u8> {
    let mut node = Vec::new();
    bytes_field(&mut node, 1, name.as_bytes());
    bytes_field(&mut node, 2, op.as_bytes());
    reads.iter().for_each(|read| bytes_field(&mut node, 3, read.as_bytes()));
    attribute(&mut node, "dtype", &[6 << 3 | VARINT, FLOAT]);
    let mut shape = Vec::new();
    // -1: the number of rows is not known.
    for extent in [u64::MAX, columns as u64] {
        let mut size = vec![1 << 3 | VARINT];
        varint(&mut size, extent);
        bytes_field(&mut shape, 2, &size);
    }
    let (mut shapes, mut list) = (Vec::new(), Vec::new());
    bytes_field(&mut shapes, 7, &shape);
    bytes_field(&mut list, 1, &shapes);
    attribute(&mut node, "_output_shapes", &list);
    if let Some(parameters) = parameters {
        let mut count = vec![3 << 3 | VARINT];
        varint(&mut count, parameters as u64);
        attribute(&mut node, "parameters", &count);
    }
    node
}

/// Adds an entry to the map of a node's attributes.
fn attribute(node: &mut Vec<u8>, key: &str, value: &[u8]) {
    let mut entry = Vec::new();
    bytes_field(&mut entry, 1, key.as_bytes());
    bytes_field(&mut entry, 2, value);
    bytes_field(node, 5, &entry);
}
