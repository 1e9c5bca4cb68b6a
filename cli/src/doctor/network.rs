//! What can be reached, and what could listen.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{HeaderMap, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Check, Status};
use crate::clock;
use crate::exit::{Exit, fail};
use crate::place::At;

/// How long an aggregator may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Difference of clocks that is worth a word, in seconds.
const SKEW_WARN_S: u64 = 5;
/// Difference of clocks at which requests and deadlines go wrong, in seconds.
const SKEW_FAIL_S: u64 = 300;
/// Where an aggregator listens unless it is told otherwise.
const PORTS: [u16; 2] = [7700, 7701];

/// Whether the aggregator answers, and what its clock says.
pub(super) async fn aggregator(level: Status) -> Vec<Check> {
    const NAME: &str = "aggregator";
    let url = match At::default().url() {
        Ok(url) => url,
        Err(error) => return vec![Check::of(NAME, level, &error, "assay context create")],
    };
    let answer = tokio::time::timeout(PATIENCE, asked(&url)).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(_) => fail(
            Exit::Timeout,
            format!("{url} does not answer for {PATIENCE:?}"),
        ),
    };
    match answer {
        Err(error) => {
            let fix = format!(
                "nobody answers at {url}: start it, or name another with `assay context use`; \
                 `assay config show --origin` says where the address is from"
            );
            vec![Check::not(NAME, level, format!("{error:#}"), fix)]
        }
        Ok(date) => vec![Check::ok(NAME, format!("{url} answers")), skew(date, now())],
    }
}

/// Asks for the aggregator's health, and returns the second at which the answer was sent, by its sender's clock.
async fn asked(url: &str) -> Result<Option<u64>> {
    let connector = api::client::connector().context("TLS")?;
    let http: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let health = format!("{}/api/v1/health", url.trim_end_matches('/')).parse()?;
    let answer = http.get(health).await;
    let answer = answer.with_context(|| format!("cannot reach {url}"))?;
    let status = answer.status();
    if status != StatusCode::OK {
        let what = format!("{url} answers {status} where an aggregator says how it is");
        return fail(Exit::Failure, what);
    }
    Ok(date_of(answer.headers()))
}

fn date_of(headers: &HeaderMap) -> Option<u64> {
    clock::from_http(headers.get(header::DATE)?.to_str().ok()?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "compares this machine's clock; nothing is decided by it"
)]
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|now| now.as_secs()).unwrap_or_default()
}

fn skew(theirs: Option<u64>, ours: u64) -> Check {
    const NAME: &str = "clock";
    let Some(theirs) = theirs else {
        let fix = "compare the clocks by hand: date -u";
        return Check::not(
            NAME,
            Status::Warn,
            "the aggregator does not say what time it is",
            fix,
        );
    };
    let apart = theirs.abs_diff(ours);
    let which = if theirs > ours { "behind" } else { "ahead of" };
    let found = format!("{apart} s {which} the aggregator's");
    match apart {
        0..=SKEW_WARN_S => Check::ok(NAME, "agrees with the aggregator's"),
        _ => {
            let status = if apart > SKEW_FAIL_S {
                Status::Fail
            } else {
                Status::Warn
            };
            Check::not(
                NAME,
                status,
                found,
                "set the clock: timedatectl set-ntp true",
            )
        }
    }
}

/// Whether somebody listens already where an aggregator would.
pub(super) fn ports(level: Status) -> Vec<Check> {
    let tcp = PORTS.map(|port| {
        (
            port,
            "TCP",
            TcpListener::bind(("127.0.0.1", port)).map(drop),
        )
    });
    let udp = [(
        PORTS[1],
        "UDP",
        UdpSocket::bind(("127.0.0.1", PORTS[1])).map(drop),
    )];
    let busy: Vec<String> = tcp
        .into_iter()
        .chain(udp)
        .filter_map(|(port, kind, bound)| {
            let error = bound.err()?;
            let why = match error.kind() {
                ErrorKind::AddrInUse => "in use".to_owned(),
                _ => error.to_string(),
            };
            Some(format!("{kind} {port} is {why}"))
        })
        .collect();
    vec![match busy.is_empty() {
        true => Check::ok("ports", "7700 and 7701 are free"),
        false => {
            let fix = "an aggregator may run already (`assay aggregator status`); else choose \
                       others with --http and --p2p";
            Check::not("ports", level, busy.join(", "), fix)
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_said_to_be() {
        for (theirs, status, words) in [
            (Some(1000), Status::Ok, "agrees"),
            (Some(1005), Status::Ok, "agrees"),
            (Some(1010), Status::Warn, "10 s behind"),
            (Some(900), Status::Warn, "100 s ahead of"),
            (Some(2000), Status::Fail, "1000 s behind"),
            (None, Status::Warn, "does not say"),
        ] {
            let check = skew(theirs, 1000);
            assert_eq!(check.status, status, "{check:?}");
            assert!(check.found.contains(words), "{check:?}");
            assert_eq!(check.fix.is_some(), status != Status::Ok);
        }
    }

    #[test]
    fn the_date_of_an_answer_is_found_if_there_is_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(date_of(&headers), None);
        for (date, second) in [
            ("Sun, 22 Nov 2026 15:04:05 GMT", Some(1_795_359_845)),
            ("yesterday", None),
        ] {
            headers.insert(header::DATE, date.parse().unwrap());
            assert_eq!(date_of(&headers), second, "{date}");
        }
    }
}
