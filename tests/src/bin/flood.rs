//! Floods an aggregator's HTTP interface and measures what an honest client notices: a table, and with `--json` a last
//! line of JSON. `cargo xtask bench api` builds what it needs and runs it.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::json;
use tests::flood::{Attack, Scene, table};
use tests::machine;

/// Floods of an aggregator's HTTP interface.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Three seconds an attack: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Only these attacks; may be repeated. The one named `none` is what others are compared with.
    #[arg(long, value_name = "ATTACK")]
    only: Vec<String>,
    /// Print the attacks' names and end.
    #[arg(long)]
    list: bool,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
}

fn chosen(only: &[String]) -> Result<Vec<Attack>> {
    if only.is_empty() {
        return Ok(Attack::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Attack::ALL.into_iter().find(|one| one.name() == name);
        let names = Attack::ALL.map(Attack::name).join(", ");
        found.with_context(|| format!("no attack is named {name:?}: there are {names}"))
    };
    only.iter().map(find).collect()
}

fn main() -> Result<()> {
    let args = Args::parse();
    let attacks = chosen(&args.only)?;
    if args.list {
        attacks.iter().for_each(|one| println!("{}", one.name()));
        return Ok(());
    }
    let lasts = Duration::from_secs(if args.quick { 3 } else { args.seconds });
    let machine = machine::facts();
    let scene = Arc::new(Scene::new()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for attack in attacks {
        let row = runtime.block_on(scene.flood(attack, lasts))?;
        eprintln!("{}: p99 {:.1} ms", row.attack, row.p99_ms);
        rows.push(row);
    }
    print!("{}", table(&rows));
    if args.json {
        println!(
            "{}",
            json!({ "bench": "api", "machine": machine, "seconds": lasts.as_secs(), "rows": rows })
        );
    }
    scene.audit()?;
    let unserved: Vec<&str> = rows
        .iter()
        .filter(|row| row.honest == row.undecided)
        .map(|row| row.attack)
        .collect();
    ensure!(
        unserved.is_empty(),
        "the honest client got nothing during {unserved:?}"
    );
    Ok(())
}
