//! `provider.toml`: what a provider is told by a file in its data directory.
//!
//! Defaults come first, then the file, then `ASSAY_PROVIDER_…` variables, then flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jobs::ids::ClientId;
use jobs::money::Amount;
use jobs::offer::DeviceKind;
use provider::choices::Mode;
use serde::Deserialize;

pub(crate) use crate::daemon_file::Size;
use crate::daemon_file::{Kind, Mark, Marked};

mod template;

pub(crate) use template::{Chosen, render};

/// The file.
pub(crate) const KIND: Kind = Kind {
    file: "provider.toml",
    what: "a provider's configuration",
    init: "assay provider init",
    schema: 1,
    keys: &[
        "schema",
        "aggregators",
        "listen",
        "workers",
        "device",
        "operator",
        "price_per_gfuel",
        "price_per_device_second",
        "reward_min",
        "memory_max",
        "fuel_max",
        "model_max",
        "cache_max",
        "trust",
        "deny",
        "mode",
        "idle_cpu_percent",
        "drain_seconds",
        "complete",
    ],
};

/// What the file says; nothing where it says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProviderFile {
    schema: Option<u32>,
    pub(crate) aggregators: Option<Vec<String>>,
    pub(crate) listen: Option<Vec<String>>,
    pub(crate) workers: Option<u16>,
    pub(crate) device: Option<DeviceKind>,
    pub(crate) operator: Option<PathBuf>,
    pub(crate) price_per_gfuel: Option<Amount>,
    pub(crate) price_per_device_second: Option<Amount>,
    pub(crate) reward_min: Option<Amount>,
    pub(crate) memory_max: Option<Size>,
    pub(crate) fuel_max: Option<u64>,
    pub(crate) model_max: Option<Size>,
    pub(crate) cache_max: Option<Size>,
    pub(crate) trust: Option<BTreeSet<ClientId>>,
    pub(crate) deny: Option<BTreeSet<ClientId>>,
    pub(crate) mode: Option<Mode>,
    pub(crate) idle_cpu_percent: Option<u8>,
    pub(crate) drain_seconds: Option<u64>,
    complete: Option<bool>,
}

impl Marked for ProviderFile {
    fn mark(&self) -> Mark {
        Mark {
            schema: self.schema,
            complete: self.complete,
        }
    }
}

impl ProviderFile {
    /// The file of a data directory; an empty one if there is none.
    pub(crate) fn load(data: &Path) -> Result<Self> {
        let mut file: Self = KIND.load(data)?;
        // A relative path is relative to the file that holds it, wherever the program is started.
        file.operator = file.operator.map(|path| data.join(path));
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
