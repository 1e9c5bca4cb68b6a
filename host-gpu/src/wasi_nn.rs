//! The four interfaces of `wasi:nn@0.2.0-rc-2024-10-28`, resource by resource.
//!
//! A guest's fault becomes an `error` resource. The one place without an error in its signature is
//! the constructor of `tensor`: a tensor with wrong dimensions or too many bytes is made all the
//! same, holds nothing, and every `compute` that is given it reports why.
//!
//! The `tensor` interface is wired by hand in `wasi_nn/tensor.rs`, so that its bytes are copied once
//! each way; the others go through the generated traits.

mod tensor;
#[cfg(test)]
mod tests;

use crate::error::{FaultCode, GuestFault, NnError};
use crate::graph::{Caller, Graph};
use crate::state::{NnCtxView, NnState, NnView};
use crate::tensor::{ReadBack, TensorValue};
use bindings::wasi::nn::errors::ErrorCode;
use bindings::wasi::nn::{errors, graph, inference};
use std::sync::Arc;
use wasmtime::component::{HasData, Linker, Resource};

pub use tensor::NnTensor;
pub(crate) use tensor::tensor_type;

pub(crate) mod bindings {
    //! Generated from the WIT that guests are built against.
    #![allow(
        missing_debug_implementations,
        unreachable_pub,
        clippy::all,
        reason = "generated code"
    )]

    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        inline: "
            package assay:host;
            world host {
                import wasi:nn/tensor@0.2.0-rc-2024-10-28;
                import wasi:nn/graph@0.2.0-rc-2024-10-28;
                import wasi:nn/inference@0.2.0-rc-2024-10-28;
                import wasi:nn/errors@0.2.0-rc-2024-10-28;
                import assay:job/nn-ext@0.1.0;
            }
        ",
        world: "assay:host/host",
        imports: {
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            "assay:job/nn-ext.compute": async | trappable,
            "assay:job/nn-ext.argmax": async | trappable,
            "assay:job/nn-ext.top-k": async | trappable,
            "assay:job/nn-ext.sample": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor.tensor": crate::NnTensor,
            "wasi:nn/graph.graph": crate::NnGraph,
            "wasi:nn/inference.graph-execution-context": crate::NnContext,
            "wasi:nn/errors.error": crate::GuestFault,
        },
    });
}

/// A graph that a guest holds a handle to.
#[derive(Debug, Clone)]
pub struct NnGraph(pub(crate) Arc<Graph>);

/// An execution context. It keeps its graph alive when the guest drops the graph's handle, and
/// remembers which outputs the guest reads.
#[derive(Debug, Clone)]
pub struct NnContext {
    graph: Arc<Graph>,
    read_back: Arc<ReadBack>,
}

pub(crate) struct HasNn;

impl HasData for HasNn {
    type Data<'a> = NnCtxView<'a>;
}

/// Gives guests `wasi:nn`: `tensor`, `graph`, `inference` and `errors`, and nothing else.
pub fn add_to_linker<T: NnView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    tensor::add_to_linker(linker)?;
    graph::add_to_linker::<T, HasNn>(linker, T::nn)?;
    inference::add_to_linker::<T, HasNn>(linker, T::nn)?;
    errors::add_to_linker::<T, HasNn>(linker, T::nn)
}

impl graph::Host for NnCtxView<'_> {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> wasmtime::Result<Result<Resource<NnGraph>, Resource<GuestFault>>> {
        let text = "a job's graphs come by name from its manifest, never from the guest's bytes";
        Ok(Err(self
            .state
            .fault(GuestFault::new(FaultCode::Security, text))?))
    }

    fn load_by_name(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Resource<NnGraph>, Resource<GuestFault>>> {
        if let Some(graph) = self.state.graphs.get(&name).cloned() {
            return Ok(Ok(self.state.push(NnGraph(graph))?));
        }
        let text = format!(
            "the job's manifest names no graph {:?}",
            crate::backend::shown(&name)
        );
        Ok(Err(self
            .state
            .fault(GuestFault::new(FaultCode::NotFound, &text))?))
    }
}

