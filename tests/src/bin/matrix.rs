//! Runs every real adversary against the real binary and prints what came of it: a table, and with `--json` a last
//! line of JSON. `cargo xtask bench matrix` builds what it needs and runs it.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::json;
use tests::machine;
use tests::matrix::{CASES, Case, Policy, Row, Settings, Workload, case, run, table};

/// Real adversaries against the real binary.
#[derive(Debug, Parser)]
struct Args {
    /// How answers are verified: replicate or audit.
    #[arg(long, default_value = "replicate")]
    policy: Policy,
    /// Jobs of each case.
    #[arg(long, default_value_t = 50)]
    jobs: u32,
    /// Honest providers.
    #[arg(long, default_value_t = 4)]
    honest: usize,
    /// Have replicas open values within their models to one another.
    #[arg(long)]
    openings: bool,
    /// Ten jobs a case: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Only these adversaries; may be repeated.
    #[arg(long, value_name = "ADVERSARY")]
    only: Vec<String>,
    /// Print the adversaries' names and end.
    #[arg(long)]
    list: bool,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let chosen: Vec<&Case> = match args.only.is_empty() {
        true => CASES.iter().collect(),
        false => args
            .only
            .iter()
            .map(|name| case(name))
            .collect::<Result<_>>()?,
    };
    if args.list {
        chosen.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    let settings = Settings {
        policy: args.policy,
        honest: args.honest,
        jobs: if args.quick { 10 } else { args.jobs },
        openings: args.openings,
    };
    let machine = machine::facts();
    eprintln!("executes every item honestly");
    let workload = Workload::new(settings.jobs, chosen.iter().any(|case| case.embeds))?;
    let mut rows: Vec<Row> = Vec::new();
    let mut broken = Vec::new();
    for case in chosen {
        // A case that cannot be run does not cost the rows of those that could.
        let row = match run(case, settings, &workload) {
            Ok(row) => row,
            Err(error) => {
                eprintln!("{}: {error:#}", case.name);
                broken.push(case.name);
                continue;
            }
        };
        eprintln!(
            "{}: {:.0} s, {} wrong",
            row.adversary, row.seconds, row.wrong_items
        );
        rows.push(row);
    }
    print!("{}", table(&rows));
    if args.json {
        let openings = if settings.openings { "-openings" } else { "" };
        let bench = format!("matrix-{}{openings}", settings.policy);
        println!(
            "{}",
            json!({ "bench": bench, "machine": machine, "rows": rows })
        );
    }
    let harmed: usize = rows.iter().map(|row| row.honest_slashed).sum();
    ensure!(harmed == 0, "{harmed} honest providers were slashed");
    ensure!(broken.is_empty(), "not run to their end: {broken:?}");
    Ok(())
}
