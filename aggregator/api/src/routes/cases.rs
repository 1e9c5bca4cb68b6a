//! Cases: answers that somebody holds to be wrong.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jobs::accusation::SignedAccusation;
use jobs::envelope::SignedPackage;
use jobs::ids::CaseId;

use super::Shared;
use super::signed::{Signed, written};
use super::taken::Path;
use crate::backend::{Answer, Backend};
use crate::problem::Problem;

pub(super) async fn accuse<B: Backend>(State(app): Shared<B>, signed: Signed) -> Answer<Response> {
    let accusation: SignedAccusation = signed.json()?;
    written(app.backend.accuse(signed.asked, accusation).await?)
}

pub(super) async fn tie<B: Backend>(
    State(app): Shared<B>,
    Path(case): Path<String>,
    signed: Signed,
) -> Answer<Response> {
    let (case, package): (_, SignedPackage) = (case_id(&case)?, signed.json()?);
    written(app.backend.tie(signed.asked, case, package).await?)
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
