//! A store, its clock, and what stored time must be.

use std::time::Duration;

use super::STEPS;
use crate::db::TestDisk;
use crate::{Clock, Error, ManualClock, Result, Store, Timestamp, WriteTx};

/// What is around the store when its clock jumps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Around {
    /// Nothing: it is open.
    Open,
    /// It is closed, and opened again after the jump.
    Closed,
    /// It is killed, and opened again after the jump.
    Killed,
}

pub(super) const AROUND: [Around; 3] = [Around::Open, Around::Closed, Around::Killed];

/// What stored time must be, from what the clock said: between two looks at the clock it goes forward as much as the
/// clock did, and not at all if that went back.
#[derive(Clone, Copy, Debug)]
struct Pace {
    now: Timestamp,
    /// What the clock said at the last look.
    seen: Timestamp,
    /// What the last commit has on the disk.
    written: Timestamp,
}

impl Pace {
    fn opened(written: Timestamp, clock: Timestamp) -> Self {
        Self { now: written.max(clock), seen: clock, written }
    }

    fn at(&self, clock: Timestamp) -> Timestamp {
        self.now + clock.duration_since(self.seen)
    }

    fn look(&mut self, clock: Timestamp) -> Timestamp {
        (self.now, self.seen) = (self.at(clock), clock);
        self.now
    }
}

pub(super) struct World {
    disk: TestDisk,
    clock: ManualClock,
    store: Option<Store>,
    pace: Pace,
}

impl World {
    /// A new store, at this moment.
    pub(super) fn at(start: Timestamp) -> Self {
        let (disk, clock) = (TestDisk::default(), ManualClock::new(start));
        let store = open(&disk, &clock);
        Self { disk, clock, store: Some(store), pace: Pace::opened(start, start) }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Stored time at the last write.
    pub(super) fn last(&self) -> Timestamp {
        self.pace.now
    }

    /// Moves the clock, with a reopening around that or not.
    pub(super) fn jump(&mut self, micros: i64, around: Around) {
        match around {
            Around::Open => self.clock.set(moved(self.clock.now(), micros)),
            Around::Closed => {
                self.store = None;
                self.reopen(micros);
            }
            Around::Killed => {
                let left = TestDisk::of(&self.disk.durable());
                self.store = None;
                self.disk = left;
                self.reopen(micros);
            }
        }
    }

    fn reopen(&mut self, micros: i64) {
        self.clock.set(moved(self.clock.now(), micros));
        self.store = Some(open(&self.disk, &self.clock));
        self.pace = Pace::opened(self.pace.written, self.clock.now());
    }

    pub(super) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Does something in a transaction, whose moment must be the one it must be. The error says what is wrong with that.
    pub(super) fn write<T: Send + 'static>(
        &mut self,
        mut f: impl FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<Result<T>, String> {
        let syncs = self.disk.syncs();
        // A refusal is an answer here, and the transaction goes on.
        let (now, answer) = self.store().write(move |tx| Ok((tx.now(), f(tx)))).map_err(|error| error.to_string())?;
        let expected = self.pace.look(self.clock.now());
        if now != expected {
            return Err(format!("it is {now} in the store, and must be {expected}"));
        }
        if self.disk.syncs() > syncs {
            self.pace.written = now;
        }
        Ok(answer)
    }

    /// The same, for what cannot be refused.
    pub(super) fn done<T: Send + 'static>(
        &mut self,
        f: impl FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T, String> {
        self.write(f)?.map_err(|error: Error| error.to_string())
    }

    /// Takes away the claims that are due, and says how many.
    pub(super) fn expire(&mut self) -> Result<u64, String> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.done(|tx| tx.expire_timed_out_tasks())
    }

    /// The moment those who only read are shown. It must be that of a write made now, but that it knows of no step
    /// back that no writer has met.
    pub(super) fn moment_of_a_read(&self) -> Result<Timestamp, String> {
        let now = self.store().read(|tx| Ok(tx.now())).map_err(|error| error.to_string())?;
        let expected = self.pace.at(self.clock.now());
        if now == expected { Ok(now) } else { Err(format!("a read says {now}, and it must be {expected}")) }
    }
}

fn open(disk: &TestDisk, clock: &ManualClock) -> Store {
    Store::builder().clock(clock.clone()).cache_bytes(1 << 20).open_on(disk.clone()).unwrap()
}

fn moved(moment: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() + micros)
}

/// Every step with every kind of reopening around it.
pub(super) fn jumps() -> impl Iterator<Item = (i64, Around)> {
    STEPS.into_iter().flat_map(|step| AROUND.map(|around| (step, around)))
}
