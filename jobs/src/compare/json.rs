//! One JSON value, field by field.
//!
//! Two outputs agree if they are the same value (RFC 8259), but for the fields that the manifest
//! names by JSON pointer (RFC 6901): those are compared by a tolerance, or not at all. What a field's
//! rule says holds for everything in it, unless a longer pointer says otherwise. Objects are
//! unordered, strings are compared unescaped, and numbers by their value: as integers where both are
//! such of 64 bits, as doubles otherwise.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Finding, within};
use crate::Error;
use crate::manifest::{ATOL_MAX, RTOL_MAX};
use value::{Number, Value};

mod value;

pub use value::{BYTES_MAX, DEPTH_MAX, VALUES_MAX};

/// Most fields that a manifest may name.
pub const FIELDS_MAX: usize = 64;
/// Longest pointer in bytes.
pub const POINTER_BYTES_MAX: usize = 256;

/// When two values agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonRule {
    /// The fields that are not to be exactly equal, and those within them that are.
    pub fields: Vec<Field>,
}

/// How one field is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Where it is: a JSON pointer. The empty one is the whole value.
    pub pointer: String,
    /// How.
    pub rule: FieldRule,
}

/// How what is in a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum FieldRule {
    /// It is the same.
    Exact,
    /// Numbers are close, anything else is the same: `|a - b| <= atol + rtol * max(|a|, |b|)`.
    Numeric {
        /// Absolute tolerance.
        atol: f64,
        /// Tolerance relative to the larger of the two.
        rtol: f64,
    },
    /// It is not looked at, and may be missing.
    Ignored,
}

impl JsonRule {
    /// Checks count, form and tolerances of the fields. Keys begin with `verify.field`.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refused = |key: String, value: String, bound: &str| Error::Field {
            key,
            value: value.chars().take(80).collect(),
            bound: bound.into(),
        };
        if self.fields.len() > FIELDS_MAX {
            let (count, bound) = (
                self.fields.len(),
                format!("must be at most {FIELDS_MAX} fields"),
            );
            return Err(refused("verify.field".into(), count.to_string(), &bound));
        }
        let mut seen = BTreeSet::new();
        for (field, at) in self.fields.iter().zip(0_usize..) {
            let key = format!("verify.field[{at}].pointer");
            let shown = format!("{:?}", field.pointer);
            let Some(path) = parts(&field.pointer) else {
                let bound = format!(
                    "must be a JSON pointer of at most {POINTER_BYTES_MAX} bytes: nothing, or \"/\" \
                     before each part, \"~\" written \"~0\" and \"/\" within a part \"~1\""
                );
                return Err(refused(key, shown, &bound));
            };
            let beneath = |other: &&Field| {
                let above = parts(&other.pointer).unwrap_or_default();
                other.rule == FieldRule::Ignored
                    && path.len() > above.len()
                    && path.starts_with(&above)
            };
            if let Some(above) = self.fields.iter().find(beneath) {
                let bound = format!("lies within {:?}, which is ignored", above.pointer);
                return Err(refused(key, shown, &bound));
            }
            if let FieldRule::Numeric { atol, rtol } = field.rule {
                for (name, value, max) in [("atol", atol, ATOL_MAX), ("rtol", rtol, RTOL_MAX)] {
                    if !(0.0..=max).contains(&value) {
                        let key = format!("verify.field[{at}].{name}");
                        let bound = format!("must be 0 to {max}");
                        return Err(refused(key, value.to_string(), &bound));
                    }
                }
            }
            if !seen.insert(path) {
                return Err(refused(key, shown, "must differ from every other field's"));
            }
        }
        Ok(())
    }
}

/// The parts of a pointer, unescaped; `None` if it is none.
fn parts(pointer: &str) -> Option<Vec<String>> {
    if pointer.len() > POINTER_BYTES_MAX {
        return None;
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return pointer.is_empty().then(Vec::new);
    };
    let unescape = |part: &str| {
        let mut pieces = part.split('~');
        let mut plain = pieces.next()?.to_owned();
        for piece in pieces {
            let (escaped, tail) = match piece.strip_prefix('0') {
                Some(tail) => ('~', tail),
                None => ('/', piece.strip_prefix('1')?),
            };
            plain.push(escaped);
            plain.push_str(tail);
        }
        Some(plain)
    };
    rest.split('/').map(unescape).collect()
}

/// Compares two outputs.
pub(super) fn compare(rule: &JsonRule, left: &[u8], right: &[u8]) -> Result<(), Finding> {
    let parse = |bytes| Value::parse(bytes).map_err(Finding::incomparable);
    let (left, right) = (parse(left)?, parse(right)?);
    let fields: Vec<Known> = rule
        .fields
        .iter()
        .filter_map(|field| {
            let path = parts(&field.pointer)?;
            let rule = field.rule;
            Some(Known { path, rule })
        })
        .collect();
    let mut walk = Walk {
        path: String::new(),
        ambiguous: None,
    };
    let here = fields.iter().find(|field| field.path.is_empty());
    let rule = here.map_or(FieldRule::Exact, |field| field.rule);
    let inner: Vec<&Known> = fields.iter().filter(|f| !f.path.is_empty()).collect();
    walk.pair(rule, &inner, 0, &left, &right)?;
    walk.ambiguous.map_or(Ok(()), Err)
}

