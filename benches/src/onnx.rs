//! Models of a few nodes, written byte by byte: what the rows need and no package holds.

/// Element types of ONNX.
pub(crate) const F32: i64 = 1;
pub(crate) const I64: i64 = 7;

/// A dimension: a size, or a name for any size.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Is(u64),
    Any(&'static str),
}

/// An input or output: its name, element type and dimensions.
pub(crate) type Port<'a> = (&'a str, i64, &'a [Dim]);

// What the host writes its own small graphs with: pure code, in a file that refers to nothing else.
#[path = "../../host-gpu/src/onnx/write.rs"]
mod write;

use write::{Message, new};

fn port(&(name, ty, dims): &Port<'_>) -> Message {
    let dims = dims.iter().fold(new(), |shape, dim| {
        shape.bytes(
            1,
            match dim {
                Dim::Is(size) => new().number(1, size.cast_signed()),
                Dim::Any(name) => new().bytes(2, name.as_bytes()),
            },
        )
    });
    let tensor = new().number(1, ty).bytes(2, dims);
    let ty = new().bytes(1, tensor);
    new().bytes(1, name.as_bytes()).bytes(2, ty)
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let named = inputs
        .iter()
        .fold(new(), |node, name| node.bytes(1, name.as_bytes()));
    named.bytes(2, output.as_bytes()).bytes(4, op.as_bytes())
}

/// A constant vector of i64.
fn constant(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let dims = new().number(1, values.len() as i64).number(2, I64);
    dims.bytes(8, name.as_bytes()).bytes(9, &raw)
}

fn model(
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: &[Port<'_>],
    output: Port<'_>,
) -> Vec<u8> {
    let mut graph = new();
    for node in nodes {
        graph = graph.bytes(1, node);
    }
    graph = graph.bytes(2, b"bench");
    for constant in constants {
        graph = graph.bytes(5, constant);
    }
    for input in inputs {
        graph = graph.bytes(11, port(input));
    }
    graph = graph.bytes(12, port(&output));
    let opset = new().bytes(1, b"").number(2, 18);
    new().number(1, 9).bytes(7, graph).bytes(8, opset).0
}

/// `y` is the first `keep` of the `length` numbers of `x`: a model that costs next to nothing, so that
/// what is left is the way in and out.
pub(crate) fn head(length: u64, keep: u64) -> Vec<u8> {
    let constants = vec![
        constant("from", &[0]),
        constant("to", &[keep.cast_signed()]),
        constant("axis", &[1]),
    ];
    let slice = node("Slice", &["x", "from", "to", "axis"], "y");
    model(
        vec![slice],
        constants,
        &[("x", F32, &[Dim::Is(1), Dim::Is(length)])],
        ("y", F32, &[Dim::Is(1), Dim::Is(keep)]),
    )
}

/// The shape of all-MiniLM-L6-v2 without its work: each token's state is its number, 384 times.
pub(crate) fn hollow_minilm() -> Vec<u8> {
    let cast = node("Cast", &["wide"], "number")
        .bytes(5, new().bytes(1, b"to").number(3, F32).number(20, 2));
    let nodes = vec![
        node("Unsqueeze", &["input_ids", "axis"], "wide"),
        cast,
        node("Expand", &["number", "shape"], "last_hidden_state"),
    ];
    let constants = vec![constant("axis", &[2]), constant("shape", &[1, 1, 384])];
    let tokens: &[Dim] = &[Dim::Any("b"), Dim::Any("s")];
    let states: &[Dim] = &[Dim::Any("b"), Dim::Any("s"), Dim::Is(384)];
    let inputs = ["input_ids", "attention_mask", "token_type_ids"].map(|name| (name, I64, tokens));
    model(
        nodes,
        constants,
        &inputs,
        ("last_hidden_state", F32, states),
    )
}
