//! What is handed to people who do not build: one archive with the program, its manual pages and completions, the units
//! for systemd, and the book's sources; beside it the digest.
//!
//! The same commit gives the same archive, but for the program itself, which is as reproducible as rustc is on one machine:
//! entries are sorted, belong to nobody, and bear the commit's time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::DistArgs;
use crate::chores::target_directory;
use crate::run::{self, check, program};
use crate::setup::sha256;
use crate::stages::Stages;

/// Shells that completions are written for, and where they look for them below `share`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/assay"),
    ("zsh", "zsh/site-functions/_assay"),
    ("fish", "fish/vendor_completions.d/assay.fish"),
];

/// What goes along as it is, and where to.
const FILES: [(&str, &str); 7] = [
    ("LICENSE-APACHE", "share/doc/assay/LICENSE-APACHE"),
    ("LICENSE-MIT", "share/doc/assay/LICENSE-MIT"),
    ("README.md", "share/doc/assay/README.md"),
    ("CHANGELOG.md", "share/doc/assay/CHANGELOG.md"),
    ("packaging/README.md", "share/doc/assay/services.md"),
    (
        "packaging/systemd/assay-provider.service",
        "lib/systemd/system/assay-provider.service",
    ),
    (
        "packaging/systemd/assay-aggregator.service",
        "lib/systemd/system/assay-aggregator.service",
    ),
];

pub(crate) fn run(stages: &mut Stages, args: &DistArgs) -> Result<std::process::ExitCode> {
    let assay = match &args.binary {
        Some(binary) => binary.clone(),
        None => stages.run("build assay for others", build)?,
    };
    let archive = stages.run("pack", || pack(&assay, &args.out))?;
    let digest = sha256(&archive)?;
    let name = archive
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = archive.with_file_name(format!("{name}.sha256"));
    fs::write(&beside, format!("{digest}  {name}\n"))
        .with_context(|| format!("could not write {}", beside.display()))?;
    eprintln!("  {digest}  {}", archive.display());
    Ok(std::process::ExitCode::SUCCESS)
}

/// Stripped and optimised as a whole. Takes a quarter of an hour on two cores.
fn build() -> Result<PathBuf> {
    let mut cargo = run::program("cargo")?;
    check(cargo.args([
        "build",
        "--workspace",
        "--bin",
        "assay",
        "--profile",
        "dist",
        "--locked",
    ]))?;
    Ok(target_directory()?.join("dist").join("assay"))
}

fn pack(assay: &Path, out: &Path) -> Result<PathBuf> {
    if !assay.is_file() {
        bail!("there is no program at {}", assay.display());
    }
    let version = version(assay)?;
    let name = format!("assay-{version}-{}-linux", std::env::consts::ARCH);
    fs::create_dir_all(out).with_context(|| format!("could not create {}", out.display()))?;
    let out = out.canonicalize()?;
    let folder = out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fill(assay, &folder)?;
    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = program("tar")?;
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u=rwX,go=rX",
    ]);
    tar.arg(format!("--mtime=@{}", commit_time()))
        .args(["--use-compress-program", "gzip -n9"]);
    tar.arg("--create")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&out)
        .arg(&name);
    check(&mut tar)?;
    fs::remove_dir_all(&folder)?;
    Ok(archive)
}

fn fill(assay: &Path, folder: &Path) -> Result<()> {
    let root = run::root()?;
    let place = |name: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        let parent = path.parent().context("a file has a folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        Ok(path)
    };
    fs::copy(assay, place("bin/assay")?)?;
    for (from, to) in FILES {
        fs::copy(root.join(from), place(to)?).with_context(|| from.to_owned())?;
    }
    for (shell, to) in COMPLETIONS {
        let script = run::text(program(assay)?.args(["completions", shell]));
        fs::write(
            place(&format!("share/{to}"))?,
            script.context("no completions")?,
        )?;
    }
    let pages = place("share/man/man1/assay.1")?;
    let pages = pages.parent().context("a file has a folder")?;
    run::check_quietly(program(assay)?.arg("man").arg("--out").arg(pages))?;
    copy_folder(&root.join("docs/src"), &folder.join("share/doc/assay/book"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// What the program says it is: nothing is packed under another name.
fn version(assay: &Path) -> Result<String> {
    let said = run::text(program(assay)?.arg("--version"));
    let said = said.with_context(|| format!("{} does not run", assay.display()))?;
    let version = said.trim().strip_prefix("assay ").unwrap_or_default();
    if version.is_empty() {
        bail!("{} says {said:?}, which is no version", assay.display());
    }
    Ok(version.to_owned())
}

/// Seconds since 1970 of the newest commit; of 1980, where there is no history.
fn commit_time() -> String {
    let seconds = program("git").ok().and_then(|mut git| {
        run::text(git.args(["log", "-1", "--format=%ct"])).map(|text| text.trim().to_owned())
    });
    seconds
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "315532800".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that says what `assay` says, as far as packing asks.
    const SCRIPT: &str = "#!/bin/sh\n\
        case \"$1\" in\n\
        --version) echo \"assay ${SAYS:-9.8.7}\" ;;\n\
        completions) echo \"for $2\" ;;\n\
        man) echo page > \"$3/assay.1\"; echo page > \"$3/assay-job.1\" ;;\n\
        esac\n";

    #[test]
    fn an_archive_holds_what_others_install_and_is_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let assay = dir.path().join("assay");
        fs::write(&assay, SCRIPT).unwrap();
        fs::set_permissions(&assay, fs::Permissions::from_mode(0o755)).unwrap();
        let [first, again] =
            ["first", "again"].map(|out| pack(&assay, &dir.path().join(out)).unwrap());
        assert_eq!(sha256(&first).unwrap(), sha256(&again).unwrap());
        let listed = run::text(
            program("tar")
                .unwrap()
                .arg("--list")
                .arg("--file")
                .arg(&first),
        );
        let listed = listed.unwrap();
        let name = format!("assay-9.8.7-{}-linux", std::env::consts::ARCH);
        let expected = FILES.iter().chain(&COMPLETIONS).map(|(_, to)| *to);
        for file in expected.chain(["bin/assay", "man/man1/assay-job.1", "book/tutorial.md"]) {
            let found = |line: &str| line.starts_with(&name) && line.ends_with(file);
            assert!(listed.lines().any(found), "no {file} in {listed}");
        }
        assert!(pack(&dir.path().join("nothing"), dir.path()).is_err());
    }
}
