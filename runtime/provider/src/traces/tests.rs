use jobs::ids::{JobId, ProviderId};
use jobs::merkle;
use jobs::time::Timestamp;
use runtime::TraceWriter;

use super::*;
use crate::journal::{Bounds, Failed, Order};

/// Bytes of one inference's tensor of so many values.
fn values(count: u32) -> Vec<u8> {
    (0..count).flat_map(|v| (v as f32).to_le_bytes()).collect()
}

fn trace(count: u32) -> (Noted, Trace) {
    let mut writer = TraceWriter::new(&std::env::temp_dir()).unwrap();
    writer.note(&values(count)).unwrap();
    writer.finish().unwrap()
}

fn id(number: u8) -> AssignmentId {
    AssignmentId(Digest::of(&[number]))
}

struct Scene {
    dir: tempfile::TempDir,
    journal: Arc<Journal>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::open(&path, ProviderId([1; 32]), Bounds::default()).unwrap();
        Self {
            dir,
            journal: Arc::new(journal),
        }
    }

    fn open(&self, bytes_max: u64) -> Traces {
        let folder = self.dir.path().join("traces");
        Traces::open(folder, Arc::clone(&self.journal), bytes_max).unwrap()
    }

    /// An assignment that was accepted at this time.
    fn accepted(&self, number: u8, at: Timestamp) -> Order {
        let order = Order {
            assignment: id(number),
            job: JobId::default(),
            aggregator: ProviderId([7; 32]),
            at,
            due_ms: 60_000,
        };
        self.journal.accept(order).unwrap();
        order
    }

    /// Ends an assignment of which nobody needs to hear any more.
    fn over(&self, order: Order) {
        let failed = Failed {
            order,
            code: network::protocol::FailureCode::Internal,
            reason: String::new(),
        };
        self.journal.fail(failed).unwrap();
        self.journal.settle(order.assignment).unwrap();
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("traces"))
            .unwrap()
            .count()
    }
}

#[test]
fn a_trace_is_opened_anywhere_after_a_restart_too() {
    let scene = Scene::new();
    scene.accepted(1, now());
    let (noted, trace) = trace(1000);
    scene.open(1 << 20).put(id(1), &noted, &trace).unwrap();
    let again = scene.open(1 << 20);
    let opened = again.prove(id(1), &noted, &[15, 0, 7, 0]).unwrap();
    for (opened, place) in opened.iter().zip([15, 0, 7, 0]) {
        assert_eq!(opened.proof.index, place);
        assert!(merkle::verify(&noted.root, &opened.chunk, &opened.proof));
    }
    let error = again.prove(id(1), &noted, &[16]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(again.prove(id(2), &noted, &[0]).is_err(), "never put");
}

#[test]
fn traces_that_nobody_needs_make_room_and_others_do_not() {
    let scene = Scene::new();
    let (noted, trace) = trace(1000);
    let traces = scene.open(noted.trace_bytes() * 2);
    let old = scene.accepted(1, Timestamp(0));
    scene.accepted(2, now());
    for number in [1, 2] {
        traces.put(id(number), &noted, &trace).unwrap();
    }
    scene.accepted(3, now());
    let error = traces.put(id(3), &noted, &trace).unwrap_err().to_string();
    assert_eq!(
        error,
        "noted values of 2208 bytes do not fit: 4416 of 4416 bytes are used"
    );
    scene.over(old);
    traces.put(id(3), &noted, &trace).unwrap();
    assert_eq!(scene.files(), 2);
    assert!(traces.prove(id(1), &noted, &[0]).is_err());
    assert!(traces.prove(id(2), &noted, &[0]).is_ok());
}

#[test]
fn there_is_room_for_as_many_of_the_largest_traces_as_fit() {
    let scene = Scene::new();
    let traces = scene.open(TRACE_BYTES_MAX * 2);
    assert!(traces.has_room_for(2).unwrap() && !traces.has_room_for(3).unwrap());
    scene.accepted(1, now());
    let (noted, trace) = trace(10);
    traces.put(id(1), &noted, &trace).unwrap();
    assert!(traces.has_room_for(1).unwrap() && !traces.has_room_for(2).unwrap());
}

#[test]
fn a_start_removes_what_a_crash_left_and_what_is_not_known() {
    let scene = Scene::new();
    scene.accepted(1, now());
    let (noted, trace) = trace(10);
    let traces = scene.open(1 << 20);
    traces.put(id(1), &noted, &trace).unwrap();
    traces.put(id(2), &noted, &trace).unwrap();
    fs::write(traces.path(id(1)).with_extension(PART), b"half").unwrap();
    fs::write(scene.dir.path().join("traces/other"), b"other").unwrap();
    let again = scene.open(1 << 20);
    assert_eq!(scene.files(), 1);
    assert!(again.prove(id(1), &noted, &[0]).is_ok());
}
