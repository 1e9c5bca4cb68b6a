//! A worker's own folder: made for it, and removed with it whatever it left there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Entries that are removed from what one worker left. More can only be malice, and stays for the operator.
const ENTRIES_MAX: usize = 100_000;

/// Folders within folders that are removed. The kernel takes seconds to remove some thousands.
const DEPTH_MAX: usize = 256;

/// A directory that goes when its worker goes.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty one below `parent`.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let path = parent.join(format!("worker-{}", hex::encode(name)));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0, ENTRIES_MAX) {
            tracing::warn!(path = %self.0.display(), %error, "a worker's scratch directory stays");
        }
    }
}

/// Removes a folder and what is in it. One folder is open at a time, and its way down is on the heap: neither
/// stack nor open files grow with how deep a worker nested them.
fn remove(folder: &Path, entries_max: usize) -> io::Result<()> {
    let mut left = entries_max;
    let mut here = Here::open(rustix::fs::CWD, folder)?;
    // The folders above the open one, and its name in the last of them.
    let mut above: Vec<(Identity, CString)> = Vec::new();
    loop {
        if let Some(name) = here.clear(&mut left)? {
            if above.len() >= DEPTH_MAX {
                let reason = format!("its folders are nested more than {DEPTH_MAX} deep");
                return Err(io::Error::other(reason));
            }
            let inner = Here::open(&here.fd, name.as_c_str())?;
            above.push((here.identity, name));
            here = inner;
        } else if let Some((identity, name)) = above.pop() {
            here = Here::open(&here.fd, c"..")?;
            // A worker that is not dead yet may have moved the folder elsewhere, where nothing is ours to remove.
            if here.identity != identity {
                return Err(io::Error::other("it changes while it is removed"));
            }
            rustix::fs::unlinkat(&here.fd, name, AtFlags::REMOVEDIR)?;
        } else {
            return fs::remove_dir(folder);
        }
    }
}

/// Which folder it is, wherever it lies.
type Identity = (u64, u64);

/// An open folder.
struct Here {
    fd: OwnedFd,
    identity: Identity,
}

impl Here {
    /// Opens a folder that is no link, also one that a worker locked up.
    fn open(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&at, name, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(&at, name, Mode::RWXU, AtFlags::empty())?;
                open()?
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
        }
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Self { fd, identity })
    }

    /// Removes what is in it, up to the first folder: its name.
    fn clear(&self, left: &mut usize) -> io::Result<Option<CString>> {
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let more = || io::Error::other("it holds more entries than are removed at once");
            *left = left.checked_sub(1).ok_or_else(more)?;
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => return Ok(Some(name.to_owned())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A scratch with so many folders, each in the last; its path.
    fn nested(parent: &Path, depth: usize) -> (Scratch, PathBuf) {
        let scratch = Scratch::new(parent).unwrap();
        // Paths have a bound, folders have not.
        let mut here = Here::open(rustix::fs::CWD, scratch.path()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&here.fd, "inner", Mode::RWXU).unwrap();
            here = Here::open(&here.fd, c"inner").unwrap();
        }
        let path = scratch.path().to_owned();
        (scratch, path)
    }

    #[test]
    fn nested_folders_are_removed_up_to_a_depth_and_no_stack_overflows() {
        let dir = tempfile::tempdir().unwrap();
        for (depth, stays) in [(0, false), (DEPTH_MAX, false), (DEPTH_MAX + 1, true)] {
            let (scratch, path) = nested(dir.path(), depth);
            let small = std::thread::Builder::new().stack_size(64 << 10);
            small.spawn(move || drop(scratch)).unwrap().join().unwrap();
            assert_eq!(path.exists(), stays, "{depth} folders");
        }
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kept"), "x").unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        std::os::unix::fs::symlink(dir.path(), scratch.path().join("link")).unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists() && dir.path().join("kept").exists());
    }

    #[test]
    fn a_locked_folder_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        let locked = scratch.path().join("locked");
        fs::create_dir_all(locked.join("inner")).unwrap();
        for path in [&locked.join("inner"), &locked] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn more_entries_than_the_bound_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert!(remove(dir.path(), 2).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
