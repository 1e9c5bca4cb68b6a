//! Which jobs may come in: by their bounds, price and funding.

use std::collections::BTreeMap;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::{ClientId, JobId};
use jobs::money::{AMOUNT_MAX, Amount};
use jobs::plan;
use jobs::verdict::REPLICAS_MAX;
use ledger::{Account, BPS_PER_WHOLE, Transfer, TransferId};

use super::action::{Action, FailReason, JobOutcome, Quote, Reply};
use super::config::WALL_MS_MAX;
use super::diversity::{Kin, most_apart};
use super::draw::promise;
use super::event::{Chance, Code, JobSpec, RequestId};
use super::refusal::{Need, Refusal};
use super::settlement::most;
use super::state::{Draw, Job, Phase, Provider, Shard};
use super::{Core, Effects};

impl Core {
    pub(super) fn submit(
        &mut self,
        (request, client): (RequestId, ClientId),
        id: JobId,
        spec: JobSpec,
        chance: Chance,
        fx: &mut Effects,
    ) {
        let reply = match self.jobs.get(&id) {
            Some(job) if job.client == client => Ok(Reply::Admitted {
                job: id,
                quote: job.quote,
                repeated: true,
                promise: promise(id, &job.draw.own),
            }),
            Some(_) => Err(Refusal::NotYours),
            None => self.admit(client, id, spec, chance, fx).map(|quote| {
                fx.push(Action::Prepare { job: id });
                Reply::Admitted {
                    job: id,
                    quote,
                    repeated: false,
                    promise: promise(id, &chance),
                }
            }),
        };
        fx.reply(request, reply);
    }

    fn admit(
        &mut self,
        client: ClientId,
        id: JobId,
        spec: JobSpec,
        chance: Chance,
        fx: &mut Effects,
    ) -> Result<Quote, Refusal> {
        let escrow = Account::Escrow(id);
        if self.ledger.balance(&escrow).closed {
            return Err(Refusal::Archived);
        }
        self.check_bounds(&spec)?;
        self.check_room(client)?;
        let quote = self.quote(&spec)?;
        self.check_served(&spec, quote.share)?;
        let have = self.ledger.balance(&Account::Client(client)).available();
        let have = have.unwrap_or_default();
        if have < spec.max_price {
            let need = spec.max_price;
            return Err(Refusal::InsufficientFunds { have, need });
        }
        let fund = Transfer::Post {
            id: TransferId::derive(&[b"fund".as_slice(), id.0.as_bytes()]),
            from: Account::Client(client),
            to: escrow,
            amount: spec.max_price,
        };
        let entries = self.ledger.apply_all(&[fund]);
        fx.journal.extend(entries.map_err(|error| Refusal::Ledger {
            code: super::settlement::ledger_code(&error),
        })?);
        self.insert_job(client, id, spec, quote, chance);
        Ok(quote)
    }

    fn insert_job(
        &mut self,
        client: ClientId,
        id: JobId,
        spec: JobSpec,
        quote: Quote,
        chance: Chance,
    ) {
        let spans = plan::plan(spec.items, spec.items_per_shard);
        let shards = spans.iter().map(|span| Shard {
            first_item: span.first_item,
            items: span.items,
            input: None,
            wanted: spec.replicas,
            replicas: Vec::new(),
            comparisons: BTreeMap::new(),
            accepted: None,
            audit: None,
        });
        let order = self.admitted;
        self.admitted = order.saturating_add(1);
        self.open.insert(order, id);
        let job = Job {
            id,
            client,
            quote,
            order,
            admitted: self.now,
            deadline: self.now.plus_ms(spec.deadline_ms),
            phase: Phase::Preparing,
            shards: shards.collect(),
            refusals: BTreeMap::new(),
            paid: BTreeMap::new(),
            fee: Amount::ZERO,
            recorded: false,
            draw: Draw {
                own: chance,
                client: None,
                order: None,
                by_both: false,
                due: self.now.plus_ms(self.config.share_timeout_ms),
                beacon: None,
            },
            merges: 0,
            spec,
        };
        self.jobs.insert(id, job);
    }

