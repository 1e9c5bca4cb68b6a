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

/// The sum of two executions; memory is a peak and takes the larger.
pub fn add(one: Meters, two: Meters) -> Meters {
    Meters {
        fuel: one.fuel.saturating_add(two.fuel),
        device_us: one.device_us.saturating_add(two.device_us),
        tensor_bytes: one.tensor_bytes.saturating_add(two.tensor_bytes),
        memory_bytes: one.memory_bytes.max(two.memory_bytes),
        tokens: one.tokens.saturating_add(two.tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_memory_is_a_peak() {
        let one = meters(
            u64::MAX,
            10,
            NnMeters {
                device_us: 5,
                host_bytes: 7,
                tokens: 2,
                ..NnMeters::default()
            },
        );
        let two = meters(
            1,
            4,
            NnMeters {
                device_us: 1,
                host_bytes: 1,
                tokens: 3,
                ..NnMeters::default()
            },
        );
        let expected = Meters {
            fuel: u64::MAX,
            device_us: 6,
            tensor_bytes: 8,
            memory_bytes: 10,
            tokens: 5,
        };
        assert_eq!(add(one, two), expected);
    }
}
