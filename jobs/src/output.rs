//! What a shard puts out, and how the outputs of all shards become one result.

use crate::Error;
use crate::items::{ITEM_BYTES_MAX, ITEMS_MAX};
use crate::manifest::row_bytes;
use crate::package::{OutputFormat, Package};
use crate::{items, npy};

/// Decodes the outputs of a shard and checks them against the package: one output for each of
/// `expected` items, each within `limits.output_bytes_per_item` and of the declared format.
///
/// Whoever judges replicas judges only those whose outputs pass; the others have not answered.
///
/// # Errors
/// The first output that is not what the package promises.
pub fn decode<'a>(
    package: &Package,
    expected: u32,
    bytes: &'a [u8],
) -> Result<Vec<&'a [u8]>, Error> {
    let outputs = items::decode(bytes)?;
    if outputs.len() != expected as usize {
        let reason = format!("{} outputs for {expected} items", outputs.len());
        return Err(bad(reason));
    }
    let cap = package.limits.output_bytes_per_item;
    for (output, index) in outputs.iter().zip(0_usize..) {
        if output.len() > cap as usize {
            let bytes = output.len();
            return Err(bad(format!(
                "output {index} has {bytes} bytes, more than the {cap} allowed"
            )));
        }
        check_item(&package.output, output)
            .map_err(|reason| bad(format!("output {index} {reason}")))?;
    }
    Ok(outputs)
}

/// Merges the outputs of a whole job, in order, into the bytes of its result.
///
/// # Errors
/// If an output is not of the format.
pub fn merge<I: AsRef<[u8]>>(format: &OutputFormat, outputs: &[I]) -> Result<Vec<u8>, Error> {
    let count = u32::try_from(outputs.len()).unwrap_or(u32::MAX);
    let (mut merger, mut bytes) = Merger::begin(format, count)?;
    merger.add(outputs, &mut bytes)?;
    merger.finish()?;
    Ok(bytes)
}

/// Merges outputs that come one after the other.
#[derive(Debug)]
pub struct Merger<'a> {
    format: &'a OutputFormat,
    count: u32,
    merged: u32,
}

impl<'a> Merger<'a> {
    /// Begins the result of so many outputs; what it begins with.
    ///
    /// # Errors
    /// If there are more than a result can have.
    pub fn begin(format: &'a OutputFormat, count: u32) -> Result<(Self, Vec<u8>), Error> {
        if count > ITEMS_MAX {
            return Err(bad(format!(
                "{count} outputs, more than the {ITEMS_MAX} allowed"
            )));
        }
        let bytes = match format {
            OutputFormat::Items => count.to_le_bytes().to_vec(),
            OutputFormat::Npy { dtype, shape } => npy::head(*dtype, shape, count as usize)?.0,
            OutputFormat::Jsonl => Vec::new(),
        };
        let merged = 0;
        Ok((
            Self {
                format,
                count,
                merged,
            },
            bytes,
        ))
    }

    /// Bytes that a result has beside its beginning, if its outputs have `bytes` in all.
    pub fn rest(&self, bytes: u64) -> u64 {
        let each: u64 = match self.format {
            OutputFormat::Items => 4,
            OutputFormat::Npy { .. } => 0,
            OutputFormat::Jsonl => 1,
        };
        each.saturating_mul(self.count.into()).saturating_add(bytes)
    }

    /// Appends what the next outputs become to `bytes`.
    ///
    /// # Errors
    /// If an output is not of the format.
    pub fn add<I: AsRef<[u8]>>(&mut self, outputs: &[I], bytes: &mut Vec<u8>) -> Result<(), Error> {
        for output in outputs {
            let (output, index) = (output.as_ref(), self.merged);
            check_item(self.format, output)
                .map_err(|reason| bad(format!("output {index} {reason}")))?;
            self.merged = index.saturating_add(1);
            match self.format {
                OutputFormat::Items => {
                    let length = u32::try_from(output.len()).ok();
                    let length = length.filter(|length| *length <= ITEM_BYTES_MAX);
                    let long = || bad(format!("output {index} has {} bytes", output.len()));
                    bytes.extend_from_slice(&length.ok_or_else(long)?.to_le_bytes());
                    bytes.extend_from_slice(output);
                }
                OutputFormat::Npy { .. } => bytes.extend_from_slice(output),
                OutputFormat::Jsonl => {
                    bytes.extend_from_slice(output);
                    bytes.push(b'\n');
                }
            }
        }
        Ok(())
    }

    /// Ends the result.
    ///
    /// # Errors
    /// If there were more or fewer outputs than announced.
    pub fn finish(self) -> Result<(), Error> {
        match self.merged == self.count {
            true => Ok(()),
            false => Err(bad(format!("{} outputs of {}", self.merged, self.count))),
        }
    }
}

