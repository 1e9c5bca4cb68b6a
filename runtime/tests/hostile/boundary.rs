//! Guests that lie across the boundary: memory that the host asks for and gets wrong, pointers and
//! texts that are none, outputs that are too many, logs without end.

use crate::case::{Case, fails, works};
use crate::guests::from_core;

const LOG: &str = r#"(import "assay:job/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const INDEX: &str =
    r#"(import "assay:job/context@0.1.0" "shard-index" (func $index (result i32)))"#;
const MODELS: &str = r#"(import "assay:job/context@0.1.0" "models" (func $models (param i32)))"#;

/// Gives the host memory as it should.
const HONEST: &str = "(call $bump (local.get 3))";
/// Answers with the items.
const ECHO: &str = "(call $answer (local.get $items) (local.get $count))";

/// A guest whose every part is written out: what it imports, how it gives the host memory, what its
/// `run` does and answers, and what else it has.
fn lies(imports: &str, realloc: &str, run: &str, more: &str) -> Vec<u8> {
    from_core(&format!(
        r#"(module
  {imports}
  (memory (export "memory") 4)
  (global $top (mut i32) (i32.const 65536))
  (func $bump (param i32) (result i32)
    (global.get $top)
    (global.set $top (i32.and
      (i32.add (i32.add (global.get $top) (local.get 0)) (i32.const 7)) (i32.const -8))))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
  (func $answer (param i32 i32) (result i32)
    (i32.store8 (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (local.get 0))
    (i32.store (i32.const 1032) (local.get 1))
    (i32.const 1024))
  (func (export "run") (param $items i32) (param $count i32) (result i32) (local $i i32)
    {run})
  {more})"#
    ))
}

fn realloc(body: &'static str) -> impl Fn() -> Vec<u8> {
    move || lies("", body, ECHO, "")
}

fn answer(run: &'static str) -> impl Fn() -> Vec<u8> {
    move || lies("", HONEST, run, "")
}

