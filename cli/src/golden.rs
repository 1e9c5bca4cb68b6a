//! The help of every command, as it was looked at last and as the book lists it. Whoever changes a command looks at it
//! again: `ASSAY_GOLDEN=write` writes what is true now.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::Cli;
use crate::commands::shell::tests::every;

/// Columns of the page: what fits on any terminal.
const COLUMNS: usize = 100;

/// The page, as it should be.
fn page() -> String {
    let mut command = Cli::command().term_width(COLUMNS);
    command.build();
    let mut page = String::from(
        "# Commands\n\nWhat `assay help` says of every command. `assay man --out DIR` writes the same as manual pages.\n",
    );
    for (name, mut command) in every(&command, "assay") {
        let text = command.render_long_help().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        page += &format!(
            "\n## {name}\n\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        );
    }
    page
}

#[test]
fn the_help_of_every_command_is_as_it_was_looked_at() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/commands.md");
    let page = page();
    if std::env::var_os("ASSAY_GOLDEN").is_some_and(|how| how == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = kept.lines().zip(page.lines()).zip(1..);
    let first = lines.find(|((kept, now), _)| kept != now);
    assert!(
        kept == page,
        "the help has changed: look at it, then run this test once with ASSAY_GOLDEN=write to write it into \
         docs/src/reference/commands.md; line by line, first {first:?}"
    );
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
