//! How the small values are written: as text where people read, as they are where programs do.

/// Implements serde's traits for a newtype that has `Display` and `FromStr`: text in formats for
/// people (JSON, TOML), the wrapped value in binary ones.
macro_rules! text_for_people {
    ($type:ty, $raw:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = String::deserialize(from)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <$raw>::deserialize(from).map(Self)
                }
            }
        }
    };
}

pub(crate) use text_for_people;
