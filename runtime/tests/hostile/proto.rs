//! ONNX models, written field by field.

// What the host writes its own small graphs with: pure code, in a file that refers to nothing else.
#[path = "../../../host-gpu/src/onnx/write.rs"]
mod write;

pub(crate) use write::{Message, new};

/// Element types.
pub(crate) const F32: i64 = 1;
pub(crate) const I32: i64 = 6;
pub(crate) const I64: i64 = 7;
pub(crate) const STRING: i64 = 8;
pub(crate) const BOOL: i64 = 9;

/// A dimension of any size.
pub(crate) const ANY: i64 = i64::MIN;

fn shape(dims: &[i64]) -> Message {
    dims.iter().fold(new(), |shape, dim| match *dim {
        ANY => shape.bytes(1, new().bytes(2, "n")),
        dim => shape.bytes(1, new().number(1, dim)),
    })
}

/// The type of a tensor.
pub(crate) fn tensor_type(ty: i64, dims: &[i64]) -> Message {
    new().bytes(1, new().number(1, ty).bytes(2, shape(dims)))
}

/// An input or output of any type.
pub(crate) fn port_of(name: &str, ty: &Message) -> Message {
    new().bytes(1, name).bytes(2, ty)
}

/// An input or output that is a tensor.
pub(crate) fn port(name: &str, ty: i64, dims: &[i64]) -> Message {
    port_of(name, &tensor_type(ty, dims))
}

/// A tensor of 64-bit numbers.
pub(crate) fn i64s(name: &str, dims: &[i64], values: &[i64]) -> Message {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    raw_tensor(name, I64, dims, &raw)
}

/// A tensor of these bytes.
pub(crate) fn raw_tensor(name: &str, ty: i64, dims: &[i64], raw: &[u8]) -> Message {
    let tensor = dims
        .iter()
        .fold(new(), |tensor, dim| tensor.number(1, *dim));
    tensor.number(2, ty).bytes(8, name).bytes(9, raw)
}

/// A node; names are separated by spaces, and `_` stands for none.
pub(crate) fn node(op: &str, inputs: &str, outputs: &str) -> Message {
    let names = |node: Message, field: u64, names: &str| {
        names.split_whitespace().fold(node, |node, name| {
            node.bytes(field, if name == "_" { "" } else { name })
        })
    };
    names(names(new(), 1, inputs), 2, outputs).bytes(4, op)
}

impl Message {
    /// The same node with an attribute that is a number.
    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.bytes(5, new().bytes(1, name).number(3, value).number(20, 2))
    }

    /// The same node with an attribute that is a graph.
    pub(crate) fn graph(self, name: &str, graph: &Message) -> Self {
        self.bytes(5, new().bytes(1, name).bytes(6, graph).number(20, 5))
    }

    /// The same graph with one more node.
    pub(crate) fn node(self, node: &Message) -> Self {
        self.bytes(1, node)
    }

    /// The same graph with an initialiser.
    pub(crate) fn initial(self, tensor: &Message) -> Self {
        self.bytes(5, tensor)
    }

    /// The same graph with an input.
    pub(crate) fn input(self, port: &Message) -> Self {
        self.bytes(11, port)
    }

    /// The same graph with an output.
    pub(crate) fn output(self, port: &Message) -> Self {
        self.bytes(12, port)
    }
}

/// A graph without anything but its name.
pub(crate) fn empty(name: &str) -> Message {
    new().bytes(2, name)
}

/// A graph from a row `x` to a row `y`, both of f32 and of any length.
pub(crate) fn rows() -> Message {
    empty("rows")
        .input(&port("x", F32, &[ANY]))
        .output(&port("y", F32, &[ANY]))
}

/// The model of a graph, of operator set 18.
pub(crate) fn model(graph: &Message) -> Vec<u8> {
    let operators = new().bytes(1, "").number(2, 18);
    new().number(1, 9).bytes(7, graph).bytes(8, operators).0
}
