//! Fetched models on disk: `models/NAME` below [`home::home`], each a link to a file named after its digest, and a list
//! that says where each is from.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::config::file::replace;
use crate::config::setting;
use crate::exit::{Coded, Exit, Fix, fail};
use crate::{home, read};

/// The list.
const LIST_FILE: &str = "models.json";
/// Largest list in bytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// The folder of files by digest, and of what is under way.
const BLOBS: &str = ".blobs";
/// Held by whoever changes anything.
const LOCK_FILE: &str = ".lock";

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name: manifests say `models/NAME`.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Its digest, as manifests pin it.
    pub(crate) blake3: Digest,
    /// Its SHA-256, as others publish it.
    pub(crate) sha256: String,
    /// Where it is from.
    pub(crate) source: String,
}

/// The folder of models.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// The list, held against others.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Every model, by name.
    pub(crate) entries: Vec<Entry>,
    _file: File,
}

/// A file under way.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
}

impl Part {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is noted which version of the source it is a part of.
    pub(crate) fn tag(&self) -> PathBuf {
        self.path.with_extension("tag")
    }

    /// Removes it.
    pub(crate) fn forget(&self) -> Result<()> {
        for path in [self.path.clone(), self.tag()] {
            if path.exists() {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// The store below the home directory.
    pub(crate) fn open() -> Result<Self> {
        Self::at(home::home()?.join("models"))
    }

    /// The store in this folder, which is made if it is not there.
    pub(crate) fn at(folder: PathBuf) -> Result<Self> {
        let blobs = folder.join(BLOBS);
        std::fs::create_dir_all(&blobs).with_context(|| blobs.display().to_string())?;
        Ok(Self { folder })
    }

    /// Where the model of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Every model, by name.
    pub(crate) fn list(&self) -> Result<Vec<Entry>> {
        let path = self.folder.join(LIST_FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = read::bounded(&path, "a list of models", LIST_BYTES_MAX)?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no list of models", path.display()))
            .code(Exit::Usage)
            .fix(format!(
                "remove {} and pull again: files stay",
                path.display()
            ))
    }

    /// Holds the list against others.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.folder.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return fail(Exit::Failure, "another command is changing the models")
                    .fix("wait until it has finished");
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let entries = self.list()?;
        Ok(Lock {
            entries,
            _file: file,
        })
    }

    /// Where a source's file is put while it is fetched. The same source goes on with the same file.
    pub(crate) fn part(&self, source: &str) -> Result<Part> {
        let name = format!("{}.part", Digest::of(source.as_bytes()).to_hex());
        let path = self.folder.join(BLOBS).join(name);
        Ok(Part { path })
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join(BLOBS).join(digest.to_hex())
    }

    /// Keeps a file that was fetched and checked.
    pub(crate) fn keep(&self, lock: &mut Lock, part: Part, entry: &Entry) -> Result<()> {
        setting::name(&entry.name)
            .map_err(|reason| anyhow::anyhow!("model {:?}: {reason}", entry.name))
            .code(Exit::Usage)?;
        let (blob, link) = (self.blob(&entry.blake3), self.path(&entry.name));
        let listed = lock.entries.iter().any(|known| known.name == entry.name);
        if link.exists()
            && !listed
            && crate::pull::hash(&link, &hidden())?.blob.digest != entry.blake3
        {
            let reason = format!("{} is there, and was not pulled", link.display());
            return fail(Exit::Usage, reason).fix("choose another name: --name NAME");
        }
        let named = || format!("cannot keep {}", link.display());
        // Nobody changes by its name what is trusted by its digest.
        let only_read = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(part.path(), only_read).with_context(named)?;
        std::fs::rename(part.path(), &blob).with_context(named)?;
        part.forget()?;
        // Linked beside and renamed: the name always leads to a whole file.
        let beside = link.with_extension("link");
        if beside.exists() {
            std::fs::remove_file(&beside).with_context(named)?;
        }
        std::fs::hard_link(&blob, &beside).with_context(named)?;
        std::fs::rename(&beside, &link).with_context(named)?;
        // Renaming onto another link of the same file does nothing.
        if beside.exists() {
            std::fs::remove_file(&beside).with_context(named)?;
        }
        lock.entries.retain(|known| known.name != entry.name);
        lock.entries.push(entry.clone());
        self.write(lock)
    }

    /// Forgets a model; its file goes with its last name.
    pub(crate) fn remove(&self, name: &str) -> Result<Entry> {
        let mut lock = self.lock()?;
        let Some(at) = lock.entries.iter().position(|entry| entry.name == name) else {
            let names = lock.entries.iter().map(|entry| entry.name.as_str());
            let near = setting::nearest(name, names);
            let fix = near.map_or("`assay model list` shows all".to_owned(), |near| {
                format!("did you mean {near}?")
            });
            return fail(Exit::Usage, format!("no model {name:?} was pulled")).fix(fix);
        };
        let entry = lock.entries.remove(at);
        let mut gone = vec![self.path(name)];
        let shared = lock
            .entries
            .iter()
            .any(|other| other.blake3 == entry.blake3);
        if !shared {
            gone.push(self.blob(&entry.blake3));
        }
        for path in gone.into_iter().filter(|path| path.exists()) {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        self.write(&mut lock)?;
        Ok(entry)
    }

    fn write(&self, lock: &mut Lock) -> Result<()> {
        lock.entries
            .sort_by(|left, right| left.name.cmp(&right.name));
        let text = serde_json::to_vec_pretty(&lock.entries)?;
        replace(&self.folder.join(LIST_FILE), &text)
    }
}

fn hidden() -> indicatif::ProgressBar {
    indicatif::ProgressBar::hidden()
}
