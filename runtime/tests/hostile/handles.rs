//! Guests that make resources of their own and misuse them.

use crate::case::{Case, fails, works};
use crate::guests::{by_hand, echo_module};

/// A resource of the guest's own, with a destructor, and what is done with it.
fn own(destructor: &str, body: &str) -> Vec<u8> {
    let imports = r#"(import "own" "new" (func $new (param i32) (result i32)))
        (import "own" "drop" (func $drop (param i32)))
        (import "own" "rep" (func $rep (param i32) (result i32)))
        (global $made (mut i32) (i32.const 0))"#;
    by_hand(&format!(
        r#"(core module $d (func (export "drop") (param i32) {destructor}))
           (core instance $d (instantiate $d))
           (type $thing (resource (rep i32) (dtor (func $d "drop"))))
           (core func $new (canon resource.new $thing))
           (core func $drop (canon resource.drop $thing))
           (core func $rep (canon resource.rep $thing))
           (core instance $own (export "new" (func $new)) (export "drop" (func $drop))
             (export "rep" (func $rep)))
           {}
           (core instance $main (instantiate $echo (with "own" (instance $own))))"#,
        echo_module(imports, body)
    ))
}

pub(crate) fn cases() -> Vec<Case> {
    let flood = |times: u32| {
        own(
            "",
            &format!(
                "(loop $again (drop (call $new (i32.const 7)))
                   (global.set $made (i32.add (global.get $made) (i32.const 1)))
                   (br_if $again (i32.lt_u (global.get $made) (i32.const {times}))))"
            ),
        )
    };
    let churn = "(loop $again (call $drop (call $new (i32.const 7)))
        (global.set $made (i32.add (global.get $made) (i32.const 1)))
        (br_if $again (i32.lt_u (global.get $made) (i32.const 100000))))";
    vec![
        works("as many handles as may be", move || flood(8192)),
        fails(
            "a handle too many",
            move || flood(8193),
            "HandleLimit",
            "more than 8192 handles",
        ),
        works(
            "a hundred thousand handles, one after the other",
            move || own("", churn),
        ),
        fails(
            "a handle dropped twice",
            || {
                own(
                    "",
                    "(call $drop (call $new (i32.const 7))) (call $drop (i32.const 1))",
                )
            },
            "Trap",
            "handle",
        ),
        fails(
            "a handle that was never given",
            || own("", "(drop (call $rep (i32.const 12345)))"),
            "Trap",
            "handle",
        ),
        fails(
            "a destructor that traps",
            || own("unreachable", "(call $drop (call $new (i32.const 7)))"),
            "Trap",
            "unreachable",
        ),
        fails(
            "a destructor without end",
            || {
                own(
                    "(loop $again (br $again))",
                    "(call $drop (call $new (i32.const 7)))",
                )
            },
            "FuelExhausted",
            "burnt all of its",
        )
        .under(|limits| limits.fuel = 1_000_000),
    ]
}
