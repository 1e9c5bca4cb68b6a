//! Brings the tokenizer's file into the form that its reader takes, as examples/embed does.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const TOKENIZER: &str = "../../../examples/embed/tokenizer.json";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={TOKENIZER}");
    let mut tokenizer = serde_json::from_str(&fs::read_to_string(TOKENIZER)?)?;
    tk_convert::canonicalize_value(&mut tokenizer)?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    fs::write(
        Path::new(&folder).join("tokenizer.json"),
        tokenizer.to_string(),
    )?;
    Ok(())
}
