//! A folder to begin a job in: it builds and runs as it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Language;
use crate::exit::{Exit, fail};

/// Longest name of a job, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Fuel, bytes of memory and milliseconds for a shard of the sample: what an interpreter needs is in them where there
/// is one, the time to compile it included.
const fn limits(language: Language) -> [&'static str; 3] {
    match language {
        Language::Rust => ["100_000_000", "16777216", "30000"],
        Language::Js | Language::Python => ["2_000_000_000", "134217728", "300000"],
    }
}

const SHARED: [(&str, &str); 3] = [
    ("job.toml", include_str!("templates/job.toml")),
    ("data/lines.txt", include_str!("templates/lines.txt")),
    (".gitignore", include_str!("templates/gitignore")),
];

/// What the examples are built with.
const EXAMPLES_LOCK: &str = include_str!("../../../examples/Cargo.lock");

/// Where a package begins in a lock file.
const PACKAGE: &str = "[[package]]\n";

const fn files(language: Language) -> &'static [(&'static str, &'static str)] {
    match language {
        Language::Rust => &[
            ("Cargo.toml", include_str!("templates/rust/Cargo.toml")),
            ("README.md", include_str!("templates/rust/README.md")),
            ("src/lib.rs", include_str!("templates/rust/lib.rs")),
        ],
        Language::Js => &[
            ("README.md", include_str!("templates/js/README.md")),
            ("job.js", include_str!("templates/js/job.js")),
        ],
        Language::Python => &[
            ("README.md", include_str!("templates/python/README.md")),
            ("job.py", include_str!("templates/python/job.py")),
        ],
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NewReport {
    /// The folder.
    pub(crate) project: PathBuf,
    /// Of the job in it.
    pub(crate) language: Language,
    /// Files in the folder.
    pub(crate) files: Vec<String>,
}

/// Makes the folder `name` in `parent`. Nothing is overwritten, and nothing is left if it fails.
pub(crate) fn create(
    parent: &Path,
    name: &str,
    language: Language,
    sdk: Option<&Path>,
) -> Result<NewReport> {
    check_name(name)?;
    let project = parent.join(name);
    if fs::symlink_metadata(&project).is_ok() {
        let shown = project.display();
        return fail(
            Exit::Usage,
            format_args!("{shown} is there already, and nothing is overwritten; take another name"),
        );
    }
    let [fuel, memory, wall] = limits(language);
    let sdk = match language {
        Language::Rust => dependency(sdk)?,
        _ => String::new(),
    };
    let filled = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{fuel}}", fuel)
            .replace("{{memory}}", memory)
            .replace("{{wall}}", wall)
            .replace("{{sdk}}", &sdk)
    };
    let failed = || format!("cannot make {}", project.display());
    // Made beside its place and put there whole.
    let staging = tempfile::TempDir::with_prefix_in(".assay-new-", parent).with_context(failed)?;
    let folder = staging.path().join(name);
    let mut report = NewReport {
        project: project.clone(),
        language,
        files: Vec::new(),
    };
    let texts = SHARED.iter().chain(files(language));
    let texts = texts.map(|(path, text)| (*path, filled(text)));
    let lock = (language == Language::Rust).then(|| ("Cargo.lock", versions()));
    for (path, text) in texts.chain(lock) {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&folder))
            .and_then(|()| fs::write(&to, text))
            .with_context(failed)?;
        report.files.push(path.to_owned());
    }
    fs::rename(&folder, &project).with_context(failed)?;
    report.files.sort();
    Ok(report)
}

/// The beginning of a lock file: every package that the examples take from elsewhere, at its version. The first build
/// adds the job itself and the SDK, and leaves out what the job has no use for; from then on it is locked.
fn versions() -> String {
    let mut packages = EXAMPLES_LOCK.split(PACKAGE);
    let head = packages.next().unwrap_or_default().to_owned();
    let fetched = packages.filter(|package| package.contains("\nsource = "));
    fetched.fold(head, |text, package| text + PACKAGE + package)
}

/// A name is a folder, a package and a job: what all three take.
fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && name.bytes().all(plain) && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "the name {name:?} must be 1 to {NAME_BYTES_MAX} lower-case letters, digits or '-', the first a letter"
    );
    fail(Exit::Usage, reason)
}

