//! Hostile models, run by ONNX Runtime in a worker: what a look at the file cannot find.
//!
//! A model that is wrong is refused, or fails its compute, and the job is to blame. A model that takes
//! too long or too much memory is stopped, and the clock or the worker is: nobody is to blame before
//! others have tried the same.

use runtime::Backend;

use crate::case::{Case as Hostile, Way, fails_as, works};
use crate::corpus::{are_known_by_name, block_on, play, report};
use crate::files;
use crate::guests::{NN, guest};
use crate::harness::Case;
use crate::proto::{
    ANY, BOOL, F32, I32, I64, Message, empty, i64s, model, node, port, raw_tensor, rows,
};
use crate::rig::Rig;

pub(crate) const CASES: &[Case] = &[(
    "no_hostile_model_harms_the_node_or_its_neighbours",
    no_hostile_model_harms_the_node_or_its_neighbours,
)];

/// What a worker may take of the machine's memory while it runs these models, in bytes.
pub(crate) const WORKER_BYTES: u64 = 1 << 30;

/// Milliseconds for models that would run for ever.
const WALL_MS: u64 = 500;

/// How many there are: SPECIFICATION.md says the same.
const MODELS: usize = 45;

/// What a worker may hold beyond its guest's limit while it runs these, in bytes: all the private memory
/// that it may have, and the pages of its program and of ONNX Runtime, which are not private.
const SPARE_BYTES: u64 = WORKER_BYTES + (64 << 20);

/// The library says that the model is wrong.
pub(crate) const fn refused(words: &'static str) -> [Way; 1] {
    [("ModelRefused", words)]
}

/// The guest is told that its compute failed, and gives up.
pub(crate) const fn failed(words: &'static str) -> [Way; 1] {
    [("Guest", words)]
}

/// Memory ran out: named, or the end of the worker.
const MEMORY: &[Way] = &[
    ("Device", "Failed to allocate memory"),
    ("Device", "std::bad_alloc"),
    ("WorkerLost", "the process was ended by"),
];
/// Time ran out.
const TIME: &[Way] = &[("Deadline", "took longer than 500 ms")];
/// Time or memory: a race that the machine decides.
const EITHER: &[Way] = &[
    MEMORY[0],
    MEMORY[1],
    MEMORY[2],
    ("Deadline", "took longer than 60000 ms"),
];

