//! Threads that come with their ids.

use super::{Thread, ThreadStatus};
use crate::error::Result;
use crate::limits;
use crate::tx::{Landed, WriteTx};

impl ThreadStatus {
    /// The status of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl WriteTx<'_> {
    /// Takes in a thread as it stood elsewhere.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::Error::InvalidInput) or [`TooLarge`](crate::Error::TooLarge) for what no thread can have.
    pub(crate) fn import_thread(&mut self, thread: &Thread) -> Result<Landed<Thread>> {
        limits::check_name("threads.workflow", &thread.workflow)?;
        limits::check_name("threads.initiator", &thread.initiator)?;
        limits::check_text("threads.result", thread.result.as_deref().unwrap_or_default())?;
        if let Some(there) = self.thread(thread.id)? {
            return Ok(Landed::There(there));
        }
        self.count_ulid("threads.id", thread.id.to_bytes())?;
        self.count_moment("threads.created_at", thread.created_at)?;
        self.count_moment("threads.updated_at", thread.updated_at)?;
        self.put(thread)?;
        Ok(Landed::Added)
    }
}
