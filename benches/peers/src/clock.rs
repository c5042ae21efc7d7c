//! The time that peers are given: the machine's, and ahead of it where work lets claims time out without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use khala::{SystemClock, Timestamp};

/// A clock that its clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    machine: SystemClock,
    ahead_micros: Arc<AtomicI64>,
}

impl Clock {
    /// Microseconds since the Unix epoch.
    pub(crate) fn micros(&self) -> i64 {
        khala::Clock::now(self).as_micros()
    }

    /// Lets this much time pass at once.
    pub(crate) fn advance(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        self.ahead_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl khala::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.machine.now() + Duration::from_micros(self.ahead_micros.load(Ordering::Relaxed).unsigned_abs())
    }
}
