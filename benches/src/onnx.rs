//! Models of a few nodes, written byte by byte: what the rows need and no package holds.

/// Element types of ONNX.
pub(crate) const F32: u64 = 1;
pub(crate) const I64: u64 = 7;

/// A dimension: a size, or a name for any size.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Is(u64),
    Any(&'static str),
}

/// An input or output: its name, element type and dimensions.
pub(crate) type Port<'a> = (&'a str, u64, &'a [Dim]);

/// Protobuf, as much as a model needs.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn message(self, field: u64, value: Message) -> Self {
        self.bytes(field, &value.0)
    }
}

fn port(&(name, ty, dims): &Port<'_>) -> Message {
    let dims = dims.iter().fold(Message::default(), |shape, dim| {
        shape.message(
            1,
            match dim {
                Dim::Is(size) => Message::default().number(1, *size),
                Dim::Any(name) => Message::default().bytes(2, name.as_bytes()),
            },
        )
    });
    let tensor = Message::default().number(1, ty).message(2, dims);
    let ty = Message::default().message(1, tensor);
    Message::default().bytes(1, name.as_bytes()).message(2, ty)
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let named = inputs.iter().fold(Message::default(), |node, name| {
        node.bytes(1, name.as_bytes())
    });
    named.bytes(2, output.as_bytes()).bytes(4, op.as_bytes())
}

/// A constant vector of i64.
fn constant(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let dims = Message::default()
        .number(1, values.len() as u64)
        .number(2, I64);
    dims.bytes(8, name.as_bytes()).bytes(9, &raw)
}

fn model(
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: &[Port<'_>],
    output: Port<'_>,
) -> Vec<u8> {
    let mut graph = Message::default();
    for node in nodes {
        graph = graph.message(1, node);
    }
    graph = graph.bytes(2, b"bench");
    for constant in constants {
        graph = graph.message(5, constant);
    }
    for input in inputs {
        graph = graph.message(11, port(input));
    }
    graph = graph.message(12, port(&output));
    let opset = Message::default().bytes(1, b"").number(2, 18);
    Message::default()
        .number(1, 9)
        .message(7, graph)
        .message(8, opset)
        .0
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
    let cast = node("Cast", &["wide"], "number").message(
        5,
        Message::default()
            .bytes(1, b"to")
            .number(3, F32)
            .number(20, 2),
    );
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
