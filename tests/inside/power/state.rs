//! What a store must have come to: the model of `life.rs`, and what it has given out.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;

use super::super::life::{Answer, Call, History, Made};
use crate::db::Row;
use crate::db::key::KeyRange;
use crate::tasks::TaskRow;
use crate::{Message, MessageId, ReadTx, Result, Store, Task, Thread, Timestamp};

/// What an operation was, what the store answered, and what it made.
pub(super) struct Done {
    pub(super) now: Timestamp,
    pub(super) call: Call,
    pub(super) answer: Answer,
    pub(super) made: Made,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) history: History,
    /// Every message there ever was.
    messages: BTreeMap<MessageId, Message>,
    /// The highest id of a thread or a task that anyone has seen.
    highest_id: [u8; 16],
    highest_message: u64,
    /// The latest moment of a transaction that was committed.
    pub(super) latest: Option<Timestamp>,
}

const ALL: KeyRange = (Bound::Unbounded, Bound::Unbounded);

impl State {
    /// What is in this store, as far as its rows tell.
    pub(super) fn of(store: &Store, tokens: &[String]) -> Result<Self> {
        store.read(|tx| {
            let mut state = Self::default();
            for thread in rows::<Thread>(tx)? {
                state.history.known.threads.push(thread.id);
                state.see_id(thread.id.to_bytes());
                state.history.model.threads.insert(thread.id, thread);
            }
            for task in tasks(tx)? {
                state.history.known.tasks.push(task.id);
                state.history.known.claims.extend(task.claim_id.map(|claim| (task.id, claim)));
                state.see_id(task.id.to_bytes());
                state.history.model.tasks.insert(task.id, task);
            }
            for message in rows::<Message>(tx)? {
                state.highest_message = message.id.as_u64();
                state.latest = state.latest.max(Some(message.created_at));
                state.history.model.messages.insert(message.id, message.thread_id);
                state.messages.insert(message.id, message);
            }
            for token in tokens {
                let agent = tx.authenticate(token)?;
                state.history.model.agents.extend(agent.map(|agent| (agent.id, token.clone())));
            }
            Ok(state)
        })
    }

    /// How many threads, messages, tasks and agents there are.
    pub(super) fn counts(&self) -> [usize; 4] {
        let model = &self.history.model;
        [model.threads.len(), model.messages.len(), model.tasks.len(), model.agents.len()]
    }

    pub(super) fn see_id(&mut self, id: [u8; 16]) {
        self.highest_id = self.highest_id.max(id);
    }

    /// Does to the model what was done to the store; the error is what they disagree on.
    pub(super) fn apply(&mut self, done: &Done) -> Result<(), String> {
        let Done { now, call, answer, made } = done;
        if self.latest > Some(*now) {
            return Err(format!("{call:?} happened at {now}, after something at {:?}", self.latest));
        }
        match made {
            Made::Thread(thread) => self.new_id(thread.id.to_bytes(), thread)?,
            Made::Task(task) if !self.history.known.tasks.contains(&task.id) => {
                self.new_id(task.id.to_bytes(), task)?;
            }
            Made::Message(message) if message.id.as_u64() <= self.highest_message => {
                return Err(format!("the id of {message:?} was given out before"));
            }
            Made::Message(message) => {
                self.highest_message = message.id.as_u64();
                self.messages.insert(message.id, message.clone());
            }
            _ => {}
        }
        let expected = self.history.answer(call, made, *now);
        if *answer != expected {
            return Err(format!("{call:?} at {now} was answered with {answer:?}, and the model says {expected:?}"));
        }
        Ok(())
    }

    fn new_id(&mut self, id: [u8; 16], row: &dyn Debug) -> Result<(), String> {
        if id <= self.highest_id {
            return Err(format!("the id of {row:?} was given out before"));
        }
        self.highest_id = id;
        Ok(())
    }

    /// What of this store is not as it should be.
    pub(super) fn differs(&self, store: &Store) -> Result<(), String> {
        let compared = store.read(|tx| Ok(self.compare(tx))).map_err(|error| error.to_string())?;
        compared.map_err(|error| error.to_string())?
    }

    fn compare(&self, tx: &ReadTx<'_>) -> Result<Result<(), String>> {
        let model = &self.history.model;
        let mut outcome = same(&rows::<Thread>(tx)?, model.threads.values());
        outcome = outcome.and(same(&tasks(tx)?, model.tasks.values()));
        outcome = outcome.and(same(&rows::<Message>(tx)?, model.messages.keys().map(|id| &self.messages[id])));
        let agents: Vec<_> = tx.agents(None, usize::MAX)?.into_iter().map(|agent| agent.id).collect();
        outcome = outcome.and(same(&agents, model.agents.keys()));
        for (agent, token) in &model.agents {
            let let_in = tx.authenticate(token)?.map(|agent| agent.id);
            if let_in.as_ref() != Some(agent) {
                outcome = outcome.and(Err(format!("the token of {agent} lets in {let_in:?}")));
            }
        }
        if self.latest > Some(tx.now()) {
            outcome = outcome.and(Err(format!("it is {}, and was {:?} before", tx.now(), self.latest)));
        }
        Ok(outcome)
    }
}

fn tasks(tx: &ReadTx<'_>) -> Result<Vec<Task>> {
    rows::<TaskRow>(tx)?.into_iter().map(|row| tx.whole_task(row)).collect()
}

fn rows<R: Row>(tx: &ReadTx<'_>) -> Result<Vec<R>> {
    tx.tables().rows::<R>(&ALL)?.collect()
}

fn same<'m, T: Debug + PartialEq + 'm>(
    stored: &[T],
    expected: impl ExactSizeIterator<Item = &'m T>,
) -> Result<(), String> {
    let counts = (stored.len(), expected.len());
    let unlike = stored.iter().zip(expected).find(|(stored, expected)| stored != expected);
    match unlike {
        Some((stored, expected)) => Err(shorten(&format!("stored is {stored:?}, expected {expected:?}"))),
        None if counts.0 != counts.1 => Err(format!("stored are {} rows, expected {}", counts.0, counts.1)),
        None => Ok(()),
    }
}

/// Texts can be large.
fn shorten(text: &str) -> String {
    text.chars().take(2_000).collect()
}
