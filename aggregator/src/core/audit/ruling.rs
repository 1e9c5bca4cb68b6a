//! An accused answer: who is right, and what follows.
//!
//! Whoever checks may lie too, so a check accuses and does not convict. Where the operator has referees, only their
//! executions of the whole shard decide, and they decide about stake. Where it has none, the majority of those who
//! executed the whole shard decides, and loses nobody more than pay and reputation: votes alone never take anybody's
//! stake.

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};
use policy::Ppb;
use policy::audit::Rates;
use policy::finality::Consequence;
use policy::liquidation::split;

use super::{LAST_DRAW, Lot, is_audited_in};
use crate::core::action::{Action, Evidence};
use crate::core::event::{Comparison, Finding};
use crate::core::judge::{same_meters, same_root};
use crate::core::reputation::Deed;
use crate::core::state::{Accepted, Audit, By, Cause, Check, Place, ReplicaState, Shard};
use crate::core::{Core, Effects};

/// Executions on one side that decide where there is no referee.
const MAJORITY: usize = 2;

/// What the executions of an accused shard amount to.
enum Ruling {
    /// Not yet: what was asked for is on its way.
    Open,
    /// Not yet: another one is needed.
    More,
    /// The answer is right.
    Acquitted,
    /// The answer is wrong, say referees.
    Convicted,
    /// The answer does not stand. Whether it is a lie is not known for sure.
    Refuted,
}

impl Core {
    /// Decides about an accused answer, or asks for what is missing to decide.
    pub(super) fn rule(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let (Some(job), Some(shard)) = (self.jobs.get(&id), self.shard(id, index)) else {
            return;
        };
        let Some(audit) = &shard.audit else {
            return;
        };
        let by = match audit.checks.iter().any(|c| c.by == By::Referee)
            || self.has_referee(job, shard)
        {
            true => By::Referee,
            false => By::Peer,
        };
        let confirmations = usize::from(self.config.audit.confirmations);
        let exact = job.spec.comparison == Comparison::Exact;
        match ruling(shard, audit, exact, (by, confirmations)) {
            Ruling::Open => {}
            Ruling::More => {
                if !self.add_check(id, index, by, Vec::new(), fx) {
                    self.give_up(id, index, fx);
                }
            }
            Ruling::Acquitted => self.acquit(id, index, fx),
            Ruling::Convicted => self.convict(id, index, fx),
            Ruling::Refuted => self.refute(id, index, fx),
        }
    }

    /// The answer stands: who said otherwise is not paid.
    fn acquit(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        for (replica, whole) in self.unpaid_checks(id, index) {
            let place = Place {
                job: id,
                shard: index,
                replica,
            };
            let Some(provider) = self.replica(place).map(|replica| replica.provider) else {
                continue;
            };
            if self.pay(place, false, fx) {
                // That a sample differs may be the job's doing, whose outputs depend on more than their items.
                let deed = if whole { Deed::Dissented } else { Deed::Failed };
                self.record_deed(provider, deed, fx);
            }
        }
        if let Some(audit) = self.audit_mut(id, index) {
            audit.accused = false;
        }
        fx.touched.insert((id, index));
    }

    /// The answer does not stand and somebody else answers, but nobody's stake is taken.
    fn refute(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some((_, provider)) = self.subject(id, index) else {
            return;
        };
        let outvoted = self.shard(id, index).and_then(|s| s.audit.as_ref());
        let outvoted = outvoted.is_some_and(|audit| {
            let mut clear = audit.checks.iter();
            clear.any(|c| c.is_whole() && c.finding == Some(Finding::Differ))
        });
        let judge = self.shard(id, index).and_then(judge_of);
        let exact = self.jobs.get(&id).map(|job| job.spec.comparison) == Some(Comparison::Exact);
        self.reward_accusers(id, index, fx);
        self.close_subject(id, index, fx);
        // With a tolerance nobody has compared the others with one another.
        if let Some(judge) = judge.filter(|_| exact && outvoted) {
            self.adopt(id, index, judge, fx);
        }
        if outvoted {
            self.record_deed(provider, Deed::Dissented, fx);
        }
    }

