//! Brings the tokenizer's file into the form that its reader takes, so that no replica pays fuel for it.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use serde_json::{Map, Value};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string("tokenizer.json")?)?;
    // Without this list nothing in a prompt can become a control token: `<|im_end|>` in a prompt is ten characters, and
    // does not end a turn. The guest writes the control tokens of its template itself.
    if let Some(list) = tokenizer.pointer_mut("/added_tokens") {
        *list = Value::Array(Vec::new());
    }
    let vocabulary = tokenizer
        .pointer_mut("/model/vocab")
        .and_then(Value::as_object_mut)
        .ok_or("tokenizer.json has no vocabulary")?;
    complete(vocabulary);
    tk_convert::canonicalize_value(&mut tokenizer)?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    fs::write(
        Path::new(&folder).join("tokenizer.json"),
        tokenizer.to_string(),
    )?;
    Ok(())
}

/// Gives a token to each byte that has none (SmolLM2 leaves out eight that occur in hardly any text), as the reader
/// wants all 256. They come after those that the model knows, so that the guest can tell and refuse them.
fn complete(vocabulary: &mut Map<String, Value>) {
    let mut beyond = 0_u32;
    for byte in 0..=u8::MAX {
        // A byte-level vocabulary is written in printable characters: a byte that is one stands for itself, the others
        // for the characters from U+0100 on.
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let written = if printable {
            char::from(byte)
        } else {
            beyond += 1;
            char::from_u32(0xff + beyond).unwrap_or_default()
        };
        let next = vocabulary.len();
        vocabulary
            .entry(written.to_string())
            .or_insert_with(|| next.into());
    }
}
