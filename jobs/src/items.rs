//! The canonical encoding of a list of items: inputs and outputs alike travel in this form.
//!
//! `count: u32 LE`, then for each item `length: u32 LE` and the bytes. There is exactly one encoding
//! of a list, so its BLAKE3 digest identifies the list.

use crate::Error;

/// Most items in one list.
pub const ITEMS_MAX: u32 = 1 << 20;

/// Most bytes in one item.
pub const ITEM_BYTES_MAX: u32 = 64 << 20;

const KIND: &str = "item list";

/// Encodes a list.
///
/// # Errors
/// If there are more than [`ITEMS_MAX`] items or one is longer than [`ITEM_BYTES_MAX`].
pub fn encode<I: AsRef<[u8]>>(items: &[I]) -> Result<Vec<u8>, Error> {
    let too_large = |size: usize, max: u32| Error::TooLarge {
        what: KIND,
        size: size as u64,
        max: u64::from(max),
    };
    let count = u32::try_from(items.len())
        .ok()
        .filter(|&count| count <= ITEMS_MAX);
    let count = count.ok_or_else(|| Error::Field {
        key: "items".into(),
        value: items.len().to_string(),
        bound: format!("must be at most {ITEMS_MAX}"),
    })?;
    let mut bytes = Vec::with_capacity(
        items
            .iter()
            .map(|item| item.as_ref().len().saturating_add(4))
            .fold(4, usize::saturating_add),
    );
    bytes.extend_from_slice(&count.to_le_bytes());
    for item in items {
        let item = item.as_ref();
        let length = u32::try_from(item.len())
            .ok()
            .filter(|&length| length <= ITEM_BYTES_MAX);
        let length = length.ok_or_else(|| too_large(item.len(), ITEM_BYTES_MAX))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(item);
    }
    Ok(bytes)
}

/// Decodes a list without copying the items.
///
/// # Errors
/// If the bytes are not exactly one encoded list within the bounds. Nothing is allocated for items
/// that are not there.
pub fn decode(bytes: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let bad = |reason: String| Error::Decode { what: KIND, reason };
    let (count, mut rest) = take_u32(bytes).ok_or_else(|| bad("no item count".into()))?;
    // Every item takes at least four bytes, which bounds the allocation below by the input itself.
    if count > ITEMS_MAX || count as usize > rest.len().div_euclid(4) {
        return Err(bad(format!(
            "{count} items do not fit in {} bytes",
            bytes.len()
        )));
    }
    let mut items = Vec::with_capacity(count as usize);
    for index in 0..count {
        let (length, tail) =
            take_u32(rest).ok_or_else(|| bad(format!("item {index} is cut off")))?;
        if length > ITEM_BYTES_MAX || length as usize > tail.len() {
            return Err(bad(format!(
                "item {index} claims {length} bytes, {} are left",
                tail.len()
            )));
        }
        let (item, tail) = tail.split_at(length as usize);
        items.push(item);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes after the last item", rest.len())));
    }
    Ok(items)
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        for items in [vec![], vec![&b""[..]], vec![&b"a"[..], b"", b"bc"]] {
            let bytes = encode(&items).unwrap();
            assert_eq!(decode(&bytes).unwrap(), items);
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        let good = encode(&["one", "two"]).unwrap();
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "cut at {length}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(decode(&long).is_err());
        assert!(decode(&u32::MAX.to_le_bytes()).is_err());
        assert!(decode(&[1, 0, 0, 0, 255, 255, 255, 255]).is_err());
    }
}
