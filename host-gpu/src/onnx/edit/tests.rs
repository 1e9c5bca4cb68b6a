//! Edits of small graphs, number by number, and of a language model, through ONNX Runtime.

use super::super::write::{Message, new};
use super::*;
use crate::backend::{Device, GraphOptions, NnBackend, StopFlag};
use crate::onnx::DeclaredDim;
use crate::tensor::{ElementType, TensorValue};
use crate::{OrtBackend, OrtLibrary};
use std::sync::Arc;

const F32: i64 = 1;
const I8: i64 = 3;
const F16: i64 = 10;

fn tensor(name: &str, ty: i64, dims: &[i64], bytes: &[u8]) -> Message {
    let shaped = dims
        .iter()
        .fold(new(), |tensor, dim| tensor.number(1, *dim));
    shaped.number(2, ty).bytes(8, name).bytes(9, bytes)
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let inputs = inputs
        .iter()
        .fold(new(), |node, input| node.bytes(1, input));
    inputs.bytes(2, output).bytes(3, output).bytes(4, op)
}

fn port(name: &str, width: i64) -> Message {
    let rows = new().bytes(2, "rows");
    let shape = new().bytes(1, rows).bytes(1, new().number(1, width));
    let ty = new().bytes(1, new().number(1, F32).bytes(2, shape));
    new().bytes(1, name).bytes(2, ty)
}

/// `y = op(x, …)` with these nodes and tensors; `y` has as many columns as `x`, two.
fn model(nodes: &[Message], tensors: &[Message]) -> Vec<u8> {
    let graph = nodes.iter().fold(new(), |graph, node| graph.bytes(1, node));
    let graph = tensors
        .iter()
        .fold(graph, |graph, tensor| graph.bytes(5, tensor));
    let graph = graph
        .bytes(2, "g")
        .bytes(11, port("x", 2))
        .bytes(12, port("y", 2));
    let opset = new().bytes(1, "").number(2, 17);
    new().number(1, 8).bytes(7, graph).bytes(8, opset).0
}

/// `y = x · w`.
fn product(ty: i64, weights: &[u8]) -> Vec<u8> {
    let multiply = node("MatMul", &["x", "w"], "y");
    model(&[multiply], &[tensor("w", ty, &[2, 2], weights)])
}

