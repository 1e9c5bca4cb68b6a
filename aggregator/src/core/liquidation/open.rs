//! Which answers may be accused, and which jobs may bear that out.

use jobs::accusation::{Answer, WINDOW_MS_MAX, WINDOW_MS_MIN};
use jobs::ids::{CaseId, ClientId, JobId};
use jobs::money::Amount;
use ledger::{Account, TransferId};

use super::{ANSWER_AGE_MS_MAX, CASES_OPEN_MAX, CASES_PER_CLIENT_MAX, JOBS_PER_CASE_MAX};
use crate::core::Core;
use crate::core::action::{Evidence, Reply};
use crate::core::event::{Code, JobSpec};
use crate::core::refusal::Refusal;
use crate::core::replica::slash_id;
use crate::core::state::{Accused, Case, Job, Place, Replica, ReplicaState, Shard};

impl Core {
    /// Opens a case. The same accusation again is the same case.
    pub(super) fn accuse(
        &mut self,
        id: CaseId,
        client: ClientId,
        answer: &Answer,
        window_ms: u64,
    ) -> Result<Reply, Refusal> {
        if self.is_case(id) {
            return Reply::accused(id, true);
        }
        let accused = self.check_accusation(client, answer, window_ms)?;
        let case = Case {
            client,
            accused,
            opened: self.now,
            due: self.now.plus_ms(window_ms),
            jobs: Default::default(),
            voters: Default::default(),
            asked: None,
        };
        self.liquidations.open.insert(id, case);
        Reply::accused(id, false)
    }

    /// Whether a case is known, open or decided.
    #[must_use]
    pub fn is_case(&self, id: CaseId) -> bool {
        self.open_case(id).is_some() || self.decided_case(id).is_some()
    }

