//! Small models, cut by hand.

use super::super::write::{Message, new};
use super::*;

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let read = inputs.iter().fold(new(), |node, name| node.bytes(1, name));
    let made = outputs.iter().fold(read, |node, name| node.bytes(2, name));
    made.bytes(4, op)
}

fn floats(name: &str) -> Message {
    new().number(2, 1).bytes(8, name).bytes(9, [0; 4])
}

fn graph(nodes: &[Message], inputs: &[&str], outputs: &[&str]) -> Message {
    let nodes = nodes.iter().fold(new(), |graph, node| graph.bytes(1, node));
    let port = |name: &&str| new().bytes(1, name);
    let named = inputs.iter().fold(nodes, |g, name| g.bytes(11, port(name)));
    outputs
        .iter()
        .fold(named, |g, name| g.bytes(12, port(name)))
}

fn model(graph: &Message) -> Vec<u8> {
    let opset = new().number(2, 18);
    new().number(1, 9).bytes(7, graph).bytes(8, opset).0
}

fn names(cut: &Cut<'_>, ids: Vec<usize>) -> String {
    let name = |id: usize| cut.values()[id].name;
    ids.into_iter().map(name).collect::<Vec<_>>().join(" ")
}

/// What crosses each position, a line each.
fn crossings(model: &[u8]) -> Result<Vec<String>, String> {
    let cut = Cut::of(model)?;
    let positions = 0..=cut.nodes().len();
    Ok(positions.map(|at| names(&cut, cut.frontier(at))).collect())
}

#[test]
fn a_frontier_is_what_was_made_before_and_is_wanted_behind() {
    let branch = graph(&[node("Add", &["a", "w"], &["r"])], &[], &["r"]);
    let branch = new().bytes(1, "then_branch").bytes(6, branch);
    for (what, model, expected) in [
        (
            "an input that is read late and an output that is made early",
            model(&graph(
                &[
                    node("Relu", &["x"], &["a"]),
                    node("Add", &["a", "z"], &["y"]),
                ],
                &["x", "z"],
                &["y", "a"],
            )),
            vec!["x z", "z a", "a y"],
        ),
        (
            "nodes that stand before those they read",
            model(&graph(
                &[node("Neg", &["a"], &["y"]), node("Relu", &["x"], &["a"])],
                &["x"],
                &["y"],
            )),
            vec!["x", "a", "y"],
        ),
        (
            "weights and constants, and an output that nobody wants",
            model(
                &graph(
                    &[
                        node("Constant", &[], &["c"]),
                        node("Split", &["x", "c"], &["a", "unwanted"]),
                        node("Mul", &["a", "w"], &["y"]),
                    ],
                    &["x", "w"],
                    &["y"],
                )
                .bytes(5, floats("w")),
            ),
            vec!["x", "a", "y"],
        ),
        (
            "a branch that reads from outside",
            model(&graph(
                &[
                    node("Relu", &["x"], &["a"]),
                    node("Neg", &["x"], &["b"]),
                    node("If", &["b"], &["y"]).bytes(5, branch),
                ],
                &["x"],
                &["y"],
            )),
            vec!["x", "x a", "a b", "y"],
        ),
    ] {
        assert_eq!(
            crossings(&model),
            Ok(expected.iter().map(|s| (*s).to_owned()).collect()),
            "{what}"
        );
    }
}

#[test]
fn what_cannot_be_cut_says_why() {
    let plain = |nodes: &[Message]| model(&graph(nodes, &["x"], &["y"]));
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let drawing = graph(&[node("RandomUniform", &[], &["r"])], &[], &["r"]);
    let drawing = new().bytes(1, "then_branch").bytes(6, drawing);
    let many: Vec<String> = (0..=FRONTIER_MAX).map(|at| format!("v{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (model, expected) in [
        (
            plain(&[node("RandomNormal", &[], &["y"])]),
            "it draws random numbers with RandomNormal",
        ),
        (
            plain(&[node("If", &["x"], &["y"]).bytes(5, drawing)]),
            "with RandomUniform",
        ),
        (
            plain(&[node("Neg", &["b"], &["a"]), node("Neg", &["a"], &["b"])]),
            "its nodes wait for one another",
        ),
        (
            plain(&[node("Neg", &["x"], &["y"]), node("Relu", &["x"], &["y"])]),
            "\"y\" is made twice",
        ),
        (
            plain(&[node("Neg", &["x"], &[&long])]),
            "513 bytes, the bound is 512",
        ),
        (
            plain(&[node("Neg", &["x"], &["assay.carried.in.x"])]),
            "is ours",
        ),
        (
            plain(&[node("Split", &["x"], &many), node("Concat", &many, &["y"])]),
            "1025 values cross position 1, the bound is 1024",
        ),
        (
            plain(&vec![node("Neg", &["x"], &[""]); CUT_NODES_MAX + 1]),
            "more than 16384 nodes",
        ),
        (b"no model".to_vec(), "protobuf"),
    ] {
        let error = Cut::of(&model).unwrap_err();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}

#[test]
fn a_part_has_the_weights_it_uses_and_no_others() {
    let nodes = [
        node("Mul", &["x", "w"], &["a"]),
        node("Mul", &["a", "v"], &["b"]),
        node("Add", &["b", "x"], &["y"]),
    ];
    let graph = graph(&nodes, &["x"], &["y"]);
    let model = model(&graph.bytes(5, floats("w")).bytes(5, floats("v")));
    let cut = Cut::of(&model).unwrap();
    let types = vec![Carrier::of(1); cut.values().len()];
    for (from, to, reads, makes, tensors) in [
        (0, 3, "x", "a b y", 2),
        (1, 2, "a", "b", 1),
        (2, 3, "x b", "y", 0),
        (1, 3, "x a", "b y", 1),
    ] {
        let ids = cut.makes(from, to);
        let part = cut.part(from, to, &ids, &types, Typed::Yes).unwrap();
        let census = inspect(&part.model).unwrap();
        assert_eq!((census.nodes, census.tensors), (to - from, tensors));
        assert_eq!(names(&cut, cut.reads(from, to)), reads);
        assert_eq!(names(&cut, ids), makes);
        assert_eq!(part.inputs.len(), reads.split(' ').count());
    }
}
