//! What strangers may send to the HTTP interface of the real binary, and that others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Market, Plan, get, request};

/// Connections that ask nothing: more than one network may have.
const LORISES: usize = 400;
/// Headers of one request.
const HEADERS: usize = 100_000;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

fn connect(market: &Market) -> Result<TcpStream> {
    let stream = TcpStream::connect(market.http().trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends bytes and reads what comes until the other side closes.
fn raw(market: &Market, bytes: &[u8]) -> Result<String> {
    let mut stream = connect(market)?;
    // Refused before it was read whole, most of the time.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn refused(answer: &str, status: u16, code: &str) -> Result<()> {
    let line = format!("HTTP/1.1 {status} ");
    ensure!(answer.starts_with(&line), "not {status}: {answer}");
    ensure!(answer.contains(code), "not {code}: {answer}");
    Ok(())
}

fn other_names_and_other_sites(market: &Market) -> Result<()> {
    let rebound =
        b"GET /api/v1/jobs HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n\r\n";
    refused(&raw(market, rebound)?, 421, "unknown-host")?;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let headers = [(name, value), ("content-type", "application/json")];
        let answer = request(market.http(), "POST", "/api/v1/jobs", &headers, b"{}")?;
        ensure!(answer.code() == "cross-origin", "{value}: {}", answer.head);
        ensure!(
            !answer.head.contains("access-control-allow"),
            "{}",
            answer.head
        );
    }
    let page = get(market.http(), "/")?;
    ensure!(
        page.head.contains("content-security-policy"),
        "{}",
        page.head
    );
    ensure!(page.head.contains("x-request-id"), "{}", page.head);
    Ok(())
}

fn slow_lorises(market: &Market) -> Result<()> {
    let mut lorises = Vec::new();
    for _ in 0..LORISES {
        let mut loris = connect(market)?;
        // Those that had to make room may be closed already.
        let _ = loris.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: local");
        lorises.push(loris);
    }
    for _ in 0..10 {
        market.check_health()?;
        ensure!(
            get(market.http(), "/api/v1/jobs")?.status == 200,
            "others wait"
        );
    }
    drop(lorises);
    Ok(())
}

fn too_many_headers(market: &Market) -> Result<()> {
    let mut text = String::from("GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n");
    for number in 0..HEADERS {
        text += &format!("x-{number}: y\r\n");
    }
    text += "\r\n";
    let answer = raw(market, text.as_bytes())?;
    ensure!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    Ok(())
}

fn a_huge_body(market: &Market) -> Result<()> {
    let head =
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: 100000000000\r\n\r\n{";
    let mut stream = connect(market)?;
    stream.write_all(head)?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default());
    refused(&answer, 413, "too-large")
}

fn many_forgeries(market: &Market) -> Result<()> {
    let key = jobs::envelope::ClientKey::generate()?;
    for _ in 0..20 {
        let path = "/api/v1/jobs";
        let answer = tests::signed(market.http(), &key, ("POST", path), b"{}")?;
        ensure!(answer.code() == "invalid-request", "{}", answer.code());
        let headers = [
            ("signature-input", "assay=(\"@method\");created=1"),
            ("signature", "assay=:AAAA:"),
            ("assay-key", "AAAA"),
        ];
        let answer = request(market.http(), "POST", path, &headers, b"{}")?;
        ensure!(answer.code() == "request-signature", "{}", answer.code());
    }
    Ok(())
}

#[test]
fn strangers_that_ask_too_much_get_nothing_and_take_nothing_from_others() -> Result<()> {
    type Attack = fn(&Market) -> Result<()>;
    let attacks: &[(&str, Attack)] = &[
        ("other names and sites", other_names_and_other_sites),
        ("slow lorises", slow_lorises),
        ("too many headers", too_many_headers),
        ("a huge body", a_huge_body),
        ("forgeries", many_forgeries),
    ];
    let mut market = Market::up(&Plan::default())?;
    for (name, attack) in attacks {
        attack(&market).with_context(|| format!("attack: {name}"))?;
        market
            .check_health()
            .with_context(|| format!("after: {name}"))?;
    }
    for path in ["/livez", "/readyz"] {
        ensure!(get(market.http(), path)?.status == 200, "{path}");
    }
    ensure!(market.aggregator.ended()?.is_none(), "it ended");
    Ok(())
}
