//! The engine room: the only folder that names redb and bincode, and the only code that writes tables and indexes.
//!
//! It knows no noun. A noun declares its row once, in its own file, through [`Row`]; from there on its indexes follow
//! by themselves.

mod codec;
mod copy;
mod counters;
#[cfg(test)]
mod crash_disk;
mod engine;
#[cfg(test)]
mod failing_disk;
mod fault;
mod file;
mod held;
pub(crate) mod key;
mod migrate;
mod neighbours;
mod queue;
mod raw;
mod receipt;
mod row;
mod table;
#[cfg(test)]
mod test_disk;
mod verify;
mod watched;
mod writer;

// Where `queue` finds its locks.
use crate::sync;

pub(crate) use copy::back_up;
#[cfg(feature = "json")]
pub(crate) use counters::moment_of_ulid;
pub(crate) use counters::{Counters, disorder, fresh_ulid, random_bytes};
#[cfg(test)]
pub(crate) use crash_disk::{CrashDisk, Event, FAILED_SYNC};
pub(crate) use engine::{Engine, Options};
#[cfg(test)]
pub(crate) use failing_disk::{Asked, FailingDisk, Fault, Plan, Request};
pub use migrate::AppliedMigration;
pub(crate) use migrate::history;
pub(crate) use neighbours::Neighbours;
pub(crate) use queue::Outcome;
#[cfg(test)]
pub(crate) use redb::StorageBackend;
pub(crate) use row::{Entry, Index, Row, TableDef};
pub(crate) use table::Tables;
#[cfg(any(test, fuzzing))]
pub(crate) use table::{decode_row, encode_row};
#[cfg(test)]
pub(crate) use test_disk::TestDisk;
pub(crate) use verify::{Counted, verify_counters, verify_rows};
#[cfg(feature = "tokio")]
pub(crate) use writer::UnledBatch;
pub(crate) use writer::{Batch, Operation, Ran, Writer};
