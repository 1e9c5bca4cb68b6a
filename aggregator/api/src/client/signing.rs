//! Requests that change something.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::http::request::Builder;
use hyper::{Method, Request, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Body, Client, Error, full};
use crate::signature::{self, Covered, DIGEST_HEADER, IDEMPOTENCY_HEADER, content_digest};

/// Random bytes in a nonce.
const NONCE_RANDOM_BYTES: usize = 16;

impl Client {
    /// Posts JSON, signed if there is a key.
    pub(super) async fn post<T: Serialize, A: DeserializeOwned>(
        &self,
        route: &str,
        body: &T,
        idempotency: Option<String>,
    ) -> Result<A, Error> {
        let request = self.changing(Method::POST, route, body, idempotency)?;
        self.answer(request).await
    }

    /// A request with a JSON body, signed if there is a key.
    pub(super) fn changing<T: Serialize>(
        &self,
        method: Method,
        route: &str,
        body: &T,
        idempotency: Option<String>,
    ) -> Result<Request<Body>, Error> {
        let bytes = encode(body)?;
        let mut request = self
            .request(method, route)
            .header(header::CONTENT_TYPE, "application/json")
            .header(DIGEST_HEADER, content_digest(&bytes));
        if let Some(key) = idempotency {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        let request = self.signed(request)?;
        self.finish(request, full(bytes))
    }

    /// A request with a JSON body that needs no signature, or the operator's token.
    pub(super) fn plain<T: Serialize>(
        &self,
        method: Method,
        route: &str,
        body: &T,
        token: Option<&str>,
    ) -> Result<Request<Body>, Error> {
        let mut request = self
            .request(method, route)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.finish(request, full(encode(body)?))
    }

    /// The request with a signature over what it has so far, if there is a key.
    pub(super) fn signed(&self, request: Builder) -> Result<Builder, Error> {
        let Some(key) = &self.key else {
            return Ok(request);
        };
        let nothing = || Error::Unexpected("the address is no address of HTTP".into());
        let uri = request.uri_ref().ok_or_else(nothing)?;
        let method = request.method_ref().ok_or_else(nothing)?;
        let headers = request.headers_ref().ok_or_else(nothing)?;
        let sent = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let covered = Covered {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query(),
            content_digest: sent(DIGEST_HEADER),
            idempotency_key: sent(IDEMPOTENCY_HEADER),
        };
        let signature = signature::sign(key, &covered, now_s(), &nonce()?)?;
        let mut request = request;
        for (name, value) in signature {
            request = request.header(name, value);
        }
        Ok(request)
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Unexpected(error.to_string()))
}

fn nonce() -> Result<String, Error> {
    let mut bytes = [0; NONCE_RANDOM_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Unexpected(format!("no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a signature says when it was made; the aggregator holds that against its own clock"
)]
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
