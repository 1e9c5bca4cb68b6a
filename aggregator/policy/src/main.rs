//! Runs the campaign and prints the table, with `--json` also one object as the last line.
//!
//! `cargo xtask bench verify` builds and runs it; `assay sim verify` is the same for those who have the
//! program and no sources.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use policy::sim::{Campaign, Report, plot, run, table};
use serde_json::{Value, json};

/// What the command line asks for.
#[derive(Default)]
struct Args {
    json: bool,
    quick: bool,
    plots: Option<PathBuf>,
    seed: Option<u64>,
}

const USAGE: &str = "usage: verify [--json] [--quick] [--seed N] [--plots FOLDER]";

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("verify: error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("verify: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--json" => args.json = true,
            "--quick" => args.quick = true,
            "--plots" => args.plots = Some(value()?.into()),
            "--seed" => {
                let text = value()?;
                args.seed = Some(text.parse().map_err(|_| format!("{text:?} is no seed"))?);
            }
            _ => return Err(format!("{word:?} is not known")),
        }
    }
    Ok(args)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program measures its own speed; the simulator never sees this"
)]
fn measure(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let started = std::time::Instant::now();
    let mut campaign = Campaign {
        seed: args.seed.unwrap_or(1),
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        ..Campaign::default()
    };
    if args.quick {
        campaign.lives = 400;
        campaign.horizons = vec![10_000_000];
    }
    let report = run(&campaign, |done, total| {
        if done.is_multiple_of(100) || done == total {
            eprintln!("  {done} of {total} cells");
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder)?;
        for (name, svg) in plot::all(&report) {
            std::fs::write(folder.join(name), svg)?;
        }
    }
    let machine = machine();
    println!("{}", table::text(&report));
    println!(
        "seed {}, {} rows, {seconds:.0} s",
        report.seed,
        report.rows.len()
    );
    if args.json {
        println!("{}", object(&machine, &report, seconds)?);
    }
    Ok(())
}

/// The common form of a benchmark's result.
fn object(machine: &Value, report: &Report, seconds: f64) -> Result<String, serde_json::Error> {
    let rows = serde_json::to_value(&report.rows)?;
    let value = json!({
        "bench": "verify", "machine": machine, "seed": report.seed, "wall_s": seconds, "rows": rows,
    });
    serde_json::to_string(&value)
}

/// What it ran on.
fn machine() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let date = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let date = date.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    json!({
        "cpu": cpu.map_or(std::env::consts::ARCH, |(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "os": std::env::consts::OS,
        "date": date.unwrap_or_default(),
    })
}
