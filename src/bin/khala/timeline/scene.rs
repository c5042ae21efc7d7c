//! What a thread's picture is of: one snapshot of the thread, and from it the lanes.
//!
//! | of a task | is drawn |
//! |---|---|
//! | that is or was finished under a claim | a bar in its agent's lane, from the claim to the end or to now |
//! | that nobody has | a line in the lane of no agent, from its creation to its end or to now |
//!
//! The store keeps a task's last claim, so earlier attempts are told of in words alone.
//!
//! Bars that overlap stand in rows below each other, and a lane has a bounded number of them: what finds no row goes into the
//! last one. Agents beyond a bound share a lane. So the height of a picture is bounded whatever the thread.

use std::collections::BTreeMap;

use khala::{Message, MessageFilter, Store, Task, TaskFilter, TaskStatus, Thread, ThreadId, ThreadStatus, Timestamp};

/// How many lanes there are at the most, those of no agent and of the rest included.
pub(crate) const LANES_MAX: usize = 60;

/// How much of an instruction or a message is kept: more than is shown.
const KEPT_CHARS: usize = 400;

/// How many tasks are read at a time: each can have 16 MiB.
const PAGE_TASKS: usize = 32;

/// A thread at one moment.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) thread: Thread,
    pub(crate) tasks: Vec<Task>,
    pub(crate) messages: Vec<Message>,
    pub(crate) now: Timestamp,
}

impl Scene {
    /// The thread as it stands; `None` if there is none with this id.
    pub(crate) fn of(store: &Store, id: ThreadId) -> khala::Result<Option<Self>> {
        store.read(|tx| {
            let Some(thread) = tx.thread(id)? else { return Ok(None) };
            let mut messages = tx.thread_messages(id, &MessageFilter::new())?;
            for message in &mut messages {
                keep_beginning(&mut message.content);
            }
            messages.sort_by_key(|message| message.id);
            let (mut tasks, mut after) = (Vec::new(), None);
            loop {
                let filter = TaskFilter::new().thread(id).limit(PAGE_TASKS);
                let page = tx.tasks(&after.map_or(filter.clone(), |cursor| filter.after(cursor)))?;
                tasks.extend(page.items.into_iter().map(|mut task| {
                    keep_beginning(&mut task.instruction);
                    task
                }));
                after = page.next;
                if after.is_none() {
                    return Ok(Some(Self { thread, tasks, messages, now: tx.now() }));
                }
            }
        })
    }

    /// From when to when the picture goes: to now while anything goes on, else to the last thing that happened.
    pub(crate) fn range(&self) -> (Timestamp, Timestamp) {
        let begun =
            self.tasks.iter().map(|task| task.created_at).chain(self.messages.iter().map(|said| said.created_at));
        let from = begun.clone().min().map_or(self.thread.created_at, |first| first.min(self.thread.created_at));
        let goes_on =
            self.thread.status == ThreadStatus::Active || self.tasks.iter().any(|task| task.finished_at.is_none());
        let ended = self.tasks.iter().filter_map(|task| task.finished_at);
        let last = begun.chain(ended).max().unwrap_or(from).max(self.thread.updated_at);
        (from, if goes_on { self.now.max(last) } else { last })
    }
}

fn keep_beginning(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(KEPT_CHARS) {
        text.truncate(end);
        text.shrink_to_fit();
        text.push('…');
    }
}

/// How what is drawn of a task came to its end, or where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    Completed,
    Failed,
    Cancelled,
    Claimed,
    TimedOut,
    Waiting,
}

impl Ending {
    pub(crate) fn of(task: &Task, now: Timestamp) -> Self {
        match task.status {
            TaskStatus::Completed => Self::Completed,
            TaskStatus::Failed => Self::Failed,
            TaskStatus::Cancelled => Self::Cancelled,
            TaskStatus::Claimed if task.expires_at.is_some_and(|moment| moment <= now) => Self::TimedOut,
            TaskStatus::Claimed => Self::Claimed,
            _ => Self::Waiting,
        }
    }

    /// What the legend says.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Claimed => "claimed",
            Self::TimedOut => "timed out, not yet taken away",
            Self::Waiting => "waiting",
        }
    }

    /// Its class in the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Claimed => "claimed",
            Self::TimedOut => "timedout",
            Self::Waiting => "waiting",
        }
    }
}

