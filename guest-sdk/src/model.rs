//! Models by name, and what they answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::bindings::assay::job::nn_ext;
use crate::bindings::wasi::nn::{errors, graph, inference, tensor as nn};
use crate::{Element, Error, Resident, Signature, Tensor};

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
    graph: graph::Graph,
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
        let graph = graph::load_by_name(name).map_err(refused)?;
        let context = graph.init_execution_context().map_err(refused)?;
        Ok(Self {
            name: name.to_owned(),
            graph,
            context,
        })
    }

    /// The name in the job's manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model takes and gives: names, types and shapes.
    pub fn signature(&self) -> Signature {
        nn_ext::describe(&self.graph).into()
    }

    /// Runs the model on named tensors: `model.run([("input_ids", &ids), ("attention_mask", &mask)])`. A [`Resident`]
    /// from an earlier answer goes in by value or by reference, and its numbers never pass through the guest; by
    /// reference it can go in again.
    pub fn run<'a, I>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, I)>,
    ) -> Result<Outputs, Error>
    where
        I: Into<Input<'a>>,
    {
        let inputs: Vec<(&str, Input<'_>)> = inputs
            .into_iter()
            .map(|(name, input)| (name, input.into()))
            .collect();
        let lends = inputs
            .iter()
            .any(|(_, input)| matches!(input, Input::Lent(_)));
        // The standard call wherever it will do: it gives a tensor away, so that its memory is free at once.
        let tensors = if lends {
            self.lend(inputs)
        } else {
            let give =
                |(name, input): (&str, Input<'_>)| Some((name.to_owned(), input.into_host()?));
            self.context
                .compute(inputs.into_iter().filter_map(give).collect())
        };
        Ok(Outputs {
            model: self.name.clone(),
            tensors: tensors.map_err(|error| host_error(&self.name, &error))?,
        })
    }

    fn lend(
        &self,
        inputs: Vec<(&str, Input<'_>)>,
    ) -> Result<Vec<(String, nn::Tensor)>, errors::Error> {
        // What is not lent lives here until the answer is there.
        let held: Vec<(&str, Lent<'_>)> = inputs
            .into_iter()
            .map(|(name, input)| (name, input.into_lent()))
            .collect();
        let lent: Vec<(String, &nn::Tensor)> = held
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), tensor.get()))
            .collect();
        nn_ext::compute(&self.context, &lent)
    }
}

/// What a model takes: a [`Tensor`] of the guest, or a [`Resident`] of the host.
#[derive(Debug)]
pub enum Input<'a> {
    /// Copied to the host; the guest keeps it.
    Guest(&'a Tensor),
    /// Handed back to the host; nothing is copied.
    Host(Resident),
    /// Lent to the host for this run; nothing is copied, and it can be used again.
    Lent(&'a Resident),
}

/// A tensor of the host for the length of one run.
enum Lent<'a> {
    Own(nn::Tensor),
    Borrowed(&'a nn::Tensor),
}

impl Lent<'_> {
    fn get(&self) -> &nn::Tensor {
        match self {
            Self::Own(tensor) => tensor,
            Self::Borrowed(tensor) => tensor,
        }
    }
}

impl<'a> Input<'a> {
    /// The tensor to give away; none if it is only lent.
    fn into_host(self) -> Option<nn::Tensor> {
        match self {
            Self::Guest(tensor) => Some(tensor.to_host()),
            Self::Host(resident) => Some(resident.0),
            Self::Lent(_) => None,
        }
    }

    fn into_lent(self) -> Lent<'a> {
        match self {
            Self::Guest(tensor) => Lent::Own(tensor.to_host()),
            Self::Host(resident) => Lent::Own(resident.0),
            Self::Lent(resident) => Lent::Borrowed(&resident.0),
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

impl<'a> From<&'a Resident> for Input<'a> {
    fn from(resident: &'a Resident) -> Self {
        Self::Lent(resident)
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

pub(crate) fn host_error(model: &str, error: &errors::Error) -> Error {
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
