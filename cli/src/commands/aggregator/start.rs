//! `assay aggregator start`: from flags, variables and a file to an aggregator that serves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use aggregator::driver::{BLOB_QUOTA, GameConfig, KEEP_DAYS};
use aggregator::{AggregatorConfig, Auditing};
use anyhow::{Context, Result};
use api::network::AddressRange;
use clap::Args;
use jobs::envelope::SignerPolicy;
use jobs::ids::{ClientId, ProviderId};
use jobs::money::Amount;

use super::{identity, operator_token};
use crate::aggregator_file::{AggregatorFile, KIND};
use crate::bytes;
use crate::commands::{economics, wait_for_stop};
use crate::devnet::{Parent, Ready};
use crate::exit::{Coded, Exit};
use crate::home;
use crate::output::Output;

/// Where the HTTP interface listens unless somebody says otherwise.
pub(super) const HTTP: &str = "127.0.0.1:7700";

/// Where peers are listened for unless somebody says otherwise.
pub(super) const P2P: [&str; 2] = ["/ip4/127.0.0.1/udp/7701/quic-v1", "/ip4/127.0.0.1/tcp/7701"];

/// The fee unless somebody says otherwise, in basis points.
pub(super) const FEE_BPS: u16 = 100;

/// When an audited job becomes final unless somebody says otherwise, in seconds.
pub(crate) const FINALITY_SECONDS: u64 = 3600;

/// Length of an epoch of the game unless somebody says otherwise, in seconds.
pub(crate) const EPOCH_SECONDS: u64 = 3600;

/// Which aggregator of this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct AggregatorDir {
    /// Directory of its keys, configuration, store and blobs
    /// [default: $XDG_DATA_HOME/assay/aggregator, that is ~/.local/share/assay/aggregator].
    #[arg(long = "data", value_name = "DIR", env = "ASSAY_AGGREGATOR_DATA")]
    data: Option<PathBuf>,
}

impl AggregatorDir {
    /// The directory.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => home::data().code(Exit::Usage)?.join("aggregator"),
        };
        std::path::absolute(&data).with_context(|| data.display().to_string())
    }
}

