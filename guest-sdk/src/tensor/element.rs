//! The element types of `wasi:nn`.

use crate::bindings::wasi::nn::tensor::TensorType;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
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

impl Dtype {
    /// Bytes an element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl From<Dtype> for TensorType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::Fp16,
            Dtype::F32 => Self::Fp32,
            Dtype::F64 => Self::Fp64,
            Dtype::Bf16 => Self::Bf16,
            Dtype::U8 => Self::U8,
            Dtype::I32 => Self::I32,
            Dtype::I64 => Self::I64,
        }
    }
}

impl From<TensorType> for Dtype {
    fn from(ty: TensorType) -> Self {
        match ty {
            TensorType::Fp16 => Self::F16,
            TensorType::Fp32 => Self::F32,
            TensorType::Fp64 => Self::F64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::U8 => Self::U8,
            TensorType::I32 => Self::I32,
            TensorType::I64 => Self::I64,
        }
    }
}

/// The bits of a half-precision number. Arithmetic on it is for a crate that does arithmetic, such as `half`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct F16(pub u16);

/// The bits of a bfloat16 number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bf16(pub u16);

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the element of a tensor. The list is that of `wasi:nn`, so it is closed.
pub trait Element: Copy + sealed::Sealed {
    /// The dtype of a tensor of these.
    const DTYPE: Dtype;
    /// The little-endian bytes of one element.
    #[doc(hidden)]
    type Bytes: AsRef<[u8]>;
    #[doc(hidden)]
    fn to_le(self) -> Self::Bytes;
    #[doc(hidden)]
    fn from_le(bytes: &[u8]) -> Option<Self>;
}

macro_rules! element {
    ($type:ty, $bits:ty, $dtype:ident, $to:expr, $from:expr) => {
        impl sealed::Sealed for $type {}

        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            type Bytes = [u8; size_of::<$bits>()];

            fn to_le(self) -> Self::Bytes {
                let bits: $bits = $to(self);
                bits.to_le_bytes()
            }

            fn from_le(bytes: &[u8]) -> Option<Self> {
                bytes
                    .try_into()
                    .ok()
                    .map(|bytes| $from(<$bits>::from_le_bytes(bytes)))
            }
        }
    };
}

element!(F16, u16, F16, |half: F16| half.0, F16);
element!(Bf16, u16, Bf16, |half: Bf16| half.0, Bf16);
element!(f32, u32, F32, f32::to_bits, f32::from_bits);
element!(f64, u64, F64, f64::to_bits, f64::from_bits);
element!(u8, u8, U8, std::convert::identity, std::convert::identity);
element!(
    i32,
    i32,
    I32,
    std::convert::identity,
    std::convert::identity
);
element!(
    i64,
    i64,
    I64,
    std::convert::identity,
    std::convert::identity
);
