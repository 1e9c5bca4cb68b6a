//! What the executions of an accused shard say, each provider counted once.

use jobs::ids::{AssignmentId, CaseId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::outcome::Outcome;
use jobs::verdict::meters_agree;
use ledger::Account;
use policy::liquidation::Votes;

use crate::core::action::Action;
use crate::core::diversity::most_apart;
use crate::core::event::{Comparison, Finding};
use crate::core::state::{Case, Cause, Found, Replica, ReplicaState, Says, Testimony, Voter};
use crate::core::{Core, Effects};

/// How the provider of an assignment that was never sent closes it: nobody was drawn.
const NOT_SENT: &str = "not_sent";

impl Core {
    /// A job that bears on a case has ended.
    pub(in crate::core) fn case_job_ended(&mut self, job: JobId, fx: &mut Effects) {
        if let Some(case) = self.liquidations.tied.get(&job).copied() {
            self.count_job(case, job);
            self.look_at_case(case, fx);
        }
    }

    /// Takes note of everybody who was drawn for a job, and of what each found.
    pub(super) fn count_job(&mut self, id: CaseId, job: JobId) {
        let drawn = self.jobs.get(&job).map(|job| {
            let replicas = job.shards.iter().flat_map(|shard| &shard.replicas);
            let drawn = replicas.filter(|replica| was_drawn(replica));
            drawn.map(|r| self.voter(job.id, r)).collect::<Vec<_>>()
        });
        let Some(case) = self.liquidations.open.get_mut(&id) else {
            return;
        };
        if case.jobs.insert(job, true) == Some(true) {
            return;
        }
        for (provider, voter) in drawn.into_iter().flatten() {
            // The accused said what it has to say.
            if provider == case.accused.provider {
                continue;
            }
            let known = case.voters.entry(provider).or_insert_with(|| Voter {
                found: None,
                ..voter.clone()
            });
            // What it found first counts, whatever it finds later.
            if known.found.is_none() {
                known.found = voter.found;
                known.kin = voter.kin;
                known.class = voter.class;
                known.bonus_max = voter.bonus_max;
            }
        }
    }

    fn voter(&self, job: JobId, replica: &Replica) -> (ProviderId, Voter) {
        let provider = replica.provider;
        let stake = self.ledger.balance(&Account::Stake(provider)).available();
        let paid = match replica.state {
            ReplicaState::Settled { paid, .. } => paid,
            _ => Amount::ZERO,
        };
        let found = found(replica).map(|outcome| {
            Box::new(Found {
                assignment: replica.assignment,
                outcome: outcome.clone(),
                accused: None,
                judge: None,
            })
        });
        let voter = Voter {
            stake: stake.unwrap_or_default(),
            kin: replica.kin,
            class: replica.class,
            referee: self.config.referees.contains(&provider),
            bonus_max: self.fee_on(job, paid),
            found,
        };
        (provider, voter)
    }

    /// The driver compared two answers.
    pub(super) fn case_compared(
        &mut self,
        id: CaseId,
        pair: (AssignmentId, AssignmentId),
        finding: Finding,
        fx: &mut Effects,
    ) {
        let Some(case) = self.liquidations.open.get_mut(&id) else {
            return;
        };
        if case.asked != Some(pair) {
            return;
        }
        case.asked = None;
        let of_accused = pair.0 == case.accused.assignment;
        let found = case.voters.values_mut().filter_map(|v| v.found.as_mut());
        for found in found.filter(|found| found.assignment == pair.1) {
            match of_accused {
                true => found.accused = Some(finding),
                false => found.judge = Some((pair.0, finding)),
            }
        }
        self.look_at_case(id, fx);
    }
}

/// Whether somebody was given an assignment, whatever it made of it.
fn was_drawn(replica: &Replica) -> bool {
    !matches!(&replica.state, ReplicaState::Closed(Cause::Refused(code)) if code.as_str() == NOT_SENT)
}

/// What a replica found, if its job judged it or ended before it could.
fn found(replica: &Replica) -> Option<&Outcome> {
    let counts = matches!(
        replica.state,
        ReplicaState::Settled { .. }
            | ReplicaState::Revealed
            | ReplicaState::Closed(Cause::JobEnded)
    );
    let opening = replica.opening.as_ref().filter(|_| counts)?;
    Some(&opening.outcome)
}

impl Case {
    /// Two answers that must be compared before it can be said what somebody says.
    pub(super) fn uncompared(&self) -> Option<(AssignmentId, AssignmentId)> {
        let answers = || {
            self.voters
                .values()
                .filter_map(|v| Some((v, v.found.as_ref()?)))
        };
        let accused = self.accused.assignment;
        let mut unknown = answers().filter(|(_, found)| self.of_accused(found).is_none());
        if let Some((_, found)) = unknown.next() {
            return Some((accused, found.assignment));
        }
        let judge = self.judge()?;
        let mut unknown = answers().filter(|(voter, found)| {
            self.testifies_against(voter, found) && self.of_judge(judge, found).is_none()
        });
        let found = unknown.next()?.1;
        Some((judge.assignment, found.assignment))
    }

    /// The order to compare two answers.
    pub(super) fn comparison(
        &self,
        id: CaseId,
        (left, right): (AssignmentId, AssignmentId),
    ) -> Option<Action> {
        let outputs = |assignment| {
            if assignment == self.accused.assignment {
                return Some(self.accused.outcome.outputs);
            }
            let mut found = self.voters.values().filter_map(|v| v.found.as_ref());
            let found = found.find(|found| found.assignment == assignment)?;
            Some(found.outcome.outputs)
        };
        Some(Action::CompareCase {
            case: id,
            job: self.accused.job,
            left,
            right,
            left_outputs: outputs(left)?,
            right_outputs: outputs(right)?,
        })
    }

    /// How an answer compares with the accused one, if that is known.
    fn of_accused(&self, found: &Found) -> Option<Finding> {
        let exact = self.accused.spec.comparison == Comparison::Exact;
        compared(exact, &self.accused.outcome, &found.outcome, found.accused)
    }

    /// How an answer compares with a referee's, if that is known.
    fn of_judge(&self, judge: &Found, found: &Found) -> Option<Finding> {
        let exact = self.accused.spec.comparison == Comparison::Exact;
        let known = found.judge.filter(|(of, _)| *of == judge.assignment);
        let known = known.map(|(_, finding)| finding);
        compared(exact, &judge.outcome, &found.outcome, known)
    }

    /// Whether an answer is evidence that the accused one is wrong: it clearly differs, its provider has nothing to do
    /// with the accused, and where models are asked, it is of the accused's own fingerprint, because what another one
    /// answers may differ by no fault of anybody's.
    fn testifies_against(&self, voter: &Voter, found: &Found) -> bool {
        let alike = self.accused.spec.models == 0 || voter.class == self.accused.class;
        let apart = voter.kin.is_apart(&self.accused.kin);
        alike && apart && self.of_accused(found) == Some(Finding::Differ)
    }

    /// The referee's answer that others are held against: two who each made something up have found nothing.
    fn judge(&self) -> Option<&Found> {
        let referees = self.voters.values().filter(|voter| voter.referee);
        let found = referees.filter_map(|voter| Some((voter, voter.found.as_deref()?)));
        let mut against = found.filter(|(voter, found)| self.testifies_against(voter, found));
        against.next().map(|(_, found)| found)
    }

    /// What everybody says. Where no referee says that the answer is wrong, nobody's stake is taken, and it is not asked
    /// whether those agree with one another who say so.
    pub(super) fn testimony(&self) -> Vec<Testimony> {
        let judge = self.judge();
        let says = |voter: &Voter| {
            let Some(found) = voter.found.as_deref() else {
                return Says::Nothing;
            };
            let apart = voter.kin.is_apart(&self.accused.kin);
            match self.of_accused(found) {
                Some(Finding::Agree) if !voter.referee => Says::Defends,
                Some(Finding::Agree) if apart => Says::Acquits,
                Some(Finding::Differ) if self.testifies_against(voter, found) => {
                    let with_judge = judge.map(|judge| self.of_judge(judge, found));
                    match with_judge.is_none_or(|known| known == Some(Finding::Agree)) {
                        true if voter.referee => Says::Confirms,
                        true => Says::Against,
                        false => Says::Unclear,
                    }
                }
                _ => Says::Unclear,
            }
        };
        let voters = self.voters.iter();
        let voters = voters.map(|(provider, voter)| Testimony {
            provider: *provider,
            kin: voter.kin,
            stake: voter.stake,
            referee: voter.referee,
            says: says(voter),
        });
        voters.collect()
    }
}

/// What the testimony amounts to, with what the accused has at stake now, and so many referees to confirm it.
pub(super) fn votes(testimony: &[Testimony], own: Amount, confirmations: u8) -> Votes {
    let of = |says: Says| testimony.iter().filter(move |one| one.says == says);
    let count = |says: Says| of(says).count();
    let stakes = |says: Says| sum(of(says).map(|one| one.stake.0));
    let drawn = testimony.iter().filter(|one| !one.referee);
    let operators = most_apart(of(Says::Against).map(|one| one.kin), testimony.len());
    Votes {
        against: stakes(Says::Against),
        operators: u32::try_from(operators).unwrap_or(u32::MAX),
        defending: own.0.saturating_add(stakes(Says::Defends)),
        sampled: own.0.saturating_add(sum(drawn.map(|one| one.stake.0))),
        refuted: match (count(Says::Acquits), count(Says::Confirms)) {
            (0, confirms) if confirms >= usize::from(confirmations.max(1)) => Some(true),
            (0, _) => None,
            _ => Some(false),
        },
    }
}

fn sum(stakes: impl Iterator<Item = u128>) -> u128 {
    stakes.fold(0, u128::saturating_add)
}

/// How two answers compare, as far as it can be told without their bytes. Fuel is deterministic: who claims another
/// amount answers otherwise.
fn compared(exact: bool, one: &Outcome, two: &Outcome, known: Option<Finding>) -> Option<Finding> {
    if !meters_agree(one, two) {
        Some(Finding::Differ)
    } else if one.root == two.root {
        Some(Finding::Agree)
    } else if exact {
        Some(Finding::Differ)
    } else {
        known
    }
}
