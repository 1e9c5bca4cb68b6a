//! Components of JavaScript and Python: the sources, the SDK and an interpreter in one.
//!
//! The tools run the interpreter once and keep its memory, so that a job begins where its imports end.
//! What the interpreter drew at random meanwhile is kept with it: two builds differ. So a build is kept
//! by the digest of everything that went in, and the same sources give the same component again on the
//! same machine.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use jobs::digest::Digest;

use super::tools::{self, Tools};
use super::{Language, write_whole};
use crate::home::home;

/// The contract, as the tools read it.
const WIT: [(&str, &str); 3] = [
    (
        "wit/world.wit",
        include_str!("../../../guest-sdk/wit/world.wit"),
    ),
    (
        "wit/nn-ext.wit",
        include_str!("../../../guest-sdk/wit/nn-ext.wit"),
    ),
    (
        "wit/deps/wasi-nn/wasi-nn.wit",
        include_str!("../../../guest-sdk/wit/deps/wasi-nn/wasi-nn.wit"),
    ),
];

const JS: [(&str, &str); 2] = [
    ("assay.js", include_str!("../../../guest-sdk/js/assay.js")),
    (
        "componentize.mjs",
        include_str!("../../../guest-sdk/tools/componentize.mjs"),
    ),
];

const PYTHON: [(&str, &str); 2] = [
    (
        "assay.py",
        include_str!("../../../guest-sdk/python/assay.py"),
    ),
    (
        "job_main.py",
        include_str!("../../../guest-sdk/tools/job_main.py"),
    ),
];

/// Most files of a project that go into its component.
const FILES_MAX: usize = 4096;

/// Most bytes of a project that go into its component.
const SOURCE_BYTES_MAX: u64 = 16 << 20;

/// How deep folders of a project may lie within one another.
const FOLDERS_DEEP_MAX: usize = 16;

/// Folders that are no part of a job, beside those whose name begins with a dot.
const FOREIGN: [&str; 6] = [
    "target",
    "data",
    "node_modules",
    "__pycache__",
    "venv",
    "tests",
];

/// Components that are kept.
const KEPT_MAX: usize = 16;

/// A file, by its path in the folder that the tools see.
type Source = (PathBuf, Vec<u8>);

/// Makes the component of a project in JavaScript or Python.
pub(super) fn component(project: &Path, language: Language) -> Result<Vec<u8>> {
    let tools = Tools::needed_for(language)?;
    let sources = sources(project, language)?;
    let kept = home()?.join("guest-builds");
    let name = format!("{}.component.wasm", key(&sources));
    if let Ok(component) = fs::read(kept.join(&name)) {
        return Ok(component);
    }
    let staging = home()?.join("tmp");
    fs::create_dir_all(&staging).with_context(|| format!("cannot make {}", staging.display()))?;
    let staging = tempfile::TempDir::with_prefix_in("guest-", &staging)?;
    for (path, content) in &sources {
        let path = staging.path().join(path);
        let folder = path.parent().unwrap_or(staging.path());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match language {
        Language::Js => javascript(&tools, staging.path(), &sources)?,
        _ => python(&tools, staging.path())?,
    }
    let made = staging.path().join("made.wasm");
    let component = fs::read(&made).context("the tool reported success but left no component")?;
    write_whole(&kept.join(&name), &component)?;
    forget_oldest(&kept)?;
    Ok(component)
}

fn javascript(tools: &Tools, staging: &Path, sources: &[Source]) -> Result<()> {
    // Node looks for packages in the folders above a script.
    std::os::unix::fs::symlink(tools.node_modules(), staging.join("node_modules"))?;
    let mut node = tools.node();
    node.args(["componentize.mjs", "job.js", "wit", "made.wasm"]);
    let Err(error) = tools::run(&mut node, staging) else {
        return Ok(());
    };
    // The tool does not say where a source is wrong; node does.
    let is_code = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "js");
    for path in sources.iter().map(|(path, _)| path).filter(is_code) {
        let checked = tools::run(tools.node().arg("--check").arg(path), staging);
        checked.with_context(|| format!("{} is no JavaScript", path.display()))?;
    }
    Err(error.context("componentize-js makes no component of job.js"))
}

fn python(tools: &Tools, staging: &Path) -> Result<()> {
    let mut tool = tools.componentize_py();
    // Packages come from the project alone, never from an environment that is active by chance.
    tool.env_remove("VIRTUAL_ENV").env_remove("PYTHONPATH");
    tool.args(["--quiet", "--wit-path", "wit", "--world", "inference"]);
    tool.args([
        "componentize",
        "--python-path",
        ".",
        "--output",
        "made.wasm",
    ]);
    tools::run(tool.arg("job_main"), staging)
        .context("componentize-py makes no component of job.py")?;
    Ok(())
}

/// Everything that a component is made of, in order.
fn sources(project: &Path, language: Language) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    collect(project, Path::new(""), 0, &mut found)?;
    let given = match language {
        Language::Js => JS,
        _ => PYTHON,
    };
    for (name, content) in WIT.iter().chain(&given) {
        if found.iter().any(|(path, _)| path == Path::new(name)) {
            bail!(
                "{} has a file {name}, which `assay component build` brings itself; give yours another name",
                project.display()
            );
        }
        found.push((PathBuf::from(name), content.as_bytes().to_vec()));
    }
    found.sort();
    Ok(found)
}

