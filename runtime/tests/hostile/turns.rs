//! Two jobs on one pool: what one of them asks of a graph is no matter for the other.

use std::cell::Cell;

use runtime::Backend;

use crate::corpus::block_on;
use crate::harness::Case;
use crate::onnx::{WORKER_BYTES, body, honest, looping};
use crate::proto::{node, rows};
use crate::rig::Rig;

pub(crate) const CASES: &[Case] = &[(
    "one_jobs_long_graph_does_not_stall_anothers_short_ones",
    one_jobs_long_graph_does_not_stall_anothers_short_ones,
)];

/// Turns of the long graph: seconds of work, where all the short ones with the start of their worker take a
/// few tenths of one.
const TURNS: i64 = 1 << 21;

/// Shards of the other job.
const SHORT: u32 = 16;

/// The long shard is the first to be given to the pool and holds a worker for as long as it takes. All the
/// short ones have their answers before it has its own, however slow the machine: it is the work that
/// differs, and nothing here looks at a clock.
fn one_jobs_long_graph_does_not_stall_anothers_short_ones() {
    let rig = Rig::new(Backend::Onnx, Some(WORKER_BYTES));
    let turn = body(|body| body.node(&node("Identity", "v", "w")));
    let long = honest("a long graph", &looping(TURNS, "y", &turn));
    let short = honest("a short graph", &rows().node(&node("Identity", "x", "y")));
    let answered = Cell::new(0);
    let before = block_on(async {
        let long = async {
            rig.answers(&long).await;
            answered.get()
        };
        let short = async {
            for _ in 0..SHORT {
                rig.answers(&short).await;
                answered.set(answered.get() + 1);
            }
        };
        tokio::join!(biased; long, short).0
    });
    assert_eq!(
        (before, answered.get()),
        (SHORT, SHORT),
        "short shards before the long one"
    );
}
