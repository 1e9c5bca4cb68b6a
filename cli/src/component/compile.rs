//! Runs cargo with settings that leave nothing to the machine, and finds the module it made.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use jobs::component::COMPONENT_BYTES_MAX;
use serde::Deserialize;
use toml::{Table, Value};

use super::toolchain::Toolchain;

/// Gives every crate a name and a path that do not depend on where it lies.
const RUSTC_WRAPPER: &str = include_str!("compile/rustc-wrapper.sh");

/// Flags for the guest and, where it is built from source, its `std`. They are the same for every
/// guest, so one build of `std` serves all.
const RUSTFLAGS: &[&str] = &[
    // Vectors of a fixed width give the same bits everywhere; relaxed ones need not.
    "-Ctarget-feature=+simd128,-relaxed-simd",
    // Random bytes come from the SDK, which grows them from the job's seed.
    "--cfg=getrandom_backend=\"custom\"",
];

/// The release profile of every guest, whatever its manifest says: the bytes must not depend on
/// how many processors shared the work, and fuel is dear.
const PROFILE: &[(&str, &str)] = &[
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "false"),
    ("DEBUG_ASSERTIONS", "false"),
    ("INCREMENTAL", "false"),
    ("LTO", "fat"),
    ("OPT_LEVEL", "3"),
    ("PANIC", "abort"),
    ("STRIP", "none"),
];

/// Settings of the caller's own build that would leak into the guest's.
const FOREIGN: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// What cargo made.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The name of the package.
    pub(super) package: String,
    /// The core module.
    pub(super) wasm: Vec<u8>,
}

