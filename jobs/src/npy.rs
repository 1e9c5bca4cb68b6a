//! NumPy's `.npy` format: enough to cut an array into rows and to put rows together again.

use crate::Error;
use crate::items::{ITEM_BYTES_MAX, ITEMS_MAX};
use crate::manifest::{RANK_MAX, row_bytes};
use crate::package::Dtype;

/// Longest header in bytes. NumPy's own reader trusts no longer one either without being told to.
pub const NPY_HEADER_MAX: usize = 10_000;

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy pads the header so that data starts at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

fn bad(reason: impl Into<String>) -> Error {
    Error::Decode {
        what: ".npy array",
        reason: reason.into(),
    }
}

/// Cuts a little-endian, C-ordered array into the bytes of its rows (its first axis).
///
/// # Errors
/// If the file is not exactly one such array of numbers, or its rows are more than [`ITEMS_MAX`] or
/// longer than [`ITEM_BYTES_MAX`].
pub fn split_rows(bytes: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let layout = Layout::read(bytes, bytes.len() as u64)?;
    let (_, data) = split_header(bytes)?;
    Ok(data.chunks_exact(layout.row as usize).collect())
}

/// Where the rows of an array lie in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the first row begins, in bytes.
    pub data: u64,
    /// How many rows there are.
    pub rows: u32,
    /// Bytes of a row, more than none.
    pub row: u32,
}

impl Layout {
    /// Bytes of a file of which its layout can always be read.
    pub const HEAD_BYTES_MAX: u64 = NPY_HEADER_MAX as u64 + 16;

    /// Of a file of `size` bytes that begins like this.
    ///
    /// # Errors
    /// As [`split_rows`].
    pub fn read(head: &[u8], size: u64) -> Result<Self, Error> {
        let (header, rest) = split_header(head)?;
        let data = (head.len() as u64).saturating_sub(rest.len() as u64);
        let (rows, row) = rows_of(header, size.saturating_sub(data))?;
        Ok(Self { data, rows, row })
    }
}

/// How many rows there are, and how long one is, if that is what the data has.
fn rows_of(header: &str, data_bytes: u64) -> Result<(u32, u32), Error> {
    let header = Header::parse(header)?;
    let Some((&rows, row_shape)) = header.shape.split_first() else {
        return Err(bad("a scalar has no rows"));
    };
    if rows > u64::from(ITEMS_MAX) {
        return Err(bad(format!("{rows} rows, more than {ITEMS_MAX}")));
    }
    let row = row_shape
        .iter()
        .try_fold(header.element_bytes, |bytes, &dim| bytes.checked_mul(dim));
    let row = row
        .filter(|row| (1..=u64::from(ITEM_BYTES_MAX)).contains(row))
        .ok_or_else(|| {
            bad(format!(
                "rows of shape {row_shape:?} are not 1 to {ITEM_BYTES_MAX} bytes long"
            ))
        })?;
    // Neither factor exceeds 2^26, so the product fits.
    let expected = rows.saturating_mul(row);
    if data_bytes != expected {
        return Err(bad(format!(
            "{data_bytes} bytes of data, the header says {expected}"
        )));
    }
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok((narrow(rows), narrow(row)))
}

/// Writes rows as an array of shape `[rows, row_shape...]`, format version 1.0.
///
/// # Errors
/// If a row has not exactly the bytes of `row_shape`, or the shape has more than [`RANK_MAX`] axes.
pub fn write<R: AsRef<[u8]>>(
    dtype: Dtype,
    row_shape: &[u32],
    rows: &[R],
) -> Result<Vec<u8>, Error> {
    let (mut bytes, row) = head(dtype, row_shape, rows.len())?;
    for (data, index) in rows.iter().zip(0_usize..) {
        let data = data.as_ref();
        if data.len() != row as usize {
            let actual = data.len();
            return Err(bad(format!("row {index} has {actual} bytes, not {row}")));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// What comes before the rows of an array of so many, and how long a row is in bytes.
///
/// # Errors
/// If a row would be too large, or the shape has more than [`RANK_MAX`] axes.
pub fn head(dtype: Dtype, row_shape: &[u32], rows: usize) -> Result<(Vec<u8>, u32), Error> {
    let row = row_bytes(dtype, row_shape).filter(|_| row_shape.len() <= RANK_MAX);
    let row = row.ok_or_else(|| bad(format!("rows of shape {row_shape:?} are too large")))?;
    let descr = match dtype {
        Dtype::F16 => "<f2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
    };
    let axes: String = row_shape.iter().map(|dim| format!(" {dim},")).collect();
    // Python writes (3,) for one axis and (3, 4) for two.
    let axes = if axes.is_empty() {
        ",".to_owned()
    } else {
        format!(",{}", axes.trim_end_matches(','))
    };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}{axes}), }}");
    // Magic, version and length take ten bytes, the line feed one.
    let used = header.len().saturating_add(11);
    let padding = used.next_multiple_of(ALIGNMENT).saturating_sub(used);
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| bad("header is too long"))?;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    Ok((bytes, row))
}

