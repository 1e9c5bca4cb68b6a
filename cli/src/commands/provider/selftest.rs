//! `assay provider selftest`: whether this machine holds what a stranger's code would try.

use anyhow::{Context, Result};
use runtime::worker::drill::{ATTEMPTS, Drilled, drill};
use serde::Serialize;

use super::trial::{self, Agreement};
use super::{machine, worker_program};
use crate::exit::{Exit, fail};
use crate::output::{Output, table};

/// The hidden command of a worker that attacks.
const ATTACKER: &str = "worker-drill";

#[derive(Serialize)]
struct Report {
    held: bool,
    attempts_blocked: usize,
    attempts: Vec<runtime::worker::drill::Attempt>,
    missing: Vec<machine::Protection>,
    agreement: Agreement,
}

pub(super) async fn run(output: Output) -> Result<()> {
    let dir = tempfile::tempdir().context("no folder for the drill")?;
    let (program, _) = worker_program()?;
    output.say("a worker tries to break out");
    let attacked = dir.path().join("drill");
    std::fs::create_dir(&attacked)?;
    let drilled = drill(program, vec![ATTACKER.into()], &attacked, None).await?;
    output.say("two workers execute the same shard");
    let agreement = trial::compare(dir.path()).await?;
    let held = drilled.is_held() && drilled.missing.is_empty() && agreement.agree;
    let report = Report {
        held,
        attempts_blocked: drilled
            .attempts
            .iter()
            .filter(|attempt| attempt.blocked)
            .count(),
        missing: machine::protections(Some(&drilled.missing)),
        attempts: drilled.attempts.clone(),
        agreement,
    };
    output.data(&report, || describe(&report))?;
    if held {
        return Ok(());
    }
    fail(Exit::Failure, verdict(&drilled, &report))
}

fn describe(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .attempts
        .iter()
        .map(|attempt| {
            let outcome = if attempt.blocked {
                "blocked"
            } else {
                "NOT BLOCKED"
            };
            vec![
                attempt.what.clone(),
                outcome.to_owned(),
                attempt.how.clone(),
            ]
        })
        .collect();
    let agreement = match report.agreement.agree {
        true => format!(
            "one shard twice: the same outputs and {} fuel",
            report.agreement.fuel[0]
        ),
        false => format!("one shard twice: DIFFERENT, {:?}", report.agreement),
    };
    let blocked = report.attempts_blocked;
    format!(
        "{}\n\n{blocked} of {ATTEMPTS} attempts blocked\n{agreement}\n{}",
        table(&["attempt", "", "the kernel says"], &rows),
        machine::protection_table(&report.missing)
    )
}

fn verdict(drilled: &Drilled, report: &Report) -> String {
    let mut wrong = Vec::new();
    let open: Vec<&str> = drilled
        .attempts
        .iter()
        .filter(|attempt| !attempt.blocked)
        .map(|attempt| attempt.what.as_str())
        .collect();
    if !open.is_empty() {
        wrong.push(format!("not blocked: {}", open.join(", ")));
    }
    if drilled.attempts.len() != ATTEMPTS {
        wrong.push(format!(
            "{} of {ATTEMPTS} attempts were made",
            drilled.attempts.len()
        ));
    }
    if !drilled.unharmed {
        wrong.push("a file was changed".to_owned());
    }
    let lacking = report.missing.iter().filter(|protection| !protection.there);
    wrong.extend(
        lacking.map(|protection| format!("{} is missing: {}", protection.name, protection.fix)),
    );
    if !report.agreement.agree {
        wrong.push("two executions of one shard differ".to_owned());
    }
    format!("do not rent out this machine: {}", wrong.join("; "))
}
