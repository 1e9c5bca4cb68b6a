//! Sentence embeddings with all-MiniLM-L6-v2: each line of text becomes a unit vector of 384 numbers, and sentences
//! that mean alike lie close together. Tokenising, pooling and normalising happen here; the model only multiplies.
//!
//! An output is 384 `f32`, little-endian: 1,536 bytes.

use assay::{Error, Tensor, log, model};
use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};
use tokenizers::utils::truncation::TruncationParams;

/// The model's tokenizer, as `build.rs` prepares it; see `NOTICE.md`.
const TOKENIZER: &str = include_str!(concat!(env!("OUT_DIR"), "/tokenizer.json"));

/// Tokens of a line that are read, `[CLS]` and `[SEP]` included: what the model was tuned on. The rest of a longer
/// line is cut.
const MAX_TOKENS: usize = 128;

/// Numbers in an embedding.
const WIDTH: usize = 384;

fn embed(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let tokenizer = tokenizers::from_json(TOKENIZER).map_err(Error::failed)?;
    let options = EncodeOptions {
        padding: Override::Off,
        truncation: Override::With(TruncationParams {
            max_length: MAX_TOKENS,
            ..TruncationParams::default()
        }),
        ..EncodeOptions::default()
    };
    let mut tokens = 0;
    let mut outputs = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let text = std::str::from_utf8(item)
            .map_err(|error| Error::BadInput(format!("item {index}: {error}")))?;
        let ids = token_ids(&tokenizer, &options, text)?;
        tokens += ids.len();
        // One line a run. The int8 model picks its scales from all the numbers it is given at once, so a line's
        // embedding would change with its neighbours in a batch; alone, it depends on nothing but the line, and an
        // auditor who runs a single item gets the very same bytes.
        outputs.push(
            vector(&ids)?
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        );
    }
    log::info!("{} lines, {tokens} tokens", items.len());
    Ok(outputs)
}

assay::job!(embed);

fn token_ids(
    tokenizer: &PipelineTokenizer,
    options: &EncodeOptions,
    text: &str,
) -> Result<Vec<i64>, Error> {
    let encodings = tokenizer
        .encode(text, options)
        .wait()
        .map_err(Error::failed)?;
    let encoding = encodings
        .first()
        .ok_or_else(|| Error::failed("the tokenizer returned nothing"))?;
    Ok(encoding
        .ids()
        .iter()
        .map(|&token| i64::from(token.id()))
        .collect())
}

/// The embedding of one line.
fn vector(ids: &[i64]) -> Result<Vec<f32>, Error> {
    let dims = [1, ids.len()];
    let input_ids = Tensor::from_slice(ids, &dims)?;
    let attention_mask = Tensor::from_slice(&vec![1_i64; ids.len()], &dims)?;
    let token_type_ids = Tensor::from_slice(&vec![0_i64; ids.len()], &dims)?;
    let outputs = model("minilm")?.run([
        ("input_ids", &input_ids),
        ("attention_mask", &attention_mask),
        ("token_type_ids", &token_type_ids),
    ])?;
    let states: Vec<f32> = outputs.values("last_hidden_state")?;
    if states.len() != ids.len() * WIDTH {
        return Err(Error::Model(format!(
            "{} numbers for {} tokens of {WIDTH}",
            states.len(),
            ids.len()
        )));
    }
    Ok(unit(mean(&states)))
}

/// The mean of the tokens' states. Nothing is padded, so every token counts alike. Sums are in `f64`, so their order
/// does not show in the result.
fn mean(states: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0; WIDTH];
    for state in states.chunks_exact(WIDTH) {
        for (sum, value) in sums.iter_mut().zip(state) {
            *sum += f64::from(*value);
        }
    }
    let tokens = (states.len() / WIDTH).max(1) as f64;
    sums.iter_mut().for_each(|sum| *sum /= tokens);
    sums
}

/// The same direction, length 1. A vector too short to have a direction stays as it is.
fn unit(vector: Vec<f64>) -> Vec<f32> {
    let length = vector
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
        .max(1e-12);
    vector.iter().map(|value| (value / length) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        EncodeOptions, MAX_TOKENS, Override, TOKENIZER, TruncationParams, WIDTH, mean, token_ids,
        unit,
    };

    fn ids(text: &str) -> Vec<i64> {
        let tokenizer = tokenizers::from_json(TOKENIZER).unwrap();
        let options = EncodeOptions {
            padding: Override::Off,
            truncation: Override::With(TruncationParams {
                max_length: MAX_TOKENS,
                ..TruncationParams::default()
            }),
            ..EncodeOptions::default()
        };
        token_ids(&tokenizer, &options, text).unwrap()
    }

    #[test]
    fn lines_become_the_tokens_the_model_was_trained_on() {
        assert_eq!(ids("hello world"), [101, 7592, 2088, 102]);
        assert_eq!(ids("Héllo, WORLD!"), [101, 7592, 1010, 2088, 999, 102]);
        assert_eq!(ids(""), [101, 102]);
    }

    #[test]
    fn a_long_line_is_cut_and_still_ends_like_one() {
        let long = ids(&"word ".repeat(500));
        assert_eq!(long.len(), MAX_TOKENS);
        assert_eq!((long.first(), long.last()), (Some(&101), Some(&102)));
    }

    #[test]
    fn the_mean_of_equal_states_is_the_state_and_a_unit_vector_has_length_one() {
        let state: Vec<f32> = (0..WIDTH).map(|index| index as f32).collect();
        let mean = mean(&[state.clone(), state.clone()].concat());
        assert!(
            mean.iter()
                .zip(&state)
                .all(|(mean, value)| *mean == f64::from(*value))
        );
        let unit = unit(mean);
        let length: f64 = unit.iter().map(|value| f64::from(*value).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
        assert_eq!(super::unit(vec![0.0; 3]), [0.0; 3]);
    }
}
