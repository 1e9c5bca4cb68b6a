//! Submissions that are under way, on disk.
//!
//! Every submission draws a nonce, which makes it a job of its own with an escrow of its own. So that
//! one which was interrupted is not paid for twice, the signed package is kept below [`crate::home`]
//! until the aggregator has the job and all its blobs: the next submission of the same package with the
//! same key to the same aggregator takes it up. A submission at work holds a lock on its file, so two
//! at the same time are two jobs.

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jobs::digest::Digest;
use jobs::envelope::{ClientKey, SignedPackage};
use jobs::manifest::NONCE_DIGITS;
use jobs::package::Package;
use jobs::policy::Share;
use serde::{Deserialize, Serialize};

/// Largest file in bytes: a package, its bundle and a key, as JSON.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How long a submission can be taken up: a day longer than the longest deadline, after which its job
/// has ended.
const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    signed: SignedPackage,
    share: Option<Share>,
}

/// A submission under way.
#[derive(Debug)]
pub(crate) struct Submission {
    /// What is submitted.
    pub(crate) signed: SignedPackage,
    /// What its nonce promises.
    pub(crate) share: Option<Share>,
    /// Whether an earlier run began it.
    pub(crate) is_resumed: bool,
    path: PathBuf,
    _lock: File,
}

impl Submission {
    /// Takes up an interrupted submission of this package, whatever its nonce, or begins a new one.
    pub(crate) fn open(
        dir: &Path,
        at: &str,
        (package, share): (&Package, Option<Share>),
        key: &ClientKey,
    ) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let label = label(at, package, key)?;
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let (path, is_over) = (entry.path(), is_over(&entry));
            let ours = entry.file_name().to_string_lossy().starts_with(&label);
            let Some(lock) = (ours || is_over).then(|| lock(&path)).flatten() else {
                continue;
            };
            match read(&lock, package, key) {
                Some(Kept { signed, share }) if !is_over => {
                    return Ok(Self {
                        signed,
                        share,
                        is_resumed: true,
                        path,
                        _lock: lock,
                    });
                }
                // Half written, or of no use any more.
                _ => fs::remove_file(&path).with_context(|| path.display().to_string())?,
            }
        }
        Self::begin(dir, &label, (package, share), key)
    }

    fn begin(
        dir: &Path,
        label: &str,
        (package, share): (&Package, Option<Share>),
        key: &ClientKey,
    ) -> Result<Self> {
        let path = dir.join(format!("{label}-{}.json", package.nonce));
        let named = || format!("cannot keep the submission in {}", path.display());
        let signed = key.sign_package(package)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path);
        let mut file = file.with_context(named)?;
        file.lock().with_context(named)?;
        let kept = Kept { signed, share };
        let text = serde_json::to_vec(&kept)?;
        file.write_all(&text).with_context(named)?;
        file.sync_all().with_context(named)?;
        Ok(Self {
            signed: kept.signed,
            share,
            is_resumed: false,
            path,
            _lock: file,
        })
    }

    /// Forgets it: the aggregator has everything, or will never want it.
    pub(crate) fn finish(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

/// Names what is submitted, by whom and where, but not how often.
fn label(at: &str, package: &Package, key: &ClientKey) -> Result<String> {
    let package = without_nonce(package).to_canonical()?;
    let mut bytes = format!("{}\n{}\n", at.trim_end_matches('/'), key.client_id()).into_bytes();
    bytes.extend(package);
    Ok(Digest::of(&bytes).to_hex())
}

/// Names what a package does, whatever its nonce.
pub(crate) fn work(package: &Package) -> Result<Digest> {
    Ok(Digest::of(&without_nonce(package).to_canonical()?))
}

fn without_nonce(package: &Package) -> Package {
    Package {
        nonce: "0".repeat(NONCE_DIGITS),
        ..package.clone()
    }
}

/// The file, unless a submission is at work on it or has just finished with it.
fn lock(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let links = file.metadata().ok()?.nlink();
    (links > 0).then_some(file)
}

fn read(file: &File, package: &Package, key: &ClientKey) -> Option<Kept> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    let verified = kept.signed.verify().ok()?;
    let same = without_nonce(&verified.package) == without_nonce(package);
    (same && verified.client == key.client_id()).then_some(kept)
}

