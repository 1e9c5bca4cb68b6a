//! `assay aggregator init`: an aggregator's keys and configuration.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use aggregator::driver::BLOB_QUOTA;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::start::{AggregatorDir, FEE_BPS, HTTP, P2P};
use super::{identity, operator_token};
use crate::aggregator_file::{Chosen, KIND, render};
use crate::commands::doctor;
use crate::doctor::{Check, Status};
use crate::exit::{Exit, Fix, fail};
use crate::output::Output;

/// Free disk below which an aggregator is better placed elsewhere, in bytes.
const DISK_BYTES_LEAST: u64 = 1 << 30;

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    data: AggregatorDir,
    /// Where its HTTP interface is to listen; port 0 picks one.
    #[arg(long, default_value = HTTP)]
    http: SocketAddr,
    /// Multiaddress it is to listen on for peers; may be repeated.
    #[arg(long, default_values = P2P)]
    p2p: Vec<String>,
    /// Name under which its HTTP interface will be reached; may be repeated [default: addresses and localhost].
    #[arg(long)]
    http_name: Vec<String>,
    /// Fee on what providers get, in basis points.
    #[arg(long, default_value_t = FEE_BPS, value_parser = clap::value_parser!(u16).range(50..=200))]
    fee_bps: u16,
    /// Replace a configuration that is there. Keys are never replaced.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Made {
    aggregator: String,
    file: String,
    checks: Vec<Check>,
    chosen: Chosen,
}

pub(super) fn run(settings: Init, output: Output) -> Result<()> {
    if let Some(address) = settings.p2p.iter().find(|at| !at.starts_with('/')) {
        return fail(Exit::Usage, format!("--p2p {address:?} is no multiaddress"))
            .fix("write it as /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1");
    }
    let data = settings.data.path()?;
    KIND.refuse_existing(&data, settings.force)?;
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let seed = identity(&data.join("identity.key"))?;
    operator_token(&data)?;
    let stat = rustix::fs::statvfs(&data).with_context(|| data.display().to_string())?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let chosen = Chosen {
        http: settings.http,
        http_names: settings.http_name,
        p2p: settings.p2p,
        fee_bps: settings.fee_bps,
        blob_quota: (free / 2).min(BLOB_QUOTA),
    };
    let checks = vec![disk(free, chosen.blob_quota), ports(&chosen)];
    let file = KIND.write(&data, &render(&chosen), settings.force)?;
    let id = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
    let made = Made {
        aggregator: hex::encode(id.to_bytes()),
        file: file.display().to_string(),
        checks,
        chosen,
    };
    output.data(&made, || describe(&made, &data))
}

fn describe(made: &Made, data: &Path) -> String {
    let mut lines = vec![format!("aggregator {}", made.aggregator)];
    lines.extend(made.checks.iter().map(doctor::line));
    lines.push(format!(
        "\nwrote {}; look at it, then: assay aggregator start --data {}",
        made.file,
        data.display()
    ));
    lines.join("\n")
}

fn disk(free: u64, quota: u64) -> Check {
    const NAME: &str = "disk";
    let found = format!(
        "{} MiB free, of which blobs may take {} MiB",
        free >> 20,
        quota >> 20
    );
    match free < DISK_BYTES_LEAST {
        false => Check::ok(NAME, found),
        true => {
            let least = DISK_BYTES_LEAST >> 20;
            let fix = format!("make room: an aggregator wants {least} MiB or more");
            Check::not(NAME, Status::Warn, found, fix)
        }
    }
}

/// Whether somebody listens already where this aggregator is to.
fn ports(chosen: &Chosen) -> Check {
    const NAME: &str = "ports";
    let http = TcpListener::bind(chosen.http).map(drop).err();
    let http = http.map(|error| format!("{}: {error}", chosen.http));
    let peers = chosen.p2p.iter().filter_map(|address| {
        let error = free(address).err()?;
        Some(format!("{address}: {error}"))
    });
    let busy: Vec<String> = http.into_iter().chain(peers).collect();
    match busy.is_empty() {
        true => Check::ok(NAME, "can be listened on"),
        false => {
            let fix = "an aggregator may run already (`assay aggregator status`); else choose others in the file";
            Check::not(NAME, Status::Warn, busy.join(", "), fix)
        }
    }
}

/// Whether a multiaddress of an IP address and a port can be listened on. Others only the daemon can try.
fn free(address: &str) -> std::io::Result<()> {
    let mut parts = address.split('/').skip(1);
    let (family, host) = (parts.next(), parts.next().unwrap_or_default());
    let (transport, port) = (parts.next(), parts.next().unwrap_or_default());
    let (Some("ip4" | "ip6"), Ok(host), Ok(port)) = (family, host.parse(), port.parse()) else {
        return Ok(());
    };
    let at = SocketAddr::new(host, port);
    match transport {
        Some("tcp") => TcpListener::bind(at).map(drop),
        Some("udp") => UdpSocket::bind(at).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_found_and_a_disk_that_is_full() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        for (address, is_free) in [
            (format!("/ip4/127.0.0.1/tcp/{port}"), false),
            ("/ip4/127.0.0.1/tcp/0".to_owned(), true),
            ("/ip4/127.0.0.1/udp/0/quic-v1".to_owned(), true),
            ("/dns/example.org/tcp/1".to_owned(), true),
            ("/".to_owned(), true),
        ] {
            assert_eq!(free(&address).is_ok(), is_free, "{address}");
        }
        assert_eq!(disk(10 << 30, 5 << 30).status, Status::Ok);
        assert_eq!(disk(1 << 20, 1 << 19).status, Status::Warn);
    }
}
