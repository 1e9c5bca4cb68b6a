//! What a profile may say at most.

use super::{
    KIND, PROFILE_BYTES_MAX, PROFILE_SCHEMA, RUNS_MAX, SAMPLES_MAX, TEXT_MAX, ToleranceProfile,
};
use crate::Error;
use crate::manifest::{ATOL_MAX, RTOL_MAX};

pub(super) fn size(size: usize) -> Result<(), Error> {
    if size <= PROFILE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "tolerance profile",
        size: size as u64,
        max: PROFILE_BYTES_MAX as u64,
    })
}

fn refuse(key: &str, value: impl std::fmt::Display, bound: impl Into<String>) -> Error {
    Error::Field {
        key: format!("profile.{key}"),
        value: value.to_string().chars().take(80).collect(),
        bound: bound.into(),
    }
}

fn within(key: &str, value: f64, least: f64, most: f64) -> Result<(), Error> {
    // A NaN is within nothing.
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse(key, value, format!("must be {least} to {most}")))
}

fn count(key: &str, count: usize, most: usize) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    Err(refuse(key, count, format!("must be at most {most}")))
}

/// Checks every bound.
pub(super) fn check(profile: &ToleranceProfile) -> Result<(), Error> {
    if profile.kind != KIND {
        let bound = format!("must be {KIND:?}");
        return Err(refuse("kind", format!("{:?}", profile.kind), bound));
    }
    if profile.schema != PROFILE_SCHEMA {
        let bound = format!("must be {PROFILE_SCHEMA}, the only schema there is");
        return Err(refuse("schema", profile.schema, bound));
    }
    count("variants", profile.variants.len(), RUNS_MAX)?;
    count("cheats", profile.cheats.len(), RUNS_MAX)?;
    count("skipped", profile.skipped.len(), RUNS_MAX)?;
    let ports = &profile.signature;
    count("signature.inputs", ports.inputs.len(), PORTS_MAX)?;
    count("signature.outputs", ports.outputs.len(), PORTS_MAX)?;
    texts(profile)?;
    let samples = profile.subject.samples as usize;
    if samples == 0 {
        return Err(refuse("subject.samples", 0, "must be 1 or more"));
    }
    count("subject.samples", samples, SAMPLES_MAX)?;
    tolerance(profile)?;
    rates(profile)
}

/// Inputs, and outputs, of a model.
const PORTS_MAX: usize = 1024;

fn texts(profile: &ToleranceProfile) -> Result<(), Error> {
    let ports = profile.signature.inputs.iter();
    let ports = ports.chain(&profile.signature.outputs);
    let cheats = profile.cheats.iter();
    let cheats = cheats.flat_map(|cheat| [&cheat.name, &cheat.how]);
    let skipped = profile.skipped.iter();
    let skipped = skipped.flat_map(|skipped| [&skipped.what, &skipped.why]);
    let variants = profile.variants.iter().map(|variant| &variant.name);
    let own = [
        &profile.machine,
        &profile.subject.output,
        &profile.subject.inputs,
    ];
    let all = ports.chain(cheats).chain(skipped).chain(variants);
    for text in all.chain(own) {
        if text.len() > TEXT_MAX {
            let bound = format!("has {} bytes, at most {TEXT_MAX} are allowed", text.len());
            return Err(refuse("text", format!("{text:?}"), bound));
        }
    }
    for variant in &profile.variants {
        if !variant.fingerprint.is_bounded() {
            let bound = "its fields are too long";
            return Err(refuse("variants.fingerprint", &variant.name, bound));
        }
    }
    Ok(())
}

fn tolerance(profile: &ToleranceProfile) -> Result<(), Error> {
    let tolerance = &profile.tolerance;
    within("tolerance.atol", tolerance.atol, 0.0, ATOL_MAX)?;
    within("tolerance.rtol", tolerance.rtol, 0.0, RTOL_MAX)?;
    within("tolerance.min_cosine", tolerance.min_cosine, -1.0, 1.0)?;
    within("tolerance.top1_margin", tolerance.top1_margin, 0.0, 2.0)?;
    within("tolerance.safety", tolerance.safety, 1.0, 1e6)
}

fn rates(profile: &ToleranceProfile) -> Result<(), Error> {
    let (honest, noise) = (&profile.honest, &profile.noise);
    within("honest.target", honest.target, 0.0, 1.0)?;
    within("honest.proven", honest.proven, 0.0, 1.0)?;
    within("honest.estimate", honest.estimate.unwrap_or(0.0), 0.0, 1.0)?;
    if let Some(tail) = honest.tail {
        within("honest.tail.mean_ln", tail.mean_ln, -1e3, 1e3)?;
        within("honest.tail.deviation_ln", tail.deviation_ln, 0.0, 1e3)?;
    }
    within("noise.flip_margin", noise.flip_margin, 0.0, 2.0)?;
    let mut spreads = vec![noise.max_norm, noise.cosine_gap];
    for cheat in &profile.cheats {
        within("cheats.per_item", cheat.per_item, 0.0, 1.0)?;
        within("cheats.per_item_low", cheat.per_item_low, 0.0, 1.0)?;
        if cheat.caught > cheat.items {
            let bound = format!("must be at most its {} items", cheat.items);
            return Err(refuse("cheats.caught", cheat.caught, bound));
        }
        count("cheats.among", cheat.among.len(), RUNS_MAX)?;
        for among in &cheat.among {
            within("cheats.among.rate", among.rate, 0.0, 1.0)?;
            within("cheats.among.rate_low", among.rate_low, 0.0, 1.0)?;
        }
        spreads.extend([cheat.max_norm, cheat.cosine_gap]);
    }
    for spread in spreads {
        for value in [spread.least, spread.median, spread.p99, spread.largest] {
            within("spread", value, 0.0, 2.0)?;
        }
    }
    for variant in &profile.variants {
        within("variants.max_norm", variant.max_norm, 0.0, 2.0)?;
    }
    Ok(())
}
