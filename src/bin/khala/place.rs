//! Where the store is, and opening it: for one command, beside others who want it as well.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use khala::{Compaction, Error, Progress, Store};

use crate::Result;
use crate::failure::Failure;
use crate::output::wheel;

/// Files up to this size are checked whenever they are opened, unless told otherwise: that takes a tenth of a second or
/// two. A larger one would keep every command, and whoever waits for the file, for as long as it takes to read it: three
/// seconds of computing for a store of a million tasks and as many messages, where a claim takes a hundredth.
const CHECKED_UP_TO_BYTES: u64 = 64 * 1024 * 1024;

/// Whether every page of the file is checked before it is used.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Check {
    /// Files up to 64 MiB, and any file by the commands that read all of it.
    Auto,
    /// Any file: it takes seconds for each GB.
    Always,
    /// No file: damage is then found only where it is met.
    Never,
}

/// The store of this command.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) lock_wait: Duration,
    pub(crate) check: Check,
}

impl Place {
    /// What `f` makes of the store, which is open for no longer than that: what is printed comes after.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Store) -> khala::Result<T>) -> Result<T> {
        ask(&self.open()?, f)
    }

    /// The store, for a command that looks at a part of it.
    pub(crate) fn open(&self) -> Result<Store> {
        let check = match self.check {
            Check::Auto => std::fs::metadata(&self.path).is_ok_and(|file| file.len() <= CHECKED_UP_TO_BYTES),
            check => check == Check::Always,
        };
        self.open_within(self.lock_wait, check, false)
    }

    /// The store, for a command that reads all of it.
    pub(crate) fn open_whole(&self) -> Result<Store> {
        let wheel = wheel("checking the file");
        let opened = self.open_within(self.lock_wait, self.check != Check::Never, false);
        wheel.finish_and_clear();
        opened
    }

    /// The store, checked whatever was said: that is what is asked for.
    pub(crate) fn open_always_checked(&self) -> Result<Store> {
        self.open_within(self.lock_wait, true, false)
    }

    /// The store, a new one if there is none.
    pub(crate) fn open_or_create(&self) -> Result<Store> {
        self.open_within(self.lock_wait, self.check != Check::Never, true)
    }

    /// The same place, for somebody who is ready to wait longer.
    pub(crate) fn patient(&self, patience: Duration) -> Self {
        Self { lock_wait: self.lock_wait.max(patience), ..self.clone() }
    }

    /// Packs the store, which nobody may have open meanwhile.
    pub(crate) fn compact(&self, mut watch: impl FnMut(Progress)) -> Result<Compaction> {
        let builder = Store::builder().check_on_open(self.check != Check::Never);
        retried(self.lock_wait, || builder.clone().compact(&self.path, &mut watch))
    }

    fn open_within(&self, patience: Duration, check: bool, create: bool) -> Result<Store> {
        let builder = Store::builder().check_on_open(check).create_if_missing(create);
        retried(patience, || builder.clone().open(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What comes of `open`, tried again while another process has the store open.
fn retried<T>(patience: Duration, mut open: impl FnMut() -> khala::Result<T>) -> Result<T> {
    let mut rests = Rests::new(patience, Duration::from_millis(50));
    loop {
        match open() {
            Err(Error::AlreadyOpen { .. }) if rests.rest() => {}
            opened => return opened.map_err(Failure::from),
        }
    }
}

/// What `f` makes of this store, and if it fails, what the operating system had to do with it.
pub(crate) fn ask<T>(store: &Store, f: impl FnOnce(&Store) -> khala::Result<T>) -> Result<T> {
    f(store).map_err(|error| Failure::of(error, store.failure()))
}

/// The pauses between tries: short ones first, each twice as long up to a bound, and a little by chance, so that those who
/// began together do not stay together.
pub(crate) struct Rests {
    give_up_at: Option<Instant>,
    next: Duration,
    longest: Duration,
}

impl Rests {
    /// For so long altogether.
    pub(crate) fn new(patience: Duration, longest: Duration) -> Self {
        Self { give_up_at: Instant::now().checked_add(patience), next: Duration::from_millis(2), longest }
    }

    /// What is left of the time, without end if it ends beyond all time.
    pub(crate) fn left(&self) -> Duration {
        self.give_up_at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Rests, and says whether there is time for another try.
    pub(crate) fn rest(&mut self) -> bool {
        let left = self.left();
        if left.is_zero() {
            return false;
        }
        let chance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos() % 1_000);
        thread::sleep((self.next / 2 + self.next * chance / 1_000).min(left));
        self.next = (self.next * 2).min(self.longest);
        true
    }
}
