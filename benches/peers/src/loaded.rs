//! A peer with something in it: so many messages and as many open tasks, in conversations of a thousand messages.
//!
//! Conversations take turns while loading, so a conversation's messages lie far from each other, as they do where many
//! agents talk at once. Those of even number are read; new messages and tasks go to the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::ids::Id;
use crate::peer::{Answer, Check, Counts, NewMessage, NewTask, Peer, PeerName, Request};
use crate::text::Texts;

pub(crate) const MESSAGE_BYTES: usize = 256;
pub(crate) const INSTRUCTION_BYTES: usize = 200;
pub(crate) const MESSAGES_PER_STEP: usize = 10;

const MESSAGES_PER_THREAD: usize = 1_000;
const ROLES: [&str; 4] = ["planner", "writer", "reviewer", "tester"];
const TIMEOUT_SECONDS: u32 = 300;

/// Rows per transaction while loading.
const LOAD_SLICE: usize = 5_000;

/// A store is filled up again before it has fewer open tasks than this.
const FEWEST_OPEN: usize = 20_000;

/// The disk alone has nothing to load; it takes its time for every name it is given.
const DISK_ROWS: usize = 20_000;

/// Who is in a store: its threads, and its open tasks in the order of their creation.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) threads: Vec<Id>,
    pub(crate) open: Vec<Id>,
}

impl Content {
    fn file(folder: &Path) -> PathBuf {
        folder.with_extension("content")
    }

    /// What was in the store in this folder when it was closed.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let bytes = std::fs::read(Self::file(folder))?;
        Ok(bincode::serde::decode_from_slice(&bytes, bincode::config::standard())?.0)
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        Ok(std::fs::write(Self::file(folder), bincode::serde::encode_to_vec(self, bincode::config::standard())?)?)
    }

    /// Whether there is a store in this folder, whole.
    pub(crate) fn is_in(folder: &Path) -> bool {
        Self::file(folder).exists()
    }

    /// A thread that is written to.
    pub(crate) fn busy_thread(&self, dice: &mut Rng) -> Result<Id> {
        let odd = dice.usize(0..self.threads.len() / 2) * 2 + 1;
        self.threads.get(odd).copied().context("there are at least two threads")
    }

    /// A thread that is only read: its number and its id.
    pub(crate) fn quiet_thread(&self, dice: &mut Rng) -> Result<(usize, Id)> {
        let even = dice.usize(0..self.threads.len().div_ceil(2)) * 2;
        let id = self.threads.get(even).copied().context("there are at least two threads")?;
        Ok((even, id))
    }
}

/// How many threads a store of so many rows has.
pub(crate) fn threads_of(rows: usize) -> usize {
    (rows / MESSAGES_PER_THREAD).max(2)
}

/// How many messages were loaded into the thread of this number.
pub(crate) fn messages_of(rows: usize, thread: usize) -> usize {
    let threads = threads_of(rows);
    rows / threads + usize::from(thread < rows % threads)
}

/// An open store.
pub(crate) struct Loaded {
    pub(crate) name: PeerName,
    pub(crate) peer: Box<dyn Peer>,
    pub(crate) clock: Clock,
    pub(crate) content: Content,
    /// How many of the open tasks have been taken.
    pub(crate) taken: usize,
    /// What must be in it by now.
    pub(crate) expected: Counts,
    folder: PathBuf,
    /// Removed with it, unless it is kept.
    temporary: Option<TempDir>,
}

