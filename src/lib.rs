//! An embedded coordination store for applications in which several agents work together: threads, messages and tasks in
//! one file, each task in exactly one pair of hands, and nothing acknowledged ever lost.
//!
//! # Overview
//!
//! A [`Store`] is a file. In it are
//!
//! - [`Thread`]s: conversations, one per run of a workflow;
//! - [`Message`]s: what was said in a thread, ordered by step;
//! - [`Task`]s: what is to be done in a thread, each for a role. An agent *claims* an open task, which gives it a
//!   [`Claim`], and *completes*, *fails* or *releases* it under that claim. A claim that times out can be taken away, and
//!   the task is tried again;
//! - [`Agent`]s: who may come in by token. Agents need not be registered to act.
//!
//! ```text
//!                      create_task
//!        not_before is set │   │ is not
//!                          ▼   ▼
//!                  scheduled   open ◀─────────────────────────────────┐
//!                          │   ▲ │                                    │
//!                          └───┘ │  claim_task, claim_next,           │
//!                  its time comes│  claim_next_within                 │
//!                                ▼                                    │
//!                             claimed ◀──┐ renew_claim                │
//!                                │  └────┘                            │
//!                                ├── release_task ────────────────────┤
//!                                ├── fail_task, attempts remain ──────┤  (scheduled first, if it has a backoff)
//!                                ├── it times out, attempts remain ───┘
//!                                │
//!                                ├── complete_task ──────────────────────▶ completed
//!                                ├── fail_task or a timeout, none remain ▶ failed
//!                                └── cancel_task, finish_thread ─────────▶ cancelled   (also from open and scheduled)
//! ```
//!
//! It runs in your process: no server, no SQL engine, no background thread, no `unsafe` code. It is not a message broker (a
//! message is said to a thread, not sent to an agent), not a general database (there are no queries but the ones offered)
//! and not a distributed system (one process has the file open at a time; any number of its threads share the [`Store`]).
//!
//! # Usage
//!
//! Each operation is a method of [`Store`], and of the transaction that [`Store::write`] and [`Store::read`] hand to a
//! closure, under the same name. The closure makes several of them one atomic step:
//!
//! ```
//! use khala::{AgentId, MessageFilter, NewMessage, NewTask, Store, TaskFilter};
//!
//! # fn main() -> khala::Result<()> {
//! let store = Store::in_memory()?; // Store::open("agents.khala")? for a file
//! let thread = store.create_thread("review", "ada")?.id;
//! let task = store.create_task(thread, NewTask::new("writer", "Draft it.").timeout_seconds(900))?;
//!
//! let me = AgentId::new("writer-1")?;
//! let claim = store.claim_next(&me, &TaskFilter::new().role("writer"))?.expect("nobody else is here");
//! assert_eq!(store.claim_task(task.id, &AgentId::new("writer-2")?)?, None);
//!
//! let next = store.write(move |tx| {
//!     // Refused if the claim has timed out and was taken away: then nothing of this happens.
//!     tx.append_message(thread, &NewMessage::new("writer", "A draft.").step(1).under(task.id, claim.id))?;
//!     tx.complete_task(task.id, claim.id)?;
//!     tx.create_task(thread, &NewTask::new("reviewer", "Review the draft."))
//! })?;
//!
//! assert_eq!(store.open_tasks(10)?, [next]);
//! assert_eq!(store.thread_messages(thread, &MessageFilter::new().last(20))?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! An agent's loop, and where to read on:
//!
//! | it | with |
//! |---|---|
//! | waits for a task of its role, without polling | [`Store::claim_next_within`] |
//! | reads the conversation | [`Store::thread_messages`], [`MessageFilter::last`] |
//! | keeps its claim while the turn lasts | [`Store::renew_claim`] |
//! | says, completes and hands on in one step | [`Store::write`], [`NewMessage::under`] |
//! | gives up, now or for this time | [`Store::fail_task`], [`NewTask::backoff_seconds`]; [`Store::release_task`] |
//! | starts again after a crash and creates nothing twice | [`NewTask::key`] |
//! | ends the thread | [`Store::finish_thread`]; later [`Store::prune`] |
//! | lets others in by token | [`Store::register_agent`], [`Store::authenticate`] |
//! | looks after the file | [`Store::stats`], [`Store::verify`], [`Store::checkpoint`] |
//!
//! The repository has a guide in ten steps, `docs/guide.md`, a page on the life of a task, and small examples of each.
//!
//! # Guarantees
//!
//! - Of any number of simultaneous callers exactly one gets the claim of a task, and only that claim settles it.
//! - When a write returns `Ok`, it is on the disk. No answer is given earlier. Writers that come together share a sync.
//! - A closure's operations happen all at one moment, or, when it gives back an `Err` or panics, not at all.
//! - A read sees one snapshot of the last durable commit, and waits for nobody.
//! - A claim that timed out is taken away by whoever claims next; until then a late completion counts.
//! - Thread, task and message ids rise in commit order; stored time never goes back.
//! - A damaged file is an error, never a wrong answer; a file that is not a store is never changed.
//!
//! # Limits
//!
//! Every bound stands in [`limits`]. An input out of its bounds is an [`Error`] that names it, and changes nothing.
//!
//! - A write takes a sync of the disk, shared by those that come together. Closures run one after the other, so what is
//!   slow, an agent's turn above all, stays out of them.
//! - Opening a file reads all of it unless told otherwise: [`Builder::check_on_open`].
//! - Network file systems are not for it: the lock that keeps a second process out is the operating system's.
//!
//! # Features
//!
//! None is on unless asked for.
//!
//! | feature | adds |
//! |---|---|
//! | `cli` | the command `khala`: a store from a shell, `cargo install khala --features cli` |
//! | `json` | export and import as JSON Lines |
//! | `tokio` | `AsyncStore`: the operations as futures that block no thread and can be dropped at any moment |
//! | `tracing` | a span per operation and per batch, with counts and durations and nothing secret: `docs/tracing.md` |
//!
//! # Versions
//!
//! Rust 1.90 or later. A file carries its schema version ([`Store::schema_history`]): a later khala upgrades it when it opens
//! it, an earlier one refuses it untouched with [`Error::SchemaTooNew`]. No type of a dependency is in the public
//! interface but serde's traits.
//!
//! # Time in tests
//!
//! Time comes from a [`Clock`]. With a [`ManualClock`] a test lets claims time out without sleeping:
//!
//! ```
//! use std::time::Duration;
//! use khala::{AgentId, ManualClock, NewTask, Store, Timestamp};
//!
//! # fn main() -> khala::Result<()> {
//! let clock = ManualClock::new(Timestamp::from_micros(0));
//! let store = Store::builder().clock(clock.clone()).in_memory()?;
//! let thread = store.create_thread("review", "ada")?.id;
//! let task = store.create_task(thread, NewTask::new("writer", "Draft it.").timeout_seconds(60))?;
//! let stale = store.claim_task(task.id, &AgentId::new("sleeper")?)?.expect("it is open");
//!
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(store.expire_timed_out_tasks()?, 1);
//! assert!(!store.complete_task(task.id, stale.id)?, "turned away");
//! # Ok(())
//! # }
//! ```

