//! A small generator of numbers (xorshift): the same on every machine, for every run.

/// Numbers that follow from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `sides`, which is at least one.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // The low bits are the weaker ones.
        (self.next() >> 11) % sides
    }

    #[allow(dead_code, reason = "shared by several test programs")]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll(256) as u8).collect()
    }
}
