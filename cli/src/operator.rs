//! What an operator needs to be heard: the aggregator's address and the operator's token.

use std::path::PathBuf;

use anyhow::{Context, Result};
use api::client::Client;
use clap::Args;

use crate::devnet::Ready;
use crate::exit::{Coded, Exit, Fix, fail};
use crate::place::At;

/// Which aggregator, and by what right.
#[derive(Clone, Debug, Args)]
pub(crate) struct Operated {
    #[command(flatten)]
    at: At,
    /// Data directory of the aggregator, on its machine: the token and, unless it is given, the address are found there.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// File with the operator's token [default: `operator.token` in --data].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Operated {
    /// A client of the aggregator.
    pub(crate) fn client(&self) -> Result<Client> {
        match &self.data {
            Some(data) if !self.at.is_given() => {
                let path = data.join(Ready::FILE);
                let text = std::fs::read(&path).code(Exit::Usage);
                let text = text
                    .with_context(|| path.display().to_string())
                    .fix("name a directory of an aggregator that serves, or its address with --aggregator")?;
                let ready: Ready =
                    serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
                Ok(Client::new(&ready.http))
            }
            _ => self.at.client(),
        }
    }

    /// The operator's token.
    pub(crate) fn token(&self) -> Result<String> {
        let path = match (&self.token_file, &self.data) {
            (Some(file), _) => file.clone(),
            (None, Some(data)) => data.join("operator.token"),
            (None, None) => {
                return fail(Exit::Usage, "only an aggregator's operator may do this").fix(
                    "give --data with its data directory, or --token-file with its operator.token",
                );
            }
        };
        let token = std::fs::read_to_string(&path).code(Exit::Usage);
        let token = token.with_context(|| path.display().to_string())?;
        Ok(token.trim().to_owned())
    }
}
