//! Rows as bytes: the fields that khala keeps, in the encoding that khala uses.

use anyhow::Result;
use bincode::config::Configuration;
use serde::{Deserialize, Serialize};

use crate::ids::Id;

const FORMAT: Configuration = bincode::config::standard();
const VERSION: u8 = 1;

/// Where a task stands.
pub(crate) mod status {
    pub(crate) const OPEN: u8 = 1;
    pub(crate) const CLAIMED: u8 = 2;
    pub(crate) const COMPLETED: u8 = 3;
}

/// Where a thread stands when work goes on in it.
pub(crate) const ACTIVE: u8 = 1;

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredThread<'a> {
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) status: u8,
    pub(crate) workflow: &'a str,
    pub(crate) initiator: &'a str,
    pub(crate) result: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredMessage<'a> {
    pub(crate) thread_id: Id,
    pub(crate) created_at: i64,
    pub(crate) step: u64,
    pub(crate) role: &'a str,
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) content: &'a str,
    pub(crate) meta: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredTask<'a> {
    pub(crate) thread_id: Id,
    pub(crate) created_at: i64,
    pub(crate) status: u8,
    pub(crate) priority: i16,
    pub(crate) timeout_seconds: u32,
    pub(crate) attempts: u32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) backoff_seconds: u32,
    pub(crate) claim_id: Option<Id>,
    pub(crate) claimed_at: Option<i64>,
    pub(crate) claimed_by: Option<&'a str>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) not_before: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) role: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) last_error: Option<&'a str>,
    pub(crate) instruction: &'a str,
}

impl StoredTask<'_> {
    /// The moment that orders it among the tasks of its status.
    pub(crate) fn at(&self) -> i64 {
        match self.status {
            status::CLAIMED => self.expires_at,
            status::COMPLETED => self.finished_at,
            _ => None,
        }
        .unwrap_or(self.created_at)
    }
}

/// What the store counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) next_message: u64,
    pub(crate) last_id: Id,
}

impl Default for Counters {
    fn default() -> Self {
        Self { next_message: 1, last_id: Id::default() }
    }
}

/// A row as an application has it.
#[expect(dead_code, reason = "what counts is that it was made")]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) thread_id: Id,
    pub(crate) role: String,
    pub(crate) content: String,
    pub(crate) meta: Option<String>,
    pub(crate) step: u64,
    pub(crate) agent_id: Option<String>,
    pub(crate) created_at: i64,
}

impl Message {
    pub(crate) fn from_stored(id: u64, stored: &StoredMessage<'_>) -> Self {
        Self {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            content: stored.content.into(),
            meta: stored.meta.map(Into::into),
            step: stored.step,
            agent_id: stored.agent_id.map(Into::into),
            created_at: stored.created_at,
        }
    }
}

/// Likewise.
#[expect(dead_code, reason = "what counts is that it was made")]
pub(crate) struct Task {
    pub(crate) id: Id,
    pub(crate) thread_id: Id,
    pub(crate) role: String,
    pub(crate) instruction: String,
    pub(crate) status: u8,
    pub(crate) claim_id: Option<Id>,
    pub(crate) claimed_by: Option<String>,
    pub(crate) claimed_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) timeout_seconds: u32,
    pub(crate) attempts: u32,
    pub(crate) created_at: i64,
    pub(crate) finished_at: Option<i64>,
}

impl Task {
    pub(crate) fn from_stored(id: Id, stored: &StoredTask<'_>) -> Self {
        Self {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            instruction: stored.instruction.into(),
            status: stored.status,
            claim_id: stored.claim_id,
            claimed_by: stored.claimed_by.map(Into::into),
            claimed_at: stored.claimed_at,
            expires_at: stored.expires_at,
            timeout_seconds: stored.timeout_seconds,
            attempts: stored.attempts,
            created_at: stored.created_at,
            finished_at: stored.finished_at,
        }
    }
}

pub(crate) fn encode(row: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(row, &mut bytes, FORMAT)?;
    Ok(bytes)
}

/// The row in these bytes, borrowed from them.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    let (version, body) = bytes.split_first().unwrap_or((&0, &[]));
    anyhow::ensure!(*version == VERSION, "a row has format {version}");
    Ok(bincode::serde::borrow_decode_from_slice(body, FORMAT)?.0)
}
