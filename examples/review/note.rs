//! A review as it stands in its message: the content for people, the meta for programs.
//!
//! The meta is JSON. It names the task and the claim the review was made under, so that the store alone can show that
//! each task was done once.

use khala::{Claim, Message};
use serde_json::{Value, json};

use crate::examine::{Examined, TextFacts};
use crate::{as_u64, counted, grouped, printable};

/// How many of a file's frequent words a person is told of.
const WORDS_TOLD: usize = 5;

/// A review's meta, read back.
#[derive(Clone, Debug)]
pub(crate) struct Note(Value);

/// A review, ready to be posted.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    /// In a line, for the one who watches.
    pub(crate) headline: String,
    pub(crate) content: String,
    pub(crate) meta: String,
}

/// Writes down what was found in the file, and how it compares with what the thread knows already.
pub(crate) fn write(claim: &Claim, file: &str, examined: &Examined, known: &[Note]) -> Review {
    let longest = known.iter().map(Note::longest_file).max_by_key(|(_, lines)| *lines);
    let (mut longest_file, mut longest_lines) = longest.unwrap_or_default();
    let mut meta = json!({ "task": claim.task.id, "claim": claim.id, "file": file });
    let (headline, mut remarks) = match examined {
        Examined::NoText { kind, bytes, why } => {
            add(&mut meta, &json!({ "bytes": bytes, "kind": kind }));
            (printable(why), vec![format!("{file}: {why}.")])
        }
        Examined::Text(facts) => {
            add(&mut meta, &facts_as_json(facts));
            let mut remarks = vec![format!("{file}: {}.", measures(facts))];
            remarks.extend(remarks_on(facts));
            remarks.push(comparison(facts.lines, &longest_file, longest_lines));
            let lines = as_u64(facts.lines);
            if lines > longest_lines {
                (longest_file, longest_lines) = (file.into(), lines);
            }
            (headline(facts), remarks)
        }
    };
    remarks.retain(|remark| !remark.is_empty());
    add(&mut meta, &json!({ "longest_file": longest_file, "longest_lines": longest_lines }));
    Review { headline, content: remarks.join("\n"), meta: meta.to_string() }
}

fn headline(facts: &TextFacts) -> String {
    let longest = grouped(as_u64(facts.longest.chars));
    format!("{}, longest {longest} at {}", counted(facts.lines, "line"), facts.longest.number)
}

fn measures(facts: &TextFacts) -> String {
    format!(
        "{} ({} blank), {} in {} bytes, longest line {} with {}",
        counted(facts.lines, "line"),
        facts.blank,
        counted(facts.words, "word"),
        grouped(facts.bytes),
        facts.longest.number,
        counted(facts.longest.chars, "character"),
    )
}

fn remarks_on(facts: &TextFacts) -> Vec<String> {
    let mut remarks = Vec::new();
    let told: Vec<_> =
        facts.frequent.iter().take(WORDS_TOLD).map(|(word, count)| format!("{word} ({count})")).collect();
    if !told.is_empty() {
        remarks.push(format!("Recurring words: {}.", told.join(", ")));
    }
    if let Some(repeated) = &facts.repeated {
        let (times, first) = (repeated.times, repeated.first);
        remarks.push(format!("Line {first} stands here {times} times: {}", repeated.text));
    }
    if let Some(first) = facts.first_trailing {
        remarks.push(format!("White space at the end of {}, first line {first}.", counted(facts.trailing, "line")));
    }
    if facts.is_mixed_indented() {
        let (tabs, spaces) = (facts.tab_indented, counted(facts.space_indented, "line"));
        remarks.push(format!("Indented by tabs in {}, by spaces in {spaces}.", counted(tabs, "line")));
    }
    if facts.todo + facts.fixme > 0 {
        remarks.push(format!("TODO: {}, FIXME: {}.", facts.todo, facts.fixme));
    }
    if !facts.ends_with_newline {
        remarks.push("The last line has no end.".into());
    }
    remarks
}

fn comparison(lines: usize, longest_file: &str, longest_lines: u64) -> String {
    let lines = as_u64(lines);
    match lines.cmp(&longest_lines) {
        _ if longest_lines == 0 => "The first text reviewed in this thread.".into(),
        std::cmp::Ordering::Greater => {
            format!("The longest reviewed so far, ahead of {longest_file} with {}.", grouped(longest_lines))
        }
        std::cmp::Ordering::Equal => format!("As long as the longest reviewed so far, {longest_file}."),
        std::cmp::Ordering::Less => {
            format!("The longest reviewed so far is {longest_file} with {} lines.", grouped(longest_lines))
        }
    }
}

fn facts_as_json(facts: &TextFacts) -> Value {
    let repeated = facts.repeated.as_ref();
    json!({
        "bytes": facts.bytes,
        "lines": facts.lines,
        "blank": facts.blank,
        "words": facts.words,
        "longest_line": facts.longest.number,
        "longest_line_chars": facts.longest.chars,
        "ends_with_newline": facts.ends_with_newline,
        "mixed_indent": facts.is_mixed_indented(),
        "trailing_white_space": facts.trailing,
        "todo": facts.todo,
        "fixme": facts.fixme,
        "frequent": facts.frequent,
        "repeated": repeated.map(|repeated| repeated.text.as_str()),
        "repeated_times": repeated.map_or(0, |repeated| repeated.times),
        "repeated_first": repeated.map_or(0, |repeated| repeated.first),
    })
}

fn add(meta: &mut Value, more: &Value) {
    if let (Some(meta), Some(more)) = (meta.as_object_mut(), more.as_object()) {
        meta.extend(more.clone());
    }
}

impl Note {
    /// The note in a message, if it is a review of ours.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let meta: Value = serde_json::from_str(message.meta.as_deref()?).ok()?;
        meta.get("task")?.as_str()?;
        Some(Self(meta))
    }

    /// 0 where the note does not say.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Nothing where the note does not say.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What the note says is so.
    pub(crate) fn says(&self, name: &str, so: bool) -> bool {
        self.0.get(name).and_then(Value::as_bool) == Some(so)
    }

    pub(crate) fn frequent_words(&self) -> Vec<(String, u64)> {
        let words = self.0.get("frequent").cloned().unwrap_or_default();
        serde_json::from_value(words).unwrap_or_default()
    }

    fn longest_file(&self) -> (String, u64) {
        (self.text("longest_file").into(), self.number("longest_lines"))
    }
}
