//! Kinds of files: each file becomes a JSON object with what Magika takes it for. The model sees the first and the last
//! kilobyte; which bytes these are, when there is nothing to see, and when the model is sure enough is decided here.

use assay::{Error, Tensor, log, model};

/// The name of the model in `job.toml`.
const MODEL: &str = "magika";

/// What may stand at the ends of a text without making it another: ASCII's white space with the vertical tab, which
/// `u8::is_ascii_whitespace` leaves out.
const BLANK: [u8; 6] = [b' ', b'\t', b'\n', b'\r', 0x0b, 0x0c];

/// What is said of a kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    label: &'static str,
    group: &'static str,
    mime: &'static str,
    /// Whether files of this kind are texts.
    text: bool,
}

/// What one of the model's outputs stands for.
struct Output {
    /// What is said if the model is sure of it.
    kind: Kind,
    /// The least score with which it is.
    score_min: f64,
}

// `BEGINNING`, `END`, `BLOCK`, `PADDING` and `LENGTH_MIN`; `EMPTY`, `TXT` and `UNKNOWN`; `OUTPUTS`.
include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// What is to be done with a file.
#[derive(Debug, PartialEq)]
enum Step {
    /// It needs no model.
    Answer(Kind),
    /// The model is to be asked about these numbers: bytes, and [`PADDING`] where there are none.
    Ask(Vec<i32>),
}

fn sniff(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let mut asked = 0;
    let mut outputs = Vec::with_capacity(items.len());
    for item in &items {
        let (kind, score) = match look(item) {
            Step::Answer(kind) => (kind, 1.0),
            // One file a run: the order in which a batch is added up may depend on its size, and so would a score on
            // the neighbours. Alone it depends on nothing but the file.
            Step::Ask(numbers) => {
                asked += 1;
                decide(&scores(&numbers)?)?
            }
        };
        outputs.push(record(kind, score));
    }
    log::info!("{} files, {asked} of them shown to the model", items.len());
    Ok(outputs)
}

assay::job!(sniff);

/// What of a file the model is to see, if there is enough of it.
fn look(file: &[u8]) -> Step {
    if file.is_empty() {
        return Step::Answer(EMPTY);
    }
    let first = file.get(..BLOCK).unwrap_or(file);
    let last = file.get(file.len().saturating_sub(BLOCK)..).unwrap_or(file);
    let beginning = without_blanks_before(first);
    // So little says nothing, be the file short or all but blank.
    if file.len() < LENGTH_MIN || beginning.len() < LENGTH_MIN {
        let text = std::str::from_utf8(first).is_ok();
        return Step::Answer(if text { TXT } else { UNKNOWN });
    }
    let beginning = beginning.get(..BEGINNING).unwrap_or(beginning);
    let end = without_blanks_after(last);
    let end = end.get(end.len().saturating_sub(END)..).unwrap_or(end);
    let bytes = |bytes: &[u8]| bytes.iter().copied().map(i32::from).collect::<Vec<i32>>();
    let mut numbers = bytes(beginning);
    // Both gaps lie between the two windows.
    numbers.resize(BEGINNING + END - end.len(), PADDING);
    numbers.extend(bytes(end));
    Step::Ask(numbers)
}

fn without_blanks_before(bytes: &[u8]) -> &[u8] {
    let kept = bytes.iter().position(|byte| !BLANK.contains(byte));
    kept.and_then(|at| bytes.get(at..)).unwrap_or_default()
}

fn without_blanks_after(bytes: &[u8]) -> &[u8] {
    let kept = bytes.iter().rposition(|byte| !BLANK.contains(byte));
    kept.and_then(|at| bytes.get(..=at)).unwrap_or_default()
}

/// How likely the model thinks each of its outputs.
fn scores(numbers: &[i32]) -> Result<Vec<f32>, Error> {
    let bytes = Tensor::from_slice(numbers, &[1, numbers.len()])?;
    model(MODEL)?
        .run([("bytes", &bytes)])?
        .values("target_label")
}

/// What is said, given the scores: the likeliest output, or a mere word for what the model is not sure of.
fn decide(scores: &[f32]) -> Result<(Kind, f64), Error> {
    if scores.len() != OUTPUTS.len() {
        let (got, want) = (scores.len(), OUTPUTS.len());
        return Err(Error::Model(format!("{got} scores, not {want}")));
    }
    let mut best: Option<(&Output, f64)> = None;
    for (output, score) in OUTPUTS.iter().zip(scores) {
        let score = f64::from(*score);
        // The first of two that are equal is taken.
        if best.as_ref().is_none_or(|(_, most)| score > *most) {
            best = Some((output, score));
        }
    }
    let (output, score) = best.ok_or_else(|| Error::failed("there are no scores"))?;
    let sure = score >= output.score_min;
    let generic = if output.kind.text { TXT } else { UNKNOWN };
    Ok((if sure { output.kind } else { generic }, score))
}

/// One line of the result. Nothing in it needs escaping: `build.rs` has looked.
fn record(kind: Kind, score: f64) -> Vec<u8> {
    let Kind {
        label, group, mime, ..
    } = kind;
    format!(r#"{{"label":"{label}","group":"{group}","mime":"{mime}","score":{score:.4}}}"#)
        .into_bytes()
}

#[cfg(test)]
mod tests;
