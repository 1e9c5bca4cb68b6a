//! The component model's own reference tests on our engine: what they call valid compiles, what they
//! call invalid does not, and calls give the answers and traps that they expect.
//!
//! `wast/README.md` says where the scripts come from and which of the suite are left out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program"
)]

#[path = "wast/script.rs"]
mod script;
#[path = "wast/values.rs"]
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use script::Tally;

/// Every script, with how many of its directives hold and how many cannot be asked of us, because they
/// use what no job may use. None may fail.
const SCRIPTS: &[(&str, usize, usize)] = &[
    ("binary/binary.wast", 112, 11),
    ("linking/link-time-virtualization.wast", 8, 0),
    ("linking/shared-everything-dynamic-linking.wast", 14, 0),
    ("linking/unit.wast", 217, 21),
    ("resources/borrows.wast", 5, 0),
    ("resources/handle-table.wast", 29, 0),
    ("resources/multiple-resources.wast", 2, 0),
    ("validation/abi.wast", 23, 0),
    ("validation/annotated-names.wast", 36, 0),
    ("validation/attributes.wast", 4, 25),
    ("validation/core-modules.wast", 11, 0),
    ("validation/defined-types.wast", 47, 0),
    ("validation/extern-names.wast", 12, 0),
    ("validation/external-visibility.wast", 62, 0),
    ("validation/indicies.wast", 14, 3),
    ("validation/instantiation.wast", 81, 1),
    ("validation/kebab.wast", 31, 0),
    ("validation/outer-alias.wast", 31, 0),
    ("validation/resources.wast", 72, 0),
    ("values/concat.wast", 36, 10),
    ("values/numerics.wast", 26, 0),
    ("values/post-return.wast", 5, 62),
    ("values/realloc.wast", 8, 8),
    ("values/strings.wast", 17, 0),
    ("values/variants.wast", 9, 5),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wast")
}

/// The scripts that are there, as paths below the folder.
fn present() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let group = entry.unwrap();
        if !group.file_type().unwrap().is_dir() {
            continue;
        }
        for script in std::fs::read_dir(group.path()).unwrap() {
            let script = script.unwrap().path();
            if script
                .extension()
                .is_some_and(|extension| extension == "wast")
            {
                let below = script.strip_prefix(folder()).unwrap();
                found.insert(below.to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn the_component_models_reference_tests_hold_on_our_engine() {
    let expected: BTreeSet<String> = SCRIPTS.iter().map(|row| row.0.to_owned()).collect();
    let mut wrong = Vec::new();
    let mut sums = Tally::default();
    for name in &present() {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        let tally = script::run(&text);
        println!(
            "    (\"{name}\", {}, {}),",
            tally.held,
            tally.left_out.len()
        );
        for line in &tally.left_out {
            println!("        left out: {line}");
        }
        wrong.extend(
            tally
                .failed
                .iter()
                .map(|failure| format!("{name}{failure}")),
        );
        let row = SCRIPTS.iter().find(|row| row.0 == name.as_str());
        if row.map(|row| (row.1, row.2)) != Some((tally.held, tally.left_out.len())) {
            wrong.push(format!("{name}: {row:?} expected, {tally}"));
        }
        sums.held += tally.held;
        sums.left_out.extend(tally.left_out);
    }
    println!("{} scripts: {sums}", present().len());
    assert_eq!(present(), expected);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_script_that_does_not_hold_is_noticed() {
    let component = r#"(component $c
        (core module $m (func (export "f") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then unreachable)) (local.get 0)))
        (core instance $i (instantiate $m))
        (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))"#;
    for (directive, held, failed) in [
        (
            r#"(assert_return (invoke "f" (u32.const 7)) (u32.const 7))"#,
            2,
            0,
        ),
        (
            r#"(assert_return (invoke "f" (u32.const 7)) (u32.const 8))"#,
            1,
            1,
        ),
        (r#"(assert_return (invoke "f" (u32.const 7)))"#, 1, 1),
        (
            r#"(assert_return (invoke "f" (u32.const 0)) (u32.const 0))"#,
            1,
            1,
        ),
        (r#"(assert_return (invoke "g"))"#, 1, 1),
        (
            r#"(assert_trap (invoke "f" (u32.const 0)) "unreachable")"#,
            2,
            0,
        ),
        (
            r#"(assert_trap (invoke "f" (u32.const 0)) "integer overflow")"#,
            1,
            1,
        ),
        (
            r#"(assert_trap (invoke "f" (u32.const 7)) "unreachable")"#,
            1,
            1,
        ),
        (
            r#"(assert_invalid (component (export "a" (func 0))) "unknown")"#,
            2,
            0,
        ),
        (r#"(assert_invalid (component) "unknown")"#, 1, 1),
        (
            r#"(assert_malformed (component quote "(((") "unexpected")"#,
            2,
            0,
        ),
        (
            r#"(assert_malformed (component quote "") "unexpected")"#,
            1,
            1,
        ),
        (r#"(component (export "a" (func 0)))"#, 1, 1),
    ] {
        let tally = script::run(&format!("{component}\n{directive}"));
        let found = (tally.held, tally.failed.len(), tally.left_out.len());
        assert_eq!(found, (held, failed, 0), "{directive}: {tally}");
    }
    assert_eq!(script::run("(component").failed.len(), 1, "half a script");
}
