//! What this machine and this configuration lack, each with what mends it.

mod machine;
mod network;

use clap::ValueEnum;
use serde::Serialize;

/// Whose day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Submits jobs.
    Client,
    /// Rents out this machine.
    Provider,
    /// Decides and pays.
    Aggregator,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Something is missing that not everybody needs.
    Warn,
    /// Something is missing that this role needs.
    Fail,
}

/// A check and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// How it ended.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) found: String,
    /// What mends it, where something is to be mended.
    pub(crate) fix: Option<String>,
}

impl Check {
    /// As it should be.
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            found: found.into(),
            fix: None,
        }
    }

    /// Not as it should be.
    pub(crate) fn not(
        name: &'static str,
        status: Status,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name,
            status,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    /// What an error says, with what mends it.
    fn of(name: &'static str, status: Status, error: &anyhow::Error, otherwise: &str) -> Self {
        let fix = crate::hints::of(error).unwrap_or_else(|| otherwise.to_owned());
        Self::not(name, status, format!("{error:#}"), fix)
    }
}

/// Looks at everything that matters to this role; to all of them, if none is named.
pub(crate) async fn examine(role: Option<Role>) -> Vec<Check> {
    let is = |wanted: Role| role.is_none_or(|role| role == wanted);
    // What nobody asked about is no failure.
    let level = |wanted: Role| match role {
        Some(role) if role == wanted => Status::Fail,
        _ => Status::Warn,
    };
    let mut checks = vec![machine::config(), machine::home(), machine::disk()];
    if is(Role::Client) {
        checks.push(machine::key(level(Role::Client)));
        checks.push(machine::toolchain());
        checks.push(machine::completions());
    }
    if is(Role::Client) || is(Role::Provider) {
        checks.extend(network::aggregator(level(Role::Client)).await);
        checks.extend(machine::sandbox(level(Role::Provider)).await);
    }
    if is(Role::Aggregator) {
        checks.extend(network::ports(level(Role::Aggregator)));
    }
    checks
}
