//! `aggregator.toml`: what an aggregator is told by a file in its data directory.
//!
//! Defaults come first, then the file, then `ASSAY_AGGREGATOR_…` variables, then flags.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use api::network::AddressRange;
use jobs::ids::{ClientId, ProviderId};
use jobs::money::Amount;
use serde::Deserialize;

use crate::daemon_file::{Kind, Mark, Marked, Size};

mod template;

pub(crate) use template::{Chosen, render};

/// The file.
pub(crate) const KIND: Kind = Kind {
    file: "aggregator.toml",
    what: "an aggregator's configuration",
    init: "assay aggregator init",
    schema: 1,
    keys: &[
        "schema",
        "http",
        "http_names",
        "allow_origins",
        "trusted_proxies",
        "p2p",
        "p2p_external",
        "fee_bps",
        "trust",
        "blob_quota",
        "keep_results",
        "one_network",
        "stake_min",
        "referees",
        "finality_seconds",
        "audit",
        "validators",
        "epoch_seconds",
        "epoch_reward",
        "complete",
    ],
};

/// What the file says; nothing where it says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AggregatorFile {
    schema: Option<u32>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) http_names: Option<Vec<String>>,
    pub(crate) allow_origins: Option<Vec<String>>,
    pub(crate) trusted_proxies: Option<Vec<AddressRange>>,
    pub(crate) p2p: Option<Vec<String>>,
    pub(crate) p2p_external: Option<Vec<String>>,
    pub(crate) fee_bps: Option<u16>,
    pub(crate) trust: Option<BTreeSet<ClientId>>,
    pub(crate) blob_quota: Option<Size>,
    pub(crate) keep_results: Option<u32>,
    pub(crate) one_network: Option<bool>,
    pub(crate) stake_min: Option<Amount>,
    pub(crate) referees: Option<BTreeSet<ProviderId>>,
    pub(crate) finality_seconds: Option<u64>,
    pub(crate) audit: Option<Vec<String>>,
    pub(crate) validators: Option<BTreeSet<ProviderId>>,
    pub(crate) epoch_seconds: Option<u64>,
    pub(crate) epoch_reward: Option<Amount>,
    complete: Option<bool>,
}

impl Marked for AggregatorFile {
    fn mark(&self) -> Mark {
        Mark {
            schema: self.schema,
            complete: self.complete,
        }
    }
}

#[cfg(test)]
mod tests;
