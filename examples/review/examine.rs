//! What is true of a file's text.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::{as_u64, grouped};

/// Files above this are not read: 4 MiB.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// From this many letters on a word says something about what a text is about.
const WORD_LEAST_LETTERS: usize = 4;

/// How many of a file's frequent words are kept.
const WORDS_MOST: usize = 10;

/// From this many characters on a line that occurs again is worth a remark.
const REPEATED_LEAST_CHARS: usize = 40;

/// How much of such a line is kept.
const SHOWN_MOST_CHARS: usize = 60;

/// Kinds of file without text.
pub(crate) const EMPTY: &str = "empty";
pub(crate) const BINARY: &str = "binary";
pub(crate) const NOT_READ: &str = "not read";

/// What an examination found.
#[derive(Debug)]
pub(crate) enum Examined {
    Text(TextFacts),
    /// There is no text to speak of, and this is why.
    NoText {
        kind: &'static str,
        bytes: u64,
        why: String,
    },
}

/// A line, by its number from 1, with a number that belongs to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) chars: usize,
}

/// A line that stands in a file more than once.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) text: String,
    pub(crate) times: usize,
    pub(crate) first: usize,
}

#[derive(Debug, Default)]
pub(crate) struct TextFacts {
    pub(crate) bytes: u64,
    pub(crate) lines: usize,
    pub(crate) blank: usize,
    /// As separated by white space.
    pub(crate) words: usize,
    pub(crate) longest: Line,
    pub(crate) ends_with_newline: bool,
    pub(crate) tab_indented: usize,
    pub(crate) space_indented: usize,
    /// How many lines end in white space, and the first of them.
    pub(crate) trailing: usize,
    pub(crate) first_trailing: Option<usize>,
    pub(crate) todo: usize,
    pub(crate) fixme: usize,
    /// Words of four letters or more that recur, the most frequent first, in lower case.
    pub(crate) frequent: Vec<(String, usize)>,
    /// Of the longer lines that recur, the one that does so most often.
    pub(crate) repeated: Option<Repeated>,
}

/// Examines a file. That it is too large, or no text, is itself a finding.
pub(crate) fn examine(path: &Path) -> io::Result<Examined> {
    Ok(match read(path)? {
        Content::Bytes(bytes) => examine_bytes(&bytes),
        Content::TooLarge(bytes) => {
            let why = format!("not read: {} bytes, the most is {}", grouped(bytes), grouped(FILE_MAX_BYTES));
            Examined::NoText { kind: NOT_READ, bytes, why }
        }
    })
}

enum Content {
    Bytes(Vec<u8>),
    TooLarge(u64),
}

/// The task may be older than the file: what was a file when it was listed can be anything by now, and a pipe would
/// keep its reader waiting for ever.
fn read(path: &Path) -> io::Result<Content> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("no longer a file"));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Ok(Content::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let length = length(&bytes);
    if length > FILE_MAX_BYTES { Ok(Content::TooLarge(length)) } else { Ok(Content::Bytes(bytes)) }
}

fn examine_bytes(bytes: &[u8]) -> Examined {
    let no_text = |kind, why| Examined::NoText { kind, bytes: length(bytes), why };
    match std::str::from_utf8(bytes) {
        Ok("") => no_text(EMPTY, EMPTY.into()),
        Ok(text) if !text.contains('\0') => Examined::Text(TextFacts::of(text)),
        Ok(_) => no_text(BINARY, format!("binary, {} bytes", grouped(length(bytes)))),
        Err(error) => {
            let at = grouped(as_u64(error.valid_up_to()));
            no_text(BINARY, format!("binary, {} bytes, no UTF-8 from byte {at} on", grouped(length(bytes))))
        }
    }
}

impl TextFacts {
    fn of(text: &str) -> Self {
        let mut facts = Self {
            bytes: length(text.as_bytes()),
            words: text.split_whitespace().count(),
            ends_with_newline: text.ends_with('\n'),
            frequent: frequent_words(text),
            repeated: most_repeated_line(text),
            ..Self::default()
        };
        for word in text.split(|char: char| !char.is_alphanumeric()) {
            facts.todo += usize::from(word == "TODO");
            facts.fixme += usize::from(word == "FIXME");
        }
        for (line, number) in text.lines().zip(1..) {
            facts.add_line(line, number);
        }
        facts
    }

    fn add_line(&mut self, line: &str, number: usize) {
        self.lines = number;
        let chars = line.chars().count();
        if chars > self.longest.chars {
            self.longest = Line { number, chars };
        }
        if line.ends_with(char::is_whitespace) {
            self.trailing += 1;
            self.first_trailing.get_or_insert(number);
        }
        if line.trim().is_empty() {
            self.blank += 1;
        } else if line.starts_with('\t') {
            self.tab_indented += 1;
        } else if line.starts_with("  ") {
            // One space alone is no indent: so stands the star of a comment among lines indented by tabs.
            self.space_indented += 1;
        }
    }

    pub(crate) fn is_mixed_indented(&self) -> bool {
        self.tab_indented > 0 && self.space_indented > 0
    }
}

fn frequent_words(text: &str) -> Vec<(String, usize)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in text.split(|char: char| !char.is_alphabetic()) {
        if word.chars().nth(WORD_LEAST_LETTERS - 1).is_some() {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let mut frequent: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    frequent.sort_unstable_by(|(word, count), (other, other_count)| (other_count, word).cmp(&(count, other)));
    frequent.truncate(WORDS_MOST);
    frequent
}

fn most_repeated_line(text: &str) -> Option<Repeated> {
    let mut seen: HashMap<&str, (usize, usize)> = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.chars().nth(REPEATED_LEAST_CHARS - 1).is_some() {
            seen.entry(line).or_insert((0, number)).0 += 1;
        }
    }
    let repeated = seen.into_iter().filter(|(_, (times, _))| *times > 1);
    let (line, (times, first)) = repeated.max_by_key(|(_, (times, first))| (*times, Reverse(*first)))?;
    Some(Repeated { text: beginning(line), times, first })
}

/// The line, cut where it would fill a screen.
fn beginning(line: &str) -> String {
    let mut characters = line.chars();
    let mut beginning: String = characters.by_ref().take(SHOWN_MOST_CHARS).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}

fn length(bytes: &[u8]) -> u64 {
    as_u64(bytes.len())
}
