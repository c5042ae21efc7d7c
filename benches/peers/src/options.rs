//! What to measure, and how: the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::measure::Work;
use crate::peer::PeerName;

/// Stores of fewer rows are made anew for every slice, so that they stay as small as they are said to be.
const FRESH_BELOW_ROWS: usize = 100_000;

/// khala beside its rivals: the same work, durable, on the same file system, by turns.
///
/// Without any option everything is measured, which takes about 25 minutes, and `docs/benchmarks.md` is written with its
/// charts and raw figures. A selection is written beside the build instead, unless `--out` says where.
#[derive(Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Options {
    /// Who takes part
    #[arg(long, value_delimiter = ',', value_name = "PEER,…")]
    peers: Vec<PeerName>,

    /// What is done
    #[arg(long, value_delimiter = ',', value_name = "WORK,…")]
    work: Vec<Work>,

    /// How many rows: so many messages and so many tasks
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    rows: Vec<usize>,

    /// How many threads write [default: 1,2,8,32,128, and 32 for drain]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    threads: Vec<usize>,

    /// How often each is measured [default: 5]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// How long one slice of work lasts [default: 0.3]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,

    /// Where the stores go, and stay [default: a temporary folder beside the build]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Take the large stores that an earlier run left in --folder instead of loading them
    #[arg(long, requires = "folder")]
    pub(crate) reuse: bool,

    /// Everything once and small, in less than a minute: it shows that everything works, and no figure means anything
    #[arg(long)]
    pub(crate) short: bool,

    /// The file the tables are written to, with charts and raw figures beside it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Compare with the goals, and say which are reached
    #[arg(long)]
    pub(crate) check: bool,

    /// Measure nothing: take the raw figures of an earlier run
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) child: Option<Child>,
}

/// What a child process does for its parent: what has to be seen in a process of its own.
#[derive(Clone, Debug, Subcommand)]
#[command(hide = true)]
pub(crate) enum Child {
    /// Load a store, and say how long it took and how much memory
    Load { peer: PeerName, folder: PathBuf, rows: usize },
    /// Open a store, and say how long it took until the first answer
    Open {
        peer: PeerName,
        folder: PathBuf,
        #[arg(long)]
        checked: bool,
    },
    /// Write until somebody kills it
    Write {
        peer: PeerName,
        folder: PathBuf,
        /// How many writes come before it says that it is writing
        writes: usize,
        /// Then stop, make a checkpoint if there is such a thing, and wait
        #[arg(long)]
        checkpoint: bool,
    },
}

impl Options {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let short = self.short;
        let given = |list: &[usize], default: &[usize]| if list.is_empty() { default.to_vec() } else { list.to_vec() };
        let plan = Plan {
            peers: if self.peers.is_empty() { PeerName::value_variants().to_vec() } else { self.peers.clone() },
            work: if self.work.is_empty() { Work::value_variants().to_vec() } else { self.work.clone() },
            rows: given(&self.rows, if short { &[1_000, 5_000] } else { &[10_000, 1_000_000] }),
            threads: given(&self.threads, if short { &[1, 8] } else { &[1, 2, 8, 32, 128] }),
            drain_threads: given(&self.threads, &[32]),
            drain_tasks: if short { 500 } else { 10_000 },
            queue_tasks: if short { 1_000 } else { 100_000 },
            rounds: self.rounds.unwrap_or(if short { 1 } else { 5 }),
            slice: Duration::from_secs_f64(self.seconds.unwrap_or(if short { 0.02 } else { 0.3 })),
            writes_before_kill: if short { 50 } else { 1_000 },
            fresh_below_rows: if short { 5_000 } else { FRESH_BELOW_ROWS },
        };
        ensure!(plan.rows.iter().all(|rows| *rows >= 100), "a store has at least 100 rows");
        ensure!(plan.threads.iter().all(|threads| *threads >= 1), "at least one thread does the work");
        ensure!(plan.rounds >= 1, "at least one round is measured");
        ensure!(!plan.slice.is_zero(), "a slice takes time");
        Ok(plan)
    }

    /// The folder that stores go to.
    pub(crate) fn folder(&self) -> Result<Folder> {
        if let Some(folder) = &self.folder {
            std::fs::create_dir_all(folder)?;
            return Ok(Folder { path: folder.clone(), _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("peers-").tempdir_in(beside_the_build()?)?;
        Ok(Folder { path: temporary.path().into(), _temporary: Some(temporary) })
    }

    /// The file that the tables go to.
    pub(crate) fn out(&self) -> Result<PathBuf> {
        let is_everything = !self.short
            && self.peers.is_empty()
            && self.work.is_empty()
            && self.rows.is_empty()
            && self.threads.is_empty();
        match &self.out {
            Some(file) => Ok(file.clone()),
            None if is_everything => Ok(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md")),
            None => Ok(beside_the_build()?.join("benchmarks.md")),
        }
    }
}

/// Where stores are for as long as the run lasts, or longer.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// What a run does.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) peers: Vec<PeerName>,
    work: Vec<Work>,
    pub(crate) rows: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) drain_threads: Vec<usize>,
    pub(crate) drain_tasks: usize,
    pub(crate) queue_tasks: usize,
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    pub(crate) writes_before_kill: usize,
    pub(crate) fresh_below_rows: usize,
}

impl Plan {
    pub(crate) fn wants(&self, work: Work) -> bool {
        self.work.contains(&work)
    }

    pub(crate) fn most_rows(&self) -> usize {
        self.rows.iter().copied().max().unwrap_or_default()
    }

    /// Whether a store of so many rows is loaded once and used on.
    pub(crate) fn is_kept(&self, rows: usize) -> bool {
        rows >= self.fresh_below_rows
    }

    /// Those who keep something.
    pub(crate) fn stores(&self) -> Vec<PeerName> {
        self.peers.iter().copied().filter(|peer| peer.is_store()).collect()
    }
}

/// These in this round's order: everybody comes first in turn.
pub(crate) fn in_turn<T>(round: usize, mut all: Vec<T>) -> Vec<T> {
    let first = round % all.len().max(1);
    all.rotate_left(first);
    all
}

/// The folder of the build, which is on a disk.
fn beside_the_build() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).context("the program lies in the folder of its build")?.to_owned())
}
