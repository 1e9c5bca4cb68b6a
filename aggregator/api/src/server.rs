//! The server: hyper under axum, with every wait and count bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::backend::Backend;
use crate::routes;
use metered::Metered;

mod metered;

/// Connections served at once; further ones wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 256;

/// Time within which a client must have sent a request's headers.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// Time after which a connection is closed that did not move [`SPELL_BYTES_MIN`] meanwhile, and after
/// which one that did is looked at again: bounds how long a slow client holds its place.
pub const SPELL: Duration = Duration::from_secs(600);

/// Bytes, in both directions together, that buy a connection another [`SPELL`]: 0.4 Mbit/s.
pub const SPELL_BYTES_MIN: u64 = 32 << 20;

/// Time that a client gets to finish sending what was refused unread.
pub const LINGER: Duration = Duration::from_secs(5);

/// Read buffer of a connection in bytes; also bounds a request's header block.
pub const READ_BUFFER_MAX: usize = 64 * 1024;

/// The secret that lets an operator move money in.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// A token. An empty one accepts nobody.
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Whether `given` is the token. Takes the same time wherever they differ.
    pub(crate) fn accepts(&self, given: Option<&str>) -> bool {
        let Some(given) = given else { return false };
        if self.0.is_empty() || given.len() != self.0.len() {
            return false;
        }
        given
            .bytes()
            .zip(self.0.bytes())
            .fold(0, |diff, (left, right)| diff | (left ^ right))
            == 0
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// Binds `address`.
///
/// # Errors
/// If the address cannot be bound, for example because the port is in use.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` turns true, then lets connections finish the request at hand.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: B,
    token: OperatorToken,
    mut stop: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(routes::router(backend, token));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: waiting a moment lets others be closed.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, service, stop).await;
            drop(slot);
        });
    }
}

async fn connection(
    mut stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    stop: watch::Receiver<bool>,
) {
    if converse(&mut stream, service, stop.clone()).await {
        linger(stream, stop).await;
    }
}

/// Serves a connection to its end; answers whether the peer may still be sending.
async fn converse(
    stream: &mut TcpStream,
    service: TowerToHyperService<axum::Router>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let moved = AtomicU64::new(0);
    let metered = Metered {
        stream,
        moved: &moved,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_MAX)
        .serve_connection(TokioIo::new(metered), service);
    let mut connection = std::pin::pin!(connection);
    let mut spell = tokio::time::interval_at(Instant::now() + SPELL, SPELL);
    let mut stopping = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "connection ended");
                }
                return true;
            }
            _ = spell.tick() => {
                if moved.swap(0, Ordering::Relaxed) < SPELL_BYTES_MIN {
                    return false;
                }
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Takes what the peer still sends, and throws it away. A connection closed with unread bytes is reset,
/// and the answer that refused them may be lost on its way.
async fn linger(mut stream: TcpStream, mut stop: watch::Receiver<bool>) {
    // Nothing more comes from here; a peer that is gone has no use for hearing it.
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = vec![0; READ_BUFFER_MAX];
    let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    tokio::select! {
        _ = tokio::time::timeout(LINGER, drained) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
