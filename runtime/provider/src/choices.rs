//! What an operator may choose anew while the provider runs, and what was chosen, on disk.
//!
//! The configuration gives the base; what was changed since then lies in `changes.json` of the data directory and
//! goes before it, restarts included, until it is taken back.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobs::envelope::SignerPolicy;
use jobs::ids::ClientId;
use jobs::money::Amount;
use jobs::offer::Price;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::identity::sync_dir;
use crate::{Error, ProviderConfig};

/// The file of changes in the data directory.
pub const CHANGES_FILE: &str = "changes.json";

/// Largest file of changes that is read, in bytes.
const CHANGES_BYTES_MAX: u64 = 1 << 20;

/// Clients that are allowed or denied at most, each.
pub const CLIENTS_MAX: usize = 4096;

/// The longest that a mode can be set for, in milliseconds: a year.
pub const SPELL_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// When a provider works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// While nobody else uses the machine.
    Auto,
    /// Whenever there is work.
    #[default]
    Always,
    /// Not now.
    Never,
}

impl Mode {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::Always, Self::Never]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| format!("{text:?} is no mode: use auto, always or never"))
    }
}

/// A mode for a while; afterwards the one before it holds again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spell {
    /// Which.
    pub mode: Mode,
    /// Until when.
    pub until: Timestamp,
}

/// Whose jobs are executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowed {
    /// Anyone's.
    Anyone,
    /// Those of these clients alone; of nobody, if there are none.
    These(BTreeSet<ClientId>),
}

impl Allowed {
    /// The clients that are named.
    pub fn named(&self) -> BTreeSet<ClientId> {
        match self {
            Self::Anyone => BTreeSet::new(),
            Self::These(clients) => clients.clone(),
        }
    }
}

/// Everything that may be chosen anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// What it asks.
    pub price: Price,
    /// Whose jobs it executes.
    pub allow: Allowed,
    /// Whose jobs it refuses, whoever is allowed.
    pub deny: BTreeSet<ClientId>,
    /// Smallest reward it works for.
    pub reward_min: Amount,
    /// Largest model it accepts, in bytes.
    pub model_bytes_max: u64,
    /// When it works.
    pub mode: Mode,
    /// When it works for a while.
    pub spell: Option<Spell>,
}

impl Choices {
    /// What the configuration says.
    pub(crate) fn of(config: &ProviderConfig) -> Self {
        Self {
            price: config.price,
            allow: match &config.signers {
                SignerPolicy::Any => Allowed::Anyone,
                SignerPolicy::Trusted(clients) => Allowed::These(clients.clone()),
            },
            deny: config.denied.clone(),
            reward_min: config.reward_min,
            model_bytes_max: config.model_bytes_max,
            mode: config.mode,
            spell: None,
        }
    }

    /// The mode that holds at `now`. A spell that ends later than any may last is the doing of a clock that jumped, and
    /// over.
    pub fn mode_at(&self, now: Timestamp) -> Mode {
        match self.spell {
            Some(spell) if now < spell.until && spell.until.since_ms(now) <= SPELL_MS_MAX => {
                spell.mode
            }
            _ => self.mode,
        }
    }

    /// Whose jobs are taken, those denied aside.
    pub(crate) fn signers(&self) -> SignerPolicy {
        match &self.allow {
            Allowed::Anyone => SignerPolicy::Any,
            Allowed::These(clients) => SignerPolicy::Trusted(clients.clone()),
        }
    }
}

/// What was changed; nothing where the configuration holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// See [`Price::per_gfuel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_gfuel: Option<Amount>,
    /// See [`Price::per_device_second`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_device_second: Option<Amount>,
    /// See [`Choices::allow`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allowed>,
    /// See [`Choices::deny`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<BTreeSet<ClientId>>,
    /// See [`Choices::reward_min`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_min: Option<Amount>,
    /// See [`Choices::model_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_bytes_max: Option<u64>,
    /// See [`Choices::mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// See [`Choices::spell`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spell: Option<Spell>,
}

impl Changes {
    /// What lies in `path`; nothing if there is no such file.
    ///
    /// # Errors
    /// If it is not a file of changes.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            file => file.map_err(Error::io("open", path))?,
        };
        let mut bytes = Vec::new();
        let mut bounded = file.take(CHANGES_BYTES_MAX.saturating_add(1));
        bounded
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", path))?;
        let bad = |reason: String| Error::Changes {
            path: path.to_owned(),
            reason,
        };
        if bytes.len() as u64 > CHANGES_BYTES_MAX {
            return Err(bad(format!("it is larger than {CHANGES_BYTES_MAX} bytes")));
        }
        serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
    }

    /// Writes them whole or not at all. Blocks on the disk.
    fn save(&self, path: &Path) -> Result<(), Error> {
        let part = path.with_extension("json.part");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("write", path)(error.into()))?;
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(Error::io("write", &part))?;
        fs::rename(&part, path).map_err(Error::io("write", path))?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    /// The base with these before it.
    pub fn over(&self, base: &Choices) -> Choices {
        let base = base.clone();
        Choices {
            price: Price {
                per_gfuel: self.per_gfuel.unwrap_or(base.price.per_gfuel),
                per_device_second: self
                    .per_device_second
                    .unwrap_or(base.price.per_device_second),
            },
            allow: self.allow.clone().unwrap_or(base.allow),
            deny: self.deny.clone().unwrap_or(base.deny),
            reward_min: self.reward_min.unwrap_or(base.reward_min),
            model_bytes_max: self.model_bytes_max.unwrap_or(base.model_bytes_max),
            mode: self.mode.unwrap_or(base.mode),
            spell: self.spell.or(base.spell),
        }
    }
}

/// The choices that hold now.
#[derive(Debug)]
pub(crate) struct Desired {
    base: Choices,
    path: PathBuf,
    changes: Mutex<Changes>,
    held: watch::Sender<Choices>,
}

impl Desired {
    /// What was changed before, over what the configuration says. Blocks on the disk.
    pub(crate) fn open(config: &ProviderConfig) -> Result<Self, Error> {
        let path = config.data.join(CHANGES_FILE);
        let (base, changes) = (Choices::of(config), Changes::load(&path)?);
        let mut held = changes.over(&base);
        // A cache that became smaller since then bounds what was chosen for a larger one.
        held.model_bytes_max = held.model_bytes_max.min(config.largest_model());
        Ok(Self {
            base,
            path,
            changes: Mutex::new(changes),
            held: watch::Sender::new(held),
        })
    }

    pub(crate) fn get(&self) -> Choices {
        self.held.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Choices> {
        self.held.subscribe()
    }

    /// What differs from the configuration.
    pub(crate) fn changes(&self) -> Changes {
        self.lock().clone()
    }

    /// Changes something: on disk first, so that what was answered survives. Blocks on the disk.
    pub(crate) fn change(
        &self,
        edit: impl FnOnce(&mut Changes, &Choices),
    ) -> Result<Choices, Error> {
        let mut changes = self.lock();
        let mut edited = changes.clone();
        edit(&mut edited, &self.held.borrow());
        let held = edited.over(&self.base);
        edited.save(&self.path)?;
        *changes = edited;
        self.held.send_replace(held.clone());
        Ok(held)
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
