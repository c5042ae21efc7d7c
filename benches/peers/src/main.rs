//! khala beside its rivals: the same work, durable, on the same file system, by turns.
//!
//! ```text
//!   options ──> work, written once over the trait Peer ──> samples ──> tables, charts, goals
//!                        │
//!                        └── peers: khala, SQLite twice, LMDB, fjall, redb, the raw disk
//! ```
//!
//! | file | is about |
//! |---|---|
//! | `options.rs` | the command line, and what it comes to |
//! | `peer.rs`, `peers/` | what a peer is, and each of them |
//! | `rival.rs`, `queue.rs` | an engine as a peer, with group commit by khala's own scheme, or without |
//! | `kv/` | tables, rows and operations for the engines that know only ordered keys |
//! | `loaded.rs`, `text.rs`, `ids.rs`, `clock.rs` | what is in a store before anything is measured |
//! | `work/`, `crew.rs`, `child.rs` | the work, threads that do it together, and processes that can be killed |
//! | `measure.rs`, `recorder.rs`, `machine.rs` | what was measured, what it comes to, and where |
//! | `report.rs`, `chart.rs`, `goals.rs`, `format.rs` | how it is shown |
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` does all of it; `-- --help` says how to do less.

mod chart;
mod child;
mod clock;
mod crew;
mod format;
mod goals;
mod ids;
mod kv;
mod loaded;
mod machine;
mod measure;
mod options;
mod peer;
mod peers;
mod queue;
mod recorder;
mod report;
mod rival;
mod text;
mod work;

use anyhow::{Context, Result};
use clap::Parser;

use crate::machine::Machine;
use crate::measure::Results;
use crate::options::{Options, Plan};
use crate::recorder::Recorder;

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(child) = &options.child {
        return child::run(child);
    }
    let results = match &options.from {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} holds no raw figures", file.display()))?
        }
        None => measure(&options)?,
    };
    let out = options.out()?;
    for file in report::write(&results, &out)? {
        println!("written: {}", file.display());
    }
    if options.check {
        goals::print(&results);
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Results> {
    let (plan, folder) = (options.plan()?, options.folder()?);
    let machine = Machine::of(&folder.path)?;
    println!("{}; stores in {}", machine.describe(), folder.path.display());
    if machine.is_in_memory() {
        println!("A sync reaches no disk there: --folder should name one that is on a disk.");
    }
    if cfg!(debug_assertions) {
        println!("This is a debug build: no figure means anything.");
    }
    let mut recorder = Recorder::new(about(&plan, machine));
    work::run(&plan, &folder.path, options.reuse, &mut recorder)?;
    Ok(recorder.finish())
}

/// The results before there are any.
fn about(plan: &Plan, machine: Machine) -> Results {
    let arguments = shaping(std::env::args().skip(1));
    let separator = if arguments.is_empty() { "" } else { " -- " };
    Results {
        machine,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        command: format!(
            "cargo run --release --manifest-path benches/peers/Cargo.toml{separator}{}",
            arguments.join(" ")
        ),
        set_up: plan.peers.iter().map(|peer| (*peer, peer.set_up())).collect(),
        rounds: plan.rounds,
        slice_seconds: plan.slice.as_secs_f64(),
        took_seconds: 0.0,
        samples: Vec::new(),
    }
}

/// Those arguments that say what is measured and how, not where files go or what is done with the figures.
fn shaping(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut shaping = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--folder" | "--out" => {
                arguments.next();
            }
            "--check" | "--reuse" => {}
            _ if argument.starts_with("--folder=") || argument.starts_with("--out=") => {}
            _ => shaping.push(argument),
        }
    }
    shaping
}
