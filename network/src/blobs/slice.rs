//! Slices: a part of a blob with the hashes that prove it.

use std::io::{self, Read};

use bao::decode::SliceDecoder;
use bao::encode::SliceExtractor;
use jobs::digest::BlobRef;

use super::OpenBlob;
use crate::protocol::blob::SLICE_MAX;

/// Cuts `len` bytes at `offset` out of a blob, with their proof.
pub(super) fn extract(blob: OpenBlob, offset: u64, len: u32) -> io::Result<Vec<u8>> {
    let extractor = SliceExtractor::new_outboard(blob.data, blob.tree, offset, u64::from(len));
    let mut slice = Vec::new();
    // One byte more than a slice may have, to notice a source whose tree is not one.
    let read = extractor
        .take(SLICE_MAX as u64 + 1)
        .read_to_end(&mut slice)?;
    if read > SLICE_MAX {
        let reason = format!("slice has more than {SLICE_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(slice)
}

/// The bytes a slice proves to lie at `offset`, or why it proves nothing. `offset + len` must not
/// exceed the blob's size.
pub(crate) fn verify_slice(
    blob: BlobRef,
    offset: u64,
    len: u32,
    slice: &[u8],
) -> Result<Vec<u8>, String> {
    // A slice opens with the blob's size, which shapes the tree.
    let claimed = slice
        .first_chunk::<8>()
        .map(|size| u64::from_le_bytes(*size));
    if claimed != Some(blob.size) {
        return Err(format!(
            "slice of a blob of {claimed:?} bytes, expected {}",
            blob.size
        ));
    }
    let root = blake3::Hash::from_bytes(*blob.digest.as_bytes());
    let decoder = SliceDecoder::new(slice, &root, offset, u64::from(len));
    let mut bytes = Vec::with_capacity(len as usize);
    // The decoder stops at `len` by itself; the bound does not depend on it.
    let result = decoder.take(u64::from(len)).read_to_end(&mut bytes);
    result.map_err(|error| error.to_string())?;
    if bytes.len() != len as usize {
        return Err(format!(
            "slice proves {} bytes, expected {len}",
            bytes.len()
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::blob::CHUNK_MAX;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|index| (index % 251) as u8).collect()
    }

    #[test]
    fn every_part_of_a_blob_can_be_proven() {
        for size in [1, 1023, 1024, 1025, 4096, 100_000] {
            let bytes = content(size);
            let blob = BlobRef::of(&bytes);
            for offset in [0, 1, size / 3, size / 2 / 1024 * 1024, size - 1] {
                let len = (size - offset).min(5000);
                let slice = extract(OpenBlob::bytes(bytes.clone()), offset as u64, len as u32);
                let proven = verify_slice(blob, offset as u64, len as u32, &slice.unwrap());
                assert_eq!(
                    proven.unwrap(),
                    bytes[offset..offset + len],
                    "{size}@{offset}"
                );
            }
        }
    }

    #[test]
    fn the_largest_slice_fits_its_bound() {
        let bytes = content(3 * CHUNK_MAX as usize + 17);
        for offset in [0, 1, 777, CHUNK_MAX as usize - 1, 2 * CHUNK_MAX as usize] {
            let slice = extract(OpenBlob::bytes(bytes.clone()), offset as u64, CHUNK_MAX);
            assert!(slice.unwrap().len() <= SLICE_MAX, "{offset}");
        }
    }

    #[test]
    fn any_flipped_bit_proves_nothing() {
        let bytes = content(10_000);
        let blob = BlobRef::of(&bytes);
        let slice = extract(OpenBlob::bytes(bytes), 2048, 4096).unwrap();
        for index in (0..slice.len()).step_by(7) {
            let mut tampered = slice.clone();
            tampered[index] ^= 4;
            assert!(
                verify_slice(blob, 2048, 4096, &tampered).is_err(),
                "byte {index}"
            );
        }
        for length in (0..slice.len()).step_by(11) {
            assert!(
                verify_slice(blob, 2048, 4096, &slice[..length]).is_err(),
                "cut {length}"
            );
        }
    }

    #[test]
    fn a_slice_of_another_place_or_blob_proves_nothing() {
        let bytes = content(10_000);
        let blob = BlobRef::of(&bytes);
        let slice = extract(OpenBlob::bytes(bytes.clone()), 1024, 1024).unwrap();
        assert!(verify_slice(blob, 2048, 1024, &slice).is_err());
        let other = BlobRef {
            digest: jobs::digest::Digest::of(b"other"),
            ..blob
        };
        assert!(verify_slice(other, 1024, 1024, &slice).is_err());
        let longer = BlobRef {
            size: blob.size + 1,
            ..blob
        };
        assert!(verify_slice(longer, 1024, 1024, &slice).is_err());
    }
}
