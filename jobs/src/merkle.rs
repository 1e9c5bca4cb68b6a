//! The Merkle tree over items: one leaf an item, so that a single item can be audited for the price
//! of an item. Shape as in RFC 6962 (left-balanced), leaves and nodes domain-separated, and the root
//! binds the number of items.

use serde::{Deserialize, Serialize};

use crate::digest::{Binder, Digest, Domain};

/// An inclusion proof: sibling digests from the leaf to the top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Position of the item.
    pub index: u32,
    /// Number of items in the tree.
    pub count: u32,
    /// Siblings, lowest first; at most 32.
    pub siblings: Vec<Digest>,
}

/// Root of the tree over `items`.
pub fn root<I: AsRef<[u8]>>(items: &[I]) -> Digest {
    let leaves: Vec<Digest> = items.iter().map(|item| leaf(item.as_ref())).collect();
    bind_count(top(&leaves), items.len() as u32)
}

/// Proof that `items[index]` is in the tree, or `None` if there is no such item.
pub fn prove<I: AsRef<[u8]>>(items: &[I], index: u32) -> Option<Proof> {
    let mut leaves: Vec<Digest> = items.iter().map(|item| leaf(item.as_ref())).collect();
    let count = u32::try_from(leaves.len())
        .ok()
        .filter(|&count| index < count)?;
    let mut at = index as usize;
    let mut siblings = Vec::new();
    let mut range: &mut [Digest] = &mut leaves;
    while range.len() > 1 {
        let (left, right) = range.split_at_mut(split(range.len()));
        if at < left.len() {
            siblings.push(top(right));
            range = left;
        } else {
            siblings.push(top(left));
            at = at.saturating_sub(left.len());
            range = right;
        }
    }
    siblings.reverse();
    Some(Proof {
        index,
        count,
        siblings,
    })
}

/// Whether `proof` shows that `item` stands at its index in the tree with this `root`.
pub fn verify(root: &Digest, item: &[u8], proof: &Proof) -> bool {
    if proof.index >= proof.count || proof.siblings.len() > 32 {
        return false;
    }
    // The path is walked from the top to learn each turn, and folded from the bottom.
    let mut turns = Vec::new();
    let (mut at, mut size) = (proof.index as usize, proof.count as usize);
    while size > 1 {
        let left = split(size);
        let goes_left = at < left;
        turns.push(goes_left);
        (at, size) = if goes_left {
            (at, left)
        } else {
            (at.saturating_sub(left), size.saturating_sub(left))
        };
    }
    if turns.len() != proof.siblings.len() {
        return false;
    }
    let computed =
        turns
            .iter()
            .rev()
            .zip(&proof.siblings)
            .fold(leaf(item), |below, (&goes_left, sibling)| {
                if goes_left {
                    node(&below, sibling)
                } else {
                    node(sibling, &below)
                }
            });
    bind_count(computed, proof.count) == *root
}

/// Makes the leaf of an item that comes in pieces.
#[derive(Clone, Debug)]
pub struct LeafHasher(Binder);

impl LeafHasher {
    /// Of an item of so many bytes.
    pub fn new(length: u32) -> Self {
        Self(Digest::binder(Domain::ItemLeaf, length.into()))
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The leaf.
    pub fn finish(&self) -> Digest {
        self.0.finish()
    }
}

/// Makes a root of items that come one by one, in memory that grows with the tree's height alone.
#[derive(Clone, Debug, Default)]
pub struct Growing {
    /// Tops of the full trees so far, each with its height, the highest first.
    tops: Vec<(u32, Digest)>,
    count: u32,
}

impl Growing {
    /// Takes the next item; `None` if there are as many as a tree can count.
    pub fn push(&mut self, item: &[u8]) -> Option<()> {
        self.push_leaf(leaf(item))
    }

