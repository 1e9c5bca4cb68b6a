//! A node's attributes and a weight's numbers, as far as arithmetic needs them.

use super::super::wire::{Fields, Value, float, numbers};

/// The attributes of a node, read when asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'m> {
    node: &'m [u8],
}

impl<'m> Attributes<'m> {
    /// Of a `NodeProto`.
    pub(crate) fn of(node: &'m [u8]) -> Self {
        Self { node }
    }

    fn find(self, name: &str) -> Option<&'m [u8]> {
        Fields::of(self.node).find_map(|field| match field {
            Ok((5, Value::Bytes(attribute))) => {
                (super::field_text(attribute, 1).ok()? == name).then_some(attribute)
            }
            _ => None,
        })
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn int(self, name: &str, default: i64) -> i64 {
        let found = self.find(name).and_then(|attribute| {
            Fields::of(attribute).find_map(|field| match field {
                Ok((3, Value::Number(number))) => Some(number.cast_signed()),
                _ => None,
            })
        });
        // An attribute that is there with the number zero may leave the zero out.
        found.unwrap_or_else(|| if self.has(name) { 0 } else { default })
    }

    pub(crate) fn float(self, name: &str, default: f32) -> f32 {
        match self.find(name) {
            None => default,
            Some(attribute) => float(attribute, 2).unwrap_or(0.0),
        }
    }

    pub(crate) fn ints(self, name: &str) -> Option<Vec<i64>> {
        let mut found = Vec::new();
        for field in Fields::of(self.find(name)?) {
            if let Ok((8, value)) = field {
                numbers(value, |number| found.push(number.cast_signed())).ok()?;
            }
        }
        Some(found)
    }

    pub(crate) fn text(self, name: &str) -> Option<&'m str> {
        super::field_text(self.find(name)?, 4).ok()
    }

    /// A tensor: its `TensorProto`.
    pub(crate) fn tensor(self, name: &str) -> Option<&'m [u8]> {
        Fields::of(self.find(name)?).find_map(|field| match field {
            Ok((5, Value::Bytes(tensor))) => Some(tensor),
            _ => None,
        })
    }
}

/// A weight: its element type, dimensions and little-endian contents; `None` if they are not in one piece.
pub(crate) fn weight(tensor: &[u8]) -> Option<(u64, Vec<usize>, &[u8])> {
    let (mut ty, mut dims, mut content) = (0, Vec::new(), None);
    for field in Fields::of(tensor) {
        match field.ok()? {
            (1, value) => {
                numbers(value, |dim| {
                    dims.push(usize::try_from(dim).unwrap_or(usize::MAX));
                })
                .ok()?;
            }
            (2, Value::Number(number)) => ty = number,
            // Packed floats are what raw data would be. In several pieces they are left to others.
            (4 | 9, Value::Bytes(bytes)) if content.replace(bytes).is_some() => return None,
            (4, Value::Four) | (5..=7 | 10 | 11, _) => return None,
            _ => {}
        }
    }
    let content = content.unwrap_or_default();
    let elements = dims
        .iter()
        .try_fold(1_usize, |product, dim| product.checked_mul(*dim))?;
    let size = match ty {
        1 => 4,
        7 => 8,
        _ => return None,
    };
    (elements.checked_mul(size)? == content.len()).then_some((ty, dims, content))
}
