//! Typed, shaped numbers on their way to a model and back.

mod element;

pub use element::{Bf16, Dtype, Element, F16};

use crate::Error;

/// A dense array in row-major order, held by the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: Dtype,
    dims: Vec<u32>,
    /// Little-endian, as the model's host reads it.
    bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor of `values` in the shape `dims`, whose product must be the number of values. `&[]` holds one value,
    /// and a dimension may be 0: that is how a decoder is given an empty cache.
    pub fn from_slice<T: Element>(values: &[T], dims: &[usize]) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(values.len().saturating_mul(T::DTYPE.size()));
        for value in values {
            bytes.extend_from_slice(value.to_le().as_ref());
        }
        Self::from_bytes(T::DTYPE, dims, bytes)
    }

    /// A tensor of elements already laid out little-endian.
    pub fn from_bytes(dtype: Dtype, dims: &[usize], bytes: Vec<u8>) -> Result<Self, Error> {
        let narrow = |&dim: &usize| {
            u32::try_from(dim).map_err(|_| {
                Error::Model(format!(
                    "dimension {dim} of {dims:?} is over the limit of {}",
                    u32::MAX
                ))
            })
        };
        let wanted = dims
            .iter()
            .try_fold(dtype.size(), |size, dim| size.checked_mul(*dim));
        if wanted != Some(bytes.len()) {
            let size = dtype.size();
            return Err(Error::Model(format!(
                "{} bytes do not fill a {dtype:?} tensor of shape {dims:?}, {size} bytes an element",
                bytes.len(),
            )));
        }
        Ok(Self {
            dtype,
            dims: dims.iter().map(narrow).collect::<Result<_, _>>()?,
            bytes,
        })
    }

    /// What the host handed back. A host is trusted with the answer, not with its shape.
    pub(crate) fn from_host(dtype: Dtype, dims: &[u32], bytes: Vec<u8>) -> Result<Self, Error> {
        let dims: Vec<usize> = dims
            .iter()
            .map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX))
            .collect();
        Self::from_bytes(dtype, &dims, bytes)
    }

    /// A copy on the host.
    pub(crate) fn to_host(&self) -> crate::bindings::wasi::nn::tensor::Tensor {
        crate::bindings::wasi::nn::tensor::Tensor::new(&self.dims, self.dtype.into(), &self.bytes)
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The size of each dimension, outermost first.
    pub fn dims(&self) -> &[u32] {
        &self.dims
    }

    /// The elements, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, if they are of type `T`.
    pub fn values<T: Element>(&self) -> Result<Vec<T>, Error> {
        if self.dtype == T::DTYPE {
            Ok(self
                .bytes
                .chunks_exact(T::DTYPE.size())
                .filter_map(T::from_le)
                .collect())
        } else {
            Err(Error::Model(format!(
                "a {:?} tensor was read as {:?}",
                self.dtype,
                T::DTYPE
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bf16, Dtype, Element, F16, Tensor};

    fn comes_back<T: Element + PartialEq + std::fmt::Debug>(values: &[T], dtype: Dtype) {
        let tensor = Tensor::from_slice(values, &[1, values.len()]).unwrap();
        assert_eq!(tensor.dtype(), dtype);
        assert_eq!(tensor.dims(), [1, u32::try_from(values.len()).unwrap()]);
        assert_eq!(tensor.bytes().len(), values.len() * dtype.size());
        assert_eq!(tensor.values::<T>().unwrap(), values);
    }

    #[test]
    fn every_dtype_comes_back_as_it_went() {
        comes_back(&[F16(0x3c00), F16(0xffff)], Dtype::F16);
        comes_back(&[Bf16(0x3f80), Bf16(0)], Dtype::Bf16);
        comes_back(&[1.5_f32, f32::MIN, -0.0], Dtype::F32);
        comes_back(&[1.5_f64, f64::MAX], Dtype::F64);
        comes_back(&[0_u8, 255], Dtype::U8);
        comes_back(&[i32::MIN, 7], Dtype::I32);
        comes_back(&[i64::MIN, i64::MAX, 1], Dtype::I64);
    }

    #[test]
    fn elements_are_little_endian() {
        assert_eq!(
            Tensor::from_slice(&[0x0102_0304_i32], &[1])
                .unwrap()
                .bytes(),
            [4, 3, 2, 1]
        );
    }

    #[test]
    fn empty_and_scalar_shapes_are_shapes() {
        assert_eq!(
            Tensor::from_slice::<f32>(&[], &[1, 4, 0, 32])
                .unwrap()
                .dims(),
            [1, 4, 0, 32]
        );
        assert_eq!(
            Tensor::from_slice(&[1_i64], &[])
                .unwrap()
                .values::<i64>()
                .unwrap(),
            [1]
        );
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused_by_name() {
        let refused: &[(&[usize], &str)] = &[
            (
                &[2, 2],
                "12 bytes do not fill a F32 tensor of shape [2, 2], 4 bytes an element",
            ),
            (
                &[],
                "12 bytes do not fill a F32 tensor of shape [], 4 bytes an element",
            ),
            (&[usize::MAX, 3], "do not fill"),
        ];
        for (dims, reason) in refused {
            let error = Tensor::from_slice(&[1.0_f32, 2.0, 3.0], dims)
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{error}");
        }
        let wide = usize::try_from(u32::MAX).unwrap() + 1;
        let error = Tensor::from_slice::<u8>(&[], &[0, wide])
            .unwrap_err()
            .to_string();
        assert!(error.contains("over the limit of 4294967295"), "{error}");
    }

    #[test]
    fn a_tensor_is_read_as_what_it_is() {
        let error = Tensor::from_slice(&[1.0_f32], &[1])
            .unwrap()
            .values::<i64>()
            .unwrap_err();
        assert_eq!(error.to_string(), "model: a F32 tensor was read as I64");
    }

    #[test]
    fn a_host_that_returns_the_wrong_length_is_refused() {
        assert!(Tensor::from_host(Dtype::F32, &[2], vec![0; 7]).is_err());
        assert!(Tensor::from_host(Dtype::F32, &[2], vec![0; 8]).is_ok());
    }
}
