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

use super::bench::{Bench, Ruling, is_borne_out, judge_of};
use super::{LAST_DRAW, Lot, is_audited_in};
use crate::core::action::{Action, Evidence};
use crate::core::event::{Comparison, Finding};
use crate::core::judge::same_root;
use crate::core::reputation::Deed;
use crate::core::state::{Accepted, Audit, By, Cause, Check, Place, ReplicaState, Shard};
use crate::core::{Core, Effects};

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
        let exact = job.spec.comparison == Comparison::Exact;
        let bench = Bench {
            shard,
            audit,
            exact,
            models: job.spec.models > 0,
            confirmations: usize::from(self.config.audit.confirmations),
        };
        let more = by == By::Peer || self.has_referee(job, shard);
        match bench.ruling(by, more) {
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
                if !self.is_unclear(id, index, replica) {
                    self.record_deed(provider, deed, fx);
                }
            }
        }
        if let Some(audit) = self.audit_mut(id, index) {
            audit.accused = false;
        }
        fx.touched.insert((id, index));
    }

    /// Whether what a check found might be explained by hardware and chance, which is nobody's fault.
    fn is_unclear(&self, id: JobId, index: u32, replica: u32) -> bool {
        let audit = self.shard(id, index).and_then(|s| s.audit.as_ref());
        let check = audit.and_then(|audit| audit.check_of(replica));
        check.is_some_and(|check| check.finding == Some(Finding::Unclear))
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
        let exact = self.jobs.get(&id).map(|job| job.spec.comparison) == Some(Comparison::Exact);
        let judge = self.shard(id, index).and_then(|s| judge_of(s, exact));
        self.reward_accusers(id, index, fx);
        self.close_subject(id, index, fx);
        // With a tolerance nobody has compared the others with one another.
        if let Some(judge) = judge.filter(|_| exact && outvoted) {
            self.adopt(id, index, judge, Vec::new(), fx);
        }
        if outvoted {
            self.record_deed(provider, Deed::Dissented, fx);
        }
    }

    /// The answer is wrong, and it is known.
    fn convict(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        if self.forgives_all() {
            if let Some(audit) = self.audit_mut(id, index) {
                audit.accused = false;
            }
            fx.touched.insert((id, index));
            return;
        }
        let exact = self.jobs.get(&id).map(|job| job.spec.comparison) == Some(Comparison::Exact);
        let case = self.shard(id, index).and_then(|s| Case::of(s, exact));
        let Some(mut case) = case else {
            return;
        };
        let evidence = case.evidence;
        self.ask_about_vouchers(id, index, &case, fx);
        self.reward_accusers(id, index, fx);
        self.close_subject(id, index, fx);
        let samples = std::mem::take(&mut case.samples);
        self.adopt(id, index, case.judge, samples, fx);
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
                self.ban_convict(case.provider, evidence, case.reporter, fx);
            }
            // Banned already.
            Err(_) => {}
        }
    }

    /// Pays those who found the answer wrong, and not those whose own is no better: that of whoever executed the
    /// whole shard must not contradict a judge's.
    fn reward_accusers(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let exact = self.jobs.get(&id).map(|job| job.spec.comparison) == Some(Comparison::Exact);
        let judge = self.shard(id, index).and_then(|s| judge_of(s, exact));
        for (replica, whole) in self.unpaid_checks(id, index) {
            let place = Place {
                job: id,
                shard: index,
                replica,
            };
            let right = judge
                .zip(self.shard(id, index))
                .is_none_or(|(judge, shard)| !whole || is_borne_out(shard, exact, judge, replica));
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
    /// Samples of that answer that found nothing are remembered: each is still to be compared with the judge's.
    fn adopt(&mut self, id: JobId, index: u32, judge: u32, samples: Vec<Check>, fx: &mut Effects) {
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
                checks: samples,
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

    /// Has a share of a provider's answers that are not final executed again, whole.
    pub(super) fn check_again(&mut self, provider: ProviderId, rate: Ppb, fx: &mut Effects) {
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
pub(super) struct Case {
    provider: ProviderId,
    /// Number of the answer's first unit.
    first: u64,
    evidence: Evidence,
    /// Position of a referee's replica.
    pub(super) judge: u32,
    /// Who first found something, and not just something else that is wrong too.
    reporter: Option<ProviderId>,
    /// Who executed the whole shard and gave the very same answer, and in which assignment.
    vouchers: Vec<(ProviderId, jobs::ids::AssignmentId)>,
    /// Samples that found nothing.
    pub(super) samples: Vec<Check>,
}

impl Case {
    fn of(shard: &Shard, exact: bool) -> Option<Self> {
        let audit = shard.audit.as_ref()?;
        let replica = |at: u32| shard.replicas.get(at as usize);
        let root = |at: u32| Some(replica(at)?.opening.as_ref()?.outcome.root);
        let found = |finding: Finding| {
            let checks = audit.checks.iter();
            checks.filter(move |check| check.finding == Some(finding))
        };
        let judge = judge_of(shard, exact)?;
        let subject = replica(audit.subject)?;
        let agreed = || found(Finding::Agree).filter_map(|c| Some((c.replica?, c.is_whole())));
        let vouchers =
            agreed().filter(|(at, whole)| *whole && same_root(shard, audit.subject, *at));
        let vouchers = vouchers.filter_map(|(at, _)| replica(at));
        let samples = found(Finding::Agree).filter(|check| !check.is_whole());
        let mut accusers = found(Finding::Differ).filter(|check| {
            let at = check.replica.unwrap_or(judge);
            !check.is_whole() || is_borne_out(shard, exact, judge, at)
        });
        let first = accusers.next().and_then(|check| check.replica);
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
            samples: samples.cloned().collect(),
        })
    }
}