fn collect(project: &Path, below: &Path, depth: usize, found: &mut Vec<Source>) -> Result<()> {
    let folder = project.join(below);
    ensure!(
        depth <= FOLDERS_DEEP_MAX,
        "folders in {} lie more than {FOLDERS_DEEP_MAX} deep",
        project.display()
    );
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(&folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let text = name.to_string_lossy();
        let path = below.join(&name);
        if kind.is_dir() {
            if !text.starts_with('.') && !FOREIGN.contains(&&*text) {
                collect(project, &path, depth.saturating_add(1), found)?;
            }
        } else if kind.is_file() && is_source(&path) {
            let content = read(&project.join(&path), found)?;
            found.push((path, content));
            ensure!(
                found.len() <= FILES_MAX,
                "{} has more than {FILES_MAX} files that would go into its component",
                project.display()
            );
        }
    }
    Ok(())
}

/// Code, and data that code reads while the component is built.
fn is_source(path: &Path) -> bool {
    let kinds = ["js", "mjs", "py", "json", "txt", "csv", "toml"];
    let is_known = path
        .extension()
        .is_some_and(|kind| kinds.iter().any(|known| kind == *known));
    is_known && path != Path::new("job.toml")
}

fn read(path: &Path, before: &[Source]) -> Result<Vec<u8>> {
    let used = before
        .iter()
        .map(|(_, content)| content.len() as u64)
        .sum::<u64>();
    let left = SOURCE_BYTES_MAX.saturating_sub(used);
    let mut content = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(left.saturating_add(1)).read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        content.len() as u64 <= left,
        "with {} the sources have more than {SOURCE_BYTES_MAX} bytes; what a job needs at run time belongs into its items \
         or models, and other files into a folder named data",
        path.display()
    );
    Ok(content)
}

/// A name for everything that goes in, tools included.
fn key(sources: &[Source]) -> String {
    let mut lines = format!("{}\n", tools::pins());
    for (path, content) in sources {
        lines += &format!("{} {:?}\n", Digest::of(content), path);
    }
    Digest::of(lines.as_bytes()).to_hex()
}

/// Keeps the components that were made last.
fn forget_oldest(kept: &Path) -> Result<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(kept)? {
        let entry = entry?;
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort();
    for (_, path) in all.iter().rev().skip(KEPT_MAX) {
        // Another build may have been faster.
        fs::remove_file(path).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn code_beside_the_job_goes_in_and_nothing_else_does() {
        let folder = project(&[
            ("job.py", "run = None"),
            ("deep/er/module.py", ""),
            ("words.json", "{}"),
            ("job.toml", ""),
            ("README.md", ""),
            ("data/lines.txt", ""),
            ("target/old.py", ""),
            ("node_modules/a/index.js", ""),
            (".venv/lib/site.py", ""),
        ]);
        let found = sources(folder.path(), Language::Python).unwrap();
        let mut given: Vec<&str> = WIT.iter().chain(&PYTHON).map(|(name, _)| *name).collect();
        given.extend(["job.py", "deep/er/module.py", "words.json"]);
        given.sort_unstable();
        let mut names: Vec<String> = found
            .iter()
            .map(|(path, _)| path.to_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        assert_eq!(names, given);
    }

    #[test]
    fn a_build_is_known_by_everything_that_goes_in() {
        let first = [("job.js", "1"), ("a/b.js", "2")];
        let key =
            |files: &[(&str, &str)]| key(&sources(project(files).path(), Language::Js).unwrap());
        let known = key(&first);
        assert_eq!(key(&first), known);
        for other in [
            [("job.js", "2"), ("a/b.js", "2")],
            [("job.js", "1"), ("a/c.js", "2")],
            [("job.js", "1"), ("b.js", "2")],
        ] {
            assert_ne!(key(&other), known, "{other:?}");
        }
    }

    #[test]
    fn sources_that_are_too_large_or_take_a_name_are_refused() {
        let large = "x".repeat(usize::try_from(SOURCE_BYTES_MAX).unwrap());
        for (name, text, words) in [
            ("words.txt", large.as_str(), "16777216 bytes"),
            ("assay.js", "", "brings itself"),
            ("wit/world.json", "", ""),
        ] {
            let folder = project(&[("job.js", "1"), (name, text)]);
            let found = sources(folder.path(), Language::Js);
            match words {
                "" => drop(found.unwrap()),
                words => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(words), "{error}");
                }
            }
        }
    }

    #[test]
    fn the_tools_of_a_build_are_those_that_are_pinned() {
        let js = tools::versions(Language::Js).unwrap();
        let python = tools::versions(Language::Python).unwrap();
        for (report, name) in [(js, "componentize-js "), (python, "componentize-py ")] {
            let version = report.strip_prefix(name).unwrap();
            assert!(
                version.split('.').all(|part| part.parse::<u32>().is_ok()),
                "{report}"
            );
            assert_eq!(version.split('.').count(), 3, "{report}");
        }
    }
}
