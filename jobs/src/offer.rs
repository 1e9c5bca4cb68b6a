//! What a provider announces: hardware, price, fingerprint and capacity.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::{OperatorId, ProviderId};
use crate::money::{AMOUNT_MAX, Amount};
use crate::operator::{self, Operates};
use crate::outcome::{FINGERPRINT_FIELD_MAX, Fingerprint};
use crate::statement::{Signed, Statement};
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

/// Most assignments that one provider executes at the same time.
pub const CAPACITY_MAX: u16 = 256;

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
    /// Who runs it, by that one's own word; a provider without is its own operator.
    pub operator: Option<Signed<Operates>>,
    /// With what.
    pub device: DeviceSpec,
    /// At what price.
    pub price: Price,
    /// The execution class its outputs will carry.
    pub fingerprint: Fingerprint,
    /// Assignments it executes at the same time, 1 to [`CAPACITY_MAX`].
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

impl Offer {
    /// Who runs the provider. Believe it only after [`Offer::check`].
    pub fn operator(&self) -> OperatorId {
        let stated = self.operator.as_ref();
        stated.map_or(self.provider, Signed::claimed_signer)
    }

    /// Checks what a stranger could have made absurd.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is out of bounds, and [`Error::Signature`] if the operator
    /// did not sign what is said of it.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key: &str, value: String, bound: String| {
            Err(Error::Field {
                key: format!("offer.{key}"),
                value: value.chars().take(80).collect(),
                bound,
            })
        };
        if self.device.name.len() > DEVICE_NAME_MAX {
            let bound = format!("must be at most {DEVICE_NAME_MAX} bytes");
            return refuse("device.name", format!("{:?}", self.device.name), bound);
        }
        for (key, amount) in [
            ("price.per_gfuel", self.price.per_gfuel),
            ("price.per_device_second", self.price.per_device_second),
        ] {
            if amount > AMOUNT_MAX {
                return refuse(
                    key,
                    amount.to_string(),
                    format!("must be at most {AMOUNT_MAX}"),
                );
            }
        }
        if !self.fingerprint.is_bounded() {
            let bound = format!("must have no field over {FINGERPRINT_FIELD_MAX} bytes");
            return refuse("fingerprint", format!("{:?}", self.fingerprint), bound);
        }
        if !(1..=CAPACITY_MAX).contains(&self.capacity) {
            let bound = format!("must be 1 to {CAPACITY_MAX}");
            return refuse("capacity", self.capacity.to_string(), bound);
        }
        if let Some(stated) = &self.operator {
            operator::check(stated, self.provider)?;
        }
        Ok(())
    }
}

impl Statement for Offer {
    const DOMAIN: &'static str = "assay/offer/v2";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            provider: ProviderId([1; 32]),
            operator: None,
            device: DeviceSpec {
                kind: DeviceKind::Cpu,
                name: "x".repeat(DEVICE_NAME_MAX),
                memory_bytes: 1,
            },
            price: Price {
                per_gfuel: AMOUNT_MAX,
                per_device_second: Amount::ZERO,
            },
            fingerprint: Fingerprint {
                engine: "x".repeat(FINGERPRINT_FIELD_MAX),
                library: String::new(),
                execution_provider: String::new(),
                device: String::new(),
                options: String::new(),
            },
            capacity: CAPACITY_MAX,
            memory_bytes_max: 1,
            fuel_max: 1,
            model_bytes_max: 1,
            issued: Timestamp(0),
        }
    }

    #[test]
    fn absurd_offers_are_refused_by_field() {
        assert_eq!(offer().check(), Ok(()));
        type Spoil = fn(&mut Offer);
        let spoilings: [(&str, Spoil); 6] = [
            ("offer.device.name", |o| o.device.name.push('x')),
            ("offer.price.per_gfuel", |o| o.price.per_gfuel.0 += 1),
            ("offer.price.per_device_second", |o| {
                o.price.per_device_second = Amount(u128::MAX);
            }),
            ("offer.fingerprint", |o| o.fingerprint.engine.push('x')),
            ("offer.capacity", |o| o.capacity = 0),
            ("offer.capacity", |o| o.capacity += 1),
        ];
        for (key, spoil) in spoilings {
            let mut bad = offer();
            spoil(&mut bad);
            let error = bad.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key} = ")), "{error}");
        }
    }

    #[test]
    fn an_operator_is_named_by_its_own_signature_over_this_provider() {
        use ed25519_dalek::SigningKey;
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = |provider| Some(Signed::sign(&Operates { provider }, &key).unwrap());
        let mut offer = offer();
        assert_eq!(offer.operator(), offer.provider, "its own");
        offer.operator = signed(offer.provider);
        assert_eq!(offer.check(), Ok(()));
        let operator = ProviderId(key.verifying_key().to_bytes());
        assert_eq!(offer.operator(), operator);

        offer.operator = signed(ProviderId([2; 32]));
        let error = offer.check().unwrap_err().to_string();
        assert!(error.starts_with("offer.operator = 0202"), "{error}");
        // Somebody else's name under the own signature.
        let mut bytes = postcard::to_stdvec(&signed(offer.provider)).unwrap();
        let at = bytes.windows(32).position(|w| w == operator.0).unwrap();
        bytes[at] ^= 1;
        offer.operator = postcard::from_bytes(&bytes).unwrap();
        assert!(matches!(offer.check(), Err(Error::Signature { .. })));
    }
}
