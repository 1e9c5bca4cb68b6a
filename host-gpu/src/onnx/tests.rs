//! Hostile models, each beside the honest one it was made from.

use super::write::{Message, new};
use super::*;

/// `y = op(x)`.
fn node(op: &str) -> Message {
    new().bytes(1, "x").bytes(2, "y").bytes(4, op)
}

/// An f32 tensor of two elements.
fn tensor() -> Message {
    new()
        .number(1, 2)
        .number(2, 1)
        .bytes(8, "w")
        .bytes(9, [0; 8])
}

fn port(name: &str, dim: i64) -> Message {
    let shape = new().bytes(1, new().number(1, dim));
    let tensor_type = new().number(1, 1).bytes(2, shape);
    new().bytes(1, name).bytes(2, new().bytes(1, tensor_type))
}

fn graph() -> Message {
    let ports = new().bytes(11, port("x", 2)).bytes(12, port("y", 2));
    ports.bytes(1, node("Relu")).bytes(2, "graph")
}

fn model(graph: &Message) -> Message {
    new()
        .number(1, 9)
        .bytes(7, graph)
        .bytes(8, new().number(2, 18))
}

fn with_node(node: &Message) -> Message {
    model(&graph().bytes(1, node))
}

fn with_tensor(tensor: &Message) -> Message {
    model(&graph().bytes(5, tensor))
}

fn with_attribute(attribute: &Message) -> Message {
    with_node(&node("If").bytes(5, attribute))
}

/// A graph in an attribute of a node in a graph, so many levels down.
fn nested(levels: usize) -> Message {
    let mut inner = graph();
    for _ in 0..levels {
        let attribute = new().bytes(1, "body").bytes(6, &inner);
        inner = graph().bytes(1, node("Loop").bytes(5, attribute));
    }
    model(&inner)
}

fn repeated(field: u64, part: &Message, times: usize) -> Message {
    let one = new().bytes(field, part);
    Message(one.0.repeat(times))
}

#[test]
fn honest_models_pass_and_are_counted() {
    let census = |nodes, tensors, subgraphs| {
        Ok(Census {
            nodes,
            tensors,
            subgraphs,
        })
    };
    let floats = |bytes: usize| new().number(1, 2).number(2, 1).bytes(4, vec![0; bytes]);
    for (what, model, expected) in [
        ("plain", model(&graph()), census(1, 0, 0)),
        ("raw content", with_tensor(&tensor()), census(1, 1, 0)),
        ("typed content", with_tensor(&floats(8)), census(1, 1, 0)),
        (
            "a scalar",
            with_tensor(&new().number(2, 7).number(7, -1)),
            census(1, 1, 0),
        ),
        (
            "nothing in it",
            with_tensor(&new().number(1, 0).number(2, 1)),
            census(1, 1, 0),
        ),
        (
            "four-bit pairs",
            with_tensor(&new().number(1, 3).number(2, 21).bytes(9, [0; 2])),
            census(1, 1, 0),
        ),
        (
            "text",
            with_tensor(&new().number(1, 2).number(2, 8).bytes(6, "a").bytes(6, "b")),
            census(1, 1, 0),
        ),
        (
            "packed dimensions",
            with_tensor(&new().bytes(1, [1, 2]).number(2, 1).bytes(9, [0; 8])),
            census(1, 1, 0),
        ),
        (
            "a tensor in an attribute",
            with_attribute(&new().bytes(5, tensor())),
            census(2, 1, 0),
        ),
        (
            "the deepest nesting",
            nested(DEPTH_MAX),
            census(2 * DEPTH_MAX + 1, 0, DEPTH_MAX),
        ),
        (
            "any size",
            model(&graph().bytes(11, new().bytes(1, "z"))),
            census(1, 0, 0),
        ),
        (
            "operators of Microsoft's",
            with_node(&node("MatMulNBits").bytes(7, "com.microsoft")),
            census(2, 0, 0),
        ),
        (
            "an unused import",
            model(&graph()).bytes(8, new().bytes(1, "org.pytorch.aten").number(2, 1)),
            census(1, 0, 0),
        ),
    ] {
        assert_eq!(inspect(model.as_ref()), expected, "{what}");
    }
}

