//! A process of its own that works in the store until it is killed: what it was told is on the disk, it tells us.
//!
//! It writes a line for each thing that happens, after it happened:
//!
//! ```text
//! claimed ada page-01
//! done ada page-01
//! ```

use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use super::crew::{self, News, SLEEPER, What};
use crate::failure::Failure;
use crate::{Answer, Result};

/// The argument by which this program is told to be that process.
pub(crate) const ARGUMENT: &str = "--doomed";

/// What that process does.
pub(crate) fn live(file: &Path) -> Result {
    let store = khala::Store::open(file)?;
    let thread = crew::plan(&store)?;
    let (sender, news) = mpsc::channel();
    crew::start(&store, thread, SLEEPER, &sender);
    drop(sender);
    // The sleeper goes home long after it was to be killed.
    for News { what, agent, task } in news {
        let what = match what {
            What::Claimed { .. } => "claimed",
            What::Done => "done",
            What::TurnedAway => continue,
        };
        writeln!(io::stdout(), "{what} {agent} {task}").map_err(Failure::of_output)?;
    }
    Ok(Answer::Yes)
}

/// That process, seen from outside. It does not outlive this.
pub(crate) struct Doomed {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Doomed {
    pub(crate) fn start(file: &Path) -> Result<Self> {
        let failed = |error: io::Error| Failure::other(format!("cannot start this program once more: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(["demo", ARGUMENT])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdout = process.stdout.take().ok_or_else(|| Failure::other("the second process has no output"))?;
        Ok(Self { process, lines: BufReader::new(stdout).lines() })
    }

    /// What it tells next.
    pub(crate) fn next(&mut self) -> Result<News> {
        let line = self.lines.next().transpose().ok().flatten();
        let line = line.ok_or_else(|| Failure::other("the second process ended before it was killed"))?;
        let mut words = line.split(' ').map(str::to_owned);
        match (words.next().as_deref(), words.next(), words.next()) {
            (Some("claimed"), Some(agent), Some(task)) => {
                Ok(News { what: What::Claimed { again: false }, agent, task })
            }
            (Some("done"), Some(agent), Some(task)) => Ok(News { what: What::Done, agent, task }),
            _ => Err(Failure::other(format!("the second process said {line:?}"))),
        }
    }

    /// Ends it as `kill -9` does: it gets no chance to do anything about it. What it told before and nobody has read yet is
    /// given back.
    pub(crate) fn kill(mut self) -> Result<Vec<News>> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map_err(|error| Failure::other(format!("cannot kill the second process: {error}")))?;
        let mut rest = Vec::new();
        // The last line may be torn.
        while let Ok(news) = self.next() {
            rest.push(news);
        }
        Ok(rest)
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // It is dead already, unless the demonstration failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
