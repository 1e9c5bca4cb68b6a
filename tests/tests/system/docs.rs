//! The book in `docs/`: whoever types what it says gets what it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tests::transcript::{Ran, Step, matches, run, steps};
use tests::{assay_binary, repository, target_dir};

use crate::reference::home;

/// What a newcomer has: a program, the tools that the README names, and nothing of our own set up.
fn environment(user: &Path) -> Result<BTreeMap<&'static str, OsString>> {
    let mut path = assay_binary()?
        .parent()
        .context("no folder")?
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let real = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    let tool = |name: &str, folder: &str| {
        std::env::var_os(name).unwrap_or_else(|| real.join(folder).into_os_string())
    };
    Ok(BTreeMap::from([
        ("PATH", path),
        ("HOME", user.as_os_str().to_owned()),
        ("ASSAY_HOME", home()?.into_os_string()),
        ("ASSAY_SOURCE", repository().into_os_string()),
        ("CARGO_HOME", tool("CARGO_HOME", ".cargo")),
        ("RUSTUP_HOME", tool("RUSTUP_HOME", ".rustup")),
        // What a component is made of was fetched when the examples were built.
        ("CARGO_NET_OFFLINE", "true".into()),
        ("LANG", "C.UTF-8".into()),
    ]))
}

/// Writes what was typed and what came of it, as a person would have seen it.
fn transcript(page: &str, steps: &[Step], ran: &[Ran]) -> Result<()> {
    let mut text = String::new();
    for (step, ran) in steps.iter().zip(ran) {
        let command = step.command.replace('\n', "\n> ");
        text += &format!("$ {command}\n{}", ran.output);
        if let Some(code) = ran.code.filter(|&code| code != 0) {
            text += &format!("(exit code {code})\n");
        }
    }
    let folder = target_dir()?.join("system-tests/docs");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(page.replace('/', "-") + ".txt"), text)?;
    Ok(())
}

/// Does what a page says, in an empty folder.
fn follow(page: &str) -> Result<()> {
    let path = repository().join("docs/src").join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let steps = steps(&text)?;
    ensure!(!steps.is_empty(), "{page} has no commands");
    let scratch = tempfile::Builder::new().prefix("assay-docs-").tempdir()?;
    let (user, folder) = (scratch.path().join("home"), scratch.path().join("work"));
    for folder in [&user, &folder] {
        fs::create_dir(folder)?;
    }
    let ran = run(&steps, &folder, &environment(&user)?)?;
    transcript(page, &steps, &ran)?;
    for (step, ran) in steps.iter().zip(&ran) {
        let Step {
            line,
            command,
            code,
            expected,
        } = step;
        let output = &ran.output;
        ensure!(
            ran.code == Some(*code),
            "{page}:{line}: `{command}` ended with {:?}, not {code}:\n{output}",
            ran.code
        );
        let lines: Vec<&str> = output.trim_end_matches('\n').lines().collect();
        ensure!(
            matches(expected, &lines),
            "{page}:{line}: `{command}` printed\n{output}\ninstead of\n{}",
            expected.join("\n")
        );
    }
    Ok(())
}

#[test]
fn the_tutorial_leads_to_a_paid_job() -> Result<()> {
    follow("tutorial.md")
}

#[test]
fn jobs_in_other_languages_are_begun_built_and_run() -> Result<()> {
    follow("how-to/languages.md")
}

#[test]
fn models_are_fetched_listed_and_checked() -> Result<()> {
    follow("how-to/models.md")
}

#[test]
fn spending_is_foretold_and_bounded() -> Result<()> {
    follow("how-to/spend.md")
}

#[test]
fn results_are_verified_by_anybody() -> Result<()> {
    follow("how-to/verify.md")
}

#[test]
fn a_machine_is_rented_out() -> Result<()> {
    follow("how-to/provider.md")
}

#[test]
fn an_aggregator_is_run_and_restored() -> Result<()> {
    follow("how-to/aggregator.md")
}

#[test]
fn values_come_from_where_the_book_says() -> Result<()> {
    follow("reference/configuration.md")
}

#[test]
fn codes_are_explained() -> Result<()> {
    follow("reference/problems.md")
}

#[test]
fn the_economics_are_what_is_printed() -> Result<()> {
    follow("explanation/economics.md")
}

/// Every page of the book.
fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pages(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn every_page_with_commands_is_followed_by_a_test_and_every_page_is_in_the_summary() -> Result<()> {
    let tests = include_str!("docs.rs");
    let book = repository().join("docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md"))?;
    for path in pages(&book)? {
        let page = path.strip_prefix(&book)?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        if !steps(&text)?.is_empty() {
            assert!(tests.contains(&format!("follow(\"{page}\")")), "{page}");
        }
        let listed = summary.contains(&format!("({page})")) || page == "SUMMARY.md";
        assert!(listed, "SUMMARY.md does not list {page}");
    }
    Ok(())
}
