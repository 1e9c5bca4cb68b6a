//! Bytes that are no job: broken, foreign, or using what no job may.

use crate::case::{Case, fails, works};
use crate::guests::{by_hand, echo, echo_module, guest};

/// A job around an echo, with these parts before it.
pub(crate) fn job(parts: &str) -> Vec<u8> {
    by_hand(&format!(
        "{parts} {} (core instance $main (instantiate $echo))",
        echo_module("", "")
    ))
}

/// A component that is refused before it is compiled.
fn refused(
    name: &'static str,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    words: &'static str,
) -> Case {
    fails(name, make, "Component", words)
}

fn with(name: &'static str, parts: &'static str, words: &'static str) -> Case {
    refused(name, move || job(parts), words)
}

/// The echo, its bytes changed.
fn changed(change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> impl Fn() -> Vec<u8> {
    move || {
        let mut bytes = echo();
        change(&mut bytes);
        bytes
    }
}

/// A section's header: its number and the length of what follows.
pub(crate) fn section(number: u8, mut length: usize) -> Vec<u8> {
    let mut header = vec![number];
    while length >= 0x80 {
        header.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    header.push(length as u8);
    header
}

/// Components within components, so many levels deep.
fn nested(levels: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    // Written from the inside out, backwards.
    let mut reversed: Vec<u8> = HEADER.iter().rev().copied().collect();
    for _ in 0..levels {
        let header = section(4, reversed.len());
        reversed.extend(header.iter().rev());
        reversed.extend(HEADER.iter().rev());
    }
    reversed.reverse();
    reversed
}

/// The echo as native code, made by an engine like the worker's.
fn native() -> Vec<u8> {
    let engine = runtime::engine::engine().unwrap();
    engine.precompile_component(&echo()).unwrap()
}

/// The echo with native code in a custom section.
fn smuggled() -> Vec<u8> {
    let native = native();
    let mut bytes = echo();
    let name = b"\x0bcompilation";
    bytes.extend(section(0, name.len() + native.len()));
    bytes.extend(name);
    bytes.extend(native);
    bytes
}

fn broken() -> Vec<Case> {
    const MALFORMED: &str = "malformed";
    const HEADER: &str = "does not begin with a component's header";
    vec![
        refused("nothing", Vec::new, HEADER),
        refused("text", || b"(component)".to_vec(), HEADER),
        refused("eight megabytes of zeros", || vec![0; 8 << 20], HEADER),
        refused(
            "a core module",
            || wat::parse_str("(module)").unwrap(),
            "core module",
        ),
        refused("native code", native, "native code"),
        works("native code in a custom section", smuggled),
        refused("a cut header", changed(|bytes| bytes.truncate(6)), HEADER),
        refused(
            "cut in the middle",
            changed(|bytes| bytes.truncate(bytes.len() / 2)),
            MALFORMED,
        ),
        refused(
            "the last byte missing",
            changed(|bytes| _ = bytes.pop()),
            MALFORMED,
        ),
        refused("a byte too much", changed(|bytes| bytes.push(0)), MALFORMED),
        refused(
            "a section of no kind",
            changed(|bytes| bytes.extend([0x7f, 0])),
            MALFORMED,
        ),
        refused(
            "a section of four gigabytes",
            changed(|bytes| bytes.extend([4, 0xff, 0xff, 0xff, 0xff, 0x0f])),
            MALFORMED,
        ),
        refused(
            "a length without end",
            changed(|bytes| bytes.extend([0xff_u8; 12])),
            MALFORMED,
        ),
        refused("another version", changed(|bytes| bytes[4] = 0x0c), HEADER),
        refused(
            "a component in a component in a component",
            || nested(2),
            "contains another component",
        ),
        refused(
            "ten thousand nested components",
            || nested(10_000),
            "contains another component",
        ),
        refused(
            "a section that ends in the next",
            changed(|bytes| {
                let length = &mut bytes[9];
                *length = length.wrapping_add(1);
            }),
            "malformed",
        ),
    ]
}

fn features() -> Vec<Case> {
    vec![
        with("64-bit memory", "(core module (memory i64 1))", "memory64"),
        with(
            "64-bit tables",
            "(core module (table i64 1 funcref))",
            "memory64",
        ),
        with(
            "two memories",
            "(core module (memory 1) (memory 1))",
            "multiple memories",
        ),
        with(
            "shared memory",
            "(core module (memory 1 2 shared))",
            "threads",
        ),
        with(
            "atomics",
            "(core module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
            "threads",
        ),
        with(
            "exceptions",
            "(core module (tag (param i32)))",
            "exceptions",
        ),
        with(
            "garbage collection",
            "(core module (type (struct (field i32))))",
            "gc",
        ),
        with(
            "typed references",
            "(core module (type $f (func)) (func (param (ref $f))))",
            "function references required",
        ),
        with(
            "relaxed vectors",
            "(core module (func (param v128 v128) (result v128)
               (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
            "relaxed",
        ),
        with(
            "wide arithmetic",
            "(core module (func (param i64 i64) (result i64 i64)
               (i64.mul_wide_u (local.get 0) (local.get 1))))",
            "wide arithmetic",
        ),
        with(
            "pages of one byte",
            "(core module (memory 1 (pagesize 1)))",
            "custom page sizes",
        ),
        with(
            "stack switching",
            "(core module (type $f (func)) (type $c (cont $f)))",
            "stack switching is disabled",
        ),
        works("vectors and tail calls", || {
            job("(core module (func $f (result v128)
                   (return_call $g (v128.const i64x2 1 2)))
                 (func $g (param v128) (result v128) (i8x16.popcnt (local.get 0))))")
        }),
    ]
}

