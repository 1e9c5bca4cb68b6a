//! The models this guest knows by name: what their tensors look like and how they are spoken to.

use assay::Error;

/// A decoder with a cache, as its manifest names it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Its name in the manifest.
    pub(crate) name: &'static str,
    /// Layers, each with a cache of keys and one of values.
    pub(crate) layers: usize,
    /// Heads of a cache.
    pub(crate) heads: usize,
    /// Numbers a head keeps of a position.
    pub(crate) head_width: usize,
    /// Tokens it tells apart.
    pub(crate) vocabulary: usize,
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
        layers: 30,
        heads: 3,
        head_width: 64,
        vocabulary: 49_152,
        context: 2048,
        // <|endoftext|> and <|im_end|>
        stops: &[0, 2],
        speech: Speech::Chat,
    },
    Profile {
        name: "tinylm",
        layers: 3,
        heads: 4,
        head_width: 32,
        vocabulary: 256,
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

    /// Bytes that all caches of the model hold of one position of one row.
    pub(crate) const fn position_bytes(&self) -> usize {
        self.layers * 2 * self.heads * self.head_width * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::Profile;

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
}
