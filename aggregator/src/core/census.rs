//! The whole market in numbers, for an operator's instruments.

use std::collections::BTreeMap;

use jobs::ids::{AssignmentId, JobId, ProviderId};
use ledger::Account;

use super::Core;
use super::progress::Progress;
use super::state::Times;
use super::summary::status_of;
use super::view::JobStatus;

/// What an account is for, whoever it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purse {
    /// Clients' free money.
    Client,
    /// What jobs hold.
    Escrow,
    /// What providers earned.
    Provider,
    /// What providers lose if they cheat.
    Stake,
    /// What the aggregator kept.
    Fee,
    /// Stake that was taken.
    Slashed,
    /// The pot that games are rewarded from.
    Rewards,
    /// Everything outside; what came in stands on its debit side.
    Outside,
}

/// What stands in one kind of account, in micro-units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stand {
    /// Credits posted.
    pub credits: u128,
    /// Debits posted.
    pub debits: u128,
    /// Debits reserved.
    pub pending: u128,
}

/// How a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderStanding {
    /// Connected and given work.
    Online,
    /// Not connected.
    Offline,
    /// Known, but not trusted with work.
    Demoted,
    /// Never given work again.
    Banned,
}

/// A provider in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderCount {
    /// Who.
    pub id: ProviderId,
    /// How it stands.
    pub standing: ProviderStanding,
    /// Its reputation in millionths.
    pub reputation_ppm: u32,
    /// Assignments it has yet to execute.
    pub busy: u32,
}

/// Everything in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Census {
    /// Jobs that are known, by where they are.
    pub jobs: BTreeMap<JobStatus, u64>,
    /// Shards of jobs that have not ended, by where they are.
    pub shards: BTreeMap<Progress, u64>,
    /// Providers, ascending by id.
    pub providers: Vec<ProviderCount>,
    /// Replicas that agreed with a verdict, ever.
    pub agreed: u64,
    /// Replicas that a verdict left out, ever.
    pub outvoted: u64,
    /// Assignments that came to nothing by a provider's doing, ever.
    pub failed: u64,
    /// Money, by what it is for.
    pub money: BTreeMap<Purse, Stand>,
    /// Entries in the ledger's journal.
    pub journal: u64,
}

impl Core {
    /// Counts everything.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census {
            journal: self.ledger.head().seq,
            ..Census::default()
        };
        for job in self.jobs.values() {
            add(census.jobs.entry(status_of(job)).or_default(), 1);
        }
        let open = self.jobs.values().filter(|job| !job.is_ended());
        for progress in open.filter_map(|job| self.shard_progress(job.id)).flatten() {
            add(census.shards.entry(progress).or_default(), 1);
        }
        for (id, provider) in &self.providers {
            let standing = match (provider.banned, provider.score.is_eligible(self.now)) {
                (Some(_), _) => ProviderStanding::Banned,
                (None, false) => ProviderStanding::Demoted,
                (None, true) if provider.online => ProviderStanding::Online,
                (None, true) => ProviderStanding::Offline,
            };
            census.providers.push(ProviderCount {
                id: *id,
                standing,
                reputation_ppm: provider.score.points(self.now),
                busy: provider.busy,
            });
            add(&mut census.agreed, provider.tally.agreed);
            add(&mut census.outvoted, provider.tally.dissented);
            add(&mut census.failed, provider.tally.failed);
        }
        for (account, balance) in self.ledger.balances() {
            let stand = census.money.entry(purse(account)).or_default();
            let sums = [
                (&mut stand.credits, balance.credits_posted),
                (&mut stand.debits, balance.debits_posted),
                (&mut stand.pending, balance.debits_pending),
            ];
            for (sum, amount) in sums {
                *sum = sum.saturating_add(amount.0);
            }
        }
        census
    }

    /// When an assignment moved, unless it is unknown or forgotten.
    #[must_use]
    pub fn times(&self, assignment: AssignmentId) -> Option<Times> {
        let place = self.places.get(&assignment)?;
        Some(self.replica(*place)?.times)
    }

    /// Of which job an assignment is, and of which shard.
    #[must_use]
    pub fn shard_of(&self, assignment: AssignmentId) -> Option<(JobId, u32)> {
        let place = self.places.get(&assignment)?;
        Some((place.job, place.shard))
    }

    /// Whether a shard is accepted.
    #[must_use]
    pub fn is_accepted(&self, (job, shard): (JobId, u32)) -> bool {
        let shard = self.shard(job, shard);
        shard.is_some_and(|shard| shard.accepted.is_some())
    }

    /// Milliseconds from a shard's first assignment until now.
    #[must_use]
    pub fn since_dispatched(&self, (job, shard): (JobId, u32)) -> Option<u64> {
        let first = self.shard(job, shard)?.replicas.first()?;
        Some(self.now.0.saturating_sub(first.times.dispatched.0))
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

const fn purse(account: &Account) -> Purse {
    match account {
        Account::Client(_) => Purse::Client,
        Account::Escrow(_) => Purse::Escrow,
        Account::Provider(_) => Purse::Provider,
        Account::Stake(_) => Purse::Stake,
        Account::Fee => Purse::Fee,
        Account::Slashed => Purse::Slashed,
        Account::Rewards => Purse::Rewards,
        Account::Outside => Purse::Outside,
    }
}
