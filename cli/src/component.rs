//! From a guest's source to a component, and what a component says of itself.
//!
//! Two builds of one source in Rust give the same bytes, wherever the source lies: anyone can check that a
//! component is what its author says it is. [`compile`] sees to that with fixed settings and paths,
//! [`strip`] by leaving out names and tool versions.

mod compile;
mod interpreted;
mod language;
mod new;
mod strip;
mod toolchain;
mod tools;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use jobs::component::{self, COMPONENT_BYTES_MAX, Profile, Summary};
use jobs::digest::Digest;
use serde::Serialize;

use crate::output::Output;
pub(crate) use language::Language;
pub(crate) use new::create;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BuildReport {
    /// Where the component lies.
    pub(crate) component_path: PathBuf,
    /// `blake3:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What it expects of its host, which follows from its imports.
    pub(crate) profile: Profile,
    /// Imported interfaces, sorted.
    pub(crate) imports: Vec<String>,
    /// The compiler that made it. Other compilers make other bytes.
    pub(crate) toolchain: String,
}

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Inspection {
    /// Where the component lies.
    pub(crate) component_path: PathBuf,
    /// `blake3:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What it expects of its host, which follows from its imports.
    pub(crate) profile: Profile,
    /// Imported interfaces, sorted.
    pub(crate) imports: Vec<String>,
    /// Exported functions and interfaces, sorted.
    pub(crate) exports: Vec<String>,
}

/// Which compiler would make components here.
pub(crate) fn toolchain_line(project: &Path) -> Result<String> {
    Ok(toolchain::find(project)?.to_string())
}

/// Makes a component of the project, at `out` or else at `<project>/target/<name>.component.wasm`. The
/// compiler's talk goes to stderr.
pub(crate) fn build(project: &Path, out: Option<&Path>) -> Result<BuildReport> {
    let project = fs::canonicalize(project)
        .with_context(|| format!("there is no guest project at {}", project.display()))?;
    let made = match Language::of(&project)? {
        Language::Rust => rust(&project)?,
        language => interpreted(&project, language)?,
    };
    let summary = component::check(&made.component)
        .with_context(|| format!("{} does not make a job", made.name))?;
    let out = out.map_or_else(
        || {
            let file = format!("{}.component.wasm", made.name);
            project.join("target").join(file)
        },
        Path::to_path_buf,
    );
    write_whole(&out, &made.component)?;
    Ok(BuildReport {
        component_path: out,
        digest: Digest::of(&made.component).to_string(),
        size: made.component.len() as u64,
        profile: summary.profile,
        imports: summary.imports,
        toolchain: made.toolchain,
    })
}

/// A component that nobody has checked yet.
struct Made {
    name: String,
    component: Vec<u8>,
    toolchain: String,
}

fn rust(project: &Path) -> Result<Made> {
    let toolchain = toolchain::find(project)?;
    let compiled = compile::core_module(project, &toolchain)?;
    let component = componentize(&compiled.wasm)
        .with_context(|| format!("package {} does not make a component", compiled.package))?;
    Ok(Made {
        name: compiled.package,
        component,
        toolchain: toolchain.to_string(),
    })
}

fn interpreted(project: &Path, language: Language) -> Result<Made> {
    let name = project
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("the folder {} has no name in UTF-8", project.display()))?;
    Ok(Made {
        name: name.to_owned(),
        component: interpreted::component(project, language)?,
        toolchain: tools::versions(language)?,
    })
}

/// Where the tools for JavaScript and Python are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SetupReport {
    /// Whether they were installed just now.
    pub(crate) installed: bool,
    /// Their folder.
    pub(crate) folder: PathBuf,
}

/// Installs the tools for JavaScript and Python unless they are there.
pub(crate) fn setup(output: Output) -> Result<SetupReport> {
    let (installed, folder) = tools::install(output)?;
    Ok(SetupReport { installed, folder })
}

/// Reads a component and checks that it is a job.
pub(crate) fn inspect(path: &Path) -> Result<Inspection> {
    let shown = path.display();
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    // Asked before the file is read: a mistyped path may name anything.
    if size > COMPONENT_BYTES_MAX as u64 {
        bail!("{shown} has {size} bytes; a component has at most {COMPONENT_BYTES_MAX}");
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let Summary {
        profile,
        imports,
        exports,
    } = component::check(&bytes).with_context(|| format!("{shown} is not a job"))?;
    Ok(Inspection {
        component_path: path.to_path_buf(),
        digest: Digest::of(&bytes).to_string(),
        size,
        profile,
        imports,
        exports,
    })
}

/// Wraps a core module that carries its WIT world in a component of that world.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .encode()?;
    strip::custom_sections(&component)
}

/// Writes a file so that a reader sees the old one or the new one, never half.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("cannot write {}", path.display());
    fs::create_dir_all(folder).with_context(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(bytes).with_context(failed)?;
    readable_by_all(file.as_file()).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// A temporary file is its owner's alone; a component is for everyone.
fn readable_by_all(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests;
