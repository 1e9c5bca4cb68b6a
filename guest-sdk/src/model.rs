//! Models by name, and what they answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::bindings::wasi::nn::{errors, graph, inference, tensor as nn};
use crate::{Dtype, Element, Error, Tensor};

thread_local! {
    static LOADED: RefCell<BTreeMap<String, Rc<Model>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The model of that name in the job's manifest. The host keeps models loaded, and this instance keeps its handle, so
/// asking again costs a look-up.
pub fn model(name: &str) -> Result<Rc<Model>, Error> {
    if let Some(loaded) = LOADED.with_borrow(|models| models.get(name).cloned()) {
        return Ok(loaded);
    }
    let model = Rc::new(Model::load(name)?);
    LOADED.with_borrow_mut(|models| models.insert(name.to_owned(), Rc::clone(&model)));
    Ok(model)
}

/// A model that is ready to run.
pub struct Model {
    name: String,
    context: inference::GraphExecutionContext,
}

impl fmt::Debug for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Model")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Model {
    fn load(name: &str) -> Result<Self, Error> {
        if cfg!(not(target_arch = "wasm32")) {
            return Err(Error::Model(format!(
                "{name}: models answer only inside a running job"
            )));
        }
        let refused = |error| host_error(name, &error);
        let context = graph::load_by_name(name)
            .map_err(refused)?
            .init_execution_context()
            .map_err(refused)?;
        Ok(Self {
            name: name.to_owned(),
            context,
        })
    }

    /// The name in the job's manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the model on named tensors: `model.run([("input_ids", &ids), ("attention_mask", &mask)])`. A [`Resident`]
    /// from an earlier answer goes in by value, and its numbers never pass through the guest.
    pub fn run<'a, I>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, I)>,
    ) -> Result<Outputs, Error>
    where
        I: Into<Input<'a>>,
    {
        let inputs: Vec<_> = inputs
            .into_iter()
            .map(|(name, input)| (name.to_owned(), input.into().into_host()))
            .collect();
        let tensors = self
            .context
            .compute(inputs)
            .map_err(|error| host_error(&self.name, &error))?;
        Ok(Outputs {
            model: self.name.clone(),
            tensors,
        })
    }
}

/// What a model takes: a [`Tensor`] of the guest, or a [`Resident`] of the host.
#[derive(Debug)]
pub enum Input<'a> {
    /// Copied to the host; the guest keeps it.
    Guest(&'a Tensor),
    /// Handed back to the host; nothing is copied.
    Host(Resident),
}

impl Input<'_> {
    fn into_host(self) -> nn::Tensor {
        match self {
            Self::Guest(tensor) => {
                nn::Tensor::new(tensor.dims(), tensor.dtype().into(), tensor.bytes())
            }
            Self::Host(resident) => resident.0,
        }
    }
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Guest(tensor)
    }
}

impl From<Resident> for Input<'_> {
    fn from(resident: Resident) -> Self {
        Self::Host(resident)
    }
}

/// An output that stays where the model wrote it, perhaps on an accelerator, such as a decoder's cache: the next run
/// takes it by value.
pub struct Resident(nn::Tensor);

impl fmt::Debug for Resident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resident")
    }
}

impl Resident {
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
}

/// The answer of a model: named tensors that stay with the host until they are asked for.
pub struct Outputs {
    model: String,
    tensors: Vec<(String, nn::Tensor)>,
}

impl fmt::Debug for Outputs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outputs")
            .field("model", &self.model)
            .field("names", &self.names().collect::<Vec<_>>())
            .finish()
    }
}

impl Outputs {
    /// The names of the outputs that have not been taken, in the model's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// The numbers of an output, if they are of type `T`.
    pub fn values<T: Element>(&self, name: &str) -> Result<Vec<T>, Error> {
        self.tensor(name)?.values()
    }

    /// A copy of an output.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let (_, tensor) = self
            .tensors
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| self.unknown(name))?;
        Tensor::from_host(tensor.ty().into(), &tensor.dimensions(), tensor.data())
    }

    /// Takes an output without copying it, to be an input of the next run.
    pub fn take(&mut self, name: &str) -> Result<Resident, Error> {
        let found = self
            .tensors
            .iter()
            .position(|(known, _)| known == name)
            .ok_or_else(|| self.unknown(name))?;
        Ok(Resident(self.tensors.remove(found).1))
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<_> = self.names().collect();
        Error::Model(format!(
            "{}: no output {name:?} among {known:?}",
            self.model
        ))
    }
}

fn host_error(model: &str, error: &errors::Error) -> Error {
    Error::Model(format!("{model}: {:?}: {}", error.code(), error.data()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn outside_a_job_a_model_is_an_error_and_not_a_crash() {
        let error = super::model("minilm").unwrap_err().to_string();
        assert_eq!(
            error,
            "model: minilm: models answer only inside a running job"
        );
    }
}
