//! Bodies come before anything is decided. Whoever sends one slowly takes no place from those that are decided, and
//! until it is whole its connection counts as one that asks nothing: it makes room for others.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};

use crate::problem::{Code, Problem};
use crate::server::registry::Place;

/// Largest body in bytes, but for an uploaded blob's.
pub(crate) const JSON_BODY_MAX: usize = 256 * 1024;

/// Time within which a body must have come, but for an uploaded blob's.
const BODY_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });

/// The place of the connection that a request comes from; put into its extensions by the server.
#[derive(Clone)]
pub(crate) struct Sender(pub(crate) Arc<Place>);

/// The request with its whole body.
pub(super) async fn taken(request: Request) -> Result<Request, Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD) || request.body().is_end_stream() {
        return Ok(request);
    }
    check_size(request.headers())?;
    let (parts, body) = request.into_parts();
    let sender = parts.extensions.get::<Sender>();
    if let Some(Sender(place)) = sender {
        place.waits();
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, JSON_BODY_MAX)).await;
    // False if it had to make room: then nobody is there to be answered.
    if let Some(Sender(place)) = sender {
        place.asks();
    }
    let body = read.map_err(|_| slow())?.map_err(|error| {
        let long = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        match long {
            true => Problem::of(
                Code::TooLarge,
                format!("the body has more than the {JSON_BODY_MAX} bytes allowed"),
            ),
            false => Problem::invalid("the body ended before it was whole"),
        }
    })?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Refuses what is announced as too large before anything of it is read.
fn check_size(headers: &HeaderMap) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(size) if size > JSON_BODY_MAX as u64 => {
            Err(Problem::too_large(size, JSON_BODY_MAX as u64))
        }
        _ => Ok(()),
    }
}

fn slow() -> Problem {
    let detail = format!("the body was not whole within {} s", BODY_TIMEOUT.as_secs());
    Problem::of(Code::RequestTimeout, detail)
}
