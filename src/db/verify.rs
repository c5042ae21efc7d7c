//! Recomputes every index from its rows and compares.

use std::ops::Bound;
use std::time::Duration;

use super::counters::Counters;
use super::key::KeyRange;
use super::row::Row;
use super::table::Tables;
use crate::error::{Error, Result};

const META: &str = Counters::TABLE.name;

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

/// What the counters must be ahead of.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) newest_message: Option<u64>,
    pub(crate) newest_thread: Option<[u8; 16]>,
    pub(crate) newest_task: Option<[u8; 16]>,
    /// The most by which a message's time lies before that of one with a lower id.
    pub(crate) disorder: Duration,
}

/// Checks that the counters are ahead of what is stored, so that nothing is given out twice and nothing is passed over.
pub(crate) fn verify_counters(tables: &Tables<'_>, stored: &Counted) -> Result<()> {
    let counters = Counters::load(tables)?;
    if let Some(id) = stored.newest_message.filter(|id| !counters.counted_message(*id)) {
        return Err(Error::corrupt(META, format!("message {id} is stored, and its id would be given out again")));
    }
    for (noun, id) in [("thread", stored.newest_thread), ("task", stored.newest_task)] {
        if id.is_some_and(|id| !counters.counted_ulid(id)) {
            return Err(Error::corrupt(META, format!("a {noun} is stored whose id could be given out again")));
        }
    }
    if stored.disorder > counters.disorder() {
        let reason = format!("messages are {:?} out of order, and it says {:?}", stored.disorder, counters.disorder());
        return Err(Error::corrupt(META, reason));
    }
    Ok(())
}
