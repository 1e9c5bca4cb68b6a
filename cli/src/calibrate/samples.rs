//! The inputs of a calibration: lines of JSON, or drawn at random by the model's own signature.

use std::path::PathBuf;

use anyhow::Result;
use jobs::manifest::INPUT_BYTES_MAX;
use jobs::profile::SAMPLES_MAX;
use runtime::model::{ModelPort, Sample, SampleTensor};
use serde_json::{Map, Value};

use crate::exit::{Exit, fail};
use crate::read;

/// Most elements of one input of one sample.
const ELEMENTS_MAX: usize = 1 << 24;

/// Where samples come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files of one JSON object a line: the name of an input, and its value for one row.
    Files(Vec<PathBuf>),
    /// So many, drawn from a seed, with this length where the model takes any.
    Random {
        count: usize,
        seed: u64,
        length: u32,
    },
}

impl Source {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Files(files) => {
                let names = files.iter().filter_map(|file| file.file_name());
                let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                names.join(", ").chars().take(200).collect()
            }
            Self::Random {
                count,
                seed,
                length,
            } => {
                format!("{count} at random, seed {seed}, length {length}")
            }
        }
    }
}

/// The samples.
pub(crate) fn make(source: &Source, inputs: &[ModelPort]) -> Result<Vec<Sample>> {
    let samples = match source {
        Source::Files(files) => {
            let mut samples = Vec::new();
            for file in files {
                let bytes = read::bounded(file, "samples", INPUT_BYTES_MAX)?;
                let text = String::from_utf8_lossy(&bytes);
                let lines = text.lines().zip(1_usize..);
                for (line, at) in lines.filter(|(line, _)| !line.trim().is_empty()) {
                    let named = format!("{} line {at}", file.display());
                    samples.push(from_line(line, inputs, &named)?);
                    check_count(samples.len())?;
                }
            }
            samples
        }
        Source::Random {
            count,
            seed,
            length,
        } => {
            check_count(*count)?;
            let mut draws = Draws(*seed);
            let one = |_| random(inputs, *length, &mut draws);
            (0..*count).map(one).collect::<Result<_>>()?
        }
    };
    if samples.is_empty() {
        return fail(Exit::Usage, "there are no samples");
    }
    Ok(samples)
}

fn check_count(count: usize) -> Result<()> {
    if count <= SAMPLES_MAX {
        return Ok(());
    }
    fail(
        Exit::Usage,
        format!("{count} samples or more, the bound is {SAMPLES_MAX}"),
    )
}

/// The samples as they travel.
pub(crate) fn encode(samples: &[Sample]) -> Result<Vec<u8>> {
    let encoded = samples.iter().map(runtime::model::encode_sample);
    Ok(jobs::items::encode(
        &encoded.collect::<Result<Vec<_>, _>>()?,
    )?)
}

