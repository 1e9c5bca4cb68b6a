//! The one engine configuration there is.
//!
//! Everything that could make two replicas differ is off, and everything that bounds a guest is on.
//! A provider cannot tune it: the settings are part of the fingerprint ([`engine_id`]).

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel,
    PoolingAllocationConfig, Strategy,
};

use crate::failure::FailureKind;
use crate::limits::{
    INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX, WASM_STACK_BYTES_MAX,
};

/// The wasmtime release. A test compares it with the lock file.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Shards one process executes at the same time at most; the pools are sized by it.
pub const CONCURRENT_SHARDS_MAX: u32 = 8;

/// Address space of one linear memory, in bytes: all that 32 bits can name, so that most bounds
/// checks are done by the guard pages.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Unmapped bytes after each linear memory.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// Stack of the fiber a guest runs on, in bytes: the wasm part and the host functions it calls.
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Frames that a trap's backtrace keeps.
const BACKTRACE_FRAMES_MAX: usize = 32;

/// Metadata of one component and its core instances together, in bytes.
const COMPONENT_INSTANCE_BYTES_MAX: usize = 8 << 20;

/// Metadata of one core instance, in bytes: the most functions, data segments and globals that a job
/// may have fit in it, so that what is accepted is also run. It is only taken by who needs it.
const CORE_INSTANCE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a memory that stay resident in the pool between two guests (zeroed all the same).
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// Bytes of a table that stay resident in the pool between two guests (zeroed all the same).
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Bytes of a stack that stay resident in the pool between two guests (zeroed all the same). Giving all of
/// it back costs each shard page faults and a flush of the address cache: more than the rest of a small one.
const STACK_KEEP_RESIDENT_BYTES: usize = 32 << 10;

/// Fuel for each page that `memory.grow` asks for. Wasmtime's default is free of charge.
const FUEL_PER_GROWN_PAGE: u8 = 64;

/// What the fingerprint says about wasm: release and the settings that decide outputs and fuel.
pub fn engine_id() -> String {
    format!("wasmtime-{WASMTIME_VERSION}+cranelift+nan+fuel1")
}

/// The engine.
///
/// # Errors
/// If this machine cannot run it, for example for lack of address space. Ours, not the guest's.
pub fn engine() -> Result<Engine, FailureKind> {
    Engine::new(&config()).map_err(|error| FailureKind::Engine {
        reason: format!("{error:#}"),
    })
}

/// The configuration of the engine.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    deterministic(&mut config);
    proposals(&mut config);
    bounds(&mut config);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling()));
    config
}

/// What makes equal inputs give equal outputs and equal fuel.
fn deterministic(config: &mut Config) {
    let mut cost = OperatorCost::new();
    cost.variable.memory_grow_per_page = FUEL_PER_GROWN_PAGE;
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .operator_cost(cost)
        // Fuel also yields to the executor, so the separate epoch check would be paid for nothing.
        .epoch_interruption(false)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false);
}

/// What a job is checked against is what the engine accepts: one list, no other way in. (Threads and
/// garbage collection are not even compiled in.)
fn proposals(config: &mut Config) {
    let allowed = jobs::component::features();
    config
        .wasm_features(allowed.complement(), false)
        .wasm_features(allowed, true)
        .shared_memory(false);
}

/// Stacks, guards, backtraces.
fn bounds(config: &mut Config) {
    config
        .max_wasm_stack(WASM_STACK_BYTES_MAX)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .guard_before_linear_memory(true)
        .memory_init_cow(true)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
}

