//! Pages of documentation as programs: what stands behind `$` in their `console` blocks is executed, and what stands below it
//! is what must come of it.
//!
//! A line `...` stands for any number of lines, `[..]` for anything within one, and `? 4` right below a command for the exit code
//! that it must end with, instead of 0. A line that begins with `> ` continues a command. A block after a comment
//! `<!-- not executed: why -->` is skipped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Longest that one page may take, in seconds.
const PAGE_SECONDS: u32 = 420;

/// Before each command's output, and before its exit code.
const MARK: &str = "@@transcript";

/// One command of a page and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the page that it stands in, from 1.
    pub line: usize,
    /// What is executed.
    pub command: String,
    /// The exit code that it must end with.
    pub code: i32,
    /// Lines that must come, with wildcards.
    pub expected: Vec<String>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it printed, on both of its outputs.
    pub output: String,
    /// What it ended with; none if it never ended.
    pub code: Option<i32>,
}

/// The commands of a page.
///
/// # Errors
/// If a block begins with something else than a command.
pub fn steps(page: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut skip, mut fresh) = (false, false, false);
    for (line, text) in (1..).zip(page.lines()) {
        if text.starts_with("```") {
            inside = text == "```console" && !skip;
            // A skipped block ends with the next fence but one.
            skip = skip && text == "```console";
            fresh = inside;
            continue;
        }
        if text.starts_with("<!-- not executed: ") {
            skip = true;
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step {
                line,
                command: command.to_owned(),
                code: 0,
                expected: Vec::new(),
            });
        } else {
            ensure!(!fresh, "line {line}: a block begins with a command");
            let step = steps.last_mut().context("no command")?;
            if let Some(more) = text.strip_prefix("> ") {
                write!(step.command, "\n{more}")?;
            } else if let Some(code) = text.strip_prefix("? ") {
                step.code = code.parse().with_context(|| format!("line {line}"))?;
            } else {
                step.expected.push(text.to_owned());
            }
        }
        fresh = false;
    }
    Ok(steps)
}

/// Executes commands in one shell, in a folder.
///
/// # Errors
/// If there is no shell, or what it printed cannot be read back.
pub fn run(
    steps: &[Step],
    folder: &Path,
    environment: &BTreeMap<&str, OsString>,
) -> Result<Vec<Ran>> {
    let mut script = String::new();
    for (at, step) in steps.iter().enumerate() {
        writeln!(
            script,
            "printf '\\n{MARK} {at}\\n'\n{{ {}\n}} 2>&1",
            step.command
        )?;
        writeln!(script, "printf '\\n{MARK}= %d\\n' $?")?;
    }
    script += "kill $(jobs -p) 2>/dev/null\nwait\n";
    let file = folder.with_extension("sh");
    fs::write(&file, script)?;
    let log = folder.with_extension("log");
    Command::new("timeout")
        .args(["--kill-after=10", &PAGE_SECONDS.to_string(), "bash"])
        .arg(&file)
        .current_dir(folder)
        .env_clear()
        .envs(environment)
        .stdin(std::process::Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .status()?;
    let printed = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok((0..steps.len()).map(|at| outcome(&printed, at)).collect())
}

fn outcome(printed: &str, at: usize) -> Ran {
    let begin = format!("\n{MARK} {at}\n");
    let after = printed.split_once(&begin).map_or("", |(_, after)| after);
    let end = format!("\n{MARK}= ");
    match after.split_once(&end) {
        Some((output, rest)) => Ran {
            output: output.to_owned(),
            code: rest.lines().next().and_then(|code| code.parse().ok()),
        },
        None => Ran {
            output: after.to_owned(),
            code: None,
        },
    }
}

/// Whether lines are what is expected, wildcards included.
pub fn matches(expected: &[String], output: &[&str]) -> bool {
    match expected.split_first() {
        None => output.iter().all(|line| line.is_empty()),
        Some((any, rest)) if any == "..." => {
            (0..=output.len()).any(|skip| matches(rest, &output[skip..]))
        }
        Some((line, rest)) => output
            .split_first()
            .is_some_and(|(first, others)| fits(line, first) && matches(rest, others)),
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_into_commands_and_what_must_come_of_them() {
        let page = "text\n```console\n$ a \\\n> b\n? 4\nout\n...\n$ c\n```\n```rust\n$ no\n```\n\
            <!-- not executed: needs root -->\n```console\n$ skipped\n```\n```console\n$ d\n```\n";
        let step = |line, command: &str, code, expected: &[&str]| Step {
            line,
            command: command.into(),
            code,
            expected: expected.iter().map(|&line| line.to_owned()).collect(),
        };
        let expected = [
            step(3, "a \\\nb", 4, &["out", "..."]),
            step(8, "c", 0, &[]),
            step(18, "d", 0, &[]),
        ];
        assert_eq!(steps(page).unwrap(), expected);
        assert!(steps("```console\nno command\n```\n").is_err());
    }

    #[test]
    fn wildcards_stand_for_lines_and_for_parts_of_a_line() {
        let cases: [(&[&str], &[&str], bool); 9] = [
            (&[], &[], true),
            (&[], &["", ""], true),
            (&[], &["more"], false),
            (&["a"], &["a"], true),
            (&["a"], &["b"], false),
            (&["..."], &["a", "b"], true),
            (&["...", "b", "..."], &["a", "b"], true),
            (&["a [..] c[..]"], &["a b c d"], true),
            (&["a [..] c"], &["a b c d"], false),
        ];
        for (pattern, lines, expected) in cases {
            let pattern: Vec<String> = pattern.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(matches(&pattern, lines), expected, "{pattern:?} {lines:?}");
        }
    }

    #[test]
    fn commands_share_a_shell_and_a_failing_one_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("page");
        fs::create_dir(&folder).unwrap();
        let page = "```console\n$ x=1\n$ echo $x >&2\n1\n$ false\n$ echo on\non\n```\n";
        let steps = steps(page).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let ran = run(&steps, &folder, &BTreeMap::from([("PATH", path)])).unwrap();
        let codes: Vec<Option<i32>> = ran.iter().map(|ran| ran.code).collect();
        assert_eq!(codes, [Some(0), Some(0), Some(1), Some(0)]);
        assert_eq!(
            (ran[1].output.as_str(), ran[3].output.as_str()),
            ("1\n", "on\n")
        );
    }
}
