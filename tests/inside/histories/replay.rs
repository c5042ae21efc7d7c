//! Whether a history can have happened: its transactions, in the order they ran, are replayed on the model.
//!
//! ```text
//!   transactions   1   2   3   4   5   6   7   8       in the order they ran: their serial numbers
//!   the world    S0  S1  S2  S3  S4  S5  S6  S7  S8
//!   a read              └────── one of these ──────┘
//!                       │                          └── what had run when it returned
//!                       └── what had been answered when it was called
//! ```
//!
//! - Each answer is the model's at that place in the order, every field of it.
//! - Each transaction ran between the call and the return, so that the order agrees with real time: what had been
//!   answered before something else was called stands before it.
//! - The moment of a transaction is not before that of the one before it, and is one that the clock showed in between.
//! - A read gave what one state in its reach holds, and of two reads one after the other the second did not see less.
//!   Each is given the first such state, which leaves those after it the most room: so trying costs no more than its
//!   reach, which is a batch or two long.
//!
//! So checking takes time in proportion to the length of the history, whatever its threads did.

use std::collections::{HashMap, VecDeque};

use super::calls::{Answer, Read, Write};
use super::record::{Asked, Entry};
use super::world::{World, Wrong};
use crate::{Store, Timestamp};

/// A history checked so far.
#[derive(Debug, Default)]
pub(super) struct Replay {
    world: World,
    /// The moment of the last transaction.
    now: Option<Timestamp>,
    pub(super) calls: u64,
    pub(super) transactions: u64,
    pub(super) reads: u64,
}

/// The transaction of a call: the serial number, which call, and the how manieth of its transactions.
type Transaction = (u64, usize, usize);

/// A call that changed nothing: it saw the world after so many transactions, at least and at the most.
#[derive(Debug)]
struct Look {
    entry: usize,
    first: usize,
    last: usize,
}

impl Replay {
    /// Goes on with what was asked and answered since.
    pub(super) fn go_on(&mut self, log: &[Entry]) -> Result<(), String> {
        log.iter().try_for_each(check_times)?;
        let transactions = transactions(log);
        let mut coming = VecDeque::from(looks(log, &transactions));
        self.calls += log.len() as u64;
        self.transactions += transactions.len() as u64;
        self.reads += coming.len() as u64;

        let mut open: Vec<Look> = Vec::new();
        let mut counted = HashMap::new();
        for done in 0..=transactions.len() {
            while let Some(look) = coming.pop_front_if(|look| look.first <= done) {
                open.push(look);
            }
            self.look(log, &mut open, done)?;
            if let Some((_, entry, nth)) = transactions.get(done) {
                let count = counted.entry(*entry).or_insert(0);
                self.transact(&log[*entry], *nth, count).map_err(|wrong| {
                    let before = &transactions[done.saturating_sub(6)..done];
                    let before: Vec<_> = before.iter().map(|(_, entry, _)| line(&log[*entry])).collect();
                    format!("after\n{}\n{} {wrong}", before.join("\n"), line(&log[*entry]))
                })?;
            }
        }
        Ok(())
    }

    /// Replays a transaction. `count` is what the transactions of its call before it came to.
    fn transact(&mut self, entry: &Entry, nth: usize, count: &mut u64) -> Result<(), String> {
        let Asked::Write(write) = &entry.asked else { return Err("writes".into()) };
        let now = entry.serials[nth].now.ok_or("never ran")?;
        if self.now > Some(now) {
            return Err(format!("runs at {now}, before {:?}", self.now));
        }
        self.now = Some(now);
        let is_last = nth + 1 == entry.serials.len();
        // Who waits has found nothing until its last try.
        let found_nothing = Answer::Claim(None);
        let given = if is_last { &entry.answer } else { &found_nothing };
        let expected = match self.world.write(write, given, now) {
            Ok(Answer::Count(more)) => {
                *count += more;
                Answer::Count(*count)
            }
            Ok(answer) => answer,
            Err(Wrong::Refused(name)) => Answer::Refused(name),
            Err(Wrong::Impossible(why)) => return Err(format!("at {now}: {why}")),
        };
        if !is_last && !write.is_in_parts() {
            return Err(format!("took {} transactions", entry.serials.len()));
        }
        let is_right = if is_last || !matches!(expected, Answer::Count(_)) { expected == *given } else { true };
        if is_right { Ok(()) } else { Err(format!("at {now}: {expected:?} is right")) }
    }

