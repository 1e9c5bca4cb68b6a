//! Where things lie: `$ASSAY_HOME`, else `~/.cache/assay`, for what `cargo xtask setup` fetched; a
//! data directory of each daemon's own for what must not be lost.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Variables that hold a path and that processes with other working directories inherit.
const PATH_VARIABLES: [&str; 2] = ["ASSAY_HOME", "ASSAY_ORT_DYLIB"];

/// Starts this program anew in its own place if a variable that its children read holds a relative
/// path: workers have working directories of their own, where it would lead nowhere. Returns if there
/// is nothing to do.
pub(crate) fn make_variables_absolute() -> Result<()> {
    let variables = relative_variables(|name| std::env::var_os(name))?;
    if variables.is_empty() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut program = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    // Comes back only if it fails.
    let error = program.args(arguments).envs(variables).exec();
    Err(error).context("cannot start this program with absolute paths")
}

/// The variables that hold a relative path, with the absolute one.
fn relative_variables(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut relative = Vec::new();
    for name in PATH_VARIABLES {
        let path = variable(name).map(PathBuf::from).unwrap_or_default();
        if !path.as_os_str().is_empty() && path.is_relative() {
            let absolute = std::path::absolute(&path).with_context(|| name.to_owned())?;
            relative.push((name, absolute));
        }
    }
    Ok(relative)
}

/// The directory of fetched libraries and models.
pub(crate) fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("ASSAY_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let user = std::env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?;
    Ok(PathBuf::from(user).join(".cache/assay"))
}

/// The directory of what must not be lost, keys above all: `$XDG_DATA_HOME/assay`, else `~/.local/share/assay`.
pub(crate) fn data() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    if let Some(folder) = set("XDG_DATA_HOME").map(PathBuf::from)
        && folder.is_absolute()
    {
        return Ok(folder.join("assay"));
    }
    let user = set("HOME").context("neither XDG_DATA_HOME nor HOME is set")?;
    Ok(PathBuf::from(user).join(".local/share/assay"))
}

/// The same path from the root; as it is where the working directory is gone.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_and_nothing_else_is_touched() {
        let found = |home: &'static str, library: Option<&'static str>| {
            relative_variables(|name| match name {
                "ASSAY_HOME" => Some(home.into()),
                _ => library.map(Into::into),
            })
            .unwrap()
        };
        let here = std::env::current_dir().unwrap();
        assert_eq!(found("/absolute", None), []);
        assert_eq!(found("", Some("")), []);
        assert_eq!(found("h", None), [("ASSAY_HOME", here.join("h"))]);
        assert_eq!(
            found("./h", Some("l/x.so")),
            [
                ("ASSAY_HOME", here.join("h")),
                ("ASSAY_ORT_DYLIB", here.join("l/x.so")),
            ]
        );
    }
}
