//! Before and while a job runs: what it would cost, and giving it up.

use hyper::Method;
use jobs::ids::JobId;
use jobs::package::Package;

use super::{Client, Error};
use crate::types::{CancelReply, JobView, QuoteView, ShardMap};

impl Client {
    /// Gives a job up.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn cancel(&self, job: JobId) -> Result<(), Error> {
        let nothing = serde_json::json!({});
        let reply: CancelReply = self
            .post(&format!("/jobs/{job}/cancel"), &nothing, None)
            .await?;
        match reply.job == job {
            true => Ok(()),
            false => Err(Error::Unexpected(format!("it cancelled {}", reply.job))),
        }
    }

    /// How far a job's shards are.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn shards(&self, job: JobId) -> Result<ShardMap, Error> {
        self.get(&format!("/jobs/{job}/shards")).await
    }

    /// The newest jobs, so many of them at most.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn newest_jobs(&self, limit: u32) -> Result<Vec<JobView>, Error> {
        self.get(&format!("/jobs?limit={limit}")).await
    }

    /// What a job would cost now, and who could take it.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn quote(&self, package: &Package) -> Result<QuoteView, Error> {
        let request = self.plain(Method::POST, "/quotes", package, None)?;
        self.answer(request).await
    }
}
