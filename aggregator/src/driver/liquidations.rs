//! What accusers ask, and comparing what they had executed.

use api::backend::{Answer, Asked, Response};
use api::problem::{Code, Problem};
use api::types::{CasePhase, CaseReply, CaseView, TestimonyView, TieReply, VotesView};
use jobs::accusation::SignedAccusation;
use jobs::digest::BlobRef;
use jobs::envelope::SignedPackage;
use jobs::ids::CaseId;
use jobs::package::Package;
use policy::liquidation::Reason;

use super::actor::{compared, report, spawn, stubborn};
use super::backend::{Driver, check_same, internal, problem, refused_package};
use super::once::{self, Beginning};
use super::rows::Row;
use super::{Shared, prepare};
use crate::core::liquidation::CaseEvent;
use crate::core::state::{Case, CaseEnd, Decided, Says};
use crate::core::{Action, Core, Event, JobSpec, Reply};

/// Checks an accusation, and opens its case.
pub(crate) async fn accuse(
    shared: &Shared,
    asked: Asked,
    signed: SignedAccusation,
) -> Answer<Response> {
    let verified = signed.verify().map_err(|error| refused_package(&error))?;
    let (case, accusation) = (verified.id, verified.accusation);
    if accusation.aggregator != shared.id {
        let (theirs, ours) = (accusation.aggregator, shared.id);
        let detail = format!("accusation.aggregator = {theirs}: must be {ours}");
        return Err(Problem::invalid(detail));
    }
    shared
        .signers
        .check(accusation.client)
        .map_err(|error| refused_package(&error))?;
    let (client, answer) = (accusation.client, accusation.answer);
    check_same(asked.client()?, client, "the accusation")?;
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let window_ms = accusation.window_ms;
    // What is found here stays until the case refers to it.
    let _work = shared.blobs.at_work();
    // Before it becomes an event: what strangers send must not fill the log.
    let may = shared.handle.ask(move |core| match core.is_case(case) {
        true => Ok(None),
        false => core.check_accusation(client, &answer, window_ms).map(Some),
    });
    let may = may.await.map_err(|error| internal(&error))?;
    let accused = may.map_err(|refusal| problem(&refusal))?;
    let outputs = accused.map(|accused| accused.outcome.outputs.digest);
    if let Some(outputs) = outputs.filter(|outputs| !shared.blobs.contains(outputs)) {
        let detail =
            format!("the accused outputs {outputs} were removed: results are kept no longer");
        return Err(Problem::of(Code::Gone, detail));
    }
    let event = move |request| {
        Event::Liquidation(CaseEvent::Accuse {
            request,
            case,
            client,
            answer,
            window_ms,
        })
    };
    let rows = vec![Row::Accusation(case, signed)];
    let respond = |reply: &Reply, _: bool| match reply {
        Reply::Accused { case, repeated } => {
            let (case, repeated) = (*case, *repeated);
            Response::json(201, &CaseReply { case, repeated }).ok()
        }
        _ => None,
    };
    begun.settle(event, rows, None, respond).await
}

/// Ties a job to a case, by its package, which need not be submitted yet: what it comes to must count before anybody
/// can know what it comes to.
pub(crate) async fn tie(
    shared: &Shared,
    asked: Asked,
    case: CaseId,
    signed: SignedPackage,
) -> Answer<Response> {
    let verified = signed.verify().map_err(|error| refused_package(&error))?;
    let (client, job) = (verified.client, verified.id);
    check_same(asked.client()?, client, "the package")?;
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let spec = JobSpec::of(&verified.package);
    let asked = spec.clone();
    let may = shared.handle.ask(move |core| {
        core.check_tie(case, client, job, &asked)?;
        let accused = core.open_case(case).map(|case| &case.accused);
        Ok(accused.map(|accused| (accused.job, accused.input)))
    });
    let may = may.await.map_err(|error| internal(&error))?;
    let accused = may.map_err(|refusal| problem(&refusal))?;
    let Some((accused, input)) = accused else {
        return Err(Problem::internal());
    };
    let package = prepare::package(shared, accused).map_err(|error| internal(&error))?;
    if let Some(field) = other_work(&package, input, &verified.package) {
        let detail = format!("the job's {field} is not as the accused answer's");
        return Err(Problem::of(Code::NotTheSame, detail));
    }
    let event = move |request| {
        Event::Liquidation(CaseEvent::Tie {
            request,
            case,
            client,
            job,
            spec: Box::new(spec),
        })
    };
    let respond = |reply: &Reply, _: bool| match reply {
        Reply::Tied { job, repeated, .. } => {
            let (job, repeated) = (*job, *repeated);
            Response::json(201, &TieReply { job, repeated }).ok()
        }
        _ => None,
    };
    begun.settle(event, Vec::new(), Some(job), respond).await
}

