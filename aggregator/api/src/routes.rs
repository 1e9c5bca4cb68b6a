//! One function a route: parse, ask the backend, answer.

mod cases;
mod events;
mod files;
mod operator;
mod orders;
mod shards;
mod signed;
mod taken;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::TryStreamExt;
use jobs::digest::Digest;
use jobs::envelope::SignedPackage;
use jobs::ids::JobId;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::io::StreamReader;

use crate::backend::{Answer, Backend};
use crate::gate::{self, Gate, JSON_BODY_MAX};
use crate::problem::{Code, Problem};
use crate::types::{ChallengeRequest, ScoresRequest, ShareRequest};
use files::file;
use signed::{Signed, Unsigned, written};
use taken::{Path, Query};

/// Most jobs in one listing.
const LISTING_MAX: usize = 1000;

struct App<B> {
    backend: B,
    gate: Arc<Gate>,
    subscribers: events::Subscribers,
    stop: watch::Receiver<bool>,
}

type Shared<B> = State<Arc<App<B>>>;

pub(crate) fn router<B: Backend>(
    backend: B,
    gate: Arc<Gate>,
    stop: watch::Receiver<bool>,
) -> Router {
    let app = Arc::new(App {
        backend,
        gate: Arc::clone(&gate),
        subscribers: events::Subscribers::default(),
        stop,
    });
    Router::new()
        .nest("/api/v1", api(Arc::clone(&app)))
        .route("/api/docs", get(|| async { Html(crate::openapi::page()) }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready::<B>).with_state(Arc::clone(&app)))
        .route("/metrics", get(metrics::<B>).with_state(app))
        .merge(crate::dashboard::router())
        .fallback(|request: Request| async move {
            Problem::not_found(format!("route {}", request.uri().path()))
        })
        .method_not_allowed_fallback(|| async {
            Problem::of(Code::MethodNotAllowed, "this route has no such method")
        })
        .layer(axum::middleware::from_fn_with_state(gate, gate::pass))
}

fn api<B: Backend>(app: Arc<App<B>>) -> Router {
    Router::new()
        .route("/events", get(events::all::<B>))
        .route("/jobs/{job}/events", get(events::of_job::<B>))
        .route("/jobs", post(submit::<B>).get(list::<B>))
        .route("/jobs/{job}", get(job::<B>))
        .route("/jobs/{job}/missing", get(missing::<B>))
        .route("/jobs/{job}/share", put(share::<B>))
        .route("/jobs/{job}/challenges", post(challenge::<B>))
        .route("/jobs/{job}/cancel", post(orders::cancel::<B>))
        .route("/quotes", post(orders::quote::<B>))
        .route("/jobs/{job}/result", get(result::<B>))
        .route("/jobs/{job}/record", get(record::<B>))
        .route(
            "/jobs/{job}/blobs/{digest}",
            put(put_blob::<B>).get(record_blob::<B>),
        )
        .route("/jobs/{job}/blobs/{digest}/upload", get(upload::<B>))
        .route("/jobs/{job}/assignments", get(assignments::<B>))
        .route("/jobs/{job}/shards", get(shards::map::<B>))
        .route("/jobs/{job}/shards/{shard}", get(shards::shard::<B>))
        .route(
            "/liquidations",
            post(cases::accuse::<B>).get(cases::list::<B>),
        )
        .route("/liquidations/{case}", get(cases::case::<B>))
        .route("/liquidations/{case}/jobs", post(cases::tie::<B>))
        .route("/scores", post(scores::<B>))
        .route("/epoch", get(epoch::<B>))
        .route("/providers", get(providers::<B>))
        .route("/auditing", get(auditing::<B>))
        .route("/ledger/balances", get(balances::<B>))
        .route("/ledger/audit", get(audit::<B>))
        .route("/ledger/journal", get(operator::journal::<B>))
        .route("/ledger/deposits", post(operator::deposit::<B>))
        .route(
            "/providers/{provider}/ban",
            put(operator::ban::<B>).delete(operator::readmit::<B>),
        )
        .route("/backups", post(operator::backup::<B>))
        .route("/collections", post(operator::collect::<B>))
        .route("/health", get(health::<B>))
        .route(
            "/openapi.json",
            get(|| async { Json(crate::openapi::document()) }),
        )
        .layer(DefaultBodyLimit::max(JSON_BODY_MAX))
        .layer(axum::middleware::from_fn(signed::check_reads))
        .with_state(app)
}

