//! Turns what comes with Magika's model into tables, so that no replica pays fuel for reading JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

/// What the model was made with: which bytes it looks at, and what its outputs stand for.
const CONFIG: &str = "magika/config.min.json";

/// What is known of every kind of file.
const KINDS: &str = "magika/content_types_kb.min.json";

/// Answers that need no model, or stand for what the model is not sure of.
const WITHOUT_MODEL: [&str; 3] = ["empty", "txt", "unknown"];

#[derive(Deserialize)]
struct Config {
    beg_size: usize,
    mid_size: usize,
    end_size: usize,
    block_size: usize,
    use_inputs_at_offsets: bool,
    padding_token: i32,
    min_file_size_for_dl: usize,
    medium_confidence_threshold: f64,
    target_labels_space: Vec<String>,
    thresholds: BTreeMap<String, f64>,
    overwrite_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Kind {
    mime_type: Option<String>,
    group: Option<String>,
    is_text: bool,
}

type Kinds = BTreeMap<String, Kind>;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=magika");
    let config: Config = serde_json::from_str(&fs::read_to_string(CONFIG)?)?;
    let kinds: Kinds = serde_json::from_str(&fs::read_to_string(KINDS)?)?;
    if config.mid_size != 0 || config.use_inputs_at_offsets {
        return Err(
            "the guest prepares the beginning and the end of a file and nothing else".into(),
        );
    }
    let mut text = String::new();
    writeln!(text, "const BEGINNING: usize = {};", config.beg_size)?;
    writeln!(text, "const END: usize = {};", config.end_size)?;
    writeln!(text, "const BLOCK: usize = {};", config.block_size)?;
    writeln!(text, "const PADDING: i32 = {};", config.padding_token)?;
    writeln!(
        text,
        "const LENGTH_MIN: usize = {};",
        config.min_file_size_for_dl
    )?;
    for name in WITHOUT_MODEL {
        let answer = answer(&kinds, name)?;
        writeln!(text, "const {}: Kind = {answer};", name.to_uppercase())?;
    }
    let count = config.target_labels_space.len();
    writeln!(text, "const OUTPUTS: [Output; {count}] = [")?;
    for name in &config.target_labels_space {
        let shown = config.overwrite_map.get(name).unwrap_or(name);
        let least = config.thresholds.get(name);
        let least = least.unwrap_or(&config.medium_confidence_threshold);
        let answer = answer(&kinds, shown)?;
        writeln!(
            text,
            "    Output {{ kind: {answer}, score_min: {least:?} }},"
        )?;
    }
    writeln!(text, "];")?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    fs::write(Path::new(&folder).join("tables.rs"), text)?;
    Ok(())
}

/// A kind of file as an expression of the guest. What Magika leaves open gets the words that it says then.
fn answer(kinds: &Kinds, name: &str) -> Result<String, Box<dyn Error>> {
    let kind = kinds
        .get(name)
        .ok_or_else(|| format!("nothing is known of {name:?}"))?;
    let group = kind.group.as_deref().unwrap_or("unknown");
    let plain = if kind.is_text {
        "text/plain"
    } else {
        "application/octet-stream"
    };
    let mime = kind.mime_type.as_deref().unwrap_or(plain);
    for word in [name, group, mime] {
        // The guest writes them into JSON as they are.
        if word.contains(|symbol: char| !symbol.is_ascii_graphic() || "\"\\".contains(symbol)) {
            return Err(format!("{word:?} cannot stand in JSON as it is").into());
        }
    }
    let text = kind.is_text;
    Ok(format!(
        "Kind {{ label: {name:?}, group: {group:?}, mime: {mime:?}, text: {text} }}"
    ))
}
