//! What was noted is opened to whom it was committed to, and to nobody else.

use jobs::digest::{BlobRef, Digest};
use jobs::ids::AssignmentId;
use jobs::openings::{COUNT_MAX, OpeningsRule, SEEDS_MAX};
use jobs::package::ModelRef;
use network::protocol::{OpenReply, OpenRequest, RefusalCode};

use crate::fixture::{Job, guest, job};
use crate::harness::Case;
use crate::honest::endless;
use crate::market::{Aggregator, Market, block_on, soon};

pub(crate) const CASES: &[Case] = &[(
    "openings_are_refused_by_name_to_all_but_whom_they_were_committed_to",
    openings_are_refused_by_name_to_all_but_whom_they_were_committed_to,
)];

/// A graph of the reference backend.
const GRAPH: &[u8] = b"assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n";

/// The same job with a graph, of which something is opened.
fn opened(mut job: Job) -> Job {
    job.package.models = vec![ModelRef {
        name: "double".into(),
        blob: BlobRef::of(GRAPH),
    }];
    job.package.openings = Some(OpeningsRule {
        graph: "double".into(),
        tensor: "y".into(),
        count: 4,
        atol: 1e-3,
        rtol: 0.0,
    });
    job
}

fn request(assignment: AssignmentId, seeds: usize, count: u16) -> OpenRequest {
    OpenRequest {
        assignment,
        seeds: vec![Digest::of(b"seed"); seeds],
        count,
    }
}

async fn open(aggregator: &Aggregator, market: &Market, request: OpenRequest) -> OpenReply {
    let asked = aggregator.client.open(market.provider.id, request);
    soon(asked).await.unwrap()
}

fn openings_are_refused_by_name_to_all_but_whom_they_were_committed_to() {
    block_on(async {
        let job = opened(job(guest("")));
        let mut market = Market::open(self::job_without(&job), |_| {}).await;
        market.aggregator.store.put_bytes(GRAPH).unwrap();
        market.job = job;
        let from = market.provider.id;
        let done = market.give(0).await.id;
        market.aggregator.commitment(from).await;
        let noted = market
            .aggregator
            .revealed(done, from)
            .await
            .opening
            .outcome
            .noted;
        let noted = noted.unwrap();
        assert_eq!(
            (noted.chunks, noted.inferences),
            (0, 0),
            "the guest runs no graph"
        );
        let rival = Aggregator::rival(market.dir.path()).await;
        rival.client.dial(&market.provider.addrs[0]).await.unwrap();
        let own = &market.aggregator;
        let unknown = AssignmentId(Digest::of(b"unknown"));
        for (by, request, code, reason) in [
            (
                own,
                request(done, 0, 4),
                RefusalCode::Invalid,
                "seeds: 0 asked for, 1 to 2",
            ),
            (
                own,
                request(done, SEEDS_MAX + 1, 4),
                RefusalCode::Invalid,
                "seeds: 3 asked for",
            ),
            (
                own,
                request(done, 1, 0),
                RefusalCode::Invalid,
                "count: 0 asked for, 1 to 256",
            ),
            (
                own,
                request(done, 1, COUNT_MAX + 1),
                RefusalCode::Invalid,
                "count: 257",
            ),
            (
                own,
                request(unknown, 1, 4),
                RefusalCode::Unknown,
                "unknown: never accepted",
            ),
            (
                &rival,
                request(done, 1, 4),
                RefusalCode::Policy,
                "not-the-sender",
            ),
        ] {
            match open(by, &market, request).await {
                OpenReply::Refused { refusal, .. } => {
                    assert_eq!(refusal.code, code, "{refusal}");
                    assert!(refusal.reason.starts_with(reason), "{refusal}");
                }
                opened => panic!("{reason}: {opened:?}"),
            }
        }
        let nothing = OpenReply::Opened {
            assignment: done,
            opened: Vec::new(),
        };
        assert_eq!(open(own, &market, request(done, 2, 4)).await, nothing);
        market.close().await;
    });
    block_on(async {
        for (guest, reason) in [(guest(""), "nothing-noted"), (endless(), "not-committed")] {
            let mut market = Market::open(job(guest), |_| {}).await;
            let id = market.give(0).await.id;
            if reason == "nothing-noted" {
                market.aggregator.commitment(market.provider.id).await;
            }
            let OpenReply::Refused { refusal, .. } =
                open(&market.aggregator, &market, request(id, 1, 4)).await
            else {
                panic!("{reason}: opened")
            };
            assert_eq!(refusal.code, RefusalCode::State, "{refusal}");
            assert!(refusal.reason.starts_with(reason), "{refusal}");
            market.close().await;
        }
    });
}

/// What the aggregator holds of a job beside its models.
fn job_without(job: &Job) -> Job {
    Job {
        client: jobs::envelope::ClientKey::generate().unwrap(),
        package: job.package.clone(),
        component: job.component.clone(),
        items: job.items.clone(),
    }
}
