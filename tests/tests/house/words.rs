//! Words that do not belong in the repository: hosts of registries, paths of one machine.

use super::repo::{self, TextFile};

/// Registries are reached through their ordinary clients, which know where they are and may be told
/// otherwise. Written in two halves so that this file does not contain them.
const HOSTS: [&str; 8] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("//crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("deb.debian", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("huggingface", ".co/"),
];

/// Written by cargo, which names its registry's index there.
const WRITTEN_BY_TOOLS: &str = "Cargo.lock";

fn forbidden_words(file: &TextFile) -> Vec<String> {
    if file.path.ends_with(WRITTEN_BY_TOOLS) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        let hosts = HOSTS.iter().filter(|h| line.contains(**h)).copied();
        let homes = home_path(line).into_iter();
        findings.extend(
            hosts
                .chain(homes)
                .map(|word| format!("{}:{}: {word}", file.path, i + 1)),
        );
    }
    findings
}

/// Nobody's: the user of made-up paths in examples and tests.
const MADE_UP_USER: &str = "me";

/// A path inside somebody's home folder.
fn home_path(line: &str) -> Option<&'static str> {
    for home in [
        concat!("/", "root/"),
        concat!("/", "home/"),
        concat!("/", "Users/"),
    ] {
        for (at, _) in line.match_indices(home) {
            // `docs/root/x` and the like are not absolute.
            let before = line[..at].chars().next_back();
            let absolute = !before.is_some_and(|c| c.is_alphanumeric() || "._-/>)}".contains(c));
            let rest = &line[at + home.len()..];
            let is_name = |c: &char| c.is_alphanumeric() || ".-_".contains(*c);
            let name: String = rest.chars().take_while(is_name).collect();
            if absolute && !name.is_empty() && name != MADE_UP_USER {
                return Some(home);
            }
        }
    }
    None
}

#[test]
fn no_registry_host_and_no_path_of_one_machine_is_named() {
    let findings: Vec<String> = repo::text_files()
        .iter()
        .flat_map(forbidden_words)
        .collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn the_word_rule_can_fail() {
    let host = format!("https://files.{}/x.whl", HOSTS[4]);
    let home = format!("cd {}jo/assay", concat!("/", "home/"));
    let cases = [
        ("notes.md", host.as_str(), 1),
        ("x.sh", home.as_str(), 1),
        ("Cargo.lock", host.as_str(), 0),
        ("x.rs", "let dir = format!(\"{base}/root/x\");", 0),
        ("x.rs", concat!("open ", "/", "home/", "me/model.onnx"), 0),
        ("x.md", "the crates folder, ~/.cache/assay and $HOME/x", 0),
    ];
    for (path, text, findings) in cases {
        assert_eq!(
            forbidden_words(&TextFile::new(path, text)).len(),
            findings,
            "{text}"
        );
    }
}
