//! Values within a model, noted while a shard runs ([`jobs::openings`]).
//!
//! They go to a file as they come, because a shard may note far more than fits in memory. The file has no name, so it goes
//! with the last who holds it, whatever becomes of the process.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use host_gpu::{ElementType, Graph, NnError, NoteSink, Notes};
use jobs::openings::{CHUNK_BYTES, Noted, Noter, TRACE_BYTES_MAX, chunks_of};

use crate::failure::FailureKind;
use crate::task::Noting;

/// Chunks that are read at a time, about a mebibyte.
const PIECE_CHUNKS: usize = 8192;

/// Why a chunk could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There are more than one execution may note.
    #[error("{wanted} bytes of values to note, the bound is {limit}")]
    Full {
        /// Bytes that there would be.
        wanted: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// The file system failed.
    #[error("could not note values: {0}")]
    Io(#[from] io::Error),
}

/// Encoded chunks, in a file that nobody else has a name for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace {
    file: Arc<File>,
    chunks: u32,
}

impl PartialEq for Trace {
    /// Whether they are one file.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Eq for Trace {}

impl Trace {
    /// Gives all encoded chunks to `take`, about a mebibyte at a time.
    ///
    /// # Errors
    /// If the file cannot be read, or `take` fails.
    pub fn pieces<E: From<io::Error>>(
        &self,
        mut take: impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, mut left) = (0_u64, self.chunks as usize);
        while left > 0 {
            let chunks = left.min(PIECE_CHUNKS);
            let mut piece = vec![0; chunks.saturating_mul(CHUNK_BYTES)];
            self.file.read_exact_at(&mut piece, at)?;
            at = at.saturating_add(piece.len() as u64);
            left = left.saturating_sub(chunks);
            take(piece)?;
        }
        Ok(())
    }
}

/// Writes encoded chunks, and counts and hashes them meanwhile.
#[derive(Debug)]
pub struct TraceWriter {
    noter: Noter,
    file: BufWriter<File>,
    /// Bytes at most; fewer than [`TRACE_BYTES_MAX`] in tests.
    limit: u64,
}

impl TraceWriter {
    /// Begins a trace in this folder, which must exist.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let path = folder.join(format!("trace-{}", hex::encode(name)));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self {
            noter: Noter::default(),
            file: BufWriter::new(file),
            limit: TRACE_BYTES_MAX,
        })
    }

    /// Bytes of the encoded chunks so far.
    pub fn bytes(&self) -> u64 {
        self.noter.noted_bytes()
    }

    /// Adds encoded chunks, each of [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// If there are too many, or the disk fails.
    pub fn push(&mut self, chunks: &[u8]) -> Result<(), TraceError> {
        for chunk in chunks.as_chunks::<CHUNK_BYTES>().0 {
            let wanted = self.noter.noted_bytes().saturating_add(CHUNK_BYTES as u64);
            let limit = self.limit;
            let full = TraceError::Full { wanted, limit };
            if wanted > limit || self.noter.push(chunk).is_none() {
                return Err(full);
            }
            self.file.write_all(chunk)?;
        }
        Ok(())
    }

    /// Adds the values of one inference: 32-bit floats, little-endian.
    ///
    /// # Errors
    /// As [`TraceWriter::push`].
    pub fn note(&mut self, values: &[u8]) -> Result<(), TraceError> {
        let number = self.noter.end_inference();
        chunks_of(number, values).try_for_each(|chunk| self.push(&chunk))
    }

    /// What was noted, and the file.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(self) -> io::Result<(Noted, Trace)> {
        let noted = self.noter.noted();
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let trace = Trace {
            file: Arc::new(file),
            chunks: noted.chunks,
        };
        Ok((noted, trace))
    }
}

/// Takes what a graph gives while a guest runs.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<Option<TraceWriter>>);

impl NoteSink for Recorder {
    fn note(&self, values: &[u8]) -> Result<(), NnError> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = writer.as_mut().ok_or(NnError::Stopped)?;
        writer.note(values).map_err(|error| match error {
            TraceError::Full { wanted, limit } => NnError::NotesFull { wanted, limit },
            TraceError::Io(source) => NnError::Io {
                what: "note values in",
                path: std::env::temp_dir(),
                source,
            },
        })
    }
}

impl Recorder {
    /// One for a graph of the job, and what has the graph noted. The tensor must be an output of 32-bit floats.
    ///
    /// In a worker the folder for temporary files is its own.
    pub(crate) fn new(noting: &Noting, graph: &Graph) -> Result<(Arc<Self>, Notes), FailureKind> {
        let outputs = &graph.io().outputs;
        let refused = |reason: String| FailureKind::ModelRefused {
            name: noting.graph.clone(),
            reason,
        };
        let tensor = noting.tensor.clone();
        match outputs.iter().find(|output| output.name == tensor) {
            Some(output) if output.ty == ElementType::F32 => {}
            Some(output) => {
                let reason = format!("output {tensor:?} is {}, only f32 can be opened", output.ty);
                return Err(refused(reason));
            }
            None => return Err(refused(format!("it has no output {tensor:?} to be opened"))),
        }
        let writer = TraceWriter::new(&std::env::temp_dir());
        let writer = writer.map_err(|error| FailureKind::blob("noted values", error))?;
        let recorder = Arc::new(Self(Mutex::new(Some(writer))));
        let sink: Arc<dyn NoteSink> = recorder.clone();
        Ok((recorder, Notes::new(*graph.digest(), tensor, sink)))
    }

    /// Ends the trace. What a guest that was stopped still notes goes nowhere.
    pub(crate) fn finish(&self) -> Result<(Noted, Trace), FailureKind> {
        let writer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = writer.ok_or_else(|| FailureKind::lost("its noted values were taken"))?;
        let finished = writer.finish();
        finished.map_err(|error| FailureKind::blob("noted values", error))
    }
}

#[cfg(test)]
mod tests {
    use jobs::merkle::Tree;

    use super::*;

    #[test]
    fn what_is_noted_is_read_back_and_hashes_to_what_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TraceWriter::new(folder.path()).unwrap();
        let values: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|v| (v as f32).to_le_bytes())
            .collect();
        for tensor in [&values[..], &[], &values[..12]] {
            writer.note(tensor).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let (noted, trace) = writer.finish().unwrap();
        assert_eq!((noted.chunks, noted.inferences), (15_626, 3));
        let mut read = Vec::new();
        let all = trace.pieces(|piece| {
            read.extend(piece);
            Ok::<_, io::Error>(())
        });
        all.unwrap();
        let chunks = read.as_chunks::<CHUNK_BYTES>().0;
        assert_eq!(Tree::of(chunks).root(), noted.root);
        assert_eq!(chunks.len(), 15_626);
    }

    #[test]
    fn more_than_the_bound_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TraceWriter::new(folder.path()).unwrap();
        writer.limit = 3 * CHUNK_BYTES as u64;
        writer.note(&[0; 4 * 190]).unwrap();
        let error = writer.note(&[0; 4]).unwrap_err().to_string();
        assert_eq!(error, "552 bytes of values to note, the bound is 414");
        let (noted, _) = writer.finish().unwrap();
        assert_eq!(noted.chunks, 3);
    }
}
