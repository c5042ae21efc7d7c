//! How far the agents are: what they share beside the store, and the lines they print.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use khala::{AgentId, Task, TaskId};

use crate::folder::Listing;
use crate::plan::Plan;
use crate::{short, shown};

/// Seen by every agent of a run.
pub(crate) struct Board {
    /// What paths are shown relative to: the folder in which the reviewed one is.
    base: PathBuf,
    path_width: usize,
    state: Mutex<State>,
}

/// What the printed lines tell of, changed in one step with them.
struct State {
    unfinished: BTreeSet<TaskId>,
    finished: usize,
    last_finish: Instant,
    longest_pause: Duration,
}

impl Board {
    pub(crate) fn new(plan: &Plan, listing: &Listing) -> Self {
        let state = State {
            unfinished: plan.open().collect(),
            finished: 0,
            last_finish: Instant::now(),
            longest_pause: Duration::ZERO,
        };
        let base = listing.folder.parent().unwrap_or(&listing.folder).to_owned();
        let widths = listing.files.iter().map(|file| short(&shown_below(&base, file)).chars().count());
        let path_width = widths.max().unwrap_or(0);
        Self { base, path_width, state: Mutex::new(state) }
    }

    /// The file a task is about, as people are told of it.
    pub(crate) fn file_of(&self, task: &Task) -> String {
        shown_below(&self.base, &task.instruction)
    }

    /// Notes a task in hand: also one for this role that somebody else has put into the store.
    pub(crate) fn take(&self, task: &Task) {
        self.state().unfinished.insert(task.id);
    }

    /// Notes a task as finished, and says so, unless that was done.
    pub(crate) fn finish(&self, agent: &AgentId, task: &Task, headline: &str) -> io::Result<()> {
        let file = short(&self.file_of(task));
        let mut state = self.state();
        if !state.unfinished.remove(&task.id) {
            return Ok(());
        }
        state.finished += 1;
        state.longest_pause = state.longest_pause.max(state.last_finish.elapsed());
        state.last_finish = Instant::now();
        let (done, total) = (state.finished, state.finished + state.unfinished.len());
        let digits = total.to_string().len();
        let width = self.path_width;
        // The lock is held until the line is out, so that the numbers come in order.
        writeln!(io::stdout(), "[{done:>digits$}/{total}] {agent:<9} {file:<width$}  {headline}")
    }

    /// Says something that finishes no task.
    pub(crate) fn tell(&self, agent: &AgentId, what: &str) -> io::Result<()> {
        let state = self.state();
        let total = state.finished + state.unfinished.len();
        let indent = total.to_string().len() * 2 + 3;
        writeln!(io::stdout(), "{:indent$} {agent:<9} {what}", "")
    }

    pub(crate) fn is_all_finished(&self) -> bool {
        self.state().unfinished.is_empty()
    }

    pub(crate) fn unfinished(&self) -> BTreeSet<TaskId> {
        self.state().unfinished.clone()
    }

    /// The longest time without a task finished.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.state().longest_pause
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown_below(base: &Path, path: &str) -> String {
    let path = Path::new(path);
    shown(path.strip_prefix(base).unwrap_or(path))
}
