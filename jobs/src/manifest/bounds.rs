//! The bounds of every field of a package. A manifest and a package from the network pass through
//! the same checks, so that there is one list of what is absurd.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::Error;
use crate::compare::Comparator;
use crate::compare::sketch::SketchRule;
use crate::component::COMPONENT_BYTES_MAX;
use crate::items::{ITEM_BYTES_MAX, ITEMS_MAX};
use crate::money::{AMOUNT_MAX, Amount};
use crate::openings::{COUNT_MAX, OpeningsRule, TENSOR_NAME_MAX};
use crate::package::{Dtype, Replication};
use crate::package::{InputRef, Limits, ModelRef, OutputFormat, PACKAGE_SCHEMA, Package};
use crate::plan;
use crate::policy::{AUDITED_MIN, Policy, TRUSTED_MAX};
use crate::verdict::REPLICAS_MAX;

/// Longest name of a job or a model, in bytes.
pub const NAME_MAX: usize = 64;
/// Most models of one job.
pub const MODELS_MAX: usize = 16;
/// Largest model in bytes. A sandbox loads none that is larger.
pub const MODEL_BYTES_MAX: u64 = 2 << 30;
/// Most bytes of all models of one job together. A sandbox holds no more at once.
pub const MODELS_BYTES_MAX: u64 = 8 << 30;
/// Largest encoded input in bytes.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;
/// Most items in one shard.
pub const ITEMS_PER_SHARD_MAX: u32 = 1 << 14;
/// Most shards of one job.
pub const SHARDS_MAX: u32 = 1 << 16;
/// Most dimensions of an output row.
pub const RANK_MAX: usize = 8;
/// Largest absolute tolerance.
pub const ATOL_MAX: f64 = 1e6;
/// Largest relative tolerance: at one, everything of similar size agrees.
pub const RTOL_MAX: f64 = 1.0;
/// Largest fuel limit: the largest integer that every JSON reader keeps exact (RFC 8785 numbers are
/// doubles).
pub const FUEL_MAX: u64 = (1 << 53) - 1;
/// Smallest linear memory in bytes: one page.
pub const MEMORY_BYTES_MIN: u64 = 1 << 16;
/// Largest linear memory in bytes: all that 32-bit addresses reach.
pub const MEMORY_BYTES_MAX: u64 = 1 << 32;
/// Most bytes of all outputs of one shard together. They leave the guest in one call, which moves at
/// most 128 MiB, the list itself included.
pub const SHARD_OUTPUT_BYTES_MAX: u64 = 127 << 20;
/// Most bytes of all outputs of one job together, which an aggregator merges in memory.
pub const RESULT_BYTES_MAX: u64 = 1 << 30;
/// Shortest wall clock of one execution, in milliseconds: enough for an honest machine that is busy
/// with something else for a moment.
pub const WALL_MS_MIN: u64 = 100;
/// Longest wall clock of one execution, in milliseconds: an hour.
pub const WALL_MS_MAX: u64 = 60 * 60 * 1000;
/// Shortest deadline in milliseconds: a second.
pub const DEADLINE_MS_MIN: u64 = 1000;
/// Longest deadline in milliseconds: a week.
pub const DEADLINE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// Hexadecimal digits of a nonce.
pub const NONCE_DIGITS: usize = 32;

/// Checks every bound of a package.
///
/// # Errors
/// The first field out of bounds.
pub fn check_bounds(package: &Package) -> Result<(), Error> {
    schema(package.schema.into())?;
    name("name", &package.name)?;
    let component = package.component.size;
    within("component.size", component, 1..=COMPONENT_BYTES_MAX as u64)?;
    models(&package.models)?;
    input(&package.input)?;
    items_per_shard(package.items_per_shard)?;
    shards(package.input.items, package.items_per_shard)?;
    limits(&package.limits, package.deadline_ms)?;
    output(&package.output, &package.limits)?;
    output_total(package)?;
    replication(&package.replication)?;
    policy(&package.policy, &package.replication)?;
    comparator(&package.comparator, &package.output)?;
    let models = package.models.iter().map(|model| model.name.as_str());
    openings(package.openings.as_ref(), models)?;
    price(package.max_price)?;
    nonce(&package.nonce)
}

pub(super) fn field(key: &str, value: impl Display, bound: impl Into<String>) -> Error {
    Error::Field {
        key: key.to_owned(),
        value: value.to_string().chars().take(80).collect(),
        bound: bound.into(),
    }
}