/// Whether its job has ended for sure.
#[expect(
    clippy::disallowed_methods,
    reason = "how old a file of ours is; no job is decided by it"
)]
fn is_over(file: &DirEntry) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|modified| SystemTime::now().duration_since(modified));
    age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT))
}

#[cfg(test)]
mod tests {
    use jobs::digest::BlobRef;
    use jobs::manifest::{Manifest, Resolved};
    use jobs::package::InputRef;

    use super::*;

    const AT: &str = "http://127.0.0.1:7700";

    /// The same package with another nonce.
    fn package(nonce: u8) -> Package {
        let text = include_str!("../../examples/echo/job.toml");
        let resolved = Resolved {
            component: BlobRef::of(b"component"),
            models: Vec::new(),
            input: InputRef::of(&["one", "two"]).unwrap().0,
            nonce: [nonce; 16],
        };
        Manifest::parse(text).unwrap().lock(resolved).unwrap()
    }

    struct Scene {
        dir: tempfile::TempDir,
        key: ClientKey,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                key: ClientKey::generate().unwrap(),
            }
        }

        fn open(&self, package: &Package) -> Submission {
            Submission::open(
                self.dir.path(),
                AT,
                (package, Some(Share([1; 32]))),
                &self.key,
            )
            .unwrap()
        }

        fn files(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
    }

    #[test]
    fn what_was_interrupted_is_taken_up_and_what_is_finished_is_not() {
        let scene = Scene::new();
        let first = scene.open(&package(1));
        assert!(!first.is_resumed);
        let signed = first.signed.clone();
        drop(first);
        let again = scene.open(&package(2));
        assert!(again.is_resumed);
        assert_eq!(again.signed, signed, "the same job, not a second one");
        again.finish().unwrap();
        assert_eq!(scene.files(), Vec::<PathBuf>::new());
        let next = scene.open(&package(3));
        assert!(!next.is_resumed);
        assert_ne!(next.signed.package, signed.package);
    }

    #[test]
    fn two_submissions_at_the_same_time_are_two_jobs() {
        let scene = Scene::new();
        let (one, two) = (scene.open(&package(1)), scene.open(&package(2)));
        assert!(!one.is_resumed && !two.is_resumed);
        assert_ne!(one.signed.package, two.signed.package);
    }

    #[test]
    fn only_the_same_submission_is_taken_up() {
        let scene = Scene::new();
        drop(scene.open(&package(1)));
        let mut other = package(2);
        other.max_price = "0.20".parse().unwrap();
        assert!(!scene.open(&other).is_resumed, "another price");
        let elsewhere = "http://127.0.0.1:7701";
        let dir = scene.dir.path();
        let there = Submission::open(
            dir,
            elsewhere,
            (&package(3), Some(Share([1; 32]))),
            &scene.key,
        )
        .unwrap();
        assert!(!there.is_resumed, "another aggregator");
        let stranger = ClientKey::generate().unwrap();
        let theirs =
            Submission::open(dir, AT, (&package(4), Some(Share([1; 32]))), &stranger).unwrap();
        assert!(!theirs.is_resumed, "another client");
        assert!(scene.open(&package(5)).is_resumed);
    }

    #[test]
    fn a_file_that_is_half_written_or_too_old_goes() {
        let scene = Scene::new();
        drop(scene.open(&package(1)));
        let path = scene.files().remove(0);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        let next = scene.open(&package(2));
        assert!(!next.is_resumed && !path.exists());
        drop(next);
        let path = scene.files().remove(0);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!scene.open(&package(3)).is_resumed && !path.exists());
        assert_eq!(scene.files().len(), 1);
    }
}
