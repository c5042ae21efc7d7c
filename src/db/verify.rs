//! Recomputes every index from its rows and compares.

use std::ops::Bound;

use super::counters::Counters;
use super::key::KeyRange;
use super::row::Row;
use super::table::Tables;
use crate::error::{Error, Result};

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// Reads every row of this kind and finds each in every index of its table, with the value it should have there, and
/// nothing else in the index.
pub(crate) fn verify_rows<R: Row>(tables: &Tables<'_>) -> Result<()> {
    let mut expected_entries = vec![0_u64; R::INDEXES.len()];
    for row in tables.rows::<R>(&ALL)? {
        let row = row?;
        for (index, count) in R::INDEXES.iter().zip(&mut expected_entries) {
            let Some(expected) = (index.entry)(&row) else { continue };
            *count += 1;
            if tables.value(&index.table, &expected.key)?.as_ref() != Some(&expected.value) {
                return Err(Error::corrupt(index.table.name, format!("row {} is missing or wrong", row.id())));
            }
        }
    }
    // No two rows share an entry, so equal counts leave no room for a surplus one.
    for (index, expected) in R::INDEXES.iter().zip(expected_entries) {
        let entries = tables.len(&index.table)?;
        if entries != expected {
            let reason = format!("it has {entries} entries, and the rows of {} have {expected}", R::TABLE.name);
            return Err(Error::corrupt(index.table.name, reason));
        }
    }
    Ok(())
}

/// Checks that the counters are ahead of what is stored: this message id was counted.
pub(crate) fn verify_counters(tables: &Tables<'_>, newest_message: Option<u64>) -> Result<()> {
    let counters = Counters::load(tables)?;
    match newest_message {
        Some(id) if !counters.counted_message(id) => {
            Err(Error::corrupt("meta", format!("message {id} is stored, and its id would be given out again")))
        }
        _ => Ok(()),
    }
}
