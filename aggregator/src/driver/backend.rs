//! Answers the HTTP interface.

mod asks;
mod problems;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use api::backend::{Answer, Asked, Backend, Response};
use api::feed::Feed;
use api::problem::{Code, Problem};
use api::types::{
    AssignmentView, BackupView, BalanceView, CaseView, ChallengeRequest, CollectionView,
    DepositRequest, EpochView, Health, JobView, JournalView, ProviderView, QuoteView,
    ScoresRequest, ShardMap, ShardView, UploadView,
};
use jobs::accusation::SignedAccusation;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::{CaseId, JobId, ProviderId};
use jobs::package::Package;
use jobs::policy::Share;
use tokio::io::AsyncRead;

pub(super) use asks::check_same;
pub(super) use problems::{internal, problem};

use super::error::Error;
use super::once::{self, Beginning};
use super::rows::PACKAGES;
use super::{
    Shared, audits, backup, collect, games, liquidations, metrics, operator, orders, prepare,
    records, shards, uploads, views,
};
use crate::core::Core;
use crate::core::view::JobStatus;

/// Jobs counted for a listing before the machine goes on with its events.
const JOBS_PER_QUESTION: usize = 8;

/// The driver as the HTTP interface sees it. Every connection has one, so it holds nothing open: an
/// idle connection must not keep a stopped aggregator's store from being closed.
#[derive(Clone, Debug)]
pub(crate) struct Driver(Weak<Shared>);

impl Driver {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    pub(super) fn shared(&self) -> Answer<Arc<Shared>> {
        self.0.upgrade().ok_or_else(|| internal(&Error::Stopping))
    }
}

impl Backend for Driver {
    async fn submit(&self, asked: Asked, signed: SignedPackage) -> Answer<Response> {
        asks::submit(&*self.shared()?, asked, signed).await
    }

    async fn missing(&self, job: JobId) -> Answer<Vec<BlobRef>> {
        let (package, _) = self.package(job).await?;
        let shared = self.shared()?;
        Ok(prepare::lacking(&package, |blob| shared.blobs.holds(blob)))
    }

    async fn share(&self, asked: Asked, job: JobId, share: Share) -> Answer<Response> {
        asks::share(&*self.shared()?, asked, job, share).await
    }

    async fn challenge(
        &self,
        asked: Asked,
        job: JobId,
        challenge: ChallengeRequest,
    ) -> Answer<Response> {
        asks::challenge(&*self.shared()?, asked, job, challenge).await
    }

    async fn cancel(&self, asked: Asked, job: JobId) -> Answer<Response> {
        asks::cancel(&*self.shared()?, asked, job).await
    }

    async fn quote(&self, package: Package) -> Answer<QuoteView> {
        orders::quote(&*self.shared()?, package).await
    }

    async fn put_blob(
        &self,
        asked: Asked,
        (job, digest): (JobId, Digest),
        offset: u64,
        body: impl AsyncRead + Send + Unpin,
    ) -> Answer<()> {
        let client = asked.client()?;
        let (package, status) = self.package(job).await?;
        let blob = declared(&package, job, digest)?;
        if matches!(status, JobStatus::Done | JobStatus::Failed) {
            return Err(Problem::conflict(format!("job {job} has ended")));
        }
        let shared = self.shared()?;
        asks::check_owner(&shared, job, client)?;
        match once::begin(&shared, asked, *client.0.as_bytes()).await? {
            Beginning::Known(_) => return Ok(()),
            Beginning::New(begun) => begun.note().await?,
        }
        if !self.shared()?.blobs.contains(&digest) {
            let room = collect::make_room(&shared, blob).await;
            room.map_err(|error| internal(&error))?;
            uploads::take(&shared, (job, blob), offset, body).await?;
        }
        Ok(())
    }

    async fn upload(&self, job: JobId, digest: Digest) -> Answer<UploadView> {
        let (package, _) = self.package(job).await?;
        let blob = declared(&package, job, digest)?;
        Ok(uploads::view(&*self.shared()?, job, blob))
    }

    async fn jobs(&self, limit: usize) -> Answer<Vec<JobView>> {
        let newest = self.ask(move |core| core.newest_jobs(limit)).await?;
        let mut listed = Vec::with_capacity(newest.len());
        for ids in newest.chunks(JOBS_PER_QUESTION) {
            let ids = ids.to_vec();
            let question = move |core: &Core| -> Vec<JobView> {
                let views = ids.into_iter().map(|id| views::job(core, id));
                views.flatten().collect()
            };
            for view in self.ask(question).await? {
                listed.push(self.named(view)?);
            }
        }
        Ok(listed)
    }