fn post_return(body: &'static str) -> impl Fn() -> Vec<u8> {
    move || {
        let more = format!(r#"(func $post (export "cabi_post_run") (param i32) {body})"#);
        lies(
            INDEX,
            HONEST,
            &format!("(drop (call $index)) {ECHO}"),
            &more,
        )
    }
}

/// Logs `length` bytes of `text` `times` times.
fn logs(text: &str, length: u32, times: u32) -> Vec<u8> {
    let run = format!(
        "(loop $again (call $log (i32.const 1) (i32.const 2048) (i32.const {length}))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
         {ECHO}"
    );
    lies(
        LOG,
        HONEST,
        &run,
        &format!(r#"(data (i32.const 2048) "{text}")"#),
    )
}

fn memory_for_the_host() -> Vec<Case> {
    vec![
        works("honest memory for the host", realloc(HONEST)),
        fails(
            "a trap in realloc",
            realloc("unreachable"),
            "Trap",
            "unreachable",
        ),
        fails(
            "realloc without end",
            realloc("(loop $again (br $again)) (i32.const 0)"),
            "FuelExhausted",
            "burnt all of its",
        )
        .under(|limits| limits.fuel = 1_000_000),
        fails(
            "realloc that recurses",
            || {
                lies(
                    "",
                    "(call $again)",
                    ECHO,
                    "(func $again (result i32) (i32.add (call $again) (i32.const 1)))",
                )
            },
            "StackLimit",
            "bytes of stack",
        ),
        fails(
            "memory behind the end",
            realloc("(i32.const -8)"),
            "Trap",
            "realloc",
        ),
    ]
}

fn more_memory_for_the_host() -> Vec<Case> {
    const LEAVE: &str = "cannot leave component instance";
    let call_out = || {
        lies(
            INDEX,
            "(drop (call $index)) (call $bump (local.get 3))",
            ECHO,
            "",
        )
    };
    let call_out_later = || {
        // The first three requests are the items'; the fourth comes out of a call to the host.
        let realloc = "(global.set $asked (i32.add (global.get $asked) (i32.const 1)))
            (if (i32.gt_u (global.get $asked) (i32.const 3)) (then (drop (call $index))))
            (call $bump (local.get 3))";
        let imports = format!("{INDEX} {MODELS} (global $asked (mut i32) (i32.const 0))");
        lies(
            &imports,
            realloc,
            &format!("(call $models (i32.const 512)) {ECHO}"),
            "",
        )
    };
    vec![
        fails(
            "memory at an odd place",
            realloc("(i32.const 65537)"),
            "Trap",
            "align",
        ),
        fails(
            "memory across the end",
            realloc("(i32.sub (i32.const 262144) (i32.const 8))"),
            "Trap",
            "realloc",
        ),
        fails("realloc that calls the host", call_out, "Trap", LEAVE),
        fails(
            "realloc that calls the host while the host answers",
            call_out_later,
            "Trap",
            LEAVE,
        )
        .model(
            "m",
            "assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n",
        ),
    ]
}

fn after_the_return() -> Vec<Case> {
    vec![
        works("an honest post-return", post_return("")),
        fails(
            "a trap in post-return",
            post_return("unreachable"),
            "Trap",
            "unreachable",
        ),
        fails(
            "post-return without end",
            post_return("(loop $again (br $again))"),
            "FuelExhausted",
            "burnt all of its",
        )
        .under(|limits| limits.fuel = 1_000_000),
        fails(
            "post-return beyond the clock",
            post_return("(loop $again (br $again))"),
            "Deadline",
            "the guest",
        )
        .under(|limits| {
            limits.fuel = u64::MAX / 2;
            limits.wall_ms = 150;
        }),
        fails(
            "post-return that recurses",
            post_return("(call $post (i32.const 0)) (call $post (i32.const 0))"),
            "StackLimit",
            "bytes of stack",
        ),
        fails(
            "post-return that calls the host",
            post_return("(drop (call $index))"),
            "Trap",
            "cannot leave component instance",
        ),
    ]
}

fn false_pointers() -> Vec<Case> {
    vec![
        fails(
            "an answer behind the end",
            answer("(i32.const -8)"),
            "Trap",
            "pointer out of bounds",
        ),
        fails(
            "an answer at an odd place",
            answer("(i32.const 1025)"),
            "Trap",
            "align",
        ),
        fails(
            "an answer that is neither",
            answer("(i32.store8 (i32.const 1024) (i32.const 2)) (i32.const 1024)"),
            "Trap",
            "discriminant",
        ),
        fails(
            "an error of no case",
            answer(
                "(i32.store8 (i32.const 1024) (i32.const 1))
                 (i32.store8 (i32.const 1028) (i32.const 3)) (i32.const 1024)",
            ),
            "Trap",
            "discriminant",
        ),
        fails(
            "a list at an odd place",
            answer("(call $answer (i32.const 1026) (i32.const 1))"),
            "Trap",
            "align",
        ),
        fails(
            "a list across the end",
            answer("(call $answer (i32.const 262136) (i32.const 2))"),
            "Trap",
            "list pointer/length out of bounds",
        ),
        fails(
            "a list whose size wraps",
            answer("(call $answer (i32.const 4096) (i32.const 0x20000001))"),
            "Trap",
            "list pointer/length out of bounds",
        ),
        fails(
            "an output across the end",
            answer(
                "(i32.store (local.get $items) (i32.const 262143))
                 (i32.store offset=4 (local.get $items) (i32.const 2))
                 (call $answer (local.get $items) (local.get $count))",
            ),
            "Trap",
            "list pointer/length out of bounds",
        ),
        fails(
            "an output of two gigabytes",
            answer(
                "(i32.store offset=4 (local.get $items) (i32.const 0x7fffffff))
                 (call $answer (local.get $items) (local.get $count))",
            ),
            "Trap",
            "list pointer/length out of bounds",
        ),
    ]
}

/// A list of `count` outputs that all are the same `bytes`.
fn amplified(count: u32, bytes: u32) -> Vec<u8> {
    let run = format!(
        "(loop $again
           (i32.store (i32.add (i32.const 65536) (i32.shl (local.get $i) (i32.const 3)))
             (i32.const 0))
           (i32.store offset=4 (i32.add (i32.const 65536) (i32.shl (local.get $i) (i32.const 3)))
             (i32.const {bytes}))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {count}))))
         (call $answer (i32.const 65536) (i32.const {count}))"
    );
    lies("", HONEST, &run, "")
}