impl graph::HostGraph for NnCtxView<'_> {
    fn init_execution_context(
        &mut self,
        graph: Resource<NnGraph>,
    ) -> wasmtime::Result<Result<Resource<NnContext>, Resource<GuestFault>>> {
        let graph = Arc::clone(&self.state.table.get(&graph)?.0);
        let read_back = Arc::default();
        Ok(Ok(self.state.push(NnContext { graph, read_back })?))
    }

    fn drop(&mut self, graph: Resource<NnGraph>) -> wasmtime::Result<()> {
        self.state.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for NnCtxView<'_> {}

/// Inputs and outputs of a compute, as handles.
pub(crate) type NamedTensors = Vec<(String, Resource<NnTensor>)>;

impl inference::HostGraphExecutionContext for NnCtxView<'_> {
    async fn compute(
        &mut self,
        context: Resource<NnContext>,
        inputs: NamedTensors,
    ) -> wasmtime::Result<Result<NamedTensors, Resource<GuestFault>>> {
        let context = self.state.table.get(&context)?.clone();
        // The guest gave its inputs away, whatever becomes of the run.
        let mut given = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            given.push((name, self.state.table.delete(tensor)?));
        }
        compute(self.state, &context, given).await
    }

    fn drop(&mut self, context: Resource<NnContext>) -> wasmtime::Result<()> {
        self.state.table.delete(context)?;
        Ok(())
    }
}

/// Runs the context's graph and gives the guest handles to what comes out, or to what was wrong.
pub(crate) async fn compute(
    state: &mut NnState,
    context: &NnContext,
    given: Vec<(String, NnTensor)>,
) -> wasmtime::Result<Result<NamedTensors, Resource<GuestFault>>> {
    match run(state, context, given).await {
        Ok(outputs) => {
            let mut handles = Vec::with_capacity(outputs.len());
            for (name, tensor) in outputs {
                handles.push((name, state.push(tensor)?));
            }
            Ok(Ok(handles))
        }
        Err(NnError::Guest(fault)) => Ok(Err(state.fault(fault)?)),
        // Our trouble: the guest must not go on and produce an outcome from it.
        Err(error) => Err(error.into()),
    }
}

/// Runs the graph on what the guest gave and charges what comes out.
///
/// It holds only the parts of the state that it needs: the table cannot be shared across an await.
fn run<'a>(
    state: &NnState,
    context: &'a NnContext,
    given: Vec<(String, NnTensor)>,
) -> impl Future<Output = Result<Vec<(String, NnTensor)>, NnError>> + Send + use<'a> {
    let (limits, wall) = (state.limits.clone(), state.compute_wall());
    let (tenant, own_thread) = (state.tenant, state.own_thread);
    let (budget, meters) = (Arc::clone(&state.budget), Arc::clone(&state.meters));
    let notes = state.notes.clone();
    async move {
        if given.len() > limits.max_inputs {
            let (what, found) = ("the number of inputs", given.len());
            return Err(GuestFault::too_large(what, found, limits.max_inputs).into());
        }
        let inputs: Result<Vec<(String, Arc<TensorValue>)>, GuestFault> = given
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.into_value()?)))
            .collect();
        let caller = Caller {
            tenant,
            read_back: &context.read_back,
            meters: &meters,
            wall,
            own_thread,
        };
        let outputs = context.graph.compute(inputs?, caller).await?;
        let mut charged = Vec::with_capacity(outputs.len());
        for (name, value) in outputs {
            let bytes = value.size_bytes()? as u64;
            if bytes > limits.max_tensor_bytes {
                let what = "an output in bytes";
                return Err(GuestFault::too_large(what, bytes, limits.max_tensor_bytes).into());
            }
            let charge = budget.charge(bytes)?;
            if let Some(notes) = &notes {
                notes.take(&context.graph, &name, &value)?;
            }
            charged.push((name, NnTensor::from_value(value.with_charge(charge))));
        }
        Ok(charged)
    }
}

impl errors::Host for NnCtxView<'_> {}

impl errors::HostError for NnCtxView<'_> {
    fn code(&mut self, fault: Resource<GuestFault>) -> wasmtime::Result<ErrorCode> {
        Ok(match self.state.table.get(&fault)?.code {
            FaultCode::InvalidArgument => ErrorCode::InvalidArgument,
            FaultCode::RuntimeError => ErrorCode::RuntimeError,
            FaultCode::UnsupportedOperation => ErrorCode::UnsupportedOperation,
            FaultCode::TooLarge => ErrorCode::TooLarge,
            FaultCode::NotFound => ErrorCode::NotFound,
            FaultCode::Security => ErrorCode::Security,
        })
    }

    fn data(&mut self, fault: Resource<GuestFault>) -> wasmtime::Result<String> {
        Ok(self.state.table.get(&fault)?.text().to_owned())
    }

    fn drop(&mut self, fault: Resource<GuestFault>) -> wasmtime::Result<()> {
        self.state.table.delete(fault)?;
        Ok(())
    }
}
