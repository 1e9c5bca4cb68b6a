//! `[verify]` in the text of a manifest: how often shards are executed, and when outputs agree.

use serde::Deserialize;

use super::Replication;
use super::bounds::field;
use super::tolerances::Tolerances;
use super::toml_text::{dtype, narrow, quoted, required};
use crate::Error;
use crate::compare::Comparator;
use crate::compare::json::{Field, FieldRule, JsonRule};
use crate::compare::sketch::{CHUNK_MAX, SketchRule, TopRule, projection, toploc};
use crate::compare::tokens::TokensRule;
use crate::openings::{COUNT_MAX, OpeningsRule};
use crate::policy::{Policy, Unit};
use crate::verdict::REPLICAS_MAX;

/// What TOPLOC's authors found to tell models apart, in bfloat16.
const PUBLISHED: TopRule = TopRule {
    chunk: 0,
    top_k: 128,
    mismatches: 38,
    mean: 10.0,
    median: 8.0,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyText {
    replicas: Option<i64>,
    max_replicas: Option<i64>,
    policy: Option<String>,
    trusted: Option<Vec<String>>,
    unit: Option<String>,
    profile: Option<String>,
    comparator: String,
    dtype: Option<String>,
    atol: Option<f64>,
    rtol: Option<f64>,
    min_cosine: Option<f64>,
    top1: Option<f64>,
    rms: Option<f64>,
    draws: Option<f64>,
    field: Option<Vec<FieldText>>,
    mode: Option<String>,
    dims: Option<i64>,
    distance: Option<f64>,
    chunk: Option<i64>,
    top_k: Option<i64>,
    mismatches: Option<i64>,
    mean: Option<f64>,
    median: Option<f64>,
    openings: Option<OpeningsText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningsText {
    graph: Option<String>,
    tensor: Option<String>,
    count: Option<i64>,
    atol: Option<f64>,
    rtol: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldText {
    pointer: String,
    rule: String,
    atol: Option<f64>,
    rtol: Option<f64>,
}

/// Executions of a shard that an audited job pays for at most, where it says nothing: one, its audit, and what
/// settles a dispute between the two.
const AUDITED_MAX: u8 = 6;

pub(super) fn replication(text: &VerifyText) -> Result<Replication, Error> {
    let most = REPLICAS_MAX as u8;
    let audited = text.policy.as_deref() == Some("audit");
    let count = |key: &str, given: Option<i64>, default: u8| match given {
        None if audited => Ok(default),
        given => narrow(key, required(key, given, "[verify]")?, 1..=most),
    };
    Ok(Replication {
        replicas: count("verify.replicas", text.replicas, 1)?,
        max_replicas: count("verify.max_replicas", text.max_replicas, AUDITED_MAX)?,
    })
}

pub(super) fn policy(text: &VerifyText) -> Result<Policy, Error> {
    let kind = text.policy.as_deref().unwrap_or("replicate");
    if !["replicate", "audit", "trusted"].contains(&kind) {
        let bound = "must be replicate, audit or trusted";
        return Err(quoted("verify.policy", kind, bound));
    }
    for (key, of, given) in [
        (
            "verify.trusted",
            "trusted",
            text.trusted.as_ref().map(|ids| format!("{ids:?}")),
        ),
        (
            "verify.unit",
            "audit",
            text.unit.as_ref().map(|unit| format!("{unit:?}")),
        ),
    ] {
        if let Some(value) = given.filter(|_| kind != of) {
            let bound = format!("has no meaning without verify.policy = {of:?}");
            return Err(field(key, value, bound));
        }
    }
    match kind {
        "audit" => Ok(Policy::Audit {
            unit: match text.unit.as_deref() {
                None | Some("shard") => Unit::Shard,
                Some("item") => Unit::Item,
                Some(other) => {
                    return Err(quoted("verify.unit", other, "must be shard or item"));
                }
            },
        }),
        "trusted" => trusted(text),
        _ => Ok(Policy::Replicate),
    }
}

fn trusted(text: &VerifyText) -> Result<Policy, Error> {
    const TRUSTED: &str = "verify.trusted";
    let trusted = text.trusted.as_ref().ok_or_else(|| {
        let bound = "must be given with verify.policy = \"trusted\"";
        field(TRUSTED, "(nothing)", bound)
    })?;
    let ids = trusted.iter().map(|id| {
        id.parse().map_err(|_| {
            let bound = "must be a provider's id, 64 hexadecimal digits";
            quoted(TRUSTED, id, bound)
        })
    });
    let providers = ids.collect::<Result<_, _>>()?;
    Ok(Policy::Trusted { providers })
}

pub(super) fn comparator(
    text: &VerifyText,
    tolerances: Tolerances<'_>,
) -> Result<Comparator, Error> {
    let kind = text.comparator.as_str();
    let with = format!("verify.comparator = {kind:?}");
    let required = |key, value| required(key, value, &with);
    match kind {
        "exact" => text.only(&with, &[])?,
        "numeric" => {
            text.only(
                &with,
                &[
                    "profile",
                    "dtype",
                    "atol",
                    "rtol",
                    "min_cosine",
                    "top1",
                    "rms",
                ],
            )?;
            let read = |given| dtype("verify.dtype", given);
            let given = text.dtype.as_deref().map(|given| read(Some(given)));
            let given = tolerances.dtype(given.transpose()?)?;
            return Ok(Comparator::Numeric {
                dtype: given.map_or_else(|| read(None), Ok)?,
                atol: required("verify.atol", tolerances.atol(text.atol)?)?,
                rtol: required("verify.rtol", tolerances.rtol(text.rtol)?)?,
                min_cosine: required("verify.min_cosine", tolerances.min_cosine(text.min_cosine)?)?,
                top1: text.top1,
                rms: text.rms,
            });
        }
        "tokens" => {
            text.only(&with, &["atol", "draws", "rms"])?;
            return Ok(Comparator::Tokens(TokensRule {
                atol: required("verify.atol", text.atol)?,
                draws: text.draws,
                rms: text.rms,
            }));
        }
        "json" => {
            text.only(&with, &["field"])?;
            let fields = text.field.iter().flatten().zip(0_usize..);
            let fields = fields.map(|(text, at)| json_field(text, at));
            return Ok(Comparator::Json(JsonRule {
                fields: fields.collect::<Result<_, _>>()?,
            }));
        }
        "fingerprint" => return Ok(Comparator::Fingerprint(sketch(text)?)),
        other => {
            let bound = "must be exact, numeric, tokens, json or fingerprint";
            return Err(quoted("verify.comparator", other, bound));
        }
    }
    Ok(Comparator::Exact)
}

pub(super) fn openings(text: &VerifyText) -> Result<Option<OpeningsRule>, Error> {
    let Some(text) = &text.openings else {
        return Ok(None);
    };
    let with = "[verify.openings]";
    let number = |key, value| required(key, value, with);
    let name = |key, value: &Option<String>| required(key, value.clone(), with);
    let count = required("verify.openings.count", text.count, with)?;
    Ok(Some(OpeningsRule {
        graph: name("verify.openings.graph", &text.graph)?,
        tensor: name("verify.openings.tensor", &text.tensor)?,
        count: narrow("verify.openings.count", count, 1..=COUNT_MAX)?,
        atol: number("verify.openings.atol", text.atol)?,
        rtol: number("verify.openings.rtol", text.rtol)?,
    }))
}

impl VerifyText {
    /// The path of a tolerance profile.
    pub(super) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Refuses a key that would have no effect, which its author surely did not mean.
    fn only(&self, with: &str, allowed: &[&str]) -> Result<(), Error> {
        let float = |value: Option<f64>| value.map(|value| value.to_string());
        let integer = |value: Option<i64>| value.map(|value| value.to_string());
        let text = |value: &Option<String>| value.as_ref().map(|value| format!("{value:?}"));
        let fields = self.field.as_ref();
        let given = [
            ("profile", text(&self.profile)),
            ("dtype", text(&self.dtype)),
            ("atol", float(self.atol)),
            ("rtol", float(self.rtol)),
            ("min_cosine", float(self.min_cosine)),
            ("top1", float(self.top1)),
            ("rms", float(self.rms)),
            ("draws", float(self.draws)),
            (
                "field",
                fields.map(|fields| format!("{} fields", fields.len())),
            ),
            ("mode", text(&self.mode)),
            ("dims", integer(self.dims)),
            ("distance", float(self.distance)),
            ("chunk", integer(self.chunk)),
            ("top_k", integer(self.top_k)),
            ("mismatches", integer(self.mismatches)),
            ("mean", float(self.mean)),
            ("median", float(self.median)),
        ];
        for (key, value) in given {
            if let Some(value) = value
                && !allowed.contains(&key)
            {
                let bound = format!("has no meaning with {with}");
                return Err(field(&format!("verify.{key}"), value, bound));
            }
        }
        Ok(())
    }
}

fn json_field(text: &FieldText, at: usize) -> Result<Field, Error> {
    let key = |name: &str| format!("verify.field[{at}].{name}");
    let with = format!("rule = {:?}", text.rule);
    let rule = match text.rule.as_str() {
        "numeric" => FieldRule::Numeric {
            atol: required(&key("atol"), text.atol, &with)?,
            rtol: required(&key("rtol"), text.rtol, &with)?,
        },
        "exact" => FieldRule::Exact,
        "ignored" => FieldRule::Ignored,
        other => {
            return Err(quoted(
                &key("rule"),
                other,
                "must be exact, numeric or ignored",
            ));
        }
    };
    if !matches!(rule, FieldRule::Numeric { .. }) {
        for (name, value) in [("atol", text.atol), ("rtol", text.rtol)] {
            if let Some(value) = value {
                return Err(field(
                    &key(name),
                    value,
                    format!("has no meaning with {with}"),
                ));
            }
        }
    }
    Ok(Field {
        pointer: text.pointer.clone(),
        rule,
    })
}

fn sketch(text: &VerifyText) -> Result<SketchRule, Error> {
    let top = ["mode", "chunk", "top_k", "mismatches", "mean", "median"];
    let mode = text.mode.as_deref().unwrap_or_default();
    let with = format!("verify.mode = {mode:?}");
    match mode {
        "toploc" => {
            text.only(&with, &top)?;
            Ok(SketchRule::Toploc(TopRule {
                chunk: chunk(text, &with)?,
                top_k: top_k(text)?.unwrap_or(PUBLISHED.top_k),
                mismatches: mismatches(text)?.unwrap_or(PUBLISHED.mismatches),
                mean: text.mean.unwrap_or(PUBLISHED.mean),
                median: text.median.unwrap_or(PUBLISHED.median),
            }))
        }
        "toploc-f32" => {
            text.only(&with, &top)?;
            Ok(SketchRule::ToplocF32(TopRule {
                chunk: chunk(text, &with)?,
                top_k: top_k(text)?.unwrap_or(PUBLISHED.top_k),
                mismatches: required("verify.mismatches", mismatches(text)?, &with)?,
                mean: required("verify.mean", text.mean, &with)?,
                median: required("verify.median", text.median, &with)?,
            }))
        }
        "projection" => {
            text.only(&with, &["mode", "dims", "distance"])?;
            let dims = required("verify.dims", text.dims, &with)?;
            let all = projection::DIMS_MIN..=projection::DIMS_MAX;
            Ok(SketchRule::Projection {
                dims: narrow("verify.dims", dims, all)?,
                distance: required("verify.distance", text.distance, &with)?,
            })
        }
        _ => {
            let bound = "must be toploc, toploc-f32 or projection";
            let shown = text.mode.as_ref();
            let shown = shown.map_or("(nothing)".into(), |mode| format!("{mode:?}"));
            Err(field("verify.mode", shown, bound))
        }
    }
}

fn chunk(text: &VerifyText, with: &str) -> Result<u32, Error> {
    let chunk = required("verify.chunk", text.chunk, with)?;
    narrow("verify.chunk", chunk, 1..=CHUNK_MAX)
}

fn top_k(text: &VerifyText) -> Result<Option<u16>, Error> {
    let all = 1..=toploc::TOP_K_MAX;
    let narrowed = text.top_k.map(|value| narrow("verify.top_k", value, all));
    narrowed.transpose()
}

fn mismatches(text: &VerifyText) -> Result<Option<u16>, Error> {
    let all = 0..=toploc::TOP_K_MAX;
    let narrowed = text
        .mismatches
        .map(|value| narrow("verify.mismatches", value, all));
    narrowed.transpose()
}
