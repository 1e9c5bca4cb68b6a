//! Components that were never seen, and components that are large.

use std::path::Path;

use anyhow::Result;
use runtime::{Backend, ShardTask};

use super::{Bench, read};
use crate::bare::{instances, plain};
use crate::guests;
use crate::measure::Samples;
use crate::ours::{Ours, items};
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

/// Components with an interpreter inside: a warm fresh instance.
pub(crate) fn interpreters(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, tool) in [
        ("javascript", "componentize-js"),
        ("python", "componentize-py"),
    ] {
        let what = format!("fresh instance of a {name} component");
        let path = bench
            .interpreters
            .as_ref()
            .map(|folder| folder.join(format!("{name}.component.wasm")));
        rows.push(match path.filter(|path| path.is_file()) {
            Some(path) => large(bench, &what, &path)?,
            None => Row::skipped(
                what,
                format!("no {name}.component.wasm (--interpreters FOLDER); jobs cannot import WASI yet, so none is built. \
                         {tool} makes one"),
            ),
        });
    }
    Ok(rows)
}

/// Instantiates a component whose imports are stubs: nothing of it can run as a job yet.
fn large(bench: &Bench, what: &str, path: &Path) -> Result<Row> {
    let bytes = read(path)?;
    let samples = plain(instances(&bytes, bench.pick(200, 50)))?;
    let row = Row::new(
        format!("{what} ({} MB)", bytes.len() / 1_000_000),
        "ms",
        &samples,
    );
    Ok(row.target(Target::AtMost(5.0)).note(
        "store, instance and drop with stubs for imports; no call, since no job can import WASI yet",
    ))
}