mod agents;
mod builder;
mod clock;
mod db;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
pub mod limits;
mod messages;
mod nested;
mod page;
mod planted;
mod store;
mod sync;
mod tasks;
mod threads;
mod trace;
mod transfer;
mod tx;
mod waiters;
mod witness;

pub use agents::{Agent, Token};
pub use builder::Builder;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use db::AppliedMigration;
pub use error::{Error, Result};
pub use id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
pub use messages::{Message, MessageFilter, NewMessage};
pub use page::{Cursor, Page};
#[cfg(feature = "tokio")]
pub use store::AsyncStore;
pub use store::{Stats, Store};
pub use tasks::{Claim, NewTask, Task, TaskFilter, TaskStatus};
pub use threads::{Thread, ThreadFilter, ThreadStatus};
pub use transfer::{Backup, Compaction, Progress, RowCounts};
#[cfg(feature = "json")]
pub use transfer::{Exported, ImportOptions, Imported, Table};
pub use tx::{ReadTx, WriteTx};

#[cfg(test)]
#[path = "../tests/inside/mod.rs"]
mod inside;

/// The examples in the README and in the guides compile and run.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/life-of-a-task.md")]
    struct LifeOfATask;

    #[doc = include_str!("../docs/moving-stores.md")]
    struct MovingStores;

    #[doc = include_str!("../docs/tracing.md")]
    struct Tracing;
}
