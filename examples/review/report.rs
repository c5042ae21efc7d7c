//! The summary, for a person to read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use khala::Timestamp;

use crate::board::Board;
use crate::crew::{Crash, Tally};
use crate::examine::{BINARY, EMPTY, NOT_READ};
use crate::note::Note;
use crate::plan::Plan;
use crate::verdict::{Reviewed, Verdict};
use crate::{as_u64, counted, grouped, printable, short};

/// How many of the words that recur are told.
const WORDS_TOLD: usize = 8;

/// How long a list of files may grow that have something in common.
const FILES_MOST_CHARS: usize = 100;

/// How many of the files that could not be read are told.
const FAILED_TOLD: usize = 5;

/// An agent that claimed nothing gets no line of its own in a table longer than this.
const LINES_MOST: usize = 16;

/// All that a summary is made of.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) board: &'a Board,
    pub(crate) tallies: &'a [Tally],
    pub(crate) verdict: &'a Verdict,
    /// From the first operation to the last task.
    pub(crate) took: Duration,
}

impl Report<'_> {
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.print_table(&mut out)?;
        let findings = findings(&self.verdict.threads);
        let sections = [("Findings", findings), ("The crash", self.crash()), ("The store", self.store())];
        for (title, lines) in sections {
            writeln!(out, "\n{title}")?;
            for line in lines {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nagent       done  failed   won  lost  given  turned away")?;
        let (named, idle): (Vec<_>, Vec<_>) =
            self.tallies.iter().partition(|tally| self.tallies.len() <= LINES_MOST || tally.won + tally.given > 0);
        for tally in named {
            writeln!(out, "{}", row(tally.agent.as_str(), &[tally]))?;
        }
        if !idle.is_empty() {
            writeln!(out, "{}", row(&counted(idle.len(), "other"), &idle))?;
        }
        writeln!(out, "{}", row("together", &self.tallies.iter().collect::<Vec<_>>()))
    }

    fn crash(&self) -> Vec<String> {
        let crashed = self.tallies.iter().find_map(|tally| Some((tally, tally.crash.as_ref()?)));
        match crashed {
            Some((tally, crash)) => self.crash_story(tally, crash),
            None if self.tallies.len() < 2 => vec!["none: one agent alone has nobody to take over from it".into()],
            None => vec!["none: there was no task to crash over".into()],
        }
    }

    fn crash_story(&self, tally: &Tally, crash: &Crash) -> Vec<String> {
        let (agent, file) = (&tally.agent, short(&crash.file));
        let claimed = crash.claim.task.claimed_at.map(|moment| self.time(moment)).unwrap_or_default();
        let expired = self.time(crash.claim.expires_at());
        let mut story = vec![format!("{claimed}  {agent} claims {file} and dies with its review unposted")];
        story.push(format!("{expired}  its claim times out"));
        if let Some(task) = &crash.came_back_to {
            let at = |moment: Option<Timestamp>| moment.map(|moment| self.time(moment)).unwrap_or_default();
            if let Some(by) = &task.claimed_by {
                story.push(format!("{}  {by} is given the task, which is open again", at(task.claimed_at)));
            }
            story.push(format!("{}  it is {}", at(task.finished_at), task.status));
            story.push(format!(
                "{:>9}  {agent} is back and turned away; nothing of its review is in the thread",
                "then"
            ));
        }
        story
    }

    /// Seconds from the start of the run, in the store's time.
    fn time(&self, moment: Timestamp) -> String {
        format!("{:>7.3} s", moment.duration_since(self.plan.began_at).as_secs_f64())
    }

    fn store(&self) -> Vec<String> {
        let Verdict { tasks, done_once, done_twice, not_done, .. } = self.verdict;
        let failed: usize = self.verdict.threads.iter().map(|thread| thread.failed.len()).sum();
        let raced_for: BTreeSet<_> = self.tallies.iter().flat_map(|tally| &tally.lost).collect();
        let lost: usize = self.tallies.iter().map(|tally| tally.lost.len()).sum();
        let (took, pause) = (self.took.as_secs_f64(), self.board.longest_pause().as_secs_f64());
        vec![
            format!(
                "done once: {done_once} of {tasks}, with one review, posted under the claim that completed the task"
            ),
            format!("done twice: {done_twice}, failed: {failed}, not done: {not_done}"),
            format!(
                "raced for: {}; {} came too late and got nothing",
                counted(raced_for.len(), "task"),
                counted(lost, "claim")
            ),
            self.earlier_runs(),
            "verified: every index agrees with its rows".into(),
            format!("took {took:.2} s; the longest pause, in which no task was finished, was {pause:.2} s"),
        ]
    }

    fn earlier_runs(&self) -> String {
        let left = self.plan.earlier.len();
        if left == 0 {
            return match self.plan.messages_before {
                0 => "no earlier runs".into(),
                messages => format!("earlier runs left {} and no unfinished task", counted(messages, "message")),
            };
        }
        let threads = self.plan.earlier_threads.len();
        format!(
            "earlier runs left {} of {} unfinished: finished now",
            counted(left, "task"),
            counted(threads, "thread")
        )
    }
}

