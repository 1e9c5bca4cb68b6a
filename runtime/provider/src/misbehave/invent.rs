//! Noted values that nobody computed.

use jobs::openings::{CHUNK_BYTES, Chunk, Noted};
use runtime::{ShardOutcome, Trace, TraceError, TraceWriter};

/// Values of each invented inference where not even their number is known.
const VALUES: u32 = 384;

/// How many values each inference of a trace has: what anyone finds out who knows the items and the tokenizer.
pub(super) fn lengths(trace: &Trace) -> std::io::Result<Vec<u32>> {
    let mut lengths: Vec<u32> = Vec::new();
    trace.pieces(|piece| {
        for chunk in piece.as_chunks::<CHUNK_BYTES>().0 {
            let chunk = Chunk::from_bytes(chunk).map_err(std::io::Error::other)?;
            let at = chunk.inference as usize;
            if lengths.len() <= at {
                lengths.resize(at.saturating_add(1), 0);
            }
            if let Some(length) = lengths.get_mut(at) {
                let count = u32::try_from(chunk.values.len()).unwrap_or(0);
                *length = chunk.offset.saturating_add(count);
            }
        }
        Ok::<_, std::io::Error>(())
    })?;
    Ok(lengths)
}

/// A trace of inferences of these lengths, every value a zero.
fn zeros(lengths: &[u32]) -> Result<(Noted, Trace), TraceError> {
    let mut writer = TraceWriter::new(&std::env::temp_dir())?;
    for length in lengths {
        writer.note(&vec![0; (*length as usize).saturating_mul(4)])?;
    }
    Ok(writer.finish()?)
}

/// Puts a made-up trace into an outcome, in a job that has values opened.
pub(super) fn made_up(
    mut done: ShardOutcome,
    lengths: Option<Vec<u32>>,
) -> Result<ShardOutcome, TraceError> {
    let lengths = lengths.unwrap_or_else(|| vec![VALUES; done.outcome.items as usize]);
    let (noted, trace) = zeros(&lengths)?;
    (done.outcome.noted, done.trace) = (Some(noted), Some(trace));
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_trace_has_the_lengths_of_the_true_one_and_none_of_its_values() {
        let mut writer = TraceWriter::new(&std::env::temp_dir()).unwrap();
        let ones = |count: usize| 1.0_f32.to_le_bytes().repeat(count);
        let counts = [100_u32, 64, 1];
        counts
            .iter()
            .for_each(|count| writer.note(&ones(*count as usize)).unwrap());
        let (noted, trace) = writer.finish().unwrap();
        let lengths = lengths(&trace).unwrap();
        assert_eq!(lengths, counts);
        let (invented, _) = zeros(&lengths).unwrap();
        assert_eq!(
            (invented.chunks, invented.inferences),
            (noted.chunks, noted.inferences)
        );
        assert_ne!(invented.root, noted.root);
    }
}
