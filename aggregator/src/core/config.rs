//! What an operator chooses, and the named bound of everything.

use std::collections::BTreeSet;

use jobs::ids::{AggregatorId, ProviderId};
use jobs::money::Amount;
use jobs::verdict::REPLICAS_MAX;
use ledger::FeeBps;
use serde::{Deserialize, Serialize};

/// Default for [`Config::jobs_open_max`], in jobs.
pub const JOBS_OPEN_MAX: u32 = 256;
/// Default for [`Config::jobs_per_client_max`], in jobs.
pub const JOBS_PER_CLIENT_MAX: u32 = 64;
/// Default for [`Config::jobs_retained_max`], in jobs.
pub const JOBS_RETAINED_MAX: u32 = 1024;
/// Default for [`Config::shards_per_job_max`], in shards.
pub const SHARDS_PER_JOB_MAX: u32 = 4096;
/// Default for [`Config::providers_max`], in providers.
pub const PROVIDERS_MAX: u32 = 1024;
/// Default for [`Config::attempts_per_shard_max`], in assignments.
pub const ATTEMPTS_PER_SHARD_MAX: u32 = 64;
/// Default for [`Config::compares_open_max`], in comparisons.
pub const COMPARES_OPEN_MAX: u32 = 256;
/// Default for [`Config::epoch_ms`]: one hour in milliseconds.
pub const EPOCH_MS: u64 = 3_600_000;
/// Times a provider may let one shard fall overdue before it never gets that shard again.
pub const OVERDUE_PER_SHARD_MAX: usize = 3;
/// Refusals after which a provider gets nothing more of a job, until it connects anew, in refusals.
pub const REFUSALS_PER_JOB_MAX: u8 = 16;
/// Times the cooldown doubles when a provider refuses again and again: 5 s become 160 s.
pub const COOLDOWN_DOUBLINGS_MAX: u32 = 5;
/// Default for [`Config::deadline_ms_max`]: 30 days in milliseconds.
pub const DEADLINE_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// Largest wall-clock limit of one execution: one day in milliseconds.
pub const WALL_MS_MAX: u64 = 24 * 3600 * 1000;
/// Providers whose clock or worker must give up on a shard before the job is to blame, even where one
/// replica is quorum enough: a single slow provider must not end a job.
pub const UNCLEAR_FAILURES_MIN: usize = 2;
/// Default for [`Config::step_replicas_max`], in replicas.
pub const STEP_REPLICAS_MAX: u32 = 2048;
/// Default for [`Config::step_looks_max`], in pairs of shard and provider.
pub const STEP_LOOKS_MAX: u32 = 32_768;
/// Default for [`Config::provider_live_max`], in assignments: as many as one job has shards, so that a
/// fast provider need not wait for the slow within one job.
pub const PROVIDER_LIVE_MAX: u32 = SHARDS_PER_JOB_MAX;
/// Default for [`Config::share_timeout_ms`].
pub const SHARE_TIMEOUT_MS: u64 = 30_000;
/// Default for [`Config::finality_ms`]: one hour. A busy provider answers enough in less.
pub const FINALITY_MS: u64 = 3600 * 1000;
/// Default for [`Config::audit_grace_ms`]: one hour.
pub const AUDIT_GRACE_MS: u64 = 3600 * 1000;
/// Rows that come with a replica that a step begins: journal entry, reservation, order, and the two
/// accounts. One that ends comes with fewer, and so does a job.
const ROWS_PER_REPLICA: usize = 5;
/// Rows that come with one more replica of a provider or of a shard that ends: journal entry,
/// reservation, and one account.
const ROWS_PER_END: usize = 3;
/// Rows of a step that come with no replica: the event, the heads of log and journal, money that moves,
/// a stake, a fee, the accounts of these, and what the driver stores with an event.
const ROWS_BESIDE: usize = 20;

