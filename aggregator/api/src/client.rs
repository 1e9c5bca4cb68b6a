//! A typed client, over HTTP or, where a proxy in front of the aggregator terminates it, TLS.

mod cases;
mod download;
mod events;
mod operator;
mod orders;
mod signing;
mod transport;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::{ClientKey, SignedPackage};
use jobs::game::report::ScoreReport;
use jobs::ids::JobId;
use jobs::policy::Share;
use jobs::record::JobRecord;
use jobs::statement::Signed;
use serde::de::DeserializeOwned;

pub use events::{Events, Told};
pub use transport::connector;
pub use upload::Sent;

use crate::problem::Problem;
use crate::trace;
use crate::types::{
    AssignmentView, BalanceView, ChallengeReply, ChallengeRequest, EpochView, Health, JobView,
    ProviderView, RECORD_BYTES_MAX, ScoresReply, ScoresRequest, ShareRequest, SubmitReply,
};

/// Largest JSON answer in bytes, but for a job's record ([`RECORD_BYTES_MAX`]).
pub const ANSWER_MAX: usize = 64 << 20;

/// Time without a byte in either direction after which a request is given up. An upload or a download
/// as a whole may take as long as it likes.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The aggregator refused.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// It could not be reached, or the connection broke.
    #[error("cannot reach the aggregator at {base}: {reason}")]
    Unreachable {
        /// Its address.
        base: String,
        /// The transport's words.
        reason: String,
    },
    /// It answered something this client does not understand.
    #[error("unexpected answer from the aggregator: {0}")]
    Unexpected(String),
    /// A local file.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// What arrived is not what was promised.
    #[error(transparent)]
    Content(#[from] jobs::Error),
}

type Body = BoxBody<Bytes, std::io::Error>;

type Http = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// A client of one aggregator.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    /// Why there is none is told when it is wanted.
    http: Result<Http, rustls::Error>,
    patience: Duration,
    key: Option<ClientKey>,
}

