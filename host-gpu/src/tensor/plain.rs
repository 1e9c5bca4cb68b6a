//! The only places where bytes are read as numbers and numbers as bytes.
#![allow(
    unsafe_code,
    reason = "views of plain numbers as bytes and back; each block says why it is sound"
)]

use half::{bf16, f16};

/// Numbers without padding for which every bit pattern is a value.
///
/// # Safety
/// Implementors have no padding, no niche and no drop glue.
pub(crate) unsafe trait Plain: Copy + 'static {}

// SAFETY: an integer: no padding, every bit pattern is a value.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: an IEEE 754 number: no padding, every bit pattern is a value (some are NaN).
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: a transparent wrapper around `u16`.
unsafe impl Plain for f16 {}
// SAFETY: a transparent wrapper around `u16`.
unsafe impl Plain for bf16 {}

/// Bytes of one line of a cache, so that a tensor starts where wide vector loads are fastest.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE_BYTES]);

/// Bytes in a [`Line`].
pub(crate) const LINE_BYTES: usize = 64;

/// The bytes of a run of lines.
pub(crate) fn line_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: `Line` is `repr(C)` around `[u8; 64]` with an alignment of 64, hence of exactly 64
    // bytes without padding, and any memory may be read as bytes. The length is the slice's own.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), std::mem::size_of_val(lines)) }
}

/// The bytes of a run of numbers, in the machine's order (little-endian wherever we run).
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` has no padding, so every byte is initialised; the length is the slice's own.
    unsafe {
        std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), std::mem::size_of_val(values))
    }
}

/// Bytes as numbers, or `None` if they are not aligned or no whole number of them.
pub(crate) fn values_of<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: every bit pattern is a value of a `Plain` type; `align_to` keeps within the slice.
    let (head, values, tail) = unsafe { bytes.align_to::<T>() };
    (head.is_empty() && tail.is_empty()).then_some(values)
}
