//! Processes as `/proc` shows them.

use std::fs;

use anyhow::{Context, Result};

/// The processes whose parent is `parent`, with their command lines.
///
/// # Errors
/// If `/proc` cannot be listed.
pub fn children(parent: u32) -> Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process may end between the listing and the look at it.
        let Ok(actual) = status_field(pid, "PPid") else {
            continue;
        };
        if actual == parent.to_string() {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = command
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            found.push((pid, words.join(" ").trim_end().to_owned()));
        }
    }
    Ok(found)
}

/// A field of `/proc/<pid>/status`.
///
/// # Errors
/// If there is no such process or field.
pub fn status_field(pid: u32, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line
        .with_context(|| format!("process {pid} has no {field}"))?
        .trim()
        .to_owned())
}