impl Loaded {
    /// A new store with so many messages and tasks, gone when it is dropped.
    pub(crate) fn fresh(name: PeerName, base: &Path, rows: usize) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("fresh-").tempdir_in(base)?;
        let clock = Clock::default();
        let peer = name.open(temporary.path(), &clock, Check::Off)?;
        let rows = if name.is_store() { rows } else { DISK_ROWS };
        let content = load(peer.as_ref(), rows)?;
        let rows = u64::try_from(rows)?;
        let expected = Counts { messages: rows, open: rows, ..Counts::default() };
        let folder = temporary.path().to_owned();
        Ok(Self { name, peer, clock, content, taken: 0, expected, folder, temporary: Some(temporary) })
    }

    /// The store that a child process has loaded into this folder.
    pub(crate) fn kept(name: PeerName, folder: &Path) -> Result<Self> {
        let clock = Clock::default();
        let peer = name.open(folder, &clock, Check::Off)?;
        let (content, expected) = (Content::read(folder)?, peer.counts()?);
        Ok(Self { name, peer, clock, content, taken: 0, expected, folder: folder.to_owned(), temporary: None })
    }

    /// Those of the open tasks that nobody has taken yet.
    pub(crate) fn left(&self) -> &[Id] {
        self.content.open.get(self.taken..).unwrap_or_default()
    }

    /// Sees to it that there are tasks to be had.
    pub(crate) fn fill_up(&mut self) -> Result<()> {
        if self.temporary.is_some() || self.left().len() >= FEWEST_OPEN.min(self.content.open.len()) {
            return Ok(());
        }
        let (texts, mut dice) = (Texts::of(INSTRUCTION_BYTES), Rng::with_seed(3));
        let mut requests = Vec::new();
        for number in 0..FEWEST_OPEN {
            let thread = self.content.busy_thread(&mut dice)?;
            requests.push(Request::CreateTask { thread, task: new_task(number, &texts, &mut dice) });
        }
        let created = created(&self.peer.write_together(requests)?)?;
        self.expected.open += u64::try_from(created.len())?;
        self.content.open.extend(created);
        Ok(())
    }

    /// An error unless everything is there that was written, and nothing else.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.name.is_store() {
            return Ok(());
        }
        let found = self.peer.counts()?;
        ensure!(found == self.expected, "{} has {found:?}, not {:?}", self.name.label(), self.expected);
        Ok(())
    }

    /// Closes it. One that is kept can be opened again.
    pub(crate) fn close(mut self) -> Result<()> {
        self.check()?;
        drop(self.peer);
        if self.temporary.is_none() {
            self.content.open.drain(..self.taken);
            self.content.write(&self.folder)?;
        }
        Ok(())
    }
}

/// Loads so many messages and so many tasks.
pub(crate) fn load(peer: &dyn Peer, rows: usize) -> Result<Content> {
    let (messages, instructions) = (Texts::of(MESSAGE_BYTES), Texts::of(INSTRUCTION_BYTES));
    let mut dice = Rng::with_seed(1);
    let threads = created(&peer.write_together(vec![Request::CreateThread; threads_of(rows)])?)?;
    let mut open = Vec::with_capacity(rows);
    for first in (0..rows).step_by(LOAD_SLICE / 2) {
        let mut requests = Vec::with_capacity(LOAD_SLICE);
        for number in first..rows.min(first + LOAD_SLICE / 2) {
            let thread = threads.get(number % threads.len()).copied().context("a thread by turns")?;
            let step = u64::try_from(number / threads.len() / MESSAGES_PER_STEP)?;
            requests.push(Request::Append { thread, message: new_message(number, step, &messages, &mut dice) });
            requests.push(Request::CreateTask { thread, task: new_task(number, &instructions, &mut dice) });
        }
        let answers = peer.write_together(requests)?;
        let tasks = answers.into_iter().skip(1).step_by(2).collect::<Vec<_>>();
        open.extend(created(&tasks)?);
    }
    Ok(Content { threads, open })
}

pub(crate) fn new_message(number: usize, step: u64, texts: &Texts, dice: &mut Rng) -> NewMessage {
    let agent: Arc<str> = format!("agent-{}", number % 100).into();
    NewMessage { role: "assistant", content: texts.pick(dice), step, agent }
}

pub(crate) fn new_task(number: usize, texts: &Texts, dice: &mut Rng) -> NewTask {
    let role = ROLES.get(number % ROLES.len()).copied().unwrap_or("writer");
    NewTask { role, instruction: texts.pick(dice), timeout_seconds: TIMEOUT_SECONDS }
}

pub(crate) fn created(answers: &[Answer]) -> Result<Vec<Id>> {
    let id = |answer: &Answer| match answer {
        Answer::Created(id) => Ok(*id),
        other => crate::peer::unexpected(*other),
    };
    answers.iter().map(id).collect()
}