pub(crate) fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    let bound = format!("must be {} to {}", range.start(), range.end());
    Err(field(key, value, bound))
}

pub(super) fn schema(schema: i64) -> Result<(), Error> {
    if schema == i64::from(PACKAGE_SCHEMA) {
        return Ok(());
    }
    let bound = format!("must be {PACKAGE_SCHEMA}, the only schema there is");
    Err(field("schema", schema, bound))
}

/// Names go into file names, logs and load-by-name calls: plain, lower-case, not hidden.
pub(super) fn name(key: &str, name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(plain);
    let goes_on = bytes.all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'));
    if starts && goes_on && name.len() <= NAME_MAX {
        return Ok(());
    }
    let bound = format!(
        "must be 1 to {NAME_MAX} lower-case letters, digits, '-', '_' or '.', \
         the first a letter or digit"
    );
    Err(field(key, format!("{name:?}"), bound))
}

/// Checks a list of model names: count, form, no duplicates.
pub(super) fn model_names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Error> {
    if names.len() > MODELS_MAX {
        let bound = format!("must be at most {MODELS_MAX} models");
        return Err(field("model", names.len(), bound));
    }
    let mut seen = BTreeSet::new();
    for (model, index) in names.zip(0_usize..) {
        let key = format!("model[{index}].name");
        name(&key, model)?;
        if !seen.insert(model) {
            let bound = "must differ from every other model's name";
            return Err(field(&key, format!("{model:?}"), bound));
        }
    }
    Ok(())
}

fn models(models: &[ModelRef]) -> Result<(), Error> {
    model_names(models.iter().map(|model| model.name.as_str()))?;
    for (model, index) in models.iter().zip(0_usize..) {
        let key = format!("model[{index}].size");
        within(&key, model.blob.size, 1..=MODEL_BYTES_MAX)?;
    }
    let total = models.iter().map(|model| model.blob.size);
    let total = total.fold(0, u64::saturating_add);
    if total <= MODELS_BYTES_MAX {
        return Ok(());
    }
    let bound = format!("have {total} bytes together, at most {MODELS_BYTES_MAX} are allowed");
    Err(field("model", format!("{} models", models.len()), bound))
}

fn input(input: &InputRef) -> Result<(), Error> {
    within("input.items", input.items, 1..=ITEMS_MAX)?;
    within("input.size", input.blob.size, 1..=INPUT_BYTES_MAX)
}

pub(super) fn items_per_shard(items: u32) -> Result<(), Error> {
    within("input.items_per_shard", items, 1..=ITEMS_PER_SHARD_MAX)
}

fn shards(items: u32, items_per_shard: u32) -> Result<(), Error> {
    let shards = plan::shard_count(items, items_per_shard);
    if shards <= SHARDS_MAX {
        return Ok(());
    }
    let bound = format!("cuts {items} items into {shards} shards, more than {SHARDS_MAX}");
    Err(field("input.items_per_shard", items_per_shard, bound))
}

pub(super) fn limits(limits: &Limits, deadline_ms: u64) -> Result<(), Error> {
    within("limits.fuel", limits.fuel, 1..=FUEL_MAX)?;
    let memory = MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX;
    within("limits.memory_bytes", limits.memory_bytes, memory)?;
    let output = limits.output_bytes_per_item;
    within("limits.output_bytes_per_item", output, 1..=ITEM_BYTES_MAX)?;
    within("limits.wall_ms", limits.wall_ms, WALL_MS_MIN..=WALL_MS_MAX)?;
    let deadline = DEADLINE_MS_MIN..=DEADLINE_MS_MAX;
    within("schedule.deadline_ms", deadline_ms, deadline)?;
    if limits.wall_ms > deadline_ms {
        let bound = format!("must be at most schedule.deadline_ms, which is {deadline_ms}");
        return Err(field("limits.wall_ms", limits.wall_ms, bound));
    }
    Ok(())
}

pub(super) fn output(format: &OutputFormat, limits: &Limits) -> Result<(), Error> {
    let OutputFormat::Npy { dtype, shape } = format else {
        return Ok(());
    };
    let shown = format!("{shape:?}");
    if shape.len() > RANK_MAX || shape.contains(&0) {
        let bound = format!("must be at most {RANK_MAX} dimensions, none of them zero");
        return Err(field("output.shape", shown, bound));
    }
    let cap = limits.output_bytes_per_item;
    match row_bytes(*dtype, shape) {
        Some(bytes) if bytes <= cap => Ok(()),
        bytes => {
            let bytes = bytes.map_or("more than 2^32".to_owned(), |bytes| bytes.to_string());
            let bound =
                format!("makes rows of {bytes} bytes, limits.output_bytes_per_item is {cap}");
            Err(field("output.shape", shown, bound))
        }
    }
}

