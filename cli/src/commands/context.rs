//! `assay context`: aggregators by name, each with the key to use there.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::config::file::{ContextText, Lines, Text};
use crate::config::{self, setting};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::home;
use crate::output::{Output, table};
use crate::place::check_url;

/// Give aggregators names, and choose which one commands mean.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Name an aggregator and the key to use there. The first context is used at once.
    Create {
        /// Its name.
        name: String,
        /// The aggregator's HTTP interface.
        #[arg(long)]
        url: String,
        /// The key: a file, or a name of `assay key list` [default: what is configured].
        #[arg(long)]
        key: Option<String>,
        /// Replace a context of this name.
        #[arg(long)]
        force: bool,
    },
    /// Have commands mean this aggregator and key from now on.
    Use {
        /// Its name.
        name: String,
    },
    /// List all contexts.
    List,
    /// Show a context.
    Show {
        /// Its name [default: the one in use].
        name: Option<String>,
    },
    /// Delete a context. Its key stays.
    Rm {
        /// Its name.
        name: String,
    },
}

pub(crate) fn run(command: &ContextCommand, output: Output) -> Result<()> {
    match command {
        ContextCommand::Create {
            name,
            url,
            key,
            force,
        } => create(name, url, key.as_deref(), *force, output),
        ContextCommand::Use { name } => {
            find(name)?;
            let used = |text: &Text| text.value("context") == Some(name);
            edit(|lines| lines.set("context", Some(name)), used)?;
            output.data(&json!({ "context": name }), || format!("uses {name}"))
        }
        ContextCommand::List => list(output),
        ContextCommand::Show { name } => {
            let config = config::load()?;
            let name = match name.as_deref().or(config.value("context")) {
                Some(name) => name.to_owned(),
                None => {
                    return fail(Exit::Usage, "no context is in use")
                        .fix("assay context use NAME, or assay context create NAME --url URL");
                }
            };
            let context = find(&name)?;
            output.data(&described(&name, &context, true), || {
                let key = context.key.as_deref().unwrap_or("-");
                format!(
                    "context     {name}\naggregator  {}\nkey         {key}",
                    context.url
                )
            })
        }
        ContextCommand::Rm { name } => remove(name, output),
    }
}

fn edit(change: impl FnOnce(&mut Lines), is_done: impl FnOnce(&Text) -> bool) -> Result<()> {
    config::file::edit(&config::user_file()?, change, is_done)
}

/// What the user's own file says.
fn own() -> Result<Text> {
    Ok(Text::read(&config::user_file()?)?.unwrap_or_default())
}

/// The contexts of every file, also where the one in use is missing.
fn all() -> Result<Vec<(String, ContextText)>> {
    let mut contexts = std::collections::BTreeMap::new();
    for path in config::files()? {
        if let Some(text) = config::file::Text::read(&path)? {
            contexts.extend(text.contexts);
        }
    }
    Ok(contexts.into_iter().collect())
}

fn find(name: &str) -> Result<ContextText> {
    let contexts = all()?;
    let found = contexts.iter().find(|(known, _)| known == name);
    if let Some((_, context)) = found {
        return Ok(context.clone());
    }
    let names = contexts.iter().map(|(known, _)| known.as_str());
    let fix = match setting::nearest(name, names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("assay context create {name} --url http://HOST:7700"),
    };
    fail(Exit::Usage, format!("there is no context {name:?}")).fix(fix)
}

fn create(name: &str, url: &str, key: Option<&str>, force: bool, output: Output) -> Result<()> {
    setting::name(name)
        .map_err(|reason| anyhow::anyhow!("context {name:?}: {reason}"))
        .code(Exit::Usage)?;
    check_url(url)?;
    // A context is used from any folder.
    let key = key.map(
        |key| match key.contains('/') || std::path::Path::new(key).exists() {
            true => home::absolute(std::path::Path::new(key))
                .display()
                .to_string(),
            false => key.to_owned(),
        },
    );
    let contexts = all()?;
    if !force && contexts.iter().any(|(known, _)| known == name) {
        return fail(Exit::Usage, format!("there is a context {name:?} already"))
            .fix("choose another name, or say --force to replace it");
    }
    let context = ContextText {
        url: url.trim_end_matches('/').to_owned(),
        key,
    };
    let is_used = own()?.value("context").is_none();
    edit(
        |lines| {
            lines.context(name, Some(&context));
            if is_used {
                lines.set("context", Some(name));
            }
        },
        |text| text.contexts.get(name) == Some(&context),
    )?;
    output.data(&described(name, &context, is_used), || {
        let used = if is_used {
            ", which commands mean now"
        } else {
            ""
        };
        format!("context {name}: {}{used}", context.url)
    })
}

fn described(name: &str, context: &ContextText, used: bool) -> serde_json::Value {
    json!({ "context": name, "url": context.url, "key": context.key, "used": used })
}

fn list(output: Output) -> Result<()> {
    let (contexts, config) = (all()?, config::load());
    let used = config
        .as_ref()
        .ok()
        .and_then(|config| config.value("context"));
    let value: Vec<_> = contexts
        .iter()
        .map(|(name, context)| described(name, context, used == Some(name)))
        .collect();
    output.data(&value, || {
        let rows: Vec<Vec<String>> = contexts
            .iter()
            .map(|(name, context)| {
                let mark = if used == Some(name) { "*" } else { "" };
                let key = context.key.clone().unwrap_or_else(|| "-".to_owned());
                vec![mark.to_owned(), name.clone(), context.url.clone(), key]
            })
            .collect();
        table(&["", "context", "aggregator", "key"], &rows)
    })
}

fn remove(name: &str, output: Output) -> Result<()> {
    find(name)?;
    let own = own()?;
    if !own.contexts.contains_key(name) {
        let reason = format!("context {name:?} is not in your own configuration file");
        return fail(Exit::Usage, reason).fix("the administrator put it into the system's");
    }
    edit(
        |lines| {
            lines.context(name, None);
            if own.value("context") == Some(name) {
                lines.set("context", None);
            }
        },
        |text| !text.contexts.contains_key(name),
    )?;
    output.data(&json!({ "removed": name }), || format!("removed  {name}"))
}