/// Whether events can be stored and peers be reached.
async fn ready<B: Backend>(State(app): Shared<B>) -> Answer<&'static str> {
    app.backend.ready().await.map(|()| "ok")
}

async fn submit<B: Backend>(State(app): Shared<B>, signed: Signed) -> Answer<Response> {
    let package: SignedPackage = signed.json()?;
    written(app.backend.submit(signed.asked, package).await?)
}

async fn missing<B: Backend>(State(app): Shared<B>, Path(job): Path<String>) -> Answer<Response> {
    Ok(Json(app.backend.missing(job_id(&job)?).await?).into_response())
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<usize>,
}

async fn list<B: Backend>(
    State(app): Shared<B>,
    Query(listing): Query<Listing>,
) -> Answer<Response> {
    let limit = listing.limit.unwrap_or(100);
    if limit == 0 || limit > LISTING_MAX {
        return Err(Problem::invalid(format!(
            "limit = {limit}: must be 1 to {LISTING_MAX}"
        )));
    }
    Ok(Json(app.backend.jobs(limit).await?).into_response())
}

async fn job<B: Backend>(State(app): Shared<B>, Path(job): Path<String>) -> Answer<Response> {
    Ok(Json(app.backend.job(job_id(&job)?).await?).into_response())
}

async fn share<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    signed: Signed,
) -> Answer<Response> {
    let ShareRequest { share } = signed.json()?;
    written(
        app.backend
            .share(signed.asked, job_id(&job)?, share)
            .await?,
    )
}

async fn challenge<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    signed: Signed,
) -> Answer<Response> {
    let (job, challenge): (_, ChallengeRequest) = (job_id(&job)?, signed.json()?);
    written(app.backend.challenge(signed.asked, job, challenge).await?)
}

async fn result<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let result = app.backend.result(job_id(&job)?).await?;
    file(result, "application/octet-stream", &headers).await
}

async fn record<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let record = app.backend.record(job_id(&job)?).await?;
    file(record, "application/json", &headers).await
}

#[derive(Deserialize)]
struct From {
    offset: Option<u64>,
}

async fn put_blob<B: Backend>(
    State(app): Shared<B>,
    Path((job, digest)): Path<(String, String)>,
    Query(from): Query<From>,
    request: Request,
) -> Answer<StatusCode> {
    let (parts, body) = request.into_parts();
    let asked = signed::head(&parts, &app.gate)?;
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let (job, digest) = (job_id(&job)?, parse_digest(&digest)?);
    app.backend
        .put_blob(
            asked,
            (job, digest),
            from.offset.unwrap_or(0),
            StreamReader::new(stream),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn upload<B: Backend>(
    State(app): Shared<B>,
    Path((job, digest)): Path<(String, String)>,
) -> Answer<Response> {
    let (job, digest) = (job_id(&job)?, parse_digest(&digest)?);
    Ok(Json(app.backend.upload(job, digest).await?).into_response())
}

async fn record_blob<B: Backend>(
    State(app): Shared<B>,
    Path((job, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let (job, digest) = (job_id(&job)?, parse_digest(&digest)?);
    let blob = app.backend.record_blob(job, digest).await?;
    file(blob, "application/octet-stream", &headers).await
}

async fn assignments<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
) -> Answer<Response> {
    Ok(Json(app.backend.assignments(job_id(&job)?).await?).into_response())
}

async fn scores<B: Backend>(State(app): Shared<B>, unsigned: Unsigned) -> Answer<Response> {
    let scores: ScoresRequest = unsigned.json()?;
    written(app.backend.scores(unsigned.asked, scores).await?)
}

async fn epoch<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.epoch().await?).into_response())
}

async fn providers<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.providers().await?).into_response())
}

async fn balances<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.balances().await?).into_response())
}

async fn audit<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.audit().await?).into_response())
}

async fn auditing<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.auditing().await?).into_response())
}

async fn metrics<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.backend.metrics().await?;
    let text = app.gate.traffic.after(&text);
    let text = text.map_err(|_| Problem::unavailable("the numbers cannot be written down"))?;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn health<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.health().await?).into_response())
}

fn job_id(text: &str) -> Answer<JobId> {
    text.parse()
        .map_err(|error: jobs::Error| Problem::invalid(error.to_string()))
}

fn parse_digest(text: &str) -> Answer<Digest> {
    text.parse()
        .map_err(|error: jobs::Error| Problem::invalid(error.to_string()))
}