/// Bytes of one row, if it is at all sane.
pub(crate) fn row_bytes(dtype: Dtype, shape: &[u32]) -> Option<u32> {
    let size = u32::try_from(dtype.size()).ok()?;
    shape
        .iter()
        .try_fold(size, |bytes, &dim| bytes.checked_mul(dim))
}

/// Checks what one shard puts out at most, as far as the manifest alone can tell.
pub(super) fn shard_output(items_per_shard: u32, limits: &Limits) -> Result<(), Error> {
    let bytes = u64::from(items_per_shard).saturating_mul(limits.output_bytes_per_item.into());
    if bytes <= SHARD_OUTPUT_BYTES_MAX {
        return Ok(());
    }
    let bound = format!(
        "allows {bytes} bytes in a shard of {items_per_shard} items, more than \
         {SHARD_OUTPUT_BYTES_MAX}"
    );
    let key = "limits.output_bytes_per_item";
    Err(field(key, limits.output_bytes_per_item, bound))
}

fn output_total(package: &Package) -> Result<(), Error> {
    let per_item = package.limits.output_bytes_per_item;
    shard_output(package.items_per_shard, &package.limits)?;
    let bytes = u64::from(package.input.items).saturating_mul(per_item.into());
    if bytes <= RESULT_BYTES_MAX {
        return Ok(());
    }
    let items = package.input.items;
    let bound = format!("allows {bytes} bytes in {items} items, more than {RESULT_BYTES_MAX}");
    Err(field("limits.output_bytes_per_item", per_item, bound))
}

pub(super) fn replication(replication: &Replication) -> Result<(), Error> {
    let max = REPLICAS_MAX as u8;
    within("verify.replicas", replication.replicas, 1..=max)?;
    within("verify.max_replicas", replication.max_replicas, 1..=max)?;
    if replication.replicas > replication.max_replicas {
        let most = replication.max_replicas;
        let bound = format!("must be at most verify.max_replicas, which is {most}");
        return Err(field("verify.replicas", replication.replicas, bound));
    }
    Ok(())
}

pub(super) fn policy(policy: &Policy, replication: &Replication) -> Result<(), Error> {
    let least = replication.replicas;
    match policy {
        Policy::Replicate => Ok(()),
        Policy::Audit { .. } => {
            within("verify.replicas", least, 1..=1)?;
            let most = REPLICAS_MAX as u8;
            let all = AUDITED_MIN..=most;
            within("verify.max_replicas", replication.max_replicas, all)
        }
        Policy::Trusted { providers } => {
            let given = format!("{} providers", providers.len());
            if providers.len() < usize::from(least) {
                let bound = format!("must be at least verify.replicas, which is {least}");
                return Err(field("verify.trusted", given, bound));
            }
            if providers.len() > TRUSTED_MAX {
                let bound = format!("must be at most {TRUSTED_MAX}");
                return Err(field("verify.trusted", given, bound));
            }
            Ok(())
        }
    }
}

