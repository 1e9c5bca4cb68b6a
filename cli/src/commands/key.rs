//! `assay key`: a client's signing key.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use jobs::envelope::ClientKey;
use serde_json::json;

use crate::exit::{Coded, Exit};
use crate::home;
use crate::output::Output;

/// Manage the key that signs your jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new ECDSA P-256 key. Refuses to replace an existing file.
    New {
        /// Where the private key goes (PEM, readable by you alone).
        #[arg(long, default_value = "assay.key")]
        out: PathBuf,
    },
    /// Show the client id and public key of a key.
    Show {
        /// The private key.
        #[arg(long, default_value = "assay.key", env = "ASSAY_KEY")]
        key: PathBuf,
    },
}

pub(crate) fn run(command: &KeyCommand, output: Output) -> Result<()> {
    match command {
        KeyCommand::New { out } => {
            let key = create(out)?;
            describe(&key, out, output)
        }
        KeyCommand::Show { key } => describe(&load(key)?, key, output),
    }
}

/// Makes a key and stores it.
pub(crate) fn create(path: &Path) -> Result<ClientKey> {
    let key = ClientKey::generate()?;
    home::write_secret(path, &key.to_pem()?)?;
    Ok(key)
}

/// Loads a key.
pub(crate) fn load(path: &Path) -> Result<ClientKey> {
    let pem = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the key {} (make one with `assay key new`)",
            path.display()
        )
    });
    let pem = pem.code(Exit::Signature)?;
    ClientKey::from_pem(&pem)
        .with_context(|| path.display().to_string())
        .code(Exit::Signature)
}

fn describe(key: &ClientKey, path: &Path, output: Output) -> Result<()> {
    let (client, public) = (key.client_id(), key.public_key_pem());
    let value = json!({ "client": client, "key": path, "public_key": public });
    output.data(&value, || {
        format!("client  {client}\nkey     {}\n{public}", path.display())
    })
}
