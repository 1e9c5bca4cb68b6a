//! Other people's test cases, run through the whole way: guest, `wasi:nn`, worker process, ONNX Runtime.
//!
//! The cases are those of the ONNX project's Python package, written down by
//! `tests/conformance/export.py`; what became of each is in `tests/conformance/onnx.md`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that misses what it looks for has found a bug"
)]

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/matrix.rs"]
mod matrix;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/tensors.rs"]
mod tensors;

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};

use matrix::{Judged, Verdict};

/// Cases that must really run and pass, whatever the record says.
const PASSED_MIN: usize = 1200;

/// Set to anything, makes the test write the record anew instead of comparing with it.
const BLESS: &str = "ASSAY_BLESS";

#[test]
fn the_onnx_projects_own_cases_give_the_right_answers_in_the_sandbox() -> Result<()> {
    let suite = match cases::suite()? {
        Ok(suite) => suite,
        Err(why) => {
            ensure!(std::env::var_os("CI").is_none(), "{why}");
            // Past the harness, which keeps what a test that passes prints to itself.
            writeln!(std::io::stderr().lock(), "\nNOT CHECKED: {why}\n")?;
            return Ok(());
        }
    };
    let judged = run::all(&suite)?;
    let text = matrix::record(&suite, &judged);
    let summary = text.lines().find(|line| line.starts_with("Of "));
    eprintln!("{}", summary.context("the record has no summary")?);
    let path = cases::folder().join("onnx.md");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &text)?;
    }
    let known = matrix::read(&std::fs::read_to_string(&path)?)?;
    let worse = matrix::worse(&known, &judged);
    ensure!(
        worse.is_empty(),
        "{} cases changed for the worse:\n{}",
        worse.len(),
        worse.join("\n")
    );
    let passed = judged.iter().filter(|j| j.verdict == Verdict::Passed);
    let passed = passed.count();
    assert!(passed >= PASSED_MIN, "only {passed} cases passed");
    Ok(())
}

#[test]
fn a_case_that_changes_for_the_worse_is_named() {
    let judged = |name: &str, verdict: Verdict| Judged {
        name: name.to_owned(),
        verdict,
    };
    let why = || "why".to_owned();
    let (passed, refused) = (Verdict::Passed, Verdict::Refused(why()));
    let (library, wrong) = (Verdict::Library(why()), Verdict::Wrong(why()));
    for (before, now, is_worse) in [
        (&passed, &passed, false),
        (&passed, &refused, true),
        (&passed, &wrong, true),
        // The library itself, asked from Python on the same machine, fails: not of our making.
        (&passed, &library, false),
        (&refused, &passed, false),
        (&refused, &refused, false),
        (&refused, &wrong, true),
        (&library, &passed, false),
        (&library, &wrong, true),
        (&library, &refused, true),
    ] {
        let known = [judged("test_x", before.clone())];
        let text = matrix::groups(&known);
        let known = matrix::read(&text).unwrap();
        let worse = matrix::worse(&known, &[judged("test_x", now.clone())]);
        assert_eq!(
            worse.len(),
            usize::from(is_worse),
            "{before:?} {now:?} {worse:?}"
        );
    }
}
