use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::assignment::Assignment;
use crate::envelope::ClientKey;
use crate::money::fee;
use crate::package::{Package, tests::package};
use crate::policy::{Policy, Share};
use crate::receipt::tests::{id, key, receipt};
use crate::shares::Floor;
use crate::{items, merkle, output, plan};

mod opened;

const FEE_BPS: u16 = 100;
const AGGREGATOR: u8 = 99;

/// A finished job and the blobs that belong to it.
struct Job {
    package: Package,
    record: JobRecord,
    blobs: RefCell<BTreeMap<BlobRef, Vec<u8>>>,
}

impl Job {
    fn store(&self, bytes: Vec<u8>) -> BlobRef {
        let reference = BlobRef::of(&bytes);
        self.blobs.borrow_mut().insert(reference, bytes);
        reference
    }

    fn verify(&self) -> Result<RecordReport, RecordError> {
        self.record
            .verify(&|blob| self.blobs.borrow().get(blob).cloned())
    }

    /// Settles and signs again, so that what a test changed is all that is wrong.
    fn resettle(&mut self, change: impl FnOnce(&mut Settlement)) {
        let mut settlement = self.record.settlement.verify().unwrap().statement;
        settlement.shards = shards_digest(&self.record.shards).unwrap();
        change(&mut settlement);
        self.record.settlement = Signed::sign(&settlement, &key(AGGREGATOR)).unwrap();
    }

