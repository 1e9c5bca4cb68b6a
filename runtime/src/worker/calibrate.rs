//! The parent's side of a worker that runs models and no guests.

use std::ffi::OsString;
use std::path::PathBuf;

use super::handle::{WorkerConfig, WorkerHandle, unexpected};
use super::protocol::{Request, Response};
use crate::failure::FailureKind;
use crate::model::{ModelPorts, ModelRan, ModelRun};
use crate::task::LocalBlob;

/// The longest a worker may take over one run of a model over all samples, in milliseconds. It includes
/// loading, and emulated processors are slow.
pub const MODEL_WALL_MS: u64 = 3_600_000;

/// A program that runs this program as if on another processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// The program.
    pub exe: PathBuf,
    /// Its arguments in front of the program that it runs.
    pub args: Vec<OsString>,
}

/// A worker in which models run as a calibration wants them.
///
/// An emulator translates system calls and knows neither filters nor namespaces nor Landlock: a worker
/// in one is confined by what is left, and [`ModelWorker::missing`] says what is not. Run there only
/// what you would run yourself.
#[derive(Debug)]
pub struct ModelWorker(WorkerHandle);

impl ModelWorker {
    /// Starts a worker, in an emulator if there is one.
    ///
    /// # Errors
    /// If it does not start, or there is no inference library.
    pub async fn spawn(
        config: &WorkerConfig,
        emulator: Option<&Emulator>,
    ) -> Result<Self, FailureKind> {
        let mut config = config.clone();
        if let Some(emulator) = emulator {
            let exe = std::mem::replace(&mut config.exe, emulator.exe.clone());
            let before = emulator.args.iter().cloned();
            config.args = before
                .chain([exe.into_os_string()])
                .chain(config.args)
                .collect();
        }
        let emulated = emulator.is_some();
        let hello = |mut confinement: super::Confinement| {
            confinement.emulated = emulated;
            Request::HelloModels(confinement)
        };
        WorkerHandle::start(&config, hello).await.map(Self)
    }

    /// Protections that it goes without, in words.
    pub fn missing(&self) -> &[String] {
        self.0.missing()
    }

    /// A model's inputs and outputs.
    ///
    /// # Errors
    /// If the model is refused or the worker is lost.
    pub async fn ports(&mut self, model: LocalBlob) -> Result<ModelPorts, FailureKind> {
        let request = Request::Ports(model);
        match self.ask(&request, Vec::new(), "reading a model").await? {
            (Response::Ports(ports), _) => Ok(ports),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Runs a model over encoded samples; gives encoded answers.
    ///
    /// # Errors
    /// If the model or a sample is refused, or the worker is lost.
    pub async fn run(
        &mut self,
        run: ModelRun,
        samples: Vec<u8>,
    ) -> Result<(ModelRan, Vec<u8>), FailureKind> {
        let request = Request::RunModel(run);
        match self.ask(&request, samples, "running a model").await? {
            (Response::Ran(ran), answers) => Ok((ran, answers)),
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn ask(
        &mut self,
        request: &Request,
        body: Vec<u8>,
        what: &str,
    ) -> Result<(Response, Vec<u8>), FailureKind> {
        match self.0.ask(request, body, MODEL_WALL_MS, what).await? {
            (Response::Failed(failure), _) => Err(failure.kind),
            answer => Ok(answer),
        }
    }
}