fn imports() -> Vec<Case> {
    const NOBODY: &str = "which no host offers";
    let instance = |name: &str| format!(r#"(import "{name}" (instance))"#);
    let mut cases: Vec<Case> = [
        ("the clock", "wasi:clocks/monotonic-clock@0.3.0"),
        ("randomness", "wasi:random/random@0.2.0-rc-2023-11-10"),
        ("files", "wasi:filesystem/preopens@0.1.0"),
        ("sockets", "wasi:sockets/tcp@1.0.0"),
        ("the web", "wasi:http/outgoing-handler@0.2.6"),
        ("another wasi:nn", "wasi:nn/graph@0.2.0-rc-2024-06-25"),
        ("a finished wasi:nn", "wasi:nn/tensor@0.2.0"),
        ("a log of tomorrow", "assay:job/log@0.2.0"),
    ]
    .into_iter()
    .map(|(name, import)| refused(name, move || job(&instance(import)), NOBODY))
    .collect();
    cases.extend([
        with(
            "a module from the host",
            r#"(import "m" (core module))"#,
            NOBODY,
        ),
        with(
            "a component from the host",
            r#"(import "c" (component))"#,
            NOBODY,
        ),
        with(
            "an interface that is a function",
            r#"(import "assay:job/log@0.1.0" (func))"#,
            "other than an interface",
        ),
        // The name is allowed and the host has no such function: no engine links it.
        with(
            "a function that an interface lacks",
            r#"(import "assay:job/log@0.1.0" (instance (export "erase" (func))))"#,
            "function implementation is missing",
        ),
        with(
            "a function by another type",
            r#"(import "assay:job/context@0.1.0"
                 (instance (export "shard-index" (func (result string)))))"#,
            "expected `u32` found `string`",
        ),
        with(
            "a resource that is another",
            r#"(import "wasi:nn/tensor@0.2.0-rc-2024-10-28"
                 (instance (export "tensor" (type (sub resource)))
                   (export "grap" (type (sub resource)))))"#,
            "resource implementation is missing",
        ),
    ]);
    cases
}

/// An echo whose `run` is lifted with these options and has this type.
fn lifted(options: &str, ty: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (type $e' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
  (export $e "job-error" (type $e'))
  {}
  (core instance $main (instantiate $echo))
  (func $run {ty} (canon lift (core func $main "run") (memory $main "memory")
    (realloc (func $main "cabi_realloc")) {options}))
  (export "run" (func $run)))"#,
        echo_module("", "")
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn options() -> Vec<Case> {
    const RUN: &str =
        r#"(param "items" (list (list u8))) (result (result (list (list u8)) (error $e)))"#;
    let lift =
        |name, options: &'static str, words| refused(name, move || lifted(options, RUN), words);
    let run = |name, ty: &'static str| refused(name, move || lifted("", ty), "its \"run\" is not");
    vec![
        lift("texts in UTF-16", "string-encoding=utf16", "UTF16"),
        lift(
            "texts in two encodings",
            "string-encoding=latin1+utf16",
            "UTF16",
        ),
        run(
            "a run that answers with numbers",
            r#"(param "items" (list (list u8))) (result (result (list (list u16)) (error $e)))"#,
        ),
        run(
            "a run that never fails",
            r#"(param "items" (list (list u8))) (result (list (list u8)))"#,
        ),
        refused(
            "no run at all",
            || wat::parse_str("(component)").unwrap(),
            "does not export a function \"run\"",
        ),
        refused(
            "a run of another error",
            || {
                lifted(
                    "",
                    r#"(param "items" (list (list u8)))
                       (result (result (list (list u8)) (error (record (field "a" u8)))))"#,
                )
            },
            "not valid to be used as export",
        ),
        refused(
            "a component that starts itself",
            || {
                let mut bytes = echo();
                // A start section: function 0, no arguments, no results.
                bytes.extend([9, 3, 0, 0, 0]);
                bytes
            },
            "has a start function",
        ),
        works("a name of the guest's own", || {
            guest("", 2, r#"(@custom "names" "nonsense")"#, "")
        }),
    ]
}

/// What the component model offers for tasks that wait for one another, which no job may use.
fn canons() -> Vec<Case> {
    let canon = |name, canon: &'static str, words| {
        refused(
            name,
            move || job(&format!("(core func (canon {canon}))")),
            words,
        )
    };
    vec![
        canon(
            "threads of the component model",
            "thread.index",
            "it uses ThreadIndex",
        ),
        canon(
            "a task that is cancelled",
            "task.cancel",
            "it uses TaskCancel",
        ),
        canon(
            "a context of a task",
            "context.get i32 0",
            "it uses ContextGet",
        ),
        canon(
            "sets of what is waited for",
            "waitable-set.new",
            "it uses WaitableSetNew",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = broken();
    for more in [features(), imports(), options(), canons()] {
        cases.extend(more);
    }
    cases
}
