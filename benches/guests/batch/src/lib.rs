//! Sentence embeddings as in `examples/embed`, but an item is a batch of lines that go into one run of the
//! model, padded to the longest. An output is 384 `f32` a line, little-endian.

use assay::{Error, Tensor, model};
use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};
use tokenizers::utils::truncation::TruncationParams;

const TOKENIZER: &str = include_str!(concat!(env!("OUT_DIR"), "/tokenizer.json"));
const MAX_TOKENS: usize = 128;
const WIDTH: usize = 384;

fn batches(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let tokenizer = tokenizers::from_json(TOKENIZER).map_err(Error::failed)?;
    let options = EncodeOptions {
        padding: Override::Off,
        truncation: Override::With(TruncationParams {
            max_length: MAX_TOKENS,
            ..TruncationParams::default()
        }),
        ..EncodeOptions::default()
    };
    items
        .iter()
        .map(|item| {
            let text =
                std::str::from_utf8(item).map_err(|error| Error::BadInput(error.to_string()))?;
            let rows: Result<Vec<_>, _> = text
                .split('\n')
                .map(|line| ids(&tokenizer, &options, line))
                .collect();
            embed(&rows?)
        })
        .collect()
}

assay::job!(batches);

fn ids(
    tokenizer: &PipelineTokenizer,
    options: &EncodeOptions,
    line: &str,
) -> Result<Vec<i64>, Error> {
    let encodings = tokenizer
        .encode(line, options)
        .wait()
        .map_err(Error::failed)?;
    let encoding = encodings
        .first()
        .ok_or_else(|| Error::failed("the tokenizer returned nothing"))?;
    Ok(encoding
        .ids()
        .iter()
        .map(|token| i64::from(token.id()))
        .collect())
}

/// One run for all rows. Only a row's own tokens count in its mean.
fn embed(rows: &[Vec<i64>]) -> Result<Vec<u8>, Error> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let dims = [rows.len(), longest];
    let padded = |filled: fn(&i64) -> i64| -> Vec<i64> {
        let row = |row: &Vec<i64>| {
            let missing = longest - row.len();
            row.iter()
                .map(filled)
                .chain(std::iter::repeat_n(0, missing))
                .collect::<Vec<_>>()
        };
        rows.iter().flat_map(row).collect()
    };
    let outputs = model("minilm")?.run([
        ("input_ids", &Tensor::from_slice(&padded(|id| *id), &dims)?),
        (
            "attention_mask",
            &Tensor::from_slice(&padded(|_| 1), &dims)?,
        ),
        (
            "token_type_ids",
            &Tensor::from_slice(&padded(|_| 0), &dims)?,
        ),
    ])?;
    let states: Vec<f32> = outputs.values("last_hidden_state")?;
    let mut out = Vec::with_capacity(rows.len() * WIDTH * 4);
    for (row, states) in rows.iter().zip(states.chunks_exact(longest * WIDTH)) {
        let own = states
            .get(..row.len() * WIDTH)
            .ok_or_else(|| Error::failed("too few states"))?;
        out.extend(
            unit(&mean(own))
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
    }
    Ok(out)
}

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

fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
        .max(1e-12);
    vector.iter().map(|value| (value / length) as f32).collect()
}