    async fn job(&self, job: JobId) -> Answer<JobView> {
        let view = self.ask(move |core| views::job(core, job)).await?;
        self.named(view.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?)
    }

    async fn result(&self, job: JobId) -> Answer<(BlobRef, PathBuf)> {
        let view = self.ask(move |core| views::job(core, job)).await?;
        match view {
            Some(view) => self.file(job, view.result.ok_or_else(|| not_done(&view))?),
            // Forgotten by the core, but on record.
            None => {
                let record = self.recorded(job).await?;
                let record = self.inquire(move |shared| records::read(shared, &record));
                let record = record.await?;
                let settlement = record.settlement.verify();
                let settlement = settlement.map_err(|error| internal(&error.into()))?;
                self.file(job, settlement.statement.result)
            }
        }
    }

    async fn record(&self, job: JobId) -> Answer<(BlobRef, PathBuf)> {
        let record = self.recorded(job).await?;
        self.file(job, record)
    }

    async fn record_blob(&self, job: JobId, digest: Digest) -> Answer<(BlobRef, PathBuf)> {
        let record = self.recorded(job).await?;
        let named = move |shared: &Shared| records::named(shared, job, &record, digest);
        let named = self.inquire(named).await?;
        let missing =
            || Problem::not_found(format_args!("blob {digest} in the record of job {job}"));
        self.file(job, named.ok_or_else(missing)?)
    }

    async fn assignments(&self, job: JobId) -> Answer<Vec<AssignmentView>> {
        games::assignments(self, job).await
    }

    async fn shards(&self, job: JobId, cells: u32) -> Answer<ShardMap> {
        shards::map(self, job, cells).await
    }

    async fn shard(&self, job: JobId, index: u32) -> Answer<ShardView> {
        shards::shard(self, job, index).await
    }

    async fn scores(&self, asked: Asked, scores: ScoresRequest) -> Answer<Response> {
        games::scores(&*self.shared()?, asked, &scores).await
    }

    async fn epoch(&self) -> Answer<EpochView> {
        games::epoch(self).await
    }

    async fn accuse(&self, asked: Asked, accusation: SignedAccusation) -> Answer<Response> {
        liquidations::accuse(&*self.shared()?, asked, accusation).await
    }

    async fn tie(&self, asked: Asked, case: CaseId, package: SignedPackage) -> Answer<Response> {
        liquidations::tie(&*self.shared()?, asked, case, package).await
    }

    async fn cases(&self) -> Answer<Vec<CaseView>> {
        liquidations::cases(self).await
    }

    async fn case(&self, case: CaseId) -> Answer<CaseView> {
        liquidations::case(self, case).await
    }

    async fn providers(&self) -> Answer<Vec<ProviderView>> {
        self.ask(views::providers).await
    }

    async fn balances(&self) -> Answer<Vec<BalanceView>> {
        self.ask(views::balances).await
    }

    async fn audit(&self) -> Answer<serde_json::Value> {
        self.inquire(audits::audit).await
    }

    async fn auditing(&self) -> Answer<serde_json::Value> {
        self.ask(views::auditing).await
    }

    async fn deposit(&self, asked: Asked, deposit: DepositRequest) -> Answer<Response> {
        operator::deposit(&*self.shared()?, asked, deposit).await
    }

    async fn feed(&self) -> Answer<Arc<Feed>> {
        Ok(Arc::clone(&self.shared()?.feed))
    }

    async fn ready(&self) -> Answer<()> {
        let shared = self.shared()?;
        if shared.halted.load(Ordering::Relaxed) {
            return Err(Problem::of(
                Code::StorageFull,
                "the store failed: only reads are served",
            ));
        }
        if shared.p2p.is_empty() {
            return Err(Problem::unavailable("no address listens for peers"));
        }
        // The machine takes what it is told.
        self.ask(|_| ()).await
    }

    async fn set_banned(&self, provider: ProviderId, banned: bool) -> Answer<()> {
        operator::set_banned(self, provider, banned).await
    }

    async fn backup(&self, to: PathBuf) -> Answer<BackupView> {
        self.inquire(move |shared| backup::write(shared, &to))
            .await?
    }

    async fn collect(&self, dry_run: bool) -> Answer<CollectionView> {
        operator::collect(&self.shared()?, dry_run).await
    }

    async fn journal(&self, after: u64, limit: usize) -> Answer<Vec<JournalView>> {
        self.inquire(move |shared| operator::journal(shared, after, limit))
            .await
    }

