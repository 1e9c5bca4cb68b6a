//! `assay ledger`: balances, deposits and the audit.

use std::path::PathBuf;

use anyhow::{Context, Result};
use api::types::{BalanceView, DepositRequest};
use clap::Subcommand;
use jobs::money::Amount;
use serde_json::json;

use crate::exit::{Exit, fail};
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
        at: At,
        /// `client:blake3:…`, `stake:<provider id>` or `rewards`.
        #[arg(long)]
        account: String,
        /// Units with up to six decimals.
        #[arg(long)]
        amount: Amount,
        /// What makes this deposit itself, for example an invoice number.
        #[arg(long)]
        reference: String,
        /// File with the operator's token (`operator.token` in the aggregator's data directory).
        #[arg(long)]
        token_file: PathBuf,
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
            at,
            account,
            amount,
            reference,
            token_file,
        } => {
            let token = std::fs::read_to_string(&token_file)
                .with_context(|| token_file.display().to_string())?;
            let deposit = DepositRequest {
                account,
                amount,
                reference,
            };
            let new = at.client()?.deposit(token.trim(), &deposit).await?;
            let text = if new {
                "deposited"
            } else {
                "already deposited under this reference"
            };
            output.data(&json!({ "new": new }), || text.to_owned())
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
