//! `assay job init`: a manifest for what lies in a folder. Asks nothing; whatever it chose stands in the file with the
//! reason, to be changed there.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use jobs::digest::BlobRef;
use jobs::manifest::{INPUT_BYTES_MAX, MODEL_BYTES_MAX, Manifest};
use serde_json::json;

use crate::config::file::replace;
use crate::exit::{Exit, Fix, fail};
use crate::output::Output;
use crate::read;

/// Where inputs are looked for, in this order.
const INPUT_FOLDERS: [&str; 4] = ["data", "input", "inputs", ""];
/// Endings of inputs, and how each is cut into items.
const INPUT_ENDINGS: [(&str, &str); 4] = [
    ("txt", "lines"),
    ("jsonl", "lines"),
    ("csv", "lines"),
    ("npy", "npy-rows"),
];
/// Where models are looked for.
const MODEL_FOLDERS: [&str; 2] = ["models", ""];
/// Shards that a manifest aims at: enough to be spread, few enough to be cheap.
const SHARDS_AIM: usize = 8;
/// Most items that are put into a shard unasked.
const ITEMS_PER_SHARD_MOST: usize = 64;
/// Longest name in bytes.
const NAME_BYTES: usize = 64;

/// What to write a manifest for.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The job's name [default: the folder's].
    name: Option<String>,
    /// The folder with component, input and models.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The component, if there are several.
    #[arg(long)]
    component: Option<PathBuf>,
    /// The input, if there are several: a file, or a folder of files.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Replace a job.toml that is there.
    #[arg(long)]
    force: bool,
}

/// An input and how it is cut.
struct Input {
    path: String,
    split: &'static str,
    items: Option<usize>,
}

/// A model as a manifest names it.
struct Model {
    name: String,
    source: String,
    blob: BlobRef,
}

pub(super) fn run(init: &Init, output: Output) -> Result<()> {
    let path = init.dir.join("job.toml");
    if path.exists() && !init.force {
        let reason = format!("{} is there already", path.display());
        return fail(Exit::Usage, reason).fix("say --force to replace it, or edit it");
    }
    if !init.dir.is_dir() {
        return fail(Exit::Usage, format!("{} is no folder", init.dir.display()));
    }
    let name = plain(&match &init.name {
        Some(name) => name.clone(),
        None => folder_name(&init.dir)?,
    });
    let (component, build) = component(init)?;
    let input = input(init)?;
    let models = models(&init.dir)?;
    let text = manifest(&name, &component, &input, &models)?;
    // What is written here must be what is read there.
    Manifest::parse(&text).with_context(|| format!("the manifest for {}", init.dir.display()))?;
    replace(&path, text.as_bytes())?;
    let value = json!({
        "manifest": path, "name": name, "component": component, "input": input.path,
        "items": input.items, "models": models.iter().map(|model| &model.name).collect::<Vec<_>>(),
        "build": build,
    });
    output.data(&value, || {
        let build = build.iter().map(|command| format!("first: {command}\n"));
        format!(
            "wrote  {}\n{}then:  assay job run --local {}",
            path.display(),
            build.collect::<String>(),
            path.display()
        )
    })
}

fn folder_name(dir: &Path) -> Result<String> {
    let dir = dir
        .canonicalize()
        .with_context(|| dir.display().to_string())?;
    let name = dir.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// A name that manifests allow: small letters, digits and `-`.
fn plain(text: &str) -> String {
    let kept = text.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let name: String = kept.take(NAME_BYTES).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "job" } else { name }.to_owned()
}

/// Files of a folder with one of these endings, by name, relative to `dir`.
fn files(dir: &Path, folder: &str, endings: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join(folder));
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_file());
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let fits = |name: &String| endings.iter().any(|end| name.ends_with(&format!(".{end}")));
    let mut found: Vec<String> = names
        .filter(fits)
        .map(|name| match folder {
            "" => name,
            folder => format!("{folder}/{name}"),
        })
        .collect();
    found.sort();
    found
}

