//! The text of a new `aggregator.toml`: every key, with what it does and what it is if nothing is said.

use std::net::SocketAddr;

use aggregator::driver::KEEP_DAYS;

use super::KIND;
use crate::commands::aggregator::start::{EPOCH_SECONDS, FINALITY_SECONDS};
use crate::daemon_file::list;

/// What `assay aggregator init` chose.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Chosen {
    pub(crate) http: SocketAddr,
    pub(crate) http_names: Vec<String>,
    pub(crate) p2p: Vec<String>,
    pub(crate) fee_bps: u16,
    pub(crate) blob_quota: u64,
}

/// The file; what is in braces is filled in.
const TEXT: &str = r#"# How this aggregator is run. `assay aggregator start` reads it; ASSAY_AGGREGATOR_... variables and flags go before it.
# A key with a # in front has the value that is shown.
schema = {SCHEMA}

# Where the HTTP interface listens, for clients. It speaks no TLS: leave it on loopback and put a proxy in front that does,
# if anybody but this machine is to reach it. Port 0 picks one.
http = "{http}"

# Names under which the HTTP interface is reached, beside addresses and localhost, such as "assay.example.org". Requests to
# other names are refused, so that no page can point a name of its own at this machine.
http_names = {http_names}

# Origins whose pages may use the HTTP interface beside its own, such as "https://example.org".
#allow_origins = []

# Proxies in front of the HTTP interface, as addresses or ranges of them such as "127.0.0.1" or "10.0.0.0/8". They say in
# X-Forwarded-For whose requests they pass on, so that what one client asks too often is not held against all. Whoever else
# sends that header is not believed.
#trusted_proxies = []

# Multiaddresses to listen on for providers, who must be able to reach them: /ip4/0.0.0.0/... for all addresses of this
# machine.
p2p = {p2p}

# Multiaddresses at which providers reach this aggregator, where it cannot know them itself: behind a router, at the private
# address of a cloud, in a container. Such as "/ip4/203.0.113.7/tcp/7701"; they are told before those above.
#p2p_external = []

# Fee on what providers get, in basis points (50 to 200).
fee_bps = {fee_bps}

# Clients whose jobs alone are taken (nobody named: anyone who pays).
#trust = []

# Most bytes of components, models, inputs and outputs on disk. Sizes are bytes, or text such as "64GiB".
blob_quota = {blob_quota}

# Days for which results and records of finished jobs are kept, even if the room above is used up; with 0 they are kept
# until their room is needed, and go the oldest first.
#keep_results = {keep_results}

# Whether replicas of one shard may go to providers of one network (/24 of IPv4, /48 of IPv6), as a market on one machine
# must let them. Providers of one operator stay apart in any case.
#one_network = false

# Stake below which a provider gets no work, in units. With a stake, parameters that would make cheating pay are refused:
# see `assay aggregator economics`.
#stake_min = "0"

# Providers of your own that may execute anything again: what they find about an accused answer decides about stake. As many
# as confirm a conviction (2), or none.
#referees = []

# Seconds after which the result of an audited job becomes final by a last sample, where its providers have not answered
# enough since.
#finality_seconds = {finality}

# Other values of parameters of the audit policy, as "NAME=VALUE"; `assay aggregator economics --json` lists the names.
#audit = []

# Validators whose score reports count in the game, the length of its epochs in seconds, and the most that one is rewarded
# with, in units, from what was deposited to `rewards`.
#validators = []
#epoch_seconds = {epoch}
#epoch_reward = "0"

# Keep this last line: a file without it is taken for one that was cut short.
complete = true
"#;

/// The file.
pub(crate) fn render(chosen: &Chosen) -> String {
    let values: [(&str, String); 9] = [
        ("{SCHEMA}", KIND.schema.to_string()),
        ("{http}", chosen.http.to_string()),
        ("{http_names}", list(&chosen.http_names)),
        ("{p2p}", list(&chosen.p2p)),
        ("{fee_bps}", chosen.fee_bps.to_string()),
        ("{blob_quota}", chosen.blob_quota.to_string()),
        ("{keep_results}", KEEP_DAYS.to_string()),
        ("{finality}", FINALITY_SECONDS.to_string()),
        ("{epoch}", EPOCH_SECONDS.to_string()),
    ];
    let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    values.iter().fold(TEXT.to_owned(), fill)
}
