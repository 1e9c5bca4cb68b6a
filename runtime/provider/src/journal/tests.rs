use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use ed25519_dalek::SigningKey;
use jobs::digest::BlobRef;
use jobs::outcome::{Fingerprint, Meters, Outcome};
use jobs::plan;

use super::*;
use crate::fixture::{Job, guest, id, job};
use crate::work::sign;

struct Scene {
    dir: tempfile::TempDir,
    key: SigningKey,
    job: Job,
}

fn scene() -> Scene {
    Scene {
        dir: tempfile::tempdir().unwrap(),
        key: SigningKey::from_bytes(&[8; 32]),
        job: job(guest("")),
    }
}

impl Scene {
    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn open(&self) -> Result<Journal, Error> {
        self.open_with(Bounds::default())
    }

    fn open_with(&self, bounds: Bounds) -> Result<Journal, Error> {
        Journal::open(&self.path(), id(&self.key), bounds)
    }

    /// What a provider would say about the `attempt`-th assignment of the first shard. Every call
    /// draws another nonce.
    fn work(&self, attempt: u32) -> Work {
        let aggregator = SigningKey::from_bytes(&[7; 32]);
        let mut assignment = self.job.assignment(0, &aggregator, id(&self.key));
        assignment.attempt = attempt;
        let (job, provider) = (assignment.job, assignment.provider);
        assignment.id = AssignmentId::derive(id(&aggregator), job, 0, attempt, provider);
        let span = plan::span(6, 2, 0).unwrap();
        let outcome = Outcome {
            noted: None,
            placement: Vec::new(),
            root: Digest::of(b"root"),
            outputs: BlobRef::of(&attempt.to_le_bytes()),
            items: span.items,
            meters: Meters::default(),
            fingerprint: Fingerprint {
                engine: String::new(),
                library: String::new(),
                execution_provider: String::new(),
                device: String::new(),
                options: String::new(),
            },
        };
        let order = order(assignment.id, attempt);
        sign(
            &self.key,
            order,
            assignment,
            self.job.package.clone(),
            outcome,
        )
        .unwrap()
    }

    fn id(&self, attempt: u32) -> AssignmentId {
        self.work(attempt).order.assignment
    }

    /// Signs about the first `count` attempts; returns what was signed.
    fn fill(&self, journal: &Journal, count: u32) -> Vec<Work> {
        let sign = |attempt| {
            let id = self.id(attempt);
            journal.sign_once(id, || Ok(self.work(attempt))).unwrap()
        };
        (0..count).map(sign).collect()
    }
}

fn order(assignment: AssignmentId, attempt: u32) -> Order {
    Order {
        assignment,
        job: JobId::default(),
        aggregator: ProviderId([7; 32]),
        at: Timestamp(1000 + u64::from(attempt)),
        due_ms: 60_000,
    }
}

#[test]
fn sixteen_threads_that_race_make_one_statement() {
    let scene = scene();
    let journal = scene.open().unwrap();
    let (made, start) = (AtomicU32::new(0), Barrier::new(16));
    let id = scene.id(0);
    let race = || {
        start.wait();
        let signed = journal.sign_once(id, || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(scene.work(0))
        });
        signed.unwrap().commitment
    };
    let commitments: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(race)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(commitments.iter().all(|signed| *signed == commitments[0]));
}

#[test]
fn what_was_signed_and_not_sent_is_the_same_after_a_restart() {
    let scene = scene();
    let journal = scene.open().unwrap();
    let signed = scene.fill(&journal, 3);
    // As a kill would: no close, no further write.
    std::mem::forget(journal);
    let journal = scene.open().unwrap();
    assert_eq!(journal.unsettled().len(), 3);
    for (work, attempt) in signed.iter().zip(0..) {
        let again = journal.sign_once(scene.id(attempt), || Ok(scene.work(attempt)));
        assert_eq!(again.unwrap(), *work);
        let report = journal.report(scene.id(attempt)).unwrap();
        assert_eq!(report, Some(Report::Work(Box::new(work.clone()))));
    }
}

