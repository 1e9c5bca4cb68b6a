//! Tensors as the host sees them: an element type, dimensions and opaque contents.
//!
//! The contents are either host bytes (what a guest handed in) or a backend's own value (what a run
//! produced). A guest that passes an output on as an input never has it copied, and a backend may
//! keep its values on a device without anything here noticing.

pub(crate) mod plain;

use crate::budget::Charge;
use crate::error::{GuestFault, NnError};
use crate::pick::{Pick, Rows};
use plain::{LINE_BYTES, Line, line_bytes};
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 16;

/// The element types of `wasi:nn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// The upper half of a single.
    Bf16,
    /// Unsigned byte.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
}

impl ElementType {
    /// Every element type, for tables.
    pub const ALL: [Self; 7] = [
        Self::F16,
        Self::F32,
        Self::F64,
        Self::Bf16,
        Self::U8,
        Self::I32,
        Self::I64,
    ];

    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The short name, as in a reference graph.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes that a tensor of these dimensions holds, checked before anything is copied.
pub(crate) fn byte_len(ty: ElementType, dims: &[u32], max_bytes: u64) -> Result<usize, GuestFault> {
    if dims.len() > MAX_RANK {
        return Err(GuestFault::too_large("tensor rank", dims.len(), MAX_RANK));
    }
    let too_large = || {
        GuestFault::new(
            crate::FaultCode::TooLarge,
            &format!("a tensor of {ty} {dims:?} is larger than the bound of {max_bytes} bytes"),
        )
    };
    // A zero dimension makes the tensor empty, however large the others are.
    if dims.contains(&0) {
        return Ok(0);
    }
    let mut bytes = ty.size_bytes() as u64;
    for dim in dims {
        bytes = bytes
            .checked_mul(u64::from(*dim))
            .filter(|bytes| *bytes <= max_bytes)
            .ok_or_else(too_large)?;
    }
    usize::try_from(bytes).map_err(|_| too_large())
}

/// Bytes that start on a cache line, so that any element type can be read in place.
pub struct HostBytes {
    lines: Vec<Line>,
    len: usize,
}

impl HostBytes {
    /// Copies `bytes`, once.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let (whole, rest) = bytes.as_chunks::<LINE_BYTES>();
        let mut lines = Vec::with_capacity(whole.len().saturating_add(1));
        lines.extend(whole.iter().map(|chunk| Line(*chunk)));
        if !rest.is_empty() {
            let mut last = [0; LINE_BYTES];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            lines.push(Line(last));
        }
        Self {
            lines,
            len: bytes.len(),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        line_bytes(&self.lines).get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for HostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBytes({} bytes)", self.len)
    }
}

/// A tensor's contents in the form its backend made them.
pub trait BackendTensor: Send + Sync + fmt::Debug {
    /// The contents as bytes in host memory.
    fn host_bytes(&self) -> Result<&[u8], NnError>;
    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
    /// The largest values of rows of so many values, found where the contents are; `None` if that is
    /// host memory, or the device cannot tell.
    fn top_k(
        &self,
        _rows: &[u32],
        _len: u32,
        _count: u32,
    ) -> Result<Option<Vec<Vec<Pick>>>, NnError> {
        Ok(None)
    }
}

/// The outputs of a graph that one guest has read back to the host, by name. A backend that keeps
/// outputs on a device puts these where reading them again is cheap.
#[derive(Debug, Default)]
pub struct ReadBack(Mutex<BTreeSet<String>>);

impl ReadBack {
    /// Remembers that an output was read.
    pub(crate) fn note(&self, output: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The names are those of the graph's outputs, and as many at most.
        if !names.contains(output) {
            names.insert(output.to_owned());
        }
    }

    /// Whether an output was ever read.
    pub fn has(&self, output: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(output)
    }
}

/// Where a tensor's contents are.
#[derive(Debug)]
pub(crate) enum Contents {
    /// In host memory, copied from a guest.
    Host(HostBytes),
    /// Wherever a backend keeps them.
    Backend(Box<dyn BackendTensor>),
}

/// A tensor: element type, dimensions, contents, and the bytes it is charged for.
#[derive(Debug)]
pub struct TensorValue {
    ty: ElementType,
    dims: Vec<u32>,
    contents: Contents,
    charge: Option<Charge>,
}

impl TensorValue {
    /// A tensor over a copy of `data`, which must be as long as the dimensions say.
    pub fn from_bytes(ty: ElementType, dims: &[u32], data: &[u8]) -> Result<Self, GuestFault> {
        check_len(byte_len(ty, dims, u64::MAX)?, data.len())?;
        Ok(Self {
            ty,
            dims: dims.to_vec(),
            contents: Contents::Host(HostBytes::copy_of(data)),
            charge: None,
        })
    }

