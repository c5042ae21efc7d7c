//! How far the agents are: what they share beside the store, and the lines they print.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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
    is_stopped: AtomicBool,
    state: Mutex<State>,
}

/// What the printed lines tell of, changed in one step with them.
struct State {
    unfinished: BTreeSet<TaskId>,
    finished: Vec<TaskId>,
    last_finish: Instant,
    /// How long all stood idle until claims timed out.
    waited: Duration,
}

impl Board {
    pub(crate) fn new(plan: &Plan, listing: &Listing) -> Self {
        let state = State {
            unfinished: plan.open().collect(),
            finished: Vec::new(),
            last_finish: Instant::now(),
            waited: Duration::ZERO,
        };
        let base = listing.folder.parent().unwrap_or(&listing.folder).to_owned();
        let widths = listing.files.iter().map(|file| short(&shown_below(&base, file)).chars().count());
        let path_width = widths.max().unwrap_or(0);
        Self { base, path_width, is_stopped: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Sends every agent home after the task it has in hand.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// The file a task is about, as people are told of it.
    pub(crate) fn file_of(&self, task: &Task) -> String {
        shown_below(&self.base, &task.instruction)
    }

    /// Notes a task in hand: also one that an earlier run left and that was reopened only now.
    pub(crate) fn take(&self, task: TaskId) {
        self.state().unfinished.insert(task);
    }

    /// Notes a task as finished, and says so.
    pub(crate) fn finish(&self, agent: &AgentId, task: &Task, headline: &str) -> io::Result<()> {
        let file = short(&self.file_of(task));
        let mut state = self.state();
        state.unfinished.remove(&task.id);
        state.finished.push(task.id);
        state.last_finish = Instant::now();
        let (done, total) = (state.finished.len(), state.finished.len() + state.unfinished.len());
        let digits = total.to_string().len();
        let width = self.path_width;
        // The lock is held until the line is out, so that the numbers come in order.
        writeln!(io::stdout(), "[{done:>digits$}/{total}] {agent:<9} {file:<width$}  {headline}")
    }

    /// Says something that finishes no task.
    pub(crate) fn tell(&self, agent: &AgentId, what: &str) -> io::Result<()> {
        let state = self.state();
        let total = state.finished.len() + state.unfinished.len();
        let indent = total.to_string().len() * 2 + 3;
        writeln!(io::stdout(), "{:indent$} {agent:<9} {what}", "")
    }

    /// Notes that claims were reopened, which all had been waiting for since the last task was finished.
    pub(crate) fn end_wait(&self) {
        let mut state = self.state();
        let waited = state.last_finish.elapsed();
        state.waited += waited;
        state.last_finish = Instant::now();
    }

    pub(crate) fn is_all_finished(&self) -> bool {
        self.state().unfinished.is_empty()
    }

    pub(crate) fn finished(&self) -> Vec<TaskId> {
        self.state().finished.clone()
    }

    pub(crate) fn waited(&self) -> Duration {
        self.state().waited
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown_below(base: &Path, path: &str) -> String {
    let path = Path::new(path);
    shown(path.strip_prefix(base).unwrap_or(path))
}