    /// The answer is wrong, and it is known.
    fn convict(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some(case) = self.shard(id, index).and_then(Case::of) else {
            return;
        };
        let evidence = case.evidence;
        self.ask_about_vouchers(id, index, &case, fx);
        self.reward_accusers(id, index, fx);
        self.close_subject(id, index, fx);
        self.adopt(id, index, case.judge, fx);
        for voucher in &case.vouchers {
            let Evidence::AuditFailed { referee, .. } = evidence else {
                continue;
            };
            let assignment = voucher.1;
            self.vouched(
                voucher.0,
                Evidence::Vouched {
                    assignment,
                    referee,
                },
                fx,
            );
        }
        let params = self.config.audit;
        let Some(known) = self.providers.get_mut(&case.provider) else {
            return;
        };
        // There is no way to ask it: one failure is taken for a fault that it would admit.
        match known.answers.fail(&params, case.first, true) {
            Ok(Consequence::Forgiven { rate, .. }) => {
                self.fine(case.provider, evidence, fx);
                self.record_deed(case.provider, Deed::Dissented, fx);
                self.check_again(case.provider, rate, fx);
            }
            Ok(Consequence::Banned { .. }) => {
                let slashed = self.ban(case.provider, evidence, fx);
                self.pay_bounty(&case, slashed, fx);
            }
            // Banned already.
            Err(_) => {}
        }
    }

    /// Who said that a wrong answer is right is as good as who gave it.
    pub(super) fn vouched(&mut self, id: ProviderId, evidence: Evidence, fx: &mut Effects) {
        let Some(known) = self.providers.get_mut(&id) else {
            return;
        };
        if known.answers.vouched().is_ok() {
            self.ban(id, evidence, fx);
        }
    }

    /// Has samples that found nothing compared with what referees found.
    fn ask_about_vouchers(&mut self, id: JobId, index: u32, case: &Case, fx: &mut Effects) {
        let pairs: Vec<(u32, u32)> = case.samples.iter().map(|at| (case.judge, *at)).collect();
        self.ask_to_compare(id, index, &pairs, fx);
    }

    /// Somebody's sample was compared with what a referee found in the same shard.
    pub(super) fn voucher_compared(
        &mut self,
        id: JobId,
        index: u32,
        pair: (u32, u32),
        finding: Finding,
        fx: &mut Effects,
    ) {
        let Some(shard) = self.shard(id, index) else {
            return;
        };
        let replica = |at: u32| shard.replicas.get(at as usize).filter(|r| r.check);
        let (Some(left), Some(right)) = (replica(pair.0), replica(pair.1)) else {
            return;
        };
        let (judge, voucher) = match self.config.referees.contains(&left.provider) {
            true => (left, right),
            false => (right, left),
        };
        let (referee, assignment, provider) =
            (judge.assignment, voucher.assignment, voucher.provider);
        if finding == Finding::Differ {
            self.vouched(
                provider,
                Evidence::Vouched {
                    assignment,
                    referee,
                },
                fx,
            );
        }
    }

    /// Pays those who found the answer wrong, and not those whose own is no better: that of whoever executed the
    /// whole shard must not contradict a judge's.
    fn reward_accusers(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let exact = self.jobs.get(&id).map(|job| job.spec.comparison) == Some(Comparison::Exact);
        let judge = self.shard(id, index).and_then(judge_of);
        for (replica, whole) in self.unpaid_checks(id, index) {
            let place = Place {
                job: id,
                shard: index,
                replica,
            };
            let right = judge
                .zip(self.shard(id, index))
                .is_none_or(|(judge, shard)| {
                    let outputs = !exact || same_root(shard, judge, replica);
                    !whole || outputs && same_meters(shard, judge, replica)
                });
            if right {
                self.reward_check(place, fx);
            } else {
                self.pay(place, false, fx);
            }
        }
    }

    /// Replicas of checks that found something and wait for the ruling; and whether they are of the whole shard.
    fn unpaid_checks(&self, id: JobId, index: u32) -> Vec<(u32, bool)> {
        let Some((shard, audit)) = self
            .shard(id, index)
            .and_then(|shard| Some((shard, shard.audit.as_ref()?)))
        else {
            return Vec::new();
        };
        let judged = audit.checks.iter().filter(|check| check.finding.is_some());
        let waiting = judged.filter_map(|check| Some((check.replica?, check.is_whole())));
        let revealed = waiting.filter(|(at, _)| {
            let replica = shard.replicas.get(*at as usize);
            replica.is_some_and(|replica| replica.state == ReplicaState::Revealed)
        });
        revealed.collect()
    }

