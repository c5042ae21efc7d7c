//! Durations, moments, claims and texts as they are written on the command line.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::{Span, SpanRelativeTo};
use khala::limits::TEXT_MAX_BYTES;
use khala::{ClaimId, TaskId, Timestamp};

use crate::Result;
use crate::failure::Failure;

/// Such as `30s`, `5m`, `1h 30m`, `2d`, `500ms` or 0.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let span = text.parse::<Span>().map_err(|_| "it is not a duration such as 500ms, 30s, 5m, 1h or 2d".to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let duration = duration.map_err(|_| "its months and years have no fixed length; use days".to_owned())?;
    Duration::try_from(duration).map_err(|_| "it is less than nothing".into())
}

/// A duration in whole seconds, rounded up.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let duration = duration(text)?;
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).map_err(|_| format!("it is {seconds} seconds; the most is {}", u32::MAX))
}

/// How many, and not none.
pub(crate) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| format!("it is not a whole number from 1 to {}", usize::MAX))
}

/// A moment: RFC 3339, a date (its beginning in UTC), or so long ago.
pub(crate) fn past(text: &str) -> Result<Timestamp, String> {
    moment(text, |now, duration| now.checked_sub(duration))
}

/// A moment: RFC 3339, a date (its beginning in UTC), or so long from now.
pub(crate) fn future(text: &str) -> Result<Timestamp, String> {
    moment(text, |now, duration| now.checked_add(duration))
}

fn moment(text: &str, from_now: impl Fn(SystemTime, Duration) -> Option<SystemTime>) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()) {
        return Ok(moment);
    }
    let duration = duration(text).map_err(
        |_| "it is no moment such as 2026-01-31 or 2026-01-31T12:00:00Z, and no duration such as 10m or 30d",
    )?;
    from_now(SystemTime::now(), duration).map(Timestamp::from).ok_or_else(|| "it is out of all time".into())
}

/// A task and the claim that is shown for it, as `TASK:CLAIM`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Under {
    pub(crate) task: TaskId,
    pub(crate) claim: ClaimId,
}

impl FromStr for Under {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (task, claim) =
            text.split_once(':').ok_or("it is not TASK:CLAIM, the two ids with a colon between them")?;
        let task = task.parse().map_err(|error: khala::Error| error.to_string())?;
        let claim = claim.parse().map_err(|error: khala::Error| error.to_string())?;
        Ok(Self { task, claim })
    }
}

/// The text, or all of the standard input if it is `-`.
pub(crate) fn text(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more than the store takes, so that it is the store that says so.
    let most = u64::try_from(TEXT_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
    read.map_err(|error| Failure::other(format!("cannot read the standard input: {error}")))?;
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        // The cut may have gone through a character.
        if error.as_bytes().len() > TEXT_MAX_BYTES && valid + 4 > error.as_bytes().len() {
            return Ok(String::from_utf8_lossy(error.as_bytes()).into_owned());
        }
        Err(Failure::other(format!("the standard input is not UTF-8 text, from byte {valid} on")))
    })
}

/// The texts of several arguments, of which one alone can be the standard input.
pub(crate) fn texts<const N: usize>(arguments: [Option<&str>; N]) -> Result<[Option<String>; N]> {
    if arguments.iter().filter(|argument| **argument == Some("-")).count() > 1 {
        return Err(Failure::Usage("only one text can be -, the standard input".into()));
    }
    let mut texts = [const { None }; N];
    for (text, argument) in texts.iter_mut().zip(arguments) {
        *text = argument.map(self::text).transpose()?;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_do() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("500ms", 500), ("30s", 30_000), ("1h 30m", 5_400_000), ("1h30m", 5_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("2d"), Ok(Duration::from_secs(2 * 24 * 60 * 60)));
        assert_eq!(duration("1w"), Ok(Duration::from_secs(7 * 24 * 60 * 60)));
        for text in ["", "5", "s", "-5s", "5s ago", "1 month", "2y", "1e9s", "forever", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_second_is_a_second_and_too_many_are_refused() {
        assert_eq!(seconds("1500ms"), Ok(2));
        assert_eq!(seconds("4294967295s"), Ok(u32::MAX));
        assert!(seconds("4294967296s").unwrap_err().contains("4294967295"));
    }

    #[test]
    fn a_moment_is_a_date_a_time_or_so_far_from_now() {
        let midnight = "2026-01-31T00:00:00Z".parse().unwrap();
        assert_eq!(past("2026-01-31"), Ok(midnight));
        assert_eq!(future("2026-01-31T00:00:00Z"), Ok(midnight));
        let (ago, now, ahead) = (past("1h").unwrap(), past("0").unwrap(), future("1h").unwrap());
        assert!(ago < now && now < ahead);
        assert!(now.duration_since(ago) >= Duration::from_secs(60 * 60));
        for text in ["tomorrow", "2026-13-01", "2026-01-31T00:00", ""] {
            assert!(past(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_text_alone_is_the_standard_input() {
        assert!(matches!(texts([Some("-"), Some("a"), Some("-")]), Err(Failure::Usage(_))));
        assert_eq!(texts([Some("a"), None]).unwrap(), [Some("a".to_owned()), None]);
    }
}
