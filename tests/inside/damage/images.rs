//! Files to damage: one history of a store, caught in several states.
//!
//! | image | is what is left of the store | right is |
//! |---|---|---|
//! | `closed` | by its last handle | what was stored |
//! | `killed` | by a kill after its last commit was acknowledged | what was stored |
//! | `torn` | by a kill in the middle of a commit, all of which is written and nothing synced | with that commit or without |
//! | `schema-1` | by a version of long ago, closed | what was stored, upgraded |
//!
//! The first three were opened and closed before, and come with copies of the file from earlier in its life. Its trees
//! have two levels, and values that take several pages. A file of several regions would have to be larger than 4 GiB,
//! and is not among them.

use std::fs;
use std::path::Path;

use super::contents::contents;
use crate::db::{FailingDisk, Fault, Plan, Request, StorageBackend, TestDisk};
use crate::{
    AgentId, ManualClock, MessageFilter, NewMessage, NewTask, Result, Store, TaskFilter, ThreadStatus, Timestamp,
};

pub(super) const NAMES: [&str; 4] = ["closed", "killed", "torn", "schema-1"];

/// What a file held at one time.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) bytes: Vec<u8>,
    /// What a store on it says; more than one if either is right.
    pub(super) answers: Vec<String>,
}

pub(super) struct Image {
    pub(super) now: Version,
    /// The same file earlier, oldest first.
    pub(super) earlier: Vec<Version>,
    /// A file of another store.
    pub(super) foreign: Vec<u8>,
    /// What agents show to be let in.
    pub(super) tokens: Vec<String>,
}

pub(super) fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_700_000_100_000_000))
}

/// Writes every image into this folder, for children to read.
pub(super) fn write_all(folder: &Path) {
    let (mut history, foreign) = (History::begin(), History::begin().close());
    history.session();
    let earlier = history.earlier.clone();
    let tokens = vec![history.token.clone()];
    let killed = history.version();
    let torn = torn(&killed, &tokens);
    let closed = Version { bytes: history.close(), answers: killed.answers.clone() };
    for (name, now) in [("closed", closed), ("killed", killed), ("torn", torn)] {
        let (earlier, foreign, tokens) = (earlier.clone(), foreign.clone(), tokens.clone());
        Image { now, earlier, foreign, tokens }.write(&folder.join(name));
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = fs::read(fixtures.join("schema-1.khala")).unwrap();
    let tokens = vec![fs::read_to_string(fixtures.join("schema-1.token")).unwrap().trim().to_owned()];
    let answers = vec![contents(&open(&TestDisk::of(&bytes)), &tokens).unwrap()];
    Image { now: Version { bytes, answers }, earlier: vec![], foreign, tokens }.write(&folder.join("schema-1"));
}

impl Image {
    fn write(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("foreign"), &self.foreign).unwrap();
        fs::write(folder.join("tokens"), self.tokens.join("\n")).unwrap();
        for (name, version) in std::iter::once(&self.now).chain(&self.earlier).enumerate() {
            fs::write(folder.join(format!("{name}.bytes")), &version.bytes).unwrap();
            fs::write(folder.join(format!("{name}.answers")), version.answers.join("\0")).unwrap();
        }
    }

    pub(super) fn read(folder: &Path) -> Self {
        let version = |number: usize| {
            let answers = fs::read_to_string(folder.join(format!("{number}.answers"))).ok()?;
            let answers = answers.split('\0').map(str::to_owned).collect();
            Some(Version { bytes: fs::read(folder.join(format!("{number}.bytes"))).unwrap(), answers })
        };
        Self {
            now: version(0).unwrap(),
            earlier: (1..).map_while(version).collect(),
            foreign: fs::read(folder.join("foreign")).unwrap(),
            tokens: fs::read_to_string(folder.join("tokens")).unwrap().lines().map(str::to_owned).collect(),
        }
    }
}

fn open(disk: &(impl StorageBackend + Clone)) -> Store {
    Store::builder().clock(clock()).open_on(disk.clone()).unwrap()
}

/// A store that is worked on and imaged on the way.
struct History {
    disk: TestDisk,
    store: Option<Store>,
    token: String,
    earlier: Vec<Version>,
}

impl History {
    fn begin() -> Self {
        let disk = TestDisk::default();
        let store = open(&disk);
        let token = store.register_agent(&agent(0)).unwrap().expose().to_owned();
        let mut history = Self { disk, store: Some(store), token, earlier: vec![] };
        history.session();
        history
    }