/// A field with its pointer taken apart.
struct Known {
    path: Vec<String>,
    rule: FieldRule,
}

/// The walk through two values in step. How deep it goes is bounded by [`DEPTH_MAX`].
struct Walk {
    /// Where it is.
    path: String,
    /// The first finding that is not the gravest there is.
    ambiguous: Option<Finding>,
}

impl Walk {
    /// Compares two values of which the first `depth` parts of the fields' pointers are known to lead
    /// here.
    fn pair(
        &mut self,
        rule: FieldRule,
        fields: &[&Known],
        depth: usize,
        left: &Value<'_>,
        right: &Value<'_>,
    ) -> Result<(), Finding> {
        match (rule, left, right) {
            (FieldRule::Ignored, ..) => Ok(()),
            (_, Value::Array(left), Value::Array(right)) => {
                if left.len() != right.len() {
                    let (left, right) = (left.len(), right.len());
                    return Err(self.clear(format!("{left} elements against {right}")));
                }
                for ((left, right), at) in left.iter().zip(right).zip(0_usize..) {
                    let at = at.to_string();
                    self.child(rule, fields, depth, &at, Some((left, right)))?;
                }
                Ok(())
            }
            (_, Value::Object(left), Value::Object(right)) => {
                self.objects(rule, fields, depth, left, right)
            }
            (FieldRule::Numeric { atol, rtol }, Value::Number(a), Value::Number(b)) => {
                self.close(atol, rtol, *a, *b)
            }
            (_, left, right) if left == right => Ok(()),
            (_, left, right) => Err(self.clear(format!("{left} against {right}"))),
        }
    }

    /// Both are in the order of their keys.
    fn objects(
        &mut self,
        rule: FieldRule,
        fields: &[&Known],
        depth: usize,
        left: &[value::Member<'_>],
        right: &[value::Member<'_>],
    ) -> Result<(), Finding> {
        let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let a = order.is_le().then(|| left.next()).flatten();
            let b = order.is_ge().then(|| right.next()).flatten();
            match (a, b) {
                (Some((key, a)), Some((_, b))) => {
                    self.child(rule, fields, depth, key, Some((a, b)))?;
                }
                (Some((key, _)), None) | (None, Some((key, _))) => {
                    self.child(rule, fields, depth, key, None)?;
                }
                (None, None) => return Ok(()),
            }
        }
    }

    /// Goes into a member or element; it is `None` if only one of the two has it.
    fn child(
        &mut self,
        rule: FieldRule,
        fields: &[&Known],
        depth: usize,
        key: &str,
        both: Option<(&Value<'_>, &Value<'_>)>,
    ) -> Result<(), Finding> {
        let leads = |field: &&&Known| field.path.get(depth).is_some_and(|part| part == key);
        let (mut rule, mut inner) = (rule, Vec::new());
        let next = depth.saturating_add(1);
        for field in fields.iter().filter(leads) {
            match field.path.len() == next {
                true => rule = field.rule,
                false => inner.push(*field),
            }
        }
        let before = self.path.len();
        self.path.push('/');
        self.path.push_str(key);
        match both {
            Some((left, right)) => self.pair(rule, &inner, next, left, right)?,
            None if rule == FieldRule::Ignored => {}
            None => return Err(self.clear("only one of the two has it".into())),
        }
        self.path.truncate(before);
        Ok(())
    }

    fn close(&mut self, atol: f64, rtol: f64, a: Number, b: Number) -> Result<(), Finding> {
        if a == b {
            return Ok(());
        }
        let (a, b) = (a.as_f64(), b.as_f64());
        let (difference, bound) = ((a - b).abs(), atol + rtol * a.abs().max(b.abs()));
        if within(difference, bound) {
            return Ok(());
        }
        let reason = self.at(format!("{a} against {b}, more than {bound:e} apart"));
        let finding = Finding::beyond(difference, bound, reason);
        if finding.grade == super::Grade::Clear {
            return Err(finding);
        }
        self.ambiguous.get_or_insert(finding);
        Ok(())
    }

    fn clear(&self, reason: String) -> Finding {
        Finding::clear(self.at(reason))
    }

    /// A reason with the place it is about, cut to a length that fits a line.
    fn at(&self, reason: String) -> String {
        let place: String = self.path.chars().take(POINTER_BYTES_MAX).collect();
        match place.is_empty() {
            true => reason,
            false => format!("{place}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
