//! Components that are small to send and large to compile: each bound obeyed and violated.

use std::fmt::Write;

use crate::case::{Case, fails, works};
use crate::guests::guest;
use crate::shape::{job, section};

fn repeated(part: &str, times: usize) -> String {
    part.repeat(times)
}

/// Text that counts: `part` with `{}` replaced by each number.
fn counted(part: &str, times: usize) -> String {
    (0..times).fold(String::new(), |mut text, at| {
        let at = at.to_string();
        _ = write!(text, "{}", part.replace("{}", &at));
        text
    })
}

fn module(inside: &str) -> Vec<u8> {
    job(&format!("(core module {inside})"))
}

/// What compiling the largest component that is accepted takes beyond its limit on memory, with what the
/// allocator keeps of it for the next, in bytes. 273 MiB were seen on two cores; each core compiles
/// functions of its own.
const COMPILER_BYTES: u64 = 512 << 20;

/// Refused before anything is run: by the check of components, or by the engine, which knows its pool.
fn over(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    words: &'static str,
) -> Case {
    fails(name, make, "Component", words)
}

/// One function of so many bytes or a few more: vector instructions that all depend on one another.
fn vectors(bytes: usize) -> Vec<u8> {
    let op = "(local.set 0 (i32x4.add (i32x4.mul (local.get 0) (local.get 1)) (local.get 0)))";
    // Three times local.get, local.set, and two operators of three bytes.
    let each = 4 * 2 + 3 + 3;
    module(&format!(
        "(func (param v128 v128) (result v128) {} (local.get 0))",
        repeated(op, bytes / each)
    ))
}

/// A table of so many jumps, all to different blocks of an equal depth.
fn jumps(targets: usize) -> Vec<u8> {
    let blocks = 1_000;
    let table: String = (0..targets).map(|at| format!(" {}", at % blocks)).collect();
    module(&format!(
        "(func (param i32) {} (br_table{table} (local.get 0)) {})",
        repeated("(block ", blocks),
        repeated(") nop", blocks),
    ))
}

/// Blocks within blocks within one function.
fn blocks(depth: usize) -> Vec<u8> {
    module(&format!(
        "(func {} {})",
        repeated("block ", depth),
        repeated("end ", depth)
    ))
}

fn code() -> Vec<Case> {
    let functions = |count: usize| module(&repeated("(func)", count));
    let calling = |count: usize| {
        // Every function calls the next one and has something to compile.
        let each = "(func $f{} (param i32) (result i32)
            (i32.add (i32.mul (local.get 0) (i32.const {})) (i32.load8_u (local.get 0))))";
        module(&format!("(memory 1) {}", counted(each, count)))
    };
    vec![
        works("two thousand functions", move || calling(2_000)),
        // The echo has two of its own.
        works("as many functions as may be", move || functions(49_998)),
        over(
            "a function too many",
            move || functions(49_999),
            "50001 functions",
        ),
        works("as large a function of vectors as may be", || {
            vectors(1_000_000)
        }),
        over(
            "a function that is too large",
            || vectors(1_100_000),
            "bytes in one function",
        ),
        works("a table of twenty thousand jumps", || jumps(20_000)),
        over("a table of too many jumps", || jumps(65_522), "65521 jumps"),
        works("blocks as deep as may be", || blocks(4_096)),
        over(
            "blocks a hundred thousand deep",
            || blocks(100_000),
            "4097 blocks",
        ),
        works("as many globals as may be", || {
            module(&repeated("(global i32 (i32.const 0))", 999))
        }),
        over(
            "a global too many",
            || module(&repeated("(global i32 (i32.const 0))", 1_001)),
            "globals, more than the 1000 allowed",
        ),
        works("fifty thousand locals", || {
            module(&format!("(func (local {}))", repeated("i64 ", 49_999)))
        }),
        over(
            "more locals than there may be",
            || module(&format!("(func (local {}))", repeated("i64 ", 50_001))),
            "locals",
        ),
        over(
            "a function of too many parameters",
            || module(&format!("(func (param {}))", repeated("i32 ", 1_001))),
            "params size is out of bounds",
        ),
        works("a function of a thousand parameters", || {
            module(&format!(
                "(func (param {}) (result {}) unreachable)",
                repeated("i32 ", 1_000),
                repeated("i64 ", 1_000)
            ))
        }),
    ]
}

