//! What the operator chooses. One struct, validated once, consumed by [`crate::start`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jobs::envelope::SignerPolicy;
use jobs::ids::ClientId;
use jobs::manifest::{FUEL_MAX, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, MODEL_BYTES_MAX};
use jobs::money::{AMOUNT_MAX, Amount};
use jobs::offer::{DeviceKind, Price};
use runtime::Backend;

use crate::choices::{CLIENTS_MAX, Mode};
use crate::mode::IDLE_CPU_PERCENT_DEFAULT;
use crate::{Error, Misbehaviour};

/// Most workers of one provider.
pub const WORKERS_MAX: u16 = 256;

/// Smallest blob cache in bytes: a component, a model of the size of the example's, and a shard.
pub const CACHE_BYTES_MIN: u64 = 64 << 20;

/// Room in the cache that a model leaves for a component and a shard, in bytes.
const BESIDE_MODEL_BYTES: u64 = CACHE_BYTES_MIN / 2;

/// Most addresses in one list: as many as the network takes.
pub const ADDRESSES_MAX: u64 = 64;

/// Default of [`ProviderConfig::cache_bytes`].
pub const CACHE_BYTES_DEFAULT: u64 = 20 << 30;

/// Default of [`ProviderConfig::stop_grace`].
pub const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Longest [`ProviderConfig::stop_grace`].
pub const STOP_GRACE_MAX: Duration = Duration::from_secs(3600);

/// Default of each part of [`ProviderConfig::price`]: a hundred micro-units.
pub const PRICE_DEFAULT: Amount = Amount(100);

/// Everything a provider needs to start.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Where everything lies that must not be lost, and the caches.
    pub data: PathBuf,
    /// Ed25519 secret seed; `None` keeps one in `<data>/identity.key`.
    pub identity: Option<[u8; 32]>,
    /// File of the key of whoever runs it, made if it is not there; `None`: it is its own operator.
    pub operator: Option<PathBuf>,
    /// Multiaddresses of aggregators to offer to. More are found through them.
    pub aggregators: Vec<String>,
    /// Multiaddresses to listen on. None: it is reached over the connections that it makes itself, as from behind a
    /// router that lets nobody in.
    pub listen: Vec<String>,
    /// What it asks.
    pub price: Price,
    /// Worker processes: assignments executed at the same time.
    pub workers: u16,
    /// The device it offers; `None` takes a GPU if one is usable, else the processor.
    pub device: Option<DeviceKind>,
    /// Largest linear memory it grants a guest, in bytes.
    pub memory_bytes_max: u64,
    /// Largest fuel limit it accepts.
    pub fuel_max: u64,
    /// Largest model it accepts, in bytes.
    pub model_bytes_max: u64,
    /// Whose jobs it executes.
    pub signers: SignerPolicy,
    /// Whose jobs it refuses, whoever is trusted.
    pub denied: BTreeSet<ClientId>,
    /// Smallest reward it works for.
    pub reward_min: Amount,
    /// When it works.
    pub mode: Mode,
    /// In mode `auto`: the share of the processors that others may use before it takes no more work, in percent.
    pub idle_cpu_percent: u8,
    /// Cheats on purpose, for tests and demonstrations.
    pub misbehave: Option<Misbehaviour>,
    /// The program that becomes a worker.
    pub worker_exe: PathBuf,
    /// Its arguments.
    pub worker_args: Vec<OsString>,
    /// What runs graphs in the workers.
    pub backend: Backend,
    /// Most bytes of components, models, inputs and outputs kept on disk. No model is offered that does
    /// not fit.
    pub cache_bytes: u64,
    /// How long a stop waits for what runs before it hands it back.
    pub stop_grace: Duration,
}

impl ProviderConfig {
    /// A configuration with every default: one worker, listening on loopback, knowing no aggregator.
    pub fn new(data: PathBuf, worker_exe: PathBuf, worker_args: Vec<OsString>) -> Self {
        Self {
            data,
            identity: None,
            operator: None,
            aggregators: Vec::new(),
            listen: vec![
                "/ip4/127.0.0.1/tcp/0".into(),
                "/ip4/127.0.0.1/udp/0/quic-v1".into(),
            ],
            price: Price {
                per_gfuel: PRICE_DEFAULT,
                per_device_second: PRICE_DEFAULT,
            },
            workers: 1,
            device: None,
            memory_bytes_max: MEMORY_BYTES_MAX,
            fuel_max: FUEL_MAX,
            model_bytes_max: MODEL_BYTES_MAX,
            signers: SignerPolicy::Any,
            denied: BTreeSet::new(),
            reward_min: Amount::ZERO,
            mode: Mode::default(),
            idle_cpu_percent: IDLE_CPU_PERCENT_DEFAULT,
            misbehave: None,
            worker_exe,
            worker_args,
            backend: Backend::Onnx,
            cache_bytes: CACHE_BYTES_DEFAULT,
            stop_grace: STOP_GRACE_DEFAULT,
        }
    }