/// What these agents did, in a line.
fn row(name: &str, tallies: &[&Tally]) -> String {
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).sum::<u64>();
    let (done, failed, turned_away) = (sum(|of| of.done), sum(|of| of.failed), sum(|of| of.turned_away));
    let (won, lost, given) = (sum(|of| of.won), sum(|of| as_u64(of.lost.len())), sum(|of| of.given));
    format!("{name:<10} {done:>5} {failed:>7} {won:>5} {lost:>5} {given:>6} {turned_away:>12}")
}

/// What the reviews say that is worth a look, as the store has them.
pub(crate) fn findings(threads: &[Reviewed]) -> Vec<String> {
    let notes: Vec<&Note> = threads.iter().flat_map(|thread| &thread.notes).collect();
    let mut lines = Vec::new();
    let mut most = |what: &str, name: &str, tell: &dyn Fn(&Note) -> String| {
        let top = notes.iter().rev().max_by_key(|note| note.number(name)).filter(|note| note.number(name) > 0);
        lines.extend(top.map(|note| format!("{what:<16} {}", tell(note))));
    };
    most("largest file", "bytes", &|note| format!("{}, {}", file(note), counted(note.number("bytes"), "byte")));
    most("longest file", "lines", &|note| format!("{}, {}", file(note), counted(note.number("lines"), "line")));
    most("longest line", "longest_line_chars", &|note| {
        let (number, chars) = (note.number("longest_line"), note.number("longest_line_chars"));
        format!("{}:{number}, {}", file(note), counted(chars, "character"))
    });
    most("repeated line", "repeated_times", &|note| {
        let (times, first) = (note.number("repeated_times"), note.number("repeated_first"));
        format!("{}:{first}, {times} times: {}", file(note), printable(note.text("repeated")))
    });
    lines.extend(told("recurring words", &frequent_words(&notes)));
    for remark in REMARKS {
        let files: Vec<_> = notes.iter().filter(|note| (remark.is_true_of)(note)).map(|note| file(note)).collect();
        lines.extend(told(remark.name, &named(&files)));
    }
    let failed: Vec<&String> = threads.iter().flat_map(|thread| &thread.failed).collect();
    lines.extend(failed.iter().take(FAILED_TOLD).filter_map(|failed| told("failed", failed)));
    if let Some(more) = failed.len().checked_sub(FAILED_TOLD).filter(|more| *more > 0) {
        lines.push(format!("failed           {more} more"));
    }
    lines
}

/// What can be true of several files.
struct Remark {
    name: &'static str,
    is_true_of: fn(&Note) -> bool,
}

const REMARKS: &[Remark] = &[
    Remark { name: "TODO or FIXME", is_true_of: |note| note.number("todo") + note.number("fixme") > 0 },
    Remark { name: "trailing space", is_true_of: |note| note.number("trailing_white_space") > 0 },
    Remark { name: "tabs and spaces", is_true_of: |note| note.says("mixed_indent", true) },
    Remark { name: "no last newline", is_true_of: |note| note.says("ends_with_newline", false) },
    Remark { name: EMPTY, is_true_of: |note| note.text("kind") == EMPTY },
    Remark { name: BINARY, is_true_of: |note| note.text("kind") == BINARY },
    Remark { name: NOT_READ, is_true_of: |note| note.text("kind") == NOT_READ },
];

/// A line of the findings, if there is something to tell.
fn told(what: &str, words: &str) -> Option<String> {
    (!words.is_empty()).then(|| format!("{what:<16} {words}"))
}

fn file(note: &Note) -> String {
    short(note.text("file"))
}

/// The first few files, and how many more there are.
fn named(files: &[String]) -> String {
    let mut chars = 0;
    let told = files.iter().take_while(|file| {
        chars += file.chars().count() + 2;
        chars <= FILES_MOST_CHARS
    });
    let told: Vec<_> = told.map(String::as_str).collect();
    let more = files.len() - told.len();
    let named = told.join(", ");
    if more > 0 { format!("{named} and {} more", grouped(as_u64(more))) } else { named }
}

/// The words that recur most over all files, each counted where it is among the ten most frequent of a file.
fn frequent_words(notes: &[&Note]) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (word, count) in notes.iter().flat_map(|note| note.frequent_words()) {
        *counts.entry(word).or_default() += count;
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    // The sort is stable: words of the same count stay in the order of the alphabet.
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = words.iter().take(WORDS_TOLD).map(|(word, count)| format!("{word} {}", grouped(*count)));
    told.collect::<Vec<_>>().join(", ")
}
