//! Components that were never seen, and components that are large.

use anyhow::{Result, ensure};
use runtime::{Backend, ShardTask};

use super::{Bench, read};
use crate::bare::{Interpreter, plain};
use crate::guests;
use crate::measure::{Samples, duel};
use crate::ours::{Ours, items, outputs};
use crate::table::{Row, Target};

/// More than a sandbox keeps in memory, so that the second visit of each finds it on disk.
const COMPONENTS: u32 = runtime::sandbox::COMPONENTS_MAX as u32 + 8;

/// An unseen component from its bytes to its answer, and the same from the cache on disk.
pub(crate) fn unseen(bench: &Bench) -> Result<Vec<Row>> {
    let (what, again) = (
        "unseen component: verify, compile, run",
        "the same from the cache on disk",
    );
    let component = match bench.guest("echo")? {
        Ok(component) => component,
        Err(reason) => {
            return Ok(vec![
                Row::skipped(what, reason.clone()),
                Row::skipped(again, reason),
            ]);
        }
    };
    let ours = Ours::new(Backend::None)?;
    let tasks: Vec<ShardTask> = (0..COMPONENTS)
        .map(|number| ours.task(&guests::unseen(&component, number), &[]))
        .collect::<Result<_>>()?;
    let encoded = items(&[b"hello"])?;
    let visit = || -> Result<Samples> {
        let each = tasks
            .iter()
            .map(|task| Ok(ours.timed(task, &encoded)?.0 * 1e3));
        Ok(Samples::of(each.collect::<Result<_>>()?))
    };
    // The first is slower by what the process does once, which is part of being cold.
    let cold = visit()?;
    let mut cached = visit()?;
    for _ in 0..bench.pick(4, 1) {
        let more = visit()?;
        cached = Samples::of([cached, more].iter().flat_map(Samples::values).collect());
    }
    let size = component.len() / 1000;
    Ok(vec![
        Row::new(format!("{what} ({size} kB)"), "ms", &cold)
            .target(Target::AtMost(150.0))
            .note("digest, structure, compilation, cache entry, link, instance, run; the guest is examples/echo"),
        Row::new(again, "ms", &cached).target(Target::AtMost(2.0)),
    ])
}

/// Components with an interpreter inside: a warm fresh instance, alone, with a call, and as a job.
pub(crate) fn interpreters(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in ["javascript", "python"] {
        let path = bench
            .interpreters
            .as_ref()
            .map(|folder| folder.join(format!("{name}.component.wasm")));
        match path.filter(|path| path.is_file()) {
            Some(path) => rows.extend(interpreter(bench, name, &read(&path)?)?),
            None => rows.push(Row::skipped(
                format!("fresh instance of a {name} component"),
                format!("{name}.component.wasm is not built: cargo xtask setup --interpreters"),
            )),
        }
    }
    Ok(rows)
}

/// Milliseconds within which a component with an interpreter has to be ready, and to answer.
const INTERPRETER_MS: f64 = 5.0;

/// Measurements of an instance, and as many of a shard.
const INTERPRETER_ROUNDS: (usize, usize) = (200, 50);

/// An instance of it without a call and with one; then the whole sandbox around that call.
fn interpreter(bench: &Bench, name: &str, component: &[u8]) -> Result<Vec<Row>> {
    let (full, quick) = INTERPRETER_ROUNDS;
    let rounds = bench.pick(full, quick);
    let item = vec![b"hello".to_vec()];
    let checked = jobs::component::check(component);
    let is_job = checked.is_ok();
    let bare = plain(Interpreter::new(component, is_job))?;
    let answer = || -> Result<f64> {
        let (taken, outputs) = plain(bare.run(&item))?;
        ensure!(
            outputs == item,
            "the {name} component answers something else"
        );
        Ok(taken)
    };
    let (alone, called) = duel(rounds, || plain(bare.instance()), answer)?;
    let engine = if is_job {
        "store, instance and drop on the engine and in the pools of the sandbox"
    } else {
        "store, instance and drop on the engine and in the pools of the sandbox, with room for more core instances"
    };
    let size = component.len() / 1_000_000;
    let mut rows = vec![
        Row::new(
            format!("fresh instance of a {name} component ({size} MB)"),
            "ms",
            &alone,
        )
        .target(Target::AtMost(INTERPRETER_MS))
        .note(engine),
        Row::new(format!("the same, and run(echo) in {name}"), "ms", &called)
            .target(Target::AtMost(INTERPRETER_MS))
            .note("one item of 5 bytes in and out; imports are traps, and none was called"),
    ];
    let what = format!("the same as a shard of a {name} job, in process");
    rows.push(match checked {
        Ok(_) => shard(rounds, what, component, &item, answer)?,
        Err(refused) => Row::skipped(what, refused.to_string()),
    });
    Ok(rows)
}

/// The sandbox beside a bare instance that does the same.
fn shard(
    rounds: usize,
    what: String,
    component: &[u8],
    item: &[Vec<u8>],
    bare: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    let ours = Ours::new(Backend::None)?;
    let task = ours.task(component, &[])?;
    let encoded = items(item)?;
    let run = || -> Result<f64> {
        let (seconds, done) = ours.timed(&task, &encoded)?;
        ensure!(
            outputs(&done)? == item,
            "the sandbox answers something else"
        );
        Ok(seconds * 1e3)
    };
    let (mine, theirs) = duel(rounds, run, bare)?;
    let row = Row::new(what, "ms", &mine).against(&mine, &theirs);
    Ok(row.target(Target::AtMost(INTERPRETER_MS)).note(
        "the component passes the check of a job and runs as it is; baseline: the row above, taken in turn",
    ))
}
