//! What strangers do to an aggregator's HTTP interface, from many addresses at once.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::signature::{Covered, content_digest, sign};
use jobs::envelope::ClientKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::clock::now_s;

/// Addresses that an attack comes from: each is a network of its own to the aggregator.
const ADDRESSES: u8 = 32;

/// Wait before a connection that was closed or refused is made again.
const AGAIN: Duration = Duration::from_millis(20);

/// Time between two bytes of a slow request.
const SLOW: Duration = Duration::from_secs(1);

/// Headers of an endless request that are written at once.
const HEADERS_AT_ONCE: usize = 1000;

/// Headers of an endless request, if it is let.
const HEADERS: usize = 100_000;

/// A way to harm others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Nothing is done.
    None,
    /// Thousands of connections send a request's head byte by byte.
    SlowLoris,
    /// Requests with a hundred thousand headers.
    Headers,
    /// Requests with bodies that come byte by byte.
    SlowBody,
    /// Signatures that are well formed and wrong.
    Forgeries,
    /// Requests that are signed well by clients without money, each with an idempotency key of its own.
    IdempotencyKeys,
    /// As many reads as there can be.
    Reads,
}

impl Attack {
    /// Every attack, and none.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::SlowLoris,
        Self::Headers,
        Self::SlowBody,
        Self::Forgeries,
        Self::IdempotencyKeys,
        Self::Reads,
    ];

    /// Its name in tables and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SlowLoris => "slow-loris",
            Self::Headers => "100k-headers",
            Self::SlowBody => "slow-body",
            Self::Forgeries => "forged-signatures",
            Self::IdempotencyKeys => "idempotency-keys",
            Self::Reads => "reads",
        }
    }

    /// Connections that it tries to hold from each address.
    fn connections(self) -> u32 {
        match self {
            Self::None => 0,
            Self::SlowLoris => 128,
            Self::Headers => 2,
            Self::SlowBody => 32,
            Self::Forgeries | Self::IdempotencyKeys | Self::Reads => 4,
        }
    }

    /// Connections that it tries to hold in all.
    pub fn held(self) -> u32 {
        self.connections().saturating_mul(u32::from(ADDRESSES))
    }
}

/// What an attack got.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections made.
    pub connections: AtomicU64,
    /// Requests that were answered as if nobody attacked.
    pub answered: AtomicU64,
    /// Requests that were refused for good: 4xx.
    pub refused: AtomicU64,
    /// Requests that were turned away for now: 429 and 503.
    pub turned_away: AtomicU64,
}

impl Tally {
    fn count(&self, status: u16) {
        let which = match status {
            429 | 503 => &self.turned_away,
            200..=299 => &self.answered,
            _ => &self.refused,
        };
        which.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every connection of an attack, each again whenever it ends; does not end by itself.
pub(super) async fn run(attack: Attack, at: SocketAddr, tally: Arc<Tally>) -> Result<()> {
    let mut all = tokio::task::JoinSet::new();
    for address in 1..=ADDRESSES {
        let key = Arc::new(ClientKey::generate()?);
        for _ in 0..attack.connections() {
            let (key, tally) = (Arc::clone(&key), Arc::clone(&tally));
            all.spawn(async move {
                loop {
                    // However it ends: it is made again.
                    let _ = once(attack, address, at, &key, &tally).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
    }
    while all.join_next().await.is_some() {}
    std::future::pending().await
}

async fn once(
    attack: Attack,
    address: u8,
    at: SocketAddr,
    key: &ClientKey,
    tally: &Tally,
) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    let from = Ipv4Addr::new(127, 0, 1, address);
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    let mut stream = socket.connect(at).await?;
    tally.connections.fetch_add(1, Ordering::Relaxed);
    match attack {
        Attack::None => Ok(()),
        Attack::SlowLoris => {
            let head = "GET /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
            drip(&mut stream, head, tally).await
        }
        Attack::SlowBody => {
            let head = "POST /api/v1/quotes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\
                        content-type: application/json\r\n\r\n{";
            drip(&mut stream, head, tally).await
        }
        Attack::Headers => headers(&mut stream, tally).await,
        Attack::Forgeries | Attack::IdempotencyKeys | Attack::Reads => loop {
            stream.write_all(&request(attack, key)?).await?;
            tally.count(answer(&mut stream).await?);
        },
    }
}

/// Sends a start and then a byte at a time, until the other side has had enough.
async fn drip(stream: &mut TcpStream, start: &str, tally: &Tally) -> Result<()> {
    stream.write_all(start.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    let mut some = [0; 1024];
    loop {
        tokio::select! {
            () = tokio::time::sleep(SLOW) => write.write_all(b"a").await?,
            told = read.read(&mut some) => {
                let told = some.get(..told?).unwrap_or_default();
                status(told).inspect(|status| tally.count(*status));
                return Ok(());
            }
        }
    }
}

async fn headers(stream: &mut TcpStream, tally: &Tally) -> Result<()> {
    let start = "GET /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\n";
    stream.write_all(start.as_bytes()).await?;
    let lines = "x-flood: y\r\n".repeat(HEADERS_AT_ONCE);
    for _ in 0..HEADERS / HEADERS_AT_ONCE {
        if stream.write_all(lines.as_bytes()).await.is_err() {
            break;
        }
    }
    tally.count(answer(stream).await?);
    Ok(())
}

/// A request as fast as possible: what costs the aggregator something.
fn request(attack: Attack, key: &ClientKey) -> Result<Vec<u8>> {
    if attack == Attack::Reads {
        return Ok(b"GET /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec());
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let body = br#"{"package":"{}","bundle":"{}","public_key":""}"#;
    let (digest, once) = (content_digest(body), format!("flood-{number}"));
    let covered = Covered {
        method: "POST",
        path: "/api/v1/jobs",
        query: None,
        content_digest: Some(&digest),
        idempotency_key: Some(&once),
    };
    let now = now_s();
    let headers = sign(key, &covered, now, &format!("{now}-{number:08}"))?;
    // What was signed is not what is sent.
    let once = match attack {
        Attack::Forgeries => "another",
        _ => &once,
    };
    let mut text = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         content-digest: {digest}\r\nidempotency-key: {once}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    Ok([text.as_bytes(), b"\r\n", body].concat())
}

fn status(told: &[u8]) -> Option<u16> {
    let told = str::from_utf8(told.get(..12)?).ok()?;
    told.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Reads one answer whole; returns its status.
async fn answer(stream: &mut TcpStream) -> Result<u16> {
    let mut told = Vec::new();
    let end = loop {
        if let Some(at) = told.windows(4).position(|window| window == b"\r\n\r\n") {
            break at.saturating_add(4);
        }
        ensure!(stream.read_buf(&mut told).await? > 0, "closed");
    };
    let head = String::from_utf8_lossy(told.get(..end).unwrap_or_default()).to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
    let whole = end.saturating_add(length.context("an answer of unknown length")?);
    while told.len() < whole {
        ensure!(stream.read_buf(&mut told).await? > 0, "closed");
    }
    status(&told).context("not an answer")
}
