//! `assay completions`, `assay man` and `assay version`: what a shell, a reader and a program want to know of this program.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::output::Output;

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Write a page for every command into this folder [default: print the first one].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Prints completions.
pub(crate) fn completions(
    wanted: &Completions,
    mut command: Command,
    output: Output,
) -> Result<()> {
    let script = script(wanted.shell, &mut command);
    let shell = wanted.shell.to_string();
    output.data(&json!({ "shell": shell, "script": script }), || {
        script.clone()
    })
}

fn script(shell: Shell, command: &mut Command) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, command, "assay", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Prints or writes manual pages.
pub(crate) fn manual(wanted: &Manual, mut command: Command, output: Output) -> Result<()> {
    command.build();
    let Some(out) = &wanted.out else {
        let page = page(&command)?;
        return output.data(&json!({ "page": page }), || page.clone());
    };
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let mut written = Vec::new();
    write_pages(&command, "assay", out, &mut written)?;
    output.data(&json!({ "out": out, "pages": written }), || {
        format!(
            "{} pages in {}: man -l {}/assay.1",
            written.len(),
            out.display(),
            out.display()
        )
    })
}

fn page(command: &Command) -> Result<String> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A page for a command and for each below it that people are shown.
fn write_pages(command: &Command, name: &str, out: &Path, written: &mut Vec<String>) -> Result<()> {
    let file = format!("{name}.1");
    let path = out.join(&file);
    std::fs::write(&path, page(command)?).with_context(|| path.display().to_string())?;
    written.push(file);
    let shown = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in shown.filter(|below| below.get_name() != "help") {
        write_pages(below, &format!("{name}-{}", below.get_name()), out, written)?;
    }
    Ok(())
}

/// Prints which program this is.
pub(crate) fn version(output: Output) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let schema = jobs::package::PACKAGE_SCHEMA;
    let debug = cfg!(debug_assertions);
    let value = json!({
        "version": version, "os": os, "arch": arch, "package_schema": schema, "debug": debug,
    });
    output.data(&value, || {
        format!("assay {version} ({os} {arch}, packages of schema {schema})")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;

    /// Every command that people are shown, with its full name.
    pub(crate) fn every(command: &Command, name: &str) -> Vec<(String, Command)> {
        let shown = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set());
        let below = shown.filter(|below| below.get_name() != "help");
        let mut all = vec![(name.to_owned(), command.clone())];
        all.extend(below.flat_map(|below| every(below, &format!("{name} {}", below.get_name()))));
        all
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = crate::Cli::command();
        command.build();
        let mut written = Vec::new();
        write_pages(&command, "assay", dir.path(), &mut written).unwrap();
        let names = every(&command, "assay");
        let expected: Vec<String> = names
            .iter()
            .map(|(name, _)| format!("{}.1", name.replace(' ', "-")))
            .collect();
        assert_eq!(written, expected);
        for file in written {
            let page = std::fs::read_to_string(dir.path().join(&file)).unwrap();
            assert!(
                page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"),
                "{file}"
            );
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        let names = every(&crate::Cli::command(), "assay");
        for shell in Shell::value_variants() {
            let script = script(*shell, &mut crate::Cli::command());
            for (name, _) in &names {
                let last = name.rsplit(' ').next().unwrap();
                assert!(script.contains(last), "{shell} does not know {name}");
            }
        }
    }
}
