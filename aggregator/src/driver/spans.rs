//! The spans of jobs, for traces: each job has one from its submission to its record, and what is done about it has spans
//! beneath that. Where nobody follows spans, there are none, and nothing is kept.
//!
//! They are the driver's: the core knows nothing of them, and nothing is decided by them. They do not outlive the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::feed::Happening;
use jobs::ids::{AssignmentId, JobId};
use network::trace::TARGET;
use store::Kv;
use tracing::{Span, info_span};

use super::rows::ASSIGNMENTS;
use crate::core::Action;

/// Jobs that are followed at the same time; of more, the oldest is followed no further.
const JOBS_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Jobs {
    spans: BTreeMap<JobId, Span>,
    /// The oldest first; some of them may have ended.
    begun: VecDeque<JobId>,
}

/// The jobs that are followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(Arc<Mutex<Jobs>>);

impl Spans {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a job, as a part of what is under way. Returns whether it is new.
    pub(crate) fn begin(&self, job: JobId) -> bool {
        let span = info_span!(target: TARGET, "job", %job);
        if span.is_disabled() {
            return false;
        }
        let mut jobs = self.jobs();
        if jobs.spans.contains_key(&job) {
            return false;
        }
        jobs.spans.insert(job, span);
        jobs.begun.push_back(job);
        while jobs.begun.len() > JOBS_MAX {
            if let Some(oldest) = jobs.begun.pop_front() {
                jobs.spans.remove(&oldest);
            }
        }
        true
    }

    /// The job has ended, or never began.
    pub(crate) fn end(&self, job: JobId) {
        let mut jobs = self.jobs();
        if jobs.spans.remove(&job).is_some() {
            jobs.begun.retain(|begun| *begun != job);
        }
    }

    /// A span beneath a job's, if that is followed.
    pub(crate) fn child(&self, job: JobId, make: impl FnOnce(&Span) -> Span) -> Span {
        let parent = self.jobs().spans.get(&job).cloned();
        parent.map_or_else(Span::none, |parent| make(&parent))
    }

    fn is_empty(&self) -> bool {
        self.jobs().spans.is_empty()
    }

    /// The span in which an action is performed.
    pub(crate) fn of_action(&self, action: &Action) -> Span {
        match action {
            Action::Dispatch(assignment) => self.child(assignment.job, |job| {
                let (provider, shard) = (assignment.provider, assignment.shard);
                info_span!(target: TARGET, parent: job, "dispatch", otel.kind = "client", %provider, shard)
            }),
            Action::Compare { job, shard, .. } => self.child(
                *job,
                |job| info_span!(target: TARGET, parent: job, "compare", shard),
            ),
            Action::Merge { job, round, .. } => self.child(
                *job,
                |job| info_span!(target: TARGET, parent: job, "merge", round),
            ),
            Action::Finished { job, .. } => {
                self.child(*job, |job| info_span!(target: TARGET, parent: job, "record"))
            }
            _ => Span::none(),
        }
    }

    /// The span in which a provider is asked to reveal.
    pub(crate) fn of_reveal(&self, assignment: AssignmentId, store: &dyn Kv) -> Span {
        if self.is_empty() {
            return Span::none();
        }
        match ASSIGNMENTS.get(store, &assignment) {
            Ok(Some(row)) => self.child(row.job, |job| {
                let (provider, shard) = (row.provider, row.shard);
                info_span!(target: TARGET, parent: job, "reveal", otel.kind = "client", %provider, shard)
            }),
            // Whoever performs it says what is wrong.
            _ => Span::none(),
        }
    }

    /// What a step decided: spans that last until it is durable.
    pub(crate) fn of_news(&self, news: &[Happening]) -> Vec<Span> {
        let decided = news.iter().filter_map(|happening| match happening {
            Happening::ShardAccepted { job, shard } => Some(self.child(
                *job,
                |job| info_span!(target: TARGET, parent: job, "verdict", shard),
            )),
            Happening::Payment { job, amount } => Some(self.child(
                *job,
                |job| info_span!(target: TARGET, parent: job, "settle", %amount),
            )),
            _ => None,
        });
        decided.filter(|span| !span.is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> JobId {
        JobId(jobs::digest::Digest::of(&number.to_le_bytes()))
    }

    #[test]
    fn jobs_are_kept_while_somebody_follows_them_and_only_so_many() {
        let spans = Spans::default();
        assert!(!spans.begin(job(0)), "nobody follows");
        assert!(spans.is_empty());
        let listener = tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish();
        tracing::subscriber::with_default(listener, || {
            assert!(spans.begin(job(0)) && !spans.begin(job(0)));
            let make = |parent: &Span| info_span!(target: TARGET, parent: parent, "child");
            assert!(!spans.child(job(0), make).is_none());
            assert!(spans.child(job(1), make).is_none());
            for number in 1..=JOBS_MAX {
                spans.begin(job(number));
            }
            assert!(
                spans.child(job(0), make).is_none(),
                "the oldest is forgotten"
            );
            assert!(!spans.child(job(JOBS_MAX), make).is_none());
            spans.end(job(1));
            assert_eq!(spans.jobs().spans.len(), JOBS_MAX - 1);
            assert_eq!(spans.jobs().begun.len(), JOBS_MAX - 1);
        });
    }
}
