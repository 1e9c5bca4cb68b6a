//! Random bytes that every replica of a shard draws alike.
//!
//! A generator that is good statistics and no secret: its seed is known to every replica, so nothing may hang on it
//! being unpredictable. `HashMap` needs no help: on this target its keys are constants of the program.

// The cfg belongs to the getrandom crate, which no manifest of ours can declare.
#![allow(unexpected_cfgs)]

use std::cell::RefCell;

thread_local! {
    static GENERATOR: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

/// Fills `bytes` from a stream that starts at [`context::seed`](crate::context::seed). Crates that ask `getrandom`
/// draw from the same stream.
pub fn fill(bytes: &mut [u8]) {
    GENERATOR.with_borrow_mut(|generator| {
        generator
            .get_or_insert_with(|| Generator::new(crate::context::seed()))
            .fill(bytes);
    });
}

/// The function that `getrandom` 0.3 and 0.4 call when they are built with `--cfg getrandom_backend="custom"`.
#[cfg(all(target_arch = "wasm32", getrandom_backend = "custom"))]
// An exported symbol is `unsafe` because two crates could define it; a guest has one SDK.
#[allow(unsafe_code)]
// SAFETY: the name, signature and contract are those of getrandom's documentation: `dest` points to `len` writable
// bytes, perhaps uninitialised, which are initialised here before a slice is made of them.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: the caller owns `len` writable bytes at `dest`; writing zeros makes them initialised.
    let bytes = unsafe {
        core::ptr::write_bytes(dest, 0, len);
        core::slice::from_raw_parts_mut(dest, len)
    };
    fill(bytes);
    Ok(())
}

/// xoshiro256++ (Blackman and Vigna), its state filled by SplitMix64.
#[derive(Debug)]
struct Generator {
    state: [u64; 4],
}

impl Generator {
    fn new((low, high): (u64, u64)) -> Self {
        let mut left = SplitMix64(low);
        let mut right = SplitMix64(high);
        // Two words from each half of the seed: no 64-bit half decides the stream alone. SplitMix64 is a bijection of
        // its counter, so two successive words are never both zero, and xoshiro's one bad state is out of reach.
        Self {
            state: [left.next(), right.next(), left.next(), right.next()],
        }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let word = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        word
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::{Generator, SplitMix64};

    #[test]
    fn matches_the_published_first_words_of_splitmix64() {
        let mut words = SplitMix64(1_234_567);
        assert_eq!(
            [words.next(), words.next(), words.next()],
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn matches_the_published_first_words_of_xoshiro256plusplus() {
        let mut words = Generator {
            state: [1, 2, 3, 4],
        };
        assert_eq!(
            [words.next(), words.next(), words.next()],
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn one_seed_one_stream_and_both_halves_count() {
        let stream = |seed| {
            let mut bytes = [0; 29];
            Generator::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(stream((1, 2)), stream((1, 2)));
        assert_ne!(stream((1, 2)), stream((1, 3)));
        assert_ne!(stream((1, 2)), stream((2, 2)));
        assert_ne!(stream((1, 2)), stream((2, 1)));
        assert_ne!(stream((0, 0)), [0; 29]);
    }
}
