//! What this provider accepted and signed, on disk before anyone hears of it.
//!
//! An append-only file of checked records, every one synced before the call returns. Opening it
//! truncates a torn last record, which nobody can have heard of, and refuses a file that is damaged
//! before its end. Old, closed assignments are compacted to the fingerprint of their id, so that they
//! are never signed again although their receipts are gone.
//!
//! [`Journal::sign_once`] is the only honest way to a commitment.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobs::commitment::{Commitment, Opening};
use jobs::digest::Digest;
use jobs::ids::{AggregatorId, AssignmentId, JobId, ProviderId};
use jobs::receipt::Envelope;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use network::protocol::FailureCode;
use serde::{Deserialize, Serialize};

use crate::Error;

mod file;
mod index;

use file::LogFile;
use index::Index;

/// Bytes at which the file is compacted.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Bytes beyond which no assignment is accepted: open ones alone fill the file.
pub const JOURNAL_BYTES_HARD_MAX: u64 = 4 * JOURNAL_BYTES_MAX;

/// Assignments remembered with all they need to be revealed; more are compacted.
pub const LIVE_MAX: usize = 16 * 1024;

/// Assignments remembered by the fingerprint of their id alone; a full list refuses new ones.
pub const SEALED_MAX: usize = 4 << 20;

/// How long outputs stay on disk for the aggregator to fetch after they were signed, in
/// milliseconds: a day.
pub const OUTPUTS_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// How long beyond its due time a report is still tried, in milliseconds.
pub const REPORT_GRACE_MS: u64 = 10 * 60 * 1000;

/// When the file is compacted. Tests choose smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// See [`JOURNAL_BYTES_MAX`].
    pub bytes: u64,
    /// See [`LIVE_MAX`].
    pub live: usize,
    /// See [`SEALED_MAX`].
    pub sealed: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: JOURNAL_BYTES_MAX,
            live: LIVE_MAX,
            sealed: SEALED_MAX,
        }
    }
}

/// Whose an assignment is and when its report is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub assignment: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// From whom.
    pub aggregator: AggregatorId,
    /// When this was written down.
    pub at: Timestamp,
    /// Milliseconds within which a commitment is due.
    pub due_ms: u64,
}

/// Everything that is ever said about an assignment that was executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// About which assignment.
    pub order: Order,
    /// What is sent first.
    pub commitment: Signed<Commitment>,
    /// What it hides.
    pub opening: Opening,
    /// What is revealed with it.
    pub receipt: Envelope,
}

/// An assignment that ended without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub order: Order,
    /// Why, for programs.
    pub code: FailureCode,
    /// Why, for people.
    pub reason: String,
}

/// How far an assignment is known to have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Accepted; nothing is said about it yet.
    Accepted,
    /// Committed to.
    Signed,
    /// Ended without an outcome.
    Failed,
    /// Signed long ago; nothing but that is remembered.
    Sealed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Record {
    Accepted(Order),
    Signed(Box<Work>),
    Failed(Failed),
    /// The report about it was acknowledged, or is overdue.
    Settled(AssignmentId),
    Sealed(Vec<[u8; 16]>),
}

/// What is to be told to an aggregator.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// An outcome.
    Work(Box<Work>),
    /// None.
    Failed(Failed),
}

impl Report {
    /// Which assignment it is about.
    pub const fn order(&self) -> &Order {
        match self {
            Self::Work(work) => &work.order,
            Self::Failed(failed) => &failed.order,
        }
    }
}

/// The journal of one provider. Calls block on the disk, and take turns.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    provider: ProviderId,
    bounds: Bounds,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: LogFile,
    index: Index,
    /// Whether a write failed, so that nobody knows what is on the disk.
    closed: bool,
}

impl Journal {
    /// Opens or makes the journal of `provider`.
    ///
    /// # Errors
    /// If the file is another provider's, is damaged before its end, or the disk fails.
    pub fn open(path: &Path, provider: ProviderId, bounds: Bounds) -> Result<Self, Error> {
        let mut index = Index::default();
        let file = LogFile::open(path, provider, |place, record| index.apply(place, record))?;
        Ok(Self {
            path: path.to_owned(),
            provider,
            bounds,
            inner: Mutex::new(Inner {
                file,
                index,
                closed: false,
            }),
        })
    }

    /// What is known of an assignment.
    pub fn known(&self, id: AssignmentId) -> Option<Known> {
        self.inner().index.known(id)
    }

    /// Whether the assignment is known and is not this aggregator's. One that is sealed is nobody's.
    pub fn is_anothers(&self, id: AssignmentId, aggregator: AggregatorId) -> bool {
        let owner = self.inner().index.owner(id);
        owner.is_some_and(|owner| owner != aggregator)
    }

