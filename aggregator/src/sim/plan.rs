//! What a seed brings about: providers, jobs, deposits and the times of the great faults.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceKind, DeviceSpec, Offer, Price};
use jobs::openings::Noted;
use jobs::operator::Operates;
use jobs::outcome::Fingerprint;
use jobs::package::Limits;
use jobs::policy::Unit;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::peer::{Peer, Vice};
use crate::core::event::Code;
use crate::core::{Comparison, Failure, JobSpec};

/// Simulated milliseconds after which no fault is injected any more.
pub(super) const FAULTS_UNTIL_MS: u64 = 400_000;
/// Simulated milliseconds after which a seed ends in any case; every job must have ended by then.
pub(super) const END_MS: u64 = 600_000;
/// Latest submission, in simulated milliseconds.
const SUBMIT_UNTIL_MS: u64 = 150_000;
/// Tolerance of numeric jobs, in symbolic units.
pub(super) const TOLERANCE: i64 = 10;
/// Fuel limit of every job.
pub(super) const FUEL_LIMIT: u64 = 2_000_000_000;
/// Wall-clock limit of every job, in milliseconds.
pub(super) const WALL_MS: u64 = 20_000;

/// Fuel that a shard burns on an honest provider: another amount in each of the three classes, less
/// than twice the least.
pub(super) const fn honest_fuel(class: u64, shard: u32) -> u64 {
    let class = class.saturating_mul(FUEL_LIMIT / 10);
    (FUEL_LIMIT / 4)
        .saturating_add(class)
        .saturating_add(shard as u64)
}

/// What is noted where a shard is really executed.
pub(super) fn honest_noted(job: JobId, shard: u32) -> Noted {
    Noted {
        root: Digest::of(format!("noted {job} {shard}").as_bytes()),
        chunks: 10,
        inferences: 4,
    }
}

/// The seeded source of all chance.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        let width = high.saturating_sub(low).saturating_add(1);
        low.saturating_add(self.0.next_u64().checked_rem(width).unwrap_or(0))
    }

    /// True in `permille` of a thousand cases.
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.range(0, 999) < permille
    }
}

/// What the oracle knows of a job.
#[derive(Clone, Debug)]
pub(super) struct JobPlan {
    pub(super) id: JobId,
    /// Whose items it has: its own, or those of a job of which it executes a shard again.
    pub(super) origin: JobId,
    /// Which shard of those is its first.
    pub(super) first_shard: u32,
    pub(super) client: ClientId,
    pub(super) spec: JobSpec,
    /// When the client first submits it.
    pub(super) submit_ms: u64,
    /// When the client gives it up, if it does.
    pub(super) cancel_ms: Option<u64>,
    /// Its input is not what the package says.
    pub(super) bad_blobs: bool,
    /// How its guest fails on every provider that executes it.
    pub(super) bad_guest: Option<Failure>,
    /// Its outputs cannot be merged.
    pub(super) bad_merge: bool,
    /// How far honest outputs of a numeric job scatter: more than half the tolerance makes agreement
    /// intransitive.
    pub(super) scatter: i64,
}

pub(super) fn peers(dice: &mut Dice, seed: u64) -> Vec<Peer> {
    let count = dice.range(6, 14);
    let classes = dice.range(1, 3);
    (0..count)
        .map(|index| {
            // At least four can be relied on, so that most jobs can be done.
            let vice = if index < 4 { Vice::None } else { vice(dice) };
            let class = dice.range(1, classes).saturating_sub(1);
            let mut offer = offer(dice, seed, index, class);
            let mut prefix = index;
            // Of the others some are one operator's sybils, and some share a network with somebody.
            if index >= 4 && dice.chance(300) {
                offer.operator = operator(seed, offer.provider);
            }
            if index >= 4 && dice.chance(200) {
                prefix = dice.range(0, index.saturating_sub(1));
            }
            Peer::new(vice, offer, class, prefix)
        })
        .collect()
}

/// The word of the one operator of a seed that runs several providers.
fn operator(seed: u64, provider: ProviderId) -> Option<Signed<Operates>> {
    let key = SigningKey::from_bytes(name("operator", seed, 0).as_bytes());
    Signed::sign(&Operates { provider }, &key).ok()
}

fn vice(dice: &mut Dice) -> Vice {
    match dice.range(0, 25) {
        0..=6 => Vice::None,
        7 => Vice::MadeUp,
        8 | 9 => Vice::Wrong,
        10 => Vice::Straddle,
        11 | 12 => Vice::Collude,
        13 => Vice::Lazy,
        14 => Vice::Copy,
        15 => Vice::Equivocate,
        16 => Vice::Stall,
        17 => Vice::Withhold,
        18 => Vice::FalseAlarm,
        19 => Vice::Slow,
        20 | 21 => Vice::Understate,
        22 => Vice::Overstate,
        _ => Vice::Flaky,
    }
}