    /// Takes the next item, whose leaf is known already.
    pub fn push_leaf(&mut self, leaf: Digest) -> Option<()> {
        self.count = self.count.checked_add(1)?;
        let (mut height, mut top) = (0_u32, leaf);
        while let Some((_, left)) = self.tops.pop_if(|(of, _)| *of == height) {
            top = node(&left, &top);
            height = height.saturating_add(1);
        }
        self.tops.push((height, top));
        Some(())
    }

    /// Items so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The root over all items so far: what [`root`] says of them.
    pub fn root(&self) -> Digest {
        let lowest_first = self.tops.iter().rev().map(|(_, top)| *top);
        let top = lowest_first.reduce(|right, left| node(&left, &right));
        bind_count(top.unwrap_or_default(), self.count)
    }
}

/// A whole tree in memory, for whoever proves many of its items.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves, then each level above them.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over items that come one by one.
    pub fn of<I: AsRef<[u8]>>(items: impl IntoIterator<Item = I>) -> Self {
        let leaves = items.into_iter().map(|item| leaf(item.as_ref()));
        let mut levels = vec![leaves.collect::<Vec<_>>()];
        // A left-balanced tree pairs neighbours on each level, and the last one without a neighbour moves up.
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let pairs = below.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                [only] => *only,
                _ => Digest::default(),
            });
            levels.push(pairs.collect());
        }
        Self { levels }
    }

    /// The root: what [`root`] says of the items.
    pub fn root(&self) -> Digest {
        let top = self.levels.last().and_then(|level| level.first());
        bind_count(top.copied().unwrap_or_default(), self.count())
    }

    /// What [`prove`] says of the items.
    pub fn prove(&self, index: u32) -> Option<Proof> {
        let count = self.count();
        let mut at = (index < count).then_some(index as usize)?;
        let mut siblings = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            // One without a neighbour moves up as it is.
            siblings.extend(level.get(at ^ 1).filter(|_| level.len() > 1));
            at >>= 1;
        }
        Some(Proof {
            index,
            count,
            siblings,
        })
    }

    fn count(&self) -> u32 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u32)
    }
}

fn top(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::default(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&top(left), &top(right))
        }
    }
}

/// Largest power of two below `size`, for `size` of at least two.
fn split(size: usize) -> usize {
    size.next_power_of_two().div_euclid(2)
}

fn leaf(item: &[u8]) -> Digest {
    Digest::bind(Domain::ItemLeaf, &[item])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::bind(Domain::ItemNode, &[left.as_bytes(), right.as_bytes()])
}

fn bind_count(top: Digest, count: u32) -> Digest {
    Digest::bind(Domain::ItemRoot, &[top.as_bytes(), &count.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: u32) -> Vec<Vec<u8>> {
        (0..count)
            .map(|index| index.to_le_bytes().to_vec())
            .collect()
    }

    #[test]
    fn every_item_of_every_small_tree_is_provable_and_nothing_else() {
        for count in 1..20 {
            let items = items(count);
            let root = root(&items);
            for index in 0..count {
                let proof = prove(&items, index).unwrap();
                assert!(verify(&root, &items[index as usize], &proof));
                assert!(!verify(&root, b"other", &proof));
                let mut moved = proof.clone();
                moved.index = (index + 1) % (count + 1);
                assert!(
                    !verify(&root, &items[index as usize], &moved),
                    "{count} {index}"
                );
            }
            assert_eq!(prove(&items, count), None);
        }
    }

    #[test]
    fn a_tree_that_grows_or_is_kept_is_the_same_tree() {
        for count in 0..70 {
            let items = items(count);
            let mut growing = Growing::default();
            items.iter().for_each(|item| growing.push(item).unwrap());
            let tree = Tree::of(&items);
            assert_eq!((growing.root(), growing.count()), (root(&items), count));
            assert_eq!(tree.root(), root(&items), "{count}");
            for index in 0..=count {
                assert_eq!(tree.prove(index), prove(&items, index), "{count} {index}");
            }
        }
    }

    #[test]
    fn the_root_binds_the_count() {
        assert_ne!(root(&items(3)), root(&items(4)));
        assert_ne!(root::<Vec<u8>>(&[]), root(&[Vec::new()]));
    }
}
