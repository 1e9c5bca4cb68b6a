//! What every request passes first: names, origins, rates, room, time; and what every answer gets.
//!
//! Health and the operator's calls are asked about nothing but names and origins, so that they work when nothing else
//! does.

mod body;
mod forwarded;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jobs::ids::ClientId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::network::Prefix;
use crate::problem::{Code, Problem};
use crate::server::rates::{Rate, Rates};
use crate::server::traffic::{Refused, Traffic};
use crate::server::{OperatorToken, Settings};
use crate::trace;
pub(crate) use body::{JSON_BODY_MAX, Sender};
pub(crate) use forwarded::{Peer, Proxies};

/// Requests that are decided at once, but for uploads.
pub(crate) const REQUESTS_MAX: usize = 256;

/// Uploads that are taken at once.
pub(crate) const UPLOADS_MAX: usize = 64;

/// Time within which a request is decided.
pub(crate) const ROUTE_TIMEOUT: Duration =
    Duration::from_millis(if cfg!(test) { 300 } else { 60_000 });

/// The same for an audit of the ledger.
pub(crate) const AUDIT_TIMEOUT: Duration = Duration::from_secs(600);

/// What one network may ask.
const PREFIX_RATE: Rate = Rate {
    each: Duration::from_millis(2),
    burst: 2000,
};

/// What one client may sign.
const CLIENT_RATE: Rate = Rate {
    each: Duration::from_millis(20),
    burst: 1000,
};

/// Networks, and clients, whose rates are remembered.
const RATES_MAX: usize = 65_536;

/// Requests that a failed authentication counts for besides itself: checking a signature costs more than most answers.
const AUTH_FAILURE_FINE: u32 = 20;

/// Names every answer.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Who may ask what, and how much of it at once.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) token: OperatorToken,
    pub(crate) traffic: Traffic,
    pub(crate) proxies: Proxies,
    names: Vec<String>,
    origins: Vec<String>,
    prefixes: Mutex<Rates<Prefix>>,
    clients: Mutex<Rates<ClientId>>,
    requests: Semaphore,
    uploads: Semaphore,
    started: Instant,
    /// Tells the requests of one run from those of another.
    run: u32,
    numbered: AtomicU64,
}

/// How a request is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Neither counted nor bounded.
    Free,
    Upload,
    Audit,
    Ordinary,
}

impl Gate {
    pub(crate) fn new(settings: Settings) -> Self {
        let Settings {
            token,
            names,
            origins,
            proxies,
        } = settings;
        let mut run = [0; 4];
        // Only a name: without randomness all runs have the same.
        let _ = getrandom::fill(&mut run);
        Self {
            token,
            traffic: Traffic::default(),
            proxies: Proxies(proxies),
            names,
            origins,
            prefixes: Mutex::new(Rates::new(PREFIX_RATE, RATES_MAX)),
            clients: Mutex::new(Rates::new(CLIENT_RATE, RATES_MAX)),
            requests: Semaphore::new(REQUESTS_MAX),
            uploads: Semaphore::new(UPLOADS_MAX),
            started: Instant::now(),
            run: u32::from_le_bytes(run),
            numbered: AtomicU64::new(0),
        }
    }

    /// Charges a client for a signed request.
    pub(crate) fn charge_client(&self, client: ClientId) -> Result<(), Problem> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let charged = clients.charge(client, 1, self.started.elapsed());
        charged.map_err(|wait| too_many(&format!("client {client}"), CLIENT_RATE, wait))
    }

    fn charge_prefix(&self, prefix: Prefix) -> Result<(), Problem> {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let charged = prefixes.charge(prefix, 1, self.started.elapsed());
        charged.map_err(|wait| too_many("this network", PREFIX_RATE, wait))
    }

    fn fine(&self, prefix: Prefix) {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        prefixes.fine(prefix, AUTH_FAILURE_FINE, self.started.elapsed());
    }

    fn class(&self, request: &Request) -> Class {
        let path = request.uri().path();
        if matches!(path, "/livez" | "/readyz" | "/api/v1/health") {
            return Class::Free;
        }
        if self.token.accepts(bearer(request.headers())) {
            return Class::Free;
        }
        match (request.method(), path) {
            (&Method::PUT, path) if path.contains("/blobs/") => Class::Upload,
            (_, "/api/v1/ledger/audit") => Class::Audit,
            _ => Class::Ordinary,
        }
    }

    fn number(&self) -> String {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number}", self.run)
    }

    /// Names and origins.
    fn check_browser(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let host = text(headers, &header::HOST);
        if let Some(host) = host
            && !is_name(host, &self.names)
        {
            let detail = format!(
                "Host {host:?} is no address, not localhost, and no name given with --http-name"
            );
            return Err(Problem::of(Code::UnknownHost, detail));
        }
        if matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        ) {
            return Ok(());
        }
        let origin = text(headers, &header::ORIGIN);
        let site = headers.get("sec-fetch-site");
        let site = site.and_then(|site| site.to_str().ok());
        let foreign = match origin {
            Some(origin) => !self.may(origin) && !is_own(origin, host),
            None => matches!(site, Some("cross-site" | "same-site")),
        };
        if foreign {
            let from = origin.or(site).unwrap_or_default();
            let detail = format!("the request comes from {from:?}, a page of another site");
            return Err(Problem::of(Code::CrossOrigin, detail));
        }
        Ok(())
    }

    fn may(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }

    /// Runs a request within its bounds.
    async fn bounded(&self, class: Class, run: impl Future<Output = Response>) -> Response {
        let (room, most, patience) = match class {
            Class::Free => return run.await,
            Class::Upload => (&self.uploads, UPLOADS_MAX, None),
            Class::Audit => (&self.requests, REQUESTS_MAX, Some(AUDIT_TIMEOUT)),
            Class::Ordinary => (&self.requests, REQUESTS_MAX, Some(ROUTE_TIMEOUT)),
        };
        let Ok(_permit) = room.try_acquire() else {
            self.traffic.refused(Refused::Shed);
            let detail = format!("{most} requests are being decided, the most there may be");
            return Problem::of(Code::Overloaded, detail).into_response();
        };
        let Some(patience) = patience else {
            return run.await;
        };
        match tokio::time::timeout(patience, run).await {
            Ok(response) => response,
            Err(_) => {
                let detail = format!("it was not decided within {} s", patience.as_secs());
                Problem::of(Code::RequestTimeout, detail).into_response()
            }
        }
    }
}

