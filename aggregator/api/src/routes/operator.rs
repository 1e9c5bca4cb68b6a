//! What an operator asks for with the operator's token, and the journal, which anybody may read.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jobs::ids::ProviderId;
use serde::Deserialize;

use super::Shared;
use super::signed::{Operator, Unsigned, written};
use super::taken::{Path, Query};
use crate::backend::{Answer, Backend};
use crate::problem::Problem;
use crate::types::{BackupRequest, CollectionRequest, DepositRequest, JOURNAL_PAGE_MAX};

/// Entries of the journal in an answer if nobody asks for another number.
const JOURNAL_PAGE: usize = 1000;

pub(super) async fn deposit<B: Backend>(
    State(app): Shared<B>,
    _operator: Operator,
    unsigned: Unsigned,
) -> Answer<Response> {
    let deposit: DepositRequest = unsigned.json()?;
    written(app.backend.deposit(unsigned.asked, deposit).await?)
}

pub(super) async fn ban<B: Backend>(
    State(app): Shared<B>,
    _operator: Operator,
    Path(provider): Path<String>,
) -> Answer<StatusCode> {
    let provider = provider_id(&provider)?;
    app.backend.set_banned(provider, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn readmit<B: Backend>(
    State(app): Shared<B>,
    _operator: Operator,
    Path(provider): Path<String>,
) -> Answer<StatusCode> {
    let provider = provider_id(&provider)?;
    app.backend.set_banned(provider, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn backup<B: Backend>(
    State(app): Shared<B>,
    _operator: Operator,
    unsigned: Unsigned,
) -> Answer<Response> {
    let request: BackupRequest = unsigned.json()?;
    let written = app.backend.backup(request.to).await?;
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

pub(super) async fn collect<B: Backend>(
    State(app): Shared<B>,
    _operator: Operator,
    unsigned: Unsigned,
) -> Answer<Response> {
    let request: CollectionRequest = unsigned.json()?;
    Ok(Json(app.backend.collect(request.dry_run).await?).into_response())
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
