//! Accusers: clients that have judged answers executed again, rightly and wrongly, and sometimes too late.

use jobs::accusation::Answer;
use jobs::ids::{CaseId, ClientId};
use jobs::money::Amount;

use super::{Event, Item, Movement, RequestId, World, plan};
use crate::core::event::JobSpec;
use crate::core::liquidation::CaseEvent;
use crate::core::{Reply, view::ReplicaParts};
use crate::sim::plan::{Dice, JobPlan};
use jobs::ids::JobId;

/// Latest opening of a case in simulated milliseconds, so that every one is over when the seed is.
const ACCUSE_UNTIL_MS: u64 = 350_000;
/// Cases of one seed.
const CASES_MAX: usize = 6;
/// What accusers have to spend.
const FUNDS: Amount = Amount(900_000_000);
/// What an accuser offers for one execution, in all.
const PRICE: u128 = 8_000_000;
/// Number of the client that accuses.
const ACCUSER: u64 = 7;

/// A case under way.
#[derive(Debug)]
struct CasePlan {
    id: CaseId,
    answer: Answer,
    window_ms: u64,
    /// Jobs still to be tied to it.
    jobs: u64,
}

/// Everybody who accuses, with dice of their own: what they do leaves everything else as it is.
#[derive(Debug)]
pub(super) struct Accusers {
    seed: u64,
    dice: Dice,
    cases: Vec<CasePlan>,
}

impl Accusers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: Dice::new(seed ^ 0x0acc_05e5),
            cases: Vec::new(),
        }
    }

    /// What a provider stakes. Most of the honest ones have much to lose, or no vote would ever suffice; so have some of
    /// the others.
    pub(super) fn stake(&mut self, honest: bool) -> Amount {
        let much = self.dice.chance(if honest { 800 } else { 150 });
        Amount(if much { 30_000_000 } else { 1_000_000 })
    }

    fn client(&self) -> ClientId {
        plan::client(self.seed, ACCUSER)
    }
}

impl World {
    pub(super) fn fund_accusers(&mut self) {
        let client = self.accusers.client();
        self.plan_move(Movement::Deposit(client), FUNDS);
    }

    /// A job has ended: somebody may hold an answer of it to be wrong.
    pub(super) fn consider(&mut self, job: JobId) {
        if self.now > ACCUSE_UNTIL_MS || self.accusers.cases.len() >= CASES_MAX {
            return;
        }
        let Some(parts) = self.node.core.record_parts(job) else {
            return;
        };
        let answers = parts.shards.iter().flat_map(|shard| {
            let replicas = shard.replicas.iter();
            replicas.map(move |replica| (shard.index, replica))
        });
        let answers: Vec<(u32, &ReplicaParts)> = answers.collect();
        let lost: Vec<_> = answers.iter().filter(|(_, r)| !r.agreed).copied().collect();
        // Who lost a vote is accused more often than not, and sometimes somebody else, for nothing.
        let dice = &mut self.accusers.dice;
        let among = match (lost.is_empty(), dice.chance(850), dice.chance(300)) {
            (false, true, _) => lost,
            (_, _, true) => answers,
            _ => return,
        };
        let last = among.len().saturating_sub(1) as u64;
        let at = usize::try_from(self.accusers.dice.range(0, last)).unwrap_or(0);
        let Some((shard, replica)) = among.get(at) else {
            return;
        };
        let answer = Answer {
            job,
            shard: *shard,
            provider: replica.provider,
            assignment: replica.assignment,
            root: replica.opening.outcome.root,
        };
        let number = self.accusers.cases.len();
        let case = CasePlan {
            id: CaseId(plan::name("case", self.seed, number as u64)),
            answer,
            window_ms: self.accusers.dice.range(30_000, 90_000),
            jobs: match self.accusers.dice.chance(800) {
                true => self.accusers.dice.range(5, 10),
                false => self.accusers.dice.range(0, 3),
            },
        };
        self.accusers.cases.push(case);
        let soon = self.accusers.dice.range(100, 5_000);
        self.at(soon, Item::Accuse(number));
        // Said twice, because the first word may be lost.
        self.at(soon.saturating_add(4_000), Item::Accuse(number));
        self.at(soon.saturating_add(6_000), Item::Tie(number));
    }