fn pooling() -> PoolingAllocationConfig {
    let shards = CONCURRENT_SHARDS_MAX;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(shards)
        .total_core_instances(shards.saturating_mul(INSTANCES_MAX))
        .total_memories(shards.saturating_mul(MEMORIES_MAX))
        .total_tables(shards.saturating_mul(TABLES_MAX))
        .total_stacks(shards)
        .max_component_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
        .max_core_instance_size(CORE_INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        // The limiter decides per job; the pool only has to have room for what it may allow.
        .max_memory_size(usize::try_from(MEMORY_RESERVATION_BYTES).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(shards)
        // The pagemap scan of this release can miss a dirty page that was swapped out: the next guest
        // would read the last one's memory. Protection keys are experimental and not compiled in.
        .pagemap_scan(Enabled::No);
    pool
}

/// A digest of everything that decides whether compiled code of one engine runs on another: release,
/// processor features, settings.
pub(crate) fn compatibility(engine: &Engine) -> [u8; 32] {
    let mut hasher = Blake3Hasher(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(engine_id().as_bytes());
    *hasher.0.finalize().as_bytes()
}

/// Collects what `Hash` writes. The digest names files on this machine only, so native byte order
/// does no harm.
struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn finish(&self) -> u64 {
        let digest = self.0.finalize();
        digest
            .as_bytes()
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The golden list. A release of wasmtime that turns something on by default changes it.
    const FEATURES: &[&str] = &[
        "bulk_memory",
        "bulk_memory_opt",
        "call_indirect_overlong",
        "component_model",
        "extended_const",
        "floats",
        "multi_value",
        "mutable_global",
        "reference_types",
        "saturating_float_to_int",
        "sign_extension",
        "simd",
        "tail_call",
    ];

    /// Contained in `bulk_memory` and in `reference_types`, so that a job's list need not name them.
    const CONTAINED: &[&str] = &["bulk_memory_opt", "call_indirect_overlong"];

    #[test]
    fn the_enabled_wasm_features_are_these_and_a_job_may_use_all_of_them() {
        let shown = format!("{:#?}", config());
        let enabled: BTreeSet<&str> = shown
            .lines()
            .filter_map(|line| line.trim().strip_prefix("wasm_")?.strip_suffix(": true,"))
            .collect();
        assert_eq!(enabled, FEATURES.iter().copied().collect());
        let named = FEATURES.iter().filter(|name| !CONTAINED.contains(name));
        let upper: BTreeSet<String> = named.map(|name| name.to_uppercase()).collect();
        let allowed = jobs::component::feature_names();
        assert!(upper.iter().map(String::as_str).eq(allowed));
    }

    #[test]
    fn the_settings_that_decide_outputs_and_bounds_are_these() {
        let shown = format!("{:#?}", config());
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in [
            "consume_fuel: true",
            "epoch_interruption: false",
            "concurrency_support: false",
            "relaxed_simd_deterministic: true",
            "\"enable_nan_canonicalization\": ( \"true\"",
            "\"opt_level\": ( \"speed\"",
            "memory_grow_per_page: 64",
            "memory_reservation: 4294967296",
            "memory_guard_size: 33554432",
            "guard_before_linear_memory: true",
        ] {
            assert!(shown.contains(setting), "{setting} is not in {shown}");
        }
    }

    #[test]
    fn compiled_code_is_bound_to_every_setting_that_changes_it() {
        let base = compatibility(&engine().unwrap());
        assert_eq!(base, compatibility(&engine().unwrap()));
        type Change = fn(&mut Config);
        let changes: [(&str, Change); 5] = [
            ("fuel", |config| _ = config.consume_fuel(false)),
            ("nan", |config| {
                _ = config.cranelift_nan_canonicalization(false)
            }),
            ("epochs", |config| _ = config.epoch_interruption(true)),
            ("optimisation", |config| {
                _ = config.cranelift_opt_level(OptLevel::None)
            }),
            ("costs", |config| {
                _ = config.operator_cost(OperatorCost::new())
            }),
        ];
        for (what, change) in changes {
            let mut config = config();
            change(&mut config);
            let other = Engine::new(&config).unwrap();
            assert_ne!(base, compatibility(&other), "{what}");
        }
    }

    #[test]
    fn the_named_release_is_the_locked_one() {
        let lock = include_str!("../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry));
    }
}
