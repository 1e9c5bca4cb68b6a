//! How the types of `jobs` look in JSON. They have no schemas of their own, because `jobs` knows nothing of HTTP.
#![expect(dead_code, reason = "shapes, of which there never is a value")]

use schemars::JsonSchema;
use serde_json::{Map, Value};

macro_rules! text {
    ($($name:ident $pattern:literal $example:literal: $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(JsonSchema)]
        #[schemars(extend("pattern" = $pattern, "examples" = [$example]))]
        pub(crate) struct $name(pub(crate) String);
    )*};
}

text! {
    Digest "^blake3:[0-9a-f]{64}$" "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262":
        "A BLAKE3 digest.";
    JobId "^blake3:[0-9a-f]{64}$" "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262":
        "A job: the digest of its package.";
    CaseId "^blake3:[0-9a-f]{64}$" "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262":
        "A case: the digest of its accusation.";
    AssignmentId "^blake3:[0-9a-f]{64}$" "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262":
        "One shard given to one provider once.";
    ClientId "^blake3:[0-9a-f]{64}$" "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262":
        "A client: the digest of its public key.";
    ProviderId "^[0-9a-f]{64}$" "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a":
        "A provider or validator: its Ed25519 key.";
    OperatorId "^[0-9a-f]{64}$" "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a":
        "Who runs a provider: an Ed25519 key.";
    AggregatorId "^[0-9a-f]{64}$" "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a":
        "An aggregator: its Ed25519 key.";
    Amount "^[0-9]{1,33}([.][0-9]{1,6})?$" "1.500000": "Money in units, with up to six decimals.";
    DepositAccount "^(client:blake3:[0-9a-f]{64}|stake:[0-9a-f]{64}|rewards)$" "rewards":
        "An account that money is deposited to.";
    Share "^[0-9a-f]{64}$" "0000000000000000000000000000000000000000000000000000000000000000":
        "32 random bytes in hexadecimal.";
    PathBuf "^/.*[^/.]$" "/var/backups/assay": "An absolute path on the aggregator's machine, with a name at its end.";
}

/// Money that is more than none.
#[derive(JsonSchema)]
#[schemars(extend(
    "pattern" = "^[0-9]{1,15}([.][0-9]{1,6})?$",
    "not" = { "pattern": "^0+([.]0+)?$" },
    "examples" = ["1.500000"],
))]
pub(crate) struct DepositAmount(pub(crate) String);

/// Milliseconds since 1970.
#[derive(JsonSchema)]
pub(crate) struct Timestamp(pub(crate) u64);

/// Names content.
#[derive(JsonSchema)]
pub(crate) struct BlobRef {
    /// Its digest.
    digest: Digest,
    /// Its size in bytes.
    size: u64,
}

/// What a provider asks.
#[derive(JsonSchema)]
pub(crate) struct Price {
    /// Per 10^9 units of fuel.
    per_gfuel: Amount,
    /// Per second of device time.
    per_device_second: Amount,
}

/// A provider's device.
#[derive(JsonSchema)]
pub(crate) struct DeviceSpec {
    /// `cpu` or `gpu`.
    kind: String,
    /// Marketing name.
    name: String,
    /// Memory in bytes.
    memory_bytes: u64,
}

/// What became of an assignment: `agreed`, `outvoted`, `failed` or `excused`.
#[derive(JsonSchema)]
pub(crate) struct Standing(pub(crate) String);

/// A job, as it is signed. Its parts are described in the reference of `job.toml`, which resolves to this.
#[derive(JsonSchema)]
pub(crate) struct Package {
    /// 1, the only one there is.
    schema: u32,
    /// Name, for people.
    name: String,
    /// The guest.
    component: BlobRef,
    /// Models it may load, by name.
    models: Vec<Map<String, Value>>,
    /// What it works on.
    input: Map<String, Value>,
    /// Items in each shard but the last.
    items_per_shard: u32,
    /// What comes out.
    output: Map<String, Value>,
    /// How often each shard is executed.
    replication: Map<String, Value>,
    /// When two outputs agree.
    comparator: Map<String, Value>,
    /// Caps on one execution of one shard.
    limits: Map<String, Value>,
    /// The most the client pays in all, fee included.
    max_price: Amount,
    /// Milliseconds from admission within which the job must finish.
    deadline_ms: u64,
    /// `cpu` or `gpu`: the device that every replica must run on.
    device: Option<String>,
}

/// A package as it travels.
#[derive(JsonSchema)]
pub(crate) struct SignedPackage {
    /// Canonical package (RFC 8785 JSON text).
    package: String,
    /// Sigstore bundle v0.3 (JSON text).
    bundle: String,
    /// The client's public key, PEM (SPKI).
    public_key: String,
}

/// An accusation as it travels.
#[derive(JsonSchema)]
pub(crate) struct SignedAccusation {
    /// Canonical accusation (RFC 8785 JSON text).
    accusation: String,
    /// Sigstore bundle v0.3 (JSON text).
    bundle: String,
    /// The accuser's public key, PEM (SPKI).
    public_key: String,
}
