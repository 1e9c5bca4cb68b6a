//! `assay aggregator economics`: what cheating costs, as inequalities with their numbers.

use anyhow::{Context, Result};
use clap::Args;
use policy::Params;
use policy::economics::{Report, check, inequalities, stake_min};
use serde_json::{Value, json};

use crate::exit::{Coded, Exit, fail};
use crate::output::Output;
use crate::place::At;

#[derive(Debug, Args)]
pub(crate) struct EconomicsArgs {
    /// Another value of a parameter, as NAME=VALUE: rates in parts per billion, money in micro-units; may be
    /// repeated. `--json` lists the names.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Start from the parameters of the aggregator at --aggregator, not from the defaults.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    at: At,
}

pub(crate) async fn run(args: &EconomicsArgs, output: Output) -> Result<()> {
    let base = match args.live {
        true => live(&args.at).await?,
        false => Params::default(),
    };
    let params = params(base, &args.set).code(Exit::Usage)?;
    params.validate().code(Exit::Usage)?;
    let rows = inequalities(&params);
    let holds: Vec<bool> = rows
        .iter()
        .map(policy::economics::Inequality::holds)
        .collect();
    let value = json!({
        "params": params,
        "stake_min": stake_min(&params).to_string(),
        "inequalities": rows,
        "holds": holds,
    });
    output.data(&value, || Report(&params).to_string())?;
    check(&params).code(Exit::Usage)
}

/// What an aggregator audits by.
async fn live(at: &At) -> Result<Params> {
    let auditing = at.client()?.auditing().await?;
    let params = auditing.get("params").cloned().unwrap_or_default();
    serde_json::from_value(params).context("the aggregator's parameters")
}

/// The base, with what the user wants changed.
pub(crate) fn params(base: Params, changes: &[String]) -> Result<Params> {
    let mut value = serde_json::to_value(base)?;
    for change in changes {
        let (name, text) = change
            .split_once('=')
            .with_context(|| format!("{change:?} is not NAME=VALUE"))?;
        let number: u64 = text
            .parse()
            .with_context(|| format!("{name}: {text:?} is not a whole number"))?;
        match value.get_mut(name) {
            Some(place) => *place = Value::from(number),
            None => return fail(Exit::Usage, format!("there is no parameter {name:?}")),
        }
    }
    serde_json::from_value(value).context("the parameters")
}

#[cfg(test)]
mod tests {
    use super::{Params, params};

    #[test]
    fn parameters_are_changed_by_name_and_nonsense_is_named() {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let changed = params(Params::default(), &owned(&["window=5", "stake=7"])).unwrap();
        assert_eq!((changed.window, changed.stake), (5, 7));
        for (text, named) in [
            ("window", "\"window\" is not NAME=VALUE"),
            ("window=x", "\"x\" is not a whole number"),
            ("widow=1", "no parameter \"widow\""),
            ("peer=1000000001", "1000000001"),
            ("confirmations=256", "256"),
        ] {
            let error = format!(
                "{:#}",
                params(Params::default(), &owned(&[text])).unwrap_err()
            );
            assert!(error.contains(named), "{error}");
        }
    }
}