/// The one of these that is meant, or an error that lists them.
fn only(found: &[String], what: &str, flag: &str) -> Result<Option<String>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let reason = format!("there are several {what}: {}", several.join(", "));
            fail(Exit::Usage, reason).fix(format!("say which: {flag} FILE"))
        }
    }
}

/// The component's path, and how to build it if it is not there yet.
fn component(init: &Init) -> Result<(String, Option<String>)> {
    if let Some(given) = &init.component {
        return Ok((given.display().to_string(), None));
    }
    let mut found = files(&init.dir, "target", &["component.wasm"]);
    found.extend(files(&init.dir, "", &["wasm"]));
    if let Some(one) = only(&found, "components", "--component")? {
        return Ok((one, None));
    }
    let cargo = init.dir.join("Cargo.toml");
    if let Some(name) = package_name(&cargo)? {
        let build = format!("assay component build {}", init.dir.display());
        return Ok((format!("target/{name}.component.wasm"), Some(build)));
    }
    let reason = format!(
        "{} has no component (*.wasm) and no Cargo.toml",
        init.dir.display()
    );
    fail(Exit::Usage, reason).fix("build one with `assay component build`, or say --component FILE")
}

fn package_name(cargo: &Path) -> Result<Option<String>> {
    if !cargo.exists() {
        return Ok(None);
    }
    let bytes = read::bounded(cargo, "a Cargo.toml", 1 << 20)?;
    let table: toml::Table = String::from_utf8_lossy(&bytes)
        .parse()
        .with_context(|| cargo.display().to_string())?;
    let name = table.get("package").and_then(|package| package.get("name"));
    Ok(name.and_then(toml::Value::as_str).map(str::to_owned))
}

fn input(init: &Init) -> Result<Input> {
    let mut found = Vec::new();
    if let Some(given) = &init.input {
        found.push(given.display().to_string());
    } else {
        let endings = INPUT_ENDINGS.map(|(ending, _)| ending);
        for folder in INPUT_FOLDERS {
            found = files(&init.dir, folder, &endings);
            if !found.is_empty() {
                break;
            }
        }
    }
    if let Some(path) = only(&found, "inputs", "--input")? {
        return described(&init.dir, path);
    }
    for folder in ["input", "inputs", "data"] {
        if init.dir.join(folder).is_dir() {
            return described(&init.dir, folder.to_owned());
        }
    }
    let reason = format!(
        "{} has no input (*.txt, *.jsonl, *.csv, *.npy or a folder input/)",
        init.dir.display()
    );
    fail(Exit::Usage, reason).fix("make one item a line in data/input.txt, or say --input FILE")
}

/// How an input is cut, and into how many items, where that can be told.
fn described(dir: &Path, path: String) -> Result<Input> {
    let file = dir.join(&path);
    if file.is_dir() {
        let items = std::fs::read_dir(&file).map(Iterator::count).ok();
        let split = "files";
        return Ok(Input { path, split, items });
    }
    let ending = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let known = INPUT_ENDINGS.iter().find(|(known, _)| *known == ending);
    let split = known.map_or("lines", |(_, split)| *split);
    let bytes = read::bounded(&file, "an input", INPUT_BYTES_MAX)?;
    let named = || file.display().to_string();
    let items = match split {
        "npy-rows" => jobs::npy::split_rows(&bytes).with_context(named)?.len(),
        _ => jobs::input::split_lines(&bytes).with_context(named)?.len(),
    };
    let items = Some(items);
    Ok(Input { path, split, items })
}

fn models(dir: &Path) -> Result<Vec<Model>> {
    let mut models: Vec<Model> = Vec::new();
    for folder in MODEL_FOLDERS {
        for source in files(dir, folder, &["onnx"]) {
            let path = dir.join(&source);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = plain(&stem);
            if models.iter().any(|model| model.name == name) {
                let reason = format!("two models would be called {name:?}");
                return fail(Exit::Usage, reason).fix("rename one of the files");
            }
            let blob = read::blob(&path, "a model", MODEL_BYTES_MAX)?;
            models.push(Model { name, source, blob });
        }
    }
    Ok(models)
}

