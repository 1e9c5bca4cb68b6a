//! Licences and sources of everything that is built, against deny.toml. `cargo deny` says more,
//! where it is installed; these two rules hold everywhere.

use super::repo;

/// Packages whose manifest names a file instead of an expression, with what the file says. Each
/// also stands in deny.toml, with its date.
const CLARIFIED: [(&str, &str); 1] = [("sigstore-protobuf-specs-derive", "Apache-2.0")];

fn allowed() -> Vec<String> {
    let deny: toml::Table = repo::file("deny.toml").text.parse().unwrap();
    let list = deny["licenses"]["allow"].as_array().unwrap();
    list.iter()
        .map(|l| l.as_str().unwrap().to_owned())
        .collect()
}

/// Whether an SPDX expression can be met by allowed licences. Old manifests write `/` for `OR`.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words, allowed: &[String]) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let met = any_of(words, allowed);
        return words.next() == Some(")") && met;
    }
    let mut licence = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(&licence)
}

/// `tree` holds lines of `licence|name version`.
fn unlicensed(tree: &str, allowed: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for line in tree.lines().filter(|l| !l.is_empty()) {
        let (licence, package) = line.split_once('|').unwrap();
        let name = package.split_whitespace().next().unwrap_or_default();
        let clarified = CLARIFIED.iter().find(|c| c.0 == name).map(|c| c.1);
        let licence = if licence.is_empty() {
            clarified.unwrap_or_default()
        } else {
            licence
        };
        if !is_met(licence, allowed) {
            findings.push(format!(
                "{package}: {licence:?} is not met by deny.toml's list"
            ));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Lock entries from anywhere but this repository and the registry.
fn foreign_sources(lock: &str) -> Vec<String> {
    let sources = lock.lines().filter_map(|l| l.strip_prefix("source = "));
    sources
        .filter(|s| !s.starts_with("\"registry+"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let format = ["--prefix", "none", "--format", "{l}|{p}"];
    let tree = [
        &["tree", "--workspace", "-e", "normal,build,dev"][..],
        &format,
    ]
    .concat();
    let tree = repo::cargo(&tree);
    assert!(
        tree.lines().count() > 100,
        "cargo tree printed almost nothing"
    );
    let findings = unlicensed(&tree, &allowed());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn every_dependency_comes_from_the_registry() {
    assert_eq!(
        foreign_sources(&repo::file("Cargo.lock").text),
        Vec::<String>::new()
    );
}

#[test]
fn the_licence_and_source_rules_can_fail() {
    let allowed = ["MIT", "ISC", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND OpenSSL", false),
        ("ISC AND (OpenSSL OR MIT)", true),
        ("(MIT OR ISC) AND (GPL-2.0 OR Zlib)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH Classpath-exception", false),
        ("MIT MIT", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
    assert_eq!(
        unlicensed("MIT|a v1\nAGPL-3.0|b v1\n|c v1\n", &allowed).len(),
        2
    );
    assert_eq!(
        foreign_sources("source = \"git+x\"\nsource = \"registry+y\"\n").len(),
        1
    );
}
