//! Compiled components on disk.
//!
//! Compiling is slow, and compiled code is trusted absolutely: whoever writes it runs as us. So an
//! entry is named by the component's digest and everything that decides whether the code fits this
//! engine and processor, and it is authenticated with a key that never leaves this machine. Code
//! from anywhere else, or an entry that was touched, is compiled again and replaced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jobs::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::compatibility;
use crate::failure::FailureKind;

/// Largest compiled component that is kept, in bytes.
pub const ENTRY_BYTES_MAX: u64 = 512 << 20;

/// Entries one directory holds at most, whatever their size.
pub const ENTRIES_MAX: usize = 4096;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const EXTENSION: &str = "compiled";
const LOCK_EXTENSION: &str = "turn";

/// Time between two looks at whether it is one's turn to compile, and how many there are: a minute, longer than any
/// component takes that is not made to take long.
const TURN_EVERY: Duration = Duration::from_millis(20);
const TURN_LOOKS: u32 = 3000;

/// Where a component came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled now.
    Compiled,
    /// It was found in the cache, and its authentication code was right.
    Cached,
}

/// A directory of compiled components. Several processes may share it.
#[derive(Debug)]
pub struct ComponentCache {
    directory: PathBuf,
    key: Key,
    compatibility: [u8; 32],
    max_bytes: u64,
}

