//! Models whose ports or whose structure is hostile.

use crate::case::{Case, fails_as};
use crate::onnx::{asks, ends, failed, honest, item, refused};
use crate::proto::{
    ANY, BOOL, F32, Message, STRING, empty, model, new, node, port, port_of, raw_tensor, rows,
    tensor_type,
};

fn ports() -> Vec<Case> {
    let identity = |input: &Message, output: &Message| {
        empty("ports")
            .input(input)
            .output(output)
            .node(&node("Identity", "x", "y"))
    };
    let typed = |ty: i64| identity(&port("x", ty, &[ANY]), &port("y", ty, &[ANY]));
    let f32s = tensor_type(F32, &[ANY]);
    let of = |field: u64| {
        let ty = new().bytes(field, new().bytes(1, &f32s));
        identity(&port_of("x", &ty), &port_of("y", &ty))
    };
    let deep = vec![ANY; 17];
    let ranked = identity(&port("x", F32, &deep), &port("y", F32, &deep));
    let many = (0..1100).fold(rows().node(&node("Identity", "x", "y")), |graph, at| {
        let name = format!("extra{at}");
        graph
            .node(&node("Identity", "x", &name))
            .output(&port(&name, F32, &[ANY]))
    });
    let fixed = identity(
        &port("x", F32, &[4_000_000_000]),
        &port("y", F32, &[4_000_000_000]),
    );
    vec![
        ends(
            "ports of text",
            &typed(STRING),
            1.0,
            &refused("which wasi:nn cannot carry"),
        ),
        ends(
            "ports of truth",
            &typed(BOOL),
            1.0,
            &refused("which wasi:nn cannot carry"),
        ),
        ends("ports of sequences", &of(4), 1.0, &refused("is no tensor")),
        ends(
            "ports that may be empty",
            &of(9),
            1.0,
            &refused("is no tensor"),
        ),
        ends(
            "ports of seventeen dimensions",
            &ranked,
            1.0,
            &refused("has rank 17, the bound is 16"),
        ),
        ends("eleven hundred ports", &many, 1.0, &refused("the bound is")),
        ends(
            "a port of four billion",
            &fixed,
            1.0,
            &failed("the graph wants [4000000000]"),
        ),
    ]
}

/// `If` within `If`, so many levels, with other constants in both branches.
fn branches(levels: usize, name: &str) -> Message {
    let (out, inner) = (format!("o{name}"), format!("{name}t"));
    let graph = empty(name).output(&port(&out, F32, &[ANY]));
    if levels == 0 {
        return graph.node(&node("Identity", "x", &out));
    }
    let condition = format!("c{name}");
    let branch = node("If", &condition, &out)
        .graph("then_branch", &branches(levels - 1, &inner))
        .graph("else_branch", &branches(levels - 1, &format!("{name}e")));
    graph
        .initial(&raw_tensor(&condition, BOOL, &[], &[1]))
        .node(&branch)
}

/// So many nodes, one after the other.
fn chain(length: usize) -> Message {
    let name = |at: usize| match at {
        0 => "x".to_owned(),
        at if at == length => "y".to_owned(),
        at => format!("v{at}"),
    };
    (0..length).fold(rows(), |graph, at| {
        graph.node(&node("Neg", &name(at), &name(at + 1)))
    })
}

fn structures() -> Vec<Case> {
    let nested = |levels| {
        rows().initial(&raw_tensor("c", BOOL, &[], &[1])).node(
            &node("If", "c", "y")
                .graph("then_branch", &branches(levels, "t"))
                .graph("else_branch", &branches(levels, "e")),
        )
    };
    let many = (0..5_000).fold(rows().node(&node("Identity", "x", "y")), |graph, at| {
        graph.initial(&raw_tensor(&format!("w{at}"), F32, &[0], &[]))
    });
    let circle = rows()
        .node(&node("Add", "x b", "a"))
        .node(&node("Add", "x a", "b"))
        .node(&node("Add", "a b", "y"));
    let twice = rows()
        .node(&node("Neg", "x", "y"))
        .node(&node("Abs", "x", "y"));
    let function = rows().node(&node("f", "x", "y"));
    let mut local = model(&function);
    local.extend(
        new()
            .bytes(25, new().bytes(1, "f").bytes(7, node("f", "x", "y")))
            .0,
    );
    let mut newer = model(&rows().node(&node("Identity", "x", "y")));
    newer.extend(new().bytes(8, new().bytes(1, "").number(2, 9_999)).0);
    let raw = |name, bytes: Vec<u8>, words| {
        fails_as(name, asks, &refused(words))
            .model("m", bytes)
            .item(item(1.0))
    };
    vec![
        honest("branches six deep", &nested(6)),
        ends(
            "branches nine deep",
            &nested(9),
            1.0,
            &refused("nested more than 8 deep"),
        ),
        honest("a chain of ten thousand nodes", &chain(10_000)),
        honest("five thousand empty weights", &many),
        ends("a circle", &circle, 1.0, &refused("not acyclic")),
        ends(
            "a name given twice",
            &twice,
            1.0,
            &refused("Duplicate definition"),
        ),
        ends(
            "an operator of nobody",
            &function,
            1.0,
            &refused("No Op registered"),
        ),
        raw("a function that calls itself", local, "defines functions"),
        raw("operators of tomorrow", newer, "Opset 9999"),
        raw(
            "no model",
            b"assay-reference-graph 1\ninput x f32 -1\n".to_vec(),
            "is no protobuf message",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = ports();
    cases.extend(structures());
    cases
}
