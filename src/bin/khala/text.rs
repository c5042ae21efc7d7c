//! Texts of others, and how times and sizes are written.
//!
//! What agents say is printed on people's terminals. A control character in it could move the cursor, hide what was said or
//! do worse, so none but line breaks and tabs gets there: each is shown as its escape.

use std::borrow::Cow;

use khala::Timestamp;

/// How much of a text a table shows.
const SUMMARY_CHARS: usize = 80;

/// The text with every character that could do something to a terminal made visible.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\n' | '\t') || !is_control(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// The same JSON, with the characters escaped that could do something to a terminal and that JSON leaves as they are.
/// They stand within strings alone, where an escape means the same.
pub(crate) fn harmless_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_control) {
        return json.into();
    }
    let escaped = |character: char| {
        if is_control(character) { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    };
    json.chars().map(escaped).collect::<String>().into()
}

/// Control characters, and those that turn the direction of what stands around them.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A harmless text in one line, cut where a table would become too wide.
pub(crate) fn summary(text: &str) -> String {
    let mut shown = String::new();
    // Twice as much is looked at, so that what becomes shorter still fills the line, and a long text is not walked.
    let start = text.char_indices().nth(2 * SUMMARY_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or(text));
    for word in start.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(&harmless(word));
    }
    match shown.char_indices().nth(SUMMARY_CHARS) {
        Some((end, _)) => shown.get(..end).unwrap_or_default().to_owned() + "…",
        None if start.len() < text.len() => shown + "…",
        None => shown,
    }
}

/// Each line of a harmless text behind this margin.
pub(crate) fn indented(text: &str, margin: &str) -> String {
    harmless(text.trim_end()).lines().map(|line| format!("{margin}{line}").trim_end().to_owned() + "\n").collect()
}

/// The moment to the second, in UTC.
pub(crate) fn moment(moment: Timestamp) -> String {
    let text = moment.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The moment, or a dash.
pub(crate) fn moment_or_dash(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "-".into(), self::moment)
}

/// So many bytes, as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// So many of this, which takes an s when they are many.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_a_line_is_left() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\r\n\tc\\u{202e}d\\u{9b}");
    }

    #[test]
    fn harmless_json_means_the_same() {
        let text = "a\u{9b}b\u{202e}c\u{1b}\n\"é😀";
        let json = serde_json::to_string(text).unwrap();
        let shown = harmless_json(&json);
        assert!(!shown.chars().any(is_control), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    #[test]
    fn a_summary_is_one_line_and_says_that_it_was_cut() {
        assert_eq!(summary(" a\n\n b\u{7} "), "a b\\u{7}");
        assert_eq!(summary(&"é".repeat(SUMMARY_CHARS)), "é".repeat(SUMMARY_CHARS));
        assert_eq!(summary(&"é".repeat(SUMMARY_CHARS + 1)), "é".repeat(SUMMARY_CHARS) + "…");
        assert_eq!(summary(&format!("a{}b", " ".repeat(1_000))), "a…");
    }

    #[test]
    fn lines_keep_their_indentation_behind_the_margin() {
        assert_eq!(indented("a\n\n  b\n\n", "| "), "| a\n|\n|   b\n");
    }

    #[test]
    fn a_moment_is_shown_to_the_second() {
        assert_eq!(moment(Timestamp::from_micros(1_999_999)), "1970-01-01T00:00:01Z");
    }
}
