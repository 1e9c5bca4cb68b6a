//! Answers the HTTP interface.

mod problems;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use api::backend::{Answer, Backend};
use api::problem::{Code, Problem};
use api::types::{
    AssignmentView, BalanceView, CaseReply, CaseView, ChallengeRequest, DepositRequest, EpochView,
    Health, JobView, ProviderView, RECORD_BYTES_MAX, REFERENCE_MAX, ScoresReply, ScoresRequest,
    SubmitReply, TieReply,
};
use jobs::accusation::SignedAccusation;
use jobs::digest::{BlobRef, Digest, Domain};
use jobs::envelope::SignedPackage;
use jobs::ids::{CaseId, JobId};
use jobs::money::Amount;
use jobs::package::Package;
use jobs::policy::Share;
use ledger::Account;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

pub(super) use problems::{internal, problem};

use problems::chance;

use super::error::Error;
use super::rows::{PACKAGES, Row};
use super::{Shared, audits, games, liquidations, prepare, records, views};
use crate::core::event::Chance;
use crate::core::view::JobStatus;
use crate::core::{Core, Event, JobSpec, Movement, Reply};

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

    fn shared(&self) -> Answer<Arc<Shared>> {
        self.0.upgrade().ok_or_else(|| internal(&Error::Stopping))
    }
}

impl Backend for Driver {
    async fn submit(
        &self,
        idempotency_key: Option<String>,
        signed: SignedPackage,
    ) -> Answer<SubmitReply> {
        let verified = signed.verify().map_err(|error| refused_package(&error))?;
        self.shared()?
            .signers
            .check(verified.client)
            .map_err(|error| refused_package(&error))?;
        let (client, job, package) = (verified.client, verified.id, verified.package);
        check_record(&package, signed.package.len())?;
        let mut rows = vec![Row::Package(job, signed)];
        rows.extend(idempotency_key.map(|key| Row::Idempotency { client, key, job }));
        let spec = JobSpec::of(&package);
        let chance = chance()?;
        let event = move |request| Event::Submit {
            request,
            client,
            job,
            spec,
            chance,
        };
        let shared = self.shared()?;
        match shared
            .handle
            .request(event, rows)
            .await
            .map_err(|error| internal(&error))?
            .reply
        {
            Some(Ok(Reply::Admitted { quote, promise, .. })) => Ok(SubmitReply {
                promise,
                job,
                missing: prepare::missing(&shared, &package),
                escrowed: quote.escrow,
                shards: quote.shards,
            }),
            Some(Err(refusal)) => Err(problem(&refusal)),
            _ => Err(Problem::internal()),
        }
    }

    async fn share(&self, job: JobId, share: Share) -> Answer<()> {
        let shared = self.shared()?;
        let signed = PACKAGES.get(&*shared.store, &job);
        let signed = signed.map_err(|error| internal(&error.into()))?;
        let signed = signed.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?;
        let verified = signed.verify().map_err(|error| refused_package(&error))?;
        if !share.opens(&verified.package.nonce) {
            let detail = "the share is not what the job's nonce promises";
            return Err(Problem::invalid(detail.to_owned()));
        }
        let (client, chance) = (verified.client, Chance(share.0));
        let event = move |request| Event::Share {
            request,
            job,
            client,
            chance,
        };
        let decided = shared.handle.request(event, Vec::new()).await;
        match decided.map_err(|error| internal(&error))?.reply {
            Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(problem(&refusal)),
            None => Err(Problem::internal()),
        }
    }

    async fn challenge(&self, job: JobId, challenge: ChallengeRequest) -> Answer<u32> {
        let (chance, item) = (Chance(challenge.share.0), challenge.item);
        let event = move |request| Event::Challenge {
            request,
            job,
            chance,
            item,
        };
        let shared = self.shared()?;
        let decided = shared.handle.request(event, Vec::new()).await;
        match decided.map_err(|error| internal(&error))?.reply {
            Some(Ok(Reply::Challenged { shard, .. })) => Ok(shard),
            Some(Err(refusal)) => Err(problem(&refusal)),
            _ => Err(Problem::internal()),
        }
    }

