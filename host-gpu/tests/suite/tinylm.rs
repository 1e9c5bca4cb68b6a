//! A real language model on ONNX Runtime: shapes, sense, and the same bits from every session.

use crate::support::{data, f32s, i64s, ort, tensor};
use host_gpu::{
    Device, ElementType, GraphOptions, NnBackend, NnSession, ReadBack, StopFlag, TensorValue,
};
use std::sync::Arc;

const LAYERS: usize = 3;
const HEADS: u32 = 4;
const HEAD_WIDTH: u32 = 32;
const VOCABULARY: usize = 256;
/// Bytes the test model writes.
const NEW_TOKENS: usize = 24;

pub fn load(device: Device) -> Box<dyn NnSession> {
    let bytes = std::fs::read(data("tinylm.onnx")).unwrap();
    ort()
        .load(
            "tinylm",
            &bytes,
            &GraphOptions::on(device),
            &StopFlag::default(),
        )
        .unwrap()
}

/// A model and the cache it has built up, as tensors that are never looked into.
struct Decoder {
    session: Box<dyn NnSession>,
    past: Vec<(String, Arc<TensorValue>)>,
    length: i64,
}

impl Decoder {
    fn new(session: Box<dyn NnSession>) -> Self {
        let empty = || tensor(ElementType::F32, &[1, HEADS, 0, HEAD_WIDTH], &[]);
        let names = (0..LAYERS).flat_map(|layer| {
            ["key", "value"].map(|part| format!("past_key_values.{layer}.{part}"))
        });
        let past = names.map(|name| (name, empty())).collect();
        Self {
            session,
            past,
            length: 0,
        }
    }

    /// Feeds tokens; returns the logits of all of them, as bytes.
    fn feed(&mut self, tokens: &[i64]) -> Vec<u8> {
        let logits = self.step(tokens, &Arc::default());
        logits.host_bytes().unwrap().to_vec()
    }

    /// Feeds tokens; returns the logits where the session left them.
    fn step(&mut self, tokens: &[i64], read_back: &Arc<ReadBack>) -> TensorValue {
        let count = tokens.len() as i64;
        let positions: Vec<i64> = (self.length..self.length + count).collect();
        self.length += count;
        let shape = [1, count as u32];
        let mask = vec![1; self.length as usize];
        let mut given = std::mem::take(&mut self.past);
        given.push((
            "input_ids".to_owned(),
            tensor(ElementType::I64, &shape, &i64s(tokens)),
        ));
        given.push((
            "position_ids".to_owned(),
            tensor(ElementType::I64, &shape, &i64s(&positions)),
        ));
        given.push((
            "attention_mask".to_owned(),
            tensor(ElementType::I64, &[1, self.length as u32], &i64s(&mask)),
        ));
        let bound = self.session.io().bind(given).unwrap();
        let stop = StopFlag::default();
        let outputs = self.session.run_for(&bound, read_back, &stop).unwrap();
        let mut logits = None;
        for (name, value) in outputs {
            match name.strip_prefix("present.") {
                Some(rest) => {
                    assert_eq!(value.dims(), [1, HEADS, self.length as u32, HEAD_WIDTH]);
                    self.past
                        .push((format!("past_key_values.{rest}"), Arc::new(value)));
                }
                None => {
                    assert_eq!(name, "logits");
                    assert_eq!(value.dims(), [1, count as u32, VOCABULARY as u32]);
                    logits = Some(value);
                }
            }
        }
        logits.unwrap()
    }
}

fn best(logits: &[u8]) -> i64 {
    let last = &logits[logits.len() - VOCABULARY * 4..];
    let values = last
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let best = values
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    best.0 as i64
}

/// Continues a text greedily; returns the text and every logit on the way.
pub fn write(session: Box<dyn NnSession>, prompt: &str) -> (String, Vec<u8>) {
    let mut decoder = Decoder::new(session);
    let tokens: Vec<i64> = prompt.bytes().map(i64::from).collect();
    let mut logits = decoder.feed(&tokens);
    let mut seen = logits.clone();
    let mut text = prompt.to_owned();
    for _ in 0..NEW_TOKENS {
        let next = best(&logits);
        text.push(char::from(next as u8));
        logits = decoder.feed(&[next]);
        seen.extend_from_slice(&logits);
    }
    (text, seen)
}

/// Continues a text greedily, each byte chosen where the logits are; and which outputs came to the host.
pub fn choose(session: Box<dyn NnSession>, prompt: &str) -> (String, Arc<ReadBack>) {
    let mut decoder = Decoder::new(session);
    let read_back = Arc::new(ReadBack::default());
    let mut tokens: Vec<i64> = prompt.bytes().map(i64::from).collect();
    let mut text = prompt.to_owned();
    for _ in 0..NEW_TOKENS {
        let logits = decoder.step(&tokens, &read_back);
        let last = u32::try_from(tokens.len()).unwrap() - 1;
        let next = logits.top_k(&[last], 1).unwrap()[0][0].0;
        text.push(char::from(next as u8));
        tokens = vec![i64::from(next)];
    }
    (text, read_back)
}

#[test]
fn tokens_chosen_where_the_logits_are_write_the_same_text() {
    let prompt = "And God said, ";
    let (text, _) = choose(load(Device::Cpu), prompt);
    assert_eq!(text, write(load(Device::Cpu), prompt).0);
}

#[test]
fn two_sessions_write_the_same_text_from_the_same_bits() {
    let prompt = "And God said, ";
    let (text, logits) = write(load(Device::Cpu), prompt);
    eprintln!("{text:?}");
    assert_eq!(logits.len(), (prompt.len() + NEW_TOKENS) * VOCABULARY * 4);
    let (again, same) = write(load(Device::Cpu), prompt);
    assert_eq!((again, logits == same), (text.clone(), true));
    // The model was trained on English: letters and spaces, not noise.
    let written = &text[prompt.len()..];
    assert!(
        written
            .chars()
            .filter(|c| c.is_ascii_alphabetic() || *c == ' ')
            .count()
            * 10
            >= NEW_TOKENS * 8,
        "{text}"
    );
    // Another prompt gives other logits, so the comparison above could fail.
    let other = write(load(Device::Cpu), "And Moses said, ").1;
    assert!(other[other.len() - 1024..] != logits[logits.len() - 1024..]);
}

#[test]
fn a_cache_that_is_passed_on_untouched_is_as_good_as_reading_the_text_anew() {
    let tokens: Vec<i64> = "In the beginning".bytes().map(i64::from).collect();
    let whole = Decoder::new(load(Device::Cpu)).feed(&tokens);
    let mut decoder = Decoder::new(load(Device::Cpu));
    decoder.feed(&tokens[..8]);
    let rest = decoder.feed(&tokens[8..]);
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let (whole, rest) = (floats(&whole[8 * VOCABULARY * 4..]), floats(&rest));
    let worst = whole
        .iter()
        .zip(&rest)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 1e-3, "the logits differ by {worst}");
    assert_eq!(f32s(&whole).len(), f32s(&rest).len());
}
