//! Where things lie: `$ASSAY_HOME`, else `~/.cache/assay`, for what `cargo xtask setup` fetched; a
//! data directory of each daemon's own for what must not be lost.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The directory of fetched libraries and models.
pub(crate) fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("ASSAY_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let user = std::env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?;
    Ok(PathBuf::from(user).join(".cache/assay"))
}

/// Finds a file that a manifest names: relative to the manifest's directory, else to [`home`].
pub(crate) fn resolve(base: &Path, name: &str) -> Result<PathBuf> {
    let beside = base.join(name);
    if beside.exists() {
        return Ok(beside);
    }
    let shared = home()?.join(name);
    if shared.exists() {
        return Ok(shared);
    }
    anyhow::bail!(
        "{name}: found neither at {} nor at {}",
        beside.display(),
        shared.display()
    )
}

/// Writes a secret that only its owner may read. Refuses to replace an existing file.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(secret.as_bytes())?;
    Ok(file.sync_all()?)
}
