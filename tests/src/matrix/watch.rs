//! When adversaries are caught, seen from outside.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::Caught;
use super::workload::ITEMS_PER_SHARD;
use crate::get;

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// What was seen of one adversary.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Its assignments that came to an end, and those under way.
    pub(super) assignments: u64,
    pub(super) caught: Option<Caught>,
}

/// Looks at these providers until `stop` is not zero, and once more. `over` counts the jobs that have ended.
pub(super) fn watch(http: &str, ids: &[String], over: &AtomicU32, stop: &AtomicU32) -> Vec<Seen> {
    let mut seen = vec![Seen::default(); ids.len()];
    loop {
        let last = stop.load(Ordering::SeqCst) > 0;
        let answer = get(http, "/api/v1/providers").and_then(|answer| answer.json());
        let views = answer.unwrap_or_default();
        for (one, id) in seen.iter_mut().zip(ids) {
            let views = views.as_array().into_iter().flatten();
            if let Some(view) = views.into_iter().find(|view| view["id"] == **id) {
                look(one, view, over.load(Ordering::SeqCst));
            }
        }
        if last {
            return seen;
        }
        std::thread::sleep(POLL);
    }
}

fn look(one: &mut Seen, view: &Value, jobs: u32) {
    let keys = ["agreements", "disagreements", "failures", "in_flight"];
    let counts = keys.map(|key| view[key].as_u64().unwrap_or(0));
    one.assignments = one.assignments.max(counts.iter().sum());
    if one.caught.is_some() {
        return;
    }
    let how = match (view["banned"].as_str(), &view["eligible"], &view["online"]) {
        (Some(why), ..) => {
            let kind = why.split([' ', '{', '(']).next().unwrap_or(why);
            format!("banned ({kind})")
        }
        (None, Value::Bool(false), _) => "demoted".to_owned(),
        (None, _, Value::Bool(false)) => "gone".to_owned(),
        _ => return,
    };
    one.caught = Some(Caught {
        how,
        items: one.assignments * u64::from(ITEMS_PER_SHARD),
        jobs,
    });
}
