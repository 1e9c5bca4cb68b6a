//! The rows, a group to a file.

mod cold;
mod compute;
mod decode;
mod dispute;
mod embed;
mod instance;
mod memory;
mod stop;
mod worker;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::table::Row;

pub(crate) use memory::probe;
pub(crate) use worker::ARGUMENT as WORKER_ARGUMENT;

/// Where things lie that are built or fetched beforehand, and how long to measure.
pub(crate) struct Bench {
    pub(crate) quick: bool,
    pub(crate) wasi_nn: Option<PathBuf>,
    pub(crate) native: Option<PathBuf>,
    pub(crate) python: Option<PathBuf>,
    pub(crate) guests: Option<PathBuf>,
    pub(crate) interpreters: Option<PathBuf>,
    pub(crate) models: PathBuf,
}

impl Bench {
    /// The first number for a real run, the second for a quick one.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The component of a guest that was built beforehand.
    fn guest(&self, name: &str) -> Result<Result<Vec<u8>, String>> {
        let Some(folder) = &self.guests else {
            return Ok(Err(
                "no folder of built guests was named (--guests)".to_owned()
            ));
        };
        let path = folder.join(format!("{name}.component.wasm"));
        if !path.is_file() {
            return Ok(Err(format!(
                "{name}.component.wasm is not built: cargo xtask guests"
            )));
        }
        read(&path).map(Ok)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

type Measure = fn(&Bench) -> Result<Vec<Row>>;

/// Every group, in the order of the table, by the name that `--only` takes.
pub(crate) const GROUPS: [(&str, Measure); 15] = [
    ("instance", instance::fresh),
    ("throughput", instance::throughput),
    ("hostcall", instance::host_call),
    ("compute", compute::overhead),
    ("image", compute::image),
    ("embed", embed::sentences),
    ("fuel", embed::fuel),
    ("decode", decode::cpu),
    ("gpu", decode::gpu),
    ("cold", cold::unseen),
    ("interpreters", cold::interpreters),
    ("stop", stop::stops),
    ("memory", memory::bounds),
    ("worker", worker::process),
    ("dispute", dispute::disputes),
];
