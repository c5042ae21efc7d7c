//! Holds a store to what its workers were promised; the workers are those of `witness.rs`.
//!
//! After each reopening of a file:
//!
//! | promise | how it is held |
//! |---|---|
//! | what was acknowledged or read is there | every `did` is in the log under its id, letter by letter; the newest `saw` is |
//! | what was not acknowledged is there whole or not at all | the log, replayed on the model, gives every row of the store |
//! | what was acknowledged in the moment of a power cut is there whole or not at all | the same; `machine.rs` says why |
//! | nothing else is there | of each worker at most the last transaction is in the log without having been acknowledged |
//! | every index agrees with its rows | `Store::verify` |
//! | no id is given out again, time does not go back | ids and times of the log go on where they were before |

use std::collections::{BTreeMap, HashMap};

use super::life::{History, Made};
use super::witness::{Line, log_of, new_log};
use crate::{Message, MessageFilter, MessageId, Store, ThreadId, Timestamp};

/// So many lines of the log, and threads, are kept; more would only make the file large.
const MOST_LINES: usize = 1_000;
const MOST_THREADS: usize = 30;

/// What of a promise is missed, when a promise is missed: what the controls look for.
pub(super) const IS_GONE: &str = "and is gone";

/// Everything that was promised of one file, and what it must have come to.
#[derive(Debug)]
pub(super) struct Audit {
    history: History,
    log: Option<ThreadId>,
    /// What was acknowledged and not yet looked for.
    did: BTreeMap<MessageId, Did>,
    saw: Option<MessageId>,
    workers: HashMap<(u64, u64), Progress>,
    newest_message: u64,
    newest_moment: Timestamp,
    /// The highest thread or task id.
    highest_id: [u8; 16],
    pub(super) counts: Counts,
}

/// A line that was acknowledged.
#[derive(Debug)]
struct Did {
    text: String,
    is_in_doubt: bool,
}

/// How far a worker came in a shift.
#[derive(Debug, Default)]
struct Progress {
    transactions: u64,
    /// Whether its last one was not acknowledged.
    is_unanswered: bool,
}

/// What there was to look at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    /// Transactions that were there without having been acknowledged.
    pub(super) unanswered: u64,
    /// Transactions that were acknowledged while the power went, and those of them that went with it.
    pub(super) in_doubt: u64,
    pub(super) in_doubt_and_gone: u64,
    pub(super) audits: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
        self.in_doubt += other.in_doubt;
        self.in_doubt_and_gone += other.in_doubt_and_gone;
        self.audits += other.audits;
    }
}

/// Which line of the log was acknowledged, if that is what is told.
fn done(told: &str) -> Option<(MessageId, String)> {
    let (id, line) = told.strip_prefix("did ")?.split_once(' ')?;
    Some((id.parse().unwrap(), line.to_owned()))
}

impl Audit {
    pub(super) fn new() -> Self {
        Self {
            history: History::default(),
            log: None,
            did: BTreeMap::new(),
            saw: None,
            workers: HashMap::new(),
            newest_message: 0,
            newest_moment: Timestamp::MIN,
            highest_id: [0; 16],
            counts: Counts::default(),
        }
    }

    /// Takes in what workers told. Everything else that may have been said is passed over.
    pub(super) fn hear(&mut self, told: &[String]) {
        for line in told {
            if let Some((id, text)) = done(line) {
                self.did.insert(id, Did { text, is_in_doubt: false });
                self.counts.acknowledged += 1;
            } else if let Some(id) = line.strip_prefix("saw ") {
                self.saw = self.saw.max(Some(id.parse().unwrap()));
            }
        }
    }

    /// Takes in what workers told while their machine stopped: it may be there, and need not be.
    pub(super) fn hear_in_doubt(&mut self, told: &[String]) {
        for (id, text) in told.iter().filter_map(|line| done(line)) {
            self.did.insert(id, Did { text, is_in_doubt: true });
            self.counts.in_doubt += 1;
        }
    }

