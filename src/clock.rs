//! Time: the unit everything is stored in, and where it comes from.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// A moment: microseconds since the Unix epoch, UTC.
///
/// It prints as RFC 3339 with six digits of a second, so that its text sorts as it does, and stays within what that
/// notation can say: whatever would lie outside [`Timestamp::MIN`] and [`Timestamp::MAX`] becomes that bound.
///
/// ```
/// use khala::Timestamp;
///
/// let moment = Timestamp::from_micros(1_700_000_000_000_001);
/// assert_eq!(moment.to_string(), "2023-11-14T22:13:20.000001Z");
/// assert_eq!("2023-11-14T22:13:20.000001Z".parse::<Timestamp>()?, moment);
/// # Ok::<(), khala::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment: 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000_000);

    /// The latest moment: 9999-12-30T22:00:00Z, the last second at which it is the year 9999 everywhere.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// The moment this many microseconds after the Unix epoch, or before it; kept within [`MIN`](Self::MIN) and
    /// [`MAX`](Self::MAX).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The moment this much later, at most [`Timestamp::MAX`]. Fractions of a microsecond are cut off.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// The moment this much earlier, at least [`Timestamp::MIN`]. Fractions of a microsecond are cut off.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::from_micros(0) + after,
            Err(before) => {
                Self::from_micros(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, std::ops::Neg::neg))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(moment: Timestamp) -> Self {
        let distance = Duration::from_micros(moment.0.unsigned_abs());
        if moment.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_microsecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.6}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

/// Reads RFC 3339, in any offset. Fractions of a microsecond are rounded.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let moment = text.parse::<jiff::Timestamp>().map_err(|error| Error::InvalidInput {
            field: "timestamp",
            reason: format!("{text:?} is not a moment in RFC 3339: {error}"),
        })?;
        Ok(Self::from_micros(moment.as_microsecond()))
    }
}

#[cfg(feature = "json")]
impl Timestamp {
    /// The moment in a column of times: in RFC 3339, or as SQL databases write it, with a space and without an offset,
    /// which is UTC. Fractions of a microsecond are rounded.
    pub(crate) fn of_column(text: &str) -> Option<Self> {
        let moment = text.parse::<jiff::Timestamp>().or_else(|_| {
            let moment: jiff::civil::DateTime = text.parse()?;
            jiff::tz::Offset::UTC.to_timestamp(moment)
        });
        let micros = moment.ok()?.as_microsecond();
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self::from_micros)
        }
    }
}

/// Where a store gets its time from. It may stand still, jump and go back. *Stored time*, which claims and schedules go
/// by, does not go back:
///
/// | what the clock does | what stored time does |
/// |---|---|
/// | goes on | goes on as much |
/// | jumps forward | jumps as much: claims whose timeout lies in between are due, scheduled tasks may be claimed |
/// | jumps back | goes on from where it was, at the clock's pace from the next write on: no claim lasts for longer |
/// | is behind at opening | goes on from the last write before, at the clock's pace from the opening on |
/// | is ahead at opening | begins there |
/// | says more than [`CLOCK_MAX`](crate::limits::CLOCK_MAX) | nothing: every call is refused until it says less |
///
/// So a single wrong moment far ahead stays: stored time goes on from there. A claim keeps its full timeout at the
/// clock's pace whatever was stored before, and everybody who is late is turned away as ever.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The moment it is.
    fn now(&self) -> Timestamp;
}

/// The machine's time: its wall clock when this was made, and from there on its monotonic clock, so that steps of the
/// wall clock while the program runs do not reach the store. On most systems that clock stands still while the machine
/// is suspended, and timeouts with it.
#[derive(Debug, Clone)]
pub struct SystemClock {
    wall_at_start: Timestamp,
    started: Instant,
}

impl SystemClock {
    /// A clock that starts from the wall clock now.
    #[must_use]
    pub fn new() -> Self {
        Self { wall_at_start: SystemTime::now().into(), started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall_at_start + self.started.elapsed()
    }
}

/// A clock that moves when it is told to, for tests. Its clones share the time.
///
/// ```
/// use std::time::Duration;
/// use khala::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_micros(0));
/// clock.clone().advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_micros(1_000_000));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at this moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves it forward.
    pub fn advance(&self, duration: Duration) {
        let later = |now| Some((Timestamp(now) + duration).0);
        // The update function never declines, so there is no failure to report.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Puts it at this moment, also backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_print_and_parse() {
        for moment in [Timestamp::MIN, Timestamp::MAX, Timestamp::from_micros(-1), Timestamp::from_micros(0)] {
            assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
            assert_eq!(Timestamp::from(SystemTime::from(moment)), moment);
        }
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000000Z");
    }

    #[test]
    fn what_lies_outside_the_bounds_becomes_the_bound() {
        assert_eq!(Timestamp::from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_micros(i64::MIN), Timestamp::MIN);
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN.duration_since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_agrees_with_the_wall_and_never_goes_back() {
        let clock = SystemClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second >= first);
        assert!(Timestamp::from(SystemTime::now()).duration_since(first) < Duration::from_secs(60));
    }

    #[test]
    fn text_that_is_not_a_moment_is_refused() {
        for text in ["", "yesterday", "2023-13-01T00:00:00Z", "2023-01-01"] {
            assert!(text.parse::<Timestamp>().unwrap_err().to_string().contains("RFC 3339"), "{text}");
        }
    }
}
