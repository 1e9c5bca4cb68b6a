use ed25519_dalek::SigningKey;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::package::ModelRef;
use jobs::statement::Signed;

use super::*;
use crate::fixture::{Job, guest, id, job};

fn aggregator() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn provider() -> ProviderId {
    id(&SigningKey::from_bytes(&[8; 32]))
}

fn terms() -> Terms {
    Terms {
        provider: provider(),
        device: DeviceKind::Cpu,
        no_models: None,
        memory_bytes_max: 1 << 30,
        fuel_max: u64::MAX,
        model_bytes_max: 1 << 20,
        signers: SignerPolicy::Any,
        denied: BTreeSet::new(),
        price: Price {
            per_gfuel: Amount(1),
            per_device_second: Amount(1),
        },
        reward_min: Amount(10),
    }
}

/// What a test changes before the order is signed again.
struct Case {
    job: Job,
    assignment: Assignment,
    terms: Terms,
}

fn case() -> Case {
    let job = job(guest(""));
    Case {
        assignment: job.assignment(1, &aggregator(), provider()),
        job,
        terms: terms(),
    }
}

impl Case {
    /// Changes the package; the assignment follows it.
    fn package(&mut self, change: impl FnOnce(&mut Package)) {
        change(&mut self.job.package);
        self.assignment = self.job.assignment(1, &aggregator(), provider());
    }

    fn admit(&self, from: ProviderId) -> Result<Admitted, Refused> {
        let request = self.job.request(&self.assignment, &aggregator());
        admit(&self.terms, from, &request)
    }
}

#[test]
fn an_assignment_in_order_is_admitted() {
    let case = case();
    let admitted = case.admit(id(&aggregator())).unwrap();
    assert_eq!(admitted.assignment, case.assignment);
    assert_eq!(admitted.package, case.job.package);
    assert_eq!(admitted.device, DeviceKind::Cpu);
}

#[test]
fn what_breaks_the_terms_is_refused_by_a_stable_code() {
    type Change = fn(&mut Case);
    let changes: &[(&str, Change)] = &[
        ("other-provider", |c| {
            c.assignment.provider = ProviderId([9; 32])
        }),
        ("assignment-id", |c| {
            c.assignment.id = AssignmentId::default()
        }),
        ("assignment-id", |c| c.assignment.attempt = 4),
        ("not-the-sender", |c| {
            c.assignment.aggregator = ProviderId([9; 32])
        }),
        ("other-job", |c| {
            c.assignment.job = JobId(Digest::of(b"other"));
            let Assignment {
                job,
                shard,
                attempt,
                provider,
                aggregator,
                ..
            } = c.assignment;
            c.assignment.id = AssignmentId::derive(aggregator, job, shard, attempt, provider);
        }),
        ("assignment-id", |c| {
            // The id that another aggregator would give it.
            let other = ProviderId([9; 32]);
            let Assignment { job, provider, .. } = c.assignment;
            c.assignment.id = AssignmentId::derive(other, job, 1, 0, provider);
        }),
        ("span", |c| c.assignment.first_item = 0),
        ("span", |c| c.assignment.items = 1),
        ("limit", |c| c.assignment.input.size = u64::MAX),
        ("reward", |c| c.assignment.reward_max = Amount(9)),
        ("signer", |c| {
            c.terms.signers = SignerPolicy::Trusted(Default::default())
        }),
        ("limit", |c| c.terms.fuel_max = 1),
        ("limit", |c| c.terms.memory_bytes_max = 1),
        ("device", |c| {
            c.package(|p| p.device = Some(DeviceKind::Gpu))
        }),
        ("limit", |c| {
            c.package(|p| p.models = vec![a_model(1 << 21)])
        }),
        ("no-models", |c| {
            c.terms.no_models = Some("no library".into());
            c.package(|p| p.models = vec![a_model(1)]);
        }),
    ];
    for (index, (code, change)) in changes.iter().enumerate() {
        let mut case = case();
        change(&mut case);
        let refused = case.admit(id(&aggregator())).unwrap_err();
        assert_eq!(refused.code(), *code, "{index}: {refused}");
        let refusal = refused.to_refusal();
        assert!(
            refusal.reason.starts_with(&format!("{code}: ")),
            "{refusal}"
        );
    }
}

fn a_model(size: u64) -> ModelRef {
    ModelRef {
        name: "m".into(),
        blob: BlobRef {
            digest: Digest::of(b"m"),
            size,
        },
    }
}

#[test]
fn only_the_aggregator_itself_assigns() {
    let case = case();
    let refused = case.admit(ProviderId([9; 32])).unwrap_err();
    assert_eq!(refused.code(), "not-the-sender");
    // Signed by another key than the one it names and came from.
    let other = SigningKey::from_bytes(&[5; 32]);
    let mut request = case.job.request(&case.assignment, &aggregator());
    request.assignment = Signed::sign(&case.assignment, &other).unwrap();
    let refused = admit(&case.terms, id(&aggregator()), &request).unwrap_err();
    assert_eq!(refused.code(), "not-the-sender");
}

#[test]
fn a_tampered_package_is_refused() {
    let case = case();
    let mut request = case.job.request(&case.assignment, &aggregator());
    request.package.package = request.package.package.replace("\"test\"", "\"tost\"");
    let refused = admit(&case.terms, id(&aggregator()), &request).unwrap_err();
    assert_eq!(refused.code(), "package-signature");
}
