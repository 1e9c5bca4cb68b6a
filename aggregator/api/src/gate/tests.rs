use axum::Router;
use axum::routing::{get, post};
use tower::Service;

use super::*;
use crate::server::registry::{CONNECTIONS_PER_PREFIX_MAX, Registry};

fn gate() -> Arc<Gate> {
    let token = OperatorToken::new("token".into());
    let names = vec!["assay.example".to_owned()];
    Arc::new(Gate::new(
        token,
        names,
        vec!["https://friend.example".into()],
    ))
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
        .layer(axum::middleware::from_fn_with_state(Arc::clone(gate), pass))
}

async fn ask(gate: &Arc<Gate>, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let address = "192.0.2.1".parse().unwrap();
    request.extensions_mut().insert(Peer(Prefix::of(address)));
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
    let prefix = Prefix::of("192.0.2.1".parse().unwrap());
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
