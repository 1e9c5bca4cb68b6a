//! What the server asks. The aggregator's driver answers.

use std::path::PathBuf;
use std::sync::Arc;

use jobs::accusation::SignedAccusation;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::{CaseId, JobId, ProviderId};
use jobs::package::Package;
use jobs::policy::Share;
use serde::Serialize;
use tokio::io::AsyncRead;

use crate::feed::Feed;
use crate::problem::{Code, Problem};
use crate::signature::Stamp;
use crate::types::{
    AssignmentView, BackupView, BalanceView, CaseView, ChallengeRequest, CollectionView,
    DepositRequest, EpochView, Health, JobView, JournalView, ProviderView, QuoteView,
    ScoresRequest, ShardMap, ShardView, UploadView,
};

/// The result of every request.
pub type Answer<T> = Result<T, Problem>;

/// What is known of a request that changes something, beside what it asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Whose signature over the request was checked. Operators and validators need none: they show a token, or sign
    /// what they hand in.
    pub stamp: Option<Stamp>,
    /// What makes it repeatable.
    pub idempotency: Option<Idempotency>,
}

impl Asked {
    /// Whose signature it carries.
    ///
    /// # Errors
    /// If it carries none.
    pub fn client(&self) -> Answer<jobs::ids::ClientId> {
        let stamp = self.stamp.as_ref().map(|stamp| stamp.client);
        stamp.ok_or_else(unsigned)
    }
}

/// 401: a signature is due.
pub(crate) fn unsigned() -> Problem {
    let detail =
        "send Signature-Input, Signature and Assay-Key: clients sign what changes something";
    Problem::of(Code::Unsigned, detail)
}

/// An idempotency key, and what it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Chosen by whoever asks.
    pub key: String,
    /// Digest of method, path, query and body.
    pub request: Digest,
}

/// An answer as bytes: the same request under the same idempotency key gets the very same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// JSON, or nothing.
    pub body: Vec<u8>,
    /// Whether it was given before.
    pub replayed: bool,
}

impl Response {
    /// An answer of this value.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Answer<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written");
            Problem::internal()
        })?;
        Ok(Self {
            status,
            body,
            replayed: false,
        })
    }

    /// 204, without a body.
    pub const fn empty() -> Self {
        Self {
            status: 204,
            body: Vec::new(),
            replayed: false,
        }
    }
}

/// Decides every request. Cheap to share; called from many tasks at once.
pub trait Backend: Send + Sync + 'static {
    /// Verifies, admits and funds a job. The same package is the same job, whoever asks how often;
    /// the same idempotency key with another package is refused with 422. Answers
    /// [`SubmitReply`](crate::types::SubmitReply).
    fn submit(
        &self,
        asked: Asked,
        package: SignedPackage,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// Blobs of a job that the aggregator lacks.
    fn missing(&self, job: JobId) -> impl Future<Output = Answer<Vec<BlobRef>>> + Send;

    /// Takes the client's share of the draw that decides about a job's audits. The first one counts.
    fn share(
        &self,
        asked: Asked,
        job: JobId,
        share: Share,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// Has the shard of a doubted item executed again. Answers
    /// [`ChallengeReply`](crate::types::ChallengeReply).
    fn challenge(
        &self,
        asked: Asked,
        job: JobId,
        challenge: ChallengeRequest,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// Ends a job that is not merged yet, for its client. Again is the same. Answers
    /// [`CancelReply`](crate::types::CancelReply).
    fn cancel(&self, asked: Asked, job: JobId) -> impl Future<Output = Answer<Response>> + Send;

    /// What a job would cost now and who could take it. Keeps nothing.
    fn quote(&self, package: Package) -> impl Future<Output = Answer<QuoteView>> + Send;

    /// Takes a blob that an open job declared, of exactly the declared size, from the byte `offset` on. What came
    /// before that must be here; what comes stays for a day, even if the rest does not come.
    fn put_blob(
        &self,
        asked: Asked,
        blob: (JobId, Digest),
        offset: u64,
        body: impl AsyncRead + Send + Unpin,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// How far the upload of a blob that a job declared is.
    fn upload(&self, job: JobId, digest: Digest)
    -> impl Future<Output = Answer<UploadView>> + Send;

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
    /// is refused with 409, and kept. Answers [`ScoresReply`](crate::types::ScoresReply).
    fn scores(
        &self,
        asked: Asked,
        scores: ScoresRequest,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// Where the game is.
    fn epoch(&self) -> impl Future<Output = Answer<EpochView>> + Send;

    /// Opens a case against an answer. The same accusation again is the same case. Answers
    /// [`CaseReply`](crate::types::CaseReply).
    fn accuse(
        &self,
        asked: Asked,
        accusation: SignedAccusation,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// Ties a job to a case of its client's, by its package, before anybody has answered it. Answers
    /// [`TieReply`](crate::types::TieReply).
    fn tie(
        &self,
        asked: Asked,
        case: CaseId,
        package: SignedPackage,
    ) -> impl Future<Output = Answer<Response>> + Send;

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

    /// An operator's deposit. Answers [`DepositReply`](crate::types::DepositReply).
    fn deposit(
        &self,
        asked: Asked,
        deposit: DepositRequest,
    ) -> impl Future<Output = Answer<Response>> + Send;

    /// What happens, as it happens.
    fn feed(&self) -> impl Future<Output = Answer<Arc<Feed>>> + Send;

    /// Whether events can be stored and peers can reach us.
    fn ready(&self) -> impl Future<Output = Answer<()>> + Send;

    /// Bans a provider by the operator's word, or readmits it.
    fn set_banned(
        &self,
        provider: ProviderId,
        banned: bool,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Writes a backup into a new folder.
    fn backup(&self, to: PathBuf) -> impl Future<Output = Answer<BackupView>> + Send;

    /// Removes blobs that nobody needs any more, or says what would be removed.
    fn collect(&self, dry_run: bool) -> impl Future<Output = Answer<CollectionView>> + Send;

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
