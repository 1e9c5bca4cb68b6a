//! Components that are small to send, and large to read or compile.
#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is a failure with a line number"
)]

use jobs::component::{
    BLOCK_DEPTH_MAX, CANONICALS_MAX, CORE_TYPES_MAX, INNER_TYPES_MAX, JUMPS_MAX, LINKS_MAX,
    TABLE_ELEMENTS_MAX, check,
};

/// A job with these parts before its own, and this in a core module.
fn job(parts: &str, module: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          {parts}
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "run") (param i32 i32) (result i32) i32.const 0)
            {module})
          (core instance $i (instantiate $m))
          (type $error' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
          (export $error "job-error" (type $error'))
          (func $run (param "items" (list (list u8)))
            (result (result (list (list u8)) (error $error)))
            (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))
          (export "run" (func $run)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Holds what just fits and what does not against the check.
fn bound(fits: &[u8], breaks: &[u8], words: &str) {
    check(fits).unwrap();
    let error = check(breaks).unwrap_err().to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn what_is_large_to_compile_is_refused_at_its_bound() {
    let inside = |text: String| job("", &text);
    let part = r#"(core module $n (func (export "f"))) (core instance $n (instantiate $n))"#;
    let with = |repeated: &str, times: u32| {
        job(&format!("{part} {}", repeated.repeat(times as usize)), "")
    };
    // The job's own module has two types, and one function is lifted for it.
    let types = |count: u32| inside("(type (func (param f64)))".repeat(count as usize));
    bound(
        &types(CORE_TYPES_MAX - 2),
        &types(CORE_TYPES_MAX - 1),
        "4097 core types",
    );
    let blocks = |deep: u32| {
        let (open, close) = ("block ".repeat(deep as usize), "end ".repeat(deep as usize));
        inside(format!("(func {open} {close})"))
    };
    let deepest = BLOCK_DEPTH_MAX;
    bound(
        &blocks(deepest),
        &blocks(deepest + 1),
        "4097 blocks within one another",
    );
    let jumps = |count: u32| {
        let table = " 0".repeat(count as usize);
        inside(format!("(func (block (br_table{table} 0 (i32.const 0))))"))
    };
    bound(
        &jumps(JUMPS_MAX),
        &jumps(JUMPS_MAX + 1),
        "65521 jumps in one table",
    );
    let table = |elements: u64| inside(format!("(table {elements} funcref)"));
    let most = TABLE_ELEMENTS_MAX;
    bound(&table(most), &table(most + 1), "100001 elements in a table");
    let lift = r#"(func (canon lift (core func $n "f")))"#;
    let lifted = |count: u32| with(lift, count);
    bound(
        &lifted(CANONICALS_MAX - 1),
        &lifted(CANONICALS_MAX),
        "1001 lifted, lowered",
    );
    let alias = r#"(alias core export $n "f" (core func))"#;
    let found = check(&with(alias, LINKS_MAX)).unwrap_err().to_string();
    assert!(found.contains("10001 instances, aliases"), "{found}");
    check(&with(alias, LINKS_MAX - 100)).unwrap();
}

#[test]
fn types_within_types_are_refused_before_a_reader_calls_itself_for_them() {
    const INSTANCE: u8 = 0x42;
    const COMPONENT: u8 = 0x41;
    // A type that declares a type that declares a type...
    let nested = |kind: u8, depth: usize| {
        let mut types = vec![1];
        types.extend([kind, 1, 1].repeat(depth));
        types.extend([kind, 0]);
        let mut bytes = job("", "");
        let length = types.len();
        let low = |at: usize| (length >> at & 0x7f) as u8;
        bytes.extend([7, low(0) | 0x80, low(7) | 0x80, low(14)]);
        bytes.extend(types);
        bytes
    };
    for kind in [INSTANCE, COMPONENT] {
        // The number of types before the first one looks like the beginning of a declaration.
        let deepest = INNER_TYPES_MAX - 1;
        let words = "65 types within types, more than the 64 allowed";
        bound(&nested(kind, deepest), &nested(kind, deepest + 1), words);
        assert!(check(&nested(kind, 20_000)).is_err());
    }
}
