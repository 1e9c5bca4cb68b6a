//! Where an input is packed: below Assay's home, not in the system's folder for temporary files, which is often memory.

use std::fs::{self, DirEntry, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The folder below the home that these folders lie in, beside those of set-up and of builds.
const FOLDER: &str = "tmp";

/// How the name of such a folder begins.
const PREFIX: &str = "input-";

/// Age below which a folder is left alone though nobody holds it: it may have been made a moment ago.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// A folder for its owner alone. Removed with this value; if the process is killed before, by a later one.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    /// Says to others for as long as this process lives that the folder is in use.
    _lock: File,
}

impl Scratch {
    /// Makes a folder below `home`, and removes those that killed processes left there.
    pub(super) fn new(home: &Path) -> Result<Self> {
        let parent = home.join(FOLDER);
        let failed = || format!("cannot make a scratch directory in {}", parent.display());
        fs::create_dir_all(&parent).with_context(failed)?;
        sweep(&parent, YOUNG);
        let mut folder = tempfile::Builder::new();
        folder
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700));
        let folder = folder.tempdir_in(&parent).with_context(failed)?;
        let lock = File::open(folder.path()).with_context(failed)?;
        // Where nobody can lock, nobody can sweep either.
        let _ = lock.try_lock();
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders of this age that nobody holds. What cannot be removed stays for the next time: it is in nobody's way.
fn sweep(parent: &Path, age: Duration) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !is_older(&entry, age) {
            continue;
        }
        let held = File::open(entry.path()).map(|folder| folder.try_lock().map(|()| folder));
        if let Ok(Ok(_lock)) = held {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how old a folder of ours is; no job is decided by it"
)]
fn is_older(folder: &DirEntry, age: Duration) -> bool {
    let modified = folder.metadata().and_then(|metadata| metadata.modified());
    let found = modified.map(|modified| SystemTime::now().duration_since(modified));
    found.is_ok_and(|found| found.is_ok_and(|found| found >= age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(home: &Path) -> usize {
        fs::read_dir(home.join(FOLDER)).unwrap().count()
    }

    #[test]
    fn a_scratch_folder_is_its_owners_alone_and_goes_with_its_value() {
        let home = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(home.path()).unwrap();
        assert!(scratch.path().starts_with(home.path()));
        let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(scratch.path().join("input"), "1").unwrap();
        drop(scratch);
        assert_eq!(left(home.path()), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_or_not_ours_is_not() {
        let home = tempfile::tempdir().unwrap();
        let held = Scratch::new(home.path()).unwrap();
        let parent = home.path().join(FOLDER);
        let killed = parent.join("input-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("input"), "1").unwrap();
        fs::create_dir(parent.join("guest-other")).unwrap();
        sweep(&parent, YOUNG);
        assert!(killed.exists(), "it is young");
        sweep(&parent, Duration::ZERO);
        assert!(!killed.exists());
        assert!(held.path().exists() && parent.join("guest-other").exists());
    }
}
