//! Messages: what was said in a thread, in the order of its steps.
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | message id | row, thread id first |
//! | `messages_by_step` | (thread id, step, message id) | – |
//!
//! Messages are keyed by id, not by thread, so that appends from many threads share the last page of the table. Here is
//! what a message is and how it is appended; `messages/history.rs` reads.

mod history;
#[cfg(feature = "json")]
mod import;

pub use history::MessageFilter;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::key::{key, last_part, prefix};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::limits;
use crate::tx::WriteTx;

/// Something said in a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Which one; later messages have higher ids.
    pub id: MessageId,
    /// Where it was said.
    pub thread_id: ThreadId,
    /// In what role, in the application's words: 1 to 256 bytes.
    pub role: String,
    /// What was said, up to 16 MiB.
    pub content: String,
    /// What the application keeps beside it, often JSON, up to 16 MiB.
    pub meta: Option<String>,
    /// The step of the workflow it belongs to.
    pub step: u64,
    /// Who said it.
    pub agent_id: Option<AgentId>,
    /// When it was appended.
    pub created_at: Timestamp,
}

/// A message to append: what [`WriteTx::append_message`] takes.
///
/// ```
/// use khala::NewMessage;
///
/// let message = NewMessage::new("assistant", "Looks good.").step(2).meta(r#"{"tokens":311}"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    role: String,
    content: String,
    meta: Option<String>,
    step: u64,
    agent_id: Option<AgentId>,
    under: Option<(TaskId, ClaimId)>,
}

impl NewMessage {
    /// This content, said in this role: a name of 1 to 256 bytes, and a text of up to 16 MiB.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), meta: None, step: 0, agent_id: None, under: None }
    }

    /// What the application keeps beside it, up to 16 MiB. None unless set.
    #[must_use]
    pub fn meta(mut self, text: impl Into<String>) -> Self {
        self.meta = Some(text.into());
        self
    }

    /// The step of the workflow it belongs to. 0 unless set.
    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    /// Who says it. Nobody unless set; the agent need not be registered.
    #[must_use]
    pub fn agent(mut self, agent: &AgentId) -> Self {
        self.agent_id = Some(agent.clone());
        self
    }

    /// Append it only if this claim holds its task at that moment; otherwise it is refused with [`Error::ClaimLost`].
    /// In a turn it comes before [`complete_task`](WriteTx::complete_task), which ends the claim.
    #[must_use]
    pub fn under(mut self, task: TaskId, claim: ClaimId) -> Self {
        self.under = Some((task, claim));
        self
    }

    fn check(&self) -> Result<()> {
        limits::check_name("message role", &self.role)?;
        limits::check_text("message content", &self.content)?;
        limits::check_text("message meta", self.meta.as_deref().unwrap_or_default())
    }
}

/// What is stored of a message under its id. The thread comes first and the time second, where they can be read
/// without the texts behind them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored<'a> {
    thread_id: ThreadId,
    created_at: Timestamp,
    step: u64,
    role: &'a str,
    agent_id: Option<&'a str>,
    content: &'a str,
    meta: Option<&'a str>,
}

const BY_STEP: Index<Message> = Index {
    table: TableDef::fixed_keys::<32>("messages_by_step"),
    entry: |message| Some(Entry::key_only(key((message.thread_id, message.step, message.id)))),
};

impl Row for Message {
    const TABLE: TableDef = TableDef::fixed::<8>("messages");
    const INDEXES: &'static [Index<Self>] = &[BY_STEP];

    type Id = MessageId;
    type Stored<'a> = Stored<'a>;

    fn id(&self) -> MessageId {
        self.id
    }

    fn to_stored(&self) -> Stored<'_> {
        Stored {
            thread_id: self.thread_id,
            created_at: self.created_at,
            step: self.step,
            role: &self.role,
            agent_id: self.agent_id.as_ref().map(AgentId::as_str),
            content: &self.content,
            meta: self.meta.as_deref(),
        }
    }

    fn from_stored(id: MessageId, stored: Stored<'_>) -> Result<Self, String> {
        Ok(Self {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            content: stored.content.into(),
            meta: stored.meta.map(Into::into),
            step: stored.step,
            agent_id: stored.agent_id.map(AgentId::new).transpose().map_err(|error| error.to_string())?,
            created_at: stored.created_at,
        })
    }

    fn id_of_key(key: &[u8]) -> Result<MessageId> {
        last_part(Self::TABLE.name, key).map(|bytes| MessageId::from_u64(u64::from_be_bytes(bytes)))
    }
}

impl WriteTx<'_> {
    /// Appends a message to a thread and gives it back.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::ThreadFinished`]; [`Error::ClaimLost`] and [`Error::TaskNotFound`] for a message
    /// [`under`](NewMessage::under) a claim; [`Error::InvalidInput`] or [`Error::TooLarge`] when the role is not 1 to 256
    /// bytes or a text is over 16 MiB.
    pub fn append_message(&mut self, thread: ThreadId, message: &NewMessage) -> Result<Message> {
        self.check_messages(thread, std::slice::from_ref(message))?;
        self.put_message(thread, message)
    }

    /// Appends messages to a thread, in this order, and gives them back: all of them or, when one is refused, none.
    ///
    /// # Errors
    ///
    /// Those of [`append_message`](Self::append_message).
    pub fn append_messages(&mut self, thread: ThreadId, messages: &[NewMessage]) -> Result<Vec<Message>> {
        self.check_messages(thread, messages)?;
        messages.iter().map(|message| self.put_message(thread, message)).collect()
    }

    fn check_messages(&self, thread: ThreadId, messages: &[NewMessage]) -> Result<()> {
        messages.iter().try_for_each(NewMessage::check)?;
        self.require_active_thread(thread)?;
        let mut claims = messages.iter().filter_map(|message| message.under);
        claims.try_for_each(|(task, claim)| self.require_claim(task, claim))
    }

    fn put_message(&mut self, thread: ThreadId, message: &NewMessage) -> Result<Message> {
        let message = Message {
            id: self.new_message_id()?,
            thread_id: thread,
            role: message.role.clone(),
            content: message.content.clone(),
            meta: message.meta.clone(),
            step: message.step,
            agent_id: message.agent_id.clone(),
            created_at: self.now(),
        };
        self.put(&message)?;
        Ok(message)
    }

    /// Appends a message only if the thread's newest one is `expected`, `None` for a thread without any: a writer that has
    /// read the thread knows that nothing came in between.
    ///
    /// The cost grows with the number of steps the thread has.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadMoved`], with the newest message, and those of [`append_message`](Self::append_message).
    pub fn append_message_at(
        &mut self,
        thread: ThreadId,
        message: &NewMessage,
        expected: Option<MessageId>,
    ) -> Result<Message> {
        self.require_active_thread(thread)?;
        let newest = self.newest_message_of(thread)?;
        if newest != expected {
            return Err(Error::ThreadMoved { newest });
        }
        self.append_message(thread, message)
    }

    /// Removes all messages of a thread.
    pub(crate) fn remove_messages(&mut self, thread: ThreadId) -> Result<()> {
        let keys = self.tables().keys(&BY_STEP.table, &prefix(thread))?;
        let ids = keys.map(|key| Message::id_of_key(&key?)).collect::<Result<Vec<_>>>()?;
        ids.iter().try_for_each(|id| self.remove::<Message>(id).map(drop))
    }
}
