//! Reading the files that a user or a manifest names. A file is looked at before it is read: what is no
//! regular file, or larger than what it is for, is refused by name, whatever its size.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use jobs::digest::{BlobHasher, BlobRef};

use crate::exit::{Coded, Exit, fail};

/// Bytes hashed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The whole file, which is `what` and has at most `max` bytes.
pub(crate) fn bounded(path: &Path, what: &str, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = open(path, what, max)?.take(max.saturating_add(1));
    let read = file.read_to_end(&mut bytes);
    read.with_context(|| cannot_read(path)).code(Exit::Usage)?;
    check_size(path, what, bytes.len() as u64, max)?;
    Ok(bytes)
}

/// The reference of the file, which is `what` and has at most `max` bytes. It is never in memory whole.
pub(crate) fn blob(path: &Path, what: &str, max: u64) -> Result<BlobRef> {
    let mut file = open(path, what, max)?;
    let (mut hasher, mut piece) = (BlobHasher::default(), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece);
        let read = read.with_context(|| cannot_read(path)).code(Exit::Usage)?;
        let blob = hasher.finish();
        if read == 0 {
            return Ok(blob);
        }
        check_size(path, what, blob.size.saturating_add(read as u64), max)?;
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}

/// Whether the file is `what` and has at most `max` bytes, by what the system says of it.
pub(crate) fn regular(path: &Path, what: &str, max: u64) -> Result<()> {
    open(path, what, max).map(drop)
}

/// The file, which is `what` and has at most `max` bytes, by what the system says of it.
pub(crate) fn open(path: &Path, what: &str, max: u64) -> Result<File> {
    // Before it is opened: opening a pipe waits for whoever writes to it.
    let metadata = fs::metadata(path);
    let metadata = metadata
        .with_context(|| cannot_read(path))
        .code(Exit::Usage)?;
    if !metadata.is_file() {
        let path = path.display();
        return fail(
            Exit::Usage,
            format!("{path} is not a regular file: {what} must be one"),
        );
    }
    check_size(path, what, metadata.len(), max)?;
    let file = File::open(path);
    file.with_context(|| cannot_read(path)).code(Exit::Usage)
}

fn check_size(path: &Path, what: &str, size: u64, max: u64) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    let path = path.display();
    fail(
        Exit::Usage,
        format!("{path} has {size} bytes or more: {what} has at most {max}"),
    )
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    /// Both ways of reading refuse the file with these words.
    fn refused(path: &Path, words: &str) {
        let read = bounded(path, "a model", 1 << 20).unwrap_err();
        let hashed = blob(path, "a model", 1 << 20).unwrap_err();
        for error in [read, hashed] {
            assert_eq!(code_of(&error), Exit::Usage);
            let text = format!("{error:#}");
            assert!(text.contains(words), "{text}");
            assert!(text.contains(&*path.to_string_lossy()), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_or_no_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let huge = dir.path().join("huge");
        // Takes no room on the disk, and could not be read into memory.
        File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        refused(
            &huge,
            "has 1099511627776 bytes or more: a model has at most 1048576",
        );
        refused(Path::new("/dev/zero"), "is not a regular file");
        refused(dir.path(), "is not a regular file");
        refused(&dir.path().join("nothing"), "cannot read");
    }

    #[test]
    fn a_file_is_read_and_hashed_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [0, 1, PIECE_BYTES, PIECE_BYTES + 1] {
            let bytes = vec![7; size];
            fs::write(&path, &bytes).unwrap();
            let max = size as u64;
            assert_eq!(bounded(&path, "it", max).unwrap(), bytes);
            assert_eq!(blob(&path, "it", max).unwrap(), BlobRef::of(&bytes));
        }
    }
}
