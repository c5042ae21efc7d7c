//! An embedded coordination store for applications in which several agents work together.

mod agents;
mod builder;
mod clock;
mod db;
mod error;
mod id;
pub mod limits;
mod messages;
mod nested;
mod planted;
mod store;
mod tasks;
mod threads;
mod tx;

#[cfg(test)]
#[path = "../tests/inside/mod.rs"]
mod inside;

pub use agents::{Agent, Token};
pub use builder::Builder;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use db::AppliedMigration;
pub use error::{Error, Result};
pub use id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
pub use messages::{Message, MessageFilter, NewMessage};
pub use store::Store;
pub use tasks::{Claim, NewTask, Task, TaskStatus};
pub use threads::{Thread, ThreadStatus};
pub use tx::{ReadTx, WriteTx};
