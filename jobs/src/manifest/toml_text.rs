//! The text form of a manifest. Numbers are read as wide as TOML has them and narrowed here, so
//! that an absurd one is refused by its dotted key and bound, not by the parser's idea of a type.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::bounds::{field, schema};
use super::tolerances::Tolerances;
use super::verify_text::{self, VerifyText};
use super::{
    DEADLINE_MS_MAX, DEADLINE_MS_MIN, Dtype, FUEL_MAX, ITEMS_PER_SHARD_MAX, InputSource,
    MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, Manifest, ModelSource, Split, WALL_MS_MAX, WALL_MS_MIN,
};
use crate::Error;
use crate::items::ITEM_BYTES_MAX;
use crate::money::Amount;
use crate::offer::DeviceKind;
use crate::package::{Limits, OutputFormat};
use crate::profile::VerifiedProfile;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: i64,
    name: String,
    component: String,
    #[serde(default)]
    model: Vec<ModelText>,
    input: InputText,
    output: OutputText,
    verify: VerifyText,
    limits: LimitsText,
    price: PriceText,
    schedule: ScheduleText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelText {
    name: String,
    source: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputText {
    path: String,
    split: String,
    items_per_shard: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputText {
    format: String,
    dtype: Option<String>,
    shape: Option<Vec<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    fuel: i64,
    memory_bytes: i64,
    output_bytes_per_item: i64,
    wall_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceText {
    max: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleText {
    deadline_ms: i64,
    device: Option<String>,
    #[serde(default)]
    cpu_nodes: bool,
}

fn decode(error: toml::de::Error) -> Error {
    Error::Decode {
        what: "manifest",
        reason: error.to_string().trim_end().to_owned(),
    }
}

/// What `verify.profile` says, if it is a text; whatever else it is, [`parse`] refuses.
pub(super) fn profile_path(text: &str) -> Result<Option<String>, Error> {
    let table: toml::Table = text.parse().map_err(decode)?;
    let path = table.get("verify").and_then(|verify| verify.get("profile"));
    Ok(path.and_then(toml::Value::as_str).map(str::to_owned))
}

pub(super) fn parse(text: &str, read: Option<&VerifiedProfile>) -> Result<Manifest, Error> {
    // The schema is looked at first: a manifest of another version has other keys, and the reader
    // should learn about the version, not about the first unknown key.
    let table: toml::Table = text.parse().map_err(decode)?;
    if let Some(other) = table.get("schema").and_then(toml::Value::as_integer) {
        schema(other)?;
    }
    let text: Text = toml::from_str(text).map_err(decode)?;
    schema(text.schema)?;
    let output = output(text.output)?;
    let models = models(text.model)?;
    let (tolerances, profile) = Tolerances::of(text.verify.profile(), &models, read)?;
    let manifest = Manifest {
        name: text.name,
        component: text.component,
        models,
        input: InputSource {
            path: text.input.path,
            split: split(&text.input.split)?,
            items_per_shard: narrow(
                "input.items_per_shard",
                text.input.items_per_shard,
                1..=ITEMS_PER_SHARD_MAX,
            )?,
        },
        output,
        replication: verify_text::replication(&text.verify)?,
        policy: verify_text::policy(&text.verify)?,
        comparator: verify_text::comparator(&text.verify, tolerances)?,
        limits: limits(&text.limits)?,
        max_price: price(&text.price.max)?,
        deadline_ms: narrow(
            "schedule.deadline_ms",
            text.schedule.deadline_ms,
            DEADLINE_MS_MIN..=DEADLINE_MS_MAX,
        )?,
        device: device(text.schedule.device.as_deref())?,
        cpu_nodes: text.schedule.cpu_nodes,
        profile,
        openings: verify_text::openings(&text.verify)?,
    };
    manifest.check()?;
    Ok(manifest)
}

/// Narrows a TOML integer that lies within a range of the narrower type.
pub(super) fn narrow<T>(key: &str, value: i64, range: RangeInclusive<T>) -> Result<T, Error>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let refused = || {
        let bound = format!("must be {} to {}", range.start(), range.end());
        field(key, value, bound)
    };
    let narrowed = T::try_from(value).map_err(|_| refused())?;
    if range.contains(&narrowed) {
        return Ok(narrowed);
    }
    Err(refused())
}

pub(super) fn quoted(key: &str, value: &str, bound: impl Into<String>) -> Error {
    field(key, format!("{value:?}"), bound)
}

fn models(models: Vec<ModelText>) -> Result<Vec<ModelSource>, Error> {
    models
        .into_iter()
        .zip(0_usize..)
        .map(|(model, index)| {
            let digest = model.digest.parse().map_err(|_| {
                let key = format!("model[{index}].digest");
                let bound = "must be \"blake3:\" and 64 hexadecimal digits";
                quoted(&key, &model.digest, bound)
            })?;
            Ok(ModelSource {
                name: model.name,
                source: model.source,
                digest,
            })
        })
        .collect()
}

fn split(split: &str) -> Result<Split, Error> {
    match split {
        "lines" => Ok(Split::Lines),
        "files" => Ok(Split::Files),
        "npy-rows" => Ok(Split::NpyRows),
        other => {
            let bound = "must be lines, files or npy-rows";
            Err(quoted("input.split", other, bound))
        }
    }
}

pub(super) fn dtype(key: &str, dtype: Option<&str>) -> Result<Dtype, Error> {
    match dtype {
        Some("f16") => Ok(Dtype::F16),
        Some("f32") => Ok(Dtype::F32),
        Some("f64") => Ok(Dtype::F64),
        other => {
            let bound = "must be f16, f32 or f64";
            Err(field(key, shown(other), bound))
        }
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "(nothing)".to_owned(), |value| format!("{value:?}"))
}

/// Refuses a key that would have no effect, which its author surely did not mean.
fn useless<T>(key: &str, value: Option<T>, without: &str) -> Result<(), Error>
where
    T: std::fmt::Debug,
{
    value.map_or(Ok(()), |value| {
        let bound = format!("has no meaning without {without}");
        Err(field(key, format!("{value:?}"), bound))
    })
}

pub(super) fn required<T: Display>(key: &str, value: Option<T>, with: &str) -> Result<T, Error> {
    value.ok_or_else(|| field(key, "(nothing)", format!("must be given with {with}")))
}

fn output(text: OutputText) -> Result<OutputFormat, Error> {
    let format = match text.format.as_str() {
        "npy" => {
            let dtype = dtype("output.dtype", text.dtype.as_deref())?;
            let Some(shape) = text.shape else {
                let bound = "must be given with output.format = \"npy\"";
                return Err(field("output.shape", "(nothing)", bound));
            };
            let shape = shape
                .into_iter()
                .map(|dim| narrow("output.shape", dim, 1..=u32::MAX));
            let shape = shape.collect::<Result<_, _>>()?;
            return Ok(OutputFormat::Npy { dtype, shape });
        }
        "jsonl" => OutputFormat::Jsonl,
        "items" => OutputFormat::Items,
        other => {
            let bound = "must be npy, jsonl or items";
            return Err(quoted("output.format", other, bound));
        }
    };
    let npy = "output.format = \"npy\"";
    useless("output.dtype", text.dtype, npy)?;
    useless("output.shape", text.shape, npy)?;
    Ok(format)
}

fn limits(text: &LimitsText) -> Result<Limits, Error> {
    Ok(Limits {
        fuel: narrow("limits.fuel", text.fuel, 1..=FUEL_MAX)?,
        memory_bytes: narrow(
            "limits.memory_bytes",
            text.memory_bytes,
            MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX,
        )?,
        output_bytes_per_item: narrow(
            "limits.output_bytes_per_item",
            text.output_bytes_per_item,
            1..=ITEM_BYTES_MAX,
        )?,
        wall_ms: narrow("limits.wall_ms", text.wall_ms, WALL_MS_MIN..=WALL_MS_MAX)?,
    })
}

fn price(max: &str) -> Result<Amount, Error> {
    max.parse().map_err(|_| {
        let bound = "must be units with up to six decimals, at most 10^15";
        quoted("price.max", max, bound)
    })
}

fn device(device: Option<&str>) -> Result<Option<DeviceKind>, Error> {
    match device {
        None | Some("any") => Ok(None),
        Some("cpu") => Ok(Some(DeviceKind::Cpu)),
        Some("gpu") => Ok(Some(DeviceKind::Gpu)),
        other => {
            let bound = "must be any, cpu or gpu";
            Err(field("schedule.device", shown(other), bound))
        }
    }
}
