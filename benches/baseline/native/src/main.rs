//! Sentence embeddings on bare ONNX Runtime behind a line protocol: the benchmarks' baseline.
//!
//! `baseline-native MODEL FOLDER`: the folder holds `tokenizer.json` and `lines.txt`, and `ORT_DYLIB_PATH`
//! names the library. Says first how many nanoseconds building the tokenizer took. Then reads
//! `FROM COUNT BATCH` a line, embeds COUNT lines from line FROM on, BATCH to a run, and answers with the
//! nanoseconds that took and a checksum of the embeddings.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;
use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};
use tokenizers::utils::truncation::TruncationParams;

const MAX_TOKENS: usize = 128;
const WIDTH: usize = 384;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("MODEL FOLDER");
    let (model, folder) = (next()?, next()?);
    let read = |name: &str| std::fs::read_to_string(Path::new(&folder).join(name));
    let (tokenizer, text) = (read("tokenizer.json")?, read("lines.txt")?);
    let lines: Vec<&str> = text.lines().collect();
    let library = std::env::var("ORT_DYLIB_PATH").context("ORT_DYLIB_PATH")?;
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let builder = || -> ort::Result<SessionBuilder> {
        // As Assay has them.
        Ok(Session::builder(&environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_deterministic_compute(true)?)
    };
    let session = builder()?.commit_from_file(model)?;
    let start = Instant::now();
    let tokenizer = build(&tokenizer)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", start.elapsed().as_nanos())?;
    out.flush()?;
    let mut native = Native {
        tokenizer,
        options: options(),
        session,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let numbers: Vec<usize> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [from, count, batch] = numbers[..] else {
            return Err(anyhow!("{line:?} is not FROM COUNT BATCH"));
        };
        let wanted = lines.get(from..from + count).context("too few lines")?;
        let start = Instant::now();
        let mut sum = 0_u64;
        for group in wanted.chunks(batch) {
            for byte in native.embed(group)? {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(byte));
            }
        }
        writeln!(out, "{} {sum}", start.elapsed().as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// The tokenizer, from the file as it is published.
fn build(text: &str) -> Result<PipelineTokenizer> {
    let mut value = serde_json::from_str(text)?;
    tk_convert::canonicalize_value(&mut value).map_err(|error| anyhow!("{error}"))?;
    tokenizers::from_json(&value.to_string()).map_err(|error| anyhow!("{error}"))
}

fn options() -> EncodeOptions {
    EncodeOptions {
        padding: Override::Off,
        truncation: Override::With(TruncationParams {
            max_length: MAX_TOKENS,
            ..TruncationParams::default()
        }),
        ..EncodeOptions::default()
    }
}

struct Native {
    tokenizer: PipelineTokenizer,
    options: EncodeOptions,
    session: Session,
}

impl Native {
    fn ids(&self, line: &str) -> Result<Vec<i64>> {
        let encodings = self.tokenizer.encode(line, &self.options).wait();
        let encodings = encodings.map_err(|error| anyhow!("{error}"))?;
        let encoding = encodings
            .first()
            .context("the tokenizer returned nothing")?;
        Ok(encoding
            .ids()
            .iter()
            .map(|token| i64::from(token.id()))
            .collect())
    }

    /// The embeddings of lines that go into one run, padded to the longest.
    fn embed(&mut self, lines: &[&str]) -> Result<Vec<u8>> {
        let rows: Vec<Vec<i64>> = lines
            .iter()
            .map(|line| self.ids(line))
            .collect::<Result<_>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let dims = [i64::try_from(rows.len())?, i64::try_from(longest)?];
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
        let outputs = self.session.run(ort::inputs![
            "input_ids" => Tensor::from_array((dims, padded(|id| *id)))?,
            "attention_mask" => Tensor::from_array((dims, padded(|_| 1)))?,
            "token_type_ids" => Tensor::from_array((dims, padded(|_| 0)))?,
        ])?;
        let states = outputs.get("last_hidden_state").context("no output")?;
        let (_, states) = states.try_extract_tensor::<f32>()?;
        let mut out = Vec::with_capacity(rows.len() * WIDTH * 4);
        for (row, states) in rows.iter().zip(states.chunks_exact(longest * WIDTH)) {
            let own = states.get(..row.len() * WIDTH).context("too few states")?;
            out.extend(
                unit(&mean(own))
                    .iter()
                    .flat_map(|value| value.to_le_bytes()),
            );
        }
        Ok(out)
    }
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
