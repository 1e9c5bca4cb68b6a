//! From a manifest on disk to a package that can be signed: reads every file the manifest names.

mod scratch;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::component;
use jobs::component::COMPONENT_BYTES_MAX;
use jobs::digest::BlobRef;
use jobs::manifest::{INPUT_BYTES_MAX, MANIFEST_BYTES_MAX, MODEL_BYTES_MAX, Manifest, Resolved};
use jobs::package::Package;
use jobs::policy::Share;
use jobs::profile::VerifiedProfile;

use crate::exit::{Coded, Exit, Fix, fail};
use crate::{home, packing, read};
use scratch::Scratch;

/// A manifest with everything it names.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What a client signs.
    pub(crate) package: Package,
    /// What its nonce promises: the client's share of the draw that decides about audits.
    pub(crate) share: Option<Share>,
    /// Every blob of the package and the file that holds it.
    pub(crate) files: Vec<(BlobRef, PathBuf)>,
    /// The encoded input.
    input: PathBuf,
    /// The manifest that all of this is from, if it is from one.
    pub(crate) manifest: Option<PathBuf>,
    /// Models by name.
    pub(crate) models: Vec<(String, BlobRef, PathBuf)>,
    /// Holds the encoded input, if nothing else does; removed with this value.
    _scratch: Option<Scratch>,
}

/// Reads and checks everything a manifest names.
pub(crate) fn prepare(manifest_path: &Path) -> Result<Prepared> {
    let (manifest, base) = load_manifest(manifest_path)?;
    let scratch = home::home().and_then(|home| Scratch::new(&home));
    let scratch = scratch.fix("set ASSAY_HOME to a directory that you may write")?;

    let component_path = home::resolve(&base, &manifest.component).code(Exit::Usage)?;
    let component = read::bounded(&component_path, "a component", COMPONENT_BYTES_MAX as u64)?;
    component::check(&component).with_context(|| component_path.display().to_string())?;

    let source = home::resolve(&base, &manifest.input.path).code(Exit::Usage)?;
    let input_path = scratch.path().join("input");
    let input = packing::pack(manifest.input.split, &source, &input_path)?;

    let mut models = Vec::new();
    for model in &manifest.models {
        let path = home::resolve(&base, &model.source).code(Exit::Usage)?;
        let blob = read::blob(&path, "a model", MODEL_BYTES_MAX)?;
        models.push((model.name.clone(), blob, path));
    }
    let mut share = Share([0; 32]);
    getrandom::fill(&mut share.0).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let resolved = Resolved {
        component: BlobRef::of(&component),
        models: models.iter().map(|(_, blob, _)| *blob).collect(),
        input,
        nonce: share.nonce(),
    };
    let package = manifest.lock(resolved)?;
    let mut files = vec![
        (package.component, component_path),
        (package.input.blob, input_path.clone()),
    ];
    files.extend(models.iter().map(|(_, blob, path)| (*blob, path.clone())));
    Ok(Prepared {
        share: Some(share),
        manifest: Some(home::absolute(manifest_path)),
        package,
        files,
        input: input_path,
        models,
        _scratch: Some(scratch),
    })
}

impl Prepared {
    /// The items of the input, all of them in memory: for who executes them here.
    pub(crate) fn items(&self) -> Result<Vec<Vec<u8>>> {
        let encoded = read::bounded(&self.input, "an input", INPUT_BYTES_MAX)?;
        Ok(owned(jobs::items::decode(&encoded)?))
    }

    /// A package whose blobs lie where `path` says. Every one is checked.
    pub(crate) fn from_folder(
        package: Package,
        path: impl Fn(&BlobRef) -> PathBuf,
    ) -> Result<Self> {
        let checked = |what: &str, blob: &BlobRef, max: u64| {
            let path = path(blob);
            let found = read::blob(&path, what, max)?;
            if found == *blob {
                return Ok((*blob, path));
            }
            let (actual, expected) = (found.digest, blob.digest);
            let path = path.display();
            let reason = format!("{path} has digest {actual}, {what} with {expected} is expected");
            fail(Exit::Verification, reason)
        };
        let mut files = vec![
            checked(
                "a component",
                &package.component,
                COMPONENT_BYTES_MAX as u64,
            )?,
            checked("an input", &package.input.blob, INPUT_BYTES_MAX)?,
        ];
        let mut models = Vec::new();
        for model in &package.models {
            let (blob, path) = checked("a model", &model.blob, MODEL_BYTES_MAX)?;
            models.push((model.name.clone(), blob, path.clone()));
            files.push((blob, path));
        }
        let input = path(&package.input.blob);
        if packing::scan(&input)? != package.input {
            let input = input.display();
            return fail(
                Exit::Verification,
                format!("{input} is not the input that was signed"),
            );
        }
        Ok(Self {
            // Whoever chose the nonce kept what it promises, or drew it from nothing.
            share: None,
            manifest: None,
            package,
            files,
            input,
            models,
            _scratch: None,
        })
    }
}

/// Parses a manifest; also returns the directory its paths are relative to.
pub(crate) fn load_manifest(path: &Path) -> Result<(Manifest, PathBuf)> {
    let named = || format!("cannot read the manifest {}", path.display());
    let bytes = read::bounded(path, "a manifest", MANIFEST_BYTES_MAX as u64);
    let bytes = bytes.with_context(named).code(Exit::Usage);
    let bytes = bytes.fix("name another, or write one: assay job init")?;
    let text = String::from_utf8(bytes).with_context(named);
    let text = text.code(Exit::Usage)?;
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let manifest = named_profile(&text, &base)
        .and_then(|profile| Ok(Manifest::parse_with(&text, profile.as_ref())?));
    let manifest = manifest.with_context(|| path.display().to_string())?;
    Ok((manifest, base))
}

/// The tolerance profile that a manifest names, checked.
fn named_profile(text: &str, base: &Path) -> Result<Option<VerifiedProfile>> {
    let Some(name) = Manifest::profile_path(text)? else {
        return Ok(None);
    };
    let path = home::resolve(base, &name).code(Exit::Usage)?;
    crate::commands::model::load(&path).map(Some)
}

fn owned(items: Vec<&[u8]>) -> Vec<Vec<u8>> {
    items.into_iter().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_cannot_be_one_is_not_read() {
        let error = load_manifest(Path::new("/dev/zero")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the manifest /dev/zero"), "{text}");
        assert!(text.contains("not a regular file"), "{text}");
    }
}
