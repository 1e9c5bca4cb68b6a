//! Where the money goes. Each verdict is one group of transfers: all of it happens or none.
//!
//! At admission the price ceiling moves from the client to the job's escrow. Each assignment reserves
//! one share of it. A verdict posts what the agreeing earned, voids the rest and takes the fee; the
//! job's end ([`super::ending`]) returns what is left and closes the escrow for good.

use std::collections::BTreeMap;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::Price;
use jobs::outcome::Meters;
use jobs::package::Limits;
use jobs::verdict::lower_median;
use ledger::{Account, FeeBps, LedgerError, Transfer, TransferId};

use super::action::{Action, FailReason, JobOutcome, Reply};
use super::event::{Code, Failure, Movement, RequestId};
use super::recover::merge;
use super::refusal::Refusal;
use super::reputation::Deed;
use super::state::{Accepted, Cause, Phase, Place, Replica, ReplicaState};
use super::{Core, Effects};

/// Fuel that [`Price::per_gfuel`] is asked for.
const FUEL_PER_PRICE: u128 = 1_000_000_000;
/// Microseconds of device time that [`Price::per_device_second`] is asked for.
const DEVICE_US_PER_PRICE: u128 = 1_000_000;

/// The most that one execution within `limits` costs at `price`: all the fuel, and a device that is
/// busy for as long as the wall clock allows.
pub(super) fn most(price: &Price, limits: &Limits) -> Amount {
    cost(price, limits.fuel, device_us_max(limits))
}

/// Microseconds of device time that are paid at most: the device is not busy for longer than the
/// execution takes.
fn device_us_max(limits: &Limits) -> u64 {
    limits.wall_ms.saturating_mul(1_000)
}

/// What one execution earned by its own meters. A device was busy for no longer than we waited for the commitment.
pub(super) fn earned(limits: &Limits, replica: &Replica, meters: &Meters) -> Amount {
    let times = replica.times;
    let waited_us = times.accepted.zip(times.committed).map(|(from, until)| {
        let ms = until.since_ms(from);
        ms.saturating_mul(1_000)
    });
    let most_us = device_us_max(limits).min(waited_us.unwrap_or(u64::MAX));
    let device_us = meters.device_us.min(most_us);
    cost(&replica.price, meters.fuel, device_us)
}

/// What `fuel` and `device_us` cost at `price`, each rounded up; saturates instead of overflowing.
fn cost(price: &Price, fuel: u64, device_us: u64) -> Amount {
    let part = |rate: Amount, used: u64, unit: u128| {
        rate.0.saturating_mul(u128::from(used)).div_ceil(unit)
    };
    let fuel = part(price.per_gfuel, fuel, FUEL_PER_PRICE);
    let device = part(price.per_device_second, device_us, DEVICE_US_PER_PRICE);
    Amount(fuel.saturating_add(device))
}

/// A judged replica and what it gets.
struct Share {
    position: u32,
    assignment: AssignmentId,
    provider: ProviderId,
    reservation: TransferId,
    agreed: bool,
    paid: Amount,
}

impl Core {
    /// Applies transfers that must be possible. A refusal is a bug: it changes no money, is counted,
    /// and raises an alarm.
    pub(super) fn transfer(&mut self, transfers: &[Transfer], fx: &mut Effects) -> bool {
        match self.ledger.apply_all(transfers) {
            Ok(entries) => {
                fx.journal.extend(entries);
                true
            }
            Err(error) => {
                self.ledger_faults = self.ledger_faults.saturating_add(1);
                let code = ledger_code(&error);
                fx.push(Action::Fault { code });
                false
            }
        }
    }

    /// Settles an accepted shard: pays `winners`, ends the others without pay.
    pub(super) fn settle(&mut self, id: JobId, index: u32, winners: Vec<u32>, fx: &mut Effects) {
        let Some((shares, canonical)) = self.shares(id, index, &winners) else {
            return;
        };
        let paid = shares.iter().fold(Amount::ZERO, |sum, share| {
            sum.checked_add(share.paid).unwrap_or(sum)
        });
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let rate = FeeBps::new(job.quote.fee_bps).unwrap_or(self.config.fee);
        let fee = rate.fee(paid);
        let transfers = self.settlement_transfers(id, index, &shares, fee);
        if !self.transfer(&transfers, fx) {
            self.end_job(id, JobOutcome::Failed(FailReason::Ledger), fx);
            return;
        }
        for share in &shares {
            let place = Place {
                job: id,
                shard: index,
                replica: share.position,
            };
            if let Some(replica) = self.replica_mut(place) {
                replica.state = ReplicaState::Settled {
                    agreed: share.agreed,
                    paid: share.paid,
                };
            }
            fx.spend();
            self.let_go(share.provider, share.assignment, false);
            let deed = if share.agreed {
                Deed::Agreed
            } else {
                Deed::Dissented
            };
            self.record_deed(share.provider, deed, fx);
        }
        self.drop_comparisons(id, index..=index, fx);
        self.blame_false_alarms(id, index, fx);
        let accepted = Accepted {
            agreeing: winners,
            canonical: canonical.0,
            outputs: canonical.1,
            root: canonical.2,
            fee,
        };
        self.note_accepted(id, index, &shares, accepted, fx);
    }

