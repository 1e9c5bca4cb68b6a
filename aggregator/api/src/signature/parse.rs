//! Reads the two signature headers: a small, strict part of structured fields (RFC 9651).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobs::envelope::FIXED_SIGNATURE_BYTES;

use super::{ALGORITHM, NONCE_BYTES_MAX, NONCE_BYTES_MIN, TAG, bad};
use crate::problem::Problem;

/// Most components of a signature.
const COMPONENTS_MAX: usize = 8;

/// What a signature says of itself. Not yet believed.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) label: String,
    /// As they are listed.
    pub(super) components: Vec<&'a str>,
    /// The whole value after the label: what the signed text ends with.
    pub(super) params: &'a str,
    pub(super) keyid: &'a str,
    pub(super) nonce: &'a str,
    pub(super) created: u64,
}

impl<'a> Claims<'a> {
    /// Reads `Signature-Input`.
    pub(super) fn parse(input: &'a str) -> Result<Self, Problem> {
        let (label, params) = member(input)?;
        let inner = params
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'));
        let (listed, rest) =
            inner.ok_or_else(|| bad("Signature-Input has no list in parentheses"))?;
        let components = components(listed)?;
        let mut found: [(&str, Option<&str>); 5] =
            ["created", "keyid", "nonce", "alg", "tag"].map(|name| (name, None));
        for (name, value) in parameters(rest)? {
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, slot @ None)) => *slot = Some(value),
                Some(_) => return Err(bad(format!("parameter {name} came twice"))),
                None => return Err(bad(format!("parameter {name:?} is not of this profile"))),
            }
        }
        let [created, keyid, nonce, alg, tag] = found
            .map(|(name, value)| value.ok_or_else(|| bad(format!("parameter {name} is missing"))));
        let claims = Self {
            label: label.to_owned(),
            components,
            params,
            keyid: quoted(keyid?, "keyid")?,
            nonce: quoted(nonce?, "nonce")?,
            created: number(created?)?,
        };
        must("alg", quoted(alg?, "alg")?, ALGORITHM)?;
        must("tag", quoted(tag?, "tag")?, TAG)?;
        let length = claims.nonce.len();
        if !(NONCE_BYTES_MIN..=NONCE_BYTES_MAX).contains(&length) {
            return Err(bad(format!(
                "nonce has {length} bytes: must be {NONCE_BYTES_MIN} to {NONCE_BYTES_MAX}"
            )));
        }
        Ok(claims)
    }
}

/// Reads `Signature`: 64 bytes under the same label.
pub(super) fn signature(header: &str, label: &str) -> Result<[u8; FIXED_SIGNATURE_BYTES], Problem> {
    let (found, value) = member(header)?;
    if found != label {
        let reason = format!("Signature is labelled {found:?}, Signature-Input {label:?}");
        return Err(bad(reason));
    }
    let text = value
        .strip_prefix(':')
        .and_then(|rest| rest.strip_suffix(':'));
    let text = text.ok_or_else(|| bad("Signature is no byte sequence between colons"))?;
    let bytes = STANDARD.decode(text);
    let bytes = bytes.map_err(|error| bad(format!("Signature is not base64: {error}")))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| {
        bad(format!(
            "Signature has {length} bytes: must be {FIXED_SIGNATURE_BYTES}"
        ))
    })
}

/// The one member of a dictionary.
fn member(text: &str) -> Result<(&str, &str), Problem> {
    let (label, value) = text.split_once('=').unwrap_or((text, ""));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    if label.is_empty() || !label.chars().all(plain) {
        return Err(bad(format!("{label:?} is no label of a signature")));
    }
    Ok((label, value))
}

fn components(listed: &str) -> Result<Vec<&str>, Problem> {
    let components = listed.split(' ').map(|one| quoted(one, "component"));
    let components = components.collect::<Result<Vec<_>, _>>()?;
    match components.len() {
        0..=COMPONENTS_MAX => Ok(components),
        more => Err(bad(format!("{more} components: at most {COMPONENTS_MAX}"))),
    }
}

/// `;name=value` again and again. Values hold no semicolon in this profile.
fn parameters(text: &str) -> Result<Vec<(&str, &str)>, Problem> {
    let mut pieces = text.split(';');
    if pieces.next() != Some("") {
        return Err(bad("something stands between the list and its parameters"));
    }
    pieces
        .map(|piece| {
            piece
                .split_once('=')
                .ok_or_else(|| bad(format!("{piece:?} is no parameter with a value")))
        })
        .collect()
}

/// Text in quotes without anything that would have to be escaped.
fn quoted<'a>(text: &'a str, what: &str) -> Result<&'a str, Problem> {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    match inner {
        Some(inner) if inner.chars().all(plain) => Ok(inner),
        _ => Err(bad(format!("{what} {text:?} is no plain text in quotes"))),
    }
}

fn number(text: &str) -> Result<u64, Problem> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| bad(format!("created = {text:?}: must be seconds since 1970")))
}

fn must(what: &str, value: &str, due: &str) -> Result<(), Problem> {
    match value == due {
        true => Ok(()),
        false => Err(bad(format!("{what} = {value:?}: must be {due:?}"))),
    }
}