fn parts() -> Vec<Case> {
    let modules = |count: usize| job(&repeated("(core module)", count));
    let instances = |count: usize| {
        job(&format!(
            "(core module $other) {}",
            repeated("(core instance (instantiate $other))", count)
        ))
    };
    vec![
        // The echo is one of them.
        works("as many modules as may be", move || modules(31)),
        over("a module too many", move || modules(32), "33 core modules"),
        works("as many instances as may be", move || instances(31)),
        over(
            "an instance too many",
            move || instances(32),
            "33 core module instances",
        ),
        over(
            "nine hundred instances",
            move || instances(900),
            "901 core module instances",
        ),
        over(
            "a flood of instances",
            move || instances(2_000),
            "instances count exceeds limit of 1000",
        ),
        over(
            "a memory too many",
            || {
                job(&format!(
                    "(core module $other (memory 0)) {}",
                    repeated("(core instance (instantiate $other))", 4)
                ))
            },
            "5 Wasm linear memories",
        ),
        works("as many custom sections as may be", || {
            guest("", 2, &repeated("(@custom \"x\" \"\")", 25), "")
        }),
        over(
            "custom sections without end",
            || guest("", 2, &repeated("(@custom \"x\" \"\")", 1_000), ""),
            "custom sections, more than",
        ),
        over(
            "a custom section of two megabytes",
            || {
                guest(
                    "",
                    2,
                    &format!("(@custom \"x\" \"{}\")", repeated("a", 2 << 20)),
                    "",
                )
            },
            "bytes in custom sections",
        ),
        over(
            "a component that is too large",
            || vec![0; (64 << 20) + 1],
            "67108865 bytes, the bound is 67108864",
        ),
    ]
}

/// A chain of types, each made of the one before.
fn chain(first: &str, next: &str, depth: usize) -> String {
    let mut text = format!("(type $t0 {first})");
    for at in 1..=depth {
        let before = format!("$t{}", at - 1);
        _ = write!(text, "(type $t{at} {})", next.replace("{}", &before));
    }
    text
}

/// A job that exports a function over a type, beside `run`. Its core function has the parameters that
/// the type is flattened to.
fn over_type(types: &str, name: &str, flat: &str) -> Vec<u8> {
    job(&format!(
        r#"{types}
           (core module $m (memory (export "m") 1)
             (func (export "r") (param i32 i32 i32 i32) (result i32) (i32.const 0))
             (func (export "f") (param {flat})))
           (core instance $m (instantiate $m))
           (func $f (param "a" {name}) (canon lift (core func $m "f") (memory $m "m")
             (realloc (func $m "r"))))
           (export "extra" (func $f))"#
    ))
}