/// Compiles the package in `project`, an absolute path.
pub(super) fn core_module(project: &Path, toolchain: &Toolchain) -> Result<Compiled> {
    let cache = cache()?;
    let mut cargo = toolchain.cargo_build();
    cargo
        .current_dir(project)
        .args(["--lib", "--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(&cache);
    if locked(project, toolchain) {
        cargo.arg("--locked");
    }
    settings(&mut cargo, &wrapper(&cache)?, &cache);
    let manifest = project.join("Cargo.toml");
    let artifact = run(&mut cargo, &manifest)?;
    let size = fs::metadata(&artifact.wasm).map(|file| file.len());
    let size = size.with_context(|| format!("cannot read {}", artifact.wasm.display()))?;
    ensure!(
        size <= COMPONENT_BYTES_MAX as u64,
        "package {} compiles to {size} bytes; a component has at most {COMPONENT_BYTES_MAX}",
        artifact.package,
    );
    let wasm = fs::read(&artifact.wasm)
        .with_context(|| format!("cannot read {}", artifact.wasm.display()))?;
    Ok(Compiled {
        package: artifact.package,
        wasm,
    })
}

fn settings(cargo: &mut Command, wrapper: &Path, cache: &Path) {
    for name in FOREIGN {
        cargo.env_remove(name);
    }
    for (name, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
        .env("RUSTC_WRAPPER", wrapper)
        .env("ASSAY_GUEST_CACHE", cache)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
}

/// Whether a lock file pins what the guest is made of: that of the workspace, once it knows the package. Cargo completes
/// the one that a new job begins with.
fn locked(project: &Path, toolchain: &Toolchain) -> bool {
    let mut locate = toolchain.cargo();
    locate.current_dir(project).args([
        "locate-project",
        "--workspace",
        "--message-format",
        "plain",
    ]);
    let Ok(answer) = locate.output() else {
        return false;
    };
    let root = String::from_utf8_lossy(&answer.stdout);
    let lock = fs::read_to_string(Path::new(root.trim()).with_file_name("Cargo.lock"));
    let manifest = fs::read_to_string(project.join("Cargo.toml"));
    let (Ok(lock), Ok(manifest), true) = (lock, manifest, answer.status.success()) else {
        return false;
    };
    knows(&lock, &manifest)
}

/// Whether a package is in a lock file. What cannot be read is left to cargo, which says what is wrong with it.
fn knows(lock: &str, manifest: &str) -> bool {
    let (Ok(lock), Ok(manifest)) = (lock.parse::<Table>(), manifest.parse::<Table>()) else {
        return true;
    };
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"));
    let packages = lock.get("package").and_then(Value::as_array);
    // What has a source is another package, whatever it is called.
    packages.is_some_and(|packages| {
        let mut own = packages.iter().filter(|one| one.get("source").is_none());
        own.any(|package| package.get("name") == name)
    })
}

/// Where compiled guests are kept between builds, the compiled `std` among them.
fn cache() -> Result<PathBuf> {
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        return Ok(std::path::absolute(target)?.join("guests"));
    }
    let Some(home) = env::home_dir() else {
        bail!("there is no home folder to keep compiled guests in; set CARGO_TARGET_DIR");
    };
    Ok(home.join(".cache/assay/guests"))
}

/// Puts the compiler's wrapper where cargo can run it.
fn wrapper(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("rustc-wrapper.sh");
    if fs::read_to_string(&path).is_ok_and(|known| known == RUSTC_WRAPPER) {
        return Ok(path);
    }
    super::write_whole(&path, RUSTC_WRAPPER.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} a program", path.display()))?;
    Ok(path)
}

#[derive(Debug)]
struct Artifact {
    package: String,
    wasm: PathBuf,
}

/// The lines of cargo's JSON output that matter here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

fn run(cargo: &mut Command, manifest: &Path) -> Result<Artifact> {
    let program = cargo.get_program().to_os_string();
    let mut child = cargo.spawn().with_context(|| cannot_start(&program))?;
    let Some(stdout) = child.stdout.take() else {
        bail!("cargo has no output to read");
    };
    let mut artifact = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo says")?;
        // Cargo may say other things in other versions.
        let Ok(message) = serde_json::from_str::<Message>(&line) else {
            continue;
        };
        if let Some(found) = module(message, manifest) {
            artifact = Some(found);
        }
    }
    let status = child.wait().with_context(|| cannot_start(&program))?;
    ensure!(
        status.success(),
        "the guest does not compile (cargo: {status})"
    );
    artifact.with_context(|| {
        format!(
            "{} makes no WebAssembly module; a guest is a library with crate-type = [\"cdylib\"]",
            manifest.display()
        )
    })
}

fn cannot_start(program: &OsString) -> String {
    format!("cannot run {}", Path::new(program).display())
}

/// The module that a message announces, if it is the guest's.
fn module(message: Message, manifest: &Path) -> Option<Artifact> {
    let target = message.target.as_ref()?;
    let ours = message.reason == "compiler-artifact"
        && message.manifest_path.as_deref() == Some(manifest)
        && target.crate_types.iter().any(|kind| kind == "cdylib");
    let wasm = message
        .filenames
        .into_iter()
        .find(|file| file.extension() == Some("wasm".as_ref()));
    let wasm = wasm.filter(|_| ours)?;
    Some(Artifact {
        package: package_name(&message.package_id)?.to_owned(),
        wasm,
    })
}

/// The name in `path+file:///folder#name@0.1.0`. It is left out where it is the folder's.
fn package_name(id: &str) -> Option<&str> {
    let (url, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => url.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, knows, module, package_name};
    use std::path::Path;

    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///p#word_count@0.1.0","manifest_path":"/p/Cargo.toml",
        "target":{"kind":["cdylib"],"crate_types":["cdylib","rlib"],"name":"word_count","src_path":"/p/src/lib.rs"},
        "filenames":["/t/libword_count.rlib","/t/word_count.wasm"],"executable":null,"fresh":true}"#;

    fn found(message: &str, manifest: &str) -> Option<String> {
        let message: Message = serde_json::from_str(message).unwrap();
        module(message, Path::new(manifest)).map(|artifact| artifact.wasm.display().to_string())
    }

    #[test]
    fn a_package_has_the_name_in_its_manifest() {
        assert_eq!(
            package_name("path+file:///p#word_count@0.1.0"),
            Some("word_count")
        );
        assert_eq!(
            package_name("path+file:///examples/echo#0.1.0"),
            Some("echo")
        );
        assert_eq!(package_name("nothing"), None);
    }

    #[test]
    fn a_guest_is_locked_once_the_file_knows_it() {
        let manifest = "[package]\nname = \"word-count\"\n";
        let package = "[[package]]\nname = \"word-count\"\nversion = \"0.1.0\"\n";
        let other = package.replace("word-count", "other");
        let elsewhere = format!("{package}source = \"registry\"\n");
        for (lock, is_locked) in [
            (package, true),
            ("version = 4\n", false),
            (&other, false),
            (&elsewhere, false),
            ("broken", true),
        ] {
            assert_eq!(knows(lock, manifest), is_locked, "{lock}");
        }
    }

    #[test]
    fn the_guests_module_is_found_and_nobody_elses() {
        let wasm = Some("/t/word_count.wasm".to_owned());
        assert_eq!(found(ARTIFACT, "/p/Cargo.toml"), wasm);
        assert_eq!(found(ARTIFACT, "/other/Cargo.toml"), None);
        assert_eq!(
            found(&ARTIFACT.replace("cdylib", "rlib"), "/p/Cargo.toml"),
            None
        );
        assert_eq!(
            found(
                r#"{"reason":"build-finished","success":true}"#,
                "/p/Cargo.toml"
            ),
            None
        );
    }
}