    /// The largest model that there is and that fits the cache, in bytes.
    pub fn largest_model(&self) -> u64 {
        let room = self.cache_bytes.saturating_sub(BESIDE_MODEL_BYTES);
        room.min(MODEL_BYTES_MAX)
    }

    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let addresses = ADDRESSES_MAX;
        let max = self.price.per_gfuel.max(self.price.per_device_second);
        let trusted = match &self.signers {
            SignerPolicy::Any => 0,
            SignerPolicy::Trusted(clients) => clients.len(),
        };
        let checks: [(bool, &'static str, String, String); 12] = [
            within("workers", u64::from(self.workers), 1, WORKERS_MAX.into()),
            within(
                "memory_bytes_max",
                self.memory_bytes_max,
                MEMORY_BYTES_MIN,
                MEMORY_BYTES_MAX,
            ),
            within("fuel_max", self.fuel_max, 1, FUEL_MAX),
            within("cache_bytes", self.cache_bytes, CACHE_BYTES_MIN, u64::MAX),
            // What is offered must also fit.
            within(
                "model_bytes_max",
                self.model_bytes_max,
                0,
                self.largest_model(),
            ),
            within("aggregators", self.aggregators.len() as u64, 0, addresses),
            within("listen", self.listen.len() as u64, 0, addresses),
            within("signers", trusted as u64, 0, CLIENTS_MAX as u64),
            within("denied", self.denied.len() as u64, 0, CLIENTS_MAX as u64),
            within("idle_cpu_percent", self.idle_cpu_percent.into(), 0, 100),
            within(
                "stop_grace",
                self.stop_grace.as_secs(),
                0,
                STOP_GRACE_MAX.as_secs(),
            ),
            (
                max <= AMOUNT_MAX,
                "price",
                max.to_string(),
                format!("must be at most {AMOUNT_MAX}"),
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, value, bound)) => Err(Error::Config { key, value, bound }),
            None => Ok(()),
        }
    }
}

fn within(
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> (bool, &'static str, String, String) {
    let holds = (least..=most).contains(&value);
    let bound = format!("must be {least} to {most}");
    (holds, key, value.to_string(), bound)
}

impl fmt::Debug for ProviderConfig {
    /// Everything but the secret seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("data", &self.data)
            .field("aggregators", &self.aggregators)
            .field("listen", &self.listen)
            .field("price", &self.price)
            .field("workers", &self.workers)
            .field("device", &self.device)
            .field("signers", &self.signers)
            .field("misbehave", &self.misbehave)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_bounds_are_named() {
        type Change = fn(&mut ProviderConfig);
        let changes: [(Change, &str); 11] = [
            (|c| c.workers = 0, "workers = 0"),
            (
                |c| c.workers = WORKERS_MAX + 1,
                "workers = 257: must be 1 to 256",
            ),
            (|c| c.memory_bytes_max = 1, "memory_bytes_max = 1"),
            (|c| c.fuel_max = 0, "fuel_max = 0"),
            (|c| c.model_bytes_max = u64::MAX, "model_bytes_max = "),
            (|c| c.cache_bytes = 1, "cache_bytes = 1"),
            (
                |c| c.cache_bytes = 1 << 30,
                "model_bytes_max = 2147483648: must be 0 to 1040187392",
            ),
            (|c| c.listen = vec![String::new(); 65], "listen = 65"),
            (|c| c.idle_cpu_percent = 101, "idle_cpu_percent = 101"),
            (
                |c| c.aggregators = vec![String::new(); 65],
                "aggregators = 65",
            ),
            (|c| c.price.per_gfuel = Amount(u128::MAX), "price = "),
        ];
        let config = ProviderConfig::new("/tmp".into(), "/bin/true".into(), Vec::new());
        config.check().unwrap();
        for (change, expected) in changes {
            let mut changed = config.clone();
            change(&mut changed);
            let error = changed.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