    /// A tensor over a backend's value.
    pub fn from_backend(ty: ElementType, dims: Vec<u32>, value: Box<dyn BackendTensor>) -> Self {
        Self {
            ty,
            dims,
            contents: Contents::Backend(value),
            charge: None,
        }
    }

    /// The element type.
    pub fn ty(&self) -> ElementType {
        self.ty
    }

    /// The dimensions.
    pub fn dims(&self) -> &[u32] {
        &self.dims
    }

    /// The contents in host memory, little-endian, row-major.
    pub fn host_bytes(&self) -> Result<&[u8], NnError> {
        match &self.contents {
            Contents::Host(bytes) => Ok(bytes.as_slice()),
            Contents::Backend(value) => value.host_bytes(),
        }
    }

    /// The contents as the backend that made them keeps them.
    pub(crate) fn backend_value(&self) -> Option<&dyn Any> {
        match &self.contents {
            Contents::Host(_) => None,
            Contents::Backend(value) => Some(value.as_any()),
        }
    }

    /// The `count` largest values of `rows`, largest first, found where the contents are; a row is the
    /// last dimension, and no row named means all of them.
    pub fn top_k(&self, rows: &[u32], count: u32) -> Result<Vec<Vec<Pick>>, NnError> {
        let rows = Rows::of(self, rows)?;
        rows.check_count(count)?;
        crate::pick::top_k(self, &rows, count)
    }

    /// See [`BackendTensor::top_k`].
    pub(crate) fn top_k_on_device(
        &self,
        rows: &Rows,
        count: u32,
    ) -> Result<Option<Vec<Vec<Pick>>>, NnError> {
        match &self.contents {
            Contents::Host(_) => Ok(None),
            Contents::Backend(value) => value.top_k(&rows.wanted, rows.len, count.min(rows.len)),
        }
    }

    /// The bytes the dimensions name.
    pub(crate) fn size_bytes(&self) -> Result<usize, GuestFault> {
        byte_len(self.ty, &self.dims, u64::MAX)
    }

    pub(crate) fn with_charge(mut self, charge: Charge) -> Self {
        self.charge = Some(charge);
        self
    }
}

/// Refuses data that is shorter or longer than the dimensions say.
pub(crate) fn check_len(expected: usize, found: usize) -> Result<(), GuestFault> {
    if expected == found {
        return Ok(());
    }
    Err(GuestFault::invalid(format!(
        "tensor data has {found} bytes, its dimensions say {expected}"
    )))
}

/// An input that has been checked against its graph.
#[derive(Debug)]
pub struct BoundInput {
    /// The graph's name for it.
    pub name: String,
    /// The dimensions as the graph wants them; they differ from the tensor's own only for scalars.
    pub dims: Vec<u32>,
    /// The tensor.
    pub value: Arc<TensorValue>,
}

/// An output and its name.
pub type NamedOutput = (String, TensorValue);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_before_anything_is_copied() {
        let huge = u32::MAX;
        for (ty, dims, expected) in [
            (ElementType::F32, &[2, 3][..], Some(24)),
            (ElementType::I64, &[], Some(8)),
            (ElementType::Bf16, &[5, 0, huge, huge, huge], Some(0)),
            (ElementType::U8, &[1024], Some(1024)),
            (ElementType::U8, &[1025], None),
            (ElementType::F64, &[huge, huge, huge], None),
            (ElementType::U8, &[huge], None),
            (ElementType::U8, &[1; 16], Some(1)),
            (ElementType::U8, &[1; 17], None),
        ] {
            assert_eq!(byte_len(ty, dims, 1024).ok(), expected, "{ty} {dims:?}");
        }
    }

    #[test]
    fn host_bytes_keep_every_length_and_start_on_a_line() {
        for len in [0, 1, 63, 64, 65, 127, 128, 1000] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let copy = HostBytes::copy_of(&data);
            assert_eq!(copy.as_slice(), data);
            assert_eq!(copy.as_slice().as_ptr().addr() % LINE_BYTES, 0);
        }
    }

    #[test]
    fn numbers_and_bytes_are_views_of_each_other() {
        let numbers = [1.5f32, -2.0, f32::NAN];
        let bytes = plain::bytes_of(&numbers);
        assert_eq!(bytes.len(), 12);
        let back: &[f32] = plain::values_of(bytes).unwrap();
        assert_eq!(back[1], -2.0);
        assert!(plain::values_of::<f32>(&HostBytes::copy_of(&[0; 7]).as_slice()[1..]).is_none());
    }
}
