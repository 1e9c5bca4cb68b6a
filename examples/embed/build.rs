//! Brings the tokenizer's file into the form that its reader takes, so that no replica pays fuel for it.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=tokenizer.json");
    let mut tokenizer = serde_json::from_str(&fs::read_to_string("tokenizer.json")?)?;
    tk_convert::canonicalize_value(&mut tokenizer)?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    fs::write(
        Path::new(&folder).join("tokenizer.json"),
        tokenizer.to_string(),
    )?;
    Ok(())
}
