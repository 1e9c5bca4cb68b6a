//! `assay ledger`: balances, deposits, the journal and its audit.

use std::path::PathBuf;

use anyhow::Result;
use api::types::{BalanceView, DepositRequest};
use clap::Subcommand;
use jobs::money::Amount;
use serde_json::json;

use crate::commands::journal;
use crate::exit::{Exit, fail};
use crate::operator::Operated;
use crate::output::{Output, table};
use crate::place::At;

/// Look at the money, or move some in.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Every account.
    Balances {
        #[command(flatten)]
        at: At,
    },
    /// Credit a client or a provider's stake. Operators only; a reference deposits once.
    Deposit {
        #[command(flatten)]
        operated: Operated,
        /// `client:blake3:…`, `stake:<provider id>` or `rewards`.
        #[arg(long)]
        account: String,
        /// Units with up to six decimals.
        #[arg(long)]
        amount: Amount,
        /// What makes this deposit itself, for example an invoice number.
        #[arg(long)]
        reference: String,
    },
    /// Show entries of the journal, in order.
    Journal {
        #[command(flatten)]
        at: At,
        /// Begin behind this entry.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many, 1 to 4096.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
        limit: u32,
    },
    /// Write the whole journal into a file.
    Export {
        #[command(flatten)]
        at: At,
        /// The file.
        #[arg(long)]
        out: PathBuf,
        /// How.
        #[arg(long, value_enum, default_value = "csv")]
        format: journal::Format,
    },
    /// Re-derive every balance from the journal and compare. Ends with code 5 if anything differs.
    Audit {
        #[command(flatten)]
        at: At,
        /// Audit a stopped aggregator's data directory instead of asking a running one.
        #[arg(long)]
        data: Option<PathBuf>,
    },
}

pub(crate) async fn run(command: LedgerCommand, output: Output) -> Result<()> {
    match command {
        LedgerCommand::Balances { at } => {
            let balances = at.client()?.balances().await?;
            output.data(&balances, || balance_table(&balances))
        }
        LedgerCommand::Deposit {
            operated,
            account,
            amount,
            reference,
        } => {
            let token = operated.token()?;
            let deposit = DepositRequest {
                account,
                amount,
                reference,
            };
            let new = operated.client()?.deposit(&token, &deposit).await?;
            let text = if new {
                "deposited"
            } else {
                "already deposited under this reference"
            };
            output.data(&json!({ "new": new }), || text.to_owned())
        }
        LedgerCommand::Journal { at, after, limit } => {
            journal::page(&at.client()?, after, limit as usize, output).await
        }
        LedgerCommand::Export { at, out, format } => {
            journal::export(&at.client()?, &out, format, output).await
        }
        LedgerCommand::Audit { at, data } => audit(&at, data, output).await,
    }
}

async fn audit(at: &At, data: Option<PathBuf>, output: Output) -> Result<()> {
    let report = match data {
        Some(data) => serde_json::to_value(aggregator::audit_at_rest(&data)?)?,
        None => at.client()?.audit().await?,
    };
    output.data(&report, || {
        serde_json::to_string_pretty(&report).unwrap_or_default()
    })?;
    match report.get("clean").and_then(serde_json::Value::as_bool) {
        Some(true) => Ok(()),
        _ => fail(Exit::Payment, "the ledger does not balance: see the report"),
    }
}

fn balance_table(balances: &[BalanceView]) -> String {
    let rows: Vec<Vec<String>> = balances
        .iter()
        .map(|balance| {
            let net = if balance.debits > balance.credits {
                format!("-{}", balance.debits.saturating_sub(balance.credits))
            } else {
                balance.credits.saturating_sub(balance.debits).to_string()
            };
            vec![balance.account.clone(), net, balance.pending.to_string()]
        })
        .collect();
    table(&["account", "balance", "reserved"], &rows)
}
