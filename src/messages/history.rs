//! Reading what was said in a thread: which messages, and the walk that finds them.

use std::ops::Bound;
use std::time::Duration;

use super::{BY_STEP, Message};
use crate::clock::Timestamp;
use crate::db::key::{KeyRange, between, key, prefix};
use crate::db::{Neighbours, Row, disorder};
use crate::error::{Error, Result};
use crate::id::{MessageId, ThreadId};
use crate::tx::ReadTx;

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

/// How many keys of a step a walk passes over before it jumps: a jump takes as long as looking at so many.
const MOST_PASSED_OVER: usize = 8;

impl ReadTx<'_> {
    /// The messages of a thread that match, by step and within a step in the order they were appended.
    ///
    /// Without [`last`](MessageFilter::last) that is as many as the thread has.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`].
    pub fn thread_messages(&self, thread: ThreadId, filter: &MessageFilter) -> Result<Vec<Message>> {
        let first = self.first_message_id(filter)?;
        let range = match filter.step {
            Some(step) => between(&(thread, step), first, MessageId::from_u64(u64::MAX)),
            None => prefix(thread),
        };
        let nothing_new = filter.after.is_some() && self.newest_message()? < Some(first);
        let found = if nothing_new { Vec::new() } else { self.matching_messages(range, first, filter)? };
        // A thread in which there is a message exists; only of another one it must be asked.
        if found.is_empty() {
            self.require_thread(thread)?;
        }
        Ok(found)
    }

    /// The messages of this range of index keys that match, in the range's order, from its end if the last ones are wanted.
    ///
    /// Within a step ids rise, so what lies before `first` stands together. Of a long row of those the walk looks at a few
    /// and jumps over the rest.
    fn matching_messages(&self, mut range: KeyRange, first: MessageId, filter: &MessageFilter) -> Result<Vec<Message>> {
        let is_backwards = filter.last.is_some();
        let most = filter.last.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut passed_over = 0;
        let mut rows =
            if is_backwards { Neighbours::backwards(self.tables()) } else { Neighbours::forwards(self.tables()) };
        let mut keys = self.tables().keys(&BY_STEP.table, &range)?;
        while found.len() < most {
            let next = if is_backwards { keys.next_back() } else { keys.next() };
            let Some(passed) = next.transpose()? else { break };
            let id = Message::id_of_key(&passed)?;
            if id >= first {
                passed_over = 0;
                found.extend(matching_message(&mut rows, id, filter)?);
                continue;
            }
            passed_over += 1;
            if passed_over == MOST_PASSED_OVER {
                passed_over = 0;
                let step = passed.split_last_chunk::<{ size_of::<u64>() }>().map_or(&[][..], |(step, _)| step);
                if is_backwards {
                    range.1 = Bound::Excluded(step.to_vec());
                } else {
                    range.0 = Bound::Included([step, &key(first)].concat());
                }
                keys = self.tables().keys(&BY_STEP.table, &range)?;
            }
        }
        if is_backwards {
            found.reverse();
        }
        Ok(found)
    }

    /// The lowest id that `after` and `since` let through.
    fn first_message_id(&self, filter: &MessageFilter) -> Result<MessageId> {
        let after = filter.after.map_or(1, |id| id.as_u64().saturating_add(1));
        let since = filter.since.map_or(Ok(1), |moment| self.first_message_since(moment))?;
        Ok(MessageId::from_u64(after.max(since)))
    }

    /// An id below which nothing was appended at this moment or later: a bisection of all ids, since ids and times rise
    /// together.
    ///
    /// Imported messages may be out of order by so much, and no more: whoever lies further back than that has none before
    /// it that is not. So the bisection goes by that moment, and who lies between the two is looked at one by one.
    fn first_message_since(&self, moment: Timestamp) -> Result<u64> {
        let moment = moment - disorder(self.tables())?;
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

    /// The most by which a message's time lies before that of one with a lower id.
    pub(crate) fn disorder_of_messages(&self) -> Result<Duration> {
        let (mut latest, mut disorder) = (Timestamp::MIN, Duration::ZERO);
        let mut rows = Neighbours::forwards(self.tables());
        for key in self.tables().keys(&Message::TABLE, &(Bound::Unbounded, Bound::Unbounded))? {
            let id = Message::id_of_key(&key?)?;
            let created_at = rows.get_with::<Message, _>(&id, |stored| stored.created_at)?.unwrap_or(latest);
            disorder = disorder.max(latest.duration_since(created_at));
            latest = latest.max(created_at);
        }
        Ok(disorder)
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
    pub(super) fn newest_message_of(&self, thread: ThreadId) -> Result<Option<MessageId>> {
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

/// The message with this id, if it has the filter's role and time. The rest of the filter is the index's part.
fn matching_message(rows: &mut Neighbours<'_, '_>, id: MessageId, filter: &MessageFilter) -> Result<Option<Message>> {
    let matching = rows.get_with::<Message, _>(&id, |stored| {
        let is_wanted = filter.role.as_deref().is_none_or(|role| role == stored.role)
            && filter.since.is_none_or(|moment| moment <= stored.created_at);
        is_wanted.then(|| Message::from_stored(id, stored))
    })?;
    matching
        .ok_or_else(|| Error::corrupt(BY_STEP.table.name, format!("message {id} does not exist")))?
        .transpose()
        .map_err(|reason| Error::corrupt(Message::TABLE.name, format!("row {id}: {reason}")))
}
