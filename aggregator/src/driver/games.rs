//! What validators ask and report.

use api::backend::{Answer, Asked, Backend, Response};
use api::problem::{Code, Problem};
use api::types::{AssignmentView, EpochView, ScoresReply, ScoresRequest};
use jobs::ids::JobId;

use super::backend::{Driver, internal, problem};
use super::once::{self, Beginning};
use super::rows::Row;
use super::{Shared, clock, views};
use crate::core::{Event, Reply};

/// Every assignment of a job that has ended.
pub(crate) async fn assignments(driver: &Driver, job: JobId) -> Answer<Vec<AssignmentView>> {
    let listed = driver
        .ask(move |core| views::assignments(core, job))
        .await?;
    if let Some(listed) = listed {
        return Ok(listed);
    }
    // Says that there is no such job, if so.
    let view = driver.job(job).await?;
    let phase = view.phase;
    Err(Problem::conflict(format!(
        "job {job} is {phase}: who executes it is told when it has ended"
    )))
}

/// Where the game is now.
pub(crate) async fn epoch(driver: &Driver) -> Answer<EpochView> {
    driver
        .ask(|core| views::epoch(core, clock().max(core.now())))
        .await
}

/// Checks a report, and files it with its signature.
pub(crate) async fn scores(
    shared: &Shared,
    asked: Asked,
    scores: &ScoresRequest,
) -> Answer<Response> {
    let invalid = |error: jobs::Error| match error {
        jobs::Error::Signature { .. } => Problem::of(Code::Signature, error.to_string()),
        _ => Problem::invalid(error.to_string()),
    };
    let signed = scores.signed().map_err(invalid)?;
    let verified = signed.verify().map_err(invalid)?;
    let (validator, report) = (verified.signer, verified.statement);
    report.check().map_err(invalid)?;
    if report.aggregator != shared.id {
        let (theirs, ours) = (report.aggregator, shared.id);
        let detail = format!("report.aggregator = {theirs}: must be {ours}");
        return Err(Problem::invalid(detail));
    }
    let begun = match once::begin(shared, asked, validator.0).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    // Before it becomes an event: what strangers send must not fill the log.
    let listed = shared.handle.ask(move |core| core.is_validator(validator));
    let listed = listed.await.map_err(|error| internal(&error))?;
    listed.map_err(|refusal| problem(&refusal))?;
    let (epoch, digest) = (report.epoch, report.digest().map_err(invalid)?);
    let event = move |request| Event::Scores {
        request,
        validator,
        epoch,
        digest,
        scores: report.totals(),
    };
    let rows = vec![Row::Report(validator, epoch, signed)];
    let respond = |reply: &Reply, _: bool| match reply {
        Reply::Scored {
            contradicts: false,
            epoch,
            repeated,
        } => {
            let (epoch, repeated) = (*epoch, *repeated);
            Response::json(201, &ScoresReply { epoch, repeated }).ok()
        }
        _ => None,
    };
    match begun.decide(event, rows, None, respond).await? {
        Ok(response) => Ok(response),
        Err(decided) => match decided.reply {
            Some(Ok(Reply::Scored {
                contradicts: true, ..
            })) => Err(contradiction(epoch)),
            _ => Err(Problem::internal()),
        },
    }
}

fn contradiction(epoch: u64) -> Problem {
    let detail = format!(
        "epoch {epoch} has another report of this validator: both are kept as evidence, and neither counts \
         unless the epoch is closed"
    );
    Problem::of(Code::ContradictingReport, detail)
}