    /// Looks whether the store keeps every promise; the error is the first it does not.
    pub(super) fn check(&mut self, store: &Store) -> Result<(), String> {
        self.counts.audits += 1;
        store.verify().map_err(|error| format!("verify says: {error}"))?;
        let lines = self.new_lines(store)?;
        self.look_for_promises(&lines)?;
        for message in lines {
            self.replay(&message)?;
        }
        self.history.compare_rows(store, &"all that was done").map_err(|error| error.to_string())
    }

    /// The lines that were not replayed yet.
    fn new_lines(&mut self, store: &Store) -> Result<Vec<Message>, String> {
        let found = store.read(|tx| {
            let Some(log) = log_of(tx)? else { return Ok(None) };
            let filter = MessageFilter::new().after(MessageId::from_u64(self.newest_message));
            Ok(Some((tx.thread(log)?, tx.thread_messages(log, &filter)?)))
        });
        let Some((log, lines)) = found.map_err(|error| format!("the log cannot be read: {error}"))? else {
            let promised = self.log.is_some() || !self.did.is_empty() || self.saw.is_some();
            return if promised { Err(format!("the log was there, {IS_GONE}")) } else { Ok(Vec::new()) };
        };
        let log = log.unwrap();
        if self.log.is_some_and(|known| known != log.id) {
            return Err(format!("the log was {:?}, and now it is {}", self.log, log.id));
        }
        if self.log.is_none() {
            self.take_in_log(log);
        }
        Ok(lines)
    }

    fn take_in_log(&mut self, log: crate::Thread) {
        self.log = Some(log.id);
        self.highest_id = self.highest_id.max(log.id.to_bytes());
        self.newest_moment = self.newest_moment.max(log.created_at);
        self.history.model.threads.insert(log.id, log);
    }

    fn look_for_promises(&mut self, lines: &[Message]) -> Result<(), String> {
        let newest = lines.last().map_or(self.newest_message, |line| line.id.as_u64());
        if let Some(saw) = self.saw.filter(|saw| saw.as_u64() > newest) {
            return Err(format!("line {saw} was read, {IS_GONE}: the newest is {newest}"));
        }
        let present: HashMap<_, _> = lines.iter().map(|line| (line.id, &line.content)).collect();
        for (id, did) in &self.did {
            match present.get(id) {
                Some(found) if **found == did.text => {}
                _ if did.is_in_doubt => self.counts.in_doubt_and_gone += 1,
                None => return Err(format!("line {id} was acknowledged, {IS_GONE}: the newest is {newest}")),
                Some(found) => return Err(format!("line {id} was acknowledged as {}, and is {found}", did.text)),
            }
        }
        self.did.retain(|id, did| present.get(id).is_some_and(|found| **found == did.text));
        Ok(())
    }

    fn replay(&mut self, message: &Message) -> Result<(), String> {
        let Message { id, created_at: now, .. } = *message;
        let line: Line = serde_json::from_str(&message.content).map_err(|error| format!("line {id}: {error}"))?;
        if message.meta != Some(line.padding()) {
            return Err(format!("line {id}: what lies beside it is not what was written"));
        }
        if now < self.newest_moment {
            return Err(format!("line {id}: time went back from {} to {now}", self.newest_moment));
        }
        self.newest_moment = now;
        let worker = self.workers.entry((line.shift, line.worker)).or_default();
        if worker.is_unanswered || worker.transactions != line.number {
            return Err(format!("line {id} is not what comes after {worker:?}"));
        }
        worker.transactions += 1;
        worker.is_unanswered = self.did.remove(&id).is_none();
        self.counts.unanswered += u64::from(worker.is_unanswered);
        for (call, answer, made) in &line.done {
            self.count_ids(made).map_err(|wrong| format!("line {id}: {wrong}"))?;
            let expected = format!("{:?}", self.history.answer(call, made, now));
            if *answer != expected {
                return Err(format!("line {id}: {call:?} was answered {answer}, not {expected}"));
            }
        }
        self.count_message(id)?;
        self.history.model.messages.insert(id, message.thread_id);
        Ok(())
    }

