//! Keys on disk: files of their own, or by name in the data directory. A key is for its owner alone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::envelope::ClientKey;

use crate::config::setting;
use crate::exit::{Coded, Exit, Fix, fail};
use crate::{home, read};

/// Largest key file in bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Permissions of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Ending of a named key's file.
const ENDING: &str = "pem";

/// The key that is taken if nobody names one.
pub(crate) const DEFAULT_NAME: &str = "default";

/// The file that is taken before that.
const DEFAULT_FILE: &str = "assay.key";

/// Where named keys are.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(home::data()?.join("keys"))
}

/// Where the key of this name is.
pub(crate) fn named(name: &str) -> Result<PathBuf> {
    setting::name(name)
        .map_err(|reason| anyhow::anyhow!("key {name:?}: {reason}"))
        .code(Exit::Usage)?;
    Ok(folder()?.join(format!("{name}.{ENDING}")))
}

/// What a user means by a key: a file, or else a name.
pub(crate) fn locate(text: &str) -> Result<PathBuf> {
    let file = PathBuf::from(text);
    if text.contains('/') || file.exists() {
        return Ok(file);
    }
    let name = if text == DEFAULT_FILE {
        DEFAULT_NAME
    } else {
        text
    };
    if let Ok(path) = named(name)
        && path.exists()
    {
        return Ok(path);
    }
    Ok(file)
}

/// Every named key, by name.
pub(crate) fn list() -> Result<Vec<(String, PathBuf)>> {
    let folder = folder()?;
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let is_key = path.extension().is_some_and(|ending| ending == ENDING);
        found.extend(name.filter(|_| is_key).map(|name| (name, path)));
    }
    found.sort();
    Ok(found)
}

/// Makes a key and stores it.
pub(crate) fn create(path: &Path) -> Result<ClientKey> {
    let key = ClientKey::generate()?;
    store(path, &key)?;
    Ok(key)
}

/// Stores a key where none is yet.
pub(crate) fn store(path: &Path, key: &ClientKey) -> Result<()> {
    let fix =
        "choose another name or file, or move the old key away: nothing else spends its money";
    let there = || format!("there is a key at {}", path.display());
    match path.exists() {
        true => fail(Exit::Failure, there()).fix(fix),
        false => home::write_secret(path, &key.to_pem()?),
    }
}

/// Loads a key that nobody else may read.
pub(crate) fn load(path: &Path) -> Result<ClientKey> {
    let shown = path.display();
    if !path.exists() {
        let reason = format!("there is no key at {shown}");
        return fail(Exit::Signature, reason)
            .fix("make one with `assay key generate`, or name one of `assay key list` with --key");
    }
    let text = read::bounded(path, "a key", KEY_BYTES_MAX).code(Exit::Signature)?;
    let mode = std::fs::metadata(path).with_context(|| shown.to_string())?;
    let mode = mode.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let reason =
            format!("others may read the key {shown} (mode {mode:03o}, at most 600 is safe)");
        return fail(Exit::Signature, reason).fix(format!("chmod 600 {shown}"));
    }
    parse(&text)
        .with_context(|| format!("{shown} is no client's key"))
        .code(Exit::Signature)
}

/// Reads a key; if it is another thing, says which.
pub(crate) fn parse(text: &[u8]) -> Result<ClientKey> {
    let fix = "client keys are made by `assay key generate` and listed by `assay key list`";
    let text = std::str::from_utf8(text).context("it is no text");
    let text = text.code(Exit::Signature).fix(fix)?;
    if let Some(what) = other_thing(text) {
        return fail(Exit::Signature, format!("it is {what}")).fix(fix);
    }
    let key = ClientKey::from_pem(text).map_err(anyhow::Error::from);
    key.fix(fix)
}

/// What people mistake for a client's key.
fn other_thing(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begins = |kind: &str| text.starts_with(&format!("-----BEGIN {kind}"));
    if text.is_empty() {
        Some("empty")
    } else if hex {
        Some("64 hexadecimal digits: a daemon's identity or an operator's token")
    } else if begins("PUBLIC KEY") {
        Some("a public key, which signs nothing")
    } else if begins("OPENSSH") {
        Some("a key of OpenSSH")
    } else if begins("CERTIFICATE") {
        Some("a certificate")
    } else if begins("ENCRYPTED") {
        Some("an encrypted key: decrypt it first")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    fn refused(path: &Path, words: &str) {
        let error = load(path).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(words), "{text}");
        assert_eq!(code_of(&error), Exit::Signature, "{text}");
        assert!(crate::hints::of(&error).is_some(), "{text}");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        refused(&path, "there is no key at");
        let key = create(&path).unwrap();
        assert_eq!(load(&path).unwrap().client_id(), key.client_id());
        assert!(create(&path).is_err(), "never replaced");
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        for open in [0o644, 0o640, 0o604, 0o620] {
            mode(open);
            refused(&path, &format!("mode {open:03o}"));
        }
        mode(0o400);
        load(&path).unwrap();
        mode(0o600);
        for (text, words) in [
            ("", "it is empty"),
            (&"ab".repeat(32), "a daemon's identity"),
            (&key.public_key_pem(), "a public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "a key of OpenSSH"),
            ("nonsense", "is no client's key"),
        ] {
            std::fs::write(&path, text).unwrap();
            refused(&path, words);
        }
    }
}
