//! `0002_life_of_a_task`: tasks are tried again, wait for their time, have priorities and keys.
//!
//! | table | from | to |
//! |---|---|---|
//! | `tasks` | format 1 | format 2: attempts, backoff, priority, `expires_at`, `not_before`, `key`, `last_error` |
//! | `tasks_by_status` | (status, role, at, task id) | (status, role, order, at, task id) |
//! | `tasks_by_key` | – | (thread id, key) → task id |
//!
//! The shapes stand here as they were at that version, whatever becomes of them later.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::super::codec;
use super::super::key::{KeyRange, text_end};
use super::super::row::TableDef;
use super::super::table::Tables;
use crate::error::{Error, Result};

const TASKS: TableDef = TableDef::fixed::<16>("tasks");
const BY_STATUS: TableDef = TableDef::variable_keys("tasks_by_status");
const BY_KEY: TableDef = TableDef::variable("tasks_by_key");

/// Times are microseconds, ids 16 bytes.
type Id = [u8; 16];

#[derive(Deserialize)]
struct Before<'a> {
    thread_id: Id,
    created_at: i64,
    status: u8,
    timeout_seconds: u32,
    claim_id: Option<Id>,
    claimed_at: Option<i64>,
    claimed_by: Option<&'a str>,
    finished_at: Option<i64>,
    role: &'a str,
    instruction: &'a str,
}

#[derive(Serialize)]
struct After<'a> {
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
    instruction: &'a str,
}

const OPEN: u8 = 1;
const CLAIMED: u8 = 2;

/// The last moment of stored time, which the timeout of a claim does not pass.
const LATEST: i64 = 253_402_207_200_000_000;

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

pub(super) fn run(tables: &mut Tables<'_>) -> Result<()> {
    tables.create(&BY_KEY)?;
    let ids = tables.keys(&TASKS, &ALL)?.collect::<Result<Vec<_>>>()?;
    for id in ids {
        let row = tables.value(&TASKS, &id)?.ok_or_else(|| Error::corrupt(TASKS.name, "a row went away"))?;
        tables.insert_raw(&TASKS, &id, &upgrade(&row)?)?;
    }
    let keys = tables.keys(&BY_STATUS, &ALL)?.collect::<Result<Vec<_>>>()?;
    for key in keys {
        tables.remove_raw(&BY_STATUS, &key)?;
        tables.insert_raw(&BY_STATUS, &with_order(&key)?, &[])?;
    }
    Ok(())
}

fn upgrade(row: &[u8]) -> Result<Vec<u8>> {
    let before: Before<'_> = codec::decode(TASKS.name, 1, row)?;
    let timeout_micros = i64::from(before.timeout_seconds) * 1_000_000;
    let expires_at = before.claimed_at.map(|at| at.saturating_add(timeout_micros).min(LATEST));
    let after = After {
        thread_id: before.thread_id,
        created_at: before.created_at,
        status: before.status,
        priority: 0,
        timeout_seconds: before.timeout_seconds,
        // Nobody counted: a task that is or was claimed was tried at least once.
        attempts: u32::from(before.status != OPEN),
        max_attempts: None,
        backoff_seconds: 0,
        claim_id: before.claim_id,
        claimed_at: before.claimed_at,
        claimed_by: before.claimed_by,
        expires_at: expires_at.filter(|_| before.status == CLAIMED),
        not_before: None,
        finished_at: before.finished_at,
        role: before.role,
        key: None,
        last_error: None,
        instruction: before.instruction,
    };
    codec::encode(TASKS.name, 2, &after)
}

/// The key with the order of priority 0 behind the role, or 0 where there is no queue.
fn with_order(key: &[u8]) -> Result<Vec<u8>> {
    let damaged = || Error::corrupt(BY_STATUS.name, "a key has no role");
    let (&status, rest) = key.split_first().ok_or_else(damaged)?;
    let (role, behind) = text_end(rest).and_then(|end| rest.split_at_checked(end)).ok_or_else(damaged)?;
    let order: u16 = if status == OPEN { 0x7FFF } else { 0 };
    Ok([&[status], role, &order.to_be_bytes(), behind].concat())
}
