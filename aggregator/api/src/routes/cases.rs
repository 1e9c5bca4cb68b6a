//! Cases: answers that somebody holds to be wrong.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jobs::accusation::SignedAccusation;
use jobs::envelope::SignedPackage;
use jobs::ids::CaseId;

use super::{Shared, json};
use crate::backend::{Answer, Backend};
use crate::types::Problem;

pub(super) async fn accuse<B: Backend>(
    State(app): Shared<B>,
    body: Result<Json<SignedAccusation>, JsonRejection>,
) -> Answer<Response> {
    let reply = app.backend.accuse(json(body)?).await?;
    Ok((StatusCode::CREATED, Json(reply)).into_response())
}

pub(super) async fn tie<B: Backend>(
    State(app): Shared<B>,
    Path(case): Path<String>,
    body: Result<Json<SignedPackage>, JsonRejection>,
) -> Answer<Response> {
    let reply = app.backend.tie(case_id(&case)?, json(body)?).await?;
    Ok((StatusCode::CREATED, Json(reply)).into_response())
}

pub(super) async fn list<B: Backend>(State(app): Shared<B>) -> Answer<Response> {
    Ok(Json(app.backend.cases().await?).into_response())
}

pub(super) async fn case<B: Backend>(
    State(app): Shared<B>,
    Path(case): Path<String>,
) -> Answer<Response> {
    Ok(Json(app.backend.case(case_id(&case)?).await?).into_response())
}

fn case_id(text: &str) -> Answer<CaseId> {
    text.parse()
        .map_err(|error: jobs::Error| Problem::invalid(error.to_string()))
}