/// How an aggregator runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Each value is taken from the last of these that has it: the default, DIR/aggregator.toml (written by \
                  `assay aggregator init`), the variable, the flag."
)]
pub(crate) struct Start {
    #[command(flatten)]
    data: AggregatorDir,
    /// Where its HTTP interface listens; port 0 picks one [default: 127.0.0.1:7700].
    #[arg(long, env = "ASSAY_AGGREGATOR_HTTP")]
    http: Option<SocketAddr>,
    /// Multiaddress it listens on for peers; may be repeated [default: port 7701 on loopback, TCP and QUIC].
    #[arg(long, env = "ASSAY_AGGREGATOR_P2P", value_delimiter = ',')]
    p2p: Vec<String>,
    /// Multiaddress at which peers reach it, such as /ip4/203.0.113.7/tcp/7701, where those that it listens on do not
    /// say it: behind a router, in a cloud or a container; may be repeated [default: those that it listens on].
    #[arg(long, env = "ASSAY_AGGREGATOR_P2P_EXTERNAL", value_delimiter = ',')]
    p2p_external: Vec<String>,
    /// Fee on what providers get, in basis points (50 to 200) [default: 100].
    #[arg(long, env = "ASSAY_AGGREGATOR_FEE_BPS")]
    fee_bps: Option<u16>,
    /// Take jobs of this client only; may be repeated [default: anyone who pays].
    #[arg(long, env = "ASSAY_AGGREGATOR_TRUST", value_delimiter = ',')]
    trust: Vec<ClientId>,
    /// A provider of your own that may execute anything again: what referees find about an accused answer decides
    /// about stake. As many as confirm a conviction (2), or none; may be repeated.
    #[arg(
        long = "referee",
        value_name = "PROVIDER",
        env = "ASSAY_AGGREGATOR_REFEREES",
        value_delimiter = ','
    )]
    referees: Vec<ProviderId>,
    /// Stake below which a provider gets no work, in units. With a stake, parameters that would make cheating pay
    /// are refused [default: 0].
    #[arg(long, env = "ASSAY_AGGREGATOR_STAKE_MIN")]
    stake_min: Option<Amount>,
    /// Seconds after which the result of an audited job becomes final by a last sample, where its providers have
    /// not answered enough since [default: 3600].
    #[arg(long, env = "ASSAY_AGGREGATOR_FINALITY_SECONDS")]
    finality_s: Option<u64>,
    /// Another value of a parameter of the audit policy, as for `assay aggregator economics --set`; may be repeated.
    #[arg(
        long = "audit",
        value_name = "NAME=VALUE",
        env = "ASSAY_AGGREGATOR_AUDIT",
        value_delimiter = ','
    )]
    audit: Vec<String>,
    /// Name under which its HTTP interface is reached; may be repeated [default: addresses and localhost].
    /// Requests to other names are refused, so that no page can point a name of its own at this machine.
    #[arg(long, env = "ASSAY_AGGREGATOR_HTTP_NAMES", value_delimiter = ',')]
    http_name: Vec<String>,
    /// Origin whose pages may use the HTTP interface, such as https://example.org; may be repeated
    /// [default: none but its own].
    #[arg(long, env = "ASSAY_AGGREGATOR_ALLOW_ORIGINS", value_delimiter = ',')]
    allow_origin: Vec<String>,
    /// Address of a proxy in front of the HTTP interface, or a range of them such as 10.0.0.0/8; may be repeated
    /// [default: none]. Whose requests it passes on is read from X-Forwarded-For, which nobody else is believed.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ASSAY_AGGREGATOR_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<AddressRange>,
    /// Bound on the blobs it holds, for example 20GiB [default: 64GiB].
    #[arg(long, env = "ASSAY_AGGREGATOR_BLOB_QUOTA", value_parser = bytes::parse)]
    blob_quota: Option<u64>,
    /// Days for which results and records of finished jobs are kept; 0: until their room is needed [default: 30].
    #[arg(long, value_name = "DAYS", env = "ASSAY_AGGREGATOR_KEEP_RESULTS")]
    keep_results: Option<u32>,
    /// Give replicas of one shard to providers of one network too (/24 of IPv4, /48 of IPv6), as a market
    /// on one machine must; `=false` undoes what the file says. Providers of one operator stay apart in any case.
    #[arg(
        long,
        env = "ASSAY_AGGREGATOR_ONE_NETWORK",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    one_network: Option<bool>,
    /// Take score reports of this validator; may be repeated [default: of nobody].
    #[arg(
        long = "validator",
        value_name = "VALIDATOR",
        env = "ASSAY_AGGREGATOR_VALIDATORS",
        value_delimiter = ','
    )]
    validators: Vec<ProviderId>,
    /// Length of an epoch of the game in seconds. Another length begins a new count [default: 3600].
    #[arg(long, env = "ASSAY_AGGREGATOR_EPOCH_SECONDS")]
    epoch_seconds: Option<u64>,
    /// The most that one epoch is rewarded with, in units, from what was deposited to `rewards` [default: 0].
    #[arg(long, env = "ASSAY_AGGREGATOR_EPOCH_REWARD")]
    epoch_reward: Option<Amount>,
    #[command(flatten)]
    parent: Parent,
}

pub(super) async fn run(start: Start, output: Output) -> Result<()> {
    start.parent.bind()?;
    let data = start.data.path()?;
    let file = KIND.load(&data)?;
    // What is wrong is said before anything is made.
    let settings = Settings::merge(start, file)?;
    serve(settings.config(data)?, output).await
}

/// What flags, variables, file and defaults come to.
#[derive(Debug)]
struct Settings {
    http: SocketAddr,
    http_names: Vec<String>,
    http_origins: Vec<String>,
    trusted_proxies: Vec<AddressRange>,
    p2p: Vec<String>,
    p2p_external: Vec<String>,
    fee_bps: u16,
    trust: BTreeSet<ClientId>,
    blob_quota: u64,
    keep_results: u32,
    one_network: bool,
    auditing: Auditing,
    game: GameConfig,
}

