//! What an operator asks for, and the journal.

use hyper::{Method, Request, header};
use jobs::ids::ProviderId;

use super::{ANSWER_MAX, Client, Error, empty};
use crate::types::{
    BackupRequest, BackupView, CollectionRequest, CollectionView, DepositReply, DepositRequest,
    JournalView,
};

impl Client {
    /// Deposits as the operator; answers whether the reference was new.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn deposit(&self, token: &str, deposit: &DepositRequest) -> Result<bool, Error> {
        let request = self.plain(Method::POST, "/ledger/deposits", deposit, Some(token))?;
        let reply: DepositReply = self.answer(request).await?;
        Ok(reply.new)
    }

    /// Bans a provider as the operator, or readmits it.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn set_banned(
        &self,
        token: &str,
        provider: ProviderId,
        banned: bool,
    ) -> Result<(), Error> {
        let method = if banned { Method::PUT } else { Method::DELETE };
        let request = self.request(method, &format!("/providers/{provider}/ban"));
        let request = request.header(header::AUTHORIZATION, bearer(token));
        self.send(self.finish(request, empty())?).await.map(drop)
    }

    /// Has a backup written into a new folder on the aggregator's machine. Takes as long as the aggregator's blobs take
    /// to be copied.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn backup(&self, token: &str, to: &BackupRequest) -> Result<BackupView, Error> {
        let request = self.plain(Method::POST, "/backups", to, Some(token))?;
        self.answer(request).await
    }

    /// Has blobs removed that nobody needs any more, or asks what would be removed.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn collect(&self, token: &str, dry_run: bool) -> Result<CollectionView, Error> {
        let body = CollectionRequest { dry_run };
        let request = self.plain(Method::POST, "/collections", &body, Some(token))?;
        self.answer(request).await
    }

    /// Entries of the ledger's journal after number `after`, at most `limit`.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn journal(&self, after: u64, limit: usize) -> Result<Vec<JournalView>, Error> {
        self.get(&format!("/ledger/journal?after={after}&limit={limit}"))
            .await
    }

    /// What instruments read, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// If unreachable.
    pub async fn metrics(&self) -> Result<String, Error> {
        let request = Request::get(format!("{}/metrics", self.base));
        let answer = self.send(self.finish(request, empty())?).await?;
        let text = String::from_utf8(self.whole(answer, ANSWER_MAX).await?);
        text.map_err(|error| Error::Unexpected(error.to_string()))
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