fn manifest(name: &str, component: &str, input: &Input, models: &[Model]) -> Result<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let per_shard = input.items.unwrap_or(1).div_ceil(SHARDS_AIM);
    let per_shard = per_shard.clamp(1, ITEMS_PER_SHARD_MOST);
    let mut text = format!(
        "# What to run, on what, and what it may cost. `assay job validate` checks it, `assay job quote` prices it.\n\
         schema = 1\nname = {}\n# Relative to this file.\ncomponent = {}\n",
        quoted(name),
        quoted(component)
    );
    for model in models {
        write!(
            text,
            "\n# The guest loads it by this name. Relative to this file, or to ~/.cache/assay ($ASSAY_HOME).\n\
             [[model]]\nname = {}\nsource = {}\ndigest = \"{}\"\n",
            quoted(&model.name),
            quoted(&model.source),
            model.blob.digest
        )?;
    }
    let items = input.items.map(|items| format!(" Now {items}."));
    write!(
        text,
        "\n[input]\npath = {}\n# An item is one of: lines, npy-rows, files.{}\nsplit = \"{}\"\n\
         # More items in a shard cost less overhead; more shards run at the same time.\nitems_per_shard = {per_shard}\n",
        quoted(&input.path),
        items.unwrap_or_default(),
        input.split
    )?;
    text += REST;
    let (fuel, memory) = match models.is_empty() {
        true => ("100_000_000", "67_108_864"),
        false => ("4_000_000_000", "268_435_456"),
    };
    write!(
        text,
        "\n# What one execution of a shard may use; `assay job run --local` shows what it does use. More fuel costs more,\n\
         # because the worst case is what is reserved.\n[limits]\nfuel = {fuel}\nmemory_bytes = {memory}\n\
         output_bytes_per_item = 4096\nwall_ms = 60000\n\n\
         # The most that the whole job may cost. It goes into escrow, and what is not paid returns.\n\
         [price]\nmax = \"1.00\"\n\n\
         # A job that is not done by then fails, and what is not paid returns. device: any, cpu or gpu.\n\
         [schedule]\ndeadline_ms = 600000\ndevice = \"any\"\n"
    )?;
    Ok(text)
}

/// What cannot be told from a folder.
const REST: &str = "
# How outputs are put together: items (as the guest returns them), jsonl (each is a JSON text) or npy (each is a row:
# add dtype = \"f32\" and shape = [384], say).
[output]
format = \"items\"

# How often each shard is executed, and how outputs are compared. exact: bit by bit, right for text and integers, and for
# models where all replicas have the same kind of processor. numeric: for floats, with dtype, atol and rtol;
# `assay model calibrate` measures what these must be.
[verify]
replicas = 2
max_replicas = 5
comparator = \"exact\"
";

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Output = Output {
        json: true,
        quiet: true,
    };

    fn init(dir: &Path) -> Init {
        Init {
            name: None,
            dir: dir.to_owned(),
            component: None,
            input: None,
            force: false,
        }
    }

    #[test]
    fn what_a_folder_holds_becomes_a_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let refused = |words: &str| {
            let error = run(&init(dir), QUIET).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
            assert!(crate::hints::of(&error).is_some(), "{error:#}");
        };
        refused("has no component");
        std::fs::write(dir.join("guest.wasm"), "").unwrap();
        refused("has no input");
        std::fs::create_dir(dir.join("data")).unwrap();
        let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
        std::fs::write(dir.join("data/lines.txt"), lines).unwrap();
        std::fs::write(dir.join("net.onnx"), "model").unwrap();
        let named = Init {
            name: Some("My \"Job\"".into()),
            ..init(dir)
        };
        run(&named, QUIET).unwrap();
        let text = std::fs::read_to_string(dir.join("job.toml")).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.name, "my--job");
        assert_eq!(manifest.component, "guest.wasm");
        assert_eq!(manifest.input.items_per_shard, 13);
        assert_eq!(manifest.models.len(), 1);
        assert_eq!(manifest.models[0].source, "net.onnx");
        refused("is there already");
        std::fs::write(dir.join("other.wasm"), "").unwrap();
        std::fs::remove_file(dir.join("job.toml")).unwrap();
        refused("several components: guest.wasm, other.wasm");
    }
}
