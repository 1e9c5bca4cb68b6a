//! What can be reached, and what could listen.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Check, Status};
use crate::clock;
use crate::exit::{Exit, fail};
use crate::place::At;

/// How long an aggregator may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
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
    let answer = tokio::time::timeout(PATIENCE, head_of(&url)).await;
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
        Ok(head) => vec![
            Check::ok(NAME, format!("{url} answers")),
            skew(date_of(&head), now()),
        ],
    }
}

/// Asks for the aggregator's health, and returns the answer's head.
async fn head_of(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if host.contains(':') { "" } else { ":80" };
    let address = format!("{host}{port}");
    let stream = TcpStream::connect(&address).await;
    let mut stream = stream.with_context(|| format!("cannot reach {address}"))?;
    let path = format!("/{base}").trim_end_matches('/').to_owned();
    let request =
        format!("GET {path}/api/v1/health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    match status.as_str() {
        "200" => Ok(answer),
        _ => fail(
            Exit::Failure,
            format!("{address} answers {status:?} where an aggregator says how it is"),
        ),
    }
}

/// The second at which the answer was sent, by its sender's clock.
fn date_of(answer: &str) -> Option<u64> {
    let head = answer.split("\r\n\r\n").next()?;
    let dates = head.lines().filter_map(|line| line.split_once(": "));
    let date = dates.filter(|(name, _)| name.eq_ignore_ascii_case("date"));
    date.map(|(_, date)| date).next().and_then(clock::from_http)
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
    fn the_date_of_an_answer_is_found_whatever_its_spelling() {
        let answer = |name: &str| {
            format!("HTTP/1.1 200 OK\r\n{name}: Sun, 22 Nov 2026 15:04:05 GMT\r\n\r\ndate: no")
        };
        for name in ["date", "Date", "DATE"] {
            assert_eq!(date_of(&answer(name)), Some(1_795_359_845));
        }
        assert_eq!(date_of(&answer("expires")), None);
    }
}