fn types() -> Vec<Case> {
    let cases = |count: usize| {
        let cases = counted("(case \"c{}\")", count);
        let types = format!("(type $v' (variant {cases})) (export $v \"v\" (type $v'))");
        over_type(&types, "$v", "i32")
    };
    let lists = |depth: usize| {
        over_type(
            &chain("(list u8)", "(list {})", depth),
            &format!("$t{depth}"),
            "i32 i32",
        )
    };
    let tuples = |depth: usize| {
        let sixteen = format!("(tuple {})", repeated("{} ", 16));
        over_type(
            &chain("(tuple u8 u8)", &sixteen, depth),
            &format!("$t{depth}"),
            "i32",
        )
    };
    vec![
        works("a variant of nine hundred cases", move || cases(900)),
        works("a variant of two thousand cases", move || cases(2_000)),
        over(
            "a variant of twenty thousand cases",
            move || cases(20_000),
            "bytes of types",
        ),
        works("lists fifty deep", move || lists(50)),
        over(
            "lists two hundred deep",
            move || lists(200),
            "type nesting is too deep",
        ),
        over(
            "lists ten thousand deep",
            move || lists(10_000),
            "type nesting is too deep",
        ),
        works("a tuple of five hundred bytes", move || tuples(2)),
        over(
            "a tuple of sixteen to the thirtieth",
            move || tuples(30),
            "effective type size exceeds the limit",
        ),
        over(
            "flags that no word holds",
            || {
                over_type(
                    &format!(
                        "(type $f' (flags {})) (export $f \"f\" (type $f'))",
                        counted("\"f{}\" ", 33)
                    ),
                    "$f",
                    "i32 i32",
                )
            },
            "flags",
        ),
        works("instance types twenty deep", || instance_types(20)),
        over(
            "instance types twenty thousand deep",
            || instance_types(20_000),
            "types within types, more than the 64",
        ),
    ]
}

/// A job and a type of instances that holds a type of instances, and so on: written in bytes, since
/// text this deep has no parser.
fn instance_types(depth: usize) -> Vec<u8> {
    const INSTANCE: u8 = 0x42;
    const OF_ONE_TYPE: [u8; 2] = [1, 1];
    let mut types = vec![1];
    for _ in 0..depth {
        types.push(INSTANCE);
        types.extend(OF_ONE_TYPE);
    }
    types.extend([INSTANCE, 0]);
    let mut bytes = job("");
    bytes.extend(section(7, types.len()));
    bytes.extend(types);
    bytes
}

fn boundary() -> Vec<Case> {
    let context = r#"(import "assay:job/context@0.1.0" (instance $context
        (export "shard-index" (func (result u32)))))"#;
    let lowered = move |count: usize| {
        let each = "(core func (canon lower (func $context \"shard-index\")))";
        job(&format!("{context} {}", repeated(each, count)))
    };
    let lifted = |count: usize| {
        let each = r#"(func $f{} (canon lift (core func $m "f"))) (export "f{}" (func $f{}))"#;
        job(&format!(
            r#"(core module $m (func (export "f"))) (core instance $m (instantiate $m)) {}"#,
            counted(each, count)
        ))
    };
    let aliases = |count: usize| {
        let each = r#"(alias core export $m "f" (core func))"#;
        job(&format!(
            r#"(core module $m (func (export "f"))) (core instance $m (instantiate $m)) {}"#,
            repeated(each, count)
        ))
    };
    let signatures = |count: usize| {
        // Every one of them is another type.
        let each = |at: usize| {
            let params: String = (0..17)
                .map(|bit| if at >> bit & 1 == 0 { "i32 " } else { "i64 " })
                .collect();
            format!("(type (func (param {params})))")
        };
        module(&(0..count).map(each).collect::<String>())
    };
    vec![
        works("as many lowered functions as may be", move || lowered(999)),
        over(
            "a flood of lowered functions",
            move || lowered(2_000),
            "1001 lifted",
        ),
        works("as many exports as may be", move || lifted(999)),
        over("a flood of exports", move || lifted(2_000), "1001 lifted"),
        works("five thousand aliases", move || aliases(5_000)),
        over("a flood of aliases", move || aliases(12_000), "aliases"),
        works("four thousand signatures", move || signatures(4_000)),
        over(
            "five thousand signatures",
            move || signatures(5_000),
            "core types",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = code();
    for more in [parts(), types(), boundary()] {
        cases.extend(more);
    }
    // Workers go on to the next case, so these come last.
    cases
        .into_iter()
        .map(|case| case.sparing(COMPILER_BYTES))
        .collect()
}