pub(super) fn comparator(comparator: &Comparator, output: &OutputFormat) -> Result<(), Error> {
    match comparator {
        Comparator::Exact => Ok(()),
        Comparator::Numeric {
            dtype,
            atol,
            rtol,
            min_cosine,
            top1,
            rms,
        } => {
            within("verify.atol", *atol, 0.0..=ATOL_MAX)?;
            within("verify.rtol", *rtol, 0.0..=RTOL_MAX)?;
            within("verify.min_cosine", *min_cosine, -1.0..=1.0)?;
            within("verify.top1", top1.unwrap_or(0.0), 0.0..=ATOL_MAX)?;
            if let Some(top1) = top1.filter(|top1| *rtol == 0.0 && top1 >= atol) {
                // Elements that differ by less cannot be preferred by more than twice that.
                let bound = format!("must be less than verify.atol, which is {atol}");
                return Err(field("verify.top1", top1, bound));
            }
            within("verify.rms", rms.unwrap_or(0.0), 0.0..=1.0)?;
            arrays("numeric", Some(*dtype), output)
        }
        Comparator::Tokens(rule) => {
            within("verify.atol", rule.atol, 0.0..=ATOL_MAX)?;
            within("verify.draws", rule.draws.unwrap_or(0.0), 0.0..=1.0)?;
            within("verify.rms", rule.rms.unwrap_or(0.0), 0.0..=1.0)?;
            match output {
                OutputFormat::Items => Ok(()),
                OutputFormat::Jsonl | OutputFormat::Npy { .. } => {
                    let bound = "needs outputs in tokens v1: output.format must be items";
                    Err(field("verify.comparator", "tokens", bound))
                }
            }
        }
        Comparator::Json(rule) => {
            rule.check()?;
            match output {
                OutputFormat::Items | OutputFormat::Jsonl => Ok(()),
                OutputFormat::Npy { .. } => {
                    let bound = "needs JSON: output.format must be jsonl or items";
                    Err(field("verify.comparator", "json", bound))
                }
            }
        }
        Comparator::Fingerprint(rule) => {
            rule.check()?;
            let dtype = match rule {
                // An array's file has no name for bfloat16.
                SketchRule::Toploc(_) => None,
                SketchRule::ToplocF32(_) | SketchRule::Projection { .. } => Some(Dtype::F32),
            };
            arrays("fingerprint", dtype, output)
        }
    }
}

/// Whether the outputs are arrays, of this type if they say which.
fn arrays(comparator: &str, dtype: Option<Dtype>, output: &OutputFormat) -> Result<(), Error> {
    match (output, dtype) {
        (OutputFormat::Items, _) => Ok(()),
        (OutputFormat::Npy { dtype: output, .. }, Some(dtype)) if *output == dtype => Ok(()),
        (OutputFormat::Npy { dtype: output, .. }, Some(dtype)) if comparator == "numeric" => {
            let [output, dtype] = [*output, dtype].map(|d| format!("{d:?}").to_lowercase());
            let bound = format!("must equal output.dtype, which is {output}");
            Err(field("verify.dtype", dtype, bound))
        }
        (OutputFormat::Npy { .. }, Some(_)) => {
            let bound = "compares 32-bit floats: output.dtype must be f32";
            Err(field("verify.comparator", comparator, bound))
        }
        (OutputFormat::Npy { .. }, None) => {
            let bound = "compares bfloat16, which npy has not: output.format must be items";
            Err(field("verify.comparator", comparator, bound))
        }
        (OutputFormat::Jsonl, _) => {
            let bound = "needs arrays: output.format must be npy or items";
            Err(field("verify.comparator", comparator, bound))
        }
    }
}

/// Checks what a job has opened: of one of its graphs, and no more than one answer takes.
pub(super) fn openings<'a>(
    rule: Option<&OpeningsRule>,
    mut models: impl Iterator<Item = &'a str>,
) -> Result<(), Error> {
    let Some(rule) = rule else {
        return Ok(());
    };
    if !models.any(|model| model == rule.graph) {
        let bound = "must be the name of one of the job's models";
        return Err(field("verify.openings.graph", shown(&rule.graph), bound));
    }
    let plain = !rule.tensor.is_empty() && !rule.tensor.contains(char::is_control);
    if !plain || rule.tensor.len() > TENSOR_NAME_MAX {
        let bound = format!("must be the name of an output, of 1 to {TENSOR_NAME_MAX} bytes");
        return Err(field("verify.openings.tensor", shown(&rule.tensor), bound));
    }
    within("verify.openings.count", rule.count, 1..=COUNT_MAX)?;
    within("verify.openings.atol", rule.atol, 0.0..=ATOL_MAX)?;
    within("verify.openings.rtol", rule.rtol, 0.0..=RTOL_MAX)
}

/// The beginning of a text that may be of any length.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(NAME_MAX).collect::<String>())
}

pub(super) fn price(max: Amount) -> Result<(), Error> {
    if max.is_zero() || max > AMOUNT_MAX {
        let bound = format!("must be more than 0 and at most {AMOUNT_MAX}");
        return Err(field("price.max", max, bound));
    }
    Ok(())
}

fn nonce(nonce: &str) -> Result<(), Error> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if nonce.len() == NONCE_DIGITS && nonce.bytes().all(hex) {
        return Ok(());
    }
    let bound = format!("must be {NONCE_DIGITS} lower-case hexadecimal digits");
    Err(field("nonce", format!("{nonce:?}"), bound))
}
