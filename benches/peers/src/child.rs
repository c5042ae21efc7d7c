//! What the child processes do. A child says what came out in one line of JSON on its standard output.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::crew::{More, work_together};
use crate::loaded::{Content, INSTRUCTION_BYTES, MESSAGE_BYTES, load, new_message, new_task};
use crate::machine::peak_memory_bytes;
use crate::options::Child;
use crate::peer::{Check, Counts, PeerName};
use crate::text::Texts;

/// How many threads write until they are killed.
const WRITERS: usize = 8;

/// What loading took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoadFigures {
    pub(crate) seconds: f64,
    pub(crate) peak_memory_bytes: u64,
}

/// How far a writer is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Said {
    Writing,
    Checkpointed,
    NoCheckpoint,
}

pub(crate) fn run(child: &Child) -> Result<()> {
    match child {
        Child::Load { peer, folder, rows } => load_store(*peer, folder, *rows),
        Child::Open { peer, folder, checked } => open(*peer, folder, if *checked { Check::On } else { Check::Off }),
        Child::Write { peer, folder, writes, checkpoint } => write(*peer, folder, *writes, *checkpoint),
    }
}

fn load_store(name: PeerName, folder: &Path, rows: usize) -> Result<()> {
    let began = Instant::now();
    let peer = name.open(folder, &Clock::default(), Check::Off)?;
    let content = load(peer.as_ref(), rows)?;
    let seconds = began.elapsed().as_secs_f64();
    let peak_memory_bytes = peak_memory_bytes().context("the kernel says how much memory there was")?;
    let (found, rows) = (peer.counts()?, u64::try_from(rows)?);
    ensure!(found == Counts { messages: rows, open: rows, ..Counts::default() }, "it has {found:?}");
    // Closed before the parent hears of it, and looks at what is on the disk.
    drop(peer);
    content.write(folder)?;
    say(&LoadFigures { seconds, peak_memory_bytes })
}

fn open(name: PeerName, folder: &Path, check: Check) -> Result<()> {
    let began = Instant::now();
    let peer = name.open(folder, &Clock::default(), check)?;
    // Some recover only when they are first asked something.
    let seen = peer.open_tasks(1)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(seen.rows == 1, "there is no open task");
    drop(peer);
    say(&seconds)
}

/// Writes new messages and tasks, so that those the parent knows stay as they are.
fn write(name: PeerName, folder: &Path, writes: usize, checkpoint: bool) -> Result<()> {
    let peer = name.open(folder, &Clock::default(), Check::Off)?;
    let content = Content::read(folder)?;
    let (messages, instructions) = (Texts::of(MESSAGE_BYTES), Texts::of(INSTRUCTION_BYTES));
    let written = AtomicUsize::new(0);
    work_together(WRITERS, Duration::MAX, |worker| {
        let (thread, number) = (content.busy_thread(&mut worker.dice)?, written.fetch_add(1, Ordering::Relaxed));
        if number.is_multiple_of(2) {
            peer.append(thread, new_message(number, 1_000, &messages, &mut worker.dice))?;
        } else {
            peer.create_task(thread, new_task(number, &instructions, &mut worker.dice))?;
        }
        if number == writes && !checkpoint {
            say(&Said::Writing)?;
        }
        Ok(if number >= writes && checkpoint { More::No } else { More::Yes })
    })?;
    say(if peer.checkpoint()? { &Said::Checkpointed } else { &Said::NoCheckpoint })?;
    loop {
        std::thread::park();
    }
}

fn say(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}
