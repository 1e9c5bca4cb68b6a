//! Daemons that cannot start say why and leave alone what others hold.

use std::net::TcpListener;

use anyhow::Result;
use tests::{Market, Plan, assay};

/// `assay aggregator start` on ports of the system's choice, except what `arguments` say.
fn start(data: &str, http: &str) -> Result<tests::Output> {
    let p2p = "--p2p=/ip4/127.0.0.1/tcp/0";
    assay(&["aggregator", "start", "--data", data, "--http", http, p2p])
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let data = tempfile::tempdir()?;
    start(&data.path().to_string_lossy(), &address)?
        .refused(1, &format!("cannot listen on {address}"))?;
    Ok(())
}

#[test]
fn a_data_directory_has_one_daemon_at_a_time() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    start(&market.aggregator.data.to_string_lossy(), "127.0.0.1:0")?
        .refused(1, "is already open")?;
    let provider = market
        .providers
        .first()
        .map(|daemon| daemon.data.to_string_lossy());
    let data = provider.unwrap_or_default();
    assay(&["provider", "start", "--data", &data])?.refused(1, &data)?;
    market.check_health()?;
    market.wait_for_providers(1)
}
