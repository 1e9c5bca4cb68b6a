//! `assay:job/nn-ext`: what `wasi:nn` leaves out and a decoder needs.
//!
//! A graph describes itself, inputs can stay with the guest, and tokens are chosen where the logits
//! are: a step of a decoder then moves four bytes to the guest and not a vocabulary.

use crate::backend::{GraphIo, Port};
use crate::budget::MeterCells;
use crate::error::{GuestFault, NnError};
use crate::pick::{self, Pick, Rows, Sampling};
use crate::state::{NnCtxView, NnState, NnView};
use crate::tensor::TensorValue;
use crate::wasi_nn::bindings::assay::job::nn_ext;
use crate::wasi_nn::bindings::wasi::nn::tensor::TensorType;
use crate::wasi_nn::{HasNn, NamedTensors, NnContext, NnGraph, NnTensor, tensor_type};
use std::sync::Arc;
use wasmtime::component::{Linker, Resource};

/// Gives guests `assay:job/nn-ext`. Its types are those of [`crate::add_to_linker`].
pub fn add_extension_to_linker<T: NnView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    nn_ext::add_to_linker::<T, HasNn>(linker, T::nn)
}

/// A guest's fault as a resource, ours as a trap.
type Answer<T> = wasmtime::Result<Result<T, Resource<GuestFault>>>;

impl nn_ext::Host for NnCtxView<'_> {
    fn describe(&mut self, graph: Resource<NnGraph>) -> wasmtime::Result<nn_ext::Signature> {
        Ok(signature(self.state.table.get(&graph)?.0.io()))
    }

    async fn compute(
        &mut self,
        context: Resource<NnContext>,
        inputs: NamedTensors,
    ) -> Answer<NamedTensors> {
        let context = self.state.table.get(&context)?.clone();
        let mut given = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            given.push((name, self.state.table.get(&tensor)?.clone()));
        }
        crate::wasi_nn::compute(self.state, &context, given).await
    }

    async fn argmax(&mut self, logits: Resource<NnTensor>, rows: Vec<u32>) -> Answer<Vec<u32>> {
        let picked = picks(self.state, &logits, &rows, 1).await?;
        let chosen = picked.map(|rows| rows.iter().flatten().map(|(at, _)| *at).collect());
        settle(self.state, chosen, Vec::len)
    }

    async fn top_k(
        &mut self,
        logits: Resource<NnTensor>,
        rows: Vec<u32>,
        count: u32,
    ) -> Answer<Vec<Vec<Pick>>> {
        let picked = picks(self.state, &logits, &rows, count).await?;
        // What is chosen from these, and whether anything is, only the guest knows.
        settle(self.state, picked, |_| 0)
    }

    async fn sample(
        &mut self,
        logits: Resource<NnTensor>,
        rows: Vec<u32>,
        how: nn_ext::Sampling,
        draws: Vec<u64>,
    ) -> Answer<Vec<u32>> {
        let how = Sampling {
            temperature: how.temperature,
            top_k: how.top_k,
            top_p: how.top_p,
        };
        let picked = match how.check() {
            Ok(()) => picks(self.state, &logits, &rows, how.top_k).await?,
            Err(fault) => Err(fault.into()),
        };
        let chosen = picked.and_then(|rows| {
            if rows.len() != draws.len() {
                let (rows, draws) = (rows.len(), draws.len());
                let text = format!("{draws} draws are given for {rows} rows");
                return Err(GuestFault::invalid(text).into());
            }
            let each = rows.iter().zip(&draws);
            Ok(each
                .map(|(row, draw)| pick::draw(row, &how, *draw))
                .collect())
        });
        settle(self.state, chosen, Vec::len)
    }
}

/// The largest values of the rows of a guest's tensor. A handle that names none is a trap.
async fn picks(
    state: &mut NnState,
    logits: &Resource<NnTensor>,
    rows: &[u32],
    count: u32,
) -> wasmtime::Result<Result<Vec<Vec<Pick>>, NnError>> {
    let tensor = state.table.get(logits)?.clone();
    let meters = Arc::clone(&state.meters);
    Ok(match tensor.into_value() {
        Ok(value) => search(&value, rows, count, &meters).await,
        Err(fault) => Err(fault.into()),
    })
}

/// Looks through some rows at a time, and lets the executor look at the clock for each millisecond: the
/// work costs a guest hardly any fuel, and fuel is what it is stopped by otherwise.
#[allow(
    clippy::disallowed_methods,
    reason = "device time is measured where the device is driven"
)]
async fn search(
    value: &TensorValue,
    rows: &[u32],
    count: u32,
    meters: &MeterCells,
) -> Result<Vec<Vec<Pick>>, NnError> {
    let rows = Rows::of(value, rows)?;
    rows.check_count(count)?;
    let group = pick::ELEMENTS_AT_ONCE.checked_div(rows.len).unwrap_or(1);
    let mut found = Vec::with_capacity(rows.wanted.len());
    for wanted in rows.wanted.chunks(group.max(1) as usize) {
        let rows = Rows {
            wanted: wanted.to_vec(),
            len: rows.len,
        };
        let before = meters.device_ms();
        let start = std::time::Instant::now();
        let some = pick::top_k(value, &rows, count);
        meters.add_device_time(start.elapsed());
        found.extend(some?);
        if meters.device_ms() != before {
            tokio::task::yield_now().await;
        }
    }
    Ok(found)
}

/// Counts tokens, and makes a fault a resource.
fn settle<T>(
    state: &mut NnState,
    result: Result<T, NnError>,
    tokens: impl FnOnce(&T) -> usize,
) -> Answer<T> {
    match result {
        Ok(value) => {
            state.meters.add_tokens(tokens(&value));
            Ok(Ok(value))
        }
        Err(NnError::Guest(fault)) => Ok(Err(state.fault(fault)?)),
        Err(error) => Err(error.into()),
    }
}

fn signature(io: &GraphIo) -> nn_ext::Signature {
    let ports = |ports: &[Port]| ports.iter().map(port).collect();
    nn_ext::Signature {
        inputs: ports(&io.inputs),
        outputs: ports(&io.outputs),
    }
}

fn port(port: &Port) -> nn_ext::Port {
    let ty: TensorType = tensor_type(port.ty);
    nn_ext::Port {
        name: port.name.clone(),
        ty,
        dims: port.dims.clone(),
    }
}
