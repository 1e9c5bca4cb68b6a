//! The models this guest knows by name, and what it learns from a model itself.

use assay::{Dtype, Error, Port, Signature};

/// What a model's tensors do not say about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Its name in the manifest.
    pub(crate) name: &'static str,
    /// Positions it was trained on: prompt and continuation together are no longer.
    pub(crate) context: usize,
    /// Tokens that end a continuation whatever an item asks for.
    pub(crate) stops: &'static [u32],
    /// How text becomes tokens.
    pub(crate) speech: Speech,
}

/// How a model is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// In turns of a conversation (ChatML), in the tokens of `tokenizer.json`.
    Chat,
    /// In bytes that it continues: a base model.
    Bytes,
}

const PROFILES: [Profile; 2] = [
    Profile {
        name: "smollm2-135m-instruct",
        context: 2048,
        // <|endoftext|> and <|im_end|>
        stops: &[0, 2],
        speech: Speech::Chat,
    },
    Profile {
        name: "tinylm",
        context: 128,
        stops: &[],
        speech: Speech::Bytes,
    },
];

impl Profile {
    /// The profile of a job that names these models.
    pub(crate) fn of(models: &[String]) -> Result<&'static Self, Error> {
        let known = |model: &String| PROFILES.iter().find(|profile| profile.name == model);
        match models {
            [model] => known(model),
            _ => None,
        }
        .ok_or_else(|| {
            let known = PROFILES.map(|profile| profile.name);
            Error::Failed(format!(
                "the manifest names the models {models:?}, it must name one of {known:?}"
            ))
        })
    }
}

/// A decoder's tensors, as far as they differ between models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Tokens the model tells apart.
    pub(crate) vocabulary: usize,
    /// Its caches, `f32[batch, heads, positions, width]` each.
    pub(crate) caches: Vec<Cache>,
}

/// The cache of a layer's keys or values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Its name as an input.
    pub(crate) past: String,
    /// Its name as an output.
    pub(crate) present: String,
    pub(crate) heads: usize,
    /// Numbers that a head keeps of a position.
    pub(crate) width: usize,
}

impl Shape {
    /// The shape of a model that takes `input_ids`, `attention_mask`, `position_ids` and `past_key_values.*`, and
    /// answers with `logits` and `present.*`.
    pub(crate) fn of(signature: &Signature) -> Result<Self, Error> {
        let refuse = |port: &Port| {
            Err(Error::Model(format!(
                "{:?} is {:?} {:?}, which is not what a decoder has",
                port.name, port.dtype, port.dims
            )))
        };
        let mut caches = Vec::new();
        for port in &signature.inputs {
            let Some(layer) = port.name.strip_prefix("past_key_values.") else {
                continue;
            };
            match port.dims.as_slice() {
                [None, Some(heads), None, Some(width)] if port.dtype == Dtype::F32 => {
                    caches.push(Cache {
                        past: port.name.clone(),
                        present: format!("present.{layer}"),
                        heads: size(*heads),
                        width: size(*width),
                    });
                }
                _ => return refuse(port),
            }
        }
        let logits = signature.outputs.iter().find(|port| port.name == "logits");
        let logits = logits.ok_or_else(|| Error::Model("it has no output \"logits\"".into()))?;
        match logits.dims.as_slice() {
            [None, None, Some(vocabulary)] if logits.dtype == Dtype::F32 && *vocabulary > 0 => {
                Ok(Self {
                    vocabulary: size(*vocabulary),
                    caches,
                })
            }
            _ => refuse(logits),
        }
    }

    /// Bytes that all caches together hold of one position of one row.
    pub(crate) fn position_bytes(&self) -> usize {
        let numbers = self.caches.iter().fold(0_usize, |sum, cache| {
            sum.saturating_add(cache.heads.saturating_mul(cache.width))
        });
        numbers.saturating_mul(size_of::<f32>())
    }
}

/// A dimension as a length. No tensor has more elements than memory has addresses, so one that does not fit is not met.
fn size(dim: u32) -> usize {
    usize::try_from(dim).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Cache, Profile, Shape};
    use assay::{Dtype, Port, Signature};

    /// A decoder of so many layers, as it describes itself.
    pub(crate) fn decoder(layers: usize, heads: u32, width: u32, vocabulary: u32) -> Signature {
        let port = |name: String, dtype, dims: &[Option<u32>]| Port {
            name,
            dtype,
            dims: dims.to_vec(),
        };
        let caches = |kind: &str| -> Vec<Port> {
            let name = |layer| ["key", "value"].map(|what| format!("{kind}.{layer}.{what}"));
            (0..layers)
                .flat_map(name)
                .map(|name| port(name, Dtype::F32, &[None, Some(heads), None, Some(width)]))
                .collect()
        };
        let tokens = ["input_ids", "attention_mask", "position_ids"]
            .map(|name| port(name.to_owned(), Dtype::I64, &[None, None]));
        let dims = [None, None, Some(vocabulary)];
        let logits = port("logits".to_owned(), Dtype::F32, &dims);
        Signature {
            inputs: [tokens.to_vec(), caches("past_key_values")].concat(),
            outputs: [vec![logits], caches("present")].concat(),
        }
    }

    #[test]
    fn a_job_names_one_model_that_is_known() {
        for name in ["smollm2-135m-instruct", "tinylm"] {
            assert_eq!(Profile::of(&[name.to_owned()]).unwrap().name, name);
        }
        for bad in [&[][..], &["gpt"], &["tinylm", "tinylm"]] {
            let models: Vec<String> = bad.iter().map(|name| (*name).to_owned()).collect();
            let error = Profile::of(&models).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{models:?}")) && error.contains("\"tinylm\""),
                "{error}"
            );
        }
    }

    #[test]
    fn a_decoder_is_known_by_its_tensors() {
        let shape = Shape::of(&decoder(30, 3, 64, 49_152)).unwrap();
        assert_eq!((shape.vocabulary, shape.caches.len()), (49_152, 60));
        assert_eq!(shape.position_bytes(), 46_080);
        let expected = Cache {
            past: "past_key_values.29.value".to_owned(),
            present: "present.29.value".to_owned(),
            heads: 3,
            width: 64,
        };
        assert_eq!(shape.caches.last(), Some(&expected));
    }

    #[test]
    fn what_is_no_decoder_is_refused_by_name() {
        let change = |change: fn(&mut Signature)| {
            let mut signature = decoder(2, 4, 32, 256);
            change(&mut signature);
            Shape::of(&signature).unwrap_err().to_string()
        };
        for (error, words) in [
            (change(|s| s.outputs.clear()), "no output \"logits\""),
            (
                change(|s| s.outputs[0].dtype = Dtype::F16),
                "\"logits\" is F16",
            ),
            (
                change(|s| s.outputs[0].dims[2] = None),
                "[None, None, None]",
            ),
            (
                change(|s| s.inputs[4].dims[1] = None),
                "\"past_key_values.0.value\" is F32 [None, None, None, Some(32)]",
            ),
            (
                change(|s| s.inputs[3].dtype = Dtype::F16),
                "\"past_key_values.0.key\" is F16",
            ),
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
}