impl Client {
    /// A client of the aggregator at `base`, for example `http://127.0.0.1:7700` or `https://aggregator.example`.
    pub fn new(base: &str) -> Self {
        let connector = match base.starts_with("https://") {
            true => transport::connector(),
            false => transport::plain(),
        };
        let http = connector.map(|connector| {
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)
        });
        Self {
            base: base.trim_end_matches('/').to_owned(),
            http,
            patience: PROGRESS_TIMEOUT,
            key: None,
        }
    }

    /// The same, signing what changes something with this key. Without one an aggregator answers such requests with
    /// `unsigned`.
    #[must_use]
    pub fn with_key(mut self, key: &ClientKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// The same with another time for [`PROGRESS_TIMEOUT`].
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Submits a signed package. The package's own digest is the idempotency key, so a retry is the
    /// same job. What the answer says is missing is what is missing now.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn submit(&self, package: &SignedPackage) -> Result<SubmitReply, Error> {
        let key = Digest::of(package.package.as_bytes()).to_string();
        let mut reply: SubmitReply = self.post("/jobs", package, Some(key)).await?;
        // The answer may be one from before something was uploaded.
        if !reply.missing.is_empty() {
            reply.missing = self.missing(reply.job).await?;
        }
        Ok(reply)
    }

    /// Blobs of a job that the aggregator lacks.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn missing(&self, job: JobId) -> Result<Vec<BlobRef>, Error> {
        self.get(&format!("/jobs/{job}/missing")).await
    }

    /// Gives the client's share of the draw that decides which answers of its job are audited, once the aggregator
    /// has promised its own ([`SubmitReply::promise`]).
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn share(&self, job: JobId, share: Share) -> Result<(), Error> {
        let route = format!("/jobs/{job}/share");
        let request = self.changing(Method::PUT, &route, &ShareRequest { share }, None)?;
        self.send(request).await.map(drop)
    }

    /// Has the shard of a doubted item executed again; answers which shard that is.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn challenge(&self, job: JobId, challenge: &ChallengeRequest) -> Result<u32, Error> {
        let route = format!("/jobs/{job}/challenges");
        let reply: ChallengeReply = self.post(&route, challenge, None).await?;
        Ok(reply.shard)
    }

    /// One job.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn job(&self, job: JobId) -> Result<JobView, Error> {
        self.get(&format!("/jobs/{job}")).await
    }

    /// The newest jobs.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn jobs(&self) -> Result<Vec<JobView>, Error> {
        self.get("/jobs").await
    }

    /// The public record of a finished job.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn record(&self, job: JobId) -> Result<JobRecord, Error> {
        let route = format!("/jobs/{job}/record");
        let request = self.finish(self.request(Method::GET, &route), empty())?;
        let response = self.send(request).await?;
        let most = usize::try_from(RECORD_BYTES_MAX).unwrap_or(usize::MAX);
        parse(&self.whole(response, most).await?)
    }

    /// Streams a finished job's result into a file and checks it against `blob`.
    ///
    /// # Errors
    /// If refused or unreachable, the file cannot be written, or the content is not `blob`.
    pub async fn result(&self, job: JobId, blob: BlobRef, path: &Path) -> Result<(), Error> {
        self.download(&format!("/jobs/{job}/result"), blob, path)
            .await
    }

    /// Streams a blob of a finished job's record into a file and checks it against `blob`.
    ///
    /// # Errors
    /// As [`Client::result`].
    pub async fn record_blob(&self, job: JobId, blob: BlobRef, path: &Path) -> Result<(), Error> {
        self.download(&format!("/jobs/{job}/blobs/{}", blob.digest), blob, path)
            .await
    }

    /// Every assignment of a job that has ended.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn assignments(&self, job: JobId) -> Result<Vec<AssignmentView>, Error> {
        self.get(&format!("/jobs/{job}/assignments")).await
    }

    /// Hands in a validator's report.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn scores(&self, report: &Signed<ScoreReport>) -> Result<ScoresReply, Error> {
        let scores = ScoresRequest::of(report)?;
        let request = self.plain(Method::POST, "/scores", &scores, None)?;
        self.answer(request).await
    }

    /// Where the game is.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn epoch(&self) -> Result<EpochView, Error> {
        self.get("/epoch").await
    }

    /// Every provider.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn providers(&self) -> Result<Vec<ProviderView>, Error> {
        self.get("/providers").await
    }

    /// Every account.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn balances(&self) -> Result<Vec<BalanceView>, Error> {
        self.get("/ledger/balances").await
    }

    /// The ledger audit's report.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn audit(&self) -> Result<serde_json::Value, Error> {
        self.get("/ledger/audit").await
    }

    /// How answers are audited and what is at stake.
    ///
    /// # Errors
    /// If unreachable.
    pub async fn auditing(&self) -> Result<serde_json::Value, Error> {
        self.get("/auditing").await
    }

    /// Health.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn health(&self) -> Result<Health, Error> {
        self.get("/health").await
    }

    fn request(&self, method: Method, route: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{route}", self.base))
    }

    fn finish(
        &self,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        request.body(body).map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Unreachable {
            base: self.base.clone(),
            reason: error.to_string(),
        }
    }

    async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, Error> {
        let request = self.finish(self.request(Method::GET, route), empty())?;
        self.answer(request).await
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.send_noting(request, &Progress::default()).await
    }

    /// Sends a request and waits for the answer's headers, for as long as the request's body moves.
    async fn send_noting(
        &self,
        mut request: Request<Body>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(context) = trace::current() {
            request.headers_mut().insert(trace::HEADER, context);
        }
        let http = self.http.as_ref();
        let http = http.map_err(|error| self.unreachable(error))?;
        let mut answer = std::pin::pin!(http.request(request));
        let response = loop {
            let before = progress.noted();
            match tokio::time::timeout(self.patience, answer.as_mut()).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => return Err(self.unreachable(&root_cause(&error))),
                Err(_) if progress.noted() != before => {}
                Err(_) => return Err(self.stalled()),
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.whole(response, ANSWER_MAX).await?;
        Err(problem(status, &body))
    }

    fn stalled(&self) -> Error {
        self.unreachable(&format!("nothing moved for {:?}", self.patience))
    }

    async fn answer<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, Error> {
        let response = self.send(request).await?;
        parse(&self.whole(response, ANSWER_MAX).await?)
    }

    /// The whole body of an answer, of at most `most` bytes.
    async fn whole(&self, response: Response<Incoming>, most: usize) -> Result<Vec<u8>, Error> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = self.next_part(&mut body).await? {
            if bytes.len().saturating_add(data.len()) > most {
                let reason = format!("it has more than the {most} bytes allowed");
                return Err(Error::Unexpected(reason));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// The next piece of a body; `None` at its end.
    async fn next_part(&self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(self.patience, body.frame()).await;
            match frame.map_err(|_| self.stalled())? {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.unreachable(&error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers, of which we know none.
                    Err(_) => continue,
                },
            }
        }
    }
}

/// Counts the pieces of a body that were taken to be sent.
#[derive(Clone, Debug, Default)]
struct Progress(Arc<AtomicU64>);

impl Progress {
    fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn noted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Unexpected(error.to_string()))
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed()
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed()
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

fn problem(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Error::Refused(problem),
        Err(_) => Error::Unexpected(format!("status {status} without a problem document")),
    }
}

/// The innermost cause says what happened ("connection refused"); the outer ones say only where.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
