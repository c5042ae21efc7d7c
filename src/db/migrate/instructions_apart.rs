//! `0003_instructions_apart`: a long instruction leaves its task's row, which is written anew whenever the task moves.
//!
//! | table | from | to |
//! |---|---|---|
//! | `tasks` | format 2 | format 3: an instruction of more than 256 bytes is not in it |
//! | `instructions` | – | task id → the instruction |
//!
//! The shapes stand here as they were at that version, whatever becomes of them later.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::super::codec;
use super::super::key::KeyRange;
use super::super::row::TableDef;
use super::super::table::Tables;
use crate::error::{Error, Result};

const TASKS: TableDef = TableDef::fixed::<16>("tasks");
const INSTRUCTIONS: TableDef = TableDef::fixed::<16>("instructions");
const INLINE_MAX_BYTES: usize = 256;

/// Times are microseconds, ids 16 bytes.
type Id = [u8; 16];

/// What both formats have, before the instruction.
#[derive(Serialize, Deserialize)]
struct Moving<'a> {
    thread_id: Id,
    created_at: i64,
    status: u8,
    priority: i16,
    timeout_seconds: u32,
    attempts: u32,
    max_attempts: Option<u32>,
    backoff_seconds: u32,
    claim_id: Option<Id>,
    claimed_at: Option<i64>,
    claimed_by: Option<&'a str>,
    expires_at: Option<i64>,
    not_before: Option<i64>,
    finished_at: Option<i64>,
    role: &'a str,
    key: Option<&'a str>,
    last_error: Option<&'a str>,
}

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

pub(super) fn run(tables: &mut Tables<'_>) -> Result<()> {
    tables.create(&INSTRUCTIONS)?;
    let ids = tables.keys(&TASKS, &ALL)?.collect::<Result<Vec<_>>>()?;
    for id in ids {
        let row = tables.value(&TASKS, &id)?.ok_or_else(|| Error::corrupt(TASKS.name, "a row went away"))?;
        let (moving, instruction): (Moving<'_>, &str) = codec::decode(TASKS.name, 2, &row)?;
        let is_apart = instruction.len() > INLINE_MAX_BYTES;
        if is_apart {
            tables.insert_raw(&INSTRUCTIONS, &id, &codec::encode(INSTRUCTIONS.name, 1, &instruction)?)?;
        }
        let after = (moving, (!is_apart).then_some(instruction));
        tables.insert_raw(&TASKS, &id, &codec::encode(TASKS.name, 3, &after)?)?;
    }
    Ok(())
}
