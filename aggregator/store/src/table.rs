//! Typed tables and cells: constants that say where rows live and how they become bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Batch, Column, Key, KeyRange, PAGE_ROWS_MAX, StoreError, View};

/// A column read as rows of `K` to `V`.
///
/// Keys are order-preserving ([`Key`]); a value is one byte of schema version followed by postcard.
/// Changing what `V` serialises to means raising the version; rows of another version are refused, never
/// guessed at. One column holds one table.
pub struct Table<K, V> {
    column: Column,
    version: u8,
    rows: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}, version {})", self.column, self.version)
    }
}

/// Typed rows in key order, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<K, V> {
    /// Keys and values, ascending by key.
    pub rows: Vec<(K, V)>,
    /// Pass to [`Table::page`] to read on; `None` when the range is exhausted.
    pub next: Option<KeyRange>,
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// Declares a table. `version` is the schema version of `V`.
    #[must_use]
    pub const fn new(column: Column, version: u8) -> Self {
        Self {
            column,
            version,
            rows: PhantomData,
        }
    }

    /// The column the rows live in.
    #[must_use]
    pub const fn column(&self) -> Column {
        self.column
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// What [`View::get`] says, `Row` or `Version` when the bytes are not a value of this table.
    pub fn get(&self, kv: &dyn View, key: &K) -> Result<Option<V>, StoreError> {
        let key = key.to_bytes();
        let value = kv.get(self.column, &key)?;
        value
            .map(|value| self.decode_value(&key, &value))
            .transpose()
    }

    /// The rows of `range`, at most `limit` (and the bounds of [`View::scan`]).
    ///
    /// # Errors
    /// What [`View::scan`] says, `Row` or `Version` when the bytes are not a row of this table.
    pub fn page(
        &self,
        kv: &dyn View,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Rows<K, V>, StoreError> {
        let page = kv.scan(self.column, range, limit)?;
        let rows = page
            .rows
            .iter()
            .map(|(key, value)| Ok((self.decode_key(key)?, self.decode_value(key, value)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Rows {
            rows,
            next: page.next.map(|key| range.starting_at(key)),
        })
    }

    /// Calls `each` for every row of `range`, page by page, so that memory stays bounded.
    ///
    /// # Errors
    /// As [`Table::page`], or the first error of `each`.
    pub fn for_each<E: From<StoreError>>(
        &self,
        kv: &dyn View,
        range: KeyRange,
        mut each: impl FnMut(K, V) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = Some(range);
        while let Some(range) = rest {
            let page = self.page(kv, &range, PAGE_ROWS_MAX)?;
            for (key, value) in page.rows {
                each(key, value)?;
            }
            rest = page.next;
        }
        Ok(())
    }

    /// Adds a put to `batch`.
    ///
    /// # Errors
    /// `Encode` when the value cannot be serialised. Sizes are checked at commit.
    pub fn put(&self, batch: &mut Batch, key: &K, value: &V) -> Result<(), StoreError> {
        let mut bytes = vec![self.version];
        bytes = postcard::to_extend(value, bytes).map_err(|error| StoreError::Encode {
            column: self.column,
            detail: error.to_string(),
        })?;
        batch.put_raw(self.column, key.to_bytes(), bytes);
        Ok(())
    }

    /// Adds a delete to `batch`.
    pub fn delete(&self, batch: &mut Batch, key: &K) {
        batch.delete_raw(self.column, key.to_bytes());
    }

    /// Reads key bytes.
    ///
    /// # Errors
    /// `Row` when the bytes are not a key of this table.
    pub fn decode_key(&self, key: &[u8]) -> Result<K, StoreError> {
        K::from_bytes(key).ok_or_else(|| self.bad_row(key, "key is malformed".into()))
    }

    /// Reads value bytes; `key` is only named in errors.
    ///
    /// # Errors
    /// `Row` when the bytes are not one whole value, `Version` when they are of another version.
    pub fn decode_value(&self, key: &[u8], value: &[u8]) -> Result<V, StoreError> {
        let Some((&found, body)) = value.split_first() else {
            return Err(self.bad_row(key, "value is empty".into()));
        };
        if found != self.version {
            return Err(StoreError::Version {
                column: self.column,
                key: hex(key),
                found,
                expected: self.version,
            });
        }
        match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                let detail = format!("value has {} bytes left over", rest.len());
                Err(self.bad_row(key, detail))
            }
            Err(error) => Err(self.bad_row(key, format!("value is malformed: {error}"))),
        }
    }

    fn bad_row(&self, key: &[u8], detail: String) -> StoreError {
        StoreError::Row {
            column: self.column,
            key: hex(key),
            detail,
        }
    }
}

/// A single named row in [`Column::Meta`].
#[derive(Debug)]
pub struct Cell<V> {
    name: &'static str,
    table: Table<Text, V>,
}

impl<V: Serialize + DeserializeOwned> Cell<V> {
    /// Declares a cell. Its name is on disk and must be unique among cells.
    #[must_use]
    pub const fn new(name: &'static str, version: u8) -> Self {
        Self {
            name,
            table: Table::new(Column::Meta, version),
        }
    }

    /// The value, if it was ever put.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get(&self, kv: &dyn View) -> Result<Option<V>, StoreError> {
        self.table.get(kv, &Text(self.name.as_bytes().to_vec()))
    }

    /// Adds a put to `batch`.
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn put(&self, batch: &mut Batch, value: &V) -> Result<(), StoreError> {
        let name = Text(self.name.as_bytes().to_vec());
        self.table.put(batch, &name, value)
    }
}

/// A cell's name: plain bytes, readable in a dump of the column.
struct Text(Vec<u8>);

impl Key for Text {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(Self(std::mem::take(input).to_vec()))
    }
}

/// A key for an error message, cut short when it is long.
fn hex(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 80;
    let mut text: String = key
        .iter()
        .take(SHOWN_BYTES_MAX)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if key.len() > SHOWN_BYTES_MAX {
        text.push_str("...");
    }
    text
}
