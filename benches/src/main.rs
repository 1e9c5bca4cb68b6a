//! What the sandbox costs, measured side by side with what others cost, in one run.
//!
//! Each row is a figure of ours and, where there is one, of a baseline: bare wasmtime, bare ONNX
//! Runtime, Python, wasmtime's own wasi-nn. Contestants take turns, so that a machine that is slow for
//! a while is slow for all. Where outputs can be compared they are, before anything is timed. A row that
//! cannot be measured here says why, and is never called reached.
//!
//! `cargo xtask bench host` builds this program, the guests and the baselines, and runs it. Start
//! reading at [`rows`], a group to a file; [`ours`], [`bare`] and [`raw`] are the contestants.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

mod bare;
mod child;
mod guests;
mod machine;
mod measure;
mod onnx;
mod ours;
mod raw;
mod rows;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use measure::Clock;
use rows::{Bench, GROUPS};
use table::Row;

/// Measures what the sandbox costs.
#[derive(Debug, Parser)]
struct Args {
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Fewer rounds: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Only these groups of rows.
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
    /// Print the groups' names and end.
    #[arg(long)]
    list: bool,
    /// The built baseline of wasmtime-wasi-nn.
    #[arg(long)]
    wasi_nn: Option<PathBuf>,
    /// The built baseline on bare ONNX Runtime.
    #[arg(long)]
    native: Option<PathBuf>,
    /// A Python with onnxruntime and tokenizers.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Folder of built guests: `echo.component.wasm`, `embed.component.wasm`, `batch.component.wasm`.
    #[arg(long)]
    guests: Option<PathBuf>,
    /// Folder of `javascript.component.wasm` and `python.component.wasm`.
    #[arg(long)]
    interpreters: Option<PathBuf>,
    /// Folder of models; by default `models` below `ASSAY_HOME`.
    #[arg(long)]
    models: Option<PathBuf>,
    /// Measure one thing about this process and print it (the program calls itself so).
    #[arg(long, hide = true)]
    probe: Option<String>,
    #[arg(long, hide = true, default_value_t = 0)]
    count: u32,
}

fn main() -> ExitCode {
    // A worker gives its rights up while the process has one thread.
    if std::env::args().nth(1).as_deref() == Some(rows::WORKER_ARGUMENT) {
        return runtime::worker::main();
    }
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    if let Some(kind) = &args.probe {
        println!("{}", rows::probe(kind, args.count)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        GROUPS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    for wanted in &args.only {
        let known = GROUPS.map(|(name, _)| name);
        ensure!(
            known.contains(&wanted.as_str()),
            "no group is called {wanted:?}; there are {}",
            known.join(", ")
        );
    }
    let bench = Bench {
        quick: args.quick,
        wasi_nn: args.wasi_nn,
        native: args.native,
        python: args.python,
        guests: args.guests,
        interpreters: args.interpreters,
        models: args.models.map_or_else(models, Ok)?,
    };
    let machine = machine::facts();
    let mut rows: Vec<Row> = Vec::new();
    for (group, measure) in GROUPS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == group) {
            continue;
        }
        eprint!("bench: {group} ...");
        let clock = Clock::start();
        match measure(&bench) {
            Ok(more) => rows.extend(more.into_iter().map(|row| row.in_group(group))),
            Err(error) => {
                eprint!(" failed: {error:#}");
                rows.push(Row::failed(group, &error));
            }
        }
        eprintln!(" {:.1} s", clock.seconds());
    }
    print!("{}", table::text(&machine, &rows));
    if args.json {
        println!("{}", table::object(&machine, &rows)?);
    }
    let failed = rows.iter().any(Row::is_failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// `models` below `ASSAY_HOME`, else below `.cache/assay` in the home folder.
fn models() -> Result<PathBuf> {
    let home = match std::env::var_os("ASSAY_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?)
                .join(".cache/assay")
        }
    };
    Ok(home.join("models"))
}