fn offer(dice: &mut Dice, seed: u64, index: u64, class: u64) -> Offer {
    let capacity = match dice.chance(250) {
        true => dice.range(6, 10),
        false => dice.range(1, 3),
    };
    Offer {
        provider: provider(seed, index),
        operator: None,
        device: DeviceSpec {
            kind: DeviceKind::Cpu,
            name: "simulated".into(),
            memory_bytes: 1 << 34,
        },
        price: Price {
            per_gfuel: Amount(u128::from(dice.range(0, 3_000))),
            per_device_second: Amount(u128::from(dice.range(0, 300))),
        },
        fingerprint: Fingerprint {
            engine: "simulated".into(),
            library: "simulated".into(),
            execution_provider: "cpu".into(),
            device: format!("class {class}"),
            options: String::new(),
        },
        capacity: u16::try_from(capacity).unwrap_or(1),
        memory_bytes_max: 1 << 30,
        fuel_max: u64::MAX,
        model_bytes_max: 1 << 30,
        issued: Timestamp(0),
    }
}

pub(super) fn provider(seed: u64, index: u64) -> ProviderId {
    ProviderId(*name("provider", seed, index).as_bytes())
}

pub(super) fn client(seed: u64, index: u64) -> ClientId {
    ClientId(name("client", seed, index))
}

pub(super) fn jobs(dice: &mut Dice, seed: u64) -> Vec<JobPlan> {
    let count = dice.range(1, 4);
    (0..count).map(|index| job(dice, seed, index)).collect()
}

fn job(dice: &mut Dice, seed: u64, index: u64) -> JobPlan {
    // Now and then more than one step can begin or end.
    let shards = match dice.chance(80) {
        true => dice.range(20, 40),
        false => dice.range(2, 8),
    };
    let items = shards.saturating_mul(4).saturating_sub(dice.range(0, 3));
    let audit = audit(dice);
    let replicas = match dice.range(0, 9) {
        _ if audit.is_some() => 1,
        0 => 1,
        1..=6 => 2,
        _ => 3,
    };
    let numeric = dice.chance(350);
    let models = u32::from(dice.chance(500));
    let submit_ms = dice.range(3_000, SUBMIT_UNTIL_MS);
    let cancelled = dice.chance(60);
    let cancel_ms = submit_ms.saturating_add(dice.range(500, 60_000));
    let wide = dice.chance(400);
    JobPlan {
        id: JobId(name("job", seed, index)),
        origin: JobId(name("job", seed, index)),
        first_shard: 0,
        client: client(seed, dice.range(0, 1)),
        spec: JobSpec {
            items: u32::try_from(items).unwrap_or(1),
            items_per_shard: 4,
            replicas,
            max_replicas: match (audit, u8::try_from(dice.range(0, 3)).unwrap_or(0)) {
                (Some(_), more) => more.saturating_add(5),
                (None, more) => replicas.saturating_add(more),
            },
            trusted: trusted(dice, seed, replicas).filter(|_| audit.is_none()),
            audit,
            comparison: if numeric {
                Comparison::Numeric
            } else {
                Comparison::Exact
            },
            // Apart from the dice, so that the other jobs of a seed stay what they are.
            openings: name("openings", seed, index).as_bytes().first() < Some(&80),
            limits: Limits {
                fuel: FUEL_LIMIT,
                memory_bytes: 1 << 24,
                output_bytes_per_item: 1024,
                wall_ms: WALL_MS,
            },
            models,
            model_bytes_max: u64::from(models).saturating_mul(1 << 20),
            device: None,
            max_price: Amount(u128::from(dice.range(20_000, 2_000_000))),
            deadline_ms: dice.range(40_000, 200_000),
        },
        submit_ms,
        cancel_ms: cancelled.then_some(cancel_ms),
        bad_blobs: dice.chance(30),
        bad_guest: bad_guest(dice),
        bad_merge: dice.chance(30),
        scatter: if wide { 7 } else { 2 },
    }
}

/// Every third job has its answers audited instead of repeated.
fn audit(dice: &mut Dice) -> Option<Unit> {
    match dice.range(0, 5) {
        0 => Some(Unit::Item),
        1 => Some(Unit::Shard),
        _ => None,
    }
}

/// Now and then a client trusts just enough providers, or one more.
fn trusted(dice: &mut Dice, seed: u64, replicas: u8) -> Option<BTreeSet<ProviderId>> {
    if !dice.chance(100) {
        return None;
    }
    let first = dice.range(0, 2);
    let count = u64::from(replicas).saturating_add(dice.range(0, 1));
    let indices = first..first.saturating_add(count);
    Some(indices.map(|index| provider(seed, index)).collect())
}

fn bad_guest(dice: &mut Dice) -> Option<Failure> {
    match dice.range(0, 44) {
        0 => Some(Failure::Guest(Code::new("trap"))),
        1 => Some(Failure::Timeout),
        2 => Some(Failure::WorkerLost),
        _ => None,
    }
}

/// A symbol: the digest of what it stands for.
pub(super) fn name(kind: &str, seed: u64, index: u64) -> Digest {
    Digest::of(format!("{kind} {seed} {index}").as_bytes())
}

/// Symbolic blobs, one a shard.
pub(super) fn shard_inputs(plan: &JobPlan) -> Vec<BlobRef> {
    let shards = jobs::plan::shard_count(plan.spec.items, plan.spec.items_per_shard);
    let blob = |index: u32| BlobRef {
        digest: Digest::of(
            format!(
                "input {} {}",
                plan.origin,
                plan.first_shard.saturating_add(index)
            )
            .as_bytes(),
        ),
        size: 100,
    };
    (0..shards).map(blob).collect()
}