    async fn put_blob(
        &self,
        job: JobId,
        digest: Digest,
        body: impl AsyncRead + Send + Unpin,
    ) -> Answer<()> {
        let (package, status) = self.package(job).await?;
        let Some(blob) = package.blobs().find(|blob| blob.digest == digest) else {
            return Err(Problem::not_found(format_args!(
                "blob {digest} in job {job}"
            )));
        };
        if matches!(status, JobStatus::Done | JobStatus::Failed) {
            return Err(Problem::conflict(format!("job {job} has ended")));
        }
        if !self.shared()?.blobs.contains(&digest) {
            self.store_blob(blob, body).await?;
        }
        let preparing = status == JobStatus::Preparing;
        let shared = self.shared()?;
        if preparing && prepare::missing(&shared, &package).is_empty() {
            prepare::start(job, shared);
        }
        Ok(())
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
            Some(view) => self.file(view.result.ok_or_else(|| not_done(&view))?),
            // Forgotten by the core, but on record.
            None => {
                let record = self.recorded(job).await?;
                let record = self.inquire(move |shared| records::read(shared, &record));
                let record = record.await?;
                let settlement = record.settlement.verify();
                let settlement = settlement.map_err(|error| internal(&error.into()))?;
                self.file(settlement.statement.result)
            }
        }
    }

    async fn record(&self, job: JobId) -> Answer<(BlobRef, PathBuf)> {
        let record = self.recorded(job).await?;
        self.file(record)
    }

    async fn record_blob(&self, job: JobId, digest: Digest) -> Answer<(BlobRef, PathBuf)> {
        let record = self.recorded(job).await?;
        let named = move |shared: &Shared| records::named(shared, job, &record, digest);
        let named = self.inquire(named).await?;
        let missing =
            || Problem::not_found(format_args!("blob {digest} in the record of job {job}"));
        self.file(named.ok_or_else(missing)?)
    }

    async fn assignments(&self, job: JobId) -> Answer<Vec<AssignmentView>> {
        games::assignments(self, job).await
    }

    async fn scores(&self, scores: ScoresRequest) -> Answer<ScoresReply> {
        games::scores(&*self.shared()?, &scores).await
    }

    async fn epoch(&self) -> Answer<EpochView> {
        games::epoch(self).await
    }

    async fn accuse(&self, accusation: SignedAccusation) -> Answer<CaseReply> {
        liquidations::accuse(&*self.shared()?, accusation).await
    }

    async fn tie(&self, case: CaseId, package: SignedPackage) -> Answer<TieReply> {
        liquidations::tie(&*self.shared()?, case, package).await
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

    async fn deposit(&self, deposit: DepositRequest) -> Answer<bool> {
        let DepositRequest {
            account,
            amount,
            reference,
        } = deposit;
        if reference.is_empty() || reference.len() > REFERENCE_MAX {
            let length = reference.len();
            return Err(Problem::invalid(format!(
                "reference has {length} bytes: must be 1 to {REFERENCE_MAX}"
            )));
        }
        if amount == Amount::ZERO || amount > jobs::money::AMOUNT_MAX {
            return Err(Problem::invalid(format!(
                "amount = {amount}: must be more than 0"
            )));
        }
        let movement = match account.parse::<Account>() {
            Ok(Account::Client(client)) => Movement::Deposit(client),
            Ok(Account::Stake(provider)) => Movement::Stake(provider),
            Ok(Account::Rewards) => Movement::Reward,
            _ => {
                let detail =
                    format!("account = {account:?}: must be client:<id>, stake:<id> or rewards");
                return Err(Problem::invalid(detail));
            }
        };
        let id = Digest::bind(Domain::Transfer, &[b"deposit", reference.as_bytes()]);
        let event = move |request| Event::Move {
            request,
            id,
            movement,
            amount,
        };
        let decided = self.shared()?.handle.request(event, Vec::new()).await;
        let decided = decided.map_err(|error| internal(&error))?;
        match decided.reply {
            Some(Ok(_)) => Ok(!decided.repeated_move),
            Some(Err(refusal)) => Err(problem(&refusal)),
            None => Err(Problem::internal()),
        }
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

    /// Streams a body into the blob store, on a thread that may block.
    async fn store_blob(&self, blob: BlobRef, body: impl AsyncRead + Send + Unpin) -> Answer<()> {
        let blobs = self.shared()?.blobs.clone();
        let (receiver, mut sender) = tokio::io::duplex(256 * 1024);
        let reader = SyncIoBridge::new(receiver);
        let stored = tokio::task::spawn_blocking(move || blobs.put_reader(blob, reader));
        let (mut body, mut stop) = (body, self.shared()?.stop.clone());
        let copied = tokio::select! {
            copied = tokio::io::copy(&mut body, &mut sender) => copied,
            _ = stop.wait_for(|stop| *stop) => return Err(internal(&Error::Stopping)),
        };
        drop(sender);
        let stored = stored
            .await
            .map_err(|error| internal(&Error::Log(error.to_string())))?;
        match (stored, copied) {
            (Ok(_), _) => Ok(()),
            (
                Err(error @ (network::Error::QuotaFull { .. } | network::Error::DiskFull { .. })),
                _,
            ) => {
                tracing::warn!(%error, "no room for a blob");
                let detail = "the aggregator has no room for this blob";
                Err(Problem::of(Code::StorageFull, detail))
            }
            (Err(network::Error::Io { source, .. }), _) => {
                Err(internal(&Error::Log(source.to_string())))
            }
            (Err(error), _) => Err(Problem::invalid(error.to_string())),
        }
    }

    fn file(&self, blob: BlobRef) -> Answer<(BlobRef, PathBuf)> {
        let path = self.shared()?.blobs.get(&blob.digest);
        path.map(|path| (blob, path))
            .ok_or_else(|| Problem::of(Code::Gone, format!("blob {} was removed", blob.digest)))
    }
}

pub(super) fn not_done(view: &JobView) -> Problem {
    Problem::conflict(format!(
        "job {} is {}, its result is not stored",
        view.id, view.phase
    ))
}

/// Takes no job whose record nobody could fetch in the end.
fn check_record(package: &Package, package_bytes: usize) -> Answer<()> {
    let size = records::record_bytes_max(package, package_bytes);
    if size <= RECORD_BYTES_MAX {
        return Ok(());
    }
    let replicas = package.replication.max_replicas;
    let detail = format!(
        "the record of this job, with up to {replicas} replicas of each shard, may have {size} bytes, \
         more than the {RECORD_BYTES_MAX} allowed: put more items in a shard"
    );
    Err(Problem::of(Code::RecordTooLarge, detail))
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
