//! Reading an encoded input as it comes, in memory that does not grow with it: what a package says about it, and where
//! its shards lie.

use std::ops::Range;

use crate::Error;
use crate::digest::BlobHasher;
use crate::items::{ITEM_BYTES_MAX, ITEMS_MAX};
use crate::merkle::{Growing, LeafHasher};
use crate::package::InputRef;

/// Bytes of a count or a length.
const NUMBER_BYTES: usize = 4;

/// What comes next.
enum Next {
    /// The number of items.
    Count,
    /// The length of an item.
    Length,
    /// So many bytes of an item.
    Item(u32, Box<LeafHasher>),
}

/// Takes an encoded input piece by piece.
pub struct Scan {
    hasher: BlobHasher,
    tree: Growing,
    next: Next,
    /// The part of a number that has come.
    number: Vec<u8>,
    /// Items announced, once that is known.
    count: u32,
    per_shard: u32,
    /// Where each shard's first item begins.
    begins: Vec<u64>,
    at: u64,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan(at byte {})", self.at)
    }
}

fn bad(reason: String) -> Error {
    Error::Decode {
        what: "item list",
        reason,
    }
}

impl Scan {
    /// Of an input whose shards have so many items.
    pub fn new(per_shard: u32) -> Self {
        Self {
            hasher: BlobHasher::default(),
            tree: Growing::default(),
            next: Next::Count,
            number: Vec::new(),
            count: 0,
            per_shard: per_shard.max(1),
            begins: Vec::new(),
            at: 0,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// As soon as they cannot be part of an encoded list.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        while !bytes.is_empty() {
            let taken = match &mut self.next {
                Next::Item(left, leaf) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let (now, _) = bytes.split_at(most.min(bytes.len()));
                    leaf.update(now);
                    *left = left.saturating_sub(u32::try_from(now.len()).unwrap_or(u32::MAX));
                    now.len()
                }
                Next::Count | Next::Length => {
                    let most = NUMBER_BYTES.saturating_sub(self.number.len());
                    let (now, _) = bytes.split_at(most.min(bytes.len()));
                    self.number.extend_from_slice(now);
                    now.len()
                }
            };
            self.at = self.at.saturating_add(taken as u64);
            bytes = bytes.get(taken..).unwrap_or_default();
            self.turn()?;
        }
        Ok(())
    }

    /// Goes on to the next part if this one is whole.
    fn turn(&mut self) -> Result<(), Error> {
        if let Next::Item(0, leaf) = &self.next {
            // There are no more items than a tree can count.
            let _ = self.tree.push_leaf(leaf.finish());
            self.next = Next::Length;
            return Ok(());
        }
        let Ok(number) = <[u8; NUMBER_BYTES]>::try_from(self.number.as_slice()) else {
            return Ok(());
        };
        self.number.clear();
        let number = u32::from_le_bytes(number);
        match self.next {
            Next::Count if number > ITEMS_MAX => Err(bad(format!(
                "{number} items, more than the {ITEMS_MAX} allowed"
            ))),
            Next::Count => {
                self.count = number;
                self.next = Next::Length;
                Ok(())
            }
            _ => self.begin(number),
        }
    }

    fn begin(&mut self, length: u32) -> Result<(), Error> {
        let index = self.tree.count();
        if index >= self.count {
            return Err(bad("bytes after the last item".into()));
        }
        if length > ITEM_BYTES_MAX {
            return Err(bad(format!(
                "item {index} has {length} bytes, more than the {ITEM_BYTES_MAX} allowed"
            )));
        }
        if index.checked_rem(self.per_shard) == Some(0) {
            self.begins
                .push(self.at.saturating_sub(NUMBER_BYTES as u64));
        }
        self.next = Next::Item(length, Box::new(LeafHasher::new(length)));
        // An item without bytes is whole.
        if length == 0 { self.turn() } else { Ok(()) }
    }

    /// What a package says about the input, and where the bytes of each shard's items lie, which is all of a shard's own
    /// encoding but its count.
    ///
    /// # Errors
    /// If the list is not whole.
    pub fn finish(self) -> Result<(InputRef, Vec<Range<u64>>), Error> {
        let come = self.tree.count();
        let between = matches!(self.next, Next::Length) && self.number.is_empty();
        if !between || come != self.count {
            return Err(bad(format!(
                "it ends after {} bytes, with {come} of {} items",
                self.at, self.count
            )));
        }
        let ends = self.begins.iter().skip(1).copied().chain([self.at]);
        let shards = self.begins.iter().zip(ends);
        let shards = shards.map(|(begin, end)| *begin..end).collect();
        let input = InputRef {
            blob: self.hasher.finish(),
            items: come,
            root: self.tree.root(),
        };
        Ok((input, shards))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{items, plan};

    fn scan(
        bytes: &[u8],
        piece: usize,
        per_shard: u32,
    ) -> Result<(InputRef, Vec<Range<u64>>), Error> {
        let mut scan = Scan::new(per_shard);
        for piece in bytes.chunks(piece) {
            scan.push(piece)?;
        }
        scan.finish()
    }

    #[test]
    fn a_list_that_comes_in_pieces_is_what_it_is_as_a_whole() {
        let long = "x".repeat(1000);
        for lines in [
            &[][..],
            &[""],
            &["", "", ""],
            &["a", "", "bc", &long, "d"],
            &["one", "two", "three"],
        ] {
            let (expected, bytes) = InputRef::of(lines).unwrap();
            for piece in [1, 2, 3, 7, 4096] {
                for per_shard in [1, 2, 3, 100] {
                    let (input, shards) = scan(&bytes, piece, per_shard).unwrap();
                    assert_eq!(input, expected);
                    let cut = shards.iter().zip(lines.chunks(per_shard as usize));
                    for (range, lines) in cut {
                        let mut shard = (lines.len() as u32).to_le_bytes().to_vec();
                        shard.extend(&bytes[range.start as usize..range.end as usize]);
                        assert_eq!(shard, items::encode(lines).unwrap());
                    }
                    let count = plan::shard_count(lines.len() as u32, per_shard);
                    assert_eq!(shards.len(), count as usize);
                }
            }
        }
    }

    #[test]
    fn what_is_no_list_is_refused_however_it_comes() {
        let good = items::encode(&["one", "two"]).unwrap();
        let mut long = good.clone();
        long.extend([1, 0, 0, 0, 7]);
        let many = (ITEMS_MAX + 1).to_le_bytes();
        let large = [1, 0, 0, 0, 255, 255, 255, 255];
        let cut = (0..good.len()).map(|length| &good[..length]);
        for bytes in cut.chain([&long[..], &many, &large]) {
            for piece in [1, 5, 4096] {
                assert!(scan(bytes, piece, 1).is_err(), "{bytes:?}");
                assert!(items::decode(bytes).is_err(), "{bytes:?}");
            }
        }
    }
}
