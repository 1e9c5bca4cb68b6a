//! `assay key`: clients' signing keys.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use jobs::envelope::ClientKey;
use serde_json::json;

use crate::exit::{Exit, fail};
use crate::output::{Output, table};
use crate::place::Signer;
use crate::{home, keys};

/// Longest key that is read from standard input, in bytes.
const STDIN_BYTES_MAX: u64 = 16 << 10;

/// Manage the keys that sign your jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new ECDSA P-256 key. Refuses to replace one.
    ///
    /// It is kept under ~/.local/share/assay/keys (XDG_DATA_HOME moves that), readable by you alone. Whoever has it
    /// spends your money; if it is lost, so is the money.
    #[command(visible_alias = "new")]
    Generate {
        /// Its name.
        #[arg(default_value = keys::DEFAULT_NAME, conflicts_with = "out")]
        name: String,
        /// Write it to this file instead (PEM).
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Show the client id and public key of a key.
    Show {
        #[command(flatten)]
        signer: Signer,
    },
    /// List the keys that have names.
    List,
    /// Keep a copy of a key file under a name.
    Import {
        /// The key (PEM), `-` for standard input.
        file: PathBuf,
        /// Its name here.
        #[arg(default_value = keys::DEFAULT_NAME)]
        name: String,
    },
    /// Write a key to a file, to move it to another machine; or print its public half.
    Export {
        #[command(flatten)]
        signer: Signer,
        /// Where the private key goes, readable by you alone.
        #[arg(long, required_unless_present = "public")]
        out: Option<PathBuf>,
        /// Print the public key only.
        #[arg(long, conflicts_with = "out")]
        public: bool,
    },
    /// Delete a named key. What only it can spend is lost.
    Rm {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(command: &KeyCommand, output: Output) -> Result<()> {
    match command {
        KeyCommand::Generate { name, out } => {
            let path = match out {
                Some(path) => path.clone(),
                None => keys::named(name)?,
            };
            describe(&keys::create(&path)?, &path, output)
        }
        KeyCommand::Show { signer } => {
            let path = signer.path()?;
            describe(&keys::load(&path)?, &path, output)
        }
        KeyCommand::List => list(output),
        KeyCommand::Import { file, name } => import(file, name, output),
        KeyCommand::Export {
            signer,
            out,
            public,
        } => {
            let key = signer.load()?;
            match out.as_ref().filter(|_| !public) {
                Some(out) => {
                    keys::store(out, &key)?;
                    describe(&key, out, output)
                }
                None => {
                    let public = key.public_key_pem();
                    output.data(&json!({ "public_key": public }), || public.clone())
                }
            }
        }
        KeyCommand::Rm { name, yes } => remove(name, *yes, output),
    }
}

fn list(output: Output) -> Result<()> {
    let mut listed = Vec::new();
    for (name, path) in keys::list()? {
        let loaded = keys::load(&path);
        let client = loaded.as_ref().ok().map(ClientKey::client_id);
        let problem = loaded.err().map(|error| format!("{error:#}"));
        listed.push((name, path, client, problem));
    }
    let value: Vec<_> = listed
        .iter()
        .map(|(name, path, client, problem)| {
            json!({ "name": name, "key": path, "client": client, "problem": problem })
        })
        .collect();
    output.data(&value, || {
        let rows: Vec<Vec<String>> = listed
            .iter()
            .map(|(name, path, client, problem)| {
                let client = client.map(|client| client.to_string());
                let client = client.or_else(|| problem.clone()).unwrap_or_default();
                vec![name.clone(), client, path.display().to_string()]
            })
            .collect();
        table(&["name", "client", "key"], &rows)
    })
}

fn import(file: &Path, name: &str, output: Output) -> Result<()> {
    let key = if file == Path::new("-") {
        let mut text = Vec::new();
        let mut stdin = std::io::stdin().lock().take(STDIN_BYTES_MAX);
        stdin.read_to_end(&mut text).context("standard input")?;
        keys::parse(&text).context("standard input is no client's key")?
    } else {
        keys::load(file)?
    };
    let path = keys::named(name)?;
    keys::store(&path, &key)?;
    describe(&key, &path, output)
}

fn remove(name: &str, yes: bool, output: Output) -> Result<()> {
    let path = keys::named(name)?;
    if !path.exists() {
        return fail(Exit::Usage, format!("there is no key named {name:?}"));
    }
    let question = format!("Delete the key {name}? What only it can spend is lost.");
    output.confirm(yes, &question)?;
    std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
    output.data(&json!({ "removed": name }), || format!("removed  {name}"))
}

/// Makes a key and stores it.
pub(crate) fn create(path: &Path) -> Result<ClientKey> {
    keys::create(path)
}

/// Loads a key.
pub(crate) fn load(path: &Path) -> Result<ClientKey> {
    keys::load(path)
}

fn describe(key: &ClientKey, path: &Path, output: Output) -> Result<()> {
    let (client, public) = (key.client_id(), key.public_key_pem());
    let path = home::absolute(path);
    let value = json!({ "client": client, "key": path, "public_key": public });
    output.data(&value, || {
        format!("client  {client}\nkey     {}\n{public}", path.display())
    })
}
