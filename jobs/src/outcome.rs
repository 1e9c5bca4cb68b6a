//! What an execution produced and what it cost.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::{BlobRef, Digest, Domain};
use crate::openings::Noted;

/// The execution class: two outcomes of equal fingerprint must be bitwise equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Wasm engine and its determinism-relevant settings, for example `wasmtime-48.0.8+nan`.
    pub engine: String,
    /// Inference library and build, for example `onnxruntime-1.31.1 blake3:…`.
    pub library: String,
    /// Execution provider, for example `cpu` or `cuda`.
    pub execution_provider: String,
    /// GPU and driver, or CPU instruction set level.
    pub device: String,
    /// Session options that change bits: threads, optimisation level, determinism.
    pub options: String,
}

/// Longest field of a fingerprint in bytes.
pub const FINGERPRINT_FIELD_MAX: usize = 256;

impl Fingerprint {
    /// The digest of all fields.
    pub fn digest(&self) -> Digest {
        Digest::bind(
            Domain::Fingerprint,
            &[
                self.engine.as_bytes(),
                self.library.as_bytes(),
                self.execution_provider.as_bytes(),
                self.device.as_bytes(),
                self.options.as_bytes(),
            ],
        )
    }

    /// Whether every field is within [`FINGERPRINT_FIELD_MAX`].
    pub fn is_bounded(&self) -> bool {
        [
            &self.engine,
            &self.library,
            &self.execution_provider,
            &self.device,
            &self.options,
        ]
        .iter()
        .all(|field| field.len() <= FINGERPRINT_FIELD_MAX)
    }
}

/// What an execution consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meters {
    /// Fuel burnt by the guest. Deterministic: equal on every replica of one fingerprint, or they do
    /// not agree ([`crate::verdict::meters_agree`]).
    pub fuel: u64,
    /// Time the inference device was busy, in microseconds. Not deterministic.
    pub device_us: u64,
    /// Bytes that crossed between guest and host through tensors.
    pub tensor_bytes: u64,
    /// Peak linear memory of the guest, in bytes.
    pub memory_bytes: u64,
    /// Tokens that the host chose for the guest, by `argmax` or `sample` of `assay:job/nn-ext`,
    /// whatever the guest then did with them. As deterministic as fuel.
    pub tokens: u64,
}

impl Meters {
    /// The sum of two executions; memory is a peak and takes the larger.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.saturating_add(other.fuel),
            device_us: self.device_us.saturating_add(other.device_us),
            tensor_bytes: self.tensor_bytes.saturating_add(other.tensor_bytes),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// Tokens for each second that the inference device was busy; `None` if none was chosen or the
    /// device's clock saw no time pass.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let busy = self.tokens > 0 && self.device_us > 0;
        busy.then(|| self.tokens as f64 * 1e6 / self.device_us as f64)
    }

    /// Fixed-size canonical bytes, as bound by a commitment.
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let fields = [
            self.fuel,
            self.device_us,
            self.tensor_bytes,
            self.memory_bytes,
            self.tokens,
        ];
        for (chunk, field) in bytes.chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

/// How many nodes of one of the job's graphs an execution provider ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The graph's name in the manifest.
    pub model: String,
    /// The execution provider, as the inference library names it.
    pub execution_provider: String,
    /// Nodes it ran.
    pub nodes: u32,
}

/// Most execution providers that run nodes of one graph.
pub const PROVIDERS_PER_MODEL_MAX: usize = 4;

/// Longest name in a placement in bytes.
pub const PLACEMENT_NAME_MAX: usize = 64;

/// What came out of one execution of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Root of the Merkle tree over the outputs, one leaf an item.
    pub root: Digest,
    /// The encoded output items ([`crate::items::encode`]).
    pub outputs: BlobRef,
    /// Number of outputs; equals the number of input items.
    pub items: u32,
    /// What it cost.
    pub meters: Meters,
    /// Where it ran.
    pub fingerprint: Fingerprint,
    /// What ran the nodes of each graph, by graph and execution provider. Every node is counted.
    pub placement: Vec<Placement>,
    /// The values within a model that it noted, in a job that has some opened.
    #[serde(default)]
    pub noted: Option<Noted>,
}

