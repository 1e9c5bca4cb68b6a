//! A client gives its job up.
//!
//! Whatever a verdict has settled stays paid. For the rest the rule is that of a deadline that passes: nothing more is
//! given out, accepted or paid, and what was reserved returns, commitments included. To pay for a commitment it would
//! have to be revealed and judged, possibly by more replicas: the job would go on at its client's expense for as long
//! as it could have gone on anyway. Nobody gains by it: outputs are shown to no client before every shard is paid.

use jobs::ids::{ClientId, JobId};

use super::action::{FailReason, JobOutcome, Reply};
use super::event::{Code, RequestId};
use super::refusal::Refusal;
use super::state::{End, Job, Phase};
use super::{Core, Effects};

impl Core {
    pub(super) fn cancel(
        &mut self,
        request: RequestId,
        id: JobId,
        client: ClientId,
        fx: &mut Effects,
    ) {
        let may = match self.jobs.get(&id) {
            None => Err(Refusal::UnknownJob),
            Some(job) if job.client != client => Err(Refusal::NotYours),
            Some(job) => may_cancel(job),
        };
        let reply = may.map(|()| {
            // Changes nothing if it is a repetition.
            self.end_job(id, JobOutcome::Failed(FailReason::Cancelled), fx);
            Reply::Cancelled { job: id }
        });
        fx.reply(request, reply);
    }
}

fn may_cancel(job: &Job) -> Result<(), Refusal> {
    let phase = match &job.phase {
        Phase::Preparing => return Ok(()),
        // Who has the result may not make off without paying for it.
        Phase::Running | Phase::Merging | Phase::Provisional { .. }
            if job.spec.audit.is_some() && job.merges > 0 =>
        {
            return Err(Refusal::ResultDelivered);
        }
        Phase::Running => return Ok(()),
        Phase::Ending(outcome) | Phase::Ended(End { outcome, .. }) => match outcome {
            JobOutcome::Failed(FailReason::Cancelled) => return Ok(()),
            JobOutcome::Failed(_) => "failed",
            JobOutcome::Done { .. } => "done",
        },
        // Everybody is paid: there is nothing to save.
        Phase::Merging => "merging",
        Phase::Provisional { .. } => "provisional",
    };
    let phase = Code::new(phase);
    Err(Refusal::NotCancellable { phase })
}