/// What is drawn of a task.
#[derive(Debug)]
pub(crate) struct Bar<'a> {
    pub(crate) task: &'a Task,
    pub(crate) ending: Ending,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Which row of its lane, from 0.
    pub(crate) row: usize,
}

/// What one agent did, from left to right.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) bars: Vec<Bar<'a>>,
    pub(crate) messages: Vec<&'a Message>,
    pub(crate) rows: usize,
}

/// Whose lane it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Owner<'a> {
    Nobody,
    Agent(&'a str),
    /// So many agents for whom there was no lane.
    Others(usize),
}

/// The lanes of a scene: that of no agent first, then the agents in the order in which they first did something.
pub(crate) fn lanes(scene: &Scene) -> Vec<Lane<'_>> {
    let (_, end) = scene.range();
    let mut owners: BTreeMap<Option<&str>, (Vec<Bar<'_>>, Vec<&Message>)> = BTreeMap::new();
    for task in &scene.tasks {
        let ending = Ending::of(task, scene.now);
        let claim = task.claimed_by.as_ref().zip(task.claimed_at);
        let (owner, from) = claim.map_or((None, task.created_at), |(agent, moment)| (Some(agent.as_str()), moment));
        let to = task.finished_at.unwrap_or(end).max(from);
        owners.entry(owner).or_default().0.push(Bar { task, ending, from, to, row: 0 });
    }
    for message in &scene.messages {
        let owner = message.agent_id.as_ref().map(khala::AgentId::as_str);
        owners.entry(owner).or_default().1.push(message);
    }
    let nobody = owners.remove(&None);
    let mut agents: Vec<_> = owners.into_iter().collect();
    agents.sort_by_key(|(name, (bars, messages))| {
        let first = bars.iter().map(|bar| bar.from).chain(messages.iter().map(|said| said.created_at)).min();
        (first, *name)
    });
    let rest = if agents.len() < LANES_MAX { Vec::new() } else { agents.split_off(LANES_MAX - 2) };
    let mut lanes = Vec::new();
    lanes.extend(nobody.map(|(bars, messages)| Lane { owner: Owner::Nobody, bars, messages, rows: 0 }));
    lanes.extend(agents.into_iter().map(|(name, (bars, messages))| {
        let owner = name.map_or(Owner::Nobody, Owner::Agent);
        Lane { owner, bars, messages, rows: 0 }
    }));
    if !rest.is_empty() {
        let mut others = Lane { owner: Owner::Others(rest.len()), bars: Vec::new(), messages: Vec::new(), rows: 0 };
        for (_, (bars, messages)) in rest {
            others.bars.extend(bars);
            others.messages.extend(messages);
        }
        others.messages.sort_by_key(|message| message.id);
        lanes.push(others);
    }
    let most = rows_max(lanes.len());
    for lane in &mut lanes {
        lane.lay_out(most);
    }
    lanes
}

/// How many rows a lane has at the most, so that many lanes are each less high.
fn rows_max(lanes: usize) -> usize {
    match lanes {
        0..=12 => 12,
        13..=30 => 5,
        _ => 2,
    }
}

impl Lane<'_> {
    /// Gives each bar the first row in which nothing stands any more where it begins.
    fn lay_out(&mut self, most: usize) {
        self.bars.sort_by_key(|bar| (bar.from, bar.task.id));
        let mut ends: Vec<Timestamp> = Vec::new();
        for bar in &mut self.bars {
            bar.row = match ends.iter().position(|end| *end <= bar.from) {
                Some(row) => row,
                None if ends.len() < most => ends.len(),
                None => most.saturating_sub(1),
            };
            match ends.get_mut(bar.row) {
                Some(end) => *end = bar.to.max(*end),
                None => ends.push(bar.to),
            }
        }
        self.rows = ends.len();
    }

    /// How many bars stand in the last row for want of another.
    pub(crate) fn crowded(&self) -> usize {
        let mut ends: BTreeMap<usize, Timestamp> = BTreeMap::new();
        let mut crowded = 0;
        for bar in &self.bars {
            crowded += usize::from(ends.get(&bar.row).is_some_and(|end| *end > bar.from));
            let end = ends.entry(bar.row).or_insert(bar.to);
            *end = bar.to.max(*end);
        }
        crowded
    }
}
