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
use crate::verdict::Verdict;
use crate::{as_u64, counted, grouped, printable, short};

/// How many of the words that recur are told.
const WORDS_TOLD: usize = 8;

/// How long a list of files may grow that have something in common.
const FILES_MOST_CHARS: usize = 100;

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
        let sections = [("Findings", self.findings()), ("The crash", self.crash()), ("The store", self.store())];
        for (title, lines) in sections {
            writeln!(out, "\n{title}")?;
            for line in lines {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nagent       done   won  lost  turned away  reopened")?;
        let is_long = self.tallies.len() > LINES_MOST;
        let mut idle = 0;
        for tally in self.tallies {
            if is_long && tally.won == 0 {
                idle += 1;
                continue;
            }
            let (done, won, lost) = (tally.done, tally.won, tally.lost);
            let (agent, turned_away, reopened) = (&tally.agent, tally.turned_away, tally.reopened);
            writeln!(out, "{agent:<10} {done:>5} {won:>5} {lost:>5} {turned_away:>12} {reopened:>9}")?;
        }
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(of).sum::<u64>();
        if idle > 0 {
            let lost: u64 = self.tallies.iter().filter(|tally| tally.won == 0).map(|tally| tally.lost).sum();
            writeln!(out, "{:<10} {:>5} {:>5} {lost:>5}", format!("{idle} others"), 0, 0)?;
        }
        let (done, won, lost) = (sum(|tally| tally.done), sum(|tally| tally.won), sum(|tally| tally.lost));
        let (turned_away, reopened) = (sum(|tally| tally.turned_away), sum(|tally| tally.reopened));
        writeln!(out, "{:<10} {done:>5} {won:>5} {lost:>5} {turned_away:>12} {reopened:>9}", "together")?;
        Ok(())
    }

    /// What the reviews say that is worth a look, as the store has them.
    pub(crate) fn findings(&self) -> Vec<String> {
        let notes = &self.verdict.notes;
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
        lines.extend(told("recurring words", &frequent_words(notes)));
        for remark in REMARKS {
            let files: Vec<_> = notes.iter().filter(|note| (remark.is_true_of)(note)).map(file).collect();
            lines.extend(told(remark.name, &named(&files)));
        }
        lines
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
        if let Some(back) = &crash.came_back {
            let by = back.task.claimed_by.as_ref().map(ToString::to_string).unwrap_or_default();
            let taken = back.task.claimed_at.map(|moment| self.time(moment)).unwrap_or_default();
            let finished = back.task.finished_at.map(|moment| self.time(moment)).unwrap_or_default();
            story.push(format!("{taken}  {by} claims the task, reopened"));
            story.push(format!("{finished}  {by} completes it"));
            let turned_away = self.time(back.turned_away_at);
            story.push(format!(
                "{turned_away}  {agent} is back and turned away; nothing of its review is in the thread"
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
        let raced_for: BTreeSet<_> = self.tallies.iter().flat_map(|tally| &tally.lost_tasks).collect();
        let lost: u64 = self.tallies.iter().map(|tally| tally.lost).sum();
        vec![
            format!(
                "done once: {done_once} of {tasks}, with one review, posted under the claim that completed the task"
            ),
            format!("done twice: {done_twice}, not done: {not_done}"),
            format!(
                "raced for: {}; {} came too late and got nothing",
                counted(raced_for.len(), "task"),
                counted(lost, "claim")
            ),
            self.earlier_runs(),
            "verified: every index agrees with its rows".into(),
            self.speed(),
        ]
    }

    fn earlier_runs(&self) -> String {
        let plan = self.plan;
        // Those that were reopened only while this run went on are not in its plan.
        let late = self.verdict.tasks.saturating_sub(plan.tasks.len() + plan.earlier.len());
        let left = plan.earlier.len() + late;
        if left == 0 {
            return match plan.messages_before {
                0 => "no earlier runs".into(),
                messages => format!("earlier runs left {} and no open task", counted(messages, "message")),
            };
        }
        let threads = self.verdict.threads.saturating_sub(usize::from(plan.thread.is_some()));
        let claimed = plan.timed_out + as_u64(late);
        format!(
            "earlier runs left {} of {} unfinished, {claimed} of them claimed: finished now",
            counted(left, "task"),
            counted(threads, "thread")
        )
    }

    fn speed(&self) -> String {
        let operations: u64 = self.tallies.iter().map(|tally| tally.operations).sum();
        let waited = self.board.waited();
        let busy = self.took.saturating_sub(waited);
        let a_second = u128::from(operations) * 1_000_000 / busy.as_micros().max(1);
        let a_second = grouped(u64::try_from(a_second).unwrap_or(u64::MAX));
        let (took, waited) = (self.took.as_secs_f64(), waited.as_secs_f64());
        let idle = format!("{waited:.2} s of it idle until claims timed out");
        format!("took {took:.2} s, {idle}; {}, {a_second} a second", counted(operations, "operation"))
    }
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
fn frequent_words(notes: &[Note]) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (word, count) in notes.iter().flat_map(Note::frequent_words) {
        *counts.entry(word).or_default() += count;
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    // The sort is stable: words of the same count stay in the order of the alphabet.
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = words.iter().take(WORDS_TOLD).map(|(word, count)| format!("{word} {}", grouped(*count)));
    told.collect::<Vec<_>>().join(", ")
}
