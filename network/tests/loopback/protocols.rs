//! Every protocol there and back, and every way a request is refused.

use std::time::Duration;

use network::protocol::{
    AssignReply, CancelReply, CancelRequest, CommitReply, CommitRequest, FailureCode, Fault,
    OfferReply, Refusal, RefusalCode, RevealReply, RevealRequest, assign, offer,
};
use network::{Error, Event, Role};

use crate::harness::{self, QUIC, TCP, config, id, job, node, pair, start, within};
use crate::raw::{Raw, frame};

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_round_trips_over_either_transport() {
    for listen in [TCP, QUIC] {
        let (provider, mut aggregator) = pair(listen).await;
        let request = harness::signed_offer(1);
        let sent = request.clone();
        let (client, to) = (provider.client.clone(), aggregator.client.local());
        let asked = tokio::spawn(async move { client.send_offer(to, sent).await });
        let Event::OfferRequest {
            from,
            address,
            request: got,
            reply,
        } = aggregator.request().await
        else {
            panic!("not an offer");
        };
        assert_eq!(from, provider.client.local());
        assert_eq!(address, Some(std::net::Ipv4Addr::LOCALHOST.into()));
        assert_eq!(got, request);
        assert_eq!(got.offer.verify().unwrap().signer, from);
        assert!(reply.send(OfferReply::Accepted { lease_ms: 9 }));
        let reply = within(asked).await.unwrap().unwrap();
        assert_eq!(reply, OfferReply::Accepted { lease_ms: 9 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assign_commit_reveal_and_cancel_round_trip() {
    let (mut provider, mut aggregator) = pair(TCP).await;
    let (up, down) = (aggregator.client.local(), provider.client.local());
    let request = harness::assign(1);
    let echo = request.clone();
    let (asked, ()) = tokio::join!(aggregator.client.assign(down, request), async {
        let Event::AssignRequest {
            from,
            request,
            reply,
        } = provider.request().await
        else {
            panic!("not an assignment");
        };
        assert_eq!((from, &request), (up, &echo));
        reply.send(AssignReply::Accepted { assignment: id(1) });
    });
    assert_eq!(asked.unwrap(), AssignReply::Accepted { assignment: id(1) });

    for request in [
        harness::commit(1),
        CommitRequest::failed(id(1), job(2), FailureCode::Trap, "unreachable"),
    ] {
        let echo = request.clone();
        let (asked, ()) = tokio::join!(provider.client.commit(up, request), async {
            let Event::CommitRequest { request, reply, .. } = aggregator.request().await else {
                panic!("not a commitment");
            };
            assert_eq!(request, echo);
            reply.send(CommitReply::Ack { assignment: id(1) });
        });
        assert_eq!(asked.unwrap(), CommitReply::Ack { assignment: id(1) });
    }

    let revealed = RevealReply::Revealed(Box::new(harness::reveal(1)));
    let request = RevealRequest {
        assignment: id(1),
        trace: None,
    };
    let (asked, ()) = tokio::join!(aggregator.client.reveal(down, request), async {
        let Event::RevealRequest { reply, .. } = provider.request().await else {
            panic!("not a reveal request");
        };
        reply.send(revealed.clone());
    });
    assert_eq!(asked.unwrap(), revealed);

    let request = CancelRequest { assignment: id(1) };
    let (asked, ()) = tokio::join!(aggregator.client.cancel(down, request), async {
        let Event::Cancel { reply, .. } = provider.request().await else {
            panic!("not a cancellation");
        };
        reply.send(CancelReply::Refused {
            assignment: id(1),
            refusal: Refusal::new(RefusalCode::State, "already committed"),
        });
    });
    let reply = asked.unwrap();
    assert!(matches!(reply, CancelReply::Refused { .. }), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_asked_for_and_opened() {
    let (mut provider, aggregator) = pair(TCP).await;
    let (up, down) = (aggregator.client.local(), provider.client.local());
    let request = harness::open(1);
    let echo = request.clone();
    let (asked, ()) = tokio::join!(aggregator.client.open(down, request), async {
        let Event::OpenRequest {
            from,
            request,
            reply,
        } = provider.request().await
        else {
            panic!("not a request to open");
        };
        assert_eq!((from, request), (up, echo));
        reply.send(harness::opened(1));
    });
    assert_eq!(asked.unwrap(), harness::opened(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_assignment_is_a_bad_answer() {
    let (mut provider, aggregator) = pair(TCP).await;
    let request = harness::assign(1);
    let (asked, ()) = tokio::join!(
        aggregator.client.assign(provider.client.local(), request),
        async {
            if let Event::AssignRequest { reply, .. } = provider.request().await {
                reply.send(AssignReply::Accepted { assignment: id(2) });
            }
        }
    );
    let error = asked.unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_handle_answers_unanswered() {
    let (mut provider, aggregator) = pair(TCP).await;
    let request = harness::assign(1);
    let (asked, ()) = tokio::join!(
        aggregator.client.assign(provider.client.local(), request),
        async { drop(provider.request().await) }
    );
    let Ok(AssignReply::Refused {
        assignment,
        refusal,
    }) = asked
    else {
        panic!("{asked:?}");
    };
    assert_eq!((assignment, refusal.code), (id(1), RefusalCode::Unanswered));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_kept_too_long_times_out() {
    let mut quick = config(1, Role::Provider, TCP);
    quick.request_timeout = Duration::from_millis(300);
    let mut provider = start(quick).await;
    let mut quick = config(2, Role::Aggregator, TCP);
    quick.request_timeout = Duration::from_millis(300);
    let aggregator = start(quick).await;
    aggregator.client.dial(&provider.address).await.unwrap();
    let asked = aggregator
        .client
        .assign(provider.client.local(), harness::assign(1));
    let (asked, event) = tokio::join!(within(asked), provider.request());
    match asked {
        // Whose timer fires first is chance; both tell the caller that there will be no answer.
        Err(Error::Timeout { .. } | Error::Disconnected { .. }) => {}
        Ok(AssignReply::Refused { refusal, .. }) if refusal.code == RefusalCode::Unanswered => {}
        other => panic!("{other:?}"),
    }
    if let Event::AssignRequest { reply, .. } = event {
        within(async {
            while reply.is_awaited() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(!reply.send(AssignReply::Accepted { assignment: id(1) }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_event_queue_answers_busy() {
    let mut small = config(2, Role::Aggregator, TCP);
    small.event_queue = 1;
    let aggregator = start(small).await;
    let provider = node(1, Role::Provider, TCP).await;
    provider.client.dial(&aggregator.address).await.unwrap();
    // The queue's one place is taken by the news that the provider connected.
    let asked = provider
        .client
        .send_offer(aggregator.client.local(), harness::offer(10));
    let Ok(OfferReply::Refused(refusal)) = within(asked).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.code, RefusalCode::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_the_wrong_role_names_the_protocol() {
    let (provider, aggregator) = pair(TCP).await;
    let to = aggregator.client.local();
    let error = provider
        .client
        .assign(to, harness::assign(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("/assay/assign/1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_oversize_request_is_not_sent() {
    let (provider, aggregator) = pair(TCP).await;
    let request = harness::offer(offer::REQUEST_MAX);
    let asked = provider
        .client
        .send_offer(aggregator.client.local(), request);
    let error = asked.await.unwrap_err();
    let Error::TooLarge { max, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(max, offer::REQUEST_MAX as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_requests_are_answered_with_what_is_wrong() {
    for listen in [TCP, QUIC] {
        let provider = node(1, Role::Provider, listen).await;
        let mut raw = Raw::dial("/assay/assign/1", &provider.address).await;
        let huge = vec![0; assign::REQUEST_MAX + 1];
        let cases = [
            (frame(1, 0, &huge), "262145 bytes are more than the 262144"),
            (
                frame(2, 0, &[1, 2, 3]),
                "version 2 is not supported, only 1",
            ),
            (frame(1, 0, &[0xff; 40]), "malformed"),
            (frame(1, 7, &[]), "frame kind 7"),
            (vec![0, 0, 0, 0], "no header"),
            (vec![200, 0, 0, 0, 1, 0, 0, 1], "1 of 197 bytes arrived"),
        ];
        for (bytes, expected) in cases {
            let reply = raw.ask(bytes).await;
            // A fault: length, version, kind 1, body.
            let fault: Fault = postcard::from_bytes(&reply[7..]).unwrap();
            assert_eq!(reply[6], 1);
            assert!(fault.to_string().contains(expected), "{fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_cannot_take_every_place_in_the_queue() {
    let (provider, mut aggregator) = pair(TCP).await;
    let to = aggregator.client.local();
    let ask = |node: &harness::Node| {
        let client = node.client.clone();
        tokio::spawn(async move { client.send_offer(to, harness::offer(10)).await })
    };
    // 32 streams of one protocol on one connection: one more is refused here, by name.
    let mut held = Vec::new();
    let asked: Vec<_> = (0..32).map(|_| ask(&provider)).collect();
    while held.len() < 32 {
        held.push(aggregator.request().await);
    }
    let error = ask(&provider).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Busy { max: 32, .. }), "{error}");
    let other = node(3, Role::Provider, TCP).await;
    other.client.dial(&aggregator.address).await.unwrap();
    let answer = ask(&other);
    let Event::OfferRequest { from, reply, .. } = aggregator.request().await else {
        panic!("not an offer");
    };
    assert_eq!(from, other.client.local());
    reply.send(OfferReply::Accepted { lease_ms: 1 });
    assert!(within(answer).await.unwrap().is_ok());
    drop(held);
    for one in asked {
        let reply = within(one).await.unwrap().unwrap();
        assert!(matches!(reply, OfferReply::Refused(_)), "{reply:?}");
    }
}
