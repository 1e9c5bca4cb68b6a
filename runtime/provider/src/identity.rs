//! Who this provider is, and that it is alone in its data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ed25519_dalek::SigningKey;
use jobs::ids::ProviderId;
use jobs::operator::Operates;
use jobs::statement::Signed;

use crate::Error;

/// The file of the secret seed: 64 hexadecimal digits, readable by its owner only.
pub const KEY_FILE: &str = "identity.key";

/// The file whose lock says that a daemon works here.
const LOCK_FILE: &str = "lock";

/// Longest process id that is read, in digits.
const PID_DIGITS_MAX: u64 = 20;

/// Longest key file that is read, in bytes.
const KEY_BYTES_MAX: u64 = 128;

/// Takes the data directory for this process, and makes it if need be. Dropping the file lets go.
pub(crate) fn lock(data: &Path) -> Result<File, Error> {
    fs::create_dir_all(data).map_err(Error::io("make", data))?;
    let path = data.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            // For people: what counts is the lock. A full disk is no reason not to start.
            let pid = std::process::id();
            if let Err(error) = file.set_len(0).and_then(|()| write!(file, "{pid}")) {
                tracing::warn!(%error, "the lock file does not say whose it is");
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: data.to_owned(),
            holder: holder(&mut file),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

/// The process id in a lock file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| {
        let mut bounded = std::io::Read::by_ref(file).take(PID_DIGITS_MAX);
        bounded.read_to_string(&mut text)
    });
    let digits = text.trim();
    let said = read.is_ok() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if said {
        digits.to_owned()
    } else {
        "unknown".to_owned()
    }
}

/// The seed in the data directory; a new one on the first start.
///
/// # Errors
/// If the file holds no key, others may read it, or the disk fails.
pub fn load_or_create(data: &Path) -> Result<[u8; 32], Error> {
    key_at(&data.join(KEY_FILE))
}

/// The word of the operator whose key lies at `path` that `provider` is its own; a new key if there is none.
pub(crate) fn vouched(path: &Path, provider: ProviderId) -> Result<Signed<Operates>, Error> {
    let key = SigningKey::from_bytes(&key_at(path)?);
    Ok(Signed::sign(&Operates { provider }, &key)?)
}

/// The seed in a file, which is made if it is not there.
fn key_at(path: &Path) -> Result<[u8; 32], Error> {
    if path.exists() {
        return load(path);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    // Whole or not at all: half a key would lock the owner out of what it earned. Of several providers
    // that make their operator's key at the same time one wins, and the others take what it made.
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(Error::Random)?;
    let part = path.with_extension(format!("part-{}", hex::encode(unique)));
    write_secret(&part, &hex::encode(seed)).map_err(Error::io("write", &part))?;
    let linked = fs::hard_link(&part, path);
    fs::remove_file(&part).map_err(Error::io("remove", &part))?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return load(path),
        linked => linked.map_err(Error::io("make", path))?,
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync_dir(dir.unwrap_or(Path::new(".")))?;
    Ok(seed)
}

fn load(path: &Path) -> Result<[u8; 32], Error> {
    let bad = |reason: String| Error::Identity {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.len() > KEY_BYTES_MAX {
        let size = metadata.len();
        return Err(bad(format!("it has {size} bytes, at most {KEY_BYTES_MAX}")));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(bad(format!(
            "others may read it (mode {mode:o}, must be 600)"
        )));
    }
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| bad("expected 64 hexadecimal digits".into()))?;
    Ok(seed)
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes a rename in `dir` survive a power failure.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_persists_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let seed = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), seed);
        let path = dir.path().join(KEY_FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for (text, mode, expected) in [
            ("short", 0o600, "64 hexadecimal digits"),
            (&*"0".repeat(200), 0o600, "200 bytes"),
            (&*"0".repeat(64), 0o644, "mode 644"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn providers_of_one_operator_name_the_same_key_and_make_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        let vouch = |n: u8| {
            let stated = vouched(&path, ProviderId([n; 32])).unwrap();
            let verified = stated.verify().unwrap();
            assert_eq!(verified.statement.provider, ProviderId([n; 32]));
            verified.signer
        };
        let signers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || vouch(n))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(signers.len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no leftovers");
    }

    #[test]
    fn a_data_directory_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        let named = error.to_string();
        let own = format!("(process {})", std::process::id());
        assert!(
            matches!(error, Error::Locked { .. }) && named.contains(&own),
            "{named}"
        );
        drop(held);
        lock(dir.path()).unwrap();
    }
}
