//! One file a command.

pub(crate) mod aggregator;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod devnet;
pub(crate) mod doctor;
pub(crate) mod economics;
pub(crate) mod explain;
pub(crate) mod game;
pub(crate) mod job;
pub(crate) mod journal;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod liquidation;
pub(crate) mod model;
pub(crate) mod provider;
pub(crate) mod receipt;
pub(crate) mod shell;
pub(crate) mod sim;
pub(crate) mod validator;

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn wait_for_stop() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}