fn outputs() -> Vec<Case> {
    vec![
        works("an output as long as may be", realloc(HONEST))
            .item(vec![7; 100])
            .under(|limits| limits.output_bytes_per_item = 100),
        fails(
            "an output that is too long",
            realloc(HONEST),
            "OutputLimit",
            "item 0 has 100 bytes, the limit is 99",
        )
        .item(vec![7; 100])
        .under(|limits| limits.output_bytes_per_item = 99),
        fails(
            "too few outputs",
            answer("(call $answer (local.get $items) (i32.const 1))"),
            "OutputCount",
            "1 outputs for 2 items",
        ),
        fails(
            "too many outputs",
            || amplified(3, 1),
            "OutputCount",
            "3 outputs for 2 items",
        ),
        fails(
            "a hundred megabytes and more from one piece",
            || amplified(1024, 131_072),
            "HostcallLimit",
            "more than 134217728 bytes",
        )
        // The host takes as many as it may before it finds that there are more.
        .sparing(runtime::limits::HOSTCALL_BYTES_MAX + (64 << 20)),
        fails(
            "an error that is no text",
            answer(
                r#"(i32.store8 (i32.const 1024) (i32.const 1))
                   (i32.store8 (i32.const 1028) (i32.const 0))
                   (i32.store8 (i32.const 2048) (i32.const 255))
                   (i32.store (i32.const 1032) (i32.const 2048))
                   (i32.store (i32.const 1036) (i32.const 1)) (i32.const 1024)"#,
            ),
            "Trap",
            "utf-8",
        ),
        fails(
            "an error of a hundred thousand bytes",
            answer(
                "(i32.store8 (i32.const 1024) (i32.const 1))
                 (i32.store8 (i32.const 1028) (i32.const 2))
                 (i32.store (i32.const 1032) (i32.const 2048))
                 (i32.store (i32.const 1036) (i32.const 100000)) (i32.const 1024)",
            ),
            "Guest",
            "the job answered failed",
        ),
    ]
}

fn logging() -> Vec<Case> {
    const UTF8: &str = "utf-8";
    let text = |name, bytes: &'static str, length| {
        fails(name, move || logs(bytes, length, 1), "Trap", UTF8)
    };
    vec![
        works("a log to the last byte", || logs("", 1024, 64)),
        fails(
            "a byte too much log",
            || logs("", 1025, 64),
            "LogLimit",
            "65600 bytes, the limit is 65536",
        ),
        works("a log to the last line", || logs("", 0, 1024)),
        fails("a log flood", || logs("", 0, u32::MAX), "LogLines", "more than 1024 lines"),
        works("odd texts", || logs(r"\00\1b[2J\e2\80\ae\f0\9f\a6\80", 13, 1)),
        text("a text that is none", r"\ff", 1),
        text("half a surrogate", r"\ed\a0\80", 3),
        text("an overlong zero", r"\c0\80", 2),
        text("a character cut in two", r"\c3\a9", 1),
        text("a character above all", r"\f4\90\80\80", 4),
        fails(
            "a text of two gigabytes",
            || logs("", 0x7fff_ffff, 1),
            "Trap",
            "string pointer/length out of bounds",
        ),
        fails(
            "a text of two gigabytes that is there",
            || {
                let run = format!(
                    "(if (i32.lt_s (memory.grow (i32.const 32764)) (i32.const 0)) (then unreachable))
                     (call $log (i32.const 1) (i32.const 0) (i32.const 0x7fffffff)) {ECHO}"
                );
                lies(LOG, HONEST, &run, "")
            },
            "HostcallLimit",
            "more than 134217728 bytes",
        )
        .under(|limits| limits.memory_bytes = 1 << 31),
        fails(
            "a level of no case",
            || {
                let run = format!("(call $log (i32.const 4) (i32.const 0) (i32.const 0)) {ECHO}");
                lies(LOG, HONEST, &run, "")
            },
            "Trap",
            "discriminant",
        ),
    ]
}

fn floods() -> Vec<Case> {
    let calls = |times: u32| {
        move || {
            let run = format!(
                "(loop $again (drop (call $index))
                   (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
                 {ECHO}"
            );
            lies(INDEX, HONEST, &run, "")
        }
    };
    let names = || {
        // Each call takes memory for the names of the models, until there is none.
        let run = format!("(loop $again (call $models (i32.const 512)) (br $again)) {ECHO}");
        lies(MODELS, HONEST, &run, "")
    };
    vec![
        works("ten million calls of the host", calls(10_000_000)),
        fails(
            "calls of the host without fuel",
            calls(10_000_000),
            "FuelExhausted",
            "burnt all of its",
        )
        .under(|limits| limits.fuel = 1_000_000),
        fails(
            "calls of the host beyond the clock",
            calls(u32::MAX),
            "Deadline",
            "the guest",
        )
        .under(|limits| {
            limits.fuel = u64::MAX / 2;
            limits.wall_ms = 150;
        }),
        fails(
            "answers of the host until memory is gone",
            names,
            "Trap",
            "realloc",
        )
        .model(
            "m",
            "assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = memory_for_the_host();
    cases.extend(more_memory_for_the_host());
    for more in [
        after_the_return(),
        false_pointers(),
        outputs(),
        logging(),
        floods(),
    ] {
        cases.extend(more);
    }
    cases
}