/// What a job executes otherwise than an accused answer's job, if anything.
fn other_work(accused: &Package, input: BlobRef, package: &Package) -> Option<&'static str> {
    let same = [
        (package.component == accused.component, "component"),
        (package.models == accused.models, "models"),
        (package.input.blob == input, "input"),
        (package.output == accused.output, "output"),
        (package.comparator == accused.comparator, "comparator"),
        (package.profile == accused.profile, "profile"),
        (package.cpu_nodes == accused.cpu_nodes, "cpu_nodes"),
    ];
    let mut same = same.into_iter();
    same.find_map(|(same, field)| (!same).then_some(field))
}

/// Compares two answers for a case, for as long as the case is open.
pub(crate) fn compare(action: Action, shared: &std::sync::Arc<Shared>) {
    let Action::CompareCase {
        case,
        job,
        left,
        right,
        left_outputs,
        right_outputs,
    } = action
    else {
        return;
    };
    let act = std::sync::Arc::clone(shared);
    spawn(shared, async move {
        let wanted = move |core: &Core| core.open_case(case).is_some();
        let attempt = || async {
            let outputs = (left_outputs, right_outputs);
            let event = Event::Liquidation(CaseEvent::Compared {
                case,
                left,
                right,
                finding: compared(job, outputs, Vec::new(), &act).await?,
            });
            report(&act, event).await
        };
        stubborn(&act, wanted, attempt).await
    });
}

/// The latest decided cases. Open ones are shown only to who knows their names: an accused that could see what is
/// executed again would answer that alone as it should.
pub(crate) async fn cases(driver: &Driver) -> Answer<Vec<CaseView>> {
    let question = |core: &Core| {
        let decided = core.decided_cases().into_iter();
        decided.map(|(id, case)| decided_view(id, case)).collect()
    };
    driver.ask(question).await
}

/// One case.
pub(crate) async fn case(driver: &Driver, id: CaseId) -> Answer<CaseView> {
    let question = move |core: &Core| match core.open_case(id) {
        Some(case) => Some(open_view(id, case)),
        None => core.decided_case(id).map(|case| decided_view(id, case)),
    };
    let view = driver.ask(question).await?;
    view.ok_or_else(|| Problem::not_found(format_args!("case {id}")))
}

fn open_view(id: CaseId, case: &Case) -> CaseView {
    CaseView {
        case: id,
        phase: CasePhase::Open,
        reason: None,
        client: case.client,
        job: case.accused.job,
        shard: case.accused.shard,
        assignment: case.accused.assignment,
        provider: case.accused.provider,
        opened: case.opened,
        due: Some(case.due),
        decided: None,
        jobs: case.jobs.keys().copied().collect(),
        votes: None,
        testimony: Vec::new(),
        slashed: Default::default(),
        bounty: Default::default(),
    }
}

fn decided_view(id: CaseId, case: &Decided) -> CaseView {
    let (phase, reason) = match case.end {
        CaseEnd::Slashed { .. } => (CasePhase::Slashed, None),
        CaseEnd::Refunded(reason) => (CasePhase::Refunded, Some(words(reason).to_owned())),
        CaseEnd::Moot => (CasePhase::Moot, None),
    };
    let (slashed, bounty) = match case.end {
        CaseEnd::Slashed { slashed, bounty } => (slashed, bounty),
        _ => Default::default(),
    };
    let testimony = case.testimony.iter().map(|one| TestimonyView {
        provider: one.provider,
        operator: one.kin.operator,
        stake: one.stake,
        referee: one.referee,
        says: says(one.says).to_owned(),
    });
    CaseView {
        case: id,
        phase,
        reason,
        client: case.client,
        job: case.job,
        shard: case.shard,
        assignment: case.assignment,
        provider: case.provider,
        opened: case.opened,
        due: None,
        decided: Some(case.at),
        jobs: case.jobs.clone(),
        votes: Some(VotesView {
            against: jobs::money::Amount(case.votes.against),
            operators: case.votes.operators,
            defending: jobs::money::Amount(case.votes.defending),
            sampled: jobs::money::Amount(case.votes.sampled),
            refuted: case.votes.refuted,
        }),
        testimony: testimony.collect(),
        slashed,
        bounty,
    }
}

/// Why nothing was taken, as a stable name.
const fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::TooManyDefend => "too_many_defend",
        Reason::TooFewSampled => "too_few_sampled",
        Reason::TooFewOperators => "too_few_operators",
        Reason::Unconfirmed => "unconfirmed",
        Reason::Acquitted => "acquitted",
    }
}

const fn says(says: Says) -> &'static str {
    match says {
        Says::Nothing => "nothing",
        Says::Unclear => "unclear",
        Says::Against => "against",
        Says::Defends => "defends",
        Says::Confirms => "confirms",
        Says::Acquits => "acquits",
    }
}
