//! What a client asks about a job of its own before and while it runs.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jobs::package::Package;

use super::signed::{Signed, Unsigned, written};
use super::taken::Path;
use super::{Shared, job_id};
use crate::backend::{Answer, Backend};

pub(super) async fn cancel<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    signed: Signed,
) -> Answer<Response> {
    written(app.backend.cancel(signed.asked, job_id(&job)?).await?)
}

pub(super) async fn quote<B: Backend>(
    State(app): Shared<B>,
    unsigned: Unsigned,
) -> Answer<Response> {
    let package: Package = unsigned.json()?;
    Ok(Json(app.backend.quote(package).await?).into_response())
}
