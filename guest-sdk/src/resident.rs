//! Tensors that stay with the host, and what can be asked of them there.

use std::fmt;

use crate::bindings::assay::job::nn_ext;
use crate::bindings::wasi::nn::tensor as nn;
use crate::model::host_error;
use crate::{Dtype, Error, Tensor};

/// A tensor that stays where it is, perhaps on an accelerator: an output of a model, such as a decoder's cache or its
/// logits, or a constant that is handed over once. A run takes it by value or by reference.
///
/// Rows, where they are asked for, are runs of the last dimension; the dimensions before it count them, from 0. No row
/// named means all of them.
pub struct Resident(pub(crate) nn::Tensor);

impl fmt::Debug for Resident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resident")
    }
}

/// What [`Resident::sample`] draws from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: above 0, finite. Below 1 it favours what is likely, above 1 it evens out.
    pub temperature: f32,
    /// Only that many of the largest logits take part: 1 to 1024.
    pub top_k: u32,
    /// Of these, only the fewest whose probabilities together reach it: above 0, at most 1.
    pub top_p: f32,
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The size of each dimension, outermost first; `None` where any size will do.
    pub dims: Vec<Option<u32>>,
}

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What a run needs, in the model's order.
    pub inputs: Vec<Port>,
    /// What it answers, in the model's order.
    pub outputs: Vec<Port>,
}

impl Resident {
    /// Copies a tensor to the host, for runs to borrow.
    pub fn new(tensor: &Tensor) -> Self {
        Self(tensor.to_host())
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.0.ty().into()
    }

    /// The size of each dimension, outermost first.
    pub fn dims(&self) -> Vec<u32> {
        self.0.dimensions()
    }

    /// Copies the numbers into the guest.
    pub fn to_tensor(&self) -> Result<Tensor, Error> {
        Tensor::from_host(self.dtype(), &self.0.dimensions(), self.0.data())
    }

    /// The index of the largest value of each row; of equal ones the first.
    pub fn argmax(&self, rows: &[u32]) -> Result<Vec<u32>, Error> {
        nn_ext::argmax(&self.0, rows).map_err(|error| host_error("argmax", &error))
    }

    /// The `count` largest values of each row with their indices, largest first: at most 1024, fewer of a shorter row.
    pub fn top_k(&self, rows: &[u32], count: u32) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        nn_ext::top_k(&self.0, rows, count).map_err(|error| host_error("top-k", &error))
    }

    /// An index of each row, drawn by its probability. `draws` has one number for each row; take them from
    /// [`random_bytes`](crate::random_bytes), so that every replica draws alike.
    pub fn sample(&self, rows: &[u32], how: Sampling, draws: &[u64]) -> Result<Vec<u32>, Error> {
        let how = nn_ext::Sampling {
            temperature: how.temperature,
            top_k: how.top_k,
            top_p: how.top_p,
        };
        nn_ext::sample(&self.0, rows, how, draws).map_err(|error| host_error("sample", &error))
    }
}

impl From<nn_ext::Port> for Port {
    fn from(port: nn_ext::Port) -> Self {
        Self {
            name: port.name,
            dtype: port.ty.into(),
            dims: port.dims,
        }
    }
}

impl From<nn_ext::Signature> for Signature {
    fn from(signature: nn_ext::Signature) -> Self {
        Self {
            inputs: signature.inputs.into_iter().map(Port::from).collect(),
            outputs: signature.outputs.into_iter().map(Port::from).collect(),
        }
    }
}
