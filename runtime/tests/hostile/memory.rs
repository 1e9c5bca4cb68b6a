//! Guests that want memory, tables and resident pages.

use crate::case::{Case, fails, works};
use crate::guests::{by_hand, echo_module, guest};
use crate::shape::job;

fn with(pages: u32, extra: &str, body: &str) -> Vec<u8> {
    guest("", pages, extra, body)
}

fn pages(case: Case, pages: u64) -> Case {
    case.under(|limits| limits.memory_bytes = pages << 16)
}

/// Grows by a page until it is refused, and then does this.
fn bomb(then: &str) -> Vec<u8> {
    let body = format!(
        "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) {then}"
    );
    with(2, "", &body)
}

/// Writes one byte of every page that it can get.
fn touch() -> Vec<u8> {
    with(
        2,
        "",
        "(loop $again
           (if (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))
             (then
               (i32.store8 (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))
                 (i32.const 1))
               (br $again))))
         unreachable",
    )
}

fn fill(times: u32) -> Vec<u8> {
    let body = format!(
        "(loop $again
           (memory.fill (i32.const 4096) (local.get $i) (i32.const 32768))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))"
    );
    with(2, "", &body)
}

fn copy_for_ever() -> Vec<u8> {
    with(
        200,
        "",
        "(loop $again (memory.copy (i32.const 65536) (i32.const 131072) (i32.const 12000000))
           (br $again))",
    )
}

fn table(elements: u32, body: &str) -> Vec<u8> {
    with(2, &format!("(table $t {elements} funcref)"), body)
}

/// Three memories: two of so many pages, and the echo's two pages.
fn three(pages: u32) -> Vec<u8> {
    by_hand(&format!(
        "(core module $other (memory {pages}))
         (core instance (instantiate $other)) (core instance (instantiate $other))
         {} (core instance $main (instantiate $echo))",
        echo_module("", "")
    ))
}

fn memories() -> Vec<Case> {
    vec![
        pages(works("memory to the last page", || with(100, "", "")), 100),
        pages(
            fails(
                "one page too many to begin with",
                || with(101, "", ""),
                "MemoryLimit",
                "6619136 bytes of memory, the limit is 6553600",
            ),
            100,
        ),
        pages(works("growth until it is refused", || bomb("")), 100),
        pages(
            fails(
                "a growth bomb",
                || bomb("unreachable"),
                "MemoryLimit",
                "the limit is 6553600",
            ),
            100,
        ),
        fails(
            "every page written to",
            touch,
            "MemoryLimit",
            "the limit is 16777216",
        ),
        fails(
            "all of a memory at once",
            || {
                with(
                    2,
                    "",
                    "(if (i32.lt_s (memory.grow (i32.const 65534)) (i32.const 0)) (then unreachable))",
                )
            },
            "MemoryLimit",
            "4294967296 bytes of memory",
        ),
        pages(works("three memories", || three(10)), 22),
    ]
}

fn more_memories() -> Vec<Case> {
    vec![
        pages(
            fails(
                "three memories and a page",
                || three(10),
                "MemoryLimit",
                "1441792 bytes of memory",
            ),
            21,
        )
        .under(|limits| limits.memory_bytes = 22 * 65536 - 1),
        fails(
            "a read behind the end",
            || with(2, "", "(drop (i64.load offset=4294967295 (i32.const -1)))"),
            "Trap",
            "out of bounds memory",
        ),
        fails(
            "a write across the end",
            || with(2, "", "(i64.store (i32.const 131065) (i64.const -1))"),
            "Trap",
            "out of bounds memory",
        ),
        works("fills", || fill(100)),
        fails(
            "fills without end",
            || fill(u32::MAX),
            "FuelExhausted",
            "burnt all of its",
        ),
        fails(
            "copies beyond the clock",
            copy_for_ever,
            "Deadline",
            "the guest",
        )
        .under(|limits| {
            limits.fuel = u64::MAX / 2;
            limits.wall_ms = 200;
        }),
    ]
}

fn tables() -> Vec<Case> {
    let grow = |by: u32, then: &str| {
        let body = format!(
            "(if (i32.lt_s (table.grow $t (ref.null func) (i32.const {by})) (i32.const 0))
               (then {then}))"
        );
        table(1, &body)
    };
    vec![
        works("a table to the last element", || table(100_000, "")),
        fails(
            "one element too many",
            || table(100_001, ""),
            "Component",
            "100001 elements in a table, more than the 100000 allowed",
        ),
        fails(
            "two tables with an element too many",
            || with(2, "(table 50000 funcref) (table 50001 funcref)", ""),
            "TableLimit",
            "100001 table elements, the limit is 100000",
        ),
        works("a table that is refused to grow", move || grow(100_000, "")),
        fails(
            "a table bomb",
            move || grow(100_000, "unreachable"),
            "Trap",
            "unreachable",
        ),
        fails(
            "a table of four billion",
            move || grow(u32::MAX - 1, "unreachable"),
            "FuelExhausted",
            "burnt all of its",
        ),
        fails(
            "table fills without end",
            || {
                table(
                    100_000,
                    "(loop $again
                       (table.fill $t (i32.const 0) (ref.null func) (i32.const 100000))
                       (br $again))",
                )
            },
            "FuelExhausted",
            "burnt all of its",
        ),
        fails(
            "elements behind the end of their table",
            || with(2, "(table 1 funcref) (func $f) (elem (i32.const 1) $f)", ""),
            "Trap",
            "out of bounds table",
        ),
    ]
}

fn segments() -> Vec<Case> {
    let data = |bytes: usize, at: u32| {
        let text = "a".repeat(bytes);
        with(200, &format!("(data (i32.const {at}) \"{text}\")"), "")
    };
    vec![
        works("ten megabytes of data", move || data(10 << 20, 1 << 20)),
        fails(
            "data behind the end",
            move || data(1 << 20, 200 * 65536 - 100),
            "Trap",
            "out of bounds memory",
        ),
        works("ninety thousand segments", || {
            with(2, &"(data \"\")".repeat(90_000), "")
        }),
        fails(
            "more segments than there may be",
            || job(&format!("(core module {})", "(data \"\")".repeat(100_001))),
            "Component",
            "data",
        ),
        fails(
            "a passive segment read too far",
            || {
                with(
                    2,
                    "(data $d \"abc\")",
                    "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 4))",
                )
            },
            "Trap",
            "out of bounds memory",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = memories();
    cases.extend(more_memories());
    cases.extend(tables());
    cases.extend(segments());
    cases
}
