//! What the fuzz targets see of the inside: rows from bytes that nobody vouches for. Compiled for them and for tests only.

use crate::agents::Registration;
use crate::db::{AppliedMigration, Row, decode_row, encode_row};
use crate::id::{AgentId, MessageId, TaskId, ThreadId};
use crate::messages::Message;
use crate::tasks::{Instruction, TaskRow};
use crate::threads::Thread;
use crate::{Error, Result};

/// Reads these bytes as a row of each kind, and as a key of each table. The error says what is wrong; a panic does by
/// itself. The `Ok` says how many kinds of row they were.
#[doc(hidden)]
pub fn read_as_rows(bytes: &[u8]) -> Result<usize, String> {
    let agent = AgentId::new("ada").map_err(|error| error.to_string())?;
    let read = [
        read_as::<Thread>(&ThreadId::from_bytes([1; 16]), bytes)?,
        read_as::<Message>(&MessageId::from_u64(1), bytes)?,
        read_as::<TaskRow>(&TaskId::from_bytes([2; 16]), bytes)?,
        read_as::<Instruction>(&TaskId::from_bytes([2; 16]), bytes)?,
        read_as::<Registration>(&agent, bytes)?,
        read_as::<AppliedMigration>(&1, bytes)?,
    ];
    Ok(read.into_iter().filter(|is_row| *is_row).count())
}

/// Whether these bytes are a row of this kind. They are one, or the error says that its table is damaged.
pub(crate) fn read_as<R: Row>(id: &R::Id, bytes: &[u8]) -> Result<bool, String> {
    let name = R::TABLE.name;
    let is_damage = |error: &Error| matches!(error, Error::Corrupt { table, .. } if *table == name);
    if let Err(error) = R::id_of_key(bytes)
        && !is_damage(&error)
    {
        return Err(format!("a key of {name}: {error}"));
    }
    let row = match decode_row::<R>(id, bytes) {
        Ok(row) => row,
        Err(error) if is_damage(&error) => return Ok(false),
        Err(error) => return Err(format!("{name}: {error}")),
    };
    let again = |row: &R| encode_row(row).map_err(|error| format!("{name}: what was read cannot be stored: {error}"));
    let stored = again(&row)?;
    // What was read is all there was: nothing is skipped, nothing is guessed. Numbers have longer forms than their own,
    // so what is stored again can be shorter, once.
    let read_again = decode_row::<R>(id, &stored).map_err(|error| format!("{name}: not read again: {error}"))?;
    if again(&read_again)? != stored {
        return Err(format!("{name}: it is another row when it is read again"));
    }
    if decode_row::<R>(id, &[bytes, &[0]].concat()).is_ok() {
        return Err(format!("{name}: it is a row with a byte too many as well"));
    }
    Ok(true)
}

/// Plants the bugs that the targets have to find: their control.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn plant_bugs() {
    crate::planted::plant();
}