    fn close_subject(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let subject = self.shard(id, index).and_then(|s| s.audit.as_ref());
        if let Some(replica) = subject.map(|audit| audit.subject) {
            let place = Place {
                job: id,
                shard: index,
                replica,
            };
            self.close(place, Cause::Refuted, fx);
        }
    }

    /// Accepts what a judge found in place of an answer that does not stand. It was executed often enough, and paid.
    fn adopt(&mut self, id: JobId, index: u32, judge: u32, fx: &mut Effects) {
        let running = self
            .jobs
            .get(&id)
            .is_some_and(|job| is_audited_in(&job.phase));
        let Some(shard) = self.shard(id, index).filter(|_| running) else {
            return;
        };
        let replica = shard.replicas.get(judge as usize);
        let settled = replica.filter(|r| matches!(r.state, ReplicaState::Settled { .. }));
        let Some(opening) = settled.and_then(|replica| replica.opening.as_ref()) else {
            return;
        };
        let accepted = Accepted {
            agreeing: vec![judge],
            canonical: judge,
            outputs: opening.outcome.outputs,
            root: opening.outcome.root,
            fee: self.fee_on(id, super::paid_in(shard)),
        };
        if let Some(shard) = self.shard_mut(id, index) {
            shard.accepted = Some(accepted);
            shard.audit = Some(Box::new(Audit {
                subject: judge,
                first: 0,
                units: 0,
                drawn: true,
                hurried: true,
                accused: false,
                passed: 0,
                checks: Vec::new(),
            }));
        }
        self.merge_if_complete(id, fx);
    }

    /// Takes a part of the stake.
    fn fine(&mut self, provider: ProviderId, evidence: Evidence, fx: &mut Effects) {
        let stake = self.ledger.balance(&Account::Stake(provider)).available();
        let fine = Amount(self.config.audit.fine).min(stake.unwrap_or_default());
        if !fine.is_zero() {
            let id = crate::core::replica::slash_id(provider, evidence);
            let post = Transfer::Post {
                id: TransferId::derive(&[b"fine".as_slice(), id.0.as_bytes()]),
                from: Account::Stake(provider),
                to: Account::Slashed,
                amount: fine,
            };
            self.transfer(&[post], fx);
        }
        fx.push(Action::Fined {
            provider,
            evidence,
            fine,
        });
    }

    /// Gives a part of a slashed stake to who found the cheat out, if that was not the operator's own referee.
    fn pay_bounty(&mut self, case: &Case, slashed: Amount, fx: &mut Effects) {
        let reporter = case
            .reporter
            .filter(|id| !self.config.referees.contains(id));
        let Some(reporter) = reporter else {
            return;
        };
        let bounty = split(&self.config.audit, slashed.0, true).bounty;
        if bounty == 0 {
            return;
        }
        let id = crate::core::replica::slash_id(case.provider, case.evidence);
        let post = Transfer::Post {
            id: TransferId::derive(&[b"bounty".as_slice(), id.0.as_bytes()]),
            from: Account::Slashed,
            to: Account::Provider(reporter),
            amount: Amount(bounty),
        };
        self.transfer(&[post], fx);
    }

    /// Has a share of a provider's answers that are not final executed again, whole.
    fn check_again(&mut self, provider: ProviderId, rate: Ppb, fx: &mut Effects) {
        let known = self.providers.get(&provider);
        let answers: Vec<_> = known.map_or_else(Vec::new, |known| {
            known.provisional.values().copied().collect()
        });
        let rates = Rates {
            peer: rate,
            trusted: Ppb::ZERO,
        };
        for (id, index) in answers {
            let subject = self.subject(id, index);
            let drawn = self
                .beacon(id)
                .zip(subject)
                .is_none_or(|(beacon, subject)| {
                    let lot = Lot {
                        beacon,
                        assignment: subject.0,
                        offset: LAST_DRAW.saturating_mul(2),
                        units: 1,
                        rates,
                    };
                    lot.falls_on(0).is_some()
                });
            if drawn && !self.add_check(id, index, By::Referee, Vec::new(), fx) {
                // Nothing is left to pay a check with: somebody else answers instead.
                self.close_subject(id, index, fx);
            }
        }
    }
}