/// Bytes of outputs a second that a provider is given time for when it reveals, 8 Mbit/s: a slower
/// link cannot hand over the largest outputs it may offer.
pub const REVEAL_BYTES_PER_SECOND: u64 = 1 << 20;

/// Milliseconds within which a reveal and this many bytes of outputs must arrive: a time that any
/// reveal gets, and what the bytes take at [`REVEAL_BYTES_PER_SECOND`].
#[must_use]
pub fn reveal_window_ms(base_ms: u64, output_bytes: u64) -> u64 {
    let transfer_ms = output_bytes.saturating_mul(1000);
    let transfer_ms = transfer_ms.checked_div(REVEAL_BYTES_PER_SECOND);
    base_ms.saturating_add(transfer_ms.unwrap_or(0))
}

/// The operator's choices. Part of the core's state: a replay uses the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Whose assignments these are.
    pub aggregator: AggregatorId,
    /// Fee on what providers get.
    pub fee: FeeBps,
    /// Stake below which a provider gets no work.
    pub stake_min: Amount,
    /// Jobs not yet ended.
    pub jobs_open_max: u32,
    /// Jobs not yet ended, of one client: its quota.
    pub jobs_per_client_max: u32,
    /// Ended jobs kept for questions. Older recorded ones are forgotten.
    pub jobs_retained_max: u32,
    /// Shards of one job.
    pub shards_per_job_max: u32,
    /// Providers known, connected or not.
    pub providers_max: u32,
    /// Assignments of one shard, in all.
    pub attempts_per_shard_max: u32,
    /// Comparisons the driver is asked for at the same time.
    pub compares_open_max: u32,
    /// Milliseconds within which an assignment must be accepted, its blobs fetched.
    pub accept_timeout_ms: u64,
    /// Milliseconds added to the wall-clock limit before a commitment is overdue.
    pub due_grace_ms: u64,
    /// Milliseconds within which a reveal must arrive; its outputs get more, by their size
    /// ([`reveal_window_ms`]).
    pub reveal_timeout_ms: u64,
    /// Milliseconds past its deadline that a job with every shard accepted may take to merge.
    pub merge_grace_ms: u64,
    /// Milliseconds after which a silent provider counts as lost.
    pub offer_ttl_ms: u64,
    /// Milliseconds during which a provider that refused, or did not answer, is left alone. Doubles
    /// with each further one in a row, [`COOLDOWN_DOUBLINGS_MAX`] times at most.
    pub refusal_cooldown_ms: u64,
    /// Longest deadline, in milliseconds.
    pub deadline_ms_max: u64,
    /// Replicas that one step begins or ends, and jobs that it ends; at least one. What is more waits
    /// for the next step, because a step must fit into one batch of the store.
    pub step_replicas_max: u32,
    /// Pairs of shard and provider that one step considers when it gives out work, or a few more.
    pub step_looks_max: u32,
    /// Assignments that one provider may hold, the committed ones that wait for others included.
    pub provider_live_max: u32,
    /// How much of the answers of audited jobs is checked, and what wrong ones cost.
    pub audit: policy::Params,
    /// Providers that the operator trusts to execute anything again: what they find about an accused answer decides.
    pub referees: BTreeSet<ProviderId>,
    /// Milliseconds from admission within which the client gives its share of what decides about audits.
    pub share_timeout_ms: u64,
    /// Milliseconds from admission that the first assignment waits for that share, so that the client has a say in who
    /// executes its job, too.
    pub share_wait_ms: u64,
    /// Milliseconds after which a result becomes final by a last sample, where its providers have not answered
    /// enough since.
    pub finality_ms: u64,
    /// Milliseconds beyond these that checks may take before an audited job fails.
    pub audit_grace_ms: u64,
    /// Whether providers of one network prefix count as one, as providers of one operator always do.
    pub prefix_diversity: bool,
    /// Whose reports count, at most [`super::epoch::VALIDATORS_MAX`].
    pub validators: BTreeSet<ProviderId>,
    /// Length of an epoch in milliseconds.
    pub epoch_ms: u64,
    /// The most that one epoch is rewarded with.
    pub epoch_reward: Amount,
    /// A deliberate mistake, to show that the checker finds it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(aggregator: AggregatorId, fee: FeeBps) -> Self {
        Self {
            aggregator,
            fee,
            stake_min: Amount::ZERO,
            jobs_open_max: JOBS_OPEN_MAX,
            jobs_per_client_max: JOBS_PER_CLIENT_MAX,
            jobs_retained_max: JOBS_RETAINED_MAX,
            shards_per_job_max: SHARDS_PER_JOB_MAX,
            providers_max: PROVIDERS_MAX,
            attempts_per_shard_max: ATTEMPTS_PER_SHARD_MAX,
            compares_open_max: COMPARES_OPEN_MAX,
            accept_timeout_ms: 60_000,
            due_grace_ms: 30_000,
            reveal_timeout_ms: 30_000,
            merge_grace_ms: 60_000,
            offer_ttl_ms: 10 * 60_000,
            refusal_cooldown_ms: 5_000,
            deadline_ms_max: DEADLINE_MS_MAX,
            step_replicas_max: STEP_REPLICAS_MAX,
            step_looks_max: STEP_LOOKS_MAX,
            provider_live_max: PROVIDER_LIVE_MAX,
            audit: policy::Params::default(),
            referees: BTreeSet::new(),
            share_timeout_ms: SHARE_TIMEOUT_MS,
            share_wait_ms: 0,
            finality_ms: FINALITY_MS,
            audit_grace_ms: AUDIT_GRACE_MS,
            prefix_diversity: true,
            validators: BTreeSet::new(),
            epoch_ms: EPOCH_MS,
            epoch_reward: Amount::ZERO,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }

    /// Most rows that one event can add to the store's batch. What a step may put off is counted
    /// against [`Config::step_replicas_max`]; a ban ends all that one provider holds, and a verdict
    /// settles all replicas of one shard, whatever else the step does.
    #[must_use]
    pub const fn step_rows_max(&self) -> usize {
        let at_once = (self.provider_live_max as usize).saturating_add(REPLICAS_MAX);
        (self.step_replicas_max as usize)
            .saturating_mul(ROWS_PER_REPLICA)
            .saturating_add(at_once.saturating_mul(ROWS_PER_END))
            .saturating_add(ROWS_BESIDE)
    }
}