/// What was said, else what the file says, else nothing.
fn many<T>(said: Vec<T>, file: Option<impl IntoIterator<Item = T>>) -> Option<Vec<T>> {
    match said.is_empty() {
        false => Some(said),
        true => file.map(|items| items.into_iter().collect()),
    }
}

fn set<T: Ord>(said: Vec<T>, file: Option<BTreeSet<T>>) -> BTreeSet<T> {
    many(said, file).into_iter().flatten().collect()
}

fn seconds(said: Option<u64>, file: Option<u64>, default: u64) -> u64 {
    said.or(file).unwrap_or(default).saturating_mul(1000)
}

impl Settings {
    fn merge(said: Start, file: AggregatorFile) -> Result<Self> {
        let default = || P2P.map(str::to_owned).to_vec();
        let audit = many(said.audit, file.audit).unwrap_or_default();
        let changes = audit.as_slice();
        let auditing = Auditing {
            params: economics::params(policy::Params::default(), changes).code(Exit::Usage)?,
            stake_min: said.stake_min.or(file.stake_min).unwrap_or_default(),
            referees: set(said.referees, file.referees),
            finality_ms: seconds(said.finality_s, file.finality_seconds, FINALITY_SECONDS),
        };
        let game = GameConfig {
            validators: set(said.validators, file.validators),
            epoch_ms: seconds(said.epoch_seconds, file.epoch_seconds, EPOCH_SECONDS),
            epoch_reward: said.epoch_reward.or(file.epoch_reward).unwrap_or_default(),
        };
        let quota = file.blob_quota.map(|size| size.0);
        Ok(Self {
            http: match said.http.or(file.http) {
                Some(http) => http,
                None => HTTP.parse()?,
            },
            http_names: many(said.http_name, file.http_names).unwrap_or_default(),
            http_origins: many(said.allow_origin, file.allow_origins).unwrap_or_default(),
            trusted_proxies: many(said.trusted_proxy, file.trusted_proxies).unwrap_or_default(),
            p2p: many(said.p2p, file.p2p).unwrap_or_else(default),
            p2p_external: many(said.p2p_external, file.p2p_external).unwrap_or_default(),
            fee_bps: said.fee_bps.or(file.fee_bps).unwrap_or(FEE_BPS),
            trust: set(said.trust, file.trust),
            blob_quota: said.blob_quota.or(quota).unwrap_or(BLOB_QUOTA),
            keep_results: said.keep_results.or(file.keep_results).unwrap_or(KEEP_DAYS),
            one_network: said.one_network.or(file.one_network).unwrap_or_default(),
            auditing,
            game,
        })
    }

    /// With the keys of the data directory, which are made if there are none.
    fn config(self, data: PathBuf) -> Result<AggregatorConfig> {
        Ok(AggregatorConfig {
            seed: identity(&data.join("identity.key"))?,
            operator_token: operator_token(&data)?,
            signers: whose(self.trust),
            data,
            http: self.http,
            p2p: self.p2p,
            p2p_external: self.p2p_external,
            fee_bps: self.fee_bps,
            http_names: self.http_names,
            http_origins: self.http_origins,
            trusted_proxies: self.trusted_proxies,
            blob_quota: self.blob_quota,
            keep_days: self.keep_results,
            auditing: self.auditing,
            prefix_diversity: !self.one_network,
            game: self.game,
        })
    }
}

/// Whose jobs are taken: everyone's, unless somebody is named.
fn whose(trust: BTreeSet<ClientId>) -> SignerPolicy {
    if trust.is_empty() {
        SignerPolicy::Any
    } else {
        SignerPolicy::Trusted(trust)
    }
}

