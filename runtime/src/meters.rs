//! What an execution consumed.

use host_gpu::NnMeters;
use jobs::outcome::Meters;

/// Puts together what the store, the limiter and the inference host counted.
pub(crate) fn meters(fuel: u64, memory_bytes: u64, nn: NnMeters) -> Meters {
    Meters {
        fuel,
        device_us: nn.device_us,
        tensor_bytes: nn.host_bytes,
        memory_bytes,
        tokens: nn.tokens,
    }
}
