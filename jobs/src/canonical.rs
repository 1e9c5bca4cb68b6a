//! One spelling for what is signed: RFC 8785 JSON of a bounded size.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// The canonical bytes of a `what`, at most `max` of them.
pub(crate) fn encode<T: Serialize>(
    value: &T,
    what: &'static str,
    max: usize,
) -> Result<Vec<u8>, Error> {
    let bytes = serde_json_canonicalizer::to_vec(value).map_err(|error| Error::Encode {
        what,
        reason: error.to_string(),
    })?;
    check_size(bytes.len(), what, max)?;
    Ok(bytes)
}

/// Reads canonical bytes, and refuses any other spelling of the same.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
    max: usize,
) -> Result<T, Error> {
    check_size(bytes.len(), what, max)?;
    let refuse = |reason: String| Error::Decode { what, reason };
    let value: T = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    if encode(&value, what, max)? != bytes {
        return Err(refuse("not in canonical form".into()));
    }
    Ok(value)
}

/// Refuses what is larger than `max` bytes before anything is made of it.
pub(crate) const fn check_size(size: usize, what: &'static str, max: usize) -> Result<(), Error> {
    if size > max {
        return Err(Error::TooLarge {
            what,
            size: size as u64,
            max: max as u64,
        });
    }
    Ok(())
}
