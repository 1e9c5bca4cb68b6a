//! Waiting for a job: whoever waits listens, and does not ask over and over.

use anyhow::{Context, Result, ensure};
use tests::{Market, Plan, get};

/// How often a route was asked with GET so far.
fn asked(market: &Market, route: &str) -> Result<u64> {
    let answer = get(market.http(), "/metrics")?;
    let text = String::from_utf8(answer.body)?;
    let labels = format!("{{method=\"GET\",route=\"{route}\",status=\"2xx\"}} ");
    let name = "assay_http_requests_total";
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(&labels));
    line.map_or(Ok(0), |count| Ok(count.parse()?))
}

#[test]
fn whoever_waits_for_a_job_listens_to_what_happens() -> Result<()> {
    // The only provider accepts, and then does nothing.
    let market = Market::up(&Plan::default().and("stall"))?;
    let id = market.submit(&crate::provider::alone("stalled"))?;
    let before = asked(&market, "/api/v1/jobs/{job}")?;
    let watched = market.assay(&["job", "watch", &id, "--timeout", "6"])?;
    watched.refused(8, "gave up after 6 s")?;
    let events = asked(&market, "/api/v1/jobs/{job}/events")?;
    ensure!(events == 1, "events were asked for {events} times");
    let looks = asked(&market, "/api/v1/jobs/{job}")?;
    let looks = looks.checked_sub(before).context("fewer than before")?;
    // Once at the beginning, once for where the job is, and once for each step on its way to the provider at most.
    ensure!((1..=6).contains(&looks), "looked {looks} times");
    Ok(())
}
