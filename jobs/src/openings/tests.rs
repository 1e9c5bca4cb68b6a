use proptest::prelude::*;

use super::*;
use crate::compare::Grade;
use crate::ids::JobId;
use crate::merkle::Tree;

fn rule() -> OpeningsRule {
    OpeningsRule {
        graph: "model".into(),
        tensor: "hidden".into(),
        count: 16,
        atol: 1e-3,
        rtol: 0.0,
    }
}

/// The encoded chunks of a shard, inference by inference.
fn encoded(inferences: &[Vec<f32>]) -> Vec<[u8; CHUNK_BYTES]> {
    let numbered = inferences.iter().zip(0..);
    numbered
        .flat_map(|(values, inference)| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            chunks_of(inference, &bytes).collect::<Vec<_>>()
        })
        .collect()
}

/// A shard as somebody noted it.
struct Shard {
    noted: Noted,
    chunks: Vec<[u8; CHUNK_BYTES]>,
    tree: Tree,
}

impl Shard {
    fn of(inferences: &[Vec<f32>]) -> Self {
        let chunks = encoded(inferences);
        let mut noter = Noter::default();
        chunks.iter().for_each(|chunk| noter.push(chunk).unwrap());
        inferences.iter().for_each(|_| {
            noter.end_inference();
        });
        Self {
            noted: noter.noted(),
            tree: Tree::of(&chunks),
            chunks,
        }
    }

    fn open(&self, places: &[u32]) -> Vec<Opened> {
        let open = |place: &u32| Opened {
            chunk: self.chunks[*place as usize].to_vec(),
            proof: self.tree.prove(*place).unwrap(),
        };
        places.iter().map(open).collect()
    }

    /// What it and another come to, at the places of a seed of theirs.
    fn against(&self, other: &Self, seed: &Digest) -> Result<(), Grade> {
        let places = places(seed, rule().count, self.noted.chunks);
        let [left, right] = [self, other].map(|shard| {
            let places = places.iter().filter(|at| **at < shard.noted.chunks);
            let places: Vec<u32> = places.copied().collect();
            check(&shard.noted, &places, &shard.open(&places)).unwrap()
        });
        agree(&rule(), (&self.noted, &left), (&other.noted, &right)).map_err(|found| found.grade)
    }
}

/// Values that a model might give for an item.
fn values(item: u32, count: u32) -> Vec<f32> {
    let value = |at: u32| ((item * 7919 + at * 31) % 1000) as f32 / 1000.0 - 0.5;
    (0..count).map(value).collect()
}

fn honest() -> Shard {
    Shard::of(&[values(1, 200), values(2, 300), values(3, 64)])
}

fn some_seed(number: u32) -> Digest {
    let challenge = challenge(&[7; 32], &JobId(Digest::of(b"job")));
    seed(&number.to_le_bytes(), &challenge)
}

#[test]
fn values_are_rounded_to_the_nearest_and_to_even() {
    for (value, expected) in [
        (0.0_f32, 0x0000_u16),
        (-0.0, 0x8000),
        (1.0, 0x3f80),
        (f32::from_bits(0x3f80_8000), 0x3f80),
        (f32::from_bits(0x3f81_8000), 0x3f82),
        (f32::from_bits(0x3f80_8001), 0x3f81),
        (f32::MAX, 0x7f80),
        (f32::MIN, 0xff80),
        (f32::INFINITY, 0x7f80),
        (f32::NAN, 0x7fc0),
        (f32::from_bits(0xffff_ffff), 0x7fc0),
        (f32::from_bits(1), 0x0000),
    ] {
        assert_eq!(round(value), expected, "{value}");
    }
}

#[test]
fn chunks_come_in_order_and_say_where_they_are() {
    let chunks: Vec<Chunk> = encoded(&[values(1, 130), vec![], values(2, 64)])
        .iter()
        .map(|bytes| Chunk::from_bytes(bytes).unwrap())
        .collect();
    let heads = chunks
        .iter()
        .map(|c| (c.inference, c.offset, c.values.len()));
    let expected = [(0, 0, 64), (0, 64, 64), (0, 128, 2), (2, 0, 64)];
    assert!(heads.eq(expected), "{chunks:?}");
    assert_eq!(chunks[1].values[0], round(values(1, 130)[64]));
}