fn from_line(line: &str, inputs: &[ModelPort], named: &str) -> Result<Sample> {
    let given: Map<String, Value> = match serde_json::from_str(line) {
        Ok(given) => given,
        Err(error) => {
            return fail(Exit::Usage, format!("{named} is no JSON object: {error}"));
        }
    };
    let unknown = given
        .keys()
        .find(|name| !inputs.iter().any(|port| port.name == **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = inputs
            .iter()
            .map(|port| port.name.as_str())
            .take(8)
            .collect();
        return fail(
            Exit::Usage,
            format!("{named}: the model has no input {name:?}; it has {known:?}"),
        );
    }
    let mut sample: Sample = Vec::new();
    for port in inputs {
        let tensor = match given.get(&port.name) {
            Some(value) => tensor(port, value),
            None => left_out(port, &given, inputs),
        };
        match tensor {
            Ok(tensor) => sample.push(tensor),
            Err(reason) => {
                return fail(
                    Exit::Usage,
                    format!("{named}: input {:?}: {reason}", port.name),
                );
            }
        }
    }
    Ok(sample)
}

/// A value of nested lists as a tensor. The first dimension, where it is free, may be left out.
fn tensor(port: &ModelPort, value: &Value) -> Result<SampleTensor, String> {
    let (mut dims, mut bytes) = (Vec::new(), Vec::new());
    shape(value, &mut dims)?;
    flatten(value, &dims, &port.ty, &mut bytes)?;
    if dims.len() + 1 == port.dims.len() && port.dims.first() == Some(&None) {
        dims.insert(0, 1);
    }
    let fits = |(want, have): (&Option<u32>, &u32)| want.is_none_or(|want| want == *have);
    if dims.len() != port.dims.len() || !port.dims.iter().zip(&dims).all(fits) {
        return Err(format!(
            "it has dimensions {dims:?}, the model takes {port}"
        ));
    }
    Ok(new(port, dims, bytes))
}

fn new(port: &ModelPort, dims: Vec<u32>, bytes: Vec<u8>) -> SampleTensor {
    SampleTensor {
        name: port.name.clone(),
        ty: port.ty.clone(),
        dims,
        bytes,
    }
}

/// The dimensions of nested lists, by their first elements.
fn shape(value: &Value, dims: &mut Vec<u32>) -> Result<(), String> {
    let Value::Array(values) = value else {
        return Ok(());
    };
    if values.len() > ELEMENTS_MAX {
        return Err(format!("it has more than {ELEMENTS_MAX} elements"));
    }
    dims.push(u32::try_from(values.len()).unwrap_or(u32::MAX));
    match values.first() {
        // Deeper than serde_json nests there is nothing.
        Some(first) => shape(first, dims),
        None => Ok(()),
    }
}

fn flatten(value: &Value, dims: &[u32], ty: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    match (value, dims) {
        (Value::Array(values), [dim, rest @ ..]) if values.len() == *dim as usize => values
            .iter()
            .try_for_each(|value| flatten(value, rest, ty, bytes)),
        (Value::Number(number), []) => {
            let whole = number.as_i64();
            let real = number.as_f64();
            element(ty, whole, real, bytes).ok_or_else(|| format!("{number} is no {ty}"))
        }
        (Value::Array(_) | Value::Number(_), _) => {
            Err("its lists are not all of one length".to_owned())
        }
        (other, _) => Err(format!("{other} is neither a number nor a list of them")),
    }
}

/// Writes a number as an element.
fn element(ty: &str, whole: Option<i64>, real: Option<f64>, bytes: &mut Vec<u8>) -> Option<()> {
    match ty {
        "i64" => bytes.extend(whole?.to_le_bytes()),
        "i32" => bytes.extend(i32::try_from(whole?).ok()?.to_le_bytes()),
        "u8" => bytes.push(u8::try_from(whole?).ok()?),
        "f32" => bytes.extend((real? as f32).to_le_bytes()),
        "f64" => bytes.extend(real?.to_le_bytes()),
        _ => return None,
    }
    Some(())
}

/// What a sample need not say: masks, positions and segments of its tokens, and an empty cache.
fn left_out(
    port: &ModelPort,
    given: &Map<String, Value>,
    inputs: &[ModelPort],
) -> Result<SampleTensor, String> {
    if let Some(dims) = empty_cache(port) {
        return Ok(new(port, dims, Vec::new()));
    }
    let tokens = inputs.iter().find(|port| port.name == "input_ids");
    let tokens = tokens.zip(given.get("input_ids"));
    if let Some((tokens, value)) = tokens {
        let tokens = tensor(tokens, value)?;
        if let Some(tensor) = companion(port, &tokens.dims) {
            return Ok(tensor);
        }
    }
    Err("the sample leaves it out, and there is nothing that it must be".to_owned())
}

/// The dimensions of a cache that holds nothing: of floats, one row, and nothing where any size will do.
fn empty_cache(port: &ModelPort) -> Option<Vec<u32>> {
    let floats = matches!(port.ty.as_str(), "f16" | "f32" | "bf16");
    let (first, rest) = port.dims.split_first()?;
    if !floats || first.is_some() || !rest.contains(&None) || !port.name.contains("past") {
        return None;
    }
    let rest = rest.iter().map(|dim| dim.unwrap_or(0));
    Some([1].into_iter().chain(rest).collect())
}

/// What goes with tokens of these dimensions under a well-known name.
fn companion(port: &ModelPort, dims: &[u32]) -> Option<SampleTensor> {
    let count: u32 = dims.iter().product();
    let length = dims.last().copied().unwrap_or(1).max(1);
    let value: fn(u32, u32) -> i64 = match port.name.as_str() {
        "attention_mask" => |_, _| 1,
        "token_type_ids" => |_, _| 0,
        "position_ids" => |at, length| i64::from(at % length),
        _ => return None,
    };
    let mut bytes = Vec::new();
    for at in 0..count {
        let value = value(at, length);
        element(&port.ty, Some(value), Some(value as f64), &mut bytes)?;
    }
    Some(new(port, dims.to_vec(), bytes))
}

/// Numbers from a seed: SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn random(inputs: &[ModelPort], length: u32, draws: &mut Draws) -> Result<Sample> {
    let mut sample = Vec::new();
    for port in inputs {
        match drawn(port, length, draws) {
            Ok(tensor) => sample.push(tensor),
            Err(reason) => {
                return fail(
                    Exit::Usage,
                    format!("input {port} cannot be drawn: {reason}; give --inputs"),
                );
            }
        }
    }
    Ok(sample)
}

fn drawn(port: &ModelPort, length: u32, draws: &mut Draws) -> Result<SampleTensor, String> {
    if let Some(dims) = empty_cache(port) {
        return Ok(new(port, dims, Vec::new()));
    }
    let mut dims: Vec<u32> = port.dims.iter().map(|dim| dim.unwrap_or(length)).collect();
    if let (Some(first), Some(None)) = (dims.first_mut(), port.dims.first()) {
        *first = 1;
    }
    if let Some(tensor) = companion(port, &dims) {
        return Ok(tensor);
    }
    let count = dims.iter().try_fold(1_usize, |count, dim| {
        count
            .checked_mul(*dim as usize)
            .filter(|count| *count <= ELEMENTS_MAX)
    });
    let count = count.ok_or_else(|| format!("it has more than {ELEMENTS_MAX} elements"))?;
    let below = match (port.ty.as_str(), port.below) {
        ("i64" | "i32", Some(below)) if below > 0 => below,
        ("i64" | "i32", _) => {
            return Err("its whole numbers pick from no table, so their range is not known".into());
        }
        _ => 256,
    };
    let mut bytes = Vec::new();
    for _ in 0..count {
        let draw = draws.next();
        let whole = i64::try_from(draw % below).ok();
        let real = (draw >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        element(&port.ty, whole, Some(real), &mut bytes)
            .ok_or_else(|| format!("nothing of type {} can be drawn", port.ty))?;
    }
    Ok(new(port, dims, bytes))
}

#[cfg(test)]
mod tests;
