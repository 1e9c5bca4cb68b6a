//! Guests that misuse `wasi:nn`.

use crate::case::{Case, fails, works};
use crate::guests::{NN, guest};

/// The graph that these guests know: `y = x + x` over rows of f32 of any number.
pub(crate) const DOUBLE: &str = "assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n";

/// The rest of the functions of the four interfaces.
const MORE: &str = r#"
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load" (func $load-bytes (param i32 i32 i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[resource-drop]graph" (func $drop-graph (param i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[resource-drop]graph-execution-context"
    (func $drop-context (param i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.dimensions" (func $dims (param i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.ty" (func $type (param i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor" (func $drop-tensor (param i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.code" (func $code (param i32) (result i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.data" (func $text (param i32 i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[resource-drop]error" (func $drop-error (param i32)))"#;

/// Cases of `errors.error-code`.
const INVALID: u32 = 0;
const TOO_LARGE: u32 = 5;
const NOT_FOUND: u32 = 6;
const SECURITY: u32 = 7;

/// The functions that the bodies below share. `m` is at 2048, `x` at 2056, and at 2064 are the
/// dimensions; results of calls are written at 3072.
fn functions(dims: &[u32]) -> String {
    let dims: String = dims
        .iter()
        .flat_map(|dim| dim.to_le_bytes())
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    format!(
        r#"(data (i32.const 2048) "m") (data (i32.const 2056) "x") (data (i32.const 2064) "{dims}")
  (func $good (if (i32.load8_u (i32.const 3072)) (then unreachable)))
  ;; The last call failed, with this code; the error is dropped.
  (func $bad (param $code i32)
    (if (i32.eqz (i32.load8_u (i32.const 3072))) (then unreachable))
    (if (i32.ne (call $code (i32.load (i32.const 3076))) (local.get $code)) (then unreachable))
    (call $text (i32.load (i32.const 3076)) (i32.const 3200))
    (if (i32.gt_u (i32.load (i32.const 3204)) (i32.const 512)) (then unreachable))
    (call $drop-error (i32.load (i32.const 3076))))
  (func $graph (result i32)
    (call $load (i32.const 2048) (i32.const 1) (i32.const 3072)) (call $good)
    (i32.load (i32.const 3076)))
  (func $ready (result i32)
    (call $context (call $graph) (i32.const 3072)) (call $good)
    (i32.load (i32.const 3076)))
  ;; A tensor of this type over so many bytes, with `rank` of the dimensions.
  (func $make (param $rank i32) (param $type i32) (param $bytes i32) (result i32)
    (call $tensor (i32.const 2064) (local.get $rank) (local.get $type) (i32.const 4096) (local.get $bytes)))
  ;; Puts a tensor as `x` at this place of a list of inputs at 131072.
  (func $input (param $at i32) (param $handle i32)
    (local.set $at (i32.add (i32.const 131072) (i32.mul (local.get $at) (i32.const 12))))
    (i32.store (local.get $at) (i32.const 2056))
    (i32.store offset=4 (local.get $at) (i32.const 1))
    (i32.store offset=8 (local.get $at) (local.get $handle)))
  (func $run (param $context i32) (param $inputs i32)
    (call $compute (local.get $context) (i32.const 131072) (local.get $inputs) (i32.const 3072)))"#
    )
}

/// A guest with the graph `m` at hand.
fn asks(dims: &'static [u32], body: String) -> impl Fn() -> Vec<u8> {
    move || guest(&[NN, MORE].concat(), 8, &functions(dims), &body)
}

fn repeat(times: u32, body: &str) -> String {
    format!(
        "(loop $again {body} (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))"
    )
}

fn on(case: Case) -> Case {
    case.model("m", DOUBLE)
}

/// A compute that is refused with this code.
fn refused(name: &'static str, dims: &'static [u32], make: &str, code: u32) -> Case {
    let body = format!(
        "(local.set $j (call $ready)) (call $input (i32.const 0) {make})
         (call $run (local.get $j) (i32.const 1)) (call $bad (i32.const {code}))"
    );
    on(works(name, asks(dims, body)))
}

fn graphs() -> Vec<Case> {
    let body = |body: &str| body.to_owned();
    vec![
        on(works(
            "a graph by its bytes",
            asks(
                &[],
                body(
                    "(i32.store (i32.const 3000) (i32.const 4096))
                     (i32.store (i32.const 3004) (i32.const 100))
                     (call $load-bytes (i32.const 3000) (i32.const 1) (i32.const 1) (i32.const 0)
                       (i32.const 3072))",
                ) + &format!("(call $bad (i32.const {SECURITY}))"),
            ),
        )),
        on(works(
            "a graph that the manifest does not name",
            asks(
                &[],
                format!(
                    "(call $load (i32.const 4096) (i32.const 60000) (i32.const 3072))
                     (call $bad (i32.const {NOT_FOUND}))"
                ),
            ),
        )),
        on(works(
            "a hundred thousand loads of a graph",
            asks(&[], repeat(100_000, "(call $drop-graph (call $graph))")),
        )),
        on(works(
            "as many graphs as may be",
            asks(&[], repeat(4096, "(drop (call $graph))")),
        )),
        on(fails(
            "a graph too many",
            asks(&[], repeat(4097, "(drop (call $graph))")),
            "ResourceLimit",
            "more than 4096 tensors, graphs, contexts and errors",
        )),
    ]
}

fn more_graphs() -> Vec<Case> {
    let body = |body: &str| body.to_owned();
    vec![
        on(fails(
            "contexts without end",
            asks(&[], repeat(u32::MAX, "(drop (call $ready))")),
            "ResourceLimit",
            "more than 4096",
        )),
        on(fails(
            "errors without end",
            asks(
                &[],
                repeat(
                    u32::MAX,
                    "(call $load (i32.const 0) (i32.const 0) (i32.const 3072))",
                ),
            ),
            "ResourceLimit",
            "more than 4096",
        )),
        on(works(
            "a context that outlives its graph",
            asks(
                &[2],
                body(
                    "(local.set $i (call $graph))
                     (call $context (local.get $i) (i32.const 3072)) (call $good)
                     (local.set $j (i32.load (i32.const 3076)))
                     (call $drop-graph (local.get $i))
                     (call $input (i32.const 0) (call $make (i32.const 1) (i32.const 1) (i32.const 8)))
                     (call $run (local.get $j) (i32.const 1)) (call $good)",
                ),
            ),
        )),
    ]
}

fn tensors() -> Vec<Case> {
    const RANK_17: &[u32] = &[1; 17];
    const HUGE: &[u32] = &[u32::MAX, u32::MAX, u32::MAX];
    let f32s = |rank: u32, bytes: u32| {
        format!("(call $make (i32.const {rank}) (i32.const 1) (i32.const {bytes}))")
    };
    vec![
        refused("a tensor that is too short", &[2], &f32s(1, 7), INVALID),
        refused("a tensor that is too long", &[2], &f32s(1, 9), INVALID),
        refused(
            "dimensions whose product wraps",
            HUGE,
            &f32s(3, 0),
            TOO_LARGE,
        ),
        refused("seventeen dimensions", RANK_17, &f32s(17, 4), TOO_LARGE),
        refused(
            "a gigabyte by its dimensions",
            &[1 << 28],
            &f32s(1, 4),
            TOO_LARGE,
        ),
        refused(
            "numbers of another type",
            &[2],
            "(call $make (i32.const 1) (i32.const 6) (i32.const 16))",
            INVALID,
        ),
        fails(
            "a type of no case",
            asks(
                &[2],
                "(drop (call $make (i32.const 1) (i32.const 7) (i32.const 8)))".to_owned(),
            ),
            "Trap",
            "discriminant",
        ),
        fails(
            "dimensions at an odd place",
            asks(
                &[],
                "(drop (call $tensor (i32.const 2065) (i32.const 1) (i32.const 1) (i32.const 0)
                   (i32.const 0)))"
                    .to_owned(),
            ),
            "Trap",
            "align",
        ),
        fails(
            "four billion dimensions",
            asks(
                &[],
                "(drop (call $tensor (i32.const 0) (i32.const -1) (i32.const 1) (i32.const 0)
                   (i32.const 0)))"
                    .to_owned(),
            ),
            "Trap",
            "list pointer/length out of bounds",
        ),
    ]
}

fn more_tensors() -> Vec<Case> {
    let big = |bytes: u32| {
        let pages = bytes / 65536 + 1;
        format!(
            "(if (i32.lt_s (memory.grow (i32.const {pages})) (i32.const 0)) (then unreachable))
             (drop (call $make (i32.const 1) (i32.const 4) (i32.const {bytes})))"
        )
    };
    vec![
        fails(
            "a gigabyte that is not there",
            asks(
                &[1 << 30],
                "(drop (call $make (i32.const 1) (i32.const 4) (i32.const 0x40000000)))".to_owned(),
            ),
            "Trap",
            "list pointer/length out of bounds",
        ),
        fails(
            "a gigabyte that is there",
            asks(&[1 << 30], big(1 << 30)),
            "HostcallLimit",
            "more than 134217728 bytes",
        )
        .under(|limits| limits.memory_bytes = 2 << 30),
        works(
            "a tensor of a hundred megabytes",
            asks(&[100 << 20], big(100 << 20)),
        )
        .under(|limits| limits.memory_bytes = 200 << 20),
        fails(
            "tensors without end",
            asks(
                &[0],
                repeat(
                    u32::MAX,
                    "(drop (call $make (i32.const 1) (i32.const 1) (i32.const 0)))",
                ),
            ),
            "ResourceLimit",
            "more than 4096",
        ),
    ]
}

fn stale_handles() -> Vec<Case> {
    const HANDLE: &str = "handle";
    let one = "(call $make (i32.const 1) (i32.const 1) (i32.const 8))";
    let stale = |name, body: String| on(fails(name, asks(&[2], body), "Trap", HANDLE));
    vec![
        stale(
            "a tensor read after it was dropped",
            format!(
                "(local.set $i {one}) (call $drop-tensor (local.get $i))
                 (call $data (local.get $i) (i32.const 3072))"
            ),
        ),
        stale(
            "a tensor dropped twice",
            format!(
                "(local.set $i {one}) (call $drop-tensor (local.get $i))
                 (call $drop-tensor (local.get $i))"
            ),
        ),
        stale(
            "a tensor given to a compute twice",
            format!(
                "(local.set $j (call $ready)) (local.set $i {one})
                 (call $input (i32.const 0) (local.get $i)) (call $input (i32.const 1) (local.get $i))
                 (call $run (local.get $j) (i32.const 2))"
            ),
        ),
        stale(
            "a tensor read after a compute took it",
            format!(
                "(local.set $j (call $ready)) (local.set $i {one})
                 (call $input (i32.const 0) {one}) (call $input (i32.const 1) (local.get $i))
                 (call $run (local.get $j) (i32.const 2)) (drop (call $type (local.get $i)))"
            ),
        ),
        stale(
            "a graph for a tensor",
            "(call $dims (call $graph) (i32.const 3072))".to_owned(),
        ),
        stale(
            "a tensor for a context",
            format!(
                "(call $input (i32.const 0) {one}) (call $run {one} (i32.const 1))"
            ),
        ),
        stale("a handle out of the blue", "(call $drop-context (i32.const 777))".to_owned()),
        stale("the handle zero", "(drop (call $type (i32.const 0)))".to_owned()),
    ]
}

fn computes() -> Vec<Case> {
    let many = |count: u32| {
        let each =
            "(call $input (local.get $i) (call $make (i32.const 1) (i32.const 1) (i32.const 8)))";
        format!(
            "(local.set $j (call $ready)) {} (local.set $i (i32.const {count}))
             (call $run (local.get $j) (local.get $i))",
            repeat(count, each)
        )
    };
    let once = "(local.set $j (call $ready))
        (call $input (i32.const 0) (call $make (i32.const 1) (i32.const 1) (i32.const 8)))
        (call $run (local.get $j) (i32.const 1)) (call $good)";
    vec![
        on(works("one input", asks(&[2], once.to_owned()))),
        on(works(
            "no input",
            asks(
                &[2],
                format!(
                    "(call $run (call $ready) (i32.const 0)) (call $bad (i32.const {INVALID}))"
                ),
            ),
        )),
        on(works(
            "three hundred inputs",
            asks(&[2], many(300) + &format!("(call $bad (i32.const {TOO_LARGE}))")),
        )),
        on(fails(
            "ten thousand inputs",
            asks(&[2], many(10_000)),
            "ResourceLimit",
            "more than 4096",
        )),
        on(fails(
            "four billion inputs",
            asks(&[2], "(call $run (call $ready) (i32.const -1))".to_owned()),
            "Trap",
            "list pointer/length out of bounds",
        )),
        on(works(
            "ten thousand computes",
            asks(
                &[2],
                "(local.set $j (call $ready))".to_owned()
                    + &repeat(
                        10_000,
                        "(call $input (i32.const 0) (call $make (i32.const 1) (i32.const 1) (i32.const 8)))
                         (call $run (local.get $j) (i32.const 1)) (call $good)
                         (call $drop-tensor (i32.load offset=8 (i32.load (i32.const 3076))))",
                    ),
            ),
        ))
        .under(|limits| limits.memory_bytes = 64 << 20),
    ]
}

fn more_computes() -> Vec<Case> {
    let spin = "assay-reference-graph 1\ninput x f32 -1\noutput y = spin x\n";
    let once = "(local.set $j (call $ready))
        (call $input (i32.const 0) (call $make (i32.const 1) (i32.const 1) (i32.const 8)))
        (call $run (local.get $j) (i32.const 1)) (call $good)";
    vec![
        fails(
            "a compute without end",
            asks(&[2], once.to_owned()),
            "Deadline",
            "150 ms",
        )
        .model("m", spin)
        .under(|limits| limits.wall_ms = 150),
        fails(
            "copies of a tensor beyond the clock",
            asks(
                &[4 << 20],
                "(drop (memory.grow (i32.const 256)))
                 (local.set $j (call $make (i32.const 1) (i32.const 4) (i32.const 0x400000)))
                 (loop $again (call $data (local.get $j) (i32.const 3072))
                   (global.set $top (i32.const 0x500000)) (br $again))"
                    .to_owned(),
            ),
            "Deadline",
            "the guest took longer than 200 ms",
        )
        .under(|limits| {
            limits.fuel = u64::MAX / 2;
            limits.memory_bytes = 64 << 20;
            limits.wall_ms = 200;
        }),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = graphs();
    cases.extend(more_graphs());
    for more in [
        tensors(),
        more_tensors(),
        stale_handles(),
        computes(),
        more_computes(),
    ] {
        cases.extend(more);
    }
    cases
}
