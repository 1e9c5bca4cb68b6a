//! What a client asks about a job of its own before and while it runs.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use jobs::package::Package;

use super::{Shared, job_id, json};
use crate::backend::{Answer, Backend};
use crate::types::CancelRequest;

pub(super) async fn cancel<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    body: Result<Json<CancelRequest>, JsonRejection>,
) -> Answer<Response> {
    let view = app.backend.cancel(job_id(&job)?, json(body)?).await?;
    Ok(Json(view).into_response())
}

pub(super) async fn quote<B: Backend>(
    State(app): Shared<B>,
    body: Result<Json<Package>, JsonRejection>,
) -> Answer<Response> {
    Ok(Json(app.backend.quote(json(body)?).await?).into_response())
}
