//! The file: a header that names the provider, then frames of mark, length, checksum and record.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jobs::digest::Digest;
use jobs::ids::ProviderId;

use super::Record;
use super::index::{Kept, Place};
use crate::Error;
use crate::identity::sync_dir;

/// What every file begins with.
const MAGIC: &[u8; 8] = b"ASSAYJ02";

/// What every frame begins with: how damage is told from a torn end.
const MARK: [u8; 4] = [0xa5, b'r', b'e', b'c'];

/// Bytes before a record: mark, length, checksum.
const FRAME_HEAD: usize = 4 + 4 + 32;

/// Bytes of the file's header: magic, provider, checksum.
const HEADER: usize = 8 + 32 + 32;

/// Largest record in bytes: a receipt of the largest size and what goes with it.
pub(super) const RECORD_MAX: usize = 512 * 1024;

/// Fingerprints in one sealed record.
const SEALED_PER_RECORD: usize = 4096;

/// Bytes read at a time when the file is opened.
const SCAN_STEP: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens or makes the file and tells `visit` of every record.
    pub(super) fn open(
        path: &Path,
        provider: ProviderId,
        mut visit: impl FnMut(Place, &Record),
    ) -> Result<Self, Error> {
        let fresh = !path.exists();
        let file = options().open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let header = header(provider);
        let mut log = Self {
            path: path.to_owned(),
            file,
            length: HEADER as u64,
        };
        // A first start that was cut short has written nothing but a part of the header.
        if fresh || log.is_torn_header(size, &header)? {
            log.truncate(0)?;
            log.write_at(0, &header)?;
            if let Some(dir) = path.parent() {
                sync_dir(dir)?;
            }
            return Ok(log);
        }
        let found = log.bytes(0, HEADER)?;
        if found != header {
            let other = found.get(..MAGIC.len()) != Some(MAGIC.as_slice());
            let reason = match other {
                true => "it is of another version of this program",
                false => "it is not the journal of this provider",
            };
            return Err(log.corrupt(0, reason));
        }
        log.scan(size, &mut visit)?;
        Ok(log)
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Appends a record and waits until the disk has it.
    pub(super) fn append(&mut self, record: &Record) -> Result<Place, Error> {
        let place = self.write(record)?;
        self.sync()?;
        Ok(place)
    }

    /// Reads a record and checks it once more.
    pub(super) fn read(&self, place: Place) -> Result<Record, Error> {
        let frame = self.bytes(place.offset, FRAME_HEAD.saturating_add(place.length))?;
        let record = frame_body(&frame, place.length).and_then(decode);
        record.ok_or_else(|| self.corrupt(place.offset, "a record changed after it was written"))
    }

    /// Writes what is kept to a new file, which takes this one's place once it is whole.
    pub(super) fn rewrite(
        &self,
        path: &Path,
        provider: ProviderId,
        kept: &Kept,
        mut visit: impl FnMut(Place, &Record),
    ) -> Result<Self, Error> {
        let part = path.with_extension("part");
        if part.exists() {
            fs::remove_file(&part).map_err(Error::io("remove", &part))?;
        }
        let mut new = Self::open(&part, provider, |_, _| {})?;
        let mut write = |record: &Record| -> Result<(), Error> {
            let place = new.write(record)?;
            visit(place, record);
            Ok(())
        };
        for sealed in kept.sealed.chunks(SEALED_PER_RECORD) {
            write(&Record::Sealed(sealed.to_vec()))?;
        }
        for (place, settled) in &kept.places {
            write(&self.read(*place)?)?;
            if let Some(id) = settled {
                write(&Record::Settled(*id))?;
            }
        }
        new.sync()?;
        fs::rename(&part, path).map_err(Error::io("rename", &part))?;
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        new.path = path.to_owned();
        Ok(new)
    }

    fn write(&mut self, record: &Record) -> Result<Place, Error> {
        let body = postcard::to_stdvec(record).map_err(|error| {
            let reason = error.to_string();
            Error::Statement(jobs::Error::Encode {
                what: "journal record",
                reason,
            })
        })?;
        if body.len() > RECORD_MAX {
            return Err(Error::RecordTooLarge {
                size: body.len(),
                max: RECORD_MAX,
            });
        }
        let mut frame = Vec::with_capacity(FRAME_HEAD.saturating_add(body.len()));
        frame.extend_from_slice(&MARK);
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(Digest::of(&body).as_bytes());
        frame.extend_from_slice(&body);
        let place = Place {
            offset: self.length,
            length: body.len(),
        };
        self.write_at(self.length, &frame)?;
        Ok(place)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(Error::io("write", &self.path))?;
        self.length = offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }

    fn truncate(&mut self, length: u64) -> Result<(), Error> {
        let cut = self
            .file
            .set_len(length)
            .and_then(|()| self.file.sync_all());
        cut.map_err(Error::io("truncate", &self.path))?;
        self.length = length;
        Ok(())
    }

    fn is_torn_header(&self, size: u64, header: &[u8]) -> Result<bool, Error> {
        let Some(torn) = usize::try_from(size).ok().filter(|size| *size < HEADER) else {
            return Ok(false);
        };
        Ok(header.starts_with(&self.bytes(0, torn)?))
    }

    /// Walks the frames. The first that cannot be read is the torn end, or damage.
    fn scan(&mut self, size: u64, visit: &mut impl FnMut(Place, &Record)) -> Result<(), Error> {
        let mut offset = HEADER as u64;
        while offset < size {
            let Some((place, record)) = self.frame_at(offset, size)? else {
                if let Some(next) = self.next_frame(offset, size)? {
                    let reason = format!("an unreadable record, and a good one at byte {next}");
                    return Err(self.corrupt(offset, &reason));
                }
                let torn = size.saturating_sub(offset);
                tracing::warn!(path = %self.path.display(), offset, torn, "a torn record is cut off");
                return self.truncate(offset);
            };
            visit(place, &record);
            offset = offset.saturating_add((FRAME_HEAD as u64).saturating_add(place.length as u64));
            self.length = offset;
        }
        Ok(())
    }

    /// The frame at `offset`, if there is a whole and true one.
    fn frame_at(&self, offset: u64, size: u64) -> Result<Option<(Place, Record)>, Error> {
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        if left < FRAME_HEAD {
            return Ok(None);
        }
        let head = self.bytes(offset, FRAME_HEAD)?;
        let Some(length) = frame_length(&head).filter(|length| *length <= left - FRAME_HEAD) else {
            return Ok(None);
        };
        let frame = self.bytes(offset, FRAME_HEAD.saturating_add(length))?;
        let record = frame_body(&frame, length).and_then(decode);
        Ok(record.map(|record| (Place { offset, length }, record)))
    }

    /// Where the next true frame begins after `offset`, if there is any.
    fn next_frame(&self, offset: u64, size: u64) -> Result<Option<u64>, Error> {
        let mut at = offset.saturating_add(1);
        while at < size {
            let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            let bytes = self.bytes(at, left.min(SCAN_STEP))?;
            for (step, window) in bytes.windows(MARK.len()).enumerate() {
                let candidate = at.saturating_add(step as u64);
                if window == MARK && self.frame_at(candidate, size)?.is_some() {
                    return Ok(Some(candidate));
                }
            }
            // The steps overlap by what a mark could straddle.
            let whole = bytes.len() < SCAN_STEP;
            let step = bytes.len().saturating_sub(MARK.len() - 1).max(1);
            at = if whole {
                size
            } else {
                at.saturating_add(step as u64)
            };
        }
        Ok(None)
    }

    fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn corrupt(&self, offset: u64, reason: &str) -> Error {
        Error::JournalCorrupt {
            path: self.path.clone(),
            offset,
            reason: reason.to_owned(),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Nonces of unrevealed commitments are in it.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
}

fn header(provider: ProviderId) -> Vec<u8> {
    let mut header = [MAGIC.as_slice(), &provider.0].concat();
    let checksum = Digest::of(&header);
    header.extend_from_slice(checksum.as_bytes());
    header
}

/// The length that a frame's head announces, if it is one.
fn frame_length(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(&MARK)?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    (length <= RECORD_MAX).then_some(length)
}

/// The record's bytes, if the frame is true.
fn frame_body(frame: &[u8], length: usize) -> Option<&[u8]> {
    if frame_length(frame)? != length {
        return None;
    }
    let checksum = frame.get(8..FRAME_HEAD)?;
    let body = frame.get(FRAME_HEAD..)?;
    (Digest::of(body).as_bytes() == checksum).then_some(body)
}

fn decode(body: &[u8]) -> Option<Record> {
    postcard::from_bytes(body).ok()
}