    fn refused(&self, words: &str) {
        let error = self.verify().unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
}

/// The output of `provider` for an item: nearly the same for all but the third, which lies.
fn answer(provider: u8, item: u32) -> Vec<u8> {
    let value = if provider == 3 {
        -1.0
    } else {
        1.0 + item as f32
    };
    let value = value + f32::from(provider) * 1e-6;
    [value, 1.0_f32].map(f32::to_le_bytes).concat()
}

fn replica(job: &Job, provider: u8, index: u32, input: BlobRef) -> ReplicaRecord {
    let package = &job.package;
    let span = plan::span(package.input.items, package.items_per_shard, index).unwrap();
    let items = span.first_item..span.first_item + span.items;
    let outputs: Vec<_> = items.map(|item| answer(provider, item)).collect();
    job.store(items::encode(&outputs).unwrap());
    let key = key(provider);
    let receipt = receipt(&key, package, index, input, &outputs);
    let agreed = provider != 3;
    ReplicaRecord {
        assignment: receipt.assignment.id,
        provider: id(&key),
        commitment: Signed::sign(&receipt.commitment, &key).unwrap(),
        receipt: receipt.sign(&key).unwrap(),
        agreed,
        paid: if agreed { Amount(333) } else { Amount::ZERO },
    }
}

fn outcome(replica: &ReplicaRecord) -> crate::outcome::Outcome {
    let receipt = replica.receipt.verify(replica.provider).unwrap();
    receipt.statement.opening.outcome
}

/// A job of three items in two shards; each executed by providers 1 to 3, of whom 3 lies.
fn finished() -> Job {
    finished_as(package())
}

fn finished_as(package: Package) -> Job {
    let client = ClientKey::generate().unwrap();
    let placeholder = Settlement {
        job: package.id().unwrap(),
        client: client.client_id(),
        escrowed: Amount(100_000),
        paid: Vec::new(),
        fee: Amount::ZERO,
        fee_bps: FEE_BPS,
        returned: Amount::ZERO,
        result: BlobRef::of(b""),
        shards: Digest::default(),
        journal_head: (17, Digest::default()),
        draw: Shares {
            aggregator: Share([1; 32]),
            client: None,
            by_both: false,
            floor: None,
        },
    };
    let mut job = Job {
        record: JobRecord {
            package: client.sign_package(&package).unwrap(),
            shards: Vec::new(),
            settlement: Signed::sign(&placeholder, &key(AGGREGATOR)).unwrap(),
        },
        package,
        blobs: RefCell::default(),
    };
    let lines = ["one", "two", "three"];
    job.store(items::encode(&lines).unwrap());
    let mut outputs = Vec::new();
    for (run, index) in lines.chunks(2).zip(0..) {
        let input = job.store(items::encode(run).unwrap());
        let replicas: Vec<_> = (1..=3).map(|p| replica(&job, p, index, input)).collect();
        let lowest = replicas.iter().take(2).map(outcome).min_by_key(|o| o.root);
        let lowest = lowest.unwrap();
        outputs.push(job.blobs.borrow()[&lowest.outputs].clone());
        job.record.shards.push(ShardRecord {
            index,
            input,
            replicas,
            canonical: lowest.outputs,
            canonical_root: lowest.root,
            checks: Vec::new(),
            adopted: false,
        });
    }
    let rows = outputs
        .iter()
        .flat_map(|bytes| items::decode(bytes).unwrap());
    let result = output::merge(&job.package.output, &rows.collect::<Vec<_>>()).unwrap();
    let mut paid = vec![(id(&key(1)), Amount(666)), (id(&key(2)), Amount(666))];
    paid.sort();
    job.resettle(|s| {
        s.result = BlobRef::of(&result);
        s.paid = paid;
        s.fee = Amount(2 * fee(Amount(2 * 333), FEE_BPS).0);
        s.returned = Amount(100_000 - 4 * 333 - s.fee.0);
    });
    job
}

#[test]
fn a_finished_job_checks_out() {
    let job = finished();
    let report = job.verify().unwrap();
    assert_eq!((report.items, report.shards, report.replicas), (3, 2, 6));
    assert_eq!((report.agreements, report.disagreements), (4, 2));
    assert_eq!((report.paid, report.fee), (Amount(1332), Amount(14)));
    assert_eq!(report.aggregator, id(&key(AGGREGATOR)));
    assert!(report.input_checked);
    let liar = report.providers.iter().find(|p| p.provider == id(&key(3)));
    let liar = liar.unwrap();
    assert_eq!(
        (liar.replicas, liar.agreed, liar.paid),
        (2, 0, Amount::ZERO)
    );
    // The record survives both of its encodings.
    let json = serde_json::to_string(&job.record).unwrap();
    assert_eq!(
        serde_json::from_str::<JobRecord>(&json).unwrap(),
        job.record
    );
    let bytes = postcard::to_stdvec(&job.record).unwrap();
    assert_eq!(
        postcard::from_bytes::<JobRecord>(&bytes).unwrap(),
        job.record
    );
}

#[test]
fn without_the_input_the_rest_is_still_checked() {
    let job = finished();
    job.blobs.borrow_mut().remove(&job.package.input.blob);
    assert!(!job.verify().unwrap().input_checked);
}

#[test]
fn missing_outputs_are_not_taken_for_a_contradiction() {
    let job = finished();
    let liar = outcome(&job.record.shards[1].replicas[2]);
    job.blobs.borrow_mut().remove(&liar.outputs);
    let error = job.verify().unwrap_err();
    assert!(matches!(error, RecordError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("shard 1, replica 2"), "{error}");
}

#[test]
fn a_blob_of_other_bytes_is_refused() {
    let job = finished();
    let reference = outcome(&job.record.shards[0].replicas[0]).outputs;
    job.blobs.borrow_mut().insert(reference, b"other".to_vec());
    job.refused("the blob's bytes are");
}

/// Changes one thing in a finished job's shards, settles over it, and expects these words.
fn shards_refused(words: &str, change: impl FnOnce(&mut Job)) {
    let mut job = finished();
    change(&mut job);
    job.resettle(|_| {});
    job.refused(words);
}

#[test]
fn only_those_whom_the_package_names_may_have_executed_it() {
    let named = |providers: std::ops::RangeInclusive<u8>| Package {
        policy: Policy::Trusted {
            providers: providers.map(|p| id(&key(p))).collect(),
        },
        ..package()
    };
    finished_as(named(1..=3)).verify().unwrap();
    finished_as(named(1..=2)).refused("whom the package does not name");
}

#[test]
fn contradictions_in_the_shards_are_found() {
    shards_refused("not every shard", |j| j.record.shards.truncate(1));
    shards_refused("not at its place", |j| j.record.shards[1].index = 0);
    shards_refused("not its run", |j| j.record.shards.swap(0, 1));
    shards_refused("not its run", |j| {
        j.record.shards[0].input = BlobRef::of(b"x");
    });
    shards_refused("executed it twice", |j| {
        let replicas = &mut j.record.shards[0].replicas;
        replicas[2] = replicas[0].clone();
    });
    shards_refused("more replicas than", |j| {
        let replicas = &mut j.record.shards[0].replicas;
        *replicas = vec![replicas[0].clone(); 6];
    });
    shards_refused("signed by another provider", |j| {
        let replicas = &mut j.record.shards[0].replicas;
        replicas[0].commitment = replicas[1].commitment.clone();
    });
    shards_refused("another commitment", |j| {
        let other = j.record.shards[1].replicas[0].commitment.clone();
        j.record.shards[0].replicas[0].commitment = other;
    });
    shards_refused("not signed by", |j| {
        let replicas = &mut j.record.shards[0].replicas;
        replicas[0].receipt = replicas[1].receipt.clone();
    });
    shards_refused("another shard", |j| {
        let other = j.record.shards[1].replicas[0].clone();
        j.record.shards[0].replicas[0] = other;
    });
    shards_refused("another assignment", |j| {
        j.record.shards[0].replicas[0].assignment = AssignmentId::default();
    });
    shards_refused("replicas [0, 1] agree, the record says [0]", |j| {
        let replica = &mut j.record.shards[0].replicas[1];
        (replica.agreed, replica.paid) = (false, Amount::ZERO);
    });
    shards_refused("the record says [0, 1, 2]", |j| {
        j.record.shards[0].replicas[2].agreed = true;
    });
    shards_refused("no 2 of its replicas", |j| {
        j.record.shards[0].replicas.remove(0);
    });
    shards_refused("no 2 of its replicas", |j| {
        j.record.shards[0].replicas.clear();
    });
    shards_refused("did not agree and was paid", |j| {
        j.record.shards[0].replicas[2].paid = Amount(1);
    });
    shards_refused("more than its assignment offered", |j| {
        j.record.shards[0].replicas[0].paid = Amount(1001);
    });
    shards_refused("lowest root", |j| {
        j.record.shards[0].canonical_root = Digest::default();
    });
    shards_refused("lowest root", |j| {
        let other = outcome(&j.record.shards[0].replicas[2]);
        let shard = &mut j.record.shards[0];
        (shard.canonical, shard.canonical_root) = (other.outputs, other.root);
    });
}

/// Lets the first shard's second replica report half the fuel, from a machine as `change` makes it.
fn understate(job: &mut Job, change: impl FnOnce(&mut crate::outcome::Fingerprint)) {
    let provider = key(2);
    let input = job.record.shards[0].input;
    let mut forged = receipt(
        &provider,
        &job.package,
        0,
        input,
        &[answer(2, 0), answer(2, 1)],
    );
    let outcome = &mut forged.opening.outcome;
    outcome.meters.fuel = outcome.meters.fuel / 2 + 1;
    change(&mut outcome.fingerprint);
    let Assignment {
        id,
        job: of,
        shard,
        provider: by,
        ..
    } = forged.assignment;
    forged.commitment = Commitment::bind(id, of, shard, by, &forged.opening);
    let replica = &mut job.record.shards[0].replicas[1];
    replica.commitment = Signed::sign(&forged.commitment, &provider).unwrap();
    replica.receipt = forged.sign(&provider).unwrap();
}

#[test]
fn fuel_may_differ_between_fingerprints_only() {
    let mut job = finished();
    understate(&mut job, |fingerprint| fingerprint.device = "other".into());
    job.resettle(|_| {});
    job.verify().unwrap();
    understate(&mut job, |_| {});
    job.resettle(|_| {});
    job.refused("no 2 of its replicas");
}

#[test]
fn contradictions_in_the_settlement_are_found() {
    let refused = |words: &str, change: fn(&mut Settlement)| {
        let mut job = finished();
        job.resettle(change);
        job.refused(words);
    };
    refused("another job", |s| s.job = JobId::default());
    refused("another client", |s| s.client = ClientId::default());
    refused("does not cover", |s| s.shards = Digest::default());
    refused("merged in shard order", |s| s.result = BlobRef::of(b"x"));
    refused("what their", |s| s.paid[0].1 = Amount(1));
    refused("what their", |s| s.paid.reverse());
    refused("what their", |s| s.paid.truncate(1));
    refused("sum of the fees", |s| s.fee = Amount(15));
    refused("sum of the fees", |s| s.fee_bps = 50);
    refused("more than a whole", |s| s.fee_bps = u16::MAX);
    refused("add up", |s| s.returned = Amount(0));
    refused("add up", |s| s.returned = Amount(u128::MAX));
    refused("nonce promises", |s| s.draw.client = Some(Share([2; 32])));
    refused("a share that it does not show", |s| s.draw.by_both = true);
    refused("rates of audits", |s| {
        s.draw.floor = Some(Floor {
            peer: 1,
            trusted: 1,
        });
    });
    refused("than the package allows", |s| {
        s.returned = Amount(s.returned.0 + 1_000_000);
        s.escrowed = Amount(s.escrowed.0 + 1_000_000);
    });
    // A provider that earned nothing may be listed with nothing.
    let mut job = finished();
    job.resettle(|s| {
        s.paid.push((id(&key(3)), Amount::ZERO));
        s.paid.sort();
    });
    job.verify().unwrap();
}

#[test]
fn someone_elses_signature_is_refused() {
    // Settled by an aggregator that gave no assignment.
    let mut job = finished();
    let settlement = job.record.settlement.verify().unwrap().statement;
    job.record.settlement = Signed::sign(&settlement, &key(98)).unwrap();
    job.refused("another aggregator");
    // A package that nobody signed.
    let mut job = finished();
    let other = ClientKey::generate().unwrap();
    job.record.package.public_key = other.public_key_pem();
    job.refused("package: ");
    // The same package, signed by another client than the one who paid.
    let mut job = finished();
    job.record.package = other.sign_package(&job.package).unwrap();
    job.refused("another client");
}

#[test]
fn outputs_are_hashed_again() {
    let mut job = finished();
    // A replica whose receipt names other outputs than its root was made of.
    let provider = key(1);
    let shard = &job.record.shards[0];
    let outputs = [answer(1, 0), answer(1, 1)];
    let mut forged = receipt(&provider, &job.package, 0, shard.input, &outputs);
    let other = job.store(items::encode(&[answer(2, 0), answer(2, 1)]).unwrap());
    forged.opening.outcome.outputs = other;
    assert_ne!(merkle::root(&outputs), Digest::default());
    job.record.shards[0].replicas[0].receipt = forged.sign(&provider).unwrap();
    job.resettle(|_| {});
    job.refused("another root than revealed");
    // And one whose outputs are no answer at all.
    let short = job.store(items::encode(&[answer(1, 0)]).unwrap());
    forged.opening.outcome.outputs = short;
    job.record.shards[0].replicas[0].receipt = forged.sign(&provider).unwrap();
    job.resettle(|_| {});
    job.refused("1 outputs for 2 items");
}

/// A job whose answers are audited: provider 1 answers, 2 checks and agrees, 3 checked an answer that is gone.
fn audited() -> Job {
    let mut package = package();
    package.policy = Policy::Audit {
        unit: crate::policy::Unit::Shard,
    };
    package.replication.replicas = 1;
    package.replication.max_replicas = 6;
    let mut job = finished_as(package);
    let mut outputs = Vec::new();
    for shard in &mut job.record.shards {
        shard.checks = shard.replicas.split_off(1);
        for check in &mut shard.checks {
            (check.agreed, check.paid) = (true, Amount(333));
        }
        let answer = outcome(&shard.replicas[0]);
        (shard.canonical, shard.canonical_root) = (answer.outputs, answer.root);
        outputs.push(job.blobs.borrow()[&answer.outputs].clone());
    }
    let rows = outputs
        .iter()
        .flat_map(|bytes| items::decode(bytes).unwrap());
    let result = output::merge(&job.package.output, &rows.collect::<Vec<_>>()).unwrap();
    let mut paid: Vec<_> = (1..=3).map(|p| (id(&key(p)), Amount(666))).collect();
    paid.sort();
    job.resettle(|s| {
        s.result = BlobRef::of(&result);
        s.paid = paid;
        s.fee = Amount(2 * fee(Amount(3 * 333), FEE_BPS).0);
        s.returned = Amount(100_000 - 6 * 333 - s.fee.0);
        s.draw.floor = Some(Floor {
            peer: 75_000_000,
            trusted: 7_000_000,
        });
    });
    job
}

#[test]
fn executions_that_checked_are_compared_with_the_answer_and_counted() {
    let report = audited().verify().unwrap();
    assert_eq!((report.shards, report.replicas), (2, 6));
    assert_eq!((report.checks, report.contradicted), (4, 2));
}

#[test]
fn a_sample_is_of_the_items_that_it_names() {
    for (sent, refused) in [("two", false), ("one", true)] {
        let mut job = audited();
        let input = job.store(items::encode(&[sent]).unwrap());
        let outputs = [answer(2, 1)];
        job.store(items::encode(&outputs).unwrap());
        let mut sampled = receipt(&key(2), &job.package, 0, input, &outputs);
        (sampled.assignment.sample, sampled.assignment.items) = (vec![1], 1);
        let check = &mut job.record.shards[0].checks[0];
        check.commitment = Signed::sign(&sampled.commitment, &key(2)).unwrap();
        check.receipt = sampled.sign(&key(2)).unwrap();
        job.resettle(|_| ());
        match refused {
            false => assert_eq!(job.verify().unwrap().checks, 4),
            true => job.refused("its input is not the items of the shard that it names"),
        }
    }
}

#[test]
fn checks_belong_to_audited_jobs_and_hash_together_like_answers() {
    let mut job = audited();
    job.record.shards[0].checks[0].paid = Amount(334);
    job.resettle(|_| ());
    job.refused("what it says providers got is not what their replicas were paid");
    let mut job = audited();
    let other = job.record.shards[1].checks[0].clone();
    job.record.shards[0].checks[0] = other;
    job.resettle(|_| ());
    job.refused("shard 0, check 0: its receipt is about another shard");
    let mut job = audited();
    job.resettle(|s| s.draw.floor = None);
    job.refused("rates of audits");
    let mut job = finished();
    job.record.shards[1].adopted = true;
    job.resettle(|_| ());
    job.refused("a check found its answer");
    let mut job = finished();
    let moved = job.record.shards[0].replicas.pop().unwrap();
    job.record.shards[0].checks.push(moved);
    job.resettle(|_| ());
    job.refused("in a job whose answers are not audited");
}
