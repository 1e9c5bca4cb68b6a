//! Hashing a blob while keeping its tree.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bao::encode::Encoder;
use jobs::digest::Digest;

/// Largest tree built in memory, in bytes; a larger one is built in its file. The encoder writes 64
/// bytes at a time, so memory spares a system call for every kilobyte of blob.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// Bytes read at a time.
pub(super) const STEP: usize = 256 * 1024;

/// Size of the tree of a blob of `size` bytes, in bytes.
pub(super) fn tree_size(size: u64) -> u64 {
    u64::try_from(bao::encode::outboard_size(size)).unwrap_or(u64::MAX)
}

/// Hashes content that is written to it.
pub(super) struct TreeHasher {
    encoder: Encoder<Sink>,
}

enum Sink {
    Memory(Cursor<Vec<u8>>, File),
    Disk(File),
}

impl TreeHasher {
    /// A hasher whose tree will be in a new file at `path`, for a blob of `size` bytes.
    pub(super) fn create(path: &Path, size: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let sink = if tree_size(size) <= MEMORY_MAX {
            Sink::Memory(Cursor::new(Vec::new()), file)
        } else {
            Sink::Disk(file)
        };
        Ok(Self {
            encoder: Encoder::new_outboard(sink),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)
    }

    /// The digest of all that was written; the tree is in its file and synced.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        let root = self.encoder.finalize()?;
        let file = match self.encoder.into_inner() {
            Sink::Memory(tree, mut file) => {
                file.write_all(tree.get_ref())?;
                file
            }
            Sink::Disk(file) => file,
        };
        file.sync_all()?;
        Ok(Digest::from_bytes(*root.as_bytes()))
    }
}

impl Read for Sink {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(tree, _) => tree.read(buffer),
            Self::Disk(file) => file.read(buffer),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(tree, _) => tree.write(bytes),
            Self::Disk(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(tree, _) => tree.flush(),
            Self::Disk(file) => file.flush(),
        }
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Memory(tree, _) => tree.seek(to),
            Self::Disk(file) => file.seek(to),
        }
    }
}
