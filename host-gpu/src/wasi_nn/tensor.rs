//! The `tensor` interface by hand: one copy in, one copy out.
//!
//! The generated code would lift a guest's bytes into a vector that we then copy into an aligned
//! buffer, and clone them again on the way out. Here the constructor reads guest memory in place,
//! after dimensions and length have been checked, and `data` lowers straight from where the backend
//! keeps the bytes.

use super::bindings::wasi::nn::tensor::TensorType;
use crate::budget::Budget;
use crate::error::{GuestFault, NnError};
use crate::state::{NnLimits, NnState, NnView};
use crate::tensor::{ElementType, MAX_RANK, TensorValue, byte_len, check_len};
use bytes::Bytes;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType, WasmList};

/// The interface's name; a pre-release version matches exactly or not at all.
const INTERFACE: &str = "wasi:nn/tensor@0.2.0-rc-2024-10-28";

/// A tensor that a guest holds a handle to, or the reason why it could not be made.
#[derive(Debug, Clone)]
pub struct NnTensor {
    ty: ElementType,
    value: Result<Arc<TensorValue>, GuestFault>,
}

impl NnTensor {
    pub(crate) fn from_value(value: TensorValue) -> Self {
        Self {
            ty: value.ty(),
            value: Ok(Arc::new(value)),
        }
    }

    pub(crate) fn into_value(self) -> Result<Arc<TensorValue>, GuestFault> {
        self.value
    }

    fn dims(&self) -> Vec<u32> {
        self.value
            .as_ref()
            .map_or_else(|_| Vec::new(), |value| value.dims().to_vec())
    }

    /// The bytes as the backend keeps them, kept alive until they are copied to the guest.
    fn data(&self) -> Result<Bytes, NnError> {
        let Ok(value) = &self.value else {
            return Ok(Bytes::new());
        };
        // What cannot be read now must not read as empty later.
        value.host_bytes()?;
        Ok(Bytes::from_owner(Shared(Arc::clone(value))))
    }
}

struct Shared(Arc<TensorValue>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.host_bytes().unwrap_or_default()
    }
}

pub(super) fn add_to_linker<T: NnView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut tensor = linker.instance(INTERFACE)?;
    tensor.resource(
        "tensor",
        ResourceType::host::<NnTensor>(),
        |mut store: StoreContextMut<'_, T>, rep| {
            let state = store.data_mut().nn().state;
            state.table.delete(Resource::<NnTensor>::new_own(rep))?;
            Ok(())
        },
    )?;
    tensor.func_wrap(
        "[constructor]tensor",
        |mut store: StoreContextMut<'_, T>, params| construct(&mut store, params),
    )?;
    tensor.func_wrap(
        "[method]tensor.dimensions",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<NnTensor>,)| {
            let state = store.data_mut().nn().state;
            Ok((get(state, &this)?.dims(),))
        },
    )?;
    tensor.func_wrap(
        "[method]tensor.ty",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<NnTensor>,)| {
            let state = store.data_mut().nn().state;
            Ok((tensor_type(get(state, &this)?.ty),))
        },
    )?;
    tensor.func_wrap(
        "[method]tensor.data",
        |mut store: StoreContextMut<'_, T>, (this,): (Resource<NnTensor>,)| {
            let state = store.data_mut().nn().state;
            let data = get(state, &this)?.data()?;
            state.meters.add_copied(data.len());
            Ok((data,))
        },
    )
}

fn get<'a>(state: &'a NnState, this: &Resource<NnTensor>) -> wasmtime::Result<&'a NnTensor> {
    Ok(state.table.get(this)?)
}

fn construct<T: NnView>(
    store: &mut StoreContextMut<'_, T>,
    (dims, ty, data): (WasmList<u32>, TensorType, WasmList<u8>),
) -> wasmtime::Result<(Resource<NnTensor>,)> {
    let state = store.data_mut().nn().state;
    let (limits, budget) = (state.limits.clone(), Arc::clone(&state.budget));
    let ty = element_type(ty);
    let value = build(
        ty,
        dims.as_le_slice(&*store),
        data.as_le_slice(&*store),
        &limits,
        &budget,
    );
    let state = store.data_mut().nn().state;
    if value.is_ok() {
        state.meters.add_copied(data.len());
    }
    Ok((state.push(NnTensor {
        ty,
        value: value.map(Arc::new),
    })?,))
}

/// Checks everything that can be wrong, takes the bytes from the budget, and only then copies.
fn build(
    ty: ElementType,
    dims: &[u32],
    data: &[u8],
    limits: &NnLimits,
    budget: &Arc<Budget>,
) -> Result<TensorValue, GuestFault> {
    if dims.len() > MAX_RANK {
        return Err(GuestFault::too_large("tensor rank", dims.len(), MAX_RANK));
    }
    // Guest memory is little-endian, and so is this slice.
    let dims: Vec<u32> = dims.iter().map(|dim| u32::from_le(*dim)).collect();
    let bytes = byte_len(ty, &dims, limits.max_tensor_bytes)?;
    check_len(bytes, data.len())?;
    let charge = budget.charge(bytes as u64)?;
    Ok(TensorValue::from_bytes(ty, &dims, data)?.with_charge(charge))
}

fn element_type(ty: TensorType) -> ElementType {
    match ty {
        TensorType::Fp16 => ElementType::F16,
        TensorType::Fp32 => ElementType::F32,
        TensorType::Fp64 => ElementType::F64,
        TensorType::Bf16 => ElementType::Bf16,
        TensorType::U8 => ElementType::U8,
        TensorType::I32 => ElementType::I32,
        TensorType::I64 => ElementType::I64,
    }
}

pub(crate) fn tensor_type(ty: ElementType) -> TensorType {
    match ty {
        ElementType::F16 => TensorType::Fp16,
        ElementType::F32 => TensorType::Fp32,
        ElementType::F64 => TensorType::Fp64,
        ElementType::Bf16 => TensorType::Bf16,
        ElementType::U8 => TensorType::U8,
        ElementType::I32 => TensorType::I32,
        ElementType::I64 => TensorType::I64,
    }
}

#[cfg(test)]
impl crate::state::NnState {
    /// What the constructor does, without a guest's memory.
    pub(crate) fn make_tensor(
        &mut self,
        ty: ElementType,
        dims: &[u32],
        data: &[u8],
    ) -> Resource<NnTensor> {
        let value = build(ty, dims, data, &self.limits, &self.budget).map(Arc::new);
        self.push(NnTensor { ty, value }).unwrap()
    }

    /// What `tensor.data` does.
    pub(crate) fn read_tensor(
        &self,
        tensor: &Resource<NnTensor>,
    ) -> wasmtime::Result<(Vec<u32>, Bytes)> {
        let tensor = get(self, tensor)?;
        Ok((tensor.dims(), tensor.data()?))
    }
}
