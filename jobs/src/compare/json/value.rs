//! A JSON value as strict as RFC 8259 allows a reader to be: one value and nothing after it, no key
//! twice, no number that a double cannot hold, and neither deeper nor larger than a bound.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Longest output in bytes.
pub const BYTES_MAX: usize = 4 << 20;
/// Most values in one output, containers included.
pub const VALUES_MAX: u32 = 1 << 16;
/// How deep arrays and objects may stand within one another.
pub const DEPTH_MAX: u32 = 64;

/// A member of an object.
pub(super) type Member<'a> = (Cow<'a, str>, Value<'a>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    /// In the order of the keys.
    Object(Vec<Member<'a>>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            // Of 64 bits, so that it fits; it is rounded.
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (a, b) => a.as_f64() == b.as_f64(),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Characters of a string that are shown.
        const SHOWN: usize = 40;
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(Number::Integer(integer)) => write!(f, "{integer}"),
            Self::Number(Number::Float(float)) => write!(f, "{float}"),
            Self::Text(text) => write!(f, "{:?}", text.chars().take(SHOWN).collect::<String>()),
            Self::Array(_) => f.write_str("an array"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'a> Value<'a> {
    /// Parses an output, or says what is wrong with it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() > BYTES_MAX {
            let size = bytes.len();
            return Err(format!("{size} bytes of JSON, more than {BYTES_MAX}"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| format!("is not text: {error}"))?;
        let mut left = VALUES_MAX;
        let mut reader = serde_json::Deserializer::from_str(text);
        let seed = Seed {
            left: &mut left,
            depth: 0,
        };
        let value = seed.deserialize(&mut reader);
        let value = value.and_then(|value| reader.end().map(|()| value));
        value.map_err(|error| format!("is not a JSON value: {error}"))
    }
}

/// Reads one value; counts what may still come.
struct Seed<'s> {
    left: &'s mut u32,
    depth: u32,
}

impl Seed<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Seed<'_>, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("deeper than {DEPTH_MAX}")));
        }
        Ok(Seed {
            left: self.left,
            depth: self.depth.saturating_add(1),
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value<'de>, D::Error> {
        match self.left.checked_sub(1) {
            Some(left) => *self.left = left,
            None => {
                let reason = format_args!("more than {VALUES_MAX} values");
                return Err(D::Error::custom(reason));
            }
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::Integer(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::Integer(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        match value.is_finite() {
            true => Ok(Value::Number(Number::Float(value))),
            false => Err(E::custom(format_args!("the number {value}"))),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.inner()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value<'de>, A::Error> {
        let mut members: Vec<Member<'de>> = Vec::new();
        while let Some(Key(key)) = object.next_key()? {
            members.push((key, object.next_value_seed(self.inner()?)?));
        }
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let twice = members.iter().zip(members.iter().skip(1));
        if let Some(((key, _), _)) = twice.into_iter().find(|((a, _), (b, _))| a == b) {
            let key: String = key.chars().take(40).collect();
            return Err(A::Error::custom(format_args!(
                "the key {key:?} stands twice"
            )));
        }
        Ok(Value::Object(members))
    }
}

/// A key that is borrowed from the text where it can be.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
        }
        reader.deserialize_str(Text)
    }
}