struct Key([u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl ComponentCache {
    /// Opens a cache of at most `max_bytes`; makes directory and key if they are missing.
    ///
    /// # Errors
    /// If the directory cannot be made, or the key is readable by others or not a key. Ours.
    pub fn open(directory: &Path, max_bytes: u64, engine: &Engine) -> Result<Self, FailureKind> {
        let failed = |error: io::Error| {
            FailureKind::blob(format!("compile cache {}", directory.display()), error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        Ok(Self {
            directory: directory.to_owned(),
            key: open_key(directory).map_err(failed)?,
            compatibility: compatibility(engine),
            max_bytes,
        })
    }

    /// The component with this digest: from the cache, or compiled from `bytes` and then kept.
    ///
    /// A cache that cannot be written costs time, not the shard.
    ///
    /// # Errors
    /// If `bytes` is not a component that the engine accepts.
    pub fn load(
        &self,
        engine: &Engine,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(Component, Origin), FailureKind> {
        let path = self.path(digest);
        match self.read(engine, &path) {
            Ok(Some(component)) => return Ok((component, Origin::Cached)),
            Ok(None) => {}
            Err(reason) => tracing::warn!(%digest, reason, "cache entry is compiled again"),
        }
        let _turn = Turn::take(&path);
        // Whoever had the turn before may have compiled it.
        if let Ok(Some(component)) = self.read(engine, &path) {
            return Ok((component, Origin::Cached));
        }
        let component = Component::new(engine, bytes)
            .map_err(|error| FailureKind::component(format!("{error:#}")))?;
        if let Err(error) = self.write(&path, &component) {
            tracing::warn!(%digest, %error, "compiled component is not cached");
        }
        Ok((component, Origin::Compiled))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(digest.as_bytes());
        hasher.update(&self.compatibility);
        let name = hasher.finalize().to_hex();
        self.directory.join(format!("{name}.{EXTENSION}"))
    }

    /// The code of an entry: it covers the name too, so that entries cannot be swapped.
    fn mac(&self, path: &Path, code: &[u8]) -> blake3::Hash {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(code);
        hasher.finalize()
    }

    fn read(&self, engine: &Engine, path: &Path) -> Result<Option<Component>, String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut entry = Vec::new();
        let limit = ENTRY_BYTES_MAX.saturating_add(1);
        (&file)
            .take(limit)
            .read_to_end(&mut entry)
            .map_err(|error| error.to_string())?;
        if entry.len() as u64 >= limit {
            return Err(format!("longer than {ENTRY_BYTES_MAX} bytes"));
        }
        let (mac, code) = entry
            .split_first_chunk::<MAC_BYTES>()
            .ok_or("shorter than its authentication code")?;
        // Comparing two `blake3::Hash` takes the same time wherever they differ.
        if self.mac(path, code) != blake3::Hash::from_bytes(*mac) {
            return Err("its authentication code is wrong".into());
        }
        let component = deserialize(engine, code)?;
        touch(&file);
        Ok(Some(component))
    }

    fn write(&self, path: &Path, component: &Component) -> Result<(), String> {
        let code = component
            .serialize()
            .map_err(|error| format!("{error:#}"))?;
        let size = (code.len() as u64).saturating_add(MAC_BYTES as u64);
        if size > ENTRY_BYTES_MAX.min(self.max_bytes) {
            return Err(format!("{size} bytes are more than the cache may hold"));
        }
        self.evict(size).map_err(|error| error.to_string())?;
        let mac = self.mac(path, &code);
        write_new(&self.directory, path, &[mac.as_bytes(), &code]).map_err(|e| e.to_string())
    }

    /// Removes the entries that were idle longest until `incoming` bytes fit.
    fn evict(&self, incoming: u64) -> io::Result<()> {
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|e| e == EXTENSION) {
                let meta = entry.metadata()?;
                entries.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        entries.sort();
        let mut count = entries.len();
        let mut total = entries
            .iter()
            .fold(incoming, |sum, e| sum.saturating_add(e.1));
        for (_, size, path) in entries {
            if total <= self.max_bytes && count < ENTRIES_MAX {
                break;
            }
            // Another process may have removed it already.
            fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            total = total.saturating_sub(size);
            count = count.saturating_sub(1);
        }
        Ok(())
    }
}

/// The turn to compile one component: processes that miss it at the same time compile it once.
///
/// It saves time and decides nothing. Who cannot have it, or waits for somebody who never ends, compiles.
struct Turn(Option<(File, PathBuf)>);

impl Turn {
    fn take(entry: &Path) -> Self {
        let path = entry.with_extension(LOCK_EXTENSION);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let Ok(file) = options.open(&path) else {
            return Self(None);
        };
        for _ in 0..TURN_LOOKS {
            match file.try_lock() {
                Ok(()) => return Self(Some((file, path))),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN_EVERY),
                Err(TryLockError::Error(_)) => break,
            }
        }
        Self(None)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever has opened it already still waits for it, and then finds the entry.
        if let Some((_, path)) = &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

#[expect(
    unsafe_code,
    reason = "loading compiled code is the point of this cache"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the caller has verified a keyed BLAKE3 code over exactly these bytes and the entry's
    // name. Only `ComponentCache::write` makes such codes, over what `Component::serialize` returned
    // on this machine; the key was drawn here and is readable by this user alone. The bytes are in
    // our memory, so they cannot change after the check.
    let component = unsafe { Component::deserialize(engine, code) };
    component.map_err(|error| format!("{error:#}"))
}

/// Marks an entry as used now. Losing that costs an early eviction.
#[expect(
    clippy::disallowed_methods,
    reason = "only orders evictions on this machine's disk"
)]
fn touch(file: &File) {
    if let Err(error) = file.set_modified(SystemTime::now()) {
        tracing::debug!(%error, "cache entry keeps its old time");
    }
}

/// Writes a file beside its place and renames it, so that no reader sees half of it.
fn write_new(directory: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = temporary(directory);
    let result = write_private(&temporary, parts).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        drop(fs::remove_file(&temporary));
    }
    result
}

fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn temporary(directory: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    directory.join(format!(".{}-{serial}.new", std::process::id()))
}

/// Reads the key, or draws one. Two processes that start at once end up with the same key: the link
/// of the second fails, and it reads the first one's.
fn open_key(directory: &Path) -> io::Result<Key> {
    let path = directory.join(KEY_FILE);
    if !path.try_exists()? {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = temporary(directory);
        write_private(&temporary, &[&key])?;
        let linked = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let mut file = File::open(&path)?;
    let meta = file.metadata()?;
    if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
        let text = format!("{} must belong to this user alone (0600)", path.display());
        return Err(io::Error::other(text));
    }
    let mut key = [0; KEY_BYTES];
    if meta.len() != KEY_BYTES as u64 {
        let text = format!(
            "{} has {} bytes, a key has {KEY_BYTES}",
            path.display(),
            meta.len()
        );
        return Err(io::Error::other(text));
    }
    file.read_exact(&mut key)?;
    Ok(Key(key))
}

#[cfg(test)]
mod tests;