/// Where the SDK is: in a folder, if there is one, else the release that belongs to this program.
fn dependency(given: Option<&Path>) -> Result<String> {
    let by_path = |sdk: &Path| {
        let sdk = fs::canonicalize(sdk)?;
        let text = sdk.to_string_lossy();
        anyhow::Ok(format!("path = {}", toml_string(&text)))
    };
    if let Some(sdk) = given {
        if sdk.join("Cargo.toml").is_file() {
            return by_path(sdk);
        }
        let reason = format!("{} has no Cargo.toml: it is not the SDK", sdk.display());
        return fail(Exit::Usage, reason);
    }
    // A program that was built from a clone finds the clone's.
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk");
    if beside.join("Cargo.toml").is_file() {
        return by_path(&beside);
    }
    Ok(format!("version = {:?}", env!("CARGO_PKG_VERSION")))
}

/// A text as TOML writes it.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_new_job_is_whole_and_known_by_its_language() {
        let parent = tempfile::tempdir().unwrap();
        for language in Language::value_variants() {
            let name = format!("first-{language}").to_lowercase();
            let made = create(parent.path(), &name, *language, None).unwrap();
            assert_eq!(Language::of(&made.project).unwrap(), *language);
            for file in &made.files {
                let text = fs::read_to_string(made.project.join(file)).unwrap();
                assert!(!text.contains("{{"), "{file} of {language}: {text}");
            }
            let manifest = fs::read_to_string(made.project.join("job.toml")).unwrap();
            let manifest = jobs::manifest::Manifest::parse(&manifest).unwrap();
            assert_eq!(manifest.name, name);
            let left = fs::read_dir(parent.path()).unwrap().count();
            fs::remove_dir_all(&made.project).unwrap();
            assert_eq!(left, 1, "something else was left behind");
        }
    }

    #[test]
    fn a_new_job_in_rust_begins_with_the_very_versions_that_the_examples_have() {
        let parent = tempfile::tempdir().unwrap();
        // One of the examples has this name too.
        let made = create(parent.path(), "embed", Language::Rust, None).unwrap();
        let lock = fs::read_to_string(made.project.join("Cargo.lock")).unwrap();
        let lock: toml::Table = lock.parse().unwrap();
        let examples: toml::Table = EXAMPLES_LOCK.parse().unwrap();
        assert_eq!(lock["version"], examples["version"]);
        let [lock, examples] = [&lock, &examples].map(|lock| lock["package"].as_array().unwrap());
        let fetched = examples
            .iter()
            .filter(|package| package.get("source").is_some());
        assert_eq!(lock.iter().collect::<Vec<_>>(), fetched.collect::<Vec<_>>());
        assert!(lock.len() > 10 && lock.len() < examples.len());
    }

    #[test]
    fn nothing_is_overwritten_and_a_name_is_what_a_folder_a_package_and_a_job_take() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("taken"), "mine").unwrap();
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for (name, words) in [
            ("taken", "nothing is overwritten"),
            ("", "1 to 64 lower-case letters"),
            ("Upper", "\"Upper\" must be 1 to 64"),
            ("two words", "lower-case letters"),
            ("../out", "lower-case letters"),
            ("9lives", "the first a letter"),
            (&long, "1 to 64"),
        ] {
            let error = create(parent.path(), name, Language::Js, None).unwrap_err();
            assert!(error.to_string().contains(words), "{name:?}: {error}");
        }
        let no_sdk = create(parent.path(), "job", Language::Rust, Some(parent.path()));
        let error = no_sdk.unwrap_err().to_string();
        assert!(error.contains("has no Cargo.toml"), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        assert_eq!(fs::read(parent.path().join("taken")).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_is_in_exactly_one_language() {
        let folder = tempfile::tempdir().unwrap();
        let error = Language::of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has none of them"), "{error}");
        for marker in ["job.js", "job.py"] {
            fs::write(folder.path().join(marker), "").unwrap();
        }
        let error = Language::of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a job.js and a job.py"), "{error}");
    }
}