/// Lets a request through, or answers it.
pub(crate) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (id, begun) = (gate.number(), gate.started.elapsed());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let peer = request.extensions().get::<Peer>().copied();
    let class = gate.class(&request);
    let span = followed(&request, &id);
    let response = match admitted(&gate, class, peer, &request) {
        Err(problem) => problem.into_response(),
        Ok(()) if method == Method::OPTIONS => preflight(&gate, origin.as_ref()),
        Ok(()) => {
            let run = taken(&gate, class, request, next);
            run.instrument(span.clone()).await
        }
    };
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if let (StatusCode::UNAUTHORIZED, Some(peer)) = (status, peer) {
        gate.fine(peer.network);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        gate.traffic.refused(Refused::RateLimited);
    }
    let took = gate.started.elapsed().saturating_sub(begun);
    let route = route.as_ref().map(MatchedPath::as_str);
    gate.traffic.answered(&method, route, status.as_u16(), took);
    let ms = took.as_millis();
    let (status_code, shown) = (status.as_u16(), path.escape_debug());
    tracing::info!(target: "assay::http", %id, %method, path = %shown, status = status_code, ms, "request");
    adorn(response, &id, allowed(&gate, origin.as_ref()))
}

/// Takes a request's body, but for an upload's, and runs it.
async fn taken(gate: &Gate, class: Class, request: Request, next: Next) -> Response {
    let request = match class {
        Class::Upload => request,
        _ => match body::taken(request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        },
    };
    gate.bounded(class, next.run(request)).await
}

/// The span of a request, beneath the one that it says it belongs to.
fn followed(request: &Request, id: &str) -> Span {
    let method = request.method();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let span = tracing::info_span!(
        target: trace::TARGET,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        %id,
        http.response.status_code = tracing::field::Empty,
    );
    trace::follow(&span, request.headers());
    span
}

fn admitted(
    gate: &Gate,
    class: Class,
    peer: Option<Peer>,
    request: &Request,
) -> Result<(), Problem> {
    gate.check_browser(request)?;
    match (class, peer) {
        (Class::Free, _) | (_, None) => Ok(()),
        (_, Some(peer)) => gate.charge_prefix(peer.network),
    }
}

/// The origin, if pages of it may read answers.
fn allowed(gate: &Gate, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    let text = origin?.to_str().ok()?;
    gate.may(text).then(|| origin.cloned()).flatten()
}

/// What a browser asks before it sends what it would not send unasked.
fn preflight(gate: &Gate, origin: Option<&HeaderValue>) -> Response {
    if allowed(gate, origin).is_none() {
        let detail = "no page of another site may ask";
        return Problem::of(Code::MethodNotAllowed, detail).into_response();
    }
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT");
    let headers = HeaderValue::from_static(
        "content-type, content-digest, signature, signature-input, assay-key, idempotency-key, last-event-id, range, \
         if-range",
    );
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let into = response.headers_mut();
    into.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    into.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
    response
}

/// Adds what every answer carries.
fn adorn(mut response: Response, id: &str, allowed: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    let html = headers.get(header::CONTENT_TYPE);
    if html.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        for (name, value) in [
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; \
                 form-action 'none'",
            ),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers
                .entry(name)
                .or_insert_with(|| HeaderValue::from_static(value));
        }
    }
    response
}

fn too_many(who: &str, rate: Rate, wait: Duration) -> Problem {
    let per_s = 1000_u128.checked_div(rate.each.as_millis()).unwrap_or(0);
    let detail = format!(
        "{who} has asked too much: at most {} at once and {per_s} a second",
        rate.burst
    );
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    Problem::of(Code::TooManyRequests, detail).after(seconds.saturating_add(1))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // What is no text is no name that anybody was given.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

/// Whether a host is an address, this machine, or a name that was given.
fn is_name(host: &str, names: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<std::net::IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether an origin is the one that the request went to.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests;