/// A conviction.
struct Case {
    provider: ProviderId,
    /// Number of the answer's first unit.
    first: u64,
    evidence: Evidence,
    /// Position of a referee's replica.
    judge: u32,
    /// Who first found something.
    reporter: Option<ProviderId>,
    /// Who executed the whole shard and gave the very same answer, and in which assignment.
    vouchers: Vec<(ProviderId, jobs::ids::AssignmentId)>,
    /// Positions of samples that found nothing.
    samples: Vec<u32>,
}

impl Case {
    fn of(shard: &Shard) -> Option<Self> {
        let audit = shard.audit.as_ref()?;
        let replica = |at: u32| shard.replicas.get(at as usize);
        let root = |at: u32| Some(replica(at)?.opening.as_ref()?.outcome.root);
        let found = |finding: Finding| {
            let checks = audit.checks.iter();
            checks.filter(move |check| check.finding == Some(finding))
        };
        let judge = judge_of(shard)?;
        let subject = replica(audit.subject)?;
        let agreed = || found(Finding::Agree).filter_map(|c| Some((c.replica?, c.is_whole())));
        let vouchers =
            agreed().filter(|(at, whole)| *whole && same_root(shard, audit.subject, *at));
        let vouchers = vouchers.filter_map(|(at, _)| replica(at));
        let samples = agreed().filter(|(_, whole)| !whole).map(|(at, _)| at);
        let first = found(Finding::Differ)
            .next()
            .and_then(|check| check.replica);
        Some(Self {
            provider: subject.provider,
            first: audit.first,
            evidence: Evidence::AuditFailed {
                assignment: subject.assignment,
                root: root(audit.subject)?,
                referee: replica(judge)?.assignment,
                found: root(judge)?,
            },
            judge,
            reporter: first.and_then(replica).map(|replica| replica.provider),
            vouchers: vouchers.map(|r| (r.provider, r.assignment)).collect(),
            samples: samples.collect(),
        })
    }
}

/// The replica by which an accused answer was judged: a referee's, if there is one.
fn judge_of(shard: &Shard) -> Option<u32> {
    let audit = shard.audit.as_ref()?;
    let checks = audit.checks.iter();
    let mut judges = checks.filter(|c| c.is_whole() && c.finding == Some(Finding::Differ));
    let first = judges.clone().next();
    judges.find(|c| c.by == By::Referee).or(first)?.replica
}

/// What the executions of the whole shard by these judges amount to. Peers are against an answer as far as they say
/// the same: two who each made something up have found nothing.
fn ruling(shard: &Shard, audit: &Audit, exact: bool, (by, confirmations): (By, usize)) -> Ruling {
    let judges = || audit.checks.iter().filter(|c| c.is_whole() && c.by == by);
    let said = |finding| judges().filter(move |c| c.finding == Some(finding));
    let agree = said(Finding::Agree).count();
    let differ = said(Finding::Differ).count();
    let against = match by {
        By::Referee => differ.saturating_add(said(Finding::Unclear).count()),
        By::Peer => largest_group(shard, exact, &judges().collect::<Vec<_>>()),
    };
    let open = judges().filter(|c| c.finding.is_none()).count();
    let (need, acquits) = match by {
        By::Referee => (confirmations.max(1), 1),
        By::Peer => (MAJORITY, MAJORITY),
    };
    if agree >= acquits && agree > against {
        Ruling::Acquitted
    } else if by == By::Referee && differ >= need && agree == 0 {
        Ruling::Convicted
    } else if against >= need && against > agree {
        Ruling::Refuted
    } else if open > 0 {
        Ruling::Open
    } else {
        Ruling::More
    }
}

/// How many of those who found something else found the same. Where outputs are compared with a tolerance nobody has
/// compared theirs with one another, and they are taken to agree if their meters do.
fn largest_group(shard: &Shard, exact: bool, judges: &[&Check]) -> usize {
    let against =
        |check: &&&Check| matches!(check.finding, Some(finding) if finding != Finding::Agree);
    let found: Vec<u32> = judges
        .iter()
        .filter(against)
        .filter_map(|check| check.replica)
        .collect();
    let alike = |left: u32, right: u32| {
        same_meters(shard, left, right) && (!exact || same_root(shard, left, right))
    };
    let sizes = found
        .iter()
        .map(|left| found.iter().filter(|right| alike(*left, **right)).count());
    sizes.max().unwrap_or(0)
}