/// Separates header text and data.
fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), Error> {
    let cut = || bad("the file is cut off in its header");
    let rest = bytes.strip_prefix(MAGIC);
    let rest = rest.ok_or_else(|| bad("it does not begin with NumPy's magic bytes"))?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(*length), rest)
        }
        [major, minor] => {
            return Err(bad(format!(
                "format {major}.{minor} is not 1.0, 2.0 or 3.0"
            )));
        }
    };
    if length as usize > NPY_HEADER_MAX {
        return Err(bad(format!(
            "a header of {length} bytes, more than {NPY_HEADER_MAX}"
        )));
    }
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
    let header = str::from_utf8(header).map_err(|_| bad("its header is not text"))?;
    Ok((header, data))
}

struct Header {
    element_bytes: u64,
    shape: Vec<u64>,
}

impl Header {
    /// Reads the header, a Python dictionary of exactly three keys.
    fn parse(text: &str) -> Result<Self, Error> {
        let (mut element_bytes, mut order, mut shape) = (None, None, None);
        let body = text.trim();
        let body = body
            .strip_prefix('{')
            .and_then(|body| body.strip_suffix('}'));
        let mut rest = body
            .ok_or_else(|| bad("its header is no dictionary"))?
            .trim();
        while !rest.is_empty() {
            let (key, value) = rest
                .split_once(':')
                .ok_or_else(|| bad("its header has a key without a value"))?;
            let value = value.trim_start();
            let after = match key.trim().trim_matches(['\'', '"']) {
                "descr" if element_bytes.is_none() => {
                    let (descr, after) = until_comma(value);
                    element_bytes = Some(element_size(descr)?);
                    after
                }
                "fortran_order" if order.is_none() => {
                    let (flag, after) = until_comma(value);
                    order = Some(flag.to_owned());
                    after
                }
                "shape" if shape.is_none() => {
                    let (axes, after) = value
                        .strip_prefix('(')
                        .and_then(|value| value.split_once(')'))
                        .ok_or_else(|| bad("its shape is no tuple"))?;
                    shape = Some(parse_shape(axes)?);
                    after.trim_start().strip_prefix(',').unwrap_or(after)
                }
                other => return Err(bad(format!("its header has an unexpected key {other:?}"))),
            };
            rest = after.trim();
        }
        match (element_bytes, order.as_deref(), shape) {
            (Some(element_bytes), Some("False"), Some(shape)) => Ok(Self {
                element_bytes,
                shape,
            }),
            (_, Some("True"), _) => Err(bad("it is in Fortran order; rows must be in C order")),
            _ => Err(bad("its header lacks descr, fortran_order or shape")),
        }
    }
}

fn until_comma(text: &str) -> (&str, &str) {
    let (value, rest) = text.split_once(',').unwrap_or((text, ""));
    (value.trim(), rest)
}

fn parse_shape(axes: &str) -> Result<Vec<u64>, Error> {
    let axes = axes.trim();
    let axes = axes.strip_suffix(',').unwrap_or(axes);
    if axes.is_empty() {
        return Ok(Vec::new());
    }
    let shape: Vec<u64> = axes
        .split(',')
        .take(RANK_MAX.saturating_add(2))
        .map(|axis| axis.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| bad(format!("its shape ({axes}) is not made of integers")))?;
    // One more axis than a row has.
    if shape.len() > RANK_MAX.saturating_add(1) {
        return Err(bad(format!(
            "its shape has more than {RANK_MAX} axes a row"
        )));
    }
    Ok(shape)
}

/// Bytes of one element. Objects are pickles, structures have padding, and big-endian numbers would
/// surprise every guest: none is taken.
fn element_size(descr: &str) -> Result<u64, Error> {
    let inner = descr.trim_matches(['\'', '"']);
    match inner {
        "|b1" | "|i1" | "|u1" => Ok(1),
        "<i2" | "<u2" | "<f2" => Ok(2),
        "<i4" | "<u4" | "<f4" => Ok(4),
        "<i8" | "<u8" | "<f8" | "<c8" => Ok(8),
        "<c16" => Ok(16),
        _ => Err(bad(format!(
            "elements of type {inner:?}; only little-endian numbers are taken"
        ))),
    }
}

#[cfg(test)]
mod tests;
