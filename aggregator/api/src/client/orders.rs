//! Before and while a job runs: what it would cost, and giving it up.

use hyper::Method;
use jobs::ids::JobId;
use jobs::package::Package;

use super::{Client, Error};
use crate::types::{CancelRequest, JobView, QuoteView, ShardMap};

impl Client {
    /// Gives a job up; answers how it stands then.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn cancel(&self, job: JobId, cancel: &CancelRequest) -> Result<JobView, Error> {
        self.post(&format!("/jobs/{job}/cancel"), cancel, None)
            .await
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
