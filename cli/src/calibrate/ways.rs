//! The honest ways to run a model that this machine has.

use std::ffi::OsString;
use std::path::PathBuf;

use jobs::offer::DeviceKind;
use jobs::profile::Skipped;
use runtime::Emulator;
use runtime::model::{ModelPorts, Optimisation};

/// Threads within a kernel that are tried beside one.
const THREADS: [u16; 2] = [2, 4];
/// Rows that share a run that are tried beside one.
const BATCHES: [u32; 2] = [8, 32];
/// The emulator of x86-64 processors, as Debian's `qemu-user` installs it.
const EMULATOR: &str = "qemu-x86_64";

/// One way.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) device: DeviceKind,
    pub(super) optimisation: Optimisation,
    pub(super) threads: u16,
    pub(super) batch: u32,
    pub(super) emulator: Option<Emulator>,
}

impl Way {
    /// How jobs run a graph.
    pub(super) fn of_jobs() -> Self {
        Self {
            name: "as jobs run".to_owned(),
            device: DeviceKind::Cpu,
            optimisation: Optimisation::All,
            threads: 1,
            batch: 1,
            emulator: None,
        }
    }

    fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::of_jobs()
        }
    }
}

/// Every way, the jobs' own first, and what is left out.
pub(super) fn of(
    ports: &ModelPorts,
    emulate: &[String],
    has_gpu: bool,
) -> (Vec<Way>, Vec<Skipped>) {
    let (mut ways, mut skipped) = (vec![Way::of_jobs()], Vec::new());
    let mut skip = |what: &str, why: String| {
        let what = what.to_owned();
        skipped.push(Skipped { what, why });
    };
    for (optimisation, name) in [
        (Optimisation::Off, "off"),
        (Optimisation::Basic, "basic"),
        (Optimisation::Extended, "extended"),
    ] {
        ways.push(Way {
            optimisation,
            ..Way::named(format!("optimisation {name}"))
        });
    }
    ways.extend(THREADS.map(|threads| Way {
        threads,
        ..Way::named(format!("{threads} threads"))
    }));
    if ports
        .inputs
        .iter()
        .any(|port| port.dims.first() == Some(&None))
    {
        ways.extend(BATCHES.map(|batch| Way {
            batch,
            ..Way::named(format!("batch of {batch}"))
        }));
    } else {
        skip("batches", "no input has a free first dimension".to_owned());
    }
    match has_gpu {
        true => ways.push(Way {
            device: DeviceKind::Gpu,
            ..Way::named("cuda")
        }),
        false => skip(
            "cuda",
            "this machine has no GPU that ONNX Runtime can use".to_owned(),
        ),
    }
    match (emulate, emulator()) {
        ([], _) => skip(
            "other processors",
            "not asked for: --emulate Nehalem,Haswell".to_owned(),
        ),
        (_, None) => skip(
            "other processors",
            format!("{EMULATOR} is not installed (Debian's package qemu-user)"),
        ),
        (models, Some(exe)) => ways.extend(models.iter().map(|model| Way {
            emulator: Some(Emulator {
                exe: exe.clone(),
                args: vec![OsString::from("-cpu"), OsString::from(model)],
            }),
            ..Way::named(format!("emulated {model}"))
        })),
    }
    (ways, skipped)
}

/// The emulator, where the programs are.
fn emulator() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(EMULATOR));
    found.find(|program| program.is_file())
}