    pub(super) fn accuse(&mut self, case: usize) {
        let request = self.next_request();
        let client = self.accusers.client();
        let Some(plan) = self.accusers.cases.get(case) else {
            return;
        };
        let event = CaseEvent::Accuse {
            request,
            case: plan.id,
            client,
            answer: plan.answer,
            window_ms: plan.window_ms,
        };
        self.ask_about_case(event);
    }

    /// Submits one more job for a case, and says that it bears on it: before, or as a cheat after.
    pub(super) fn tie(&mut self, case: usize) {
        let Some((id, answer)) = self.accusers.cases.get_mut(case).and_then(|plan| {
            plan.jobs = plan.jobs.checked_sub(1)?;
            Some((plan.id, plan.answer))
        }) else {
            return;
        };
        let (index, soon) = (self.jobs.len(), self.accusers.dice.range(100, 6_000));
        self.at(soon, Item::Tie(case));
        let Some(job) = self.again(&answer, index) else {
            return;
        };
        let event = CaseEvent::Tie {
            request: self.next_request(),
            case: id,
            client: job.client,
            job: job.id,
            spec: Box::new(job.spec.clone()),
        };
        self.jobs.push(job);
        if self.accusers.dice.chance(150) {
            self.at(1, Item::Submit(index, 0));
            let late = self.accusers.dice.range(2, 30_000);
            let event = Event::Liquidation(event);
            self.at(late, Item::Arrive(Box::new(event)));
            return;
        }
        self.ask_about_case(event);
        let then = self.accusers.dice.range(1, 3_000);
        self.at(then, Item::Submit(index, 0));
    }

    /// A job that executes the shard of an answer again: by anybody, or by a referee.
    fn again(&mut self, answer: &Answer, index: usize) -> Option<JobPlan> {
        let origin = self.jobs.iter().find(|plan| plan.id == answer.job)?.clone();
        let spans = jobs::plan::plan(origin.spec.items, origin.spec.items_per_shard);
        let items = spans.get(answer.shard as usize)?.items;
        let referees = self.node.core.config().referees.iter().copied();
        let referees: Vec<_> = referees.collect();
        let dice = &mut self.accusers.dice;
        // One referee after the other, between the others.
        let one = (index / 2).checked_rem(referees.len().max(1)).unwrap_or(0);
        let named = referees.get(one).copied();
        let referee = named.filter(|_| index.is_multiple_of(2));
        let replicas = match referee {
            Some(_) => 1,
            None => u8::try_from(dice.range(2, 4)).unwrap_or(2),
        };
        let more = u8::try_from(dice.range(0, 3)).unwrap_or(0);
        let spec = JobSpec {
            items,
            items_per_shard: items,
            replicas,
            max_replicas: replicas.saturating_add(more),
            trusted: referee.map(|one| [one].into()),
            audit: None,
            max_price: Amount(PRICE),
            deadline_ms: dice.range(30_000, 60_000),
            ..origin.spec.clone()
        };
        Some(JobPlan {
            id: JobId(plan::name("again", self.seed, index as u64)),
            first_shard: origin.first_shard.saturating_add(answer.shard),
            client: self.accusers.client(),
            spec,
            submit_ms: self.now,
            cancel_ms: None,
            bad_blobs: false,
            ..origin
        })
    }

    fn next_request(&mut self) -> RequestId {
        self.requested = self.requested.saturating_add(1);
        RequestId(self.requested)
    }

    fn ask_about_case(&mut self, event: CaseEvent) {
        let lost = self.faulty() && self.accusers.dice.chance(100);
        if !lost {
            self.feed(Event::Liquidation(event));
        }
    }

    pub(super) fn count_case(&mut self, reply: Option<&Reply>) {
        let opened = matches!(
            reply,
            Some(Reply::Accused {
                repeated: false,
                ..
            })
        );
        self.counts.accused = self.counts.accused.saturating_add(u64::from(opened));
    }
}
