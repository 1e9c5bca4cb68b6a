//! Guests that import WASI and want of it what it does not have, or more than is good.

use crate::case::{Case, fails, works};
use crate::wasi_guests::wasi_guest;

/// Fuel of a guest that calls the host for as long as it has some.
const SHORT_FUEL: u64 = 20_000_000;

fn body(body: &'static str) -> impl Fn() -> Vec<u8> + Send + Sync + 'static {
    move || wasi_guest(r#"(data (i32.const 2048) "a line\n")"#, body)
}

/// `$i` counts how often the body was run.
fn again(inner: &'static str) -> impl Fn() -> Vec<u8> + Send + Sync + 'static {
    move || {
        let whole = format!("(loop $again {inner} (br $again))");
        wasi_guest(r#"(data (i32.const 2048) "a line\n")"#, &whole)
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = time();
    cases.extend(streams());
    cases.extend(world());
    cases
}

fn time() -> Vec<Case> {
    const OUT_OF_FUEL: (&str, &str) = ("FuelExhausted", "burnt all of its 20000000 units");
    let burns = |name, inner| {
        let (kind, words) = OUT_OF_FUEL;
        fails(name, again(inner), kind, words).under(|limits| limits.fuel = SHORT_FUEL)
    };
    vec![
        works(
            "a sleep of an hour",
            body("(call $block (call $after (i64.const 3600000000000)))"),
        ),
        works(
            "sleeps until the end of time",
            body(
                "(call $block (call $after (i64.const -1)))
                 (call $block (call $after (i64.const -1)))
                 (if (i64.ne (call $now) (i64.const -1)) (then unreachable))",
            ),
        ),
        works(
            "of two alarms the first comes first",
            body(
                "(i32.store (i32.const 3072) (call $after (i64.const 2000000000000)))
                 (i32.store (i32.const 3076) (call $after (i64.const 1000000000000)))
                 (if (call $ready (i32.load (i32.const 3076))) (then unreachable))
                 (call $poll (i32.const 3072) (i32.const 2) (i32.const 3080))
                 (if (i32.ne (i32.load (i32.const 3084)) (i32.const 1)) (then unreachable))
                 (if (i32.ne (i32.load (i32.load (i32.const 3080))) (i32.const 1)) (then unreachable))
                 (call $block (i32.load (i32.const 3072)))
                 (call $poll (i32.const 3072) (i32.const 2) (i32.const 3080))
                 (if (i32.ne (i32.load (i32.const 3084)) (i32.const 2)) (then unreachable))",
            ),
        ),
        fails(
            "a wait for nothing",
            body("(call $poll (i32.const 0) (i32.const 0) (i32.const 3072))"),
            "Trap",
            "it polls nothing",
        ),
        burns(
            "naps without end",
            "(local.set $i (call $after (i64.const 1))) (call $block (local.get $i))
             (call $drop (local.get $i))",
        ),
        burns("looks at the clock without end", "(drop (call $now))"),
        burns("draws without end", "(drop (call $number))"),
        fails(
            "alarms without end",
            again("(drop (call $after (i64.const 1)))"),
            "HandleLimit",
            "more than 8192 handles",
        ),
    ]
}

fn streams() -> Vec<Case> {
    const EXITED: &str = "before it had answered";
    vec![
        fails(
            "prints without end",
            again("(call $write (call $stdout) (i32.const 2048) (i32.const 7) (i32.const 3072))"),
            "LogLines",
            "more than 1024 lines",
        ),
        fails(
            "prints without the end of a line",
            again(
                "(call $write (call $stderr) (i32.const 4096) (i32.const 60000) (i32.const 3072))",
            ),
            "LogLimit",
            "the limit is 65536",
        ),
        works(
            "standard input has an end",
            body(
                "(call $read (call $stdin) (i64.const 100) (i32.const 3072))
                 (if (i32.ne (i32.load8_u (i32.const 3072)) (i32.const 1)) (then unreachable))
                 (if (i32.ne (i32.load8_u (i32.const 3076)) (i32.const 1)) (then unreachable))",
            ),
        ),
        fails(
            "an exit",
            body("(call $exit (i32.const 0))"),
            "Trap",
            EXITED,
        ),
        fails(
            "an exit for a reason",
            body("(call $exit (i32.const 1))"),
            "Trap",
            EXITED,
        ),
    ]
}

fn world() -> Vec<Case> {
    vec![
        works(
            "a megabyte of random bytes",
            body("(call $bytes (i64.const 1048576) (i32.const 3072))"),
        ),
        fails(
            "four gigabytes of random bytes",
            body("(call $bytes (i64.const 4294967296) (i32.const 3072))"),
            "HostcallLimit",
            "more than 1048576 bytes",
        ),
        works(
            "no arguments, no environment and no folders",
            body(
                "(call $arguments (i32.const 3072)) (call $environment (i32.const 3080))
                 (call $directories (i32.const 3088))
                 (if (i32.load (i32.const 3076)) (then unreachable))
                 (if (i32.load (i32.const 3084)) (then unreachable))
                 (if (i32.load (i32.const 3092)) (then unreachable))",
            ),
        ),
        works(
            "a socket is denied",
            body(
                "(call $socket (i32.const 0) (i32.const 3072))
                 (if (i32.ne (i32.load8_u (i32.const 3072)) (i32.const 1)) (then unreachable))
                 (if (i32.ne (i32.load8_u (i32.const 3076)) (i32.const 1)) (then unreachable))",
            ),
        ),
        fails(
            "a network",
            body("(drop (call $network))"),
            "Trap",
            "wasi:sockets/instance-network@0.2.0#instance-network, which no job may",
        ),
    ]
}