    fn note_accepted(
        &mut self,
        id: JobId,
        index: u32,
        shares: &[Share],
        accepted: Accepted,
        fx: &mut Effects,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        for share in shares.iter().filter(|share| !share.paid.is_zero()) {
            let sum = job.paid.entry(share.provider).or_default();
            *sum = sum.checked_add(share.paid).unwrap_or(*sum);
        }
        job.fee = job.fee.checked_add(accepted.fee).unwrap_or(job.fee);
        if let Some(shard) = job.shards.get_mut(index as usize) {
            shard.accepted = Some(accepted);
        }
        fx.fill = true;
        if job.shards.iter().all(|shard| shard.accepted.is_some()) {
            job.phase = Phase::Merging;
            job.merges = job.merges.saturating_add(1);
            fx.actions.push(merge(job));
        }
    }

    /// What each revealed replica gets, and position, outputs and root of the canonical one. Fuel and
    /// device time are the lower median of what the agreeing metered: device time is each provider's own
    /// word, and one alone neither raises nor, among three or more, lowers what all are paid.
    fn shares(
        &self,
        id: JobId,
        index: u32,
        winners: &[u32],
    ) -> Option<(Vec<Share>, (u32, BlobRef, Digest))> {
        let job = self.jobs.get(&id)?;
        let shard = job.shards.get(index as usize)?;
        let outcome = |position: u32| {
            let replica = shard.replicas.get(position as usize)?;
            Some(&replica.opening.as_ref()?.outcome)
        };
        let outcomes = winners.iter().filter_map(|p| Some((*p, outcome(*p)?)));
        let canonical = outcomes.clone().min_by_key(|(p, o)| (o.root, *p))?;
        let meters: Vec<Meters> = outcomes.map(|(_, outcome)| outcome.meters).collect();
        let fuel = lower_median(meters.iter().map(|m| m.fuel).collect())?;
        let device_us = lower_median(meters.iter().map(|m| m.device_us).collect())?;
        let device_us = device_us.min(device_us_max(&job.spec.limits));
        // Nobody is given work that could cost more than its share, and no more is reserved.
        let earned = |replica: &Replica| cost(&replica.price, fuel, device_us).min(job.quote.share);
        let live = shard.replicas.iter().zip(0..).filter(|(r, _)| r.is_live());
        let shares = live.map(|(replica, position)| {
            let agreed = winners.contains(&position);
            let paid = if agreed || self.pays_losers() {
                earned(replica)
            } else {
                Amount::ZERO
            };
            Share {
                position,
                assignment: replica.assignment,
                provider: replica.provider,
                reservation: replica.reservation,
                agreed,
                paid,
            }
        });
        let (position, chosen) = canonical;
        Some((shares.collect(), (position, chosen.outputs, chosen.root)))
    }

    fn settlement_transfers(
        &self,
        id: JobId,
        index: u32,
        shares: &[Share],
        fee: Amount,
    ) -> Vec<Transfer> {
        let one = |share: &Share| settle_share(share.assignment, share.reservation, share.paid);
        let mut transfers: Vec<Transfer> = shares.iter().map(one).collect();
        self.sabotage_transfers(id, shares, &mut transfers);
        if !fee.is_zero() {
            transfers.push(Transfer::Post {
                id: TransferId::derive(&[b"fee".as_slice(), id.0.as_bytes(), &index.to_le_bytes()]),
                from: Account::Escrow(id),
                to: Account::Fee,
                amount: fee,
            });
        }
        transfers
    }

