//! The help of every command, as it was looked at last. Whoever changes a command looks at it again:
//! `ASSAY_GOLDEN=write` writes what is true now.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::Cli;
use crate::commands::shell::tests::every;

/// Columns of the page: what fits on any terminal.
const COLUMNS: usize = 100;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/help")
}

/// Every command's file and what it should hold.
fn pages() -> Vec<(String, String)> {
    let mut command = Cli::command().term_width(COLUMNS);
    command.build();
    let page = |(name, mut command): (String, clap::Command)| {
        let text = command.render_long_help().to_string();
        let lines = text.lines().map(str::trim_end);
        let text = lines.collect::<Vec<_>>().join("\n");
        (
            format!("{}.txt", name.replace(' ', "-")),
            format!("{text}\n"),
        )
    };
    every(&command, "assay").into_iter().map(page).collect()
}

#[test]
fn the_help_of_every_command_is_as_it_was_looked_at() {
    let folder = folder();
    let pages = pages();
    if std::env::var_os("ASSAY_GOLDEN").is_some_and(|how| how == "write") {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in &pages {
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
    let again = "look at it, then run this test once with ASSAY_GOLDEN=write";
    for (file, text) in &pages {
        let kept = std::fs::read_to_string(folder.join(file));
        let kept = kept.unwrap_or_else(|error| panic!("{file}: {error}: {again}"));
        assert_eq!(&kept, text, "{file} has changed: {again}");
    }
    let kept = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(kept, pages.len(), "a command is gone: {again}");
}

#[test]
fn every_command_and_argument_says_what_it_is_for() {
    let mut command = Cli::command();
    command.build();
    for (name, command) in every(&command, "assay") {
        assert!(
            command.get_about().is_some(),
            "{name} says nothing of itself"
        );
        for argument in command.get_arguments() {
            let said = argument.get_help().is_some() || argument.get_long_help().is_some();
            assert!(said, "{name} says nothing of {}", argument.get_id());
        }
    }
}

#[test]
fn the_definition_of_the_commands_is_sound() {
    Cli::command().debug_assert();
}