#[test]
fn an_end_is_an_end() {
    let scene = scene();
    let journal = scene.open().unwrap();
    let (id, id_2) = (scene.id(0), scene.id(1));
    journal.accept(order(id, 0)).unwrap();
    journal.accept(order(id_2, 1)).unwrap();
    assert_eq!(journal.abandoned().len(), 2);
    let failed = |id| Failed {
        order: order(id, 0),
        code: FailureCode::Internal,
        reason: "lost".into(),
    };
    journal.fail(failed(id)).unwrap();
    journal.sign_once(id_2, || Ok(scene.work(1))).unwrap();
    for ended in [
        journal.sign_once(id, || Ok(scene.work(0))).map(drop),
        journal.accept(order(id, 0)),
        journal.fail(failed(id_2)),
        journal.accept(order(id_2, 1)),
    ] {
        assert!(matches!(ended, Err(Error::Ended { .. })), "{ended:?}");
    }
    assert_eq!(journal.known(id), Some(Known::Failed));
    assert_eq!(journal.unsettled().len(), 2);
    journal.settle(id).unwrap();
    drop(journal);
    let journal = scene.open().unwrap();
    assert_eq!(journal.unsettled(), [id_2]);
    assert_eq!(journal.abandoned(), []);
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_tore() {
    let scene = scene();
    let journal = scene.open().unwrap();
    scene.fill(&journal, 1);
    let whole = fs::metadata(scene.path()).unwrap().len();
    scene.fill(&journal, 2);
    drop(journal);
    let bytes = fs::read(scene.path()).unwrap();
    for cut in [whole + 1, whole + 20, whole + 41, bytes.len() as u64 - 1] {
        fs::write(scene.path(), &bytes[..cut as usize]).unwrap();
        let journal = scene.open().unwrap();
        assert_eq!(
            fs::metadata(scene.path()).unwrap().len(),
            whole,
            "cut at {cut}"
        );
        assert_eq!(journal.known(scene.id(0)), Some(Known::Signed));
        assert_eq!(journal.known(scene.id(1)), None, "cut at {cut}");
        // What comes next is whole again.
        scene.fill(&journal, 2);
        drop(journal);
        assert_eq!(scene.open().unwrap().remembered(), (2, 0));
    }
    for cut in [0, 7, 71] {
        fs::write(scene.path(), &bytes[..cut]).unwrap();
        assert_eq!(scene.open().unwrap().remembered(), (0, 0), "cut at {cut}");
    }
}

#[test]
fn damage_before_the_end_is_refused_and_named() {
    let scene = scene();
    let journal = scene.open().unwrap();
    scene.fill(&journal, 3);
    drop(journal);
    let bytes = fs::read(scene.path()).unwrap();
    let frame = (bytes.len() - 72) / 3;
    for offset in [5, 40, 72, 77, 85, 72 + frame / 2, 72 + frame + 100] {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1;
        fs::write(scene.path(), &damaged).unwrap();
        let error = scene.open().unwrap_err();
        assert!(
            matches!(error, Error::JournalCorrupt { .. }),
            "{offset}: {error}"
        );
        assert_eq!(fs::read(scene.path()).unwrap(), damaged, "untouched");
    }
}

#[test]
fn the_journal_of_another_provider_is_refused() {
    let scene = scene();
    drop(scene.open().unwrap());
    let error = Journal::open(&scene.path(), ProviderId([1; 32]), Bounds::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not the journal of this provider"),
        "{error}"
    );
}

#[test]
fn a_record_that_changed_on_disk_is_never_revealed() {
    let scene = scene();
    let journal = scene.open().unwrap();
    scene.fill(&journal, 1);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(scene.path())
        .unwrap();
    file.write_all_at(b"!", 300).unwrap();
    let error = journal.report(scene.id(0)).unwrap_err();
    assert!(matches!(error, Error::JournalCorrupt { .. }), "{error}");
}

#[test]
fn what_was_compacted_is_still_never_signed_again() {
    let scene = scene();
    let bounds = Bounds {
        live: 8,
        ..Bounds::default()
    };
    let journal = scene.open_with(bounds).unwrap();
    for attempt in 0..20 {
        let id = scene.id(attempt);
        journal.sign_once(id, || Ok(scene.work(attempt))).unwrap();
        journal.settle(id).unwrap();
    }
    let (live, sealed) = journal.remembered();
    assert!(live <= 8 && live + sealed == 20, "{live} {sealed}");
    drop(journal);
    let journal = scene.open_with(bounds).unwrap();
    assert_eq!(journal.remembered(), (live, sealed));
    for attempt in 0..20 {
        let id = scene.id(attempt);
        match journal.known(id) {
            Some(Known::Sealed) => {
                let again = journal.sign_once(id, || Ok(scene.work(attempt)));
                assert!(
                    matches!(again, Err(Error::Ended { how: "sealed" })),
                    "{again:?}"
                );
            }
            known => assert_eq!(known, Some(Known::Signed)),
        }
    }
    assert_eq!(journal.known(scene.id(19)), Some(Known::Signed));
}

#[test]
fn open_assignments_are_never_compacted_and_fill_the_journal_by_name() {
    let scene = scene();
    let bounds = Bounds {
        live: 4,
        ..Bounds::default()
    };
    let journal = scene.open_with(bounds).unwrap();
    assert_eq!(journal.full(), None);
    scene.fill(&journal, 6);
    assert_eq!(journal.remembered(), (6, 0));
    assert_eq!(journal.full(), Some("open assignments"));
}

#[test]
fn an_assignment_is_its_aggregators_alone() {
    let scene = scene();
    let journal = scene.open().unwrap();
    let work = scene.work(0);
    let (id, own, rival) = (
        work.order.assignment,
        work.order.aggregator,
        ProviderId([5; 32]),
    );
    assert!(!journal.is_anothers(id, rival), "nobody gave it yet");
    journal.sign_once(id, || Ok(work)).unwrap();
    assert!(journal.is_anothers(id, rival) && !journal.is_anothers(id, own));
}

#[test]
fn outputs_are_for_the_aggregator_and_kept_for_a_day() {
    let scene = scene();
    let journal = scene.open().unwrap();
    let work = scene.fill(&journal, 1).remove(0);
    let (digest, at) = (work.opening.outcome.outputs.digest, work.order.at);
    assert!(journal.may_fetch(work.order.aggregator, &digest));
    assert!(!journal.may_fetch(ProviderId([1; 32]), &digest));
    assert!(!journal.may_fetch(work.order.aggregator, &Digest::of(b"other")));
    let late = at.plus_ms(OUTPUTS_KEPT_MS);
    assert!(journal.needs(&digest, late), "nobody has heard of it yet");
    journal.settle(work.order.assignment).unwrap();
    assert!(journal.needs(&digest, at) && !journal.needs(&digest, late));
}