#[test]
fn bytes_that_are_no_chunk_are_refused_by_name() {
    let good = encoded(&[values(1, 3)])[0];
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        bytes.to_vec()
    };
    for (bytes, words) in [
        (good[1..].to_vec(), "has 137 bytes, a chunk has 138"),
        (with(8, 0), "has 0 values, a chunk has 1 to 64"),
        (with(8, 65), "has 65 values"),
        (with(9, 1), "has 259 values"),
        (with(16, 1), "something behind its values"),
    ] {
        let error = Chunk::from_bytes(&bytes).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn places_follow_from_the_seed_and_lie_among_the_chunks() {
    let (one, other) = (some_seed(1), some_seed(2));
    assert_eq!(places(&one, 16, 1000), places(&one, 16, 1000));
    assert_ne!(places(&one, 16, 1000), places(&other, 16, 1000));
    assert!(places(&one, 16, 0).is_empty());
    assert_eq!(places(&one, u16::MAX, 9).len(), usize::from(COUNT_MAX));
    assert!(places(&one, COUNT_MAX, 9).iter().all(|place| *place < 9));
    let of = |secret: u8, job: &[u8]| challenge(&[secret; 32], &JobId(Digest::of(job)));
    assert_ne!(of(1, b"job"), of(2, b"job"));
    assert_ne!(of(1, b"job"), of(1, b"another"));
    assert_ne!(
        seed(b"signature", &of(1, b"job")),
        seed(b"signature", &of(2, b"job"))
    );
}

#[test]
fn only_what_was_committed_to_opens() {
    let shard = honest();
    let asked = [3, 0, 3];
    let good = shard.open(&asked);
    assert_eq!(check(&shard.noted, &asked, &good).unwrap().len(), 3);
    type Change = fn(&mut Vec<Opened>);
    let cases: [(Change, &str); 6] = [
        (|o| drop(o.pop()), "2 chunks are opened, 3 were asked for"),
        (|o| o.swap(0, 1), "chunk 0 is opened, 3 was asked for"),
        (
            |o| o[0].chunk[12] ^= 1,
            "chunk 3 is not among the 10 that were committed to",
        ),
        (|o| o[0].proof.count = 11, "chunk 3 is not among"),
        (|o| o[0].proof.siblings.truncate(1), "chunk 3 is not among"),
        (
            |o| o[0].proof.siblings.resize(1000, Digest::default()),
            "chunk 3 is not among",
        ),
    ];
    for (change, words) in cases {
        let mut opened = good.clone();
        change(&mut opened);
        let error = check(&shard.noted, &asked, &opened)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    // Whoever commits to something that is no chunk has it proven and is refused all the same.
    let mut noter = Noter::default();
    noter.push(b"no chunk").unwrap();
    let opened = [Opened {
        chunk: b"no chunk".to_vec(),
        proof: Tree::of([b"no chunk"]).prove(0).unwrap(),
    }];
    let error = check(&noter.noted(), &[0], &opened)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "chunk 0: has 8 bytes, a chunk has 138");
}

#[test]
fn whoever_did_not_run_the_model_on_the_items_disagrees() {
    let truth = honest();
    let lengths = [200, 300, 64];
    let zeros = Shard::of(&lengths.map(|count| vec![0.0; count as usize]));
    let stale = Shard::of(&[values(2, 200), values(3, 300), values(1, 64)]);
    let swapped = Shard::of(&[values(2, 300), values(1, 200), values(3, 64)]);
    let shorter = Shard::of(&[values(1, 200), values(2, 300)]);
    let nothing = Shard::of(&[]);
    for (what, cheat) in [
        ("made up", zeros),
        ("of other items", stale),
        ("in another order", swapped),
        ("of fewer items", shorter),
        ("of none", nothing),
    ] {
        for number in 0..50 {
            let seed = some_seed(number);
            assert_eq!(truth.against(&cheat, &seed), Err(Grade::Clear), "{what}");
            assert_eq!(truth.against(&honest(), &seed), Ok(()));
        }
    }
}

/// Half of a trace made up: each place falls on the other half with one half, so two to the minus the count pass.
#[test]
fn a_partial_cheat_passes_with_two_to_the_minus_count() {
    let (items, count) = (64_u32, 4_u16);
    let truth: Vec<Vec<f32>> = (0..items).map(|item| values(item, 64)).collect();
    let mut half = truth.clone();
    half.iter_mut()
        .step_by(2)
        .for_each(|values| values.fill(0.0));
    let [truth, half] = [truth, half].map(|inferences| Shard::of(&inferences));
    let draws = 4000_u32;
    let passes = |number: &u32| {
        let places = places(&some_seed(*number), count, items);
        let [left, right] = [&truth, &half]
            .map(|shard| check(&shard.noted, &places, &shard.open(&places)).unwrap());
        agree(&rule(), (&truth.noted, &left), (&half.noted, &right)).is_ok()
    };
    let passed = (0..draws).filter(passes).count();
    // 4000 draws at 1/16 are 250 on average, with a standard deviation of 15.3: this is five of them.
    assert!((173..=327).contains(&passed), "{passed} of {draws}");
}

#[test]
fn grades_follow_the_tolerance_and_one_step_of_the_rounding() {
    let chunk = |value: f32| Chunk {
        inference: 0,
        offset: 0,
        values: vec![round(value)],
    };
    let noted = Noted {
        root: Digest::default(),
        chunks: 1,
        inferences: 1,
    };
    let loose = OpeningsRule {
        rtol: 0.1,
        ..rule()
    };
    let (ambiguous, clear) = (Err(Grade::Ambiguous), Err(Grade::Clear));
    let inf = f32::INFINITY;
    for (rule, one, two, expected) in [
        (rule(), 1.0, 1.0, Ok(())),
        (rule(), 0.0, -0.0, Ok(())),
        // A step at one is 1/128, below it half of that.
        (rule(), 1.0, 1.0078125, Ok(())),
        (rule(), 1.0, 1.015625, ambiguous),
        (rule(), 1.0, 1.03125, ambiguous),
        (rule(), 1.0, 1.0625, clear),
        (rule(), 0.0, 1e-3, Ok(())),
        (rule(), 0.0, 4e-3, ambiguous),
        (rule(), 0.0, 5e-3, clear),
        (loose.clone(), 100.0, 110.0, Ok(())),
        (loose.clone(), 100.0, 120.0, ambiguous),
        (loose, 100.0, 200.0, clear),
        (rule(), f32::NAN, f32::NAN, Ok(())),
        (rule(), f32::NAN, 0.0, clear),
        (rule(), inf, inf, Ok(())),
        (rule(), inf, -inf, clear),
        (rule(), inf, f32::MAX / 2.0, clear),
    ] {
        for (left, right) in [(one, two), (two, one)] {
            let (left_chunk, right_chunk) = ([chunk(left)], [chunk(right)]);
            let found = agree(&rule, (&noted, &left_chunk), (&noted, &right_chunk));
            assert_eq!(found.map_err(|f| f.grade), expected, "{left} {right}");
        }
    }
}

proptest! {
    /// Honest values that differ by less than the tolerance agree, however they are rounded.
    #[test]
    fn what_is_close_agrees_after_rounding(value in -1e6_f32..1e6, part in -1.0_f64..1.0) {
        let rule = rule();
        let other = (f64::from(value) + part * rule.atol) as f32;
        prop_assume!((f64::from(value) - f64::from(other)).abs() <= rule.atol);
        let [left, right] = [value, other].map(|value| Shard::of(&[vec![value]]));
        let opened = [&left, &right].map(|s| check(&s.noted, &[0], &s.open(&[0])).unwrap());
        let found = agree(&rule, (&left.noted, &opened[0]), (&right.noted, &opened[1]));
        prop_assert!(found.is_ok(), "{found:?}");
    }

    /// Bytes of a stranger are a chunk in one way or none, and never a panic.
    #[test]
    fn chunks_read_back_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 130..142)) {
        if let Ok(chunk) = Chunk::from_bytes(&bytes) {
            prop_assert_eq!(chunk.to_bytes().to_vec(), bytes);
        }
    }
}
