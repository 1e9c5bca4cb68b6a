//! The server: hyper under axum, with every wait and count bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service;

use crate::backend::Backend;
use crate::gate::{Gate, Sender};
use crate::network::{AddressRange, Prefix};
use crate::problem::{Code, Problem};
use crate::routes;
use metered::Metered;
use placed::Placed;
use registry::{Full, Place, Registry};
use traffic::Refused;

mod metered;
mod placed;
pub(crate) mod rates;
pub(crate) mod registry;
pub(crate) mod traffic;

pub use registry::{CONNECTIONS_MAX, CONNECTIONS_PER_PREFIX_MAX};

/// Connections that may wait to be accepted, as far as the system lets them. Where they find no room, a client tries
/// again only after a second.
const BACKLOG: u32 = 4096;

/// Time within which a client must have sent a request's headers.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's secret.
    pub token: OperatorToken,
    /// Names under which the server is reached, beside its addresses and `localhost`.
    pub names: Vec<String>,
    /// Origins whose pages may read answers and send requests, such as `https://example.org`.
    pub origins: Vec<String>,
    /// Proxies that say in `X-Forwarded-For` whose requests they pass on. Nobody else is believed.
    pub proxies: Vec<AddressRange>,
}

/// Binds `address`.
///
/// # Errors
/// If the address cannot be bound, for example because the port is in use.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As an aggregator that was stopped may start again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` turns true, then lets connections finish the request at hand.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: B,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) {
    let gate = Arc::new(Gate::new(settings));
    let house = House {
        router: routes::router(backend, Arc::clone(&gate), stop.clone()),
        gate,
        registry: Registry::default(),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting a moment lets others be closed.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Whose requests a proxy passes on is not known before it does.
        let address = address.ip();
        let proxied = house.gate.proxies.trust(address);
        let counted = (!proxied).then(|| Prefix::of(address));
        match house.registry.admit(counted) {
            Ok(place) => {
                let place = Arc::new(place);
                let guest = Guest { address, place };
                tokio::spawn(connection(stream, house.clone(), guest, stop.clone()));
            }
            Err(full) => turn_away(stream, refuse(&house.gate, full)),
        }
    }
}

/// Why there is no room, which is counted.
fn refuse(gate: &Gate, full: Full) -> Problem {
    gate.traffic.refused(match full {
        Full::All => Refused::Shed,
        Full::Prefix => Refused::RateLimited,
    });
    let (code, detail) = match full {
        Full::All => (
            Code::Overloaded,
            format!("{CONNECTIONS_MAX} connections are open, the most there may be"),
        ),
        Full::Prefix => (
            Code::TooManyRequests,
            format!(
                "this network has {CONNECTIONS_PER_PREFIX_MAX} connections open, the most it may have"
            ),
        ),
    };
    Problem::of(code, detail).after(1)
}

/// Tells a connection for which there is no room, as far as that costs nothing: nobody waits for it to listen.
fn turn_away(stream: TcpStream, problem: Problem) {
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let reason = if problem.status == 429 {
        "Too Many Requests"
    } else {
        "Service Unavailable"
    };
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        problem.status,
        body.len()
    );
    // The buffer of a new connection takes it whole, or its peer is not worth waiting for.
    let _ = stream.try_write(answer.as_bytes());
}

/// What every connection shares.
#[derive(Clone)]
struct House {
    gate: Arc<Gate>,
    router: Router,
    registry: Registry,
}

/// One connection.
#[derive(Clone)]
struct Guest {
    /// Who is at its other end.
    address: IpAddr,
    place: Arc<Place>,
}

async fn connection(
    mut stream: TcpStream,
    house: House,
    guest: Guest,
    stop: watch::Receiver<bool>,
) {
    if converse(&mut stream, house, &guest, stop.clone()).await {
        linger(stream, stop).await;
    }
}

/// Serves a connection to its end; answers whether the peer may still be sending.
async fn converse(
    stream: &mut TcpStream,
    house: House,
    guest: &Guest,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let moved = AtomicU64::new(0);
    let metered = Metered {
        stream,
        moved: &moved,
    };
    let service = service_fn(|request| answer(request, house.clone(), guest.clone()));
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
            // Others ask, and this one does not.
            () = guest.place.leave.notified() => return false,
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

/// Answers one request. Until the answer is on its way, the connection keeps its place.
async fn answer(
    request: Request<Incoming>,
    house: House,
    guest: Guest,
) -> Result<Response<Placed>, std::convert::Infallible> {
    let House {
        gate,
        mut router,
        registry,
    } = house;
    let Guest { address, place } = guest;
    place.asks();
    let mut request = request.map(Body::new);
    let peer = gate.proxies.peer(address, request.headers());
    let passed = match peer.proxied.then(|| registry.pass(peer.network)) {
        None => None,
        Some(Ok(passed)) => Some(passed),
        Some(Err(full)) => {
            let response = refuse(&gate, full).into_response();
            return Ok(response.map(|body| Placed::new(body, place, None)));
        }
    };
    let extensions = request.extensions_mut();
    extensions.insert(peer);
    extensions.insert(Sender(Arc::clone(&place)));
    let response = router.call(request).await?;
    Ok(response.map(|body| Placed::new(body, place, passed)))
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
