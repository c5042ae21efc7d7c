//! Every bound, in one place.
//!
//! | what | bound |
//! |---|---|
//! | a name: agent, role, workflow, initiator | 1 to [`NAME_MAX_BYTES`] bytes of UTF-8 |
//! | a text: content, meta, instruction, result, reason | 0 to [`TEXT_MAX_BYTES`] bytes of UTF-8 |
//! | a task's key | 1 to [`NAME_MAX_BYTES`] bytes of UTF-8 |
//! | a claim's timeout | 1 to `u32::MAX` seconds (136 years) |
//! | a task's attempts | 1 to `u32::MAX`, or without end |
//! | the rest after a failure | 0 to [`BACKOFF_MAX_SECONDS`] seconds |
//! | a page of a list | at least 1 item, [`PAGE_DEFAULT_ITEMS`] unless set |
//! | a token that an agent shows | 1 to [`TOKEN_MAX_BYTES`] bytes |
//! | an imported message's id | 1 to [`MESSAGE_ID_MAX`] |
//! | how far ahead of the clock an imported moment or id may be | [`IMPORT_AHEAD_MAX_SECONDS`] |
//! | what a clock may say | at most [`CLOCK_MAX`] |
//! | operations that share one commit | [`BATCH_MAX_OPERATIONS`], or [`BATCH_MAX_BYTES`] of rows |
//! | claims that one transaction of `Store::expire_timed_out_tasks` takes away | [`EXPIRE_SLICE_TASKS`] |

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The longest name, in bytes. A name is part of an index key, so it stays short.
pub const NAME_MAX_BYTES: usize = 256;

/// The longest text, in bytes: 16 MiB.
pub const TEXT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The longest a task rests after a failure, in seconds: a day.
pub const BACKOFF_MAX_SECONDS: u64 = 24 * 60 * 60;

/// The latest moment at which a store works: 136 years, the longest timeout, before [`Timestamp::MAX`]. At the end of
/// time every claim would be due as soon as it is made, for ever after, since stored time does not go back; so a clock
/// that says something later, as one in the wrong unit does, is refused.
pub const CLOCK_MAX: Timestamp = Timestamp::from_micros(Timestamp::MAX.as_micros() - 4_294_967_295 * 1_000_000);

/// The longest token that is looked for, in bytes. Those that the store makes have 70; those of imported agents are
/// whatever their program made.
pub const TOKEN_MAX_BYTES: usize = 4096;

/// The highest id that an imported message may have: the highest of an SQL table, and as many are left behind it.
pub const MESSAGE_ID_MAX: u64 = 9_223_372_036_854_775_807;

/// How far ahead of the clock an imported moment or id may be, in seconds: a day. Stored time goes on from the latest, and
/// does not go back.
pub const IMPORT_AHEAD_MAX_SECONDS: u64 = 24 * 60 * 60;

/// How many operations may share one commit. From here on a longer batch no longer pays: the sync is spread thin
/// enough, and everybody in the batch waits for its last operation.
pub const BATCH_MAX_OPERATIONS: usize = 1_000;

/// How many bytes of rows one commit carries before it is closed, so that a batch of large texts stays in memory
/// with ease: 64 MiB.
pub const BATCH_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many timed-out claims, and as many scheduled tasks, one transaction of `Store::expire_timed_out_tasks` or
/// `claim_next` opens before others get their turn.
pub const EXPIRE_SLICE_TASKS: usize = 1_000;

/// How many items a page of a list has, unless the filter says otherwise.
pub const PAGE_DEFAULT_ITEMS: usize = 100;

/// The memory in which the engine keeps pages, unless the builder says otherwise: 64 MiB.
pub const CACHE_DEFAULT_BYTES: usize = 64 * 1024 * 1024;

/// The longest row that is decoded: two texts (a message's content and meta) and room for the rest.
pub(crate) const ROW_MAX_BYTES: usize = 2 * TEXT_MAX_BYTES + 64 * 1024;

/// Refuses a name that is empty or too long, before anything is written.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::InvalidInput { field, reason: format!("is empty; a name has 1 to {NAME_MAX_BYTES} bytes") });
    }
    check_length(field, name, NAME_MAX_BYTES)
}

/// Refuses a text that is too long, before anything is written.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<()> {
    check_length(field, text, TEXT_MAX_BYTES)
}

/// Refuses a 0 where there must be something.
pub(crate) fn check_at_least_1(field: &'static str, has: &str, number: u32, unit: &str) -> Result<()> {
    if number == 0 {
        return Err(Error::InvalidInput { field, reason: format!("is 0; {has} 1 to {} {unit}", u32::MAX) });
    }
    Ok(())
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::TooLarge { field, bytes: text.len(), max });
    }
    Ok(())
}
