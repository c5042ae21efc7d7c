//! What a store counts, kept in the table `meta` and written once per batch.
//!
//! | name | value |
//! |---|---|
//! | `next_message_id` | `u64`, from 1 |
//! | `highest_timestamp` | `i64`, the latest moment given out, in microseconds |
//! | `highest_ulid` | 16 bytes, the latest thread or task id given out |
//! | `commits` | `u64`, how many commits there were, this one included |
//! | `disorder_micros` | `u64`, the most by which a message's time lies before that of one with a lower id; only if one does |

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ulid::Ulid;

use super::row::TableDef;
use super::table::Tables;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::limits::CLOCK_MAX;
use crate::planted::{Bug, planted};

const META: TableDef = TableDef::variable("meta");

const NEXT_MESSAGE_ID: &str = "next_message_id";
const HIGHEST_TIMESTAMP: &str = "highest_timestamp";
const HIGHEST_ULID: &str = "highest_ulid";
const COMMITS: &str = "commits";
const DISORDER_MICROS: &str = "disorder_micros";

/// The counters as they stand in the middle of a batch, or between two.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counters {
    next_message_id: u64,
    highest_timestamp: Timestamp,
    highest_ulid: u128,
    commits: u64,
    disorder_micros: u64,
    /// How far stored time is ahead of the clock, in microseconds: what backward steps of the clock added up to.
    ahead_micros: i64,
}

impl Counters {
    pub(crate) const TABLE: TableDef = META;

    pub(super) fn load(tables: &Tables<'_>) -> Result<Self> {
        Ok(Self {
            next_message_id: read(tables, NEXT_MESSAGE_ID)?.map_or(1, u64::from_be_bytes),
            highest_timestamp: read(tables, HIGHEST_TIMESTAMP)?
                .map_or(Timestamp::MIN, |micros| Timestamp::from_micros(i64::from_be_bytes(micros))),
            highest_ulid: read(tables, HIGHEST_ULID)?.map_or(0, u128::from_be_bytes),
            commits: read(tables, COMMITS)?.map_or(0, u64::from_be_bytes),
            disorder_micros: read(tables, DISORDER_MICROS)?.map_or(0, u64::from_be_bytes),
            ahead_micros: 0,
        })
    }

    /// Counts a commit, and writes what differs from `before`, what the table holds.
    pub(super) fn save(&mut self, before: &Self, tables: &mut Tables<'_>) -> Result<()> {
        self.commits = before.commits.saturating_add(1);
        tables.insert_raw(&META, COMMITS.as_bytes(), &self.commits.to_be_bytes())?;
        if self.next_message_id != before.next_message_id {
            tables.insert_raw(&META, NEXT_MESSAGE_ID.as_bytes(), &self.next_message_id.to_be_bytes())?;
        }
        if self.highest_timestamp != before.highest_timestamp {
            let micros = self.highest_timestamp.as_micros().to_be_bytes();
            tables.insert_raw(&META, HIGHEST_TIMESTAMP.as_bytes(), &micros)?;
        }
        if self.highest_ulid != before.highest_ulid {
            tables.insert_raw(&META, HIGHEST_ULID.as_bytes(), &self.highest_ulid.to_be_bytes())?;
        }
        if self.disorder_micros != before.disorder_micros {
            tables.insert_raw(&META, DISORDER_MICROS.as_bytes(), &self.disorder_micros.to_be_bytes())?;
        }
        Ok(())
    }

    /// The moment it is in the store when the clock says `clock`. A backward step of the clock is absorbed: stored
    /// time goes on from where it was, at the clock's pace.
    pub(super) fn now(&mut self, clock: Timestamp) -> Result<Timestamp> {
        let mut moment = ahead_of(clock, self.ahead_micros);
        checked(moment.max(self.highest_timestamp))?;
        if moment < self.highest_timestamp && !planted(Bug::TimeFollowsClock) {
            moment = self.highest_timestamp;
            if !planted(Bug::TimeStandsStill) {
                self.ahead_micros = moment.as_micros().saturating_sub(clock.as_micros());
            }
        }
        self.highest_timestamp = moment;
        Ok(moment)
    }

    /// How many commits there were.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// The id of the next message.
    pub(crate) fn next_message_id(&mut self) -> Result<u64> {
        let id = self.next_message_id;
        self.next_message_id = id.checked_add(1).ok_or_else(|| Error::corrupt(META.name, "message ids are used up"))?;
        Ok(id)
    }

    /// The id of the next thread or task: above every one given out before, also within a millisecond.
    pub(crate) fn next_ulid(&mut self, now: Timestamp) -> Result<[u8; 16]> {
        let highest = Ulid::from(self.highest_ulid);
        let next = if millis(now) > highest.timestamp_ms() {
            u128::from_be_bytes(fresh_ulid(now)?)
        } else {
            self.highest_ulid.checked_add(1).ok_or_else(|| Error::corrupt(META.name, "ids are used up"))?
        };
        self.highest_ulid = next;
        Ok(next.to_be_bytes())
    }

