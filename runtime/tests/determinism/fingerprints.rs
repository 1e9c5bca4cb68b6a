//! A fingerprint says what is really loaded.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use host_gpu::{Device, GraphOptions, NnBackend as _, OrtBackend, OrtLibrary, StopFlag};
use jobs::offer::DeviceKind;
use jobs::outcome::Fingerprint;
use runtime::{Backend, WorkerPool};

use crate::harness::Case;
use crate::replicas::{block_on, config, fingerprint};

pub(crate) const CASES: &[Case] = &[
    (
        "another_library_file_is_another_fingerprint",
        another_library_file_is_another_fingerprint,
    ),
    (
        "another_backend_is_another_fingerprint",
        another_backend_is_another_fingerprint,
    ),
    (
        "the_thread_count_of_a_fingerprint_is_that_of_its_sessions",
        the_thread_count_of_a_fingerprint_is_that_of_its_sessions,
    ),
];

/// The library that is set up on this machine.
fn library() -> PathBuf {
    host_gpu::discover().expect("run `cargo xtask setup` first")
}

/// What workers with this library, in this place, say of themselves.
fn with_library(dir: &Path, library: &Path) -> Fingerprint {
    let mut config = config(dir, dir);
    let variable = "ASSAY_ORT_DYLIB".into();
    config.env.insert(variable, library.as_os_str().to_owned());
    block_on(fingerprint(&WorkerPool::new(config, 1)))
}

fn another_library_file_is_another_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let original = with_library(dir.path(), &library());
    let copy = dir.path().join("libonnxruntime.so");
    std::fs::copy(library(), &copy).unwrap();
    let copied = with_library(dir.path(), &copy);
    assert_eq!(original, copied, "the file's content counts, not its place");
    // The loader does not mind what follows the last section; it is another file all the same.
    let mut file = std::fs::File::options().append(true).open(&copy).unwrap();
    file.write_all(b"\0").unwrap();
    drop(file);
    let changed = with_library(dir.path(), &copy);
    assert_ne!(original.library, changed.library);
    let but_for_it = Fingerprint {
        library: original.library.clone(),
        ..changed
    };
    assert_eq!(original, but_for_it);
}

fn another_backend_is_another_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let prints = [Backend::Onnx, Backend::Reference, Backend::None].map(|backend| {
        let mut config = config(dir.path(), dir.path());
        config.sandbox.backend = backend;
        let report = block_on(WorkerPool::new(config, 1).probe()).unwrap();
        report.device(DeviceKind::Cpu).unwrap().fingerprint.clone()
    });
    let libraries: BTreeSet<&str> = prints.iter().map(|print| print.library.as_str()).collect();
    assert_eq!(libraries.len(), prints.len(), "{prints:?}");
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn the_thread_count_of_a_fingerprint_is_that_of_its_sessions() {
    let backend = OrtBackend::new(OrtLibrary::load(&library()).unwrap());
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/determinism/mlp.onnx");
    let graph = std::fs::read(graph).unwrap();
    let mut options = BTreeSet::new();
    for intra_threads in [1, 2, 4] {
        let asked = GraphOptions {
            intra_threads,
            ..GraphOptions::on(Device::Cpu)
        };
        let print = backend.fingerprint(&asked).unwrap();
        let said = format!("intra={intra_threads}");
        assert!(
            print.options.split(';').any(|option| option == said),
            "{print:?}"
        );
        assert!(options.insert(print.options));
        let before = threads();
        let session = backend
            .load("mlp", &graph, &asked, &StopFlag::default())
            .unwrap();
        // The thread that calls works too.
        let pool = threads() - before;
        assert_eq!(pool, usize::from(intra_threads) - 1, "{said}");
        drop(session);
    }
}
