use axum::Router;
use axum::routing::{get, post};
use tower::Service;

use super::*;
use crate::server::registry::{CONNECTIONS_PER_PREFIX_MAX, Registry};

/// The proxy in front of the gate.
const PROXY: &str = "127.0.0.1";

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Settings {
        token: OperatorToken::new("token".into()),
        names: vec!["assay.example".to_owned()],
        origins: vec!["https://friend.example".into()],
        proxies: vec![PROXY.parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
    }))
}

fn router(gate: &Arc<Gate>) -> Router {
    let html = || async { ([(header::CONTENT_TYPE, "text/html")], "<p>") };
    Router::new()
        .route(
            "/api/v1/jobs",
            post(|| async { "made" }).get(|| async { "[]" }),
        )
        .route("/api/v1/slow", get(std::future::pending::<&'static str>))
        .route("/api/v1/health", get(|| async { "ok" }))
        .route("/page", get(html))
        .route("/secret", get(|| async { StatusCode::UNAUTHORIZED }))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(gate), pass))
}

async fn ask(gate: &Arc<Gate>, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    ask_from("192.0.2.1", gate, method, path, headers).await
}

/// As the server puts it to the gate.
async fn ask_from(
    address: &str,
    gate: &Arc<Gate>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let address = address.parse().unwrap();
    let peer = gate.proxies.peer(address, request.headers());
    request.extensions_mut().insert(peer);
    router(gate).call(request).await.unwrap()
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_and_other_names_reach_nothing() {
    let (own, evil) = (
        ("host", "127.0.0.1:7700"),
        ("origin", "https://evil.example"),
    );
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(u16, &str, Headers<'_>)] = &[
        (200, "POST", &[own]),
        (200, "POST", &[own, ("origin", "http://127.0.0.1:7700")]),
        (200, "POST", &[own, ("origin", "https://friend.example")]),
        (200, "POST", &[own, ("sec-fetch-site", "same-origin")]),
        (200, "POST", &[own, ("sec-fetch-site", "none")]),
        (403, "POST", &[own, evil]),
        (403, "POST", &[own, ("origin", "null")]),
        (403, "POST", &[own, ("sec-fetch-site", "cross-site")]),
        (403, "POST", &[own, ("sec-fetch-site", "same-site")]),
        (403, "POST", &[own, ("origin", "http://127.0.0.1:7701")]),
        (200, "GET", &[own, evil]),
        (405, "OPTIONS", &[own, evil]),
        (204, "OPTIONS", &[own, ("origin", "https://friend.example")]),
        (200, "GET", &[("host", "[::1]:7700")]),
        (200, "GET", &[("host", "localhost:1")]),
        (200, "GET", &[("host", "ASSAY.example")]),
        (421, "GET", &[("host", "rebound.example")]),
        (421, "GET", &[("host", "127.0.0.1.rebound.example:7700")]),
        (421, "GET", &[("host", "")]),
        (200, "GET", &[]),
    ];
    let gate = gate();
    for (at, (status, method, headers)) in cases.iter().enumerate() {
        let answer = ask(&gate, method, "/api/v1/jobs", headers).await;
        assert_eq!(answer.status().as_u16(), *status, "case {at}");
        let may = headers.contains(&("origin", "https://friend.example"));
        let readable = answer.headers().contains_key("access-control-allow-origin");
        assert_eq!(readable, may, "case {at}");
        assert!(answer.headers().contains_key(REQUEST_ID), "case {at}");
    }
    let page = ask(&gate, "GET", "/page", &[own]).await;
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    assert!(page.headers().contains_key("content-security-policy"));
}

#[tokio::test]
async fn a_network_that_asks_too_much_waits_but_not_for_health() {
    let gate = gate();
    let mut refused = None;
    for _ in 0..=PREFIX_RATE.burst + 2000 {
        let answer = ask(&gate, "GET", "/api/v1/jobs", &[]).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a bound");
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    for (path, headers) in [
        ("/api/v1/health", None),
        ("/api/v1/jobs", Some(("authorization", "Bearer token"))),
    ] {
        let answer = ask(&gate, "GET", path, headers.as_slice()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let client = ClientId::default();
    let charged = (0..=CLIENT_RATE.burst + 200).find_map(|_| gate.charge_client(client).err());
    assert_eq!(charged.expect("a bound").code, "too-many-requests");
}

/// Failures that use up what a network may ask, with some for the time that they take.
const FAILURES: u32 = PREFIX_RATE.burst * 2 / AUTH_FAILURE_FINE;

/// Fewer of them than that: whom so many stop has asked before.
const FEW: u32 = FAILURES / 4;

/// Whether somebody who asks so often for what it may not see is told to wait.
async fn is_stopped(
    gate: &Arc<Gate>,
    address: &str,
    often: u32,
    list: impl Fn(u32) -> Option<String>,
) -> bool {
    for at in 0..often {
        let list = list(at);
        let header = list.as_ref().map(|list| ("x-forwarded-for", list.as_str()));
        let answer = ask_from(address, gate, "GET", "/secret", header.as_slice()).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return true;
        }
    }
    false
}

/// Whether somebody has used up what it may ask.
async fn is_spent(gate: &Arc<Gate>, address: &str, list: Option<&str>) -> bool {
    is_stopped(gate, address, FEW, |_| list.map(str::to_owned)).await
}

/// Whether somebody may ask.
async fn may(gate: &Arc<Gate>, address: &str, list: Option<&str>) -> bool {
    let header = list.map(|list| ("x-forwarded-for", list));
    let answer = ask_from(address, gate, "GET", "/api/v1/jobs", header.as_slice()).await;
    answer.status() == StatusCode::OK
}

#[tokio::test]
async fn a_stranger_that_names_others_pays_for_what_it_asks_itself() {
    let (gate, stranger) = (gate(), "192.0.2.1");
    let named = |at: u32| Some(format!("198.51.{at}.1"));
    assert!(is_stopped(&gate, stranger, FAILURES, named).await);
    assert!(is_spent(&gate, stranger, Some("203.0.113.1")).await);
    assert!(is_spent(&gate, stranger, None).await);
    // Nor does whoever it named.
    assert!(may(&gate, "198.51.0.1", None).await);
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_a_bucket_each() {
    let gate = gate();
    let one = |_| Some("192.0.2.1".to_owned());
    assert!(is_stopped(&gate, PROXY, FAILURES, one).await);
    assert!(is_spent(&gate, PROXY, Some("192.0.2.1")).await);
    assert!(
        is_spent(&gate, PROXY, Some("192.0.2.77")).await,
        "its network"
    );
    assert!(is_spent(&gate, PROXY, Some("192.0.2.1, 10.1.1.1")).await);
    assert!(is_spent(&gate, "10.1.1.1", Some("192.0.2.1")).await);
    assert!(may(&gate, PROXY, Some("198.51.100.1")).await);
    assert!(may(&gate, PROXY, None).await, "the proxy itself");
    assert!(
        is_spent(&gate, "192.0.2.1", None).await,
        "it is the same one"
    );
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_gains_nothing_by_false_entries() {
    for entry in ["198.51.{at}.1", "127.0.0.1", "10.0.{at}.1", "nonsense", ""] {
        let gate = gate();
        let lists = |at: u32| {
            let false_one = entry.replace("{at}", &at.to_string());
            Some(format!("{false_one}, 192.0.2.1"))
        };
        assert!(is_stopped(&gate, PROXY, FAILURES, lists).await, "{entry}");
        assert!(is_spent(&gate, PROXY, Some("192.0.2.1")).await, "{entry}");
        assert!(may(&gate, PROXY, Some("198.51.0.1")).await, "{entry}");
        assert!(may(&gate, PROXY, None).await, "{entry}");
    }
}

#[tokio::test]
async fn what_finds_no_room_is_turned_away_and_what_takes_too_long_ends() {
    let gate = gate();
    let slow: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { ask(&gate, "GET", "/api/v1/slow", &[]).await })
        })
        .collect();
    while gate.requests.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let answer = ask(&gate, "GET", "/api/v1/jobs", &[]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    let health = ask(&gate, "GET", "/api/v1/health", &[]).await;
    assert_eq!(health.status(), StatusCode::OK);
    for answer in slow {
        assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }
    let answer = ask(&gate, "GET", "/api/v1/jobs", &[]).await;
    assert_eq!(answer.status(), StatusCode::OK, "there is room again");
}

#[tokio::test]
async fn bodies_that_do_not_come_take_no_place_from_others() {
    let gate = gate();
    let slow = || {
        let never = futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let request = Request::builder().method("POST").uri("/api/v1/jobs");
        let request = request.body(Body::from_stream(never)).unwrap();
        let mut router = router(&gate);
        async move { router.call(request).await.unwrap().status() }
    };
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS_MAX {
        crowd.spawn(slow());
    }
    tokio::task::yield_now().await;
    let own = [("host", "127.0.0.1:7700")];
    let other = ask(&gate, "GET", "/api/v1/jobs", &own).await;
    assert_eq!(other.status(), 200);
    while let Some(status) = crowd.join_next().await {
        assert_eq!(status.unwrap(), 408);
    }
}

#[tokio::test]
async fn who_sends_a_body_slowly_makes_room_for_others() {
    let gate = gate();
    let registry = Registry::default();
    let prefix = Some(Prefix::of("192.0.2.1".parse().unwrap()));
    let place = Arc::new(registry.admit(prefix).ok().unwrap());
    assert!(place.asks(), "its head has come");
    let (sent, body) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = futures::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let request = Request::builder().method("POST").uri("/api/v1/jobs");
    let mut request = request.body(Body::from_stream(body)).unwrap();
    request.extensions_mut().insert(Sender(Arc::clone(&place)));
    let mut router = router(&gate);
    let answer = tokio::spawn(async move { router.call(request).await.unwrap().status() });
    sent.send(Ok("{")).await.unwrap();
    tokio::task::yield_now().await;
    let others: Vec<_> = (0..CONNECTIONS_PER_PREFIX_MAX)
        .map(|_| registry.admit(prefix).ok())
        .collect();
    assert!(others.iter().all(Option::is_some), "it made room");
    drop(sent);
    assert_eq!(answer.await.unwrap(), 200);
    // Told to leave: the server closes its connection.
    place.leave.notified().await;
}
