//! What the server asks. The aggregator's driver answers.

use std::path::PathBuf;

use jobs::accusation::SignedAccusation;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::{CaseId, JobId, ProviderId};
use jobs::package::Package;
use jobs::policy::Share;
use tokio::io::AsyncRead;

use crate::types::{
    AssignmentView, BackupView, BalanceView, CancelRequest, CaseReply, CaseView, ChallengeRequest,
    DepositRequest, EpochView, Health, JobView, JournalView, Problem, ProviderView, QuoteView,
    ScoresReply, ScoresRequest, ShardMap, ShardView, SubmitReply, TieReply,
};

/// The result of every request.
pub type Answer<T> = Result<T, Problem>;

/// Decides every request. Cheap to share; called from many tasks at once.
pub trait Backend: Send + Sync + 'static {
    /// Verifies, admits and funds a job. The same package is the same job, whoever asks how often;
    /// the same `idempotency_key` with another package is refused with 422.
    fn submit(
        &self,
        idempotency_key: Option<String>,
        package: SignedPackage,
    ) -> impl Future<Output = Answer<SubmitReply>> + Send;

    /// Takes the client's share of the draw that decides about a job's audits. The first one counts.
    fn share(&self, job: JobId, share: Share) -> impl Future<Output = Answer<()>> + Send;

    /// Has the shard of a doubted item executed again. Answers which shard that is.
    fn challenge(
        &self,
        job: JobId,
        challenge: ChallengeRequest,
    ) -> impl Future<Output = Answer<u32>> + Send;

    /// Ends a job that is not merged yet, for its client; answers how it stands then. Again is the same.
    fn cancel(
        &self,
        job: JobId,
        cancel: CancelRequest,
    ) -> impl Future<Output = Answer<JobView>> + Send;

    /// What a job would cost now and who could take it. Keeps nothing.
    fn quote(&self, package: Package) -> impl Future<Output = Answer<QuoteView>> + Send;

    /// Takes a blob that an open job declared, of exactly the declared size.
    fn put_blob(
        &self,
        job: JobId,
        digest: Digest,
        body: impl AsyncRead + Send + Unpin,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Every job, newest first, at most `limit`.
    fn jobs(&self, limit: usize) -> impl Future<Output = Answer<Vec<JobView>>> + Send;

    /// One job.
    fn job(&self, job: JobId) -> impl Future<Output = Answer<JobView>> + Send;

    /// The file that holds a finished job's merged result.
    fn result(&self, job: JobId) -> impl Future<Output = Answer<(BlobRef, PathBuf)>> + Send;

    /// The file that holds the public record of a finished job, as JSON
    /// ([`jobs::record::JobRecord`]).
    fn record(&self, job: JobId) -> impl Future<Output = Answer<(BlobRef, PathBuf)>> + Send;

    /// The file of a blob that a finished job's record names.
    fn record_blob(
        &self,
        job: JobId,
        digest: Digest,
    ) -> impl Future<Output = Answer<(BlobRef, PathBuf)>> + Send;

    /// Every assignment of a job that has ended.
    fn assignments(&self, job: JobId) -> impl Future<Output = Answer<Vec<AssignmentView>>> + Send;

    /// How far a job's shards are, in at most `cells` runs of neighbours.
    fn shards(&self, job: JobId, cells: u32) -> impl Future<Output = Answer<ShardMap>> + Send;

    /// One shard of a job. Who executed it is shown once the job has ended.
    fn shard(&self, job: JobId, index: u32) -> impl Future<Output = Answer<ShardView>> + Send;

    /// Takes a validator's report. The very same one may come again; another one for the same epoch
    /// is refused with 409, and kept.
    fn scores(&self, scores: ScoresRequest) -> impl Future<Output = Answer<ScoresReply>> + Send;

    /// Where the game is.
    fn epoch(&self) -> impl Future<Output = Answer<EpochView>> + Send;

    /// Opens a case against an answer. The same accusation again is the same case.
    fn accuse(
        &self,
        accusation: SignedAccusation,
    ) -> impl Future<Output = Answer<CaseReply>> + Send;

    /// Ties a job to a case of its client's, by its package, before anybody has answered it.
    fn tie(
        &self,
        case: CaseId,
        package: SignedPackage,
    ) -> impl Future<Output = Answer<TieReply>> + Send;

    /// The latest decided cases, newest first.
    fn cases(&self) -> impl Future<Output = Answer<Vec<CaseView>>> + Send;

    /// One case, to whoever knows its id.
    fn case(&self, case: CaseId) -> impl Future<Output = Answer<CaseView>> + Send;

    /// Every provider.
    fn providers(&self) -> impl Future<Output = Answer<Vec<ProviderView>>> + Send;

    /// Every account.
    fn balances(&self) -> impl Future<Output = Answer<Vec<BalanceView>>> + Send;

    /// The ledger audit's report, as JSON.
    fn audit(&self) -> impl Future<Output = Answer<serde_json::Value>> + Send;

    /// How answers are audited and what is at stake, as JSON: parameters of the audit policy, stake, referees.
    fn auditing(&self) -> impl Future<Output = Answer<serde_json::Value>> + Send;

    /// An operator's deposit; answers whether it was new.
    fn deposit(&self, deposit: DepositRequest) -> impl Future<Output = Answer<bool>> + Send;

    /// Bans a provider by the operator's word, or readmits it.
    fn set_banned(
        &self,
        provider: ProviderId,
        banned: bool,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Writes a backup into a new folder.
    fn backup(&self, to: PathBuf) -> impl Future<Output = Answer<BackupView>> + Send;

    /// Entries of the ledger's journal after number `after`, at most `limit`.
    fn journal(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Answer<Vec<JournalView>>> + Send;

    /// What instruments read, in the text format of OpenMetrics.
    fn metrics(&self) -> impl Future<Output = Answer<String>> + Send;

    /// Health.
    fn health(&self) -> impl Future<Output = Answer<Health>> + Send;
}
