//! What the spans tell of an answer: which row it is, or how many.

use std::fmt::Display;

use crate::agents::{Agent, Token};
use crate::messages::Message;
use crate::page::Page;
use crate::planted::{Bug, planted};
use crate::tasks::{Claim, Task};
use crate::threads::Thread;
use crate::trace::Rows;
use crate::transfer::{Backup, RowCounts};
#[cfg(feature = "json")]
use crate::transfer::{Exported, Imported};

impl Rows for Agent {}
impl Rows for Token {}

impl Rows for Thread {
    fn row(&self) -> Option<&dyn Display> {
        Some(&self.id)
    }
}

impl Rows for Message {
    fn row(&self) -> Option<&dyn Display> {
        Some(&self.id)
    }
}

impl Rows for Task {
    fn row(&self) -> Option<&dyn Display> {
        Some(&self.id)
    }
}

impl Rows for Claim {
    /// The task: the claim's own id is a secret.
    fn row(&self) -> Option<&dyn Display> {
        if planted(Bug::ClaimIdTraced) { Some(&self.id) } else { Some(&self.task.id) }
    }
}

impl<T> Rows for Page<T> {
    fn rows(&self) -> Option<u64> {
        self.items.rows()
    }
}

impl Rows for RowCounts {
    fn rows(&self) -> Option<u64> {
        Some(self.total())
    }
}

impl Rows for Backup {
    fn rows(&self) -> Option<u64> {
        self.rows.rows()
    }
}

#[cfg(feature = "json")]
impl Rows for Exported {
    fn rows(&self) -> Option<u64> {
        self.rows.rows()
    }
}

#[cfg(feature = "json")]
impl Rows for Imported {
    fn rows(&self) -> Option<u64> {
        self.added.rows()
    }
}