    async fn metrics(&self) -> Answer<String> {
        let census = self.ask(Core::census).await?;
        let text = metrics::render(&census, &*self.shared()?);
        text.map_err(|error| internal(&Error::Log(error.to_string())))
    }

    async fn health(&self) -> Answer<Health> {
        let (providers, open) = self
            .ask(|core| {
                let online = core
                    .view_providers()
                    .iter()
                    .filter(|provider| provider.online)
                    .count();
                (online, core.open_jobs())
            })
            .await?;
        let head = super::rows::LOG_HEAD
            .get(&*self.shared()?.store)
            .map_err(|error| internal(&error.into()))?;
        Ok(Health {
            status: match self.shared()?.halted.load(Ordering::Relaxed) {
                false => "ok".into(),
                true => "the store failed: only reads are served".into(),
            },
            aggregator: self.shared()?.id,
            version: env!("CARGO_PKG_VERSION").into(),
            p2p: self.shared()?.p2p.clone(),
            events: head.unwrap_or_default().seq,
            providers: u32::try_from(providers).unwrap_or(u32::MAX),
            open_jobs: u32::try_from(open).unwrap_or(u32::MAX),
        })
    }
}

impl Driver {
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&crate::core::Core) -> T + Send + 'static,
    ) -> Answer<T> {
        self.shared()?
            .handle
            .ask(question)
            .await
            .map_err(|error| internal(&error))
    }

    /// Reads much, on a thread that may block, for somebody who pays nothing.
    async fn inquire<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        let shared = self.shared()?;
        let permit = shared.inquiries.acquire().await;
        let permit = permit.map_err(|_| internal(&Error::Stopping))?;
        let reader = Arc::clone(&shared);
        let done = tokio::task::spawn_blocking(move || read(&reader)).await;
        drop(permit);
        done.unwrap_or_else(|error| Err(Error::Log(error.to_string())))
            .map_err(|error| internal(&error))
    }

    /// The package of a known job and where the job is.
    async fn package(&self, job: JobId) -> Answer<(Package, JobStatus)> {
        let status = self.ask(move |core| core.job_status(job)).await?;
        let status = status.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?;
        let shared = self.shared()?;
        let package = prepare::package(&shared, job).map_err(|error| internal(&error))?;
        Ok((package, status))
    }

    /// Where the record of a finished job is.
    async fn recorded(&self, job: JobId) -> Answer<BlobRef> {
        self.check_kept(job)?;
        let record = records::record_of(&*self.shared()?, job);
        match record.map_err(|error| internal(&error))? {
            Some(record) => Ok(record),
            None => Err(not_done(&self.job(job).await?)),
        }
    }

    /// Adds what only the package knows.
    fn named(&self, mut view: JobView) -> Answer<JobView> {
        let signed = PACKAGES
            .get(&*self.shared()?.store, &view.id)
            .map_err(|error| internal(&error.into()))?;
        let package =
            signed.and_then(|signed| Package::from_canonical(signed.package.as_bytes()).ok());
        if let Some(package) = package {
            view.name = package.name;
            view.items = package.input.items;
        }
        Ok(view)
    }

    /// Says of a job whose results were removed that they were, and why.
    fn check_kept(&self, job: JobId) -> Answer<()> {
        let gone = collect::gone(&*self.shared()?, job);
        match gone.map_err(|error| internal(&error))? {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    fn file(&self, job: JobId, blob: BlobRef) -> Answer<(BlobRef, PathBuf)> {
        self.check_kept(job)?;
        let path = self.shared()?.blobs.get(&blob.digest);
        path.map(|path| (blob, path))
            .ok_or_else(|| Problem::of(Code::Gone, format!("blob {} was removed", blob.digest)))
    }
}

/// The blob of this digest, if a job's package names it.
fn declared(package: &Package, job: JobId, digest: Digest) -> Answer<BlobRef> {
    let blob = package.blobs().find(|blob| blob.digest == digest);
    blob.ok_or_else(|| Problem::not_found(format_args!("blob {digest} in job {job}")))
}

pub(super) fn not_done(view: &JobView) -> Problem {
    Problem::conflict(format!(
        "job {} is {}, its result is not stored",
        view.id, view.phase
    ))
}

pub(super) fn refused_package(error: &jobs::Error) -> Problem {
    match error {
        // A bundle names the digest of what it signs: another digest is another content's signature.
        jobs::Error::Signature { .. } | jobs::Error::DigestMismatch { .. } => {
            Problem::of(Code::Signature, error.to_string())
        }
        jobs::Error::UnknownSigner { .. } => Problem::of(Code::UnknownSigner, error.to_string()),
        _ => Problem::invalid(error.to_string()),
    }
}