    pub(super) fn check_bounds(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let shards = plan::shard_count(spec.items, spec.items_per_shard);
        let (replicas, max_replicas) = (u64::from(spec.replicas), u64::from(spec.max_replicas));
        let bounds = [
            ("items", u64::from(spec.items), 1, u64::from(u32::MAX)),
            (
                "items_per_shard",
                u64::from(spec.items_per_shard),
                1,
                u64::from(u32::MAX),
            ),
            (
                "shards",
                u64::from(shards),
                1,
                u64::from(self.config.shards_per_job_max),
            ),
            ("replicas", replicas, 1, quorum_max(spec)),
            (
                "max_replicas",
                max_replicas,
                self.replicas_max_min(spec),
                REPLICAS_MAX as u64,
            ),
            (
                "deadline_ms",
                spec.deadline_ms,
                1,
                self.config.deadline_ms_max,
            ),
            ("limits.wall_ms", spec.limits.wall_ms, 1, WALL_MS_MAX),
            ("limits.fuel", spec.limits.fuel, 1, u64::MAX),
        ];
        for (field, value, min, max) in bounds {
            if value < min || value > max {
                return Err(out_of_bounds(field, value, min, max));
            }
        }
        if spec.max_price > AMOUNT_MAX {
            let micros = |amount: Amount| u64::try_from(amount.0).unwrap_or(u64::MAX);
            let (value, max) = (micros(spec.max_price), micros(AMOUNT_MAX));
            return Err(out_of_bounds("max_price", value, 1, max));
        }
        Ok(())
    }

    /// The least cap on executions of a shard with which a job can come to an end.
    fn replicas_max_min(&self, spec: &JobSpec) -> u64 {
        let quorum = u64::from(spec.replicas.max(1));
        let judged = u64::from(self.config.audit.confirmations).saturating_add(2);
        if spec.audit.is_some() { judged } else { quorum }
    }

    fn check_room(&self, client: ClientId) -> Result<(), Refusal> {
        let config = &self.config;
        if self.open.len() >= config.jobs_open_max as usize {
            return Err(full("open jobs", u64::from(config.jobs_open_max)));
        }
        // Ended jobs wait here until the driver stored their records.
        let unrecorded_max = config.jobs_retained_max.saturating_mul(2);
        if self.ended.len() >= unrecorded_max as usize {
            return Err(full("unrecorded jobs", u64::from(unrecorded_max)));
        }
        let open = self.open.values().filter_map(|id| self.jobs.get(id));
        let own = open.filter(|job| job.client == client).count();
        if own >= config.jobs_per_client_max as usize {
            let max = u64::from(config.jobs_per_client_max);
            return Err(full("open jobs of this client", max));
        }
        Ok(())
    }

    /// Prices the worst case: every shard with every replica paid in full, fee on top. A micro-unit a
    /// shard is kept back for the rounding of the fee.
    pub(super) fn quote(&self, spec: &JobSpec) -> Result<Quote, Refusal> {
        let shards = plan::shard_count(spec.items, spec.items_per_shard);
        let assignments = u64::from(shards).saturating_mul(u64::from(spec.max_replicas));
        let whole = u128::from(BPS_PER_WHOLE);
        let fee_bps = self.config.fee.get();
        let payable = spec.max_price.saturating_sub(Amount(u128::from(shards)));
        let share = payable
            .checked_mul_div(whole, whole.saturating_add(u128::from(fee_bps)))
            .and_then(|all| all.checked_mul_div(1, u128::from(assignments)))
            .unwrap_or_default();
        if share.is_zero() {
            return Err(Refusal::PriceTooLow {
                max_price: spec.max_price,
                assignments,
            });
        }
        Ok(Quote {
            escrow: spec.max_price,
            shards,
            share,
            fee_bps,
        })
    }

    /// Looks for enough distinct providers, one requirement after the other, and names the first that
    /// too few meet.
    pub(super) fn check_served(&self, spec: &JobSpec, share: Amount) -> Result<(), Refusal> {
        let need = spec.providers_min();
        let mut left: Vec<&Provider> = self.providers.values().collect();
        left.retain(|provider| self.is_trusted(provider));
        for missing in Need::of(spec, share) {
            left.retain(|provider| meets(provider, missing, spec));
            let have = u32::try_from(left.len()).unwrap_or(u32::MAX);
            if have < need {
                return Err(Refusal::NobodyServes {
                    missing,
                    have,
                    need,
                });
            }
        }
        let workers = left.iter().map(|provider| provider.offer.provider);
        if workers.clone().all(|id| self.only_judges(spec, id)) {
            return Err(Refusal::NobodyServes {
                missing: Need::Providers,
                have: 0,
                need: 1,
            });
        }
        self.check_diverse(spec, &left)
    }

