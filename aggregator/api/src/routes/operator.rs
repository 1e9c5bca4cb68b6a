//! What an operator asks for with the operator's token, and the journal, which anybody may read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobs::ids::ProviderId;
use serde::Deserialize;

use super::{App, Shared, json};
use crate::backend::{Answer, Backend};
use crate::types::{BackupRequest, DepositRequest, JOURNAL_PAGE_MAX, Problem};

/// Entries of the journal in an answer if nobody asks for another number.
const JOURNAL_PAGE: usize = 1000;

/// Refuses whoever does not bear the operator's token.
fn authorize<B>(app: &App<B>, headers: &HeaderMap) -> Answer<()> {
    let bearer = headers.get(header::AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    match app.token.accepts(token) {
        true => Ok(()),
        false => Err(Problem::unauthorized()),
    }
}

pub(super) async fn deposit<B: Backend>(
    State(app): Shared<B>,
    headers: HeaderMap,
    body: Result<Json<DepositRequest>, JsonRejection>,
) -> Answer<Response> {
    authorize(&app, &headers)?;
    let new = app.backend.deposit(json(body)?).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(serde_json::json!({ "new": new }))).into_response())
}

pub(super) async fn ban<B: Backend>(
    State(app): Shared<B>,
    headers: HeaderMap,
    Path(provider): Path<String>,
) -> Answer<StatusCode> {
    authorize(&app, &headers)?;
    app.backend
        .set_banned(provider_id(&provider)?, true)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn readmit<B: Backend>(
    State(app): Shared<B>,
    headers: HeaderMap,
    Path(provider): Path<String>,
) -> Answer<StatusCode> {
    authorize(&app, &headers)?;
    app.backend
        .set_banned(provider_id(&provider)?, false)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn backup<B: Backend>(
    State(app): Shared<B>,
    headers: HeaderMap,
    body: Result<Json<BackupRequest>, JsonRejection>,
) -> Answer<Response> {
    authorize(&app, &headers)?;
    let written = app.backend.backup(json(body)?.to).await?;
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Pages {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn journal<B: Backend>(
    State(app): Shared<B>,
    Query(pages): Query<Pages>,
) -> Answer<Response> {
    let limit = pages.limit.unwrap_or(JOURNAL_PAGE);
    if limit == 0 || limit > JOURNAL_PAGE_MAX {
        let detail = format!("limit = {limit}: must be 1 to {JOURNAL_PAGE_MAX}");
        return Err(Problem::invalid(detail));
    }
    let entries = app.backend.journal(pages.after.unwrap_or(0), limit).await?;
    Ok(Json(entries).into_response())
}

fn provider_id(text: &str) -> Answer<ProviderId> {
    text.parse()
        .map_err(|error: jobs::Error| Problem::invalid(error.to_string()))
}
