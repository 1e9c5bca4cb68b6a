//! What comes before a request that changes something: who asks, under which idempotency key, and a body that is what
//! was signed.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jobs::digest::Digest;
use serde::de::DeserializeOwned;

use super::App;
use crate::backend::{self, Answer, Asked, Backend, Idempotency, unsigned};
use crate::gate::{Gate, JSON_BODY_MAX};
use crate::problem::{Code, Problem};
use crate::signature::{DIGEST_HEADER, IDEMPOTENCY_HEADER, Stamp, content_digest, verify};

/// Longest idempotency key in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Says that an answer was given before.
const REPLAYED_HEADER: &str = "idempotent-replayed";

/// A request that a client signed, with its whole body.
pub(super) struct Signed {
    pub(super) asked: Asked,
    body: Bytes,
}

impl Signed {
    /// The body, as what it must be.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Answer<T> {
        parse(&self.body)
    }
}

impl<B: Backend> FromRequest<Arc<App<B>>> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App<B>>) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let stamp = stamp(&parts)?.ok_or_else(unsigned)?;
        app.gate.charge_client(stamp.client)?;
        let (asked, body) = whole(&parts, body, Some(stamp)).await?;
        Ok(Self { asked, body })
    }
}

/// A request that needs no signature of its own: its body is a signed statement, or the operator's token came with it.
pub(super) struct Unsigned {
    pub(super) asked: Asked,
    body: Bytes,
}

impl Unsigned {
    /// The body, as what it must be.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Answer<T> {
        parse(&self.body)
    }
}

impl<B: Backend> FromRequest<Arc<App<B>>> for Unsigned {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App<B>>) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let (asked, body) = whole(&parts, body, None).await?;
        Ok(Self { asked, body })
    }
}

/// Proof that the operator's token came with a request.
pub(super) struct Operator;

impl<B: Backend> FromRequestParts<Arc<App<B>>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App<B>>) -> Answer<Self> {
        let given = parts.headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        match app.gate.token.accepts(given) {
            true => Ok(Self),
            false => Err(Problem::unauthorized()),
        }
    }
}

/// The head of an upload, whose body is bound by the digest in its path.
pub(super) fn head(parts: &Parts, gate: &Gate) -> Answer<Asked> {
    let stamp = stamp(parts)?.ok_or_else(unsigned)?;
    gate.charge_client(stamp.client)?;
    Ok(Asked {
        stamp: Some(stamp),
        idempotency: None,
    })
}

/// Reads need no signature. One that is there must be good all the same, or whoever sent it would believe that it
/// counts.
pub(super) async fn check_reads(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match stamp(&parts) {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

/// An answer in bytes.
pub(super) fn written(response: backend::Response) -> Answer<Response> {
    let status = StatusCode::from_u16(response.status).map_err(|_| Problem::internal())?;
    let mut answer = (status, response.body).into_response();
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if status != StatusCode::NO_CONTENT {
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    if response.replayed {
        let yes = header::HeaderValue::from_static("true");
        headers.insert(REPLAYED_HEADER, yes);
    }
    Ok(answer)
}

/// Who signed the request as it was sent, if anybody.
fn stamp(parts: &Parts) -> Answer<Option<Stamp>> {
    let sent = parts.extensions.get::<OriginalUri>();
    let uri = sent.map_or(&parts.uri, |sent| &sent.0);
    verify(&parts.method, uri.path(), uri.query(), &parts.headers)
}

/// The whole body, if it is what was signed.
async fn whole(parts: &Parts, body: Body, stamp: Option<Stamp>) -> Answer<(Asked, Bytes)> {
    let key = idempotency_key(&parts.headers)?;
    // The gate has read it already.
    let body = to_bytes(body, JSON_BODY_MAX).await;
    let body = body.map_err(|_| Problem::invalid("the body ended before it was whole"))?;
    let announced = parts.headers.get(DIGEST_HEADER);
    match announced {
        Some(announced) => {
            let found = content_digest(&body);
            if announced.as_bytes() != found.as_bytes() {
                let detail = format!("the body's Content-Digest is {found}");
                return Err(Problem::of(Code::DigestMismatch, detail));
            }
        }
        None if stamp.is_some() && !body.is_empty() => {
            let detail =
                "a signed request with a body needs a Content-Digest that is signed with it";
            return Err(Problem::of(Code::RequestSignature, detail));
        }
        None => {}
    }
    if !body.is_empty() && !is_json(&parts.headers) {
        let detail = "Content-Type must be application/json";
        return Err(Problem::of(Code::UnsupportedMediaType, detail));
    }
    let idempotency = key.map(|key| Idempotency {
        key,
        request: request_digest(parts, &body),
    });
    Ok((Asked { stamp, idempotency }, body))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// What names a request: method, path, query and body, each with its length before it.
fn request_digest(parts: &Parts, body: &[u8]) -> Digest {
    let sent = parts.extensions.get::<OriginalUri>();
    let uri = sent.map_or(&parts.uri, |sent| &sent.0);
    let query = uri.query().unwrap_or_default();
    let method = parts.method.as_str();
    let mut bytes = Vec::new();
    for part in [
        method.as_bytes(),
        uri.path().as_bytes(),
        query.as_bytes(),
        body,
    ] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    Digest::of(&bytes)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is not what it must be: {error}")))
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_HEADER) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .map_err(|_| Problem::invalid("Idempotency-Key must be printable ASCII"))?
        .trim();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX {
        let bound = format!(
            "Idempotency-Key has {} bytes: must be 1 to {IDEMPOTENCY_KEY_MAX}",
            key.len()
        );
        return Err(Problem::invalid(bound));
    }
    Ok(Some(key.to_owned()))
}
