//! How a shard runs: engine, linker, limits, meters, compile cache.
