//! Several agents review the text files of a folder, and share one store to do it.
//!
//! ```text
//! cargo run --release --example review -- <folder> [--agents N] [--store FILE]
//! ```
//!
//! Each file is a task in a thread opened for the folder. The agents, each on an OS thread of its own, race for the oldest
//! open task, and who comes too late waits for the next; nobody polls. Who gets a claim examines the file, reads what the
//! thread already knows, posts its review under the claim and completes the task in one transaction. A file that cannot
//! be read is tried again a little later, three times at most. One agent dies with a claim in hand: the claim times out,
//! another does the task, and when the dead one comes back it is turned away. At the end the store itself is asked
//! whether every task was done exactly once, and the threads are finished with what was found.
//!
//! | file | is about |
//! |---|---|
//! | `options.rs` | the command line |
//! | `folder.rs` | which files there are |
//! | `plan.rs` | what is to be done: a thread with its tasks, and what earlier runs left |
//! | `crew.rs` | the agents: claim, review, crash, come back |
//! | `board.rs` | how far they are, on the screen |
//! | `examine.rs` | what is true of a text |
//! | `note.rs` | a review as it stands in its message |
//! | `verdict.rs` | the check against the store |
//! | `report.rs` | the summary |

mod board;
mod crew;
mod examine;
mod folder;
mod note;
mod options;
mod plan;
mod report;
mod verdict;

use std::error::Error;
use std::io::{self, Write};
use std::iter;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use khala::{Store, ThreadStatus};

use board::Board;
use folder::Listing;
use options::{Asked, Options};
use plan::Plan;
use report::Report;
use verdict::Verdict;

/// How much of a path is shown.
const PATH_MOST_CHARS: usize = 48;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Help) => write!(io::stdout(), "{}", options::HELP).map_err(Into::into),
        Ok(Asked::Review(options)) => review(&options),
        Err(mistake) => {
            complain(&format!("{mistake}; try --help"));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            // Only the output fails with a bare error of the system; all else names its file.
            let what = if error.is::<io::Error>() { "cannot write the output: " } else { "" };
            complain(&format!("{what}{error}"));
            ExitCode::FAILURE
        }
    }
}

fn review(options: &Options) -> Result<()> {
    // The folder comes first, so that a mistyped one leaves no store behind.
    let listing = folder::list(&options.folder, &options.store)?;
    let store = Store::open(&options.store)?;
    let outcome = review_with(&store, options, &listing);
    match store.failure() {
        Some(failure) => outcome.map_err(|error| format!("{error} ({failure})").into()),
        None => outcome,
    }
}

fn review_with(store: &Store, options: &Options, listing: &Listing) -> Result<()> {
    let began = Instant::now();
    let plan = Plan::make(store, listing)?;
    announce(options, listing, &plan)?;
    if plan.threads().next().is_none() {
        return Ok(());
    }
    writeln!(io::stdout())?;
    let board = Board::new(&plan, listing);
    let tallies = crew::work(store, &board, options.agents)?;
    let took = began.elapsed();

    let verdict = Verdict::on(store, &plan)?;
    if verdict.as_result().is_ok() {
        for thread in &verdict.threads {
            let summary = report::findings(std::slice::from_ref(thread)).join("\n");
            store.finish_thread(thread.id, ThreadStatus::Completed, Some(&summary))?;
        }
    }
    store.verify()?;
    Report { plan: &plan, board: &board, tallies: &tallies, verdict: &verdict, took }.print()?;
    verdict.as_result()
}

fn announce(options: &Options, listing: &Listing, plan: &Plan) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let folder = shown(&listing.folder);
    match plan.thread {
        Some(thread) => {
            let files = counted(listing.files.len(), "file");
            writeln!(out, "Reviewing {files} in {folder} with {}.", counted(options.agents, "agent"))?;
            writeln!(out, "The store is {}, the thread {thread}.", shown(&options.store))?;
        }
        None => writeln!(out, "There is no file to review in {folder}.")?,
    }
    for line in listing.left_out() {
        writeln!(out, "{line}.")?;
    }
    if !plan.earlier.is_empty() {
        let (tasks, threads) = (counted(plan.earlier.len(), "task"), counted(plan.earlier_threads.len(), "thread"));
        writeln!(out, "Earlier runs left {tasks} of {threads} unfinished; being older, they come first.")?;
    }
    Ok(())
}

/// Standard error may be closed as well, and then there is nobody left to tell.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "review: {what}");
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A path as it can be printed.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Text from outside as it can be printed: it may hold line breaks and terminal codes.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { printable.extend(char.escape_default()) } else { printable.push(char) }
    }
    printable
}

/// The path, or its end where all of it would not fit in a line: the end tells files apart.
fn short(path: &str) -> String {
    match path.chars().count().checked_sub(PATH_MOST_CHARS) {
        None | Some(0) => path.to_owned(),
        Some(surplus) => iter::once('…').chain(path.chars().skip(surplus + 1)).collect(),
    }
}

/// `1 file`, `1,234 files`.
fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let number = grouped(count);
    match thing.strip_suffix('y') {
        _ if count == 1 => format!("{number} {thing}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {thing}s"),
    }
}

/// The number with a comma before every third digit from the right.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
