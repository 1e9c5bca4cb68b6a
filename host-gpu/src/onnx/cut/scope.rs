//! What the graphs within a node take from outside, and which operators they use.

use std::collections::BTreeSet;

use super::super::wire::{Fields, Value};
use super::super::{DEPTH_MAX, text};

/// Names that a node's graphs read and do not make. `inspect` has bounded how deep they nest.
pub(super) fn captured(node: &[u8]) -> Result<Vec<&str>, String> {
    let mut names = BTreeSet::new();
    for graph in graphs(node)? {
        free(graph, &mut names, 0)?;
    }
    Ok(names.into_iter().collect())
}

/// Calls `each` with the operator of a node and of every node within it.
pub(super) fn operators<'m>(
    node: &'m [u8],
    each: &mut impl FnMut(&'m str) -> Result<(), String>,
) -> Result<(), String> {
    for field in Fields::of(node) {
        if let (4, Value::Bytes(op)) = field? {
            each(text(op)?)?;
        }
    }
    for graph in graphs(node)? {
        for field in Fields::of(graph) {
            if let (1, Value::Bytes(inner)) = field? {
                operators(inner, each)?;
            }
        }
    }
    Ok(())
}

/// The graphs in a node's attributes.
fn graphs(node: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut graphs = Vec::new();
    for field in Fields::of(node) {
        if let (5, Value::Bytes(attribute)) = field? {
            for field in Fields::of(attribute) {
                if let (6 | 11, Value::Bytes(graph)) = field? {
                    graphs.push(graph);
                }
            }
        }
    }
    Ok(graphs)
}

/// Adds the names that a graph, or a graph within it, reads and that it does not make itself.
fn free<'m>(graph: &'m [u8], names: &mut BTreeSet<&'m str>, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("its graphs are nested more than {DEPTH_MAX} deep"));
    }
    let (mut read, mut made) = (BTreeSet::new(), BTreeSet::new());
    for field in Fields::of(graph) {
        match field? {
            (1, Value::Bytes(node)) => {
                for field in Fields::of(node) {
                    match field? {
                        (1, Value::Bytes(name)) => drop(read.insert(text(name)?)),
                        (2, Value::Bytes(name)) => drop(made.insert(text(name)?)),
                        _ => {}
                    }
                }
                for inner in graphs(node)? {
                    free(inner, &mut read, depth + 1)?;
                }
            }
            (5, Value::Bytes(tensor)) => drop(made.insert(super::field_text(tensor, 8)?)),
            (11, Value::Bytes(port)) => drop(made.insert(super::field_text(port, 1)?)),
            (12, Value::Bytes(port)) => drop(read.insert(super::field_text(port, 1)?)),
            _ => {}
        }
    }
    let outer = read.into_iter().filter(|name| !made.contains(name));
    names.extend(outer.filter(|name| !name.is_empty()));
    Ok(())
}
