//! khala, as an application uses it: on its public API, one call for each operation.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use khala::{AgentId, MessageFilter, Store, TaskStatus, WriteTx};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::ids::Id;
use crate::peer::{Answer, Check, Counts, NewMessage, NewTask, Peer, Request, Seen, Which};

pub(crate) struct Khala(Store);

impl Khala {
    pub(crate) const SET_UP: &str =
        "the defaults: a cache of 64 MiB; the check on opening is off where no other is said";

    pub(crate) fn open(folder: &Path, clock: Clock, check: Check) -> Result<Self> {
        let builder = Store::builder().clock(clock).check_on_open(check == Check::On);
        Ok(Self(builder.open(folder.join("store.khala"))?))
    }
}

impl Peer for Khala {
    fn create_task(&self, thread: Id, task: NewTask) -> Result<Id> {
        bytes(&self.0.create_task(id(thread)?, task.into())?.id)
    }

    fn append(&self, thread: Id, message: NewMessage) -> Result<u64> {
        Ok(self.0.append_message(id(thread)?, message.try_into()?)?.id.as_u64())
    }

    fn claim(&self, task: Id, agent: &Arc<str>) -> Result<Option<Id>> {
        let claim = self.0.claim_task(id(task)?, &AgentId::new(agent.as_ref())?)?;
        claim.map(|claim| bytes(&claim.id)).transpose()
    }

    fn complete(&self, task: Id, claim: Id) -> Result<bool> {
        Ok(self.0.complete_task(id(task)?, id(claim)?)?)
    }

    fn expire(&self) -> Result<u64> {
        Ok(self.0.expire_timed_out_tasks()?)
    }

    fn write_together(&self, requests: Vec<Request>) -> Result<Vec<Answer>> {
        let answers = self.0.write(move |tx| {
            requests
                .iter()
                .map(|request| write(tx, request).map_err(khala::Error::aborted))
                .collect::<khala::Result<_>>()
        });
        Ok(answers?)
    }

    fn open_tasks(&self, limit: usize) -> Result<Seen> {
        Ok(Seen::of(&self.0.open_tasks(limit)?, |task| &task.instruction))
    }

    fn messages(&self, thread: Id, which: Which) -> Result<Seen> {
        let filter = match which {
            Which::All => MessageFilter::new(),
            Which::Last(count) => MessageFilter::new().last(count),
            Which::Step(step) => MessageFilter::new().step(step),
        };
        Ok(Seen::of(&self.0.thread_messages(id(thread)?, &filter)?, |message| &message.content))
    }

    fn checkpoint(&self) -> Result<bool> {
        self.0.checkpoint()?;
        Ok(true)
    }

    fn counts(&self) -> Result<Counts> {
        let stats = self.0.stats()?;
        let tasks = |status| stats.tasks.get(&status).copied().context("every status is counted");
        Ok(Counts {
            messages: stats.messages,
            open: tasks(TaskStatus::Open)?,
            claimed: tasks(TaskStatus::Claimed)?,
            completed: tasks(TaskStatus::Completed)?,
        })
    }
}

fn write(tx: &mut WriteTx<'_>, request: &Request) -> Result<Answer> {
    Ok(match request {
        Request::CreateThread => Answer::Created(bytes(&tx.create_thread("review", "bench")?.id)?),
        Request::CreateTask { thread, task } => {
            Answer::Created(bytes(&tx.create_task(id(*thread)?, &task.clone().into())?.id)?)
        }
        Request::Append { thread, message } => {
            Answer::Appended(tx.append_message(id(*thread)?, &message.clone().try_into()?)?.id.as_u64())
        }
        Request::Claim { task, agent, .. } => {
            let claim = tx.claim_task(id(*task)?, &AgentId::new(agent.as_ref())?)?;
            Answer::Claimed(claim.map(|claim| bytes(&claim.id)).transpose()?)
        }
        Request::Complete { task, claim } => Answer::Completed(tx.complete_task(id(*task)?, id(*claim)?)?),
        Request::Expire => Answer::Expired(tx.expire_timed_out_tasks()?),
    })
}

impl From<NewTask> for khala::NewTask {
    fn from(task: NewTask) -> Self {
        Self::new(task.role, task.instruction).timeout_seconds(task.timeout_seconds)
    }
}

impl TryFrom<NewMessage> for khala::NewMessage {
    type Error = khala::Error;

    fn try_from(message: NewMessage) -> khala::Result<Self> {
        let agent = AgentId::new(message.agent.as_ref())?;
        Ok(Self::new(message.role, message.content).step(message.step).agent(&agent))
    }
}

/// A typed id of these bytes. Outside khala only serde makes one that is not text; it costs some ten nanoseconds.
fn id<T: DeserializeOwned>(bytes: Id) -> Result<T> {
    Ok(bincode::serde::decode_from_slice(&bytes, bincode::config::standard())?.0)
}

/// The bytes of a typed id.
fn bytes(id: &impl Serialize) -> Result<Id> {
    let mut bytes = Id::default();
    bincode::serde::encode_into_slice(id, &mut bytes, bincode::config::standard())?;
    Ok(bytes)
}