/// A deliberate mistake in verdict or settlement. Exists only in tests and under the feature
/// `sabotage`; the simulator's checker must find each.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sabotage {
    /// The verdict believes the first replica alone.
    FirstReplicaWins,
    /// The verdict takes everyone who agrees with the first replica that has a quorum around it.
    StarVerdict,
    /// The settlement pays replicas that lost the vote.
    PayLosers,
    /// The settlement pays a winner a second time.
    PayTwice,
    /// The settlement leaves the losers' reservations open.
    ForgetVoid,
    /// The deadline is never enforced.
    IgnoreDeadline,
    /// A step does all there is to do, however much that is.
    EndlessStep,
    /// The verdict does not look at fuel.
    IgnoreFuel,
    /// Work is given out whatever the provider asks.
    IgnorePrice,
    /// Replicas of one shard are given to providers of one operator or network.
    IgnoreKin,
    /// An epoch awards twice its pot.
    OverspendRewards,
    /// An answer that counts for the time being is paid at once, before anybody could find it wrong.
    PayAtOnce,
    /// A conviction changes nothing.
    ForgiveAll,
    /// A ban leaves the culprit's answers that are not final.
    KeepInvalid,
    /// Whoever is of the operator or network of who answered may check the answer.
    SelfAudit,
    /// Nothing is ever drawn to be checked.
    SkipDraw,
    /// Stake is taken by the rule that was once published: the lesser of two thresholds, and no referee.
    MinRule,
    /// The verdict does not look at what was opened.
    IgnoreOpenings,
}
