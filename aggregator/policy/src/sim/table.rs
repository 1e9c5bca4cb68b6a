//! The campaign as text.

use std::fmt::Write as _;

use super::{Report, Row};

/// Adversaries that the headline leaves out, because they are another question. Who returns after a ban is
/// a larger share of identities; a malicious aggregator is a coordinator that most systems trust; and what is
/// near the truth is as hard to find as the comparison of answers is weak, which is assumed here.
pub const ASIDE: [&str; 5] = [
    "whitewash",
    "aggregator",
    "lazy CPU",
    "quantised",
    "stale model",
];

/// The headline: for each horizon and policy the worst adversary at each share, but those of [`ASIDE`].
#[must_use]
pub fn headline(report: &Report) -> String {
    let mut out = String::new();
    let mut horizons: Vec<u64> = main(report).map(|row| row.horizon).collect();
    horizons.sort_unstable();
    horizons.dedup();
    for horizon in horizons.into_iter().rev() {
        let _ = writeln!(
            out,
            "horizon {horizon} items a provider: R, residual error of the worst adversary\n"
        );
        let _ = write!(out, "{:<22}", "policy");
        for share in shares(report) {
            let _ = write!(out, "  {:<37}", format!("f = {share}"));
        }
        let _ = writeln!(out, "  honest slashed");
        for policy in policies(report, horizon) {
            let _ = write!(out, "{policy:<22}");
            for share in shares(report) {
                let cell = worst(report, &policy, horizon, share).map_or_else(String::new, |row| {
                    format!(
                        "{:.3}  {:.1e}  {}",
                        row.executions, row.error, row.adversary
                    )
                });
                let _ = write!(out, "  {cell:<37}");
            }
            let rows = main(report).filter(|row| row.horizon == horizon && row.policy == policy);
            let (slashed, lives) = rows.fold((0, 0), |sum, row| {
                (sum.0 + row.slashed_honest, sum.1 + row.honest_lives)
            });
            let _ = writeln!(out, "  {slashed} of {lives}");
        }
        out.push('\n');
    }
    out
}

/// The adversaries that the headline leaves out, at the longest horizon.
#[must_use]
pub fn aside(report: &Report, share: f64) -> String {
    let longest = main(report).map(|row| row.horizon).max().unwrap_or(0);
    let mut out = String::new();
    let _ = write!(out, "{:<22}", format!("f = {share}: error"));
    ASIDE.iter().for_each(|name| {
        let _ = write!(out, "  {name:>11}");
    });
    out.push('\n');
    for policy in policies(report, longest) {
        let _ = write!(out, "{policy:<22}");
        for name in ASIDE {
            let found = main(report).find(|row| {
                row.policy == policy
                    && row.adversary == name
                    && row.horizon == longest
                    && row.share.to_bits() == share.to_bits()
            });
            let cell = found.map_or_else(String::new, |row| format!("{:.1e}", row.error));
            let _ = write!(out, "  {cell:>11}");
        }
        out.push('\n');
    }
    out
}

/// One policy against each adversary.
#[must_use]
pub fn details(report: &Report, policy: &str, share: f64, horizon: u64) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{policy}, f = {share}, horizon {horizon}\n");
    let _ = writeln!(
        out,
        "{:<15} {:>9} {:>6}  {:>8}  {:<19}  {:>9}  {:>10}  {:>10}",
        "adversary", "rate", "R", "error", "95 %", "found at", "profit max", "stake min"
    );
    let rows = main(report).filter(|row| {
        row.policy == policy && row.horizon == horizon && row.share.to_bits() == share.to_bits()
    });
    for row in rows {
        let interval = format!("{:.1e}..{:.1e}", row.error_ci95.0, row.error_ci95.1);
        let delay = row
            .delay_p50
            .map_or_else(|| "-".to_owned(), |delay| format!("{delay:.0}"));
        let stake = row
            .stake_min
            .map_or_else(|| "-".to_owned(), |stake| format!("{stake:.0}"));
        let _ = writeln!(
            out,
            "{:<15} {:>9.1e} {:>6.3}  {:>8.1e}  {interval:<19}  {delay:>9}  {:>10.0}  {stake:>10}",
            row.adversary, row.rate, row.executions, row.error, row.profit_max
        );
    }
    out
}

/// A sweep: parameters or noise.
#[must_use]
pub fn sweep(report: &Report, group: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<36} {:>9}  {:>5}  {:>6}  {:>8}  {:<19}  {:>12}  honest slashed, fined",
        group, "horizon", "f", "R", "error", "95 %", "by faults"
    );
    for row in report.rows.iter().filter(|row| row.group == group) {
        let interval = format!("{:.1e}..{:.1e}", row.error_ci95.0, row.error_ci95.1);
        let _ = writeln!(
            out,
            "{:<36} {:>9}  {:>5}  {:>6.3}  {:>8.1e}  {interval:<19}  {:>12.1e}  {}, {} of {}",
            row.policy,
            row.horizon,
            row.share,
            row.executions,
            row.error,
            row.error_faults,
            row.slashed_honest,
            row.fined_honest,
            row.honest_lives
        );
    }
    out
}

/// The whole campaign.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = headline(report);
    let longest = main(report).map(|row| row.horizon).max().unwrap_or(0);
    for share in shares(report) {
        let met =
            |row: &Row| row.share.to_bits() == share.to_bits() && ASIDE.contains(&row.adversary);
        if main(report).any(met) {
            out.push_str(&aside(report, share));
            out.push('\n');
        }
    }
    for share in shares(report) {
        if worst(report, "ours", longest, share).is_some() {
            out.push_str(&details(report, "ours", share, longest));
            out.push('\n');
        }
    }
    for group in ["sweep", "noise"] {
        if report.rows.iter().any(|row| row.group == group) {
            out.push_str(&sweep(report, group));
            out.push('\n');
        }
    }
    out
}

/// The malicious shares of a report, in order.
fn shares(report: &Report) -> Vec<f64> {
    let mut shares: Vec<f64> = main(report).map(|row| row.share).collect();
    shares.retain(|share| *share > 0.0);
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    shares
}

fn main(report: &Report) -> impl Iterator<Item = &Row> {
    report.rows.iter().filter(|row| row.group == "main")
}

/// The policies of a horizon, in order.
pub(super) fn policies(report: &Report, horizon: u64) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in main(report).filter(|row| row.horizon == horizon) {
        if !names.contains(&row.policy) {
            names.push(row.policy.clone());
        }
    }
    names
}

/// The row of the adversary that hurts a policy most.
#[must_use]
pub fn worst<'a>(report: &'a Report, policy: &str, horizon: u64, share: f64) -> Option<&'a Row> {
    let rows = main(report).filter(|row| {
        row.policy == policy
            && row.horizon == horizon
            && row.share.to_bits() == share.to_bits()
            && !ASIDE.contains(&row.adversary)
    });
    // The first of equals: later adversaries are variants of earlier ones.
    rows.reduce(|worst, row| if row.error > worst.error { row } else { worst })
}
