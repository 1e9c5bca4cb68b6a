//! Guests that burn time and stack.

use crate::case::{Case, fails, works};
use crate::guests::guest;

/// A guest with functions of its own, whose body calls them.
fn with(extra: &str, body: &str) -> Vec<u8> {
    guest("", 2, extra, body)
}

/// A function that calls itself `depth` deep and keeps something for afterwards.
fn recursion(depth: u32) -> Vec<u8> {
    let deep = "(func $deep (param $left i32) (result i32)
        (if (result i32) (i32.eqz (local.get $left)) (then (i32.const 0))
          (else (i32.add (i32.const 1)
            (call $deep (i32.sub (local.get $left) (i32.const 1)))))))";
    with(deep, &format!("(drop (call $deep (i32.const {depth})))"))
}

/// Frames of thousands of vectors that are all alive across a call.
fn heavy_frames(depth: u32) -> Vec<u8> {
    const VECTORS: u32 = 2_000;
    let locals = "v128 ".repeat(VECTORS as usize);
    let set: String = (0..VECTORS)
        .map(|at| {
            format!(
                "(local.set {} (v128.load offset={} (local.get 0)))",
                at + 1,
                at * 16
            )
        })
        .collect();
    let sum: String = (0..VECTORS)
        .map(|at| {
            format!(
                "(local.set 1 (i32x4.add (local.get 1) (local.get {})))",
                at + 1
            )
        })
        .collect();
    let heavy = format!(
        "(func $heavy (param i32) (result i32) (local {locals})
           {set}
           (if (local.get 0) (then
             (drop (call $heavy (i32.sub (local.get 0) (i32.const 1))))))
           {sum}
           (i32x4.extract_lane 0 (local.get 1)))"
    );
    with(&heavy, &format!("(drop (call $heavy (i32.const {depth})))"))
}

/// A chain of tail calls: `$step` calls itself, or another function with more parameters and back.
fn tail_calls(times: u32, other: bool) -> Vec<u8> {
    let next = if other { "$wide" } else { "$step" };
    let more = if other {
        "(i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5) (i32.const 6)
         (i32.const 7) (i32.const 8) (i32.const 9)"
    } else {
        ""
    };
    let functions = format!(
        "(func $step (param $left i32)
           (if (i32.eqz (local.get $left)) (then (return)))
           (return_call {next} (i32.sub (local.get $left) (i32.const 1)) {more}))
         (func $wide (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
           (return_call $step (local.get 0)))"
    );
    with(&functions, &format!("(call $step (i32.const {times}))"))
}

/// Calls through a table, for ever: by a tail call or by a loop.
fn indirect(tail: bool) -> Vec<u8> {
    let body = match tail {
        true => "(return_call_indirect (type $none) (i32.const 0))",
        false => "(loop $again (call_indirect (type $none) (i32.const 1)) (br $again))",
    };
    let parts = format!(
        "(type $none (func)) (table 4 funcref) (elem (i32.const 0) $f $nothing $number)
         (func $f (type $none) {body}) (func $nothing) (func $number (result i32) (i32.const 1))"
    );
    with(&parts, "(call_indirect (type $none) (i32.const 0))")
}

/// One call through a table that must not succeed.
fn wrong_indirect(index: u32) -> Vec<u8> {
    let parts = "(type $none (func)) (table 4 funcref) (elem (i32.const 1) $number)
        (func $number (result i32) (i32.const 1))";
    with(
        parts,
        &format!("(call_indirect (type $none) (i32.const {index}))"),
    )
}

fn endless() -> Vec<u8> {
    with("", "(loop $again (br $again))")
}

fn start(body: &'static str) -> impl Fn() -> Vec<u8> {
    move || with(&format!("(func $begin {body}) (start $begin)"), "")
}

fn little_fuel(case: Case) -> Case {
    case.under(|limits| limits.fuel = 3_000_000)
}

fn little_time(case: Case) -> Case {
    case.under(|limits| {
        limits.fuel = u64::MAX / 2;
        limits.wall_ms = 150;
    })
}

fn loops() -> Vec<Case> {
    let fuel = "burnt all of its";
    vec![
        works("a loop that ends", || {
            with(
                "",
                "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $i) (i32.const 100000))))",
            )
        }),
        little_fuel(fails("a loop without end", endless, "FuelExhausted", fuel)),
        little_time(fails(
            "a loop beyond the clock",
            endless,
            "Deadline",
            "150 ms",
        )),
        works("a long chain of tail calls", || tail_calls(100_000, false)),
        little_fuel(fails(
            "tail calls without end",
            || tail_calls(u32::MAX, false),
            "FuelExhausted",
            fuel,
        )),
        little_fuel(fails(
            "tail calls between frames of two sizes",
            || tail_calls(u32::MAX, true),
            "FuelExhausted",
            fuel,
        )),
        little_fuel(fails(
            "tail calls through a table",
            || indirect(true),
            "FuelExhausted",
            fuel,
        )),
        little_time(fails(
            "calls through a table beyond the clock",
            || indirect(false),
            "Deadline",
            "the guest",
        )),
        little_fuel(fails(
            "a start function without end",
            start("(loop $again (br $again))"),
            "FuelExhausted",
            fuel,
        )),
        little_time(fails(
            "a start function beyond the clock",
            start("(loop $again (br $again))"),
            "Deadline",
            "the guest",
        )),
        works(
            "a start function",
            start("(drop (memory.grow (i32.const 1)))"),
        ),
        fails(
            "a start function that traps",
            start("unreachable"),
            "Trap",
            "unreachable",
        ),
    ]
}

fn stacks() -> Vec<Case> {
    const STACK: &str = "524288 bytes of stack";
    let mutual = || {
        let extra = "(func $a (result i32) (i32.add (i32.const 1) (call $b)))
            (func $b (result i32) (i32.mul (i32.const 3) (call $a)))";
        with(extra, "(drop (call $a))")
    };
    vec![
        works("recursion of a thousand", || recursion(1_000)),
        fails(
            "recursion of a million",
            || recursion(1_000_000),
            "StackLimit",
            STACK,
        ),
        fails("two functions without end", mutual, "StackLimit", STACK),
        works("frames of two thousand vectors", || heavy_frames(4)),
        fails(
            "too many frames of two thousand vectors",
            || heavy_frames(1_000),
            "StackLimit",
            STACK,
        ),
        fails(
            "a start function that recurses",
            start("(call $begin) (call $begin)"),
            "StackLimit",
            STACK,
        ),
    ]
}

fn traps() -> Vec<Case> {
    vec![
        fails(
            "a call of nothing",
            || wrong_indirect(0),
            "Trap",
            "uninitialized element",
        ),
        fails(
            "a call by the wrong type",
            || wrong_indirect(1),
            "Trap",
            "indirect call type mismatch",
        ),
        fails(
            "a call beyond the table",
            || wrong_indirect(u32::MAX),
            "Trap",
            "out of bounds",
        ),
        fails(
            "a division that overflows",
            || {
                with(
                    "",
                    "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
                )
            },
            "Trap",
            "integer overflow",
        ),
        fails(
            "a number that is none",
            || with("", "(drop (i32.trunc_f32_s (f32.const nan)))"),
            "Trap",
            "invalid conversion",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = loops();
    cases.extend(stacks());
    cases.extend(traps());
    cases
}
