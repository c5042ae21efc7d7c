//! Messages: what was said in a thread, in the order of its steps.
//!
//! | table | key | value |
//! |---|---|---|
//! | `messages` | message id | row, thread id first |
//! | `messages_by_step` | (thread id, step, message id) | – |
//!
//! Messages are keyed by id, not by thread, so that appends from many threads share the last page of the table.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::key::{KeyRange, between, key, last_part, prefix};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::limits;
use crate::tx::{ReadTx, WriteTx};

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

/// Which messages of a thread: what [`ReadTx::thread_messages`] takes. All of them, unless something is set; what is
/// set combines.
///
/// ```
/// use khala::MessageFilter;
///
/// let newest_ten_answers = MessageFilter::new().role("assistant").last(10);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageFilter {
    role: Option<String>,
    step: Option<u64>,
    after: Option<MessageId>,
    since: Option<Timestamp>,
    last: Option<usize>,
}

impl MessageFilter {
    /// All messages of the thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those said in this role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Only those of this step.
    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    /// Only those appended after this message, whichever thread it is in and whether it still exists or not.
    #[must_use]
    pub fn after(mut self, id: MessageId) -> Self {
        self.after = Some(id);
        self
    }

    /// Only those appended at this moment or later.
    #[must_use]
    pub fn since(mut self, moment: Timestamp) -> Self {
        self.since = Some(moment);
        self
    }

    /// Only the last `count` of those that match the rest, still in the thread's order.
    #[must_use]
    pub fn last(mut self, count: usize) -> Self {
        self.last = Some(count);
        self
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
        message.check()?;
        self.require_active_thread(thread)?;
        if let Some((task, claim)) = message.under {
            self.require_claim(task, claim)?;
        }
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

impl ReadTx<'_> {
    /// The messages of a thread that match, by step and within a step in the order they were appended.
    ///
    /// Without [`last`](MessageFilter::last) that is as many as the thread has.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`].
    pub fn thread_messages(&self, thread: ThreadId, filter: &MessageFilter) -> Result<Vec<Message>> {
        self.require_thread(thread)?;
        let first = self.first_message_id(filter)?;
        if filter.after.is_some() && self.newest_message()? < Some(first) {
            return Ok(Vec::new());
        }
        let range = match filter.step {
            Some(step) => between(&(thread, step), first, MessageId::from_u64(u64::MAX)),
            None => prefix(thread),
        };
        let mut found = Vec::new();
        let most = filter.last.unwrap_or(usize::MAX);
        let mut keys = self.tables().keys(&BY_STEP.table, &range)?;
        while found.len() < most {
            let next = if filter.last.is_some() { keys.next_back() } else { keys.next() };
            let Some(key) = next else { break };
            let id = Message::id_of_key(&key?)?;
            if id >= first {
                found.extend(self.matching_message(id, filter)?);
            }
        }
        if filter.last.is_some() {
            found.reverse();
        }
        Ok(found)
    }

    /// The message with this id, if it has the filter's role. The rest of the filter is the index's part.
    fn matching_message(&self, id: MessageId, filter: &MessageFilter) -> Result<Option<Message>> {
        let matching = self.tables().get_with::<Message, _>(&id, |stored| {
            filter.role.as_deref().is_none_or(|role| role == stored.role).then(|| Message::from_stored(id, stored))
        })?;
        matching
            .ok_or_else(|| Error::corrupt(BY_STEP.table.name, format!("message {id} does not exist")))?
            .transpose()
            .map_err(|reason| Error::corrupt(Message::TABLE.name, format!("row {id}: {reason}")))
    }

    /// The lowest id that `after` and `since` let through.
    fn first_message_id(&self, filter: &MessageFilter) -> Result<MessageId> {
        let after = filter.after.map_or(1, |id| id.as_u64().saturating_add(1));
        let since = filter.since.map_or(Ok(1), |moment| self.first_message_since(moment))?;
        Ok(MessageId::from_u64(after.max(since)))
    }

    /// The first id appended at this moment or later: a bisection of all ids, since ids and times rise together.
    fn first_message_since(&self, moment: Timestamp) -> Result<u64> {
        let (mut low, mut high) = (1, self.newest_message()?.map_or(1, |newest| newest.as_u64().saturating_add(1)));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_message_from(middle)? {
                Some((id, created_at)) if created_at < moment => low = id.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first message whose id is `id` or higher: its id, and when it was appended.
    fn first_message_from(&self, id: u64) -> Result<Option<(u64, Timestamp)>> {
        let range = (Bound::Included(key(id)), Bound::Unbounded);
        let Some(key) = self.tables().keys(&Message::TABLE, &range)?.next() else { return Ok(None) };
        let id = Message::id_of_key(&key?)?;
        let created_at = self.tables().get_with::<Message, _>(&id, |stored| stored.created_at)?;
        Ok(created_at.map(|created_at| (id.as_u64(), created_at)))
    }

    /// The message appended last in this thread: the highest of the last ids of its steps.
    fn newest_message_of(&self, thread: ThreadId) -> Result<Option<MessageId>> {
        let (first, mut end) = prefix(thread);
        let mut newest = None;
        loop {
            let Some(last) = self.tables().keys(&BY_STEP.table, &(first.clone(), end))?.next_back() else {
                return Ok(newest);
            };
            let mut last = last?;
            newest = newest.max(Some(Message::id_of_key(&last)?));
            // On to the step before: everything below this step's first key.
            last.truncate(last.len().saturating_sub(size_of::<u64>()));
            end = Bound::Excluded(last);
        }
    }

    pub(crate) fn count_messages(&self) -> Result<u64> {
        self.tables().len(&Message::TABLE)
    }

    /// The message appended last, in any thread.
    pub(crate) fn newest_message(&self) -> Result<Option<MessageId>> {
        const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);
        let newest = self.tables().keys(&Message::TABLE, &ALL)?.next_back();
        newest.map(|key| Message::id_of_key(&key?)).transpose()
    }
}