    /// Why no further assignment can be remembered, if so.
    pub fn full(&self) -> Option<&'static str> {
        let inner = self.inner();
        if inner.closed {
            return Some("it could not be written");
        }
        if inner.index.sealed() >= self.bounds.sealed {
            return Some("closed assignments");
        }
        let bytes = inner.file.length() > self.bounds.bytes.saturating_mul(4);
        if bytes || inner.index.open() >= self.bounds.live {
            return Some("open assignments");
        }
        None
    }

    /// Writes down that an assignment was accepted.
    ///
    /// # Errors
    /// If it already ended, or the disk fails.
    pub fn accept(&self, order: Order) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.must_be_open(order.assignment)?;
        self.append(&mut inner, &Record::Accepted(order))
    }

    /// The one statement about an assignment: that which is on disk already, or else what `make`
    /// makes, once it is on disk. However many ask, `make` is called once.
    ///
    /// # Errors
    /// If the assignment ended without an outcome, `make` fails, or the disk fails. After the disk
    /// failed, nothing more is signed until the next start.
    pub fn sign_once(
        &self,
        id: AssignmentId,
        make: impl FnOnce() -> Result<Work, Error>,
    ) -> Result<Work, Error> {
        let mut inner = self.inner();
        if inner.index.known(id) == Some(Known::Signed) {
            return inner.work(id)?.ok_or(Error::Ended { how: "sealed" });
        }
        inner.must_be_open(id)?;
        let work = make()?;
        let record = Record::Signed(Box::new(work.clone()));
        self.append(&mut inner, &record)?;
        Ok(work)
    }

    /// Writes down that an assignment has no outcome.
    ///
    /// # Errors
    /// If it has one, or the disk fails.
    pub fn fail(&self, failed: Failed) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.must_be_open(failed.order.assignment)?;
        self.append(&mut inner, &Record::Failed(failed))
    }

    /// Writes down that nobody needs to be told about an assignment any more.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn settle(&self, id: AssignmentId) -> Result<(), Error> {
        let mut inner = self.inner();
        if !inner.index.is_unsettled(id) {
            return Ok(());
        }
        self.append(&mut inner, &Record::Settled(id))
    }

    /// What there is to say about an assignment.
    ///
    /// # Errors
    /// If the disk fails, or no longer holds what was written.
    pub fn report(&self, id: AssignmentId) -> Result<Option<Report>, Error> {
        self.inner().report(id)
    }

    /// Assignments that an aggregator must be told about.
    pub fn unsettled(&self) -> Vec<AssignmentId> {
        self.inner().index.unsettled()
    }

    /// Assignments that were accepted and about which nothing was said: after a start, those that
    /// were lost with the process.
    pub fn abandoned(&self) -> Vec<Order> {
        self.inner().index.abandoned()
    }

    /// Whether `aggregator` may fetch the blob: it is the outputs of one of its assignments.
    pub fn may_fetch(&self, aggregator: AggregatorId, digest: &Digest) -> bool {
        self.inner().index.may_fetch(aggregator, digest)
    }

    /// Whether the blob is outputs that somebody may still ask for.
    pub fn needs(&self, digest: &Digest, now: Timestamp) -> bool {
        self.inner().index.needs(digest, now)
    }

    /// Whether what was noted for an assignment may still be asked for.
    pub fn keeps(&self, id: AssignmentId, now: Timestamp) -> bool {
        self.inner().index.keeps(id, now)
    }

    /// Assignments with all they need to be revealed, and those remembered by id alone.
    pub fn remembered(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.index.live(), inner.index.sealed())
    }

    /// Assignments that were committed to since a time, and that ended without an outcome, as far as they are
    /// remembered.
    pub fn since(&self, time: Timestamp) -> (u64, u64) {
        self.inner().index.since(time)
    }

    fn append(&self, inner: &mut Inner, record: &Record) -> Result<(), Error> {
        if inner.closed {
            return Err(Error::JournalClosed);
        }
        let full =
            inner.file.length() > self.bounds.bytes || inner.index.live() >= self.bounds.live;
        if full && inner.index.worth_compacting(self.bounds) {
            let at = record_time(record);
            self.compact(inner, at)?;
        }
        let place = inner.file.append(record).inspect_err(|error| {
            // A record that is too large was not written; anything else may be half on the disk.
            inner.closed = !matches!(error, Error::RecordTooLarge { .. });
        })?;
        inner.index.apply(place, record);
        Ok(())
    }

    /// Rewrites the file without what nobody needs. The old file stays until the new one is whole.
    fn compact(&self, inner: &mut Inner, now: Timestamp) -> Result<(), Error> {
        let kept = inner.index.compacted(self.bounds, now);
        let mut index = Index::default();
        let written = inner
            .file
            .rewrite(&self.path, self.provider, &kept, |place, record| {
                index.apply(place, record);
            });
        inner.file = written.inspect_err(|_| inner.closed = true)?;
        inner.index = index;
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between a write and its entry in the index.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest time that a record brings along: the journal reads no clock of its own.
fn record_time(record: &Record) -> Timestamp {
    match record {
        Record::Accepted(order) => order.at,
        Record::Signed(work) => work.order.at,
        Record::Failed(failed) => failed.order.at,
        Record::Settled(_) | Record::Sealed(_) => Timestamp(0),
    }
}

impl Inner {
    fn must_be_open(&self, id: AssignmentId) -> Result<(), Error> {
        let how = match self.index.known(id) {
            None | Some(Known::Accepted) => return Ok(()),
            Some(Known::Signed) => "signed",
            Some(Known::Failed) => "failed",
            Some(Known::Sealed) => "sealed",
        };
        Err(Error::Ended { how })
    }

    fn report(&self, id: AssignmentId) -> Result<Option<Report>, Error> {
        let Some(place) = self.index.place(id) else {
            return Ok(None);
        };
        Ok(match self.file.read(place)? {
            Record::Signed(work) => Some(Report::Work(work)),
            Record::Failed(failed) => Some(Report::Failed(failed)),
            _ => None,
        })
    }

    fn work(&self, id: AssignmentId) -> Result<Option<Work>, Error> {
        Ok(match self.report(id)? {
            Some(Report::Work(work)) => Some(*work),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
