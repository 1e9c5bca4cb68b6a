//! The text of a new `provider.toml`: every key, with what it does and what it is if nothing is said.

use jobs::money::Amount;

use super::KIND;
use crate::commands::provider::DRAIN_SECONDS_DEFAULT;
use crate::daemon_file::list;

/// What `assay provider init` chose for this machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Chosen {
    pub(crate) aggregators: Vec<String>,
    pub(crate) workers: u16,
    pub(crate) memory_max: u64,
    pub(crate) cache_max: u64,
    pub(crate) price_per_gfuel: Amount,
    pub(crate) price_per_device_second: Amount,
}

/// The file; what is in braces is filled in.
const TEXT: &str = r#"# How this machine is rented out. `assay provider start` reads it; ASSAY_PROVIDER_... variables and flags go
# before it, and so does what was changed with `assay provider price set`, `mode` and `policy` while it ran.
# A key with a # in front has the value that is shown.
{notes}
schema = {SCHEMA}

# Aggregators to work for: multiaddresses, or the URL of an aggregator's HTTP interface, which is then asked for its
# addresses. More are found through them.
aggregators = {aggregators}

# Multiaddresses to listen on. ["none"]: listen nowhere, as behind a router that lets nobody in; work comes over the
# connections that this provider makes.
#listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]

# Shards executed at the same time, each in a process of its own (1 to 256).
workers = {workers}

# The device to offer: "cpu" or "gpu". If nothing is said, a GPU if one is usable, else the processor.
#device = "cpu"

# File of your operator key, if you run several providers. Relative to this file.
#operator = "operator.key"

# What you ask, in units with up to six decimals: for 10^9 units of fuel, and for a second of device time.
price_per_gfuel = "{price_per_gfuel}"
price_per_device_second = "{price_per_device_second}"

# Smallest reward to work for.
#reward_min = "0"

# Largest memory of a guest to accept, and most bytes of components, models, inputs and outputs on disk. Sizes are bytes,
# or text such as "2GiB".
memory_max = {memory_max}
cache_max = {cache_max}

# Largest model to accept. If nothing is said, what fits the cache, at most 2 GiB.
#model_max = "500MiB"

# Largest fuel limit of a shard to accept. If nothing is said, any.
#fuel_max = 1000000000000

# Clients whose jobs alone are executed (nobody named: anyone's), and clients whose jobs are refused.
#trust = []
#deny = []

# When to work: "always", "never", or "auto": while nobody else uses the machine. It is in use while other programs take
# more than this share of the processors, in percent, or one of them uses a GPU, or it runs on its battery.
#mode = "always"
#idle_cpu_percent = {idle}

# How long a stop (SIGTERM, Ctrl-C) waits for what still runs before it hands it back, in seconds (0 to 3600).
#drain_seconds = {drain}

# Keep this last line: a file without it is taken for one that was cut short.
complete = true
"#;

/// The file. `notes` say where the chosen values come from, a line each.
pub(crate) fn render(chosen: &Chosen, notes: &[String]) -> String {
    let notes: Vec<String> = notes
        .iter()
        .map(|note| format!("# {note}").trim_end().to_owned())
        .collect();
    let values: [(&str, String); 10] = [
        ("{notes}", notes.join("\n")),
        ("{SCHEMA}", KIND.schema.to_string()),
        ("{aggregators}", list(&chosen.aggregators)),
        ("{workers}", chosen.workers.to_string()),
        ("{memory_max}", chosen.memory_max.to_string()),
        ("{cache_max}", chosen.cache_max.to_string()),
        ("{price_per_gfuel}", chosen.price_per_gfuel.to_string()),
        (
            "{price_per_device_second}",
            chosen.price_per_device_second.to_string(),
        ),
        ("{idle}", provider::IDLE_CPU_PERCENT_DEFAULT.to_string()),
        ("{drain}", DRAIN_SECONDS_DEFAULT.to_string()),
    ];
    let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    values.iter().fold(TEXT.to_owned(), fill)
}
