//! How many rows an answer is, for the spans.

use super::Stats;
use crate::agents::Token;
use crate::messages::Message;
use crate::page::Page;
use crate::tasks::Task;
use crate::threads::Thread;
use crate::trace::Rows;
use crate::transfer::RowCounts;
#[cfg(feature = "json")]
use crate::transfer::{Exported, Imported};

impl Rows for Thread {}
impl Rows for Message {}
impl Rows for Task {}
impl Rows for Token {}

impl<T> Rows for Page<T> {
    fn rows(&self) -> Option<u64> {
        self.items.rows()
    }
}

impl Rows for Stats {
    fn rows(&self) -> Option<u64> {
        None
    }
}

impl Rows for RowCounts {
    fn rows(&self) -> Option<u64> {
        Some(self.total())
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
