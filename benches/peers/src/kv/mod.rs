//! A coordination store in tables of ordered keys: what LMDB, fjall and redb have in common.
//!
//! | table | key | value |
//! |---|---|---|
//! | `threads` | thread id | row |
//! | `messages` | message id | row |
//! | `messages_by_step` | (thread id, step, message id) | – |
//! | `tasks` | task id | row |
//! | `tasks_by_status` | (status, at, task id) | – |
//! | `tasks_by_thread` | (thread id, task id) | – |
//! | `meta` | `counters` | next message id, highest id given out |
//!
//! The tables, indexes and rows are khala's, with one simplification in the rivals' favour: open tasks of all roles stand
//! in one queue, as in the original, and not in one for each role.

pub(crate) mod operations;
pub(crate) mod rows;

use std::ops::ControlFlow;

use anyhow::Result;

use crate::ids::Id;

/// Which table. All keys of one have the same width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Table {
    Threads,
    Messages,
    MessagesByStep,
    Tasks,
    TasksByStatus,
    TasksByThread,
    Meta,
}

impl Table {
    pub(crate) const ALL: [Self; 7] = [
        Self::Threads,
        Self::Messages,
        Self::MessagesByStep,
        Self::Tasks,
        Self::TasksByStatus,
        Self::TasksByThread,
        Self::Meta,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Threads => 0,
            Self::Messages => 1,
            Self::MessagesByStep => 2,
            Self::Tasks => 3,
            Self::TasksByStatus => 4,
            Self::TasksByThread => 5,
            Self::Meta => 6,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Messages => "messages",
            Self::MessagesByStep => "messages_by_step",
            Self::Tasks => "tasks",
            Self::TasksByStatus => "tasks_by_status",
            Self::TasksByThread => "tasks_by_thread",
            Self::Meta => "meta",
        }
    }

    pub(crate) const fn key_bytes(self) -> usize {
        match self {
            Self::Messages | Self::Meta => 8,
            Self::Threads | Self::Tasks => 16,
            Self::TasksByStatus => 25,
            Self::MessagesByStep | Self::TasksByThread => 32,
        }
    }

    /// The lowest and the highest key that begins with these bytes.
    fn bounds(self, first: &[u8], last: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut from, mut to) = (first.to_vec(), last.to_vec());
        from.resize(self.key_bytes(), 0);
        to.resize(self.key_bytes(), u8::MAX);
        (from, to)
    }
}

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    Rising,
    Falling,
}

/// The tables as one transaction sees them.
pub(crate) trait Read {
    /// What `see` makes of the value under this key.
    fn get<T>(&self, table: Table, key: &[u8], see: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>>;

    /// Shows the keys from `from` to `to`, both included, until `see` has seen enough.
    fn keys(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()>;

    fn len(&self, table: Table) -> Result<u64>;
}

/// And as one that writes changes them.
pub(crate) trait Write: Read {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()>;
    fn remove(&mut self, table: Table, key: &[u8]) -> Result<()>;
}

/// The key made of these parts.
fn key<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut rest = key.as_mut_slice();
    for part in parts {
        let (place, behind) = rest.split_at_mut(part.len().min(rest.len()));
        place.copy_from_slice(part.get(..place.len()).unwrap_or_default());
        rest = behind;
    }
    key
}

/// The id that a key ends with.
fn last_id(key: &[u8]) -> Id {
    key.last_chunk().copied().unwrap_or_default()
}
