//! Messages that come with their ids.

use std::ops::Bound;

use super::Message;
use crate::clock::Timestamp;
use crate::db::Row;
use crate::db::key::{KeyRange, key};
use crate::error::{Error, Result};
use crate::id::MessageId;
use crate::limits::{self, MESSAGE_ID_MAX};
use crate::tx::{Landed, WriteTx};

impl WriteTx<'_> {
    /// Takes in a message as it was said elsewhere, also into a finished thread.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::InvalidInput`] or [`Error::TooLarge`] for what no message can have.
    pub(crate) fn import_message(&mut self, message: &Message) -> Result<Landed<Message>> {
        if !(1..=MESSAGE_ID_MAX).contains(&message.id.as_u64()) {
            let reason = format!("is {}; a message's id is 1 to {MESSAGE_ID_MAX}", message.id);
            return Err(Error::InvalidInput { field: "messages.id", reason });
        }
        limits::check_name("messages.role", &message.role)?;
        limits::check_text("messages.content", &message.content)?;
        limits::check_text("messages.meta", message.meta.as_deref().unwrap_or_default())?;
        if let Some(there) = self.tables().get(&message.id)? {
            return Ok(Landed::There(there));
        }
        self.require_thread(message.thread_id)?;
        self.count_message(message.id.as_u64());
        self.count_moment("messages.created_at", message.created_at)?;
        self.put(message)?;
        Ok(Landed::Added)
    }

    /// Whether no message around this one says that time went back.
    pub(crate) fn is_in_order(&self, message: &Message) -> Result<bool> {
        let id = key(message.id);
        let before = self.time_of_end(&(Bound::Unbounded, Bound::Excluded(id.clone())), true)?;
        let after = self.time_of_end(&(Bound::Excluded(id), Bound::Unbounded), false)?;
        Ok(before.is_none_or(|before| before <= message.created_at)
            && after.is_none_or(|after| message.created_at <= after))
    }

    /// When the last or the first message of this range was said.
    fn time_of_end(&self, range: &KeyRange, is_last: bool) -> Result<Option<Timestamp>> {
        let mut keys = self.tables().keys(&Message::TABLE, range)?;
        let end = if is_last { keys.next_back() } else { keys.next() };
        let Some(key) = end else { return Ok(None) };
        let id: MessageId = Message::id_of_key(&key?)?;
        self.tables().get_with::<Message, _>(&id, |stored| stored.created_at)
    }
}
