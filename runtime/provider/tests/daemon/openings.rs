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

pub(crate) const CASES: &[Case] = &[
    (
        "openings_are_refused_by_name_to_all_but_whom_they_were_committed_to",
        openings_are_refused_by_name_to_all_but_whom_they_were_committed_to,
    ),
    (
        "what_was_not_noted_or_not_committed_to_is_not_opened",
        what_was_not_noted_or_not_committed_to_is_not_opened,
    ),
];

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

/// Requires that nothing is opened, by this name.
async fn refused(
    by: &Aggregator,
    market: &Market,
    request: OpenRequest,
    code: RefusalCode,
    reason: &str,
) {
    match open(by, market, request).await {
        OpenReply::Refused { refusal, .. } => {
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.reason.starts_with(reason), "{refusal}");
        }
        opened => panic!("{reason}: {opened:?}"),
    }
}

fn openings_are_refused_by_name_to_all_but_whom_they_were_committed_to() {
    block_on(async {
        let mut market = Market::open(opened(job(guest(""))), |_| {}).await;
        market.aggregator.store.put_bytes(GRAPH).unwrap();
        let from = market.provider.id;
        let done = market.give(0).await.id;
        market.aggregator.commitment(from).await;
        let revealed = market.aggregator.revealed(done, from).await;
        let noted = revealed.opening.outcome.noted.unwrap();
        // The guest runs no graph.
        assert_eq!((noted.chunks, noted.inferences), (0, 0));
        let rival = Aggregator::rival(market.dir.path()).await;
        rival.client.dial(&market.provider.addrs[0]).await.unwrap();
        let own = &market.aggregator;
        let unknown = AssignmentId(Digest::of(b"unknown"));
        for (seeds, count, reason) in [
            (0, 4, "seeds: 0 asked for, 1 to 2"),
            (SEEDS_MAX + 1, 4, "seeds: 3 asked for"),
            (1, 0, "count: 0 asked for, 1 to 256"),
            (1, COUNT_MAX + 1, "count: 257 asked for"),
        ] {
            let asked = request(done, seeds, count);
            refused(own, &market, asked, RefusalCode::Invalid, reason).await;
        }
        let asked = request(unknown, 1, 4);
        refused(own, &market, asked, RefusalCode::Unknown, "unknown: ").await;
        let asked = request(done, 1, 4);
        refused(
            &rival,
            &market,
            asked,
            RefusalCode::Policy,
            "not-the-sender: ",
        )
        .await;
        let nothing = OpenReply::Opened {
            assignment: done,
            opened: Vec::new(),
        };
        assert_eq!(open(own, &market, request(done, 2, 4)).await, nothing);
        market.close().await;
    });
}

fn what_was_not_noted_or_not_committed_to_is_not_opened() {
    block_on(async {
        for (guest, reason) in [(guest(""), "nothing-noted"), (endless(), "not-committed")] {
            let mut market = Market::open(job(guest), |_| {}).await;
            let id = market.give(0).await.id;
            if reason == "nothing-noted" {
                market.aggregator.commitment(market.provider.id).await;
            }
            let (own, asked) = (&market.aggregator, request(id, 1, 4));
            refused(own, &market, asked, RefusalCode::State, reason).await;
            market.close().await;
        }
    });
}
