//! A run whose inputs are taken where they are and whose outputs go where they are told.
#![allow(
    unsafe_code,
    reason = "ort's own `bind_input` copies a tensor that is borrowed, and deadlocks while it does; and \
              it does not tell where an untyped tensor lies"
)]

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session};
use ort::value::DynValue;
use ort::{AsPointer, Error};
use std::ffi::CString;

/// Runs the session once. An input that is not where its kernel wants it is copied there by the library
/// when it is bound. Outputs come in the order in which they are named; none may be an input by name.
pub(super) fn run<'a>(
    session: &mut Session,
    inputs: &[(&str, &DynValue)],
    outputs: impl IntoIterator<Item = (&'a str, &'a MemoryInfo<'static>)>,
    options: &RunOptions,
) -> Result<Vec<(String, DynValue)>, Error> {
    // A binding keeps the buffers of its outputs and writes into them again: each run has its own.
    let mut binding = session.create_binding()?;
    for (name, value) in inputs {
        let name = CString::new(*name).map_err(|error| Error::new(error.to_string()))?;
        // SAFETY: binding, name and value are alive for the whole call. The library keeps a reference
        // to the value's memory until the binding is dropped, which is at the end of this function,
        // and `inputs` is borrowed for longer. It reads that memory and writes none of it.
        unsafe {
            let bind = ort::api().BindInput;
            Error::result_from_status(bind(binding.ptr_mut(), name.as_ptr(), value.ptr()))?;
        }
    }
    for (name, place) in outputs {
        binding.bind_output_to_device(name, place)?;
    }
    let outputs = session.run_binding_with_options(&binding, options)?;
    Ok(outputs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// Memory of the host, as the library names it.
pub(super) fn host_memory() -> Result<MemoryInfo<'static>, Error> {
    let (allocator, memory) = (AllocatorType::Device, MemoryType::CPUOutput);
    MemoryInfo::new(AllocationDevice::CPU, 0, allocator, memory)
}

/// Where a tensor's contents begin. Null if it has none.
pub(super) fn address(value: &DynValue) -> Result<*const u8, Error> {
    let mut at = std::ptr::null_mut();
    // SAFETY: the value is alive and `at` is valid for writes; the library only tells where the
    // contents are, and nothing is written there.
    unsafe {
        let tell = ort::api().GetTensorMutableData;
        Error::result_from_status(tell(value.ptr().cast_mut(), &raw mut at))?;
    }
    Ok(at.cast_const().cast())
}
