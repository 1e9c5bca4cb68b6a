//! Shards of a job, in the words of the HTTP interface.

use api::backend::Answer;
use api::types::{Problem, ReplicaView, ShardCell, ShardMap, ShardPhase, ShardView};
use jobs::ids::JobId;

use super::backend::Driver;
use super::views::standing;
use crate::core::progress::Progress;
use crate::core::state::{Cause, ReplicaState};
use crate::core::view::JobStatus;
use crate::core::{Core, Failure};

/// How far the shards of a job are, in at most `cells` runs.
pub(super) async fn map(driver: &Driver, job: JobId, cells: u32) -> Answer<ShardMap> {
    let progress = driver.ask(move |core| core.shard_progress(job)).await?;
    let progress = progress.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?;
    Ok(in_cells(&progress, cells))
}

/// One shard of a job.
pub(super) async fn shard(driver: &Driver, job: JobId, index: u32) -> Answer<ShardView> {
    let view = driver.ask(move |core| view(core, job, index)).await?;
    view.ok_or_else(|| Problem::not_found(format_args!("shard {index} of job {job}")))
}

fn in_cells(progress: &[Progress], cells: u32) -> ShardMap {
    let run = progress.len().div_ceil(cells.max(1) as usize).max(1);
    let cells = progress.chunks(run).zip((0_u32..).step_by(run));
    let cells = cells.map(|(run, first)| {
        let mut cell = ShardCell {
            first,
            ..ShardCell::default()
        };
        run.iter().for_each(|shard| cell.count(phase(*shard)));
        cell
    });
    ShardMap {
        shards: u32::try_from(progress.len()).unwrap_or(u32::MAX),
        cells: cells.collect(),
    }
}

fn view(core: &Core, job: JobId, index: u32) -> Option<ShardView> {
    let at = usize::try_from(index).ok()?;
    let progress = *core.shard_progress(job)?.get(at)?;
    let job = core.view_job(job)?;
    let ended = matches!(job.status, JobStatus::Done | JobStatus::Failed);
    let shard = job.shards.get(at)?;
    let replicas = shard.replicas.iter().map(|replica| {
        let (state, reason, paid) = words(&replica.state);
        ReplicaView {
            assignment: replica.assignment,
            provider: ended.then_some(replica.provider),
            state: state.to_owned(),
            reason,
            standing: ended.then(|| standing(&replica.state, shard.accepted)),
            check: replica.check,
            paid,
            dispatched: replica.times.dispatched,
            accepted: replica.times.accepted,
            committed: replica.times.committed,
        }
    });
    Some(ShardView {
        index,
        first_item: shard.first_item,
        items: shard.items,
        phase: phase(progress),
        replicas: replicas.collect(),
    })
}

fn words(state: &ReplicaState) -> (&'static str, Option<String>, Option<jobs::money::Amount>) {
    match state {
        ReplicaState::Offered { .. } => ("offered", None, None),
        ReplicaState::Running { .. } => ("running", None, None),
        ReplicaState::Committed => ("committed", None, None),
        ReplicaState::Revealing { .. } => ("revealing", None, None),
        ReplicaState::Revealed => ("revealed", None, None),
        ReplicaState::Provisional => ("provisional", None, None),
        ReplicaState::Closed(cause) => ("closed", Some(why(cause)), None),
        ReplicaState::Settled { agreed, paid } => {
            let lost = (!agreed).then(|| "out of line with the verdict".to_owned());
            ("settled", lost, Some(*paid))
        }
    }
}

/// Why an assignment came to nothing, in words.
pub(super) fn why(cause: &Cause) -> String {
    match cause {
        Cause::Refused(code) => format!("refused: {code}"),
        Cause::NotAccepted => "not accepted in time".into(),
        Cause::Overdue => "no commitment in time".into(),
        Cause::Lost => "the connection was lost".into(),
        Cause::Failed(failure) => failed(failure),
        Cause::RevealFailed => "not revealed in time".into(),
        Cause::OutputsInvalid => "the outputs are not what they claim".into(),
        Cause::Banned => "the provider was banned".into(),
        Cause::JobEnded => "the job ended".into(),
        Cause::Refuted => "refuted".into(),
        Cause::Moot => "the answer to be checked is gone".into(),
        Cause::OpeningFailed => "did not open what it had noted".into(),
    }
}

fn failed(failure: &Failure) -> String {
    match failure {
        Failure::Guest(code) => format!("the job failed: {code}"),
        Failure::Timeout => "the job's wall clock ran out".into(),
        Failure::WorkerLost => "the worker died".into(),
        Failure::Provider(code) => format!("the provider failed: {code}"),
    }
}

const fn phase(progress: Progress) -> ShardPhase {
    match progress {
        Progress::Waiting => ShardPhase::Waiting,
        Progress::Working => ShardPhase::Working,
        Progress::Answered => ShardPhase::Answered,
        Progress::Undecided => ShardPhase::Undecided,
        Progress::Accepted => ShardPhase::Accepted,
        Progress::Contested => ShardPhase::Contested,
        Progress::Failed => ShardPhase::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_cell() {
        let cases = [
            (0, 8),
            (1, 8),
            (8, 8),
            (9, 8),
            (100, 7),
            (4096, 4096),
            (5000, 4096),
        ];
        for (shards, cells) in cases {
            let progress = vec![Progress::Accepted; shards];
            let map = in_cells(&progress, cells);
            assert_eq!(map.shards as usize, shards);
            assert!(map.cells.len() <= cells as usize, "{shards} in {cells}");
            let mut next = 0;
            for cell in &map.cells {
                assert_eq!(cell.first, next, "{shards} in {cells}");
                next += cell.accepted;
            }
            assert_eq!(next as usize, shards);
        }
    }
}
