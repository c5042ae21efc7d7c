//! An engine as a peer: its writers one by one, or in groups that share a transaction.

use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};

use crate::clock::Clock;
use crate::ids::{self, Id};
use crate::peer::{Answer, Counts, Engine, NewMessage, NewTask, Peer, Request, Seen, Which, unexpected};
use crate::queue::{Queue, lock};

/// How it is said of a rival in [`Rival::grouped`].
pub(crate) const GROUPED: &str = "writers that come together share a transaction, led by one of them, as in khala";

pub(crate) struct Rival<E: Engine> {
    engine: E,
    line: Line<E::Turn>,
    clock: Clock,
}

/// How writers wait.
enum Line<T> {
    Alone(Mutex<T>),
    Grouped(Queue<Request, Answer, T>),
}

impl<E: Engine> Rival<E> {
    /// Each operation a transaction of its own, behind a mutex.
    pub(crate) fn alone(engine: E, clock: Clock) -> Result<Self> {
        let line = Line::Alone(Mutex::new(engine.first_turn()?));
        Ok(Self { engine, line, clock })
    }

    /// Group commit.
    pub(crate) fn grouped(engine: E, clock: Clock) -> Result<Self> {
        let line = Line::Grouped(Queue::new(engine.first_turn()?));
        Ok(Self { engine, line, clock })
    }

    fn run(&self, request: Request) -> Result<Answer> {
        match &self.line {
            Line::Alone(turn) => {
                let answers = self.engine.write(&mut lock(turn), &[request])?;
                answers.first().copied().ok_or_else(|| anyhow!("there was no answer"))
            }
            Line::Grouped(queue) => queue.run(request, |turn, requests| self.engine.write(turn, requests)),
        }
    }
}

impl<E: Engine> Peer for Rival<E> {
    fn create_task(&self, thread: Id, task: NewTask) -> Result<Id> {
        match self.run(Request::CreateTask { thread, task })? {
            Answer::Created(id) => Ok(id),
            other => unexpected(other),
        }
    }

    fn append(&self, thread: Id, message: NewMessage) -> Result<u64> {
        match self.run(Request::Append { thread, message })? {
            Answer::Appended(id) => Ok(id),
            other => unexpected(other),
        }
    }

    fn claim(&self, task: Id, agent: &Arc<str>) -> Result<Option<Id>> {
        let claim = ids::fresh(self.clock.micros())?;
        match self.run(Request::Claim { task, agent: Arc::clone(agent), claim })? {
            Answer::Claimed(claim) => Ok(claim),
            other => unexpected(other),
        }
    }

    fn complete(&self, task: Id, claim: Id) -> Result<bool> {
        match self.run(Request::Complete { task, claim })? {
            Answer::Completed(done) => Ok(done),
            other => unexpected(other),
        }
    }

    fn expire(&self) -> Result<u64> {
        match self.run(Request::Expire)? {
            Answer::Expired(count) => Ok(count),
            other => unexpected(other),
        }
    }

    fn write_together(&self, requests: Vec<Request>) -> Result<Vec<Answer>> {
        let mut turn = match &self.line {
            Line::Alone(turn) => lock(turn),
            Line::Grouped(queue) => queue.turn(),
        };
        self.engine.write(&mut turn, &requests)
    }

    fn open_tasks(&self, limit: usize) -> Result<Seen> {
        self.engine.open_tasks(limit)
    }

    fn messages(&self, thread: Id, which: Which) -> Result<Seen> {
        self.engine.messages(thread, which)
    }

    fn counts(&self) -> Result<Counts> {
        self.engine.counts()
    }

    fn checkpoint(&self) -> Result<bool> {
        self.engine.checkpoint()
    }

    fn settle(&self) {
        self.engine.settle();
    }
}
