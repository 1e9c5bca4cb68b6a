//! `assay doctor`: what is missing here, and what mends it.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::doctor::{Check, Role, Status, examine};
use crate::exit::{Exit, fail};
use crate::output::Output;

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Whose day it is: what this role needs and lacks is a failure, and the rest is left out.
    #[arg(long, value_enum)]
    role: Option<Role>,
}

pub(crate) async fn run(doctor: &Doctor, output: Output) -> Result<()> {
    let checks = examine(doctor.role).await;
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .map(|check| check.name)
        .collect();
    output.data(&json!({ "checks": checks, "failed": failed }), || {
        checks.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    match failed.is_empty() {
        true => Ok(()),
        false => fail(Exit::Failure, format!("fails: {}", failed.join(", "))),
    }
}

/// A check as people read it.
pub(crate) fn line(check: &Check) -> String {
    let status = match check.status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    let fix = check.fix.iter().map(|fix| format!("\n      fix: {fix}"));
    format!(
        "{status}  {}: {}{}",
        check.name,
        check.found,
        fix.collect::<String>()
    )
}