impl Outcome {
    /// Whether every field of free length is within its bound, for a job of so many models.
    pub fn is_bounded(&self, models: usize) -> bool {
        let short = |text: &String| text.len() <= PLACEMENT_NAME_MAX;
        self.fingerprint.is_bounded()
            && self.placement.len() <= PROVIDERS_PER_MODEL_MAX.saturating_mul(models)
            && self
                .placement
                .iter()
                .all(|on| short(&on.model) && short(&on.execution_provider))
    }

    /// Whether the placement names each of these models, in their order and each with every execution
    /// provider once, and no other.
    pub fn places<'a>(&self, models: impl IntoIterator<Item = &'a str>) -> bool {
        let mut entries = self.placement.as_slice();
        for model in models {
            let own = entries.iter().take_while(|on| on.model == model).count();
            let (of_model, rest) = entries.split_at_checked(own).unwrap_or_default();
            let names: BTreeSet<&str> = of_model
                .iter()
                .map(|on| on.execution_provider.as_str())
                .collect();
            if own == 0 || names.len() != own {
                return false;
            }
            entries = rest;
        }
        entries.is_empty()
    }

    /// Whether every node ran on the execution provider of the fingerprint.
    pub fn stays_on_its_device(&self) -> bool {
        let provider = &self.fingerprint.execution_provider;
        self.placement
            .iter()
            .all(|on| on.execution_provider == *provider)
    }

    /// The digest of the placement.
    pub fn placement_digest(&self) -> Digest {
        let counts: Vec<[u8; 4]> = self
            .placement
            .iter()
            .map(|on| on.nodes.to_le_bytes())
            .collect();
        let fields = self.placement.iter().zip(&counts);
        let fields: Vec<&[u8]> = fields
            .flat_map(|(on, nodes)| {
                [
                    on.model.as_bytes(),
                    on.execution_provider.as_bytes(),
                    nodes.as_slice(),
                ]
            })
            .collect();
        Digest::bind(Domain::Placement, &fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_memory_is_a_peak() {
        let meters = |fuel, small| Meters {
            fuel,
            device_us: small,
            tensor_bytes: small,
            memory_bytes: small,
            tokens: small,
        };
        let expected = Meters {
            memory_bytes: 5,
            ..meters(u64::MAX, 7)
        };
        assert_eq!(meters(u64::MAX, 5).plus(meters(1, 2)), expected);
    }

    fn placed(entries: &[(&str, &str)]) -> Outcome {
        let on = |(model, provider): &(&str, &str)| Placement {
            model: (*model).into(),
            execution_provider: (*provider).into(),
            nodes: 1,
        };
        Outcome {
            root: Digest::default(),
            outputs: BlobRef::of(b""),
            items: 0,
            meters: Meters::default(),
            fingerprint: Fingerprint {
                engine: String::new(),
                library: String::new(),
                execution_provider: "cuda".into(),
                device: String::new(),
                options: String::new(),
            },
            placement: entries.iter().map(on).collect(),
            noted: None,
        }
    }

    #[test]
    fn a_placement_names_every_model_and_nothing_else() {
        let models = ["a", "b"];
        for (entries, places, stays) in [
            (&[("a", "cuda"), ("b", "cuda")][..], true, true),
            (&[("a", "cuda"), ("a", "cpu"), ("b", "cuda")], true, false),
            (&[("a", "cuda")], false, true),
            (&[], false, true),
            (&[("b", "cuda"), ("a", "cuda")], false, true),
            (&[("a", "cuda"), ("a", "cuda"), ("b", "cuda")], false, true),
            (&[("a", "cuda"), ("b", "cuda"), ("c", "cuda")], false, true),
        ] {
            let outcome = placed(entries);
            assert_eq!(outcome.places(models), places, "{entries:?}");
            assert_eq!(outcome.stays_on_its_device(), stays, "{entries:?}");
        }
        assert!(placed(&[]).places([]));
    }

    #[test]
    fn speed_is_tokens_for_each_second_that_the_device_was_busy() {
        for (tokens, device_us, expected) in [
            (64, 2_000_000, Some(32.0)),
            (0, 2_000_000, None),
            (64, 0, None),
        ] {
            let meters = Meters {
                tokens,
                device_us,
                ..Meters::default()
            };
            assert_eq!(meters.tokens_per_s(), expected);
        }
    }
}