/// Gives the only item to the graph as a row of f32 and answers with the bytes of the first output,
/// or with an error of the model if the compute failed.
pub(crate) fn asks() -> Vec<u8> {
    let text = r#"
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.data" (func $text (param i32 i32)))"#;
    let names = r#"(data (i32.const 2048) "m") (data (i32.const 2056) "x")"#;
    let body = r#"
      (call $load (i32.const 2048) (i32.const 1) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (call $context (i32.load (i32.const 3076)) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (local.set $i (i32.load (i32.const 3076)))
      (i32.store (i32.const 2064) (i32.shr_u (i32.load offset=4 (local.get $items)) (i32.const 2)))
      (i32.store (i32.const 3104) (i32.const 2056))
      (i32.store (i32.const 3108) (i32.const 1))
      (i32.store (i32.const 3112) (call $tensor
        (i32.const 2064) (i32.const 1) (i32.const 1)
        (i32.load (local.get $items)) (i32.load offset=4 (local.get $items))))
      (call $compute (local.get $i) (i32.const 3104) (i32.const 1) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then
        (call $text (i32.load (i32.const 3076)) (i32.const 3136))
        (return (call $err (i32.const 1) (i32.load (i32.const 3136)) (i32.load (i32.const 3140))))))
      (call $data (i32.load offset=8 (i32.load (i32.const 3076))) (i32.const 3136))
      (return (call $ok (i32.const 3136) (i32.const 1)))"#;
    guest(&[NN, text].concat(), 2, names, body)
}

pub(crate) fn item(value: f32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// A model that ends as one of these, when it is given a row of this one number.
pub(crate) fn ends(name: &'static str, graph: &Message, x: f32, ways: &[Way]) -> Hostile {
    fails_as(name, asks, ways)
        .model("m", model(graph))
        .item(item(x))
}

/// A model that answers with what it was given.
pub(crate) fn honest(name: &'static str, graph: &Message) -> Hostile {
    works(name, asks).model("m", model(graph)).item(item(1.0))
}

fn briefly(case: Hostile) -> Hostile {
    case.under(|limits| limits.wall_ms = WALL_MS)
}

/// `y = x + 0 * sum(big)`, where these nodes make `big`, of f32 and of rank one.
fn sums(nodes: &[Message], initial: &[Message]) -> Message {
    let graph = nodes.iter().fold(rows(), |graph, node| graph.node(node));
    let graph = initial
        .iter()
        .fold(graph, |graph, tensor| graph.initial(tensor));
    graph
        .initial(&raw_tensor("zero", F32, &[1], &0f32.to_le_bytes()))
        .node(&node("ReduceSum", "big", "sum"))
        .node(&node("Mul", "sum zero", "nothing"))
        .node(&node("Add", "x nothing", "y"))
}

/// A tensor of ones, of a shape that is known when the model is loaded.
fn constant(dims: &[i64]) -> Message {
    let rank = [dims.len() as i64];
    sums(
        &[node("ConstantOfShape", "shape", "big")],
        &[i64s("shape", &rank, dims)],
    )
}

/// The number that the row begins with, as a shape.
fn by_input() -> [Message; 1] {
    [node("Cast", "x", "shape").int("to", I64)]
}

fn folding() -> Vec<Hostile> {
    vec![
        honest("a constant of a megabyte", &constant(&[1 << 18])),
        ends(
            "a constant of sixteen gigabytes",
            &constant(&[1 << 32]),
            1.0,
            MEMORY,
        ),
        ends(
            "a constant of eight exabytes",
            &constant(&[1 << 30, 1 << 31]),
            1.0,
            MEMORY,
        ),
        ends(
            "a constant of less than nothing",
            &constant(&[-5]),
            1.0,
            &refused("must have non-negative elements"),
        ),
    ]
}

fn more_folding() -> Vec<Hostile> {
    let one = raw_tensor("one", F32, &[1], &1f32.to_le_bytes());
    let expand = sums(
        &[node("Expand", "one shape", "big")],
        &[one.clone(), i64s("shape", &[1], &[1 << 31])],
    );
    let tiles = [
        node("Tile", "one thousand", "a"),
        node("Tile", "a thousand", "b"),
        node("Tile", "b thousand", "c"),
        node("Tile", "c thousand", "big"),
    ];
    let tile = sums(&tiles, &[one.clone(), i64s("thousand", &[1], &[1000])]);
    let doubling: Vec<Message> = (0..34)
        .map(|at| {
            let before = if at == 0 {
                "one".to_owned()
            } else {
                format!("v{at}")
            };
            let after = if at == 33 {
                "big".to_owned()
            } else {
                format!("v{}", at + 1)
            };
            node("Concat", &format!("{before} {before}"), &after).int("axis", 0)
        })
        .collect();
    let range = [
        node("Range", "from to by", "numbers"),
        node("Cast", "numbers", "big").int("to", F32),
    ];
    let ends_of = [
        i64s("from", &[], &[0]),
        i64s("to", &[], &[1 << 40]),
        i64s("by", &[], &[1]),
    ];
    let pad = sums(
        &[node("Pad", "one pads", "big")],
        &[one.clone(), i64s("pads", &[2], &[0, 1 << 32])],
    );
    vec![
        ends("one number, two billion times", &expand, 1.0, MEMORY),
        ends("a thousand times a thousand, twice", &tile, 1.0, MEMORY),
        ends(
            "thirty-four doublings",
            &sums(&doubling, &[one]),
            1.0,
            MEMORY,
        ),
        ends(
            "a range of a trillion",
            &sums(&range, &ends_of),
            1.0,
            MEMORY,
        ),
        ends("a frame of four billion", &pad, 1.0, MEMORY),
    ]
}

/// The body of a loop that adds `one` to what it carries; `more` are further nodes and outputs.
pub(crate) fn body(more: impl FnOnce(Message) -> Message) -> Message {
    let body = empty("body")
        .input(&port("turn", I64, &[]))
        .input(&port("go", BOOL, &[]))
        .input(&port("v", F32, &[ANY]))
        .node(&node("Identity", "go", "on"))
        .output(&port("on", BOOL, &[]))
        .output(&port("w", F32, &[ANY]));
    more(body)
}

pub(crate) fn looping(turns: i64, outputs: &str, body: &Message) -> Message {
    rows()
        .initial(&i64s("turns", &[], &[turns]))
        .initial(&raw_tensor("yes", BOOL, &[], &[1]))
        .node(&node("Loop", "turns yes x", outputs).graph("body", body))
}

fn loops() -> Vec<Hostile> {
    let same = || body(|body| body.node(&node("Identity", "v", "w")));
    let forever = {
        let without_count = rows()
            .initial(&raw_tensor("yes", BOOL, &[], &[1]))
            .node(&node("Loop", "_ yes x", "y").graph("body", &same()));
        ends("a loop that nothing ends", &without_count, 1.0, TIME)
    };
    let inner = node("Loop", "many go v", "w").graph("body", &{
        empty("inner")
            .input(&port("turn2", I64, &[]))
            .input(&port("go2", BOOL, &[]))
            .input(&port("v2", F32, &[ANY]))
            .node(&node("Identity", "go2", "on2"))
            .node(&node("Identity", "v2", "w2"))
            .output(&port("on2", BOOL, &[]))
            .output(&port("w2", F32, &[ANY]))
    });
    let nested = body(|body| body.initial(&i64s("many", &[], &[1 << 62])).node(&inner));
    vec![
        honest("a loop of ten turns", &looping(10, "y", &same())),
        briefly(ends(
            "a loop of 2^62 turns",
            &looping(1 << 62, "y", &same()),
            1.0,
            TIME,
        )),
        briefly(forever),
        briefly(ends(
            "a loop in a loop",
            &looping(1 << 62, "y", &nested),
            1.0,
            TIME,
        )),
    ]
}

fn more_loops() -> Vec<Hostile> {
    let growing = body(|body| body.node(&node("Concat", "v v", "w").int("axis", 0)));
    let collecting = body(|body| {
        body.node(&node("Identity", "v", "w"))
            .node(&node("ConstantOfShape", "wide", "seen"))
            .initial(&i64s("wide", &[1], &[1 << 20]))
            .output(&port("seen", F32, &[ANY]))
    });
    let scan_body = empty("scan")
        .input(&port("s", F32, &[]))
        .input(&port("e", F32, &[]))
        .node(&node("Add", "s e", "t"))
        .output(&port("t", F32, &[]));
    let scan = rows()
        .initial(&raw_tensor("zero", F32, &[], &0f32.to_le_bytes()))
        .node(&node("Cast", "x", "shape").int("to", I64))
        .node(&node("ConstantOfShape", "shape", "long"))
        .node(
            &node("Scan", "zero long", "end")
                .int("num_scan_inputs", 1)
                .graph("body", &scan_body),
        )
        .node(&node("Add", "x end", "y"));
    vec![
        briefly(ends("a scan of a hundred million", &scan, 1e8, TIME)),
        ends(
            "a loop that doubles what it carries",
            &looping(1 << 62, "y", &growing),
            1.0,
            MEMORY,
        ),
        ends(
            "a loop that keeps what it sees",
            &looping(1 << 62, "y seen-all", &collecting),
            1.0,
            EITHER,
        ),
    ]
}

fn by_numbers() -> Vec<Hostile> {
    let [cast] = by_input();
    let shaped = rows()
        .node(&cast)
        .node(&node("ConstantOfShape", "shape", "y"));
    vec![
        ends(
            "an output of half a gigabyte",
            &shaped,
            134_217_728.0,
            &failed("an output in bytes is 536870912, the bound is 134217728"),
        ),
        ends(
            "an output of eight gigabytes",
            &shaped,
            2_147_483_648.0,
            MEMORY,
        ),
        ends(
            "an output of a size that wraps",
            &shaped,
            9.2e18,
            &failed("storage size overflowed"),
        ),
        ends(
            "an output of less than nothing",
            &shaped,
            -1.0,
            &failed("must be >= 0"),
        ),
        ends(
            "an output of no number",
            &shaped,
            f32::NAN,
            &failed("must be >= 0"),
        ),
        ends(
            "an output of infinity",
            &shaped,
            f32::INFINITY,
            &failed("must be >= 0"),
        ),
    ]
}

fn more_by_numbers() -> Vec<Hostile> {
    let [cast] = by_input();
    let side = 8192;
    let product = rows()
        .node(&cast)
        .initial(&i64s("side", &[1], &[side]))
        .node(&node("Concat", "shape side", "square").int("axis", 0))
        .node(&node("ConstantOfShape", "square", "a"))
        .node(&node("MatMul", "a a", "b"))
        .node(&node("MatMul", "b a", "c"))
        .node(&node("ReduceMax", "c", "d"))
        .node(&node("Flatten", "d", "e"))
        .initial(&i64s("one-row", &[1], &[-1]))
        .node(&node("Reshape", "e one-row", "y"));
    let divided = |op: &str| {
        rows()
            .initial(&raw_tensor("least", I32, &[1], &i32::MIN.to_le_bytes()))
            .node(&node("Cast", "x", "by").int("to", I32))
            .node(&node(op, "least by", "q"))
            .node(&node("Cast", "q", "y").int("to", F32))
    };
    let gather = rows()
        .node(&node("Cast", "x", "at").int("to", I64))
        .node(&node("Gather", "x at", "y"));
    let reshape = rows().node(&cast).node(&node("Reshape", "x shape", "y"));
    vec![
        briefly(ends(
            "a product that takes a minute",
            &product,
            8192.0,
            TIME,
        )),
        ends(
            "a division by nothing",
            &divided("Div"),
            0.0,
            &failed("division by zero"),
        ),
        ends(
            "a division that overflows",
            &divided("Div"),
            -1.0,
            &[("WorkerLost", "the process was ended by signal 8")],
        ),
        ends(
            "a remainder by nothing",
            &divided("Mod"),
            0.0,
            &failed("modulo by zero"),
        ),
        ends(
            "an element that is not there",
            &gather,
            1e9,
            &failed("out of data bounds"),
        ),
        ends(
            "a shape that does not fit",
            &reshape,
            7.0,
            &failed("cannot be reshaped"),
        ),
    ]
}

fn no_hostile_model_harms_the_node_or_its_neighbours() {
    let rig = || Rig::new(Backend::Onnx, Some(WORKER_BYTES));
    let no_models = block_on(rig().pool().probe()).unwrap().no_models;
    assert_eq!(no_models, None, "run `cargo xtask setup` first");
    let mut rig = rig();
    let mut cases = folding();
    cases.extend(more_folding());
    for more in [
        loops(),
        more_loops(),
        by_numbers(),
        more_by_numbers(),
        files::cases(),
    ] {
        cases.extend(more);
    }
    are_known_by_name(&cases, MODELS);
    let cases: Vec<Hostile> = cases
        .into_iter()
        .map(|case| case.sparing(SPARE_BYTES))
        .collect();
    play(&mut rig, &cases);
    report(&rig, "models", "ASSAY_MODELS_JSON");
}
