//! What an aggregator is told when it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use api::network::AddressRange;
use api::server::{OperatorToken, Settings};
use jobs::envelope::SignerPolicy;
use jobs::game::epoch::{EPOCH_MS_MAX, EPOCH_MS_MIN};
use jobs::ids::ProviderId;
use jobs::money::Amount;

use super::{Auditing, Error};
use crate::core::Config;
use crate::core::config::EPOCH_MS;
use crate::core::epoch::VALIDATORS_MAX;

/// Everything an aggregator is told when it starts.
#[derive(Clone)]
pub struct AggregatorConfig {
    /// Directory of its store and blobs.
    pub data: PathBuf,
    /// Ed25519 secret seed of its identity.
    pub seed: [u8; 32],
    /// Where its HTTP interface listens; port 0 picks one.
    pub http: SocketAddr,
    /// Multiaddresses it listens on for peers.
    pub p2p: Vec<String>,
    /// Multiaddresses at which peers reach it, where those that it listens on do not say it.
    pub p2p_external: Vec<String>,
    /// Fee on what providers get, in basis points.
    pub fee_bps: u16,
    /// Whose jobs it takes.
    pub signers: SignerPolicy,
    /// The secret that lets an operator deposit.
    pub operator_token: String,
    /// Names under which its HTTP interface is reached, beside addresses and `localhost`.
    pub http_names: Vec<String>,
    /// Origins whose pages may use it, such as `https://example.org`.
    pub http_origins: Vec<String>,
    /// Proxies in front of its HTTP interface, which say whose requests they pass on.
    pub trusted_proxies: Vec<AddressRange>,
    /// Bound on blobs, in bytes.
    pub blob_quota: u64,
    /// Days for which results of finished jobs are kept; 0: until their room is needed.
    pub keep_days: u32,
    /// How answers are audited.
    pub auditing: Auditing,
    /// Whether providers of one network prefix count as one.
    pub prefix_diversity: bool,
    /// The game: whose reports count, how long an epoch is, and what one is rewarded with at most.
    pub game: GameConfig,
}

/// The operator's part of the game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GameConfig {
    /// Whose reports count, at most [`VALIDATORS_MAX`].
    pub validators: BTreeSet<ProviderId>,
    /// Length of an epoch in milliseconds.
    pub epoch_ms: u64,
    /// The most that one epoch is rewarded with.
    pub epoch_reward: Amount,
}

impl Default for GameConfig {
    /// No validators, an hour, nothing.
    fn default() -> Self {
        Self {
            validators: BTreeSet::new(),
            epoch_ms: EPOCH_MS,
            epoch_reward: Amount::ZERO,
        }
    }
}

impl GameConfig {
    /// Writes it into the core's settings.
    pub(super) fn apply(&self, settings: &mut Config) -> Result<(), Error> {
        let refuse = |what: &str, value: u64, least: u64, most: u64| {
            Error::Config(format!("{what} = {value}: must be {least} to {most}"))
        };
        if !(EPOCH_MS_MIN..=EPOCH_MS_MAX).contains(&self.epoch_ms) {
            return Err(refuse(
                "epoch_ms",
                self.epoch_ms,
                EPOCH_MS_MIN,
                EPOCH_MS_MAX,
            ));
        }
        let listed = self.validators.len();
        if listed > VALIDATORS_MAX {
            return Err(refuse(
                "validators",
                listed as u64,
                0,
                VALIDATORS_MAX as u64,
            ));
        }
        settings.validators.clone_from(&self.validators);
        settings.epoch_ms = self.epoch_ms;
        settings.epoch_reward = self.epoch_reward;
        Ok(())
    }
}

impl From<&AggregatorConfig> for Settings {
    fn from(config: &AggregatorConfig) -> Self {
        Self {
            token: OperatorToken::new(config.operator_token.clone()),
            names: config.http_names.clone(),
            origins: config.http_origins.clone(),
            proxies: config.trusted_proxies.clone(),
        }
    }
}

impl std::fmt::Debug for AggregatorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregatorConfig")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}
