//! HTTP as a stranger speaks it: bytes over a socket, with no client in the way of a bad request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use api::signature::{Covered, content_digest, sign};
use jobs::envelope::ClientKey;
use serde_json::Value;

use crate::clock::now_s;

/// Longest wait for a connection's next bytes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header block, lower case.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not.
    pub fn json(&self) -> Result<Value> {
        let shown = || {
            format!(
                "status {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        };
        serde_json::from_slice(&self.body).with_context(shown)
    }

    /// The stable code of a problem, or nothing.
    pub fn code(&self) -> String {
        let code = self
            .json()
            .ok()
            .and_then(|body| Some(body.get("code")?.as_str()?.to_owned()));
        code.unwrap_or_default()
    }
}

/// Gets `path`.
///
/// # Errors
/// If nobody answers.
pub fn get(base: &str, path: &str) -> Result<Response> {
    request(base, "GET", path, &[], b"")
}

/// Posts JSON text to `path`, whatever it is.
///
/// # Errors
/// If nobody answers.
pub fn post(base: &str, path: &str, body: &[u8]) -> Result<Response> {
    request(
        base,
        "POST",
        path,
        &[("content-type", "application/json")],
        body,
    )
}

/// Puts bytes to `path`.
///
/// # Errors
/// If nobody answers.
pub fn put(base: &str, path: &str, body: &[u8]) -> Result<Response> {
    request(base, "PUT", path, &[], body)
}

/// Sends a request that a client signed, with JSON or, to a path that names a blob, its bytes.
///
/// # Errors
/// If nobody answers, or it cannot be signed.
pub fn signed(
    base: &str,
    key: &ClientKey,
    (method, path): (&str, &str),
    body: &[u8],
) -> Result<Response> {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let digest = (!path.contains("/blobs/")).then(|| content_digest(body));
    let covered = Covered {
        method,
        path,
        query: None,
        content_digest: digest.as_deref(),
        idempotency_key: None,
    };
    let now = now_s();
    let nonce = format!("{now}-{:08}", NONCE.fetch_add(1, Ordering::Relaxed));
    let mut headers = sign(key, &covered, now, &nonce)?.to_vec();
    if let Some(digest) = digest {
        headers.push(("content-digest", digest));
        headers.push(("content-type", "application/json".into()));
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    request(base, method, path, &headers, body)
}

/// Sends a request on a connection of its own.
///
/// # Errors
/// If nobody answers.
pub fn request(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot reach {base}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server that refuses early closes before it has read everything; its answer is still there.
    let sent = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = match split.and_then(|at| answer.split_at_checked(at)) {
        Some((head, rest)) => (head, rest.strip_prefix(b"\r\n\r\n").unwrap_or_default()),
        None => {
            sent?;
            read?;
            anyhow::bail!("{base} closed the connection without an answer");
        }
    };
    let head = String::from_utf8_lossy(head).to_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {head}"))?;
    Ok(Response {
        status,
        head,
        body: body.to_vec(),
    })
}
