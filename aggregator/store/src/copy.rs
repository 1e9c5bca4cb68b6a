//! A whole store in another one: how backups are made, and how a store changes its engine.

use crate::{Batch, Column, KeyRange, Kv, PAGE_ROWS_MAX, StoreError, View};

/// Writes every row of `from` into `to`, in many commits; answers how many there are. Take a snapshot first: a store that
/// is written to meanwhile would be copied as it never was.
///
/// # Errors
/// If a row cannot be read or written. What was written until then stays.
pub fn copy(from: &dyn View, to: &dyn Kv) -> Result<u64, StoreError> {
    let mut rows: u64 = 0;
    for column in Column::ALL {
        let mut range = Some(KeyRange::all());
        while let Some(rest) = range {
            let page = from.scan(column, &rest, PAGE_ROWS_MAX)?;
            let mut batch = Batch::new();
            for (key, value) in page.rows {
                rows = rows.saturating_add(1);
                batch.put_raw(column, key, value);
            }
            to.commit(batch)?;
            range = page.next.map(|next| rest.starting_at(next));
        }
    }
    Ok(rows)
}
