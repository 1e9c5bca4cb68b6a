//! Real builds of real guests, with whatever compiler this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use super::{build, inspect};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match (
            entry.file_name().to_str(),
            entry.file_type().unwrap().is_dir(),
        ) {
            (Some("target"), true) => {}
            (_, true) => copy(&from, &to),
            (_, false) => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

/// A copy of what the examples are made of, in another folder.
fn elsewhere() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["guest-sdk", "examples"] {
        copy(&root().join(part), &folder.path().join(part));
    }
    // The SDK inherits its version and its dependencies from the workspace it lies in.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (start, rest) = manifest.split_once("members = [").unwrap();
    let (_, end) = rest.split_once(']').unwrap();
    fs::write(
        folder.path().join("Cargo.toml"),
        format!("{start}members = [\"guest-sdk\"]{end}"),
    )
    .unwrap();
    folder
}

#[test]
fn one_source_in_two_folders_makes_one_component() {
    let folder = elsewhere();
    let here = build(
        &root().join("examples/echo"),
        Some(&folder.path().join("here.wasm")),
    )
    .unwrap();
    let there = build(&folder.path().join("examples/echo"), None).unwrap();
    assert_eq!(
        there.component_path,
        folder
            .path()
            .canonicalize()
            .unwrap()
            .join("examples/echo/target/echo.component.wasm")
    );
    assert_eq!(
        fs::read(&here.component_path).unwrap(),
        fs::read(&there.component_path).unwrap()
    );
    assert_eq!(here.digest, there.digest);

    let inspection = inspect(&there.component_path).unwrap();
    assert_eq!(inspection.digest, there.digest);
    assert_eq!(inspection.imports, there.imports);
    assert!(
        inspection.exports.iter().any(|name| name == "run"),
        "{:?}",
        inspection.exports
    );

    let source = folder.path().join("examples/echo/src/lib.rs");
    let changed = fs::read_to_string(&source).unwrap().replacen(
        "to_ascii_uppercase",
        "to_ascii_lowercase",
        1,
    );
    fs::write(source, changed).unwrap();
    let changed = build(&folder.path().join("examples/echo"), None).unwrap();
    assert_ne!(
        changed.digest, here.digest,
        "another source is another component"
    );
}

#[test]
fn what_is_no_guest_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let text = |error: anyhow::Error| format!("{error:#}");
    let error = text(build(&folder.path().join("nowhere"), None).unwrap_err());
    assert!(error.contains("there is no guest project at"), "{error}");
    let error = text(build(folder.path(), None).unwrap_err());
    assert!(error.contains("has none of them"), "{error}");

    let file = folder.path().join("text.wasm");
    fs::write(&file, "no component").unwrap();
    let error = text(inspect(&file).unwrap_err());
    assert!(error.contains("is not a job"), "{error}");
    let error = text(inspect(&folder.path().join("missing.wasm")).unwrap_err());
    assert!(error.contains("cannot read"), "{error}");
}