    /// Whether an answer may be accused now, and what of it is kept.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check_accusation(
        &self,
        client: ClientId,
        answer: &Answer,
        window_ms: u64,
    ) -> Result<Accused, Refusal> {
        if !(WINDOW_MS_MIN..=WINDOW_MS_MAX).contains(&window_ms) {
            return Err(Refusal::OutOfBounds {
                field: Code::new("window_ms"),
                value: window_ms,
                min: WINDOW_MS_MIN,
                max: WINDOW_MS_MAX,
            });
        }
        self.check_undecided(client, answer)?;
        let assignment = answer.assignment;
        let unjudged = || Refusal::NotJudged { assignment };
        let (job, shard, replica) = self.judged(answer).ok_or_else(unjudged)?;
        let input = shard.input.ok_or_else(unjudged)?;
        let outcome = &replica.opening.as_ref().ok_or_else(unjudged)?.outcome;
        let committed = replica.times.committed.ok_or_else(unjudged)?;
        let age_ms = self.now.since_ms(committed);
        if age_ms > ANSWER_AGE_MS_MAX {
            let max_ms = ANSWER_AGE_MS_MAX;
            return Err(Refusal::TooOld { age_ms, max_ms });
        }
        let provider = replica.provider;
        let known = self.providers.get(&provider);
        let known = known.filter(|known| known.banned.is_none());
        let stake = self.ledger.balance(&Account::Stake(provider)).available();
        if known.is_none() || stake.unwrap_or_default().is_zero() {
            return Err(Refusal::NothingAtStake { provider });
        }
        // Who opens a case is going to pay for executions. Otherwise anybody could fill the table for nothing.
        let have = self.ledger.balance(&Account::Client(client)).available();
        let (have, need) = (have.unwrap_or_default(), job.quote.share);
        if have < need {
            return Err(Refusal::InsufficientFunds { have, need });
        }
        Ok(Accused {
            job: answer.job,
            shard: answer.shard,
            items: shard.items,
            input,
            assignment,
            provider,
            kin: replica.kin,
            class: replica.class,
            outcome: outcome.clone(),
            spec: Box::new(job.spec.clone()),
            share: job.quote.share,
        })
    }

    /// Whether there is room for a case, and none has decided about this answer, nor this client accused it before:
    /// whoever comes with further jobs must not have the chance to leave out earlier ones.
    fn check_undecided(&self, client: ClientId, answer: &Answer) -> Result<(), Refusal> {
        let assignment = answer.assignment;
        let decided = self.liquidations.decided.iter();
        let mut decided = decided.filter(|(_, case)| case.assignment == assignment);
        let once = decided.find(|(_, case)| case.end.is_final() || case.client == client);
        if let Some((case, _)) = once {
            return Err(Refusal::CaseDecided { case: *case });
        }
        let evidence = Evidence::Liquidated {
            assignment,
            root: answer.root,
        };
        let taken = slash_id(answer.provider, evidence);
        if self.is_taken(&taken) {
            return Err(Refusal::StakeTaken { assignment });
        }
        let open = self.liquidations.open.iter();
        let mut own = open.filter(|(_, case)| case.client == client);
        let count = own.clone().count();
        if let Some((case, _)) = own.find(|(_, case)| case.accused.assignment == assignment) {
            return Err(Refusal::CaseOpen { case: *case });
        }
        let full = |what: &str, max: usize| {
            Err(Refusal::Full {
                what: Code::new(what),
                max: u64::try_from(max).unwrap_or(u64::MAX),
            })
        };
        if count >= CASES_PER_CLIENT_MAX {
            return full("open cases of this client", CASES_PER_CLIENT_MAX);
        }
        if self.liquidations.open.len() >= CASES_OPEN_MAX {
            return full("open cases", CASES_OPEN_MAX);
        }
        Ok(())
    }

    fn is_taken(&self, id: &TransferId) -> bool {
        self.ledger.applied_transfer(id).is_some()
    }

    /// A judged answer of a whole shard, with its job and its shard. Checks of answers are not accused:
    /// those who vouch are looked after where they vouch.
    fn judged(&self, answer: &Answer) -> Option<(&Job, &Shard, &Replica)> {
        let place: Place = *self.places.get(&answer.assignment)?;
        let (job, shard) = (
            self.jobs.get(&place.job)?,
            self.shard(place.job, place.shard)?,
        );
        let replica = self.replica(place)?;
        let judged = matches!(replica.state, ReplicaState::Settled { .. }) && !replica.check;
        let root = replica.opening.as_ref()?.outcome.root;
        let same = (place.job, place.shard) == (answer.job, answer.shard)
            && replica.provider == answer.provider
            && root == answer.root;
        (judged && same).then_some((job, shard, replica))
    }

    /// Ties a job to a case. Saying so twice says it once.
    pub(super) fn tie(
        &mut self,
        id: CaseId,
        client: ClientId,
        job: JobId,
        spec: &JobSpec,
    ) -> Result<Reply, Refusal> {
        let repeated = self.check_tie(id, client, job, spec)?;
        if let (false, Some(case)) = (repeated, self.liquidations.open.get_mut(&id)) {
            case.jobs.insert(job, false);
            self.liquidations.tied.insert(job, id);
        }
        Ok(Reply::Tied {
            case: id,
            job,
            repeated,
        })
    }

    /// Whether a job may bear on a case; whether it does already.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check_tie(
        &self,
        id: CaseId,
        client: ClientId,
        job: JobId,
        spec: &JobSpec,
    ) -> Result<bool, Refusal> {
        if self.decided_case(id).is_some() {
            return Err(Refusal::CaseDecided { case: id });
        }
        let case = self.open_case(id).ok_or(Refusal::UnknownCase)?;
        if case.client != client {
            return Err(Refusal::NotYourCase);
        }
        if case.jobs.contains_key(&job) {
            return Ok(true);
        }
        if self.now >= case.due {
            return Err(Refusal::CaseOver { due: case.due });
        }
        if case.jobs.len() >= JOBS_PER_CASE_MAX {
            return Err(Refusal::Full {
                what: Code::new("jobs of this case"),
                max: u64::try_from(JOBS_PER_CASE_MAX).unwrap_or(u64::MAX),
            });
        }
        if self.liquidations.tied.contains_key(&job) || self.is_answered(job) {
            return Err(Refusal::TooLate { job });
        }
        if let Some(field) = self.other_work(&case.accused, spec) {
            let field = Code::new(field);
            return Err(Refusal::NotTheSame { field });
        }
        Ok(false)
    }

    /// Whether somebody has answered a job, or it is over: then its accuser might know what it comes to.
    fn is_answered(&self, job: JobId) -> bool {
        let over = self.ledger.balance(&Account::Escrow(job)).closed;
        let known = self.jobs.get(&job);
        let answered = known.is_some_and(|known| {
            let mut replicas = known.shards.iter().flat_map(|shard| &shard.replicas);
            known.is_closing() || replicas.any(|replica| replica.commitment.is_some())
        });
        over || answered
    }

    /// What of a job's terms is not as those of the accused answer's, if anything. An accuser that chose its voters would
    /// need no others: where a job names who may execute it, these must all be referees, and none may pay less than the
    /// accused answer's, or only its friends would take it.
    fn other_work(&self, accused: &Accused, spec: &JobSpec) -> Option<&'static str> {
        let asked = &accused.spec;
        let trusted = spec.trusted.as_ref();
        let share = self.quote(spec).map_or(Amount::ZERO, |quote| quote.share);
        let differs = [
            (spec.items != accused.items, "items"),
            (spec.items_per_shard < accused.items, "items_per_shard"),
            (spec.comparison != asked.comparison, "comparator"),
            (spec.limits != asked.limits, "limits"),
            (spec.models != asked.models, "models"),
            (spec.device != asked.device, "device"),
            (spec.audit.is_some(), "policy"),
            (
                trusted.is_some_and(|named| !named.is_subset(&self.config.referees)),
                "trusted",
            ),
            (share < accused.share, "max_price"),
        ];
        let mut differs = differs.into_iter();
        differs.find_map(|(differs, field)| differs.then_some(field))
    }
}
