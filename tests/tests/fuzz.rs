//! The fuzzer's targets on their seeds and on mutations of them, so that neither rots.
//!
//! `ASSAY_FUZZ_RUNS=n` makes so many mutations of each seed, `ASSAY_FUZZ_WRITE=1` writes the seeds that
//! are made by code to `fuzz/corpus`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program"
)]

// The fuzzer is built with other flags, in a workspace of its own, and with a library that wants a C++
// compiler. Under that library's name this program offers the one macro that the fuzzer takes of it, so
// that what no longer compiles there does not compile here either.
extern crate self as libfuzzer_sys;

/// What the library calls for each input that it makes up.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:expr) => {
        pub(crate) fn once($data: &[u8]) {
            $body
        }
    };
}

#[path = "../../fuzz/src/main.rs"]
#[allow(
    dead_code,
    unused_attributes,
    reason = "it is a program elsewhere, and here a module that nobody starts"
)]
mod fuzzer;

#[path = "../../runtime/tests/support/dice.rs"]
mod dice;
#[path = "fuzz/seeds.rs"]
mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use dice::Dice;
use fuzzer::targets::{TARGETS, Target};

/// Mutations of each seed unless the environment says how many.
const RUNS: u64 = 200;

/// Largest seed: a corpus is small.
const SEED_BYTES_MAX: u64 = 16 << 10;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

/// How the name of a seed begins that its decoder refuses.
const BROKEN: &str = "broken-";

/// The seeds of a target: files, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let listed = std::fs::read_dir(folder(target.name)).unwrap();
    let mut seeds: Vec<_> = listed
        .map(|entry| {
            let entry = entry.unwrap();
            assert!(
                entry.metadata().unwrap().len() <= SEED_BYTES_MAX,
                "{entry:?} is no small seed"
            );
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Some bytes changed, cut, doubled or put in.
fn mutate(dice: &mut Dice, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut draw = |sides: usize| dice.roll(sides.max(1) as u64) as usize;
    let mut bytes = seed.to_vec();
    for _ in 0..=draw(3) {
        let at = draw(bytes.len());
        let to = at + draw(bytes.len() - at.min(bytes.len()));
        match draw(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), draw(256) as u8),
            4 if to <= bytes.len() => drop(bytes.drain(at..to)),
            5 if to <= bytes.len() => bytes.extend_from_within(at..to),
            6 => bytes.extend_from_slice(&other[draw(other.len())..]),
            _ => {}
        }
    }
    bytes
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A seed that its decoder refuses leads the fuzzer nowhere behind it, however long it runs.
#[test]
fn every_seed_is_accepted_by_its_decoder_unless_it_says_otherwise() {
    for target in TARGETS {
        let seeds = corpus(target);
        let broken = |name: &str| name.starts_with(BROKEN);
        for (name, seed) in &seeds {
            assert_eq!(
                (target.run)(seed),
                !broken(name),
                "{} {name}: accepted or not",
                target.name
            );
        }
        assert!(
            seeds.iter().any(|(name, _)| !broken(name)),
            "{} has no seed that is accepted",
            target.name
        );
    }
}

#[test]
fn a_message_has_a_seed_for_each_protocol() {
    let message = TARGETS.iter().find(|target| target.name == "message");
    let seeds = corpus(message.unwrap());
    let mut seen: Vec<u8> = seeds
        .iter()
        .filter_map(|(_, seed)| seed.first().copied())
        .collect();
    seen.sort_unstable();
    seen.dedup();
    let all: Vec<u8> = (0..network::protocol::NAMES.len() as u8).collect();
    assert_eq!(seen, all);
}

#[test]
fn no_decoder_panics_on_its_seeds_or_on_mutations_of_them() {
    if number("ASSAY_FUZZ_WRITE").is_some() {
        seeds::write(folder);
    }
    let runs = number("ASSAY_FUZZ_RUNS").unwrap_or(RUNS);
    for target in TARGETS {
        let seeds = corpus(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (at, (name, seed)) in seeds.iter().enumerate() {
            let mut dice = Dice::new(at as u64);
            let other = &seeds[(at + 1) % seeds.len()].1;
            (target.run)(seed);
            for run in 0..runs {
                let bytes = mutate(&mut dice, seed, other);
                let tried = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
                assert!(
                    tried.is_ok(),
                    "{} {name}, run {run}: {bytes:02x?}",
                    target.name
                );
            }
        }
    }
}