async fn serve(config: AggregatorConfig, output: Output) -> Result<()> {
    let data = config.data.clone();
    let running = match aggregator::start(config).await {
        Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage)?,
        result => result?,
    };
    let ready = Ready {
        id: running.id.to_string(),
        http: format!("http://{}", running.http),
        p2p: running.p2p.clone(),
    };
    ready.write(&data)?;
    output.data(&ready, || {
        format!("aggregator {} serves at {}", ready.id, ready.http)
    })?;
    wait_for_stop().await?;
    output.say("stopping");
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        start: Start,
    }

    fn merged(arguments: &[&str], file: &str) -> Settings {
        let text = format!("schema = 1\n{file}\ncomplete = true\n");
        let all = ["start", "--data", "/nowhere"].into_iter();
        let start = Command::try_parse_from(all.chain(arguments.iter().copied()))
            .unwrap()
            .start;
        Settings::merge(start, KIND.parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let default = merged(&[], "");
        assert_eq!(default.http.to_string(), HTTP);
        assert_eq!(default.p2p, P2P);
        assert_eq!((default.fee_bps, default.one_network), (FEE_BPS, false));
        assert_eq!(default.blob_quota, BLOB_QUOTA);
        assert_eq!(default.keep_results, KEEP_DAYS);
        assert_eq!(merged(&[], "keep_results = 7").keep_results, 7);
        assert_eq!(
            merged(&["--keep-results=0"], "keep_results = 7").keep_results,
            0
        );
        assert_eq!(default.game, GameConfig::default());
        let file = "http = \"127.0.0.1:0\"\nfee_bps = 60\none_network = true\nblob_quota = \"1GiB\"\n\
                    p2p = [\"/ip4/127.0.0.1/tcp/0\"]\naudit = [\"window=5\"]\nfinality_seconds = 7";
        let from_file = merged(&[], file);
        assert_eq!(from_file.http.to_string(), "127.0.0.1:0");
        assert_eq!((from_file.fee_bps, from_file.one_network), (60, true));
        assert_eq!(from_file.blob_quota, 1 << 30);
        assert_eq!(from_file.p2p, ["/ip4/127.0.0.1/tcp/0"]);
        assert_eq!(from_file.auditing.params.window, 5);
        assert_eq!(from_file.auditing.finality_ms, 7000);
        let arguments = [
            "--fee-bps=70",
            "--one-network=false",
            "--p2p=/ip4/127.0.0.1/tcp/1",
            "--audit=window=6",
            "--finality-s=8",
            "--blob-quota=2GiB",
        ];
        let flagged = merged(&arguments, file);
        assert_eq!((flagged.fee_bps, flagged.one_network), (70, false));
        assert_eq!(flagged.p2p, ["/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(flagged.auditing.params.window, 6);
        assert_eq!(flagged.auditing.finality_ms, 8000);
        assert_eq!(flagged.blob_quota, 2 << 30);
        assert!(merged(&["--one-network"], "").one_network);
    }

    #[test]
    fn proxies_and_external_addresses_come_from_the_file_and_flags_go_before_it() {
        let none = merged(&[], "");
        assert!(none.trusted_proxies.is_empty() && none.p2p_external.is_empty());
        let file = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n\
                    p2p_external = [\"/ip4/203.0.113.7/tcp/7701\"]";
        let of = |text: &str| text.parse::<AddressRange>().unwrap();
        let from_file = merged(&[], file);
        let listed = [of("127.0.0.1"), of("10.0.0.0/8")];
        assert_eq!(from_file.trusted_proxies, listed);
        assert_eq!(from_file.p2p_external, ["/ip4/203.0.113.7/tcp/7701"]);
        let arguments = [
            "--trusted-proxy=::1",
            "--trusted-proxy=192.0.2.0/24",
            "--p2p-external=/ip4/198.51.100.7/tcp/1",
            "--p2p-external=/ip6/2001:db8::7/tcp/1",
        ];
        let flagged = merged(&arguments, file);
        assert_eq!(flagged.trusted_proxies, [of("::1"), of("192.0.2.0/24")]);
        assert_eq!(
            flagged.p2p_external,
            ["/ip4/198.51.100.7/tcp/1", "/ip6/2001:db8::7/tcp/1"]
        );
    }
}