    /// A provider that failed at a shard which others executed did so by its own fault, and was wrong
    /// if it blamed the guest.
    fn blame_false_alarms(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let replicas = self.shard(id, index).map(|s| s.replicas.iter());
        let deeds = replicas.into_iter().flatten().filter_map(|replica| {
            let deed = match &replica.state {
                ReplicaState::Closed(Cause::Failed(Failure::Guest(_))) => Deed::BlamedGuest,
                ReplicaState::Closed(Cause::Failed(Failure::Timeout | Failure::WorkerLost)) => {
                    Deed::Failed
                }
                _ => return None,
            };
            Some((replica.provider, deed))
        });
        for (provider, deed) in deeds.collect::<Vec<(ProviderId, Deed)>>() {
            self.record_deed(provider, deed, fx);
        }
    }

    pub(super) fn move_money(
        &mut self,
        request: RequestId,
        id: Digest,
        movement: Movement,
        amount: Amount,
        fx: &mut Effects,
    ) {
        let (from, to) = match movement {
            Movement::Deposit(client) => (Account::Outside, Account::Client(client)),
            Movement::Withdraw(client) => (Account::Client(client), Account::Outside),
            Movement::Stake(provider) => (Account::Outside, Account::Stake(provider)),
            Movement::Unstake(provider) => (Account::Stake(provider), Account::Outside),
            Movement::PayOut(provider) => (Account::Provider(provider), Account::Outside),
            Movement::Reward => (Account::Outside, Account::Rewards),
        };
        if let Movement::Unstake(provider) = movement {
            let live = self.providers.get(&provider).map_or(0, |p| p.live.len());
            if live > 0 {
                self.hurry_provider(provider, fx);
                let assignments = u64::try_from(live).unwrap_or(u64::MAX);
                fx.reply(request, Err(Refusal::StakeInUse { assignments }));
                return;
            }
        }
        if let Movement::Unstake(provider) = movement
            && let cases @ 1.. = self.accusations_of(provider)
        {
            fx.reply(request, Err(Refusal::StakeAccused { cases }));
            return;
        }
        let post = Transfer::Post {
            id: TransferId::derive(&[b"move".as_slice(), id.as_bytes()]),
            from,
            to,
            amount,
        };
        let reply = match self.ledger.apply_all(&[post]) {
            Ok(entries) => {
                fx.journal.extend(entries);
                fx.fill = true;
                Ok(Reply::Moved)
            }
            Err(error) => Err(Refusal::Ledger {
                code: ledger_code(&error),
            }),
        };
        fx.reply(request, reply);
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn pays_losers(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::PayLosers)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn pays_losers(&self) -> bool {
        false
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn sabotage_transfers(&self, id: JobId, shares: &[Share], transfers: &mut Vec<Transfer>) {
        match self.config.sabotage {
            Some(super::Sabotage::ForgetVoid) => {
                transfers.retain(|t| !matches!(t, Transfer::VoidPending { .. }));
            }
            Some(super::Sabotage::PayTwice) => {
                let winner = shares.iter().find(|share| !share.paid.is_zero());
                transfers.extend(winner.map(|share| Transfer::Post {
                    id: TransferId::derive(&[b"again".as_slice(), share.assignment.0.as_bytes()]),
                    from: Account::Escrow(id),
                    to: Account::Provider(share.provider),
                    amount: share.paid,
                }));
            }
            _ => {}
        }
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn sabotage_transfers(&self, _: JobId, _: &[Share], _: &mut Vec<Transfer>) {}
}

/// Posts what a replica earned, or gives its reservation back.
pub(super) fn settle_share(
    assignment: AssignmentId,
    pending: TransferId,
    amount: Amount,
) -> Transfer {
    let assignment = assignment.0;
    if amount.is_zero() {
        return Transfer::VoidPending {
            id: TransferId::derive(&[b"void".as_slice(), assignment.as_bytes()]),
            pending,
        };
    }
    Transfer::PostPending {
        id: TransferId::derive(&[b"pay".as_slice(), assignment.as_bytes()]),
        pending,
        amount,
    }
}

/// The ledger's stable name for a refusal.
pub(super) fn ledger_code(error: &LedgerError) -> Code {
    Code::new(match error {
        LedgerError::Rejected { reason, .. } => reason.code(),
        _ => "ledger",
    })
}

/// Sums what several providers got.
pub(super) fn total(paid: &BTreeMap<ProviderId, Amount>) -> Amount {
    paid.values().fold(Amount::ZERO, |sum, amount| {
        sum.checked_add(*amount).unwrap_or(sum)
    })
}