    fn count_ids(&mut self, made: &Made) -> Result<(), String> {
        let new = match made {
            Made::Message(message) => return self.count_message(message.id),
            Made::Thread(thread) => thread.id.to_bytes(),
            // One that was there already has a key.
            Made::Task(task) if !self.history.model.tasks.contains_key(&task.id) => task.id.to_bytes(),
            _ => return Ok(()),
        };
        if new <= self.highest_id {
            return Err(format!("{made:?} has an id that is not above every earlier one"));
        }
        self.highest_id = new;
        Ok(())
    }

    fn count_message(&mut self, id: MessageId) -> Result<(), String> {
        if id.as_u64() != self.newest_message + 1 {
            return Err(format!("message {id} comes after {}", self.newest_message));
        }
        self.newest_message += 1;
        Ok(())
    }

    /// Keeps the file small: begins a new log when the present one is long, and deletes the oldest threads. All in one
    /// transaction, whose effect has to be there from now on as well.
    pub(super) fn tidy(&mut self, store: &Store) -> Result<(), String> {
        let model = &self.history.model;
        let Some(log) = self.log else { return Ok(()) };
        let is_long = model.messages.values().filter(|thread| **thread == log).count() > MOST_LINES;
        let others: Vec<_> = model.threads.keys().copied().filter(|thread| *thread != log).collect();
        let mut old = others[..others.len().saturating_sub(MOST_THREADS)].to_vec();
        old.extend(is_long.then_some(log));
        let deleted = old.clone();
        let new_log = store.write(move |tx| {
            let new_log = if is_long { Some(new_log(tx)?) } else { None };
            old.iter().try_for_each(|thread| tx.delete_thread(*thread).map(drop))?;
            new_log.map(|log| tx.thread(log)).transpose()
        });
        let new_log = new_log.map_err(|error| format!("it cannot be tidied: {error}"))?;
        for thread in deleted {
            self.history.model.delete(thread);
        }
        if let Some(log) = new_log.flatten() {
            self.take_in_log(log);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::campaign::report;
    use super::super::witness::Crew;
    use super::*;
    use crate::planted::Bug;

    /// A store that a crew with this bug has worked on, and an audit that has heard of it.
    fn worked(bug: Option<Bug>) -> (Store, Audit) {
        let store = Store::in_memory().unwrap();
        let told = Mutex::new(Vec::new());
        let crew = Crew { rounds: Some(100), bug, ..Crew::choose(0, &mut fastrand::Rng::new()) };
        assert!(crew.work(&store, &|line| told.lock().unwrap().push(line)).is_empty() || bug.is_some());
        let mut audit = Audit::new();
        audit.hear(&told.into_inner().unwrap());
        (store, audit)
    }

    #[test]
    fn control_the_audit_sees_what_is_gone_and_what_is_too_much() {
        let (store, mut audit) = worked(None);
        audit.check(&store).unwrap();
        audit.tidy(&store).unwrap();
        audit.check(&store).unwrap();
        store.create_thread("review", "nobody knows of").unwrap();
        audit.check(&store).unwrap_err();

        for promise in ["did 1000000 {}", "saw 1000000"] {
            let (store, mut audit) = worked(None);
            audit.hear(&[promise.into()]);
            assert!(audit.check(&store).unwrap_err().contains(IS_GONE));
        }
        let (_, mut audit) = worked(None);
        assert!(audit.check(&Store::in_memory().unwrap()).unwrap_err().contains(IS_GONE), "all of it");
        let (store, mut audit) = worked(None);
        let (id, _) = audit.did.pop_last().unwrap();
        audit.hear(&[format!("did {id} something else")]);
        audit.check(&store).unwrap_err();
    }

    #[test]
    fn control_the_audit_sees_a_store_that_does_something_else() {
        let bugs = [Bug::ClaimWithoutCheck, Bug::CompleteWithoutCheck, Bug::StaleIndexEntryKept];
        let seen = bugs.map(|bug| {
            let is_seen = || {
                let (store, mut audit) = worked(Some(bug));
                audit.check(&store).is_err()
            };
            (bug, (0..20).filter(|_| is_seen()).count())
        });
        report(format_args!("audit, controls: seen in so many of 20 runs: {seen:?}"));
        assert!(seen.iter().all(|(_, count)| *count > 0));
    }
}
