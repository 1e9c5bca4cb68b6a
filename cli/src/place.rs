//! Which aggregator and which key a command means: flags, else what is configured.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jobs::envelope::ClientKey;

use crate::exit::{Coded, Exit, Fix};
use crate::{config, keys};

/// Where the aggregator is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct At {
    /// The aggregator's HTTP interface [default: the context in use, else what is configured, else
    /// http://127.0.0.1:7700].
    #[arg(long, value_name = "URL")]
    aggregator: Option<String>,
}

impl At {
    /// Whether it was named on the command line.
    pub(crate) const fn is_given(&self) -> bool {
        self.aggregator.is_some()
    }

    /// Its address.
    pub(crate) fn url(&self) -> Result<String> {
        let url = match &self.aggregator {
            Some(url) => url.clone(),
            None => config::load()?
                .value("aggregator")
                .unwrap_or_default()
                .to_owned(),
        };
        check_url(&url)?;
        Ok(url)
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Result<api::client::Client> {
        Ok(api::client::Client::new(&self.url()?))
    }
}

/// Refuses what is no address of an aggregator.
pub(crate) fn check_url(url: &str) -> Result<()> {
    let checked = config::setting::url(url);
    let checked =
        checked.map_err(|reason| anyhow::anyhow!("the aggregator's address {url:?} {reason}"));
    let bare = url.rsplit("://").next().unwrap_or_default();
    let example = if bare.is_empty() { "HOST:7700" } else { bare };
    checked.code(Exit::Usage).fix(format!(
        "write it as http://{example}, or https:// where it is behind TLS"
    ))
}

/// Who signs and pays.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Signer {
    /// The key that signs and pays: a file, or a name of `assay key list` [default: the context's, else what is
    /// configured, else assay.key, else the key named `default`].
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Signer {
    /// Where the key is.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        match &self.key {
            Some(key) => keys::locate(key),
            None => keys::locate(config::load()?.value("key").unwrap_or_default()),
        }
    }

    /// The key.
    pub(crate) fn load(&self) -> Result<ClientKey> {
        keys::load(&self.path()?)
    }

    /// The key, and a client of the aggregator that changes something in its name.
    pub(crate) fn client(&self, at: &At) -> Result<(api::client::Client, ClientKey)> {
        let key = self.load()?;
        Ok((at.client()?.with_key(&key), key))
    }
}
