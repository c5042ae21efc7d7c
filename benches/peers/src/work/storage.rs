//! Loading the stores that are kept, and opening them again: each in a child process, whose memory is its own and which
//! can be killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::{kept_rows, quiet};
use crate::child::{LoadFigures, Said};
use crate::loaded::Content;
use crate::machine::bytes_on_disk;
use crate::measure::{Measure, Place};
use crate::options::{Plan, in_turn};
use crate::peer::{Check, PeerName};
use crate::recorder::Recorder;

/// Opening takes seconds in some cases and varies little.
const MOST_ROUNDS: usize = 3;

/// The folder of a store that is kept.
pub(super) fn folder(base: &Path, peer: PeerName, rows: usize) -> PathBuf {
    base.join(format!("{}-{rows}", argument(peer)))
}

/// Loads what is not there to be used again.
pub(super) fn load_kept(plan: &Plan, base: &Path, reuse: bool, recorder: &mut Recorder) -> Result<()> {
    for rows in kept_rows(plan) {
        let mut loaded = false;
        for peer in plan.stores() {
            let folder = folder(base, peer, rows);
            if reuse && Content::is_in(&folder) {
                continue;
            }
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            quiet(base)?;
            let rows_text = rows.to_string();
            let mut child = start(&["load", &argument(peer), path(&folder)?, &rows_text])?;
            let figures: LoadFigures = serde_json::from_str(&said(&mut child)?)?;
            ensure!(child.process.wait()?.success(), "{} could not be loaded", peer.label());
            let place = |measure| Place { measure, rows, threads: 1 };
            recorder.add(place(Measure::LoadTime), peer, 0, figures.seconds);
            #[expect(clippy::cast_precision_loss, reason = "bytes of one machine")]
            for (measure, bytes) in
                [(Measure::LoadMemory, figures.peak_memory_bytes), (Measure::DiskBytes, bytes_on_disk(&folder)?)]
            {
                recorder.add(place(measure), peer, 0, bytes as f64);
            }
            loaded = true;
        }
        if loaded {
            for measure in [Measure::LoadTime, Measure::LoadMemory, Measure::DiskBytes] {
                recorder.tell(Place { measure, rows, threads: 1 });
            }
        }
    }
    Ok(())
}

/// Opens the largest store again and again, each time until it has answered a first question: one that was killed, and
/// then, as it is closed in order after that, one that was closed.
pub(super) fn reopen(plan: &Plan, base: &Path, recorder: &mut Recorder) -> Result<()> {
    let rows = plan.most_rows();
    let place = |measure| Place { measure, rows, threads: 1 };
    for round in 0..plan.rounds.min(MOST_ROUNDS) {
        for peer in in_turn(round, plan.stores()) {
            let store = Reopened { plan, peer, folder: folder(base, peer, rows), base };
            let mut measured = vec![];
            store.kill_while_writing()?;
            measured.push((Measure::ReopenKilled, store.open(Check::Off)?));
            measured.push((Measure::ReopenClean, store.open(Check::Off)?));
            if peer == PeerName::Khala {
                store.kill_while_writing()?;
                measured.push((Measure::ReopenKilledChecked, store.open(Check::On)?));
                measured.push((Measure::ReopenCleanChecked, store.open(Check::On)?));
            }
            if store.kill_after_checkpoint()? {
                measured.push((Measure::ReopenCheckpointed, store.open(Check::Off)?));
            }
            for (measure, seconds) in measured {
                recorder.add(place(measure), peer, round, seconds);
            }
        }
    }
    for measure in [
        Measure::ReopenClean,
        Measure::ReopenKilled,
        Measure::ReopenCheckpointed,
        Measure::ReopenCleanChecked,
        Measure::ReopenKilledChecked,
    ] {
        recorder.tell(place(measure));
    }
    Ok(())
}

/// A store that is opened in child processes.
struct Reopened<'a> {
    plan: &'a Plan,
    peer: PeerName,
    folder: PathBuf,
    base: &'a Path,
}

impl Reopened<'_> {
    fn kill_while_writing(&self) -> Result<()> {
        let mut writer = self.write(&[])?;
        said(&mut writer)?;
        writer.kill()
    }

    /// Whether it has such a thing as a checkpoint.
    fn kill_after_checkpoint(&self) -> Result<bool> {
        let mut writer = self.write(&["--checkpoint"])?;
        let said: Said = serde_json::from_str(&said(&mut writer)?)?;
        writer.kill()?;
        if said == Said::NoCheckpoint {
            // It was killed all the same: opened once, it is closed in order.
            self.open(Check::Off)?;
        }
        Ok(said == Said::Checkpointed)
    }

    fn write(&self, more: &[&str]) -> Result<Started> {
        let writes = self.plan.writes_before_kill.to_string();
        let arguments = ["write", &argument(self.peer), path(&self.folder)?, &writes];
        start(&[&arguments, more].concat())
    }

    fn open(&self, check: Check) -> Result<f64> {
        quiet(self.base)?;
        let more: &[&str] = if check == Check::On { &["--checked"] } else { &[] };
        let mut child = start(&[&["open", &argument(self.peer), path(&self.folder)?], more].concat())?;
        let seconds = serde_json::from_str(&said(&mut child)?)?;
        ensure!(child.process.wait()?.success(), "{} could not be opened again", self.peer.label());
        Ok(seconds)
    }
}

/// A child process, ended with its handle.
struct Started {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Started {
    fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already, or there is nobody left who wants to hear of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This program again, as a child with this to do.
fn start(arguments: &[&str]) -> Result<Started> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(process.stdout.take().context("its output is piped")?);
    Ok(Started { process, output })
}

/// The next line that a child says.
fn said(child: &mut Started) -> Result<String> {
    let mut line = String::new();
    child.output.read_line(&mut line)?;
    ensure!(!line.is_empty(), "a child process ended without a word");
    Ok(line)
}

fn argument(peer: PeerName) -> String {
    peer.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn path(folder: &Path) -> Result<&str> {
    folder.to_str().context("the folder's name is text")
}
