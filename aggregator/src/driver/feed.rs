//! What a step of the core means to who watches: a pure mapping from an event, its actions and how far things were
//! before, to what is told.

use std::collections::BTreeMap;

use api::feed::Happening;
use api::types::JobPhase;
use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;

use super::views;
use crate::core::steps::Step;
use crate::core::{Action, Core, Event};

/// What was told of a job that has not ended.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    phase: Option<JobPhase>,
    paid: Amount,
}

/// What was told so far: of open jobs only.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: BTreeMap<JobId, Told>,
}

/// What an event is about, and how far that was before it.
#[derive(Debug)]
pub(crate) struct Before {
    /// Its job, where that was, and what its providers had got.
    job: Option<(JobId, Told)>,
    shard: Option<(JobId, u32, Step)>,
    provider: Option<(ProviderId, bool)>,
    /// Whether it is new what the event says, and not heard twice.
    said: Option<fn(JobId, u32) -> Happening>,
}

/// Looks at what an event is about, before it happens.
pub(crate) fn before(core: &Core, event: &Event) -> Before {
    let (job, shard, said) = about(core, event);
    let shard = job.zip(shard).and_then(|(job, shard)| {
        let progress = core.shard_step(job, shard)?;
        Some((job, shard, progress))
    });
    let provider = match event {
        Event::Offer { offer, .. } => Some(offer.provider),
        Event::ProviderLost { provider } => Some(*provider),
        _ => None,
    };
    let job = job.map(|job| {
        let phase = views::phase(core, job).map(|(phase, _)| phase);
        let paid = core.paid_in_all(job).unwrap_or_default();
        (job, Told { phase, paid })
    });
    Before {
        job,
        shard,
        provider: provider.map(|provider| (provider, core.is_online(provider))),
        said,
    }
}

type About = (
    Option<JobId>,
    Option<u32>,
    Option<fn(JobId, u32) -> Happening>,
);

/// Which job and shard an event is about, and what it says by itself.
fn about(core: &Core, event: &Event) -> About {
    let placed = |assignment, said| match core.place_of(assignment) {
        Some((job, shard)) => (Some(job), Some(shard), said),
        None => (None, None, None),
    };
    let committed: fn(JobId, u32) -> Happening =
        |job, shard| Happening::ShardCommitted { job, shard };
    let revealed: fn(JobId, u32) -> Happening =
        |job, shard| Happening::ShardRevealed { job, shard };
    match event {
        Event::Committed { commitment } => placed(commitment.assignment, Some(committed)),
        Event::Revealed { assignment, .. } | Event::OutputsIncomparable { assignment, .. } => {
            let asked = core.is_revealing(*assignment);
            placed(*assignment, asked.then_some(revealed))
        }
        Event::RevealFailed { assignment }
        | Event::ExecutionFailed { assignment, .. }
        | Event::AssignRefused { assignment, .. }
        | Event::AssignUnsent { assignment } => placed(*assignment, None),
        Event::Compared { job, shard, .. }
        | Event::OpeningFailed { job, shard, .. }
        | Event::Sampled { job, shard, .. } => (Some(*job), Some(*shard), None),
        Event::Submit { job, .. }
        | Event::BlobsReady { job, .. }
        | Event::BlobsInvalid { job, .. }
        | Event::Merged { job, .. }
        | Event::MergeFailed { job, .. }
        | Event::Recorded { job }
        | Event::Challenge { job, .. }
        | Event::Share { job, .. }
        | Event::Cancel { job, .. } => (Some(*job), None, None),
        _ => (None, None, None),
    }
}

impl Teller {
    /// What an event led to.
    pub(crate) fn after(
        &mut self,
        core: &Core,
        before: &Before,
        actions: &[Action],
    ) -> Vec<Happening> {
        let mut told = Vec::new();
        if let Some((job, shard, was)) = before.shard {
            // A second commitment, or one that came too late, was told of before or moves nothing.
            told.extend(before.said.map(|said| said(job, shard)));
            moved((job, shard), was, core.shard_step(job, shard), &mut told);
        }
        for action in actions {
            match action {
                Action::Dispatch(assignment) => told.push(Happening::ShardDispatched {
                    job: assignment.job,
                    shard: assignment.shard,
                }),
                Action::Banned { provider, .. } => {
                    told.push(Happening::ProviderBanned {
                        provider: *provider,
                    });
                }
                _ => {}
            }
        }
        match before.provider {
            Some((provider, false)) if core.is_online(provider) => {
                told.push(Happening::ProviderOnline { provider });
            }
            Some((provider, true)) if !core.is_online(provider) => {
                told.push(Happening::ProviderOffline { provider });
            }
            _ => {}
        }
        self.jobs(core, before, actions, &mut told);
        told
    }

    /// Phases and payments of the jobs that may have moved.
    fn jobs(
        &mut self,
        core: &Core,
        before: &Before,
        actions: &[Action],
        told: &mut Vec<Happening>,
    ) {
        if let Some((job, was)) = before.job {
            self.told.entry(job).or_insert(was);
        }
        let mut moved: Vec<JobId> = before.job.iter().map(|(job, _)| *job).collect();
        let mut money = false;
        for action in actions {
            match action {
                Action::Finished { job, .. } | Action::Merge { job, .. } => moved.push(*job),
                Action::Journal(_) => money = true,
                _ => {}
            }
        }
        if money && before.job.is_none() {
            // Time passed, and answers of any job may have become final.
            moved.extend(self.told.keys());
        }
        moved.sort_unstable();
        moved.dedup();
        for job in moved {
            self.job(core, job, told);
        }
    }

    fn job(&mut self, core: &Core, job: JobId, news: &mut Vec<Happening>) {
        let Some((phase, reason)) = views::phase(core, job) else {
            // Never admitted, or forgotten.
            self.told.remove(&job);
            return;
        };
        // Of what went on before a restart nobody knows what was told.
        let known = self.told.contains_key(&job);
        let told = self.told.entry(job).or_default();
        let paid = core.paid_in_all(job).unwrap_or_default();
        if let Some(amount) = paid
            .checked_sub(told.paid)
            .filter(|more| *more > Amount::ZERO)
        {
            if known {
                news.push(Happening::Payment { job, amount });
            }
            told.paid = paid;
        }
        if told.phase != Some(phase) {
            told.phase = Some(phase);
            news.push(Happening::JobPhase { job, phase, reason });
        }
        if phase.is_terminal() {
            self.told.remove(&job);
        }
    }
}

/// How far a shard got.
fn moved((job, shard): (JobId, u32), was: Step, is: Option<Step>, told: &mut Vec<Happening>) {
    let Some(is) = is else { return };
    if is.dissenting > was.dissenting {
        let replicas = is.dissenting;
        told.push(Happening::Disagreement {
            job,
            shard,
            replicas,
        });
    }
    if is.accepted && !was.accepted {
        told.push(Happening::ShardAccepted { job, shard });
    } else if !is.accepted && is.wanted > was.wanted {
        let replicas = is.wanted;
        told.push(Happening::ShardUndecided {
            job,
            shard,
            replicas,
        });
    }
}
