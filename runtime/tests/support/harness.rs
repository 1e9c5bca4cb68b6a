//! As much of the test harness as `cargo test` and `cargo nextest` ask for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A test and its name.
pub(crate) type Case = (&'static str, fn());

/// Lists the cases, or runs those that the arguments name.
pub(crate) fn run(groups: &[&[Case]]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let cases = groups.iter().copied().flatten();
    if has("--list") {
        // None is ignored, so the list of ignored ones is empty.
        for (name, _) in cases.filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| {
        let matches = |filter: &&String| match has("--exact") {
            true => filter.as_str() == name,
            false => name.contains(filter.as_str()),
        };
        filters.is_empty() || filters.iter().any(matches)
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases.filter(|(name, _)| wanted(name)) {
        let good = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        *(if good { &mut passed } else { &mut failed }) += 1;
    }
    println!("test result: {passed} passed; {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