    /// Removes from the open looks those which saw the world as it is.
    fn look(&self, log: &[Entry], open: &mut Vec<Look>, done: usize) -> Result<(), String> {
        // The first return of a call whose place has not come: what is called later comes after it.
        let mut earliest_return = u64::MAX;
        let mut wrong = None;
        open.retain(|look| {
            let entry = &log[look.entry];
            let in_turn = earliest_return > entry.called;
            if in_turn && self.sees(entry) {
                return false;
            }
            if look.last == done {
                let reach = format!("{} transactions could have come before it", look.last - look.first);
                wrong = wrong.take().or_else(|| Some(format!("{} saw what never was; {reach}", line(entry))));
            }
            earliest_return = earliest_return.min(entry.returned);
            true
        });
        wrong.map_or(Ok(()), Err)
    }

    fn sees(&self, entry: &Entry) -> bool {
        match &entry.asked {
            Asked::Read(read) => self.world.read(read) == entry.answer,
            Asked::Write(Write::Turn(thread, task, claim, plan)) => {
                self.world.check_turn(*thread, *task, *claim, plan).map_err(Answer::Refused).err().as_ref()
                    == Some(&entry.answer)
            }
            Asked::Write(_) => false,
        }
    }

    /// The store holds what the world does, row by row.
    pub(super) fn compare(&self, store: &Store) -> Result<(), String> {
        let messages = self.world.threads.keys().map(|thread| Read::Messages(*thread, super::Wanted::default()));
        let all = [Read::Tasks(super::all_tasks()), Read::Threads(None, false, usize::MAX), Read::Agents(usize::MAX)];
        let all = all.into_iter().chain([Read::OpenTasks(usize::MAX), Read::Stats]).chain(messages);
        for read in all {
            let (held, expected) = (read.ask(store), self.world.read(&read));
            if held != expected {
                return Err(format!("in the end {read:?} gives {held:?}; {expected:?} is right"));
            }
        }
        store.verify().map_err(|error| error.to_string())
    }
}

fn line(entry: &Entry) -> String {
    format!("{:?} [{}, {}]: {:?}", entry.asked, entry.called, entry.returned, entry.answer)
}

/// Whether what was done was done between call and return, by the tick and by the clock.
fn check_times(entry: &Entry) -> Result<(), String> {
    let mut after = entry.called;
    for serial in &entry.serials {
        if serial.number <= after || serial.number >= entry.returned {
            return Err(format!("{} has its place at {}", line(entry), serial.number));
        }
        after = serial.number;
        let (from, to) = entry.clock;
        if serial.now.is_none_or(|now| now < from || now > to) {
            return Err(format!("{} runs at {:?} while the clock goes from {from} to {to}", line(entry), serial.now));
        }
    }
    let writes = matches!(entry.asked, Asked::Write(_));
    if writes == entry.serials.is_empty() {
        return Err(format!("{} took {} transactions", line(entry), entry.serials.len()));
    }
    Ok(())
}

/// Whether a call changed nothing and has no place of its own. So it is with a turn that is refused after it has written:
/// what it saw in its batch was done again after it.
fn only_looks(entry: &Entry) -> bool {
    match entry.asked {
        Asked::Read(_) => true,
        Asked::Write(Write::Turn(..)) => entry.answer == Answer::Refused("KeyConflict"),
        Asked::Write(_) => false,
    }
}

fn transactions(log: &[Entry]) -> Vec<Transaction> {
    let entries = log.iter().enumerate().filter(|(_, entry)| !only_looks(entry));
    let all = entries
        .flat_map(|(at, entry)| entry.serials.iter().enumerate().map(move |(nth, serial)| (serial.number, at, nth)));
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all
}

/// The calls that only look, in the order they were made.
fn looks(log: &[Entry], transactions: &[Transaction]) -> Vec<Look> {
    let before = |tick| transactions.partition_point(|(number, ..)| *number < tick);
    // Each return, and how many transactions had been answered by then.
    let mut answered: Vec<_> = log
        .iter()
        .filter(|entry| !only_looks(entry))
        .filter_map(|entry| Some((entry.returned, before(entry.serials.last()?.number) + 1)))
        .collect();
    answered.sort_unstable();
    let mut most = 0;
    for (_, count) in &mut answered {
        most = most.max(*count);
        *count = most;
    }
    let looks = log.iter().enumerate().filter(|(_, entry)| only_looks(entry)).map(|(at, entry)| {
        let returned_before = answered.partition_point(|(returned, _)| *returned < entry.called);
        let first = returned_before.checked_sub(1).map_or(0, |last| answered[last].1);
        Look { entry: at, first, last: before(entry.returned) }
    });
    let mut looks: Vec<_> = looks.collect();
    looks.sort_unstable_by_key(|look| log[look.entry].called);
    looks
}