    /// Takes back what a batch that was rolled back counted. Ids and time go on: they might have been seen.
    pub(super) fn roll_back_to(&mut self, committed: &Self) {
        self.next_message_id = committed.next_message_id;
    }

    /// Whether every message with an id up to this one has been counted.
    pub(super) fn counted_message(&self, id: u64) -> bool {
        id < self.next_message_id
    }

    /// Whether every thread and task with an id up to this one has been counted.
    pub(super) fn counted_ulid(&self, id: [u8; 16]) -> bool {
        u128::from_be_bytes(id) <= self.highest_ulid
    }

    /// The most by which a message's time lies before that of one with a lower id.
    pub(super) fn disorder(&self) -> Duration {
        Duration::from_micros(self.disorder_micros)
    }
}

/// The most by which a message's time may lie before that of one with a lower id.
pub(crate) fn disorder(tables: &Tables<'_>) -> Result<Duration> {
    Ok(Duration::from_micros(read(tables, DISORDER_MICROS)?.map_or(0, u64::from_be_bytes)))
}

/// Rows that bring their ids and times with them. What is given out after them lies behind them.
#[cfg(feature = "json")]
impl Counters {
    pub(crate) fn count_message(&mut self, id: u64) {
        if !planted(Bug::CountersNotRaised) {
            self.next_message_id = self.next_message_id.max(id.saturating_add(1));
        }
    }

    pub(crate) fn count_ulid(&mut self, id: [u8; 16]) {
        if !planted(Bug::CountersNotRaised) {
            self.highest_ulid = self.highest_ulid.max(u128::from_be_bytes(id));
        }
    }

    pub(crate) fn count_moment(&mut self, moment: Timestamp) {
        if !planted(Bug::CountersNotRaised) {
            self.highest_timestamp = self.highest_timestamp.max(moment);
        }
    }

    pub(crate) fn count_disorder(&mut self, disorder: Duration) {
        let micros = u64::try_from(disorder.as_micros()).unwrap_or(u64::MAX);
        self.disorder_micros = self.disorder_micros.max(micros);
    }
}

/// What those who only read know of stored time: where the writers last left it.
pub(super) struct TimeForReaders {
    highest_micros: AtomicI64,
    ahead_micros: AtomicI64,
}

impl TimeForReaders {
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            highest_micros: AtomicI64::new(counters.highest_timestamp.as_micros()),
            ahead_micros: AtomicI64::new(counters.ahead_micros),
        }
    }

    pub(super) fn follow(&self, counters: &Counters) {
        self.highest_micros.store(counters.highest_timestamp.as_micros(), Ordering::Relaxed);
        self.ahead_micros.store(counters.ahead_micros, Ordering::Release);
    }

    /// The moment it is: as for a writer, but that a backward step which no writer has met yet is not made up for.
    pub(super) fn now(&self, clock: &dyn Clock) -> Result<Timestamp> {
        // Before the clock is asked: what a step back in between adds must not be added to the time before it.
        let ahead = self.ahead_micros.load(Ordering::Acquire);
        let highest = Timestamp::from_micros(self.highest_micros.load(Ordering::Relaxed));
        checked(ahead_of(clock.now(), ahead).max(highest))
    }
}

fn ahead_of(clock: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(clock.as_micros().saturating_add(micros))
}

/// The moment, unless it is too late for a claim to time out after it.
fn checked(moment: Timestamp) -> Result<Timestamp> {
    if moment <= CLOCK_MAX {
        return Ok(moment);
    }
    let reason = format!("puts the store at {moment}; the latest moment at which a claim can time out is {CLOCK_MAX}");
    Err(Error::InvalidInput { field: "clock", reason })
}

fn read<const N: usize>(tables: &Tables<'_>, name: &'static str) -> Result<Option<[u8; N]>> {
    let Some(value) = tables.get_raw(&META, name.as_bytes())? else { return Ok(None) };
    let value = value.as_slice();
    value
        .try_into()
        .map(Some)
        .map_err(|_| Error::corrupt(META.name, format!("{name} has {} bytes, not {N}", value.len())))
}

/// A ULID of this moment, its 80 random bits fresh from the operating system.
pub(crate) fn fresh_ulid(now: Timestamp) -> Result<[u8; 16]> {
    let mut random = [0; 16];
    random.split_at_mut(6).1.copy_from_slice(&random_bytes::<10>()?);
    Ok(Ulid::from_parts(millis(now), u128::from_be_bytes(random)).to_bytes())
}

/// The moment that this ULID is of.
#[cfg(feature = "json")]
pub(crate) fn moment_of_ulid(id: [u8; 16]) -> Timestamp {
    let millis = Ulid::from_bytes(id).timestamp_ms();
    Timestamp::from_micros(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// Random bytes from the operating system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Io {
        action: "get random bytes from the operating system",
        path: None,
        source: error.into(),
    })?;
    Ok(bytes)
}

/// The moment in a ULID's unit; it has none before 1970.
fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros() / 1_000).unwrap_or(0)
}
