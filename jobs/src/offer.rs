//! What a provider announces: hardware, price, fingerprint and capacity.

use serde::{Deserialize, Serialize};

use crate::ids::ProviderId;
use crate::money::Amount;
use crate::outcome::Fingerprint;
use crate::statement::Statement;
use crate::time::Timestamp;

/// The kind of device a job requires or a provider offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A processor.
    Cpu,
    /// A graphics processor.
    Gpu,
}

/// A provider's device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// What kind of device.
    pub kind: DeviceKind,
    /// Marketing name, at most [`DEVICE_NAME_MAX`] bytes.
    pub name: String,
    /// Memory in bytes (device memory of a GPU, main memory otherwise).
    pub memory_bytes: u64,
}

/// Longest device name in bytes.
pub const DEVICE_NAME_MAX: usize = 128;

/// What a provider asks. Fuel is equal on every replica; device time is metered apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Per 10^9 units of fuel.
    pub per_gfuel: Amount,
    /// Per second of device time.
    pub per_device_second: Amount,
}

/// A provider's announcement to an aggregator, signed by the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who offers. Must equal the signer.
    pub provider: ProviderId,
    /// With what.
    pub device: DeviceSpec,
    /// At what price.
    pub price: Price,
    /// The execution class its outputs will carry.
    pub fingerprint: Fingerprint,
    /// Assignments it executes at the same time.
    pub capacity: u16,
    /// Largest linear memory it grants a guest, in bytes.
    pub memory_bytes_max: u64,
    /// Largest fuel limit it accepts.
    pub fuel_max: u64,
    /// Largest model it accepts, in bytes.
    pub model_bytes_max: u64,
    /// When it was made; an aggregator ignores offers older than the newest it holds.
    pub issued: Timestamp,
}

impl Statement for Offer {
    const DOMAIN: &'static str = "assay/offer/v1";
}
