//! Golden manifests: each `tests/manifest/NAME.toml` stands next to `NAME.json`, what it is
//! resolved to, or `NAME.err`, the words by which it is refused. `ASSAY_BLESS=1` rewrites them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure with a line number"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jobs::manifest::Manifest;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifest");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    cases.sort();
    cases
}

/// Extension and content of the golden file of this manifest.
fn outcome(path: &Path) -> (&'static str, String) {
    match Manifest::parse(&fs::read_to_string(path).unwrap()) {
        Ok(manifest) => {
            let json = serde_json::to_string_pretty(&manifest).unwrap();
            ("json", format!("{json}\n"))
        }
        Err(error) => ("err", format!("{error}\n")),
    }
}

#[test]
fn every_manifest_means_what_its_golden_file_says() {
    let bless = std::env::var_os("ASSAY_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() > 50, "only {} cases found", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let (extension, actual) = outcome(&path);
        let golden = path.with_extension(extension);
        let other = path.with_extension(if extension == "json" { "err" } else { "json" });
        if bless {
            fs::write(&golden, &actual).unwrap();
            let _ = fs::remove_file(&other);
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if actual != expected || other.exists() {
            wrong.push(format!(
                "{}\n--- expected\n{expected}--- actual\n{actual}",
                golden.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_refusal_names_a_line_or_a_key_its_value_and_its_bound() {
    for path in cases() {
        if let ("err", text) = outcome(&path) {
            let names_a_line = text.starts_with("not a valid manifest: TOML parse error at line ");
            let value = text.split_once(" = ");
            let names_a_key = value.is_some_and(|(key, rest)| {
                let plain = |c: char| c.is_ascii_lowercase() || "_.[]0123456789".contains(c);
                key.chars().all(plain) && rest.contains(": ")
            });
            assert!(names_a_line || names_a_key, "{}: {text}", path.display());
        }
    }
}

#[test]
fn the_manifests_of_the_examples_are_manifests() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path().join("job.toml");
        if path.exists() {
            let (extension, text) = outcome(&path);
            assert_eq!(extension, "json", "{}: {text}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 0);
}
