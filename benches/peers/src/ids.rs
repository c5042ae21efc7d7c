//! Identifiers of threads, tasks and claims: ULIDs, as khala has them.

use anyhow::Result;
use ulid::Ulid;

/// A thread, a task or a claim.
pub(crate) type Id = [u8; 16];

/// One that nobody can guess: a claim's. Its random bits come from the operating system, each time anew.
pub(crate) fn fresh(now_micros: i64) -> Result<Id> {
    let mut random = [0; 16];
    getrandom::fill(random.split_at_mut(6).1)?;
    Ok(Ulid::from_parts(millis(now_micros), u128::from_be_bytes(random)).to_bytes())
}

/// The one after `last`, which rises also within a millisecond: a thread's or a task's.
pub(crate) fn next(last: &mut Id, now_micros: i64) -> Result<Id> {
    let before = Ulid::from_bytes(*last);
    *last = if millis(now_micros) > before.timestamp_ms() {
        fresh(now_micros)?
    } else {
        (u128::from(before) + 1).to_be_bytes()
    };
    Ok(*last)
}

/// As text, 26 characters that sort as the bytes do.
pub(crate) fn text(id: Id, buffer: &mut [u8; ulid::ULID_LEN]) -> &str {
    Ulid::from_bytes(id).array_to_str(buffer)
}

fn millis(micros: i64) -> u64 {
    u64::try_from(micros / 1_000).unwrap_or(0)
}