    /// A stretch of work with an image in the middle, a close, an image, and more work.
    fn session(&mut self) {
        self.work(2);
        self.earlier.push(self.version());
        self.work(1);
        let answers = self.version().answers;
        self.store = None;
        self.earlier.push(Version { bytes: self.disk.content(), answers });
        self.store = Some(open(&self.disk));
        self.work(1);
        self.earlier.push(self.version());
        self.work(1);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn work(&self, rounds: usize) {
        (0..rounds).for_each(|round| work(self.store(), round).unwrap());
    }

    fn version(&self) -> Version {
        let answers = vec![contents(self.store(), std::slice::from_ref(&self.token)).unwrap()];
        Version { bytes: self.disk.content(), answers }
    }

    fn close(mut self) -> Vec<u8> {
        self.store = None;
        self.disk.content()
    }
}

fn agent(number: usize) -> AgentId {
    AgentId::new(format!("agent-{number}")).unwrap()
}

/// A thread with messages and tasks in every state, in several commits; and something is removed.
fn work(store: &Store, round: usize) -> Result<()> {
    let thread = store.create_thread("review", "ada")?.id;
    store.write(move |tx| {
        for n in 0..12_u64 {
            let content = format!("message {n} of round {round} ").repeat(if n == 5 { 700 } else { 4 });
            let message = NewMessage::new("user", content).step(n % 4).agent(&agent(round)).meta("{}");
            tx.append_message(thread, &message)?;
        }
        Ok(())
    })?;
    let task = |n: usize| {
        let long = format!("task {n} ").repeat(if n == 7 { 3_000 } else { 6 });
        NewTask::new(format!("role-{}", n % 3), long).key(format!("key-{n}")).priority(i16::try_from(n).unwrap_or(0))
    };
    for n in 0..10 {
        let id = store.create_task(thread, task(n).max_attempts(2).backoff_seconds(60))?.id;
        let claim = if n % 2 == 0 { store.claim_task(id, &agent(round))? } else { None };
        match (n, claim) {
            (2, Some(claim)) => drop(store.complete_task(id, claim.id)?),
            (4, Some(claim)) => drop(store.fail_task(id, claim.id, "on purpose")?),
            (6, Some(claim)) => drop(store.release_task(id, claim.id)?),
            (9, _) => drop(store.cancel_task(id)?),
            _ => {}
        }
    }
    store.create_task(thread, task(11).not_before(Timestamp::MAX))?;
    let passing = store.create_thread("passing", "ada")?.id;
    store.append_message(passing, NewMessage::new("user", "soon forgotten ".repeat(500)))?;
    store.delete_thread(passing)?;
    let finished = store.create_thread("finished", "ada")?.id;
    store.create_task(finished, task(1))?;
    store.finish_thread(finished, ThreadStatus::Completed, Some("the result"))?;
    Ok(())
}

/// What a kill leaves of this version in the middle of one more commit.
fn torn(before: &Version, tokens: &[String]) -> Version {
    let disk = FailingDisk::of(before.bytes.clone());
    let store = open(&disk);
    let thread = store.open_tasks(1).unwrap()[0].thread_id;
    store.append_message(thread, NewMessage::new("user", "acknowledged")).unwrap();
    let without = contents(&store, tokens).unwrap();
    disk.arm(Some(Plan { after: 0, only: Some(Request::Sync), fault: Fault::Eio, for_ever: true }));
    store.append_message(thread, NewMessage::new("user", "not acknowledged")).unwrap_err();
    let bytes = disk.content();
    let with = contents(&open(&TestDisk::of(&bytes)), tokens).unwrap();
    assert!(with.contains("\"not acknowledged\"") && !without.contains("\"not acknowledged\""));
    Version { bytes, answers: vec![without, with] }
}

/// Works on with a store. Whether it holds what was done then.
pub(super) fn go_on(store: &Store) -> Result<bool> {
    let thread = store.create_thread("afterwards", "ada")?.id;
    store.append_message(thread, NewMessage::new("user", "afterwards ".repeat(1_000)))?;
    let task = store.create_task(thread, NewTask::new("afterwards", "Do it."))?;
    let filter = TaskFilter::new().role("afterwards");
    let claim = store.claim_next(&agent(0), &filter)?.filter(|claim| claim.task.id == task.id);
    let completed = claim.is_some_and(|claim| store.complete_task(task.id, claim.id).unwrap_or(false));
    let said = store.thread_messages(thread, &MessageFilter::new())?.len();
    store.verify()?;
    Ok(completed && said == 1)
}
