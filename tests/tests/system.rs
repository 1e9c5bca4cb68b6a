//! Whole-system tests: the real `assay` binary, real processes, real files and sockets. Each test
//! has a market of its own; markets take turns, because two on a small machine only slow one another
//! down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers included"
)]

#[path = "system/aggregator.rs"]
mod aggregator;
#[path = "system/audits.rs"]
mod audits;
#[path = "system/calibrate.rs"]
mod calibrate;
#[path = "system/chaos.rs"]
mod chaos;
#[path = "system/dashboard.rs"]
mod dashboard;
#[path = "system/devnet.rs"]
mod devnet;
#[path = "system/docs.rs"]
mod docs;
#[path = "system/end_to_end.rs"]
mod end_to_end;
#[path = "system/examples.rs"]
mod examples;
#[path = "system/game.rs"]
mod game;
#[path = "system/generate.rs"]
mod generate;
#[path = "system/interface.rs"]
mod interface;
#[path = "system/languages.rs"]
mod languages;
#[path = "system/liars.rs"]
mod liars;
#[path = "system/liquidation.rs"]
mod liquidation;
#[path = "system/matrix.rs"]
mod matrix;
#[path = "system/memory.rs"]
mod memory;
#[path = "system/openings.rs"]
mod openings;
#[path = "system/orders.rs"]
mod orders;
#[path = "system/programs.rs"]
mod programs;
#[path = "system/provider.rs"]
mod provider;
#[path = "system/provider_control.rs"]
mod provider_control;
#[path = "system/provider_life.rs"]
mod provider_life;
#[path = "system/provider_nat.rs"]
mod provider_nat;
#[path = "system/reference.rs"]
mod reference;
#[path = "system/refusals.rs"]
mod refusals;
#[path = "system/schemathesis.rs"]
mod schemathesis;
#[path = "system/starting.rs"]
mod starting;
#[path = "system/storage.rs"]
mod storage;
#[path = "system/telemetry.rs"]
mod telemetry;
#[path = "system/tls.rs"]
mod tls;
#[path = "system/watching.rs"]
mod watching;
#[path = "system/worker.rs"]
mod worker;