#[test]
fn the_models_of_the_tests_pass_but_for_the_one_with_outside_weights() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut seen = 0;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "onnx")
        {
            let found = inspect(&std::fs::read(&path).unwrap());
            let outside = path.ends_with("external.onnx");
            assert_eq!(found.is_err(), outside, "{}: {found:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10);
}

type Case = (&'static str, Message, &'static str);

/// A tensor whose content is elsewhere.
fn external(key: &str, value: &str) -> Message {
    let entry = new().bytes(1, key).bytes(2, value);
    tensor().number(14, 1).bytes(13, entry)
}

/// An f32 tensor of eight bytes with these dimensions.
fn sized(dims: &[i64]) -> Message {
    let tensor = new().number(2, 1).bytes(9, [0; 8]);
    dims.iter()
        .fold(tensor, |tensor, dim| tensor.number(1, *dim))
}

fn no_models() -> Vec<Case> {
    let whole = with_tensor(&tensor());
    let cut = Message(whole.0[..whole.0.len() - 3].to_vec());
    let mut endless = vec![0xff; 11];
    endless[0] = 0x3a;
    vec![
        ("an empty file", new(), "no graph"),
        ("zeros", Message(vec![0; 64]), "no protobuf"),
        (
            "text",
            Message(b"assay-reference-graph 1\n".to_vec()),
            "no ",
        ),
        ("a cut file", cut, "no protobuf"),
        ("a length without end", Message(endless), "no protobuf"),
        (
            "an old-style group",
            Message(vec![0x3b, 0x3c]),
            "no protobuf",
        ),
        ("a number for a graph", new().number(7, 1), "no graph"),
    ]
}

fn outside_content() -> Vec<Case> {
    const OUTSIDE: &str = "not in the file";
    let outside = || external("location", "x");
    let body = || graph().bytes(5, outside());
    let path = |path| with_tensor(&external("location", path));
    let by_entries = tensor().bytes(13, new().bytes(1, "location"));
    let attribute = |field, inner: &Message| with_attribute(&new().bytes(field, inner));
    vec![
        ("a path upwards", path("../../etc/passwd"), OUTSIDE),
        ("an absolute path", path("/dev/zero"), OUTSIDE),
        ("an address", path("*/_ORT_MEM_ADDR_/*"), OUTSIDE),
        ("by flag", with_tensor(&tensor().number(14, 1)), OUTSIDE),
        ("by entries", with_tensor(&by_entries), OUTSIDE),
        (
            "an unknown place",
            with_tensor(&tensor().number(14, 7)),
            OUTSIDE,
        ),
        ("an attribute's", attribute(5, &outside()), OUTSIDE),
        ("a list's", attribute(10, &outside()), OUTSIDE),
        ("a sub-graph's", attribute(6, &body()), OUTSIDE),
        ("a list of graphs'", attribute(11, &body()), OUTSIDE),
    ]
}

fn wrong_sizes() -> Vec<Case> {
    let typed = new().number(1, 2).number(2, 7).bytes(4, [0; 8]);
    let twice = tensor().bytes(9, [0; 8]);
    let text = new().number(1, 1).number(2, 8).bytes(9, "a");
    let cut = new().bytes(1, [0x80]).number(2, 1);
    let no_type = new().number(1, 1).bytes(9, [0; 4]);
    let no_bytes = new().number(1, 1 << 40).number(2, 1);
    let segments = tensor().bytes(3, new().number(1, 0));
    let wraps = sized(&[1 << 32, 1 << 32]);
    let input = model(&graph().bytes(11, port("z", -1)));
    let output = model(&graph().bytes(12, port("z", 1 << 40)));
    vec![
        ("a negative size", with_tensor(&sized(&[-1])), "no size"),
        ("a product that wraps", with_tensor(&wraps), "no size"),
        ("too large", with_tensor(&sized(&[1 << 40])), "another size"),
        ("too small", with_tensor(&sized(&[1])), "another size"),
        ("no bytes", with_tensor(&no_bytes), "another size"),
        (
            "17 dimensions",
            with_tensor(&sized(&[1; 17])),
            "more than 16",
        ),
        ("type 99", with_tensor(&tensor().number(2, 99)), "type 99"),
        ("no type", with_tensor(&no_type), "unknown type 0"),
        ("floats as integers", with_tensor(&typed), "wrong place"),
        (
            "two places",
            with_tensor(&tensor().bytes(4, [0; 8])),
            "wrong place",
        ),
        ("given twice", with_tensor(&twice), "content is given twice"),
        ("text as bytes", with_tensor(&text), "another size"),
        ("segments", with_tensor(&segments), "segments"),
        ("cut dimensions", with_tensor(&cut), "cut off"),
        ("an input of -1", input, "dimension of -1"),
        ("an output of 2^40", output, "dimension of 1099511627776"),
    ]
}

fn hidden_parts() -> Vec<Case> {
    let sparse = new().bytes(1, tensor());
    let tensors = new().bytes(5, tensor()).bytes(5, tensor());
    let graphs = new().bytes(6, graph()).bytes(6, graph());
    let same_name = graph().bytes(5, tensor()).bytes(5, tensor());
    let function = model(&graph()).bytes(25, new().bytes(1, "f"));
    // A reader that cuts tags to 32 bits sees the field that it is without this bit.
    let cut = 1 << 29;
    let behind = "it is no protobuf message";
    let both_formats = new().bytes(2, "..ORTM").bytes(7, graph());
    vec![
        (
            "a function behind the 33rd bit",
            model(&graph()).bytes(25 | cut, new().bytes(1, "f")),
            behind,
        ),
        (
            "a node behind the 33rd bit",
            model(&graph().bytes(1 | cut, node("Run").bytes(7, "com.example"))),
            behind,
        ),
        (
            "a tensor behind the 33rd bit",
            model(&graph().bytes(5 | cut, tensor())),
            behind,
        ),
        ("two formats at once", both_formats, "format of its own"),
        (
            "two graphs",
            model(&graph()).bytes(7, graph()),
            "graph is given twice",
        ),
        (
            "a sparse initialiser",
            model(&graph().bytes(15, &sparse)),
            "sparse",
        ),
        (
            "a sparse attribute",
            with_attribute(&new().bytes(22, &sparse)),
            "sparse",
        ),
        ("merged tensors", with_attribute(&tensors), "given twice"),
        ("merged graphs", with_attribute(&graphs), "given twice"),
        ("two of one name", model(&same_name), "named \"w\""),
        ("a function", function, "functions"),
        ("training", model(&graph()).bytes(20, new()), "training"),
    ]
}

fn foreign_operators() -> Vec<Case> {
    let of = |op, domain: &[u8]| with_node(&node(op).bytes(7, domain));
    vec![
        ("a stranger's", of("Run", b"com.example"), "\"com.example\""),
        ("a strange name", of("Run", &[0xff]), "UTF-8"),
        (
            "a blob in a file",
            of("EPContext", b"com.microsoft"),
            "EPContext",
        ),
        (
            "an interpreter",
            of("PythonOp", b"com.microsoft"),
            "PythonOp",
        ),
    ]
}

fn bombs() -> Vec<Case> {
    let nodes = model(&repeated(1, &new(), NODES_MAX + 1));
    let graphs = repeated(11, &new(), SUBGRAPHS_MAX + 1);
    let empty = new().number(1, 0).number(2, 1);
    let tensors = repeated(10, &empty, TENSORS_MAX + 1);
    vec![
        (
            "one level too deep",
            nested(DEPTH_MAX + 1),
            "more than 8 deep",
        ),
        ("deep enough for a stack", nested(2_000), "more than 8 deep"),
        ("nodes", nodes, "more than 200000 nodes"),
        (
            "sub-graphs",
            with_attribute(&graphs),
            "more than 4096 sub-graphs",
        ),
        (
            "tensors",
            with_attribute(&tensors),
            "more than 100000 tensors",
        ),
    ]
}

#[test]
fn hostile_models_are_refused_and_the_reason_is_named() {
    let mut cases = no_models();
    for more in [
        outside_content(),
        wrong_sizes(),
        hidden_parts(),
        foreign_operators(),
        bombs(),
    ] {
        cases.extend(more);
    }
    for (what, model, expected) in &cases {
        let reason = inspect(model.as_ref()).expect_err(what);
        assert!(reason.contains(expected), "{what}: {reason}");
        assert!(reason.len() < 512, "{what}: {} bytes", reason.len());
    }
    assert_eq!(cases.len(), 54);
}
