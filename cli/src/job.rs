//! From a manifest on disk to a package that can be signed: reads every file the manifest names.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::digest::BlobRef;
use jobs::manifest::{Manifest, Resolved, Split};
use jobs::package::{InputRef, Package};
use jobs::{component, input, npy};

use crate::exit::{Coded, Exit};
use crate::home;

/// A manifest with everything it names.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What a client signs.
    pub(crate) package: Package,
    /// Every blob of the package and the file that holds it.
    pub(crate) files: Vec<(BlobRef, PathBuf)>,
    /// The items of the input.
    pub(crate) items: Vec<Vec<u8>>,
    /// Models by name.
    pub(crate) models: Vec<(String, BlobRef, PathBuf)>,
    /// Holds the encoded input; removed with this value.
    _scratch: tempfile::TempDir,
}

/// Reads and checks everything a manifest names.
pub(crate) fn prepare(manifest_path: &Path) -> Result<Prepared> {
    let (manifest, base) = load_manifest(manifest_path)?;
    let scratch = tempfile::tempdir().context("cannot make a scratch directory")?;

    let component_path = home::resolve(&base, &manifest.component).code(Exit::Usage)?;
    let component = read(&component_path)?;
    component::check(&component).with_context(|| component_path.display().to_string())?;

    let items = split_input(&manifest, &base)?;
    let (input, encoded) = InputRef::of(&items)?;
    let input_path = scratch.path().join("input");
    std::fs::write(&input_path, &encoded)?;

    let mut models = Vec::new();
    for model in &manifest.models {
        let path = home::resolve(&base, &model.source).code(Exit::Usage)?;
        models.push((model.name.clone(), BlobRef::of(&read(&path)?), path));
    }
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let resolved = Resolved {
        component: BlobRef::of(&component),
        models: models.iter().map(|(_, blob, _)| *blob).collect(),
        input,
        nonce,
    };
    let package = manifest.lock(resolved)?;
    let mut files = vec![
        (package.component, component_path),
        (package.input.blob, input_path),
    ];
    files.extend(models.iter().map(|(_, blob, path)| (*blob, path.clone())));
    Ok(Prepared {
        package,
        files,
        items,
        models,
        _scratch: scratch,
    })
}

/// Parses a manifest; also returns the directory its paths are relative to.
pub(crate) fn load_manifest(path: &Path) -> Result<(Manifest, PathBuf)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the manifest {}", path.display()))
        .code(Exit::Usage)?;
    let manifest = Manifest::parse(&text).with_context(|| path.display().to_string())?;
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok((manifest, base))
}

fn split_input(manifest: &Manifest, base: &Path) -> Result<Vec<Vec<u8>>> {
    let path = home::resolve(base, &manifest.input.path).code(Exit::Usage)?;
    let named = || path.display().to_string();
    let items = match manifest.input.split {
        Split::Lines => owned(input::split_lines(&read(&path)?).with_context(named)?),
        Split::NpyRows => owned(npy::split_rows(&read(&path)?).with_context(named)?),
        Split::Files => {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&path)
                .with_context(named)
                .code(Exit::Usage)?
            {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    files.push((name, read(&entry.path())?));
                }
            }
            input::split_files(files).with_context(named)?
        }
    };
    Ok(items)
}

fn owned(items: Vec<&[u8]>) -> Vec<Vec<u8>> {
    items.into_iter().map(<[u8]>::to_vec).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .code(Exit::Usage)
}