/// The outputs of which a result was merged, in order.
///
/// # Errors
/// If it is not a result of the format.
pub fn split<'a>(format: &OutputFormat, result: &'a [u8]) -> Result<Vec<&'a [u8]>, Error> {
    let outputs = match format {
        OutputFormat::Items => items::decode(result)?,
        OutputFormat::Npy { .. } => npy::split_rows(result)?,
        OutputFormat::Jsonl => {
            let mut lines: Vec<&[u8]> = result.split(|byte| *byte == b'\n').collect();
            // Every line ends, so nothing is left behind the last.
            match lines.pop() {
                Some([]) => lines,
                _ => return Err(bad("the last line does not end".into())),
            }
        }
    };
    for (output, index) in outputs.iter().zip(0_usize..) {
        check_item(format, output).map_err(|reason| bad(format!("output {index} {reason}")))?;
    }
    Ok(outputs)
}

fn bad(reason: String) -> Error {
    Error::Decode {
        what: "output",
        reason,
    }
}

/// Says why `output` is not of the format, if it is not.
fn check_item(format: &OutputFormat, output: &[u8]) -> Result<(), String> {
    match format {
        OutputFormat::Items => Ok(()),
        OutputFormat::Npy { dtype, shape } => match row_bytes(*dtype, shape) {
            Some(row) if output.len() == row as usize => Ok(()),
            row => Err(format!(
                "has {} bytes, a row has {}",
                output.len(),
                row.unwrap_or(u32::MAX)
            )),
        },
        OutputFormat::Jsonl => {
            if output.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
                return Err("is more than one line".into());
            }
            // What is skipped is not checked for being text, so that comes first.
            let text = str::from_utf8(output).map_err(|error| format!("is not text: {error}"))?;
            serde_json::from_str::<serde::de::IgnoredAny>(text)
                .map(|_| ())
                .map_err(|error| format!("is not a JSON text: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Dtype, tests::package};

    fn npy() -> OutputFormat {
        OutputFormat::Npy {
            dtype: Dtype::F32,
            shape: vec![2],
        }
    }

    #[test]
    fn formats_merge_in_order() {
        let lines = merge(&OutputFormat::Jsonl, &["{\"a\":1}", "2", "\"x\""]).unwrap();
        assert_eq!(lines, b"{\"a\":1}\n2\n\"x\"\n");
        let items = merge(&OutputFormat::Items, &["a", ""]).unwrap();
        assert_eq!(items::decode(&items).unwrap(), [&b"a"[..], b""]);
        let rows = merge(&npy(), &[[1; 8], [2; 8]]).unwrap();
        assert_eq!(npy::split_rows(&rows).unwrap(), [[1; 8], [2; 8]]);
        assert_eq!(merge::<&str>(&OutputFormat::Jsonl, &[]).unwrap(), b"");
    }

    #[test]
    fn a_result_is_split_into_what_it_was_merged_of() {
        let cases: [(OutputFormat, &[&[u8]]); 5] = [
            (OutputFormat::Jsonl, &[b"{\"a\":1}", b"2"]),
            (OutputFormat::Jsonl, &[]),
            (OutputFormat::Items, &[b"a", b"", b"\n"]),
            (OutputFormat::Items, &[]),
            (npy(), &[&[1; 8], &[2; 8]]),
        ];
        for (format, outputs) in cases {
            let result = merge(&format, outputs).unwrap();
            assert_eq!(split(&format, &result).unwrap(), outputs, "{format:?}");
            let longer = [&result[..], b"{"].concat();
            split(&format, &longer).unwrap_err();
        }
    }

    #[test]
    fn outputs_of_another_format_are_not_merged() {
        for bad in ["", "{", "1\n2", "1\r", "nan", "1 2", "\u{feff}1"] {
            let error = merge(&OutputFormat::Jsonl, &["1", bad]).unwrap_err();
            assert!(error.to_string().contains("output 1"), "{bad:?}: {error}");
        }
        let invalid = merge(&OutputFormat::Jsonl, &[b"\"\xff\""]);
        assert!(invalid.is_err());
        let deep = "[".repeat(100_000);
        assert!(merge(&OutputFormat::Jsonl, &[deep]).is_err());
        assert!(merge(&npy(), &[[0; 4]]).is_err());
    }

    #[test]
    fn a_shard_answers_every_item_within_its_limits() {
        let package = package();
        let good = items::encode(&[[0; 8], [1; 8]]).unwrap();
        assert_eq!(decode(&package, 2, &good).unwrap(), [[0; 8], [1; 8]]);
        for (expected, bytes, words) in [
            (3, good.clone(), "2 outputs for 3 items"),
            (1, items::encode(&[[0; 65]]).unwrap(), "more than the 64"),
            (1, items::encode(&[[0; 4]]).unwrap(), "a row has 8"),
            (2, good[1..].to_vec(), "item list"),
        ] {
            let error = decode(&package, expected, &bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
