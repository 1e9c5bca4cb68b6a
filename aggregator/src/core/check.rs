//! What must hold after every step. Shares no decision with the rules: it looks at the state and at
//! the ledger and works out for itself whether they can be right.

mod audit;
mod epoch;
mod liquidation;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use jobs::ids::{AssignmentId, CaseId, JobId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, PendingState};

use super::Core;
use super::event::Failure;
use super::settlement::total;
use super::state::{By, Cause, Job, Phase, Place, Replica, ReplicaState, Shard};
use verdict::check_verdict;

/// An invariant that does not hold: a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The ledger contradicts itself.
    #[error("ledger: {0}")]
    Ledger(#[from] ledger::Violation),
    /// The ledger refused what the core thought possible.
    #[error("the ledger refused {count} settlements")]
    LedgerRefused {
        /// How often.
        count: u32,
    },
    /// A job's escrow is not what was put in less what was taken out.
    #[error("job {job}: escrow holds {have}, {expected} expected")]
    Escrow {
        /// Which job.
        job: JobId,
        /// What it holds.
        have: Amount,
        /// What it should hold.
        expected: Amount,
    },
    /// An ended job still holds money, or its escrow is open.
    #[error("job {job} has ended and its escrow is not closed")]
    EscrowOpen {
        /// Which job.
        job: JobId,
    },
    /// More was taken from a shard than reserved for it.
    #[error("job {job} shard {shard}: released {released}, reserved {reserved}")]
    Released {
        /// Which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// Paid, fee included.
        released: Amount,
        /// The most it may cost.
        reserved: Amount,
    },
    /// A reservation is not in the state its replica says.
    #[error("assignment {assignment}: the ledger's reservation is {state}")]
    Reservation {
        /// Which.
        assignment: AssignmentId,
        /// What the ledger says.
        state: String,
    },
    /// A replica was paid or counted without commitment, matching reveal and verdict.
    #[error("assignment {assignment} was settled without {what}")]
    Unproven {
        /// Which.
        assignment: AssignmentId,
        /// What is missing.
        what: &'static str,
    },
    /// Somebody executes a shard whom the job does not allow to.
    #[error("job {job}: provider {provider} has an assignment, and the job does not name it")]
    Uninvited {
        /// Which job.
        job: JobId,
        /// Who.
        provider: ProviderId,
    },
    /// A verdict that the revealed replicas do not bear out.
    #[error("job {job} shard {shard}: {what}")]
    Verdict {
        /// Which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// Two replicas of one shard count for one provider.
    #[error("job {job} shard {shard}: two replicas on {provider}")]
    SameProvider {
        /// Which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// Whose.
        provider: ProviderId,
    },
    /// Two replicas of one shard whose word counts are of one operator or network.
    #[error("job {job} shard {shard}: {left} and {right} are of one operator or network")]
    Kin {
        /// Which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// One.
        left: ProviderId,
        /// The other.
        right: ProviderId,
    },
    /// A bound is exceeded.
    #[error("{have} {what}, more than the {max} allowed")]
    Bound {
        /// Of what.
        what: &'static str,
        /// How many there are.
        have: u64,
        /// How many there may be.
        max: u64,
    },
    /// An index contradicts what it indexes.
    #[error("index of {what} is wrong")]
    Index {
        /// Which.
        what: &'static str,
    },
    /// A provider got an assignment that could cost more than is reserved for it.
    #[error("assignment {assignment} could cost {ask}, {share} are reserved")]
    Price {
        /// Which.
        assignment: AssignmentId,
        /// What the provider asks for it at the job's limits.
        ask: Amount,
        /// The share.
        share: Amount,
    },
    /// A banned provider holds an assignment.
    #[error("{provider} is banned and holds {assignments} assignments")]
    BannedHolds {
        /// Who.
        provider: ProviderId,
        /// How many.
        assignments: u64,
    },
    /// The game paid, or owes, what it must not.
    #[error("epoch {epoch} {what}")]
    Reward {
        /// Which epoch.
        epoch: u64,
        /// What it did.
        what: &'static str,
    },
    /// A case came to what it must not.
    #[error("case {case}: {what}")]
    Case {
        /// Which.
        case: CaseId,
        /// What is wrong.
        what: &'static str,
    },
    /// A job outlived its deadline.
    #[error("job {job} is open {late_ms} ms after it must have ended")]
    Overdue {
        /// Which.
        job: JobId,
        /// By how much.
        late_ms: u64,
    },
}

/// Milliseconds by which a job may be late before it counts as [`Violation::Overdue`]: the driver ticks
/// far more often.
pub const TICK_GRACE_MS: u64 = 10_000;

impl Core {
    /// Checks every invariant, of the ledger too.
    ///
    /// # Errors
    /// The first violation found.
    pub fn check(&self) -> Result<(), Violation> {
        self.ledger.check()?;
        if self.ledger_faults > 0 {
            let count = self.ledger_faults;
            return Err(Violation::LedgerRefused { count });
        }
        for job in self.jobs.values() {
            self.check_job(job)?;
        }
        self.check_providers()?;
        self.check_provisional()?;
        self.check_indexes()?;
        self.check_epochs()?;
        self.check_cases()?;
        self.check_bounds_kept()
    }

    fn check_job(&self, job: &Job) -> Result<(), Violation> {
        let spent = total(&job.paid).checked_add(job.fee).unwrap_or_default();
        let returned = match &job.phase {
            Phase::Ended(end) => end.returned,
            _ => Amount::ZERO,
        };
        let spent = spent.checked_add(returned).unwrap_or_default();
        let balance = self.ledger.balance(&Account::Escrow(job.id));
        let have = balance.posted().unwrap_or_default();
        let expected = job.quote.escrow.checked_sub(spent);
        if expected != Some(have) {
            let expected = expected.unwrap_or_default();
            let job = job.id;
            return Err(Violation::Escrow {
                job,
                have,
                expected,
            });
        }
        if job.is_ended() && !(balance.closed && self.escrow_is_empty(job.id)) {
            return Err(Violation::EscrowOpen { job: job.id });
        }
        let late_ms = self.now.since_ms(self.ends_by(job));
        if !job.is_closing() && late_ms > TICK_GRACE_MS {
            let job = job.id;
            return Err(Violation::Overdue { job, late_ms });
        }
        for (shard, index) in job.shards.iter().zip(0..) {
            self.check_shard(job, shard, index)?;
        }
        Ok(())
    }

    fn check_shard(&self, job: &Job, shard: &Shard, index: u32) -> Result<(), Violation> {
        let mut counted = BTreeSet::new();
        let mut released = shard.accepted.as_ref().map_or(Amount::ZERO, |a| a.fee);
        for (replica, position) in shard.replicas.iter().zip(0..) {
            self.check_reservation(job, replica)?;
            check_price(job, replica)?;
            let past = shard.is_past_check(position, replica);
            let counts = !past && !matches!(replica.state, ReplicaState::Closed(_));
            if counts && !counted.insert(replica.provider) {
                return Err(Violation::SameProvider {
                    job: job.id,
                    shard: index,
                    provider: replica.provider,
                });
            }
            if let ReplicaState::Settled { paid, .. } = replica.state {
                released = released.checked_add(paid).unwrap_or(released);
            }
        }
        let reserved = most_a_shard_costs(job);
        // Executions that showed an answer to be wrong are paid from what other shards do not need.
        if released > reserved && job.spec.audit.is_none() {
            return Err(Violation::Released {
                job: job.id,
                shard: index,
                released,
                reserved,
            });
        }
        let max = u64::from(job.spec.max_replicas);
        let live = shard.replicas.iter().filter(|r| r.is_live()).count();
        within("live replicas of a shard", live, max)?;
        let mut providers = shard.replicas.iter().map(|replica| replica.provider);
        if let Some(provider) = providers.find(|id| !job.spec.allows(*id)) {
            return Err(Violation::Uninvited {
                job: job.id,
                provider,
            });
        }
        let attempts = u64::from(self.config.attempts_per_shard_max);
        within("assignments of a shard", shard.replicas.len(), attempts)?;
        check_kin(job, shard, index)?;
        match job.spec.audit {
            Some(_) => self.check_audited(job, shard, index),
            None => check_verdict(job, shard, index),
        }
    }

    fn check_reservation(&self, job: &Job, replica: &Replica) -> Result<(), Violation> {
        let pending = self.ledger.pending(&replica.reservation);
        let state = pending.map(|pending| pending.state);
        let sound = match replica.state {
            ReplicaState::Closed(_) => {
                matches!(state, Some(PendingState::Voided | PendingState::Expired))
            }
            ReplicaState::Settled { paid, .. } if paid.is_zero() => {
                state == Some(PendingState::Voided)
            }
            ReplicaState::Settled { paid, .. } => state == Some(PendingState::Posted(paid)),
            _ => state == Some(PendingState::Open),
        };
        let accounts = pending.is_some_and(|pending| {
            pending.from == Account::Escrow(job.id)
                && pending.to == Account::Provider(replica.provider)
                && pending.amount == job.quote.share
        });
        if sound && accounts {
            return Ok(());
        }
        Err(Violation::Reservation {
            assignment: replica.assignment,
            state: format!("{state:?} while the replica is {:?}", replica.state),
        })
    }

    fn check_providers(&self) -> Result<(), Violation> {
        let mut live: BTreeMap<ProviderId, (BTreeSet<AssignmentId>, usize)> = BTreeMap::new();
        let open = self.open.values().filter_map(|id| self.jobs.get(id));
        for replica in open.flat_map(|job| &job.shards).flat_map(|s| &s.replicas) {
            if replica.is_live() {
                let (held, busy) = live.entry(replica.provider).or_default();
                held.insert(replica.assignment);
                *busy = busy.saturating_add(usize::from(replica.is_busy()));
            }
        }
        for (id, provider) in &self.providers {
            let (held, busy) = live.remove(id).unwrap_or_default();
            if held != provider.live || u32::try_from(busy) != Ok(provider.busy) {
                let what = "a provider's live assignments";
                return Err(Violation::Index { what });
            }
            if provider.banned.is_some() && !held.is_empty() {
                return Err(Violation::BannedHolds {
                    provider: *id,
                    assignments: held.len() as u64,
                });
            }
            within("busy places", busy, u64::from(provider.granted))?;
            let live_max = u64::from(self.config.provider_live_max);
            within("assignments of a provider", held.len(), live_max)?;
        }
        if live.is_empty() {
            Ok(())
        } else {
            let what = "a forgotten provider's assignments";
            Err(Violation::Index { what })
        }
    }

    fn check_indexes(&self) -> Result<(), Violation> {
        let mut replicas: usize = 0;
        for job in self.jobs.values() {
            let open = self.open.get(&job.order) == Some(&job.id);
            if open == job.is_ended() {
                return Err(Violation::Index { what: "open jobs" });
            }
            let ending = matches!(job.phase, Phase::Ending(_));
            if ending != self.ending.contains(&job.order) {
                let what = "jobs that are ending";
                return Err(Violation::Index { what });
            }
            for (shard, index) in job.shards.iter().zip(0..) {
                for (replica, position) in shard.replicas.iter().zip(0..) {
                    replicas = replicas.saturating_add(1);
                    let place = Place {
                        job: job.id,
                        shard: index,
                        replica: position,
                    };
                    if self.places.get(&replica.assignment) != Some(&place) {
                        let what = "assignments";
                        return Err(Violation::Index { what });
                    }
                }
                let executes = match job.spec.audit {
                    Some(_) => super::audit::is_audited_in(&job.phase),
                    None => job.phase == Phase::Running,
                };
                let lacks = executes && super::dispatch::missing(shard) > 0;
                if lacks != self.wanting.contains(&(job.order, index)) {
                    let what = "shards that want replicas";
                    return Err(Violation::Index { what });
                }
            }
        }
        if replicas == self.places.len() {
            Ok(())
        } else {
            let what = "assignments";
            Err(Violation::Index { what })
        }
    }

    fn check_bounds_kept(&self) -> Result<(), Violation> {
        let config = &self.config;
        let ended_max = u64::from(config.jobs_retained_max)
            .saturating_mul(2)
            .saturating_add(u64::from(config.jobs_open_max));
        within("open jobs", self.open.len(), config.jobs_open_max.into())?;
        within("ended jobs", self.ended.len(), ended_max)?;
        within(
            "providers",
            self.providers.len(),
            config.providers_max.into(),
        )?;
        let compares_max = config.compares_open_max.into();
        within("comparisons", self.comparing.len(), compares_max)
    }
}

fn within(what: &'static str, have: usize, max: u64) -> Result<(), Violation> {
    let have = have as u64;
    if have <= max {
        Ok(())
    } else {
        Err(Violation::Bound { what, have, max })
    }
}

/// Whether a replica is a peer's check of the answer that is accepted now.
fn checks_by_peer(shard: &Shard, replica: &Replica) -> bool {
    let checks = shard.audit.iter().flat_map(|audit| &audit.checks);
    let mut peers = checks.filter(|check| check.by == By::Peer);
    peers.any(|check| {
        let of_check = check.replica.and_then(|at| shard.replicas.get(at as usize));
        of_check.is_some_and(|of_check| of_check.assignment == replica.assignment)
    })
}

/// Everyone who answers, answered or blamed the guest is of another operator and, where the aggregator
/// minded when it chose them, of another network. So are the peers who check an answer, of one another.
fn check_kin(job: &Job, shard: &Shard, index: u32) -> Result<(), Violation> {
    let speaks = |replica: &&Replica| match &replica.state {
        ReplicaState::Closed(Cause::Failed(failure)) => !matches!(failure, Failure::Provider(_)),
        state => !matches!(state, ReplicaState::Closed(_)),
    };
    let speaking = || shard.replicas.iter().filter(speaks);
    let answers: Vec<&Replica> = speaking().filter(|replica| !replica.check).collect();
    let subject = shard.audit.as_ref().map(|audit| audit.subject);
    let subject = subject.and_then(|at| shard.replicas.get(at as usize));
    let peers = speaking().filter(|replica| checks_by_peer(shard, replica));
    let audit = subject.into_iter().chain(peers).collect();
    for group in [answers, audit] {
        if let Some((left, right)) = of_one_kin(&group) {
            return Err(Violation::Kin {
                job: job.id,
                shard: index,
                left: left.provider,
                right: right.provider,
            });
        }
    }
    Ok(())
}

/// Two of one operator or network.
fn of_one_kin<'a>(group: &[&'a Replica]) -> Option<(&'a Replica, &'a Replica)> {
    let near = |one: &Replica, other: &Replica| {
        let (one, two) = (other.kin, one.kin);
        let one_network = one.prefix.is_some() && one.prefix == two.prefix;
        one.operator == two.operator || one_network
    };
    group.iter().zip(1..).find_map(|(right, at): (_, usize)| {
        let before = group.get(..at.saturating_sub(1)).unwrap_or_default();
        let left = before.iter().find(|left| near(left, right))?;
        Some((*left, *right))
    })
}

/// The price asked for all the fuel and all the time that the job allows is within the share.
fn check_price(job: &Job, replica: &Replica) -> Result<(), Violation> {
    let limits = &job.spec.limits;
    let part = |rate: Amount, used: u64, unit: u128| {
        rate.0.saturating_mul(u128::from(used)).div_ceil(unit)
    };
    let fuel = part(replica.price.per_gfuel, limits.fuel, 1_000_000_000);
    let device = part(replica.price.per_device_second, limits.wall_ms, 1_000);
    let (ask, share) = (Amount(fuel.saturating_add(device)), job.quote.share);
    if ask <= share {
        return Ok(());
    }
    let assignment = replica.assignment;
    Err(Violation::Price {
        assignment,
        ask,
        share,
    })
}

/// Every replica paid in full, fee on top, rounded up.
fn most_a_shard_costs(job: &Job) -> Amount {
    let replicas = u128::from(job.spec.max_replicas);
    let shares = job.quote.share.checked_mul_div(replicas, 1);
    let shares = shares.unwrap_or_default();
    let fee = shares.checked_mul_div(u128::from(job.quote.fee_bps), 10_000);
    let fee = fee.unwrap_or_default().0.saturating_add(1);
    Amount(shares.0.saturating_add(fee))
}
