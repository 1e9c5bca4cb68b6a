//! Cases: open them, tie jobs to them, look at them.

use jobs::accusation::SignedAccusation;
use jobs::envelope::SignedPackage;
use jobs::ids::CaseId;

use super::{Client, Error};
use crate::types::{CaseReply, CaseView, TieReply};

impl Client {
    /// Opens a case. The same accusation again is the same case.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn accuse(&self, accusation: &SignedAccusation) -> Result<CaseReply, Error> {
        self.post("/liquidations", accusation, None).await
    }

    /// Ties a job to a case, before it is submitted.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn tie(&self, case: CaseId, package: &SignedPackage) -> Result<TieReply, Error> {
        let route = format!("/liquidations/{case}/jobs");
        self.post(&route, package, None).await
    }

    /// The latest decided cases, newest first.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn cases(&self) -> Result<Vec<CaseView>, Error> {
        self.get("/liquidations").await
    }

    /// One case.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn case(&self, case: CaseId) -> Result<CaseView, Error> {
        self.get(&format!("/liquidations/{case}")).await
    }
}
