//! The documents against the code: commands exist, links lead somewhere, promises have tests.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::repo::{self, TextFile};
use super::source::functions;

/// The two commands a newcomer needs.
const NEWCOMER: [&str; 2] = ["cargo xtask demo", "cargo xtask test"];
/// What a row of SPECIFICATION.md says instead of naming a test.
const NO_TEST: &str = "no test yet";

/// The commands of a clap enum: its variants in kebab-case.
fn commands(file: &TextFile, name: &str) -> BTreeSet<String> {
    let tokens: Vec<TokenTree> = file
        .text
        .parse::<TokenStream>()
        .unwrap()
        .into_iter()
        .collect();
    let is = |t: &TokenTree, word: &str| matches!(t, TokenTree::Ident(i) if i == word);
    let at = tokens
        .windows(2)
        .position(|w| is(&w[0], "enum") && is(&w[1], name))
        .unwrap();
    let Some(TokenTree::Group(body)) = tokens.get(at + 2) else {
        panic!("{name} has no variants")
    };
    assert_eq!(body.delimiter(), Delimiter::Brace, "{name} is generic");
    let idents = body.stream().into_iter().filter_map(|t| match t {
        TokenTree::Ident(ident) => Some(kebab(&ident.to_string())),
        _ => None,
    });
    idents.collect()
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The words that follow `cargo xtask` in a document and are no command of it.
fn unknown_chores(doc: &TextFile, known: &BTreeSet<String>) -> Vec<String> {
    let after = doc.text.split("cargo xtask ").skip(1);
    let words = after.map(|t| {
        t.chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect::<String>()
    });
    let unknown = words.filter(|w| !w.is_empty() && !known.contains(w));
    unknown
        .map(|w| format!("{} names `cargo xtask {w}`, which does not exist", doc.path))
        .collect()
}

/// Relative links of a Markdown document whose target is missing.
fn dead_links(doc: &TextFile, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(&doc.path).parent().unwrap_or(Path::new(""));
    let targets = doc
        .text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let paths = targets
        .filter_map(|t| t.split('#').next())
        .filter(|t| !t.is_empty() && !t.contains("://"));
    let dead = paths.filter(|t| !exists(&folder.join(t)));
    dead.map(|t| format!("{} links to {t}, which does not exist", doc.path))
        .collect()
}

/// Promises without a test behind them. A promise is a table row whose last cell names tests as
/// `` `crate::name` ``, or says that there is none yet; its first is a name that no other has.
fn unproven(spec: &TextFile, tests: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for (i, line) in spec.text.lines().enumerate() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let is_row = line.starts_with('|') && !line.starts_with("|-") && !line.starts_with("| #");
        let Some(last) = cells.last().filter(|_| is_row) else {
            continue;
        };
        if let Some(name) = cells.first().filter(|name| !names.insert(**name)) {
            let line = i + 1;
            findings.push(format!("{}:{line}: there is another {name}", spec.path));
        }
        let named: Vec<_> = last
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|n| n.rsplit_once("::"))
            .collect();
        if named.is_empty() && !last.contains(NO_TEST) {
            findings.push(format!("{}:{}: no test is named", spec.path, i + 1));
        }
        for (krate, name) in named {
            if !tests.contains(&(krate.to_owned(), name.to_owned())) {
                findings.push(format!(
                    "{}:{}: there is no test {krate}::{name}",
                    spec.path,
                    i + 1
                ));
            }
        }
    }
    findings
}

/// Every test function of the repository with the folder of its crate's name.
fn all_tests() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for file in repo::files_ending(".rs") {
        let parts: Vec<&str> = file.path.split('/').collect();
        let source = parts.iter().position(|p| *p == "src");
        let source = source.or_else(|| parts.iter().rposition(|p| *p == "tests"));
        let Some(krate) = source
            .and_then(|at| at.checked_sub(1))
            .and_then(|at| parts.get(at))
        else {
            continue;
        };
        // A test program with a main of its own lists its tests by name.
        let lists = file.text.contains("CASES: &[Case]");
        let is_listed = |name: &str| lists && file.text.contains(&format!("\"{name}\""));
        let tests = functions(&file).into_iter();
        let tests = tests.filter(|f| f.is_test || is_listed(&f.name));
        found.extend(tests.map(|f| ((*krate).to_owned(), f.name)));
    }
    found
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = repo::file("README.md");
    for command in NEWCOMER {
        assert!(
            readme.text.contains(command),
            "README.md does not name `{command}`"
        );
    }
    assert!(repo::file(".ci/run").text.contains("cargo xtask test"));
}

#[test]
fn every_chore_a_document_names_exists() {
    let known = commands(&repo::file("xtask/src/main.rs"), "Chore");
    assert!(
        ["demo", "test", "setup"].iter().all(|c| known.contains(*c)),
        "{known:?}"
    );
    let findings: Vec<String> = repo::files_ending(".md")
        .iter()
        .flat_map(|d| unknown_chores(d, &known))
        .collect();
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = repo::root();
    let exists = |path: &Path| root.join(path).exists();
    let findings: Vec<String> = repo::files_ending(".md")
        .iter()
        .flat_map(|d| dead_links(d, exists))
        .collect();
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let findings = unproven(&repo::file("SPECIFICATION.md"), &all_tests());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn the_command_rule_can_fail() {
    let source = TextFile::new(
        "main.rs",
        "enum Chore { /// Doc\n Demo(DemoArgs), #[x] SetUp, Test { a: u8 } }",
    );
    let known = commands(&source, "Chore");
    assert_eq!(
        known.iter().map(String::as_str).collect::<Vec<_>>(),
        ["demo", "set-up", "test"]
    );
    for (text, findings) in [
        ("`cargo xtask demo --json`", 0),
        ("cargo xtask dance, cargo xtask test", 1),
    ] {
        assert_eq!(
            unknown_chores(&TextFile::new("R.md", text), &known).len(),
            findings,
            "{text}"
        );
    }
}

#[test]
fn the_link_rule_can_fail() {
    let doc = TextFile::new(
        "docs/a.md",
        "[a](b.md) [c](../d.md#part) [e](#here) [f](https://g.example)",
    );
    let there =
        |known: &'static [&'static str]| move |p: &Path| known.iter().any(|k| p == Path::new(k));
    assert_eq!(
        dead_links(&doc, there(&["docs/b.md", "docs/../d.md"])).len(),
        0
    );
    assert_eq!(dead_links(&doc, there(&["docs/b.md"])).len(), 1);
}

#[test]
fn the_promise_rule_can_fail() {
    let tests = BTreeSet::from([("ledger".to_owned(), "money_is_kept".to_owned())]);
    for (row, findings) in [
        ("| 1 | money is kept | `ledger::money_is_kept` |", 0),
        ("| 1 | money is kept | `ledger::money_is_lost` |", 1),
        ("| 1 | money is kept | `store::money_is_kept` |", 1),
        (
            "| 1 | money is kept | `ledger::money_is_kept`, `ledger::gone` |",
            1,
        ),
        ("| 1 | money is kept | trust us |", 1),
        (
            "| 1 | money is kept | `ledger::money_is_kept` |\n| 1 | again | `ledger::money_is_kept` |",
            1,
        ),
        ("| 1 | money is kept | no test yet: needs a disk |", 0),
        ("| # | promise | test |", 0),
        ("|---|---|---|", 0),
    ] {
        assert_eq!(
            unproven(&TextFile::new("S.md", row), &tests).len(),
            findings,
            "{row}"
        );
    }
}