    /// Of those that meet every other need, enough must share a fingerprint where that is asked for, and
    /// enough must be apart.
    fn check_diverse(&self, spec: &JobSpec, able: &[&Provider]) -> Result<(), Refusal> {
        let need = spec.providers_min() as usize;
        let mut groups: BTreeMap<Option<Digest>, Vec<Kin>> = BTreeMap::new();
        for provider in able {
            let class = spec.needs_one_class().then_some(provider.class);
            groups.entry(class).or_default().push(self.kin(provider));
        }
        let alike = groups.values().map(Vec::len).max();
        let apart = groups.into_values().map(|kin| most_apart(kin, need)).max();
        for (missing, have) in [(Need::OneFingerprint, alike), (Need::Operators, apart)] {
            let have = have.unwrap_or(0);
            if have < need {
                return Err(Refusal::NobodyServes {
                    missing,
                    have: u32::try_from(have).unwrap_or(u32::MAX),
                    need: spec.providers_min(),
                });
            }
        }
        Ok(())
    }

    /// Connected, not banned, not demoted, and with enough at stake.
    pub(super) fn is_trusted(&self, provider: &Provider) -> bool {
        let (id, stake) = (
            provider.offer.provider,
            Account::Stake(provider.offer.provider),
        );
        provider.online
            && provider.banned.is_none()
            && !self.is_convicted(&id)
            && provider.score.is_eligible(self.now)
            && self.ledger.balance(&stake).available() >= Some(self.config.stake_min)
    }

    /// Whether a trusted provider has all that `job` needs, at a price that its share always covers.
    pub(super) fn suits(&self, provider: &Provider, job: &Job) -> bool {
        let (spec, limits) = (&job.spec, &job.spec.limits);
        let meets = |need| meets(provider, need, spec);
        meets(Need::Named)
            && spec.device.is_none_or(|kind| meets(Need::Device(kind)))
            && meets(Need::Memory(limits.memory_bytes))
            && meets(Need::Fuel(limits.fuel))
            && meets(Need::ModelBytes(spec.model_bytes_max))
            && (meets(Need::Price(job.quote.share)) || self.ignores_price())
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn ignores_price(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::IgnorePrice)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn ignores_price(&self) -> bool {
        false
    }

    pub(super) fn blobs_ready(&mut self, id: JobId, inputs: Vec<BlobRef>, fx: &mut Effects) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.phase != Phase::Preparing {
            return;
        }
        if inputs.len() != job.shards.len() {
            self.blobs_invalid(id, Code::new("shard_count"), fx);
            return;
        }
        job.phase = Phase::Running;
        for ((shard, input), index) in job.shards.iter_mut().zip(inputs).zip(0..) {
            shard.input = Some(input);
            fx.touched.insert((id, index));
        }
        fx.fill = true;
    }

    pub(super) fn blobs_invalid(&mut self, id: JobId, code: Code, fx: &mut Effects) {
        if self.jobs.get(&id).map(|job| &job.phase) == Some(&Phase::Preparing) {
            let reason = FailReason::BlobsInvalid { code };
            self.end_job(id, JobOutcome::Failed(reason), fx);
        }
    }
}

impl Need {
    /// What a job needs of each provider, where one execution may cost `share`.
    pub(super) fn of(spec: &JobSpec, share: Amount) -> Vec<Self> {
        let mut needs = vec![Self::Providers, Self::Named];
        needs.extend(spec.device.map(Self::Device));
        needs.extend([
            Self::Memory(spec.limits.memory_bytes),
            Self::Fuel(spec.limits.fuel),
            Self::ModelBytes(spec.model_bytes_max),
            Self::Price(share),
        ]);
        needs
    }
}

/// The largest quorum: where answers are audited, one is answer enough, and nobody would pay the others.
const fn quorum_max(spec: &JobSpec) -> u64 {
    match spec.audit {
        Some(_) => 1,
        None => REPLICAS_MAX as u64,
    }
}

pub(super) fn meets(provider: &Provider, need: Need, spec: &JobSpec) -> bool {
    let offer = &provider.offer;
    match need {
        Need::Providers | Need::OneFingerprint | Need::Operators => true,
        Need::Named => spec.allows(offer.provider),
        Need::Device(kind) => offer.device.kind == kind,
        Need::Memory(bytes) => offer.memory_bytes_max >= bytes,
        Need::Fuel(fuel) => offer.fuel_max >= fuel,
        Need::ModelBytes(bytes) => offer.model_bytes_max >= bytes,
        Need::Price(share) => most(&offer.price, &spec.limits) <= share,
    }
}

pub(super) fn full(what: &str, max: u64) -> Refusal {
    let what = Code::new(what);
    Refusal::Full { what, max }
}

pub(super) fn out_of_bounds(field: &str, value: u64, min: u64, max: u64) -> Refusal {
    Refusal::OutOfBounds {
        field: Code::new(field),
        value,
        min,
        max,
    }
}