fn run(model: &[u8], rows: &[f32]) -> Vec<f32> {
    let library = OrtLibrary::load_discovered().expect("run `cargo xtask setup`");
    let options = GraphOptions::on(Device::Cpu);
    let stop = StopFlag::default();
    let backend = OrtBackend::new(library);
    let mut session = backend.load("edited", model, &options, &stop).unwrap();
    let dims = [rows.len() as u32 / 2, 2];
    let x = TensorValue::from_bytes(ElementType::F32, &dims, &f32s(rows)).unwrap();
    let bound = session.io().bind(vec![("x".into(), Arc::new(x))]).unwrap();
    let (_, y) = session.run(&bound, &stop).unwrap().pop().unwrap();
    let bytes = y.host_bytes().unwrap().chunks(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The rows of the identity: what comes out are the weights.
const ROWS: [f32; 4] = [1.0, 0.0, 0.0, 1.0];

#[test]
fn weights_take_a_round_trip_and_the_graph_computes_with_what_is_left() {
    // Columns are output channels: the first has 2.54 for its largest, the second 127.
    let weights = [2.54, 127.0, 0.013, 63.4];
    for (edit, expected) in [
        (ModelEdit::Int8Weights, [2.54, 127.0, 0.02, 63.0]),
        (ModelEdit::Int4Weights, [2.54, 127.0, 0.0, 54.428_57]),
        (
            ModelEdit::Fp16Weights,
            [2.539_062_5, 127.0, 0.012_997, 63.406_25],
        ),
        (ModelEdit::SkippedLayer, [0.0; 4]),
    ] {
        let mut edited = product(F32, &f32s(&weights));
        assert_eq!(run(&edited, &ROWS), weights);
        let said = edit_model(&mut edited, edit).unwrap();
        assert!(said.contains("of 4 numbers in 1 tensors changed"), "{said}");
        for (found, expected) in run(&edited, &ROWS).into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-5,
                "{edit:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn weights_are_found_behind_what_makes_them_floats() {
    // A whole number, cast and scaled, as exporters store eight-bit weights.
    let nodes = [
        node("Cast", &["q"], "f").bytes(5, to_float()),
        node("Mul", &["f", "scale"], "w"),
        node("MatMul", &["x", "w"], "y"),
    ];
    let bytes = |values: [i8; 4]| values.map(i8::cast_unsigned);
    let tensors = |q: [i8; 4]| {
        let scale = tensor("scale", F32, &[2], &f32s(&[0.5, 0.25]));
        [tensor("q", I8, &[2, 2], &bytes(q)), scale]
    };
    let mut edited = model(&nodes, &tensors([100, -128, 3, 127]));
    assert_eq!(run(&edited, &ROWS), [50.0, -32.0, 1.5, 31.75]);
    let refused = edit_model(&mut edited.clone(), ModelEdit::Int8Weights).unwrap_err();
    assert!(
        refused.contains("none of its 4 weights would change"),
        "{refused}"
    );
    let said = edit_model(&mut edited, ModelEdit::SkippedLayer).unwrap();
    assert!(
        said.contains("zeroed \"q\" of MatMul \"y\" (node 3 of 3)"),
        "{said}"
    );
    assert_eq!(run(&edited, &ROWS), [0.0; 4]);
}

/// The attribute `to` of a `Cast` to floats.
fn to_float() -> Message {
    new().bytes(1, "to").number(3, F32).number(20, 2)
}

#[test]
fn a_skipped_layer_is_the_middle_one_of_those_that_a_residual_passes_by() {
    // Three blocks, each x + (x · w + b).
    let mut nodes = Vec::new();
    let mut tensors = Vec::new();
    let values = ["x", "one", "two", "y"];
    for (block, pair) in values.windows(2).enumerate() {
        let [w, b, p, s] = ["w", "b", "p", "s"].map(|name| format!("{name}{block}"));
        nodes.push(node("MatMul", &[pair[0], &w], &p));
        nodes.push(node("Add", &[&p, &b], &s));
        nodes.push(node("Add", &[pair[0], &s], pair[1]));
        tensors.push(tensor(&w, F32, &[2, 2], &f32s(&[1.0, 0.0, 0.0, 1.0])));
        tensors.push(tensor(&b, F32, &[2], &f32s(&[1.0, 1.0])));
    }
    let mut edited = model(&nodes, &tensors);
    assert_eq!(run(&edited, &ROWS), [15.0, 7.0, 7.0, 15.0]);
    let said = edit_model(&mut edited, ModelEdit::SkippedLayer).unwrap();
    assert!(said.contains("zeroed \"w1\""), "{said}");
    assert!(
        said.contains("which closes residual block 2 of 3"),
        "{said}"
    );
    // Two blocks are left: the middle one adds neither its product nor its constant.
    assert_eq!(run(&edited, &ROWS), [7.0, 3.0, 3.0, 7.0]);
}

#[test]
fn what_cannot_be_edited_says_why() {
    let relu = || model(&[node("Relu", &["x"], "y")], &[]);
    let halves = f16::from_f32(0.5).to_le_bytes().repeat(4);
    let half = product(F16, &halves);
    for (edit, bytes, expected) in [
        (
            ModelEdit::Int8Weights,
            relu(),
            "it has no weights of matrix products",
        ),
        (
            ModelEdit::Int4Weights,
            relu(),
            "it has no weights of matrix products",
        ),
        (ModelEdit::SkippedLayer, relu(), "it has no layer"),
        (
            ModelEdit::Fp16Weights,
            half,
            "none of its 0 weights would change",
        ),
        (
            ModelEdit::Int8Weights,
            b"text".to_vec(),
            "no protobuf message",
        ),
    ] {
        let mut edited = bytes.clone();
        let refused = edit_model(&mut edited, edit).unwrap_err();
        assert!(refused.contains(expected), "{edit:?}: {refused}");
        assert_eq!(edited, bytes, "a refused edit leaves the model as it was");
    }
}

#[test]
fn a_models_own_words_about_its_inputs_are_kept() {
    let table = tensor("table", F32, &[7, 2], &[0; 56]);
    let gather = node("Gather", &["table", "x"], "y");
    let declared = declared_inputs(&model(&[gather], &[table])).unwrap();
    assert_eq!(declared.len(), 1);
    assert_eq!(declared[0].name, "x");
    assert_eq!(declared[0].below, Some(7));
    let dims = [DeclaredDim::Named("rows".into()), DeclaredDim::Fixed(2)];
    assert_eq!(declared[0].dims, dims);
}

#[test]
fn every_edit_makes_a_language_model_that_loads_and_answers_otherwise() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tinylm.onnx");
    let honest = std::fs::read(path).unwrap();
    let library = OrtLibrary::load_discovered().expect("run `cargo xtask setup`");
    let backend = OrtBackend::new(library);
    for (edit, tensors) in [
        (ModelEdit::Int8Weights, "in 22 tensors"),
        (ModelEdit::Int4Weights, "in 22 tensors"),
        (ModelEdit::SkippedLayer, "residual block 4 of 6"),
        (ModelEdit::Fp16Weights, "numbers in "),
    ] {
        let mut edited = honest.clone();
        let said = edit_model(&mut edited, edit).unwrap();
        assert!(said.contains(tensors), "{edit:?}: {said}");
        assert_eq!(edited.len(), honest.len());
        let options = GraphOptions::on(Device::Cpu);
        let loaded = backend.load("edited", &edited, &options, &StopFlag::default());
        assert!(loaded.is_ok(), "{edit:?}");
    }
}
