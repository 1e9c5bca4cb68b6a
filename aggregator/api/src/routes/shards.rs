//! Shards of a job, while they are executed and after.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::taken::{Path, Query};
use super::{Shared, job_id};
use crate::backend::{Answer, Backend};
use crate::types::{Problem, SHARD_CELLS_MAX};

/// Cells of a map if nobody asks for another number.
const CELLS: u32 = 1024;

#[derive(Deserialize)]
pub(super) struct Width {
    cells: Option<u32>,
}

pub(super) async fn map<B: Backend>(
    State(app): Shared<B>,
    Path(job): Path<String>,
    Query(width): Query<Width>,
) -> Answer<Response> {
    let cells = width.cells.unwrap_or(CELLS);
    if cells == 0 || cells > SHARD_CELLS_MAX {
        let detail = format!("cells = {cells}: must be 1 to {SHARD_CELLS_MAX}");
        return Err(Problem::invalid(detail));
    }
    Ok(Json(app.backend.shards(job_id(&job)?, cells).await?).into_response())
}

pub(super) async fn shard<B: Backend>(
    State(app): Shared<B>,
    Path((job, shard)): Path<(String, String)>,
) -> Answer<Response> {
    let index = shard.parse().map_err(|_| {
        Problem::invalid(format!(
            "shard = {shard:?}: must be a position in the plan, from 0"
        ))
    })?;
    Ok(Json(app.backend.shard(job_id(&job)?, index).await?).into_response())
}
