//! The campaign as pictures.

use super::svg::{Axis, Chart};
use super::table::{policies, worst};
use super::{Report, Row};

/// The least error that is drawn; nothing at all is drawn there.
const ERROR_MIN: f64 = 1e-9;

const fn errors() -> Axis {
    Axis {
        from: ERROR_MIN,
        to: 1.0,
        log: true,
    }
}

/// Ours first, so that its colour is the first; without its ablations.
fn competitors(report: &Report, horizon: u64) -> Vec<String> {
    let mut names = policies(report, horizon);
    names.retain(|name| !name.starts_with("ours,"));
    names.sort_by_key(|name| name != "ours");
    names
}

/// Residual error over executions per item, at one share and horizon: lower left is better.
#[must_use]
pub fn cost_and_error(report: &Report, share: f64, horizon: u64) -> String {
    let executions = Axis {
        from: 1.0,
        to: 3.5,
        log: false,
    };
    let title = format!(
        "Worst adversary with {:.0} % of providers, {horizon} items each",
        share * 100.0
    );
    let mut chart = Chart::new(
        &title,
        (executions, "mean executions per item"),
        (errors(), "residual error"),
    );
    for (number, name) in competitors(report, horizon).iter().enumerate() {
        let point = worst(report, name, horizon, share).map(|row| (row.executions, row.error));
        chart.series(number, name, &point.into_iter().collect::<Vec<_>>());
    }
    chart.end()
}

/// Residual error over the horizon, at one share.
#[must_use]
pub fn error_over_horizon(report: &Report, share: f64) -> String {
    let horizons = Axis {
        from: 1e4,
        to: 1e7,
        log: true,
    };
    let title = format!("Worst adversary with {:.0} % of providers", share * 100.0);
    let mut chart = Chart::new(
        &title,
        (horizons, "items of one provider"),
        (errors(), "residual error"),
    );
    let mut at: Vec<u64> = report
        .rows
        .iter()
        .filter(|r| r.group == "main")
        .map(|r| r.horizon)
        .collect();
    at.sort_unstable();
    at.dedup();
    let longest = at.last().copied().unwrap_or(0);
    for (number, name) in competitors(report, longest).iter().enumerate() {
        let of = |horizon: &u64| worst(report, name, *horizon, share);
        let points = at
            .iter()
            .filter_map(of)
            .map(|row: &Row| (row.horizon as f64, row.error));
        chart.series(number, name, &points.collect::<Vec<_>>());
    }
    chart.end()
}

/// The pictures of a campaign: file names and contents.
#[must_use]
pub fn all(report: &Report) -> Vec<(String, String)> {
    let longest = report
        .rows
        .iter()
        .filter(|r| r.group == "main")
        .map(|r| r.horizon)
        .max();
    let Some(longest) = longest else {
        return Vec::new();
    };
    [0.1, 0.3]
        .into_iter()
        .flat_map(|share| {
            let percent = (share * 100.0) as u32;
            [
                (
                    format!("verify-cost-{percent}.svg"),
                    cost_and_error(report, share, longest),
                ),
                (
                    format!("verify-horizon-{percent}.svg"),
                    error_over_horizon(report, share),
                ),
            ]
        })
        .collect()
}
