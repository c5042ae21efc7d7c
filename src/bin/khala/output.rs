//! What is printed: for people tables and texts, for programs a JSON object a line.
//!
//! Results go to stdout, and nothing else does; everything that is said about them goes to stderr. Colour is used where
//! it is a terminal and `NO_COLOR` is not set.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use khala::{Cursor, Progress};
use serde::Serialize;

use crate::Result;
use crate::failure::Failure;
use crate::table::{Column, Look, Rows};
use crate::text::harmless_json;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();

/// Where results go, and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    is_terminal: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let colour = AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { json, is_terminal: stdout.is_terminal(), colour }
    }

    /// Whether a person looks at it as it comes.
    pub(crate) fn is_for_a_terminal(&self) -> bool {
        self.is_terminal && !self.json
    }

    /// One result: as JSON, or as this text, whose styles are left out where there is no colour.
    pub(crate) fn one<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json { print_json(std::slice::from_ref(value)) } else { self.text(&text(value)) }
    }

    /// This text, whose styles are left out where there is no colour.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        let text = if self.colour { text.into() } else { anstream::adapter::strip_str(text).to_string() };
        print(text.as_bytes())
    }

    /// A list, begun; its columns are for people.
    pub(crate) fn list<'a, T: Serialize>(&'a self, columns: &'a [Column<T>]) -> List<'a, T> {
        let look = Look { colour: self.colour, is_terminal: self.is_terminal };
        List { output: self, columns, rows: Rows::new(columns, look) }
    }
}

/// Each value as a line of JSON.
fn print_json<T: Serialize>(values: &[T]) -> Result<()> {
    let mut lines = String::new();
    for value in values {
        let line =
            serde_json::to_string(value).map_err(|error| Failure::other(format!("cannot print JSON: {error}")))?;
        lines.push_str(&harmless_json(&line));
        lines.push('\n');
    }
    print(lines.as_bytes())
}

/// These bytes as they are, as a result.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::of_output)
}

/// A wheel that turns while something takes long that cannot say how far it is. It hides itself where stderr is no
/// terminal.
pub(crate) fn wheel(what: &'static str) -> ProgressBar {
    let wheel = ProgressBar::new_spinner().with_message(what);
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let wheel = style.map_or(wheel.clone(), |style| wheel.with_style(style));
    wheel.enable_steady_tick(Duration::from_millis(100));
    wheel
}

/// How far a long operation is. It hides itself where stderr is no terminal, and is gone when it is dropped.
pub(crate) struct Bar {
    bar: ProgressBar,
    total: Option<u64>,
}

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = wheel(what);
        let style = ProgressStyle::with_template("{spinner} {msg} {human_pos}, {elapsed}");
        Self { bar: style.map_or(bar.clone(), |style| bar.with_style(style)), total: None }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        if progress.total != self.total {
            self.total = progress.total;
            let style =
                ProgressStyle::with_template("{spinner} {msg} {wide_bar} {human_pos} of {human_len}, {eta} left");
            if let (Some(total), Ok(style)) = (self.total, style) {
                self.bar.set_length(total);
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A list in the making: rows as they come for programs, a table at the end for people.
pub(crate) struct List<'a, T> {
    output: &'a Output,
    columns: &'a [Column<T>],
    rows: Rows,
}

impl<T: Serialize> List<'_, T> {
    pub(crate) fn add(&mut self, items: &[T]) -> Result<()> {
        if self.output.json {
            return print_json(items);
        }
        for item in items {
            self.rows.add(item, self.columns);
        }
        Ok(())
    }

    /// Ends the list. Where it goes on stands on stderr, so that there are nothing but rows on stdout.
    pub(crate) fn end(self, what: &str, next: Option<&Cursor>) -> Result<()> {
        let is_empty = self.rows.is_empty() && !self.output.json;
        if is_empty {
            say(&format!("no {what}"));
        } else if !self.output.json {
            self.output.text(&self.rows.render())?;
        }
        match next {
            Some(next) if self.output.json => say(&format!("{{\"next\":\"{next}\"}}")),
            Some(next) => say(&format!("there are more: the same with --after {next}, or --all")),
            None => {}
        }
        Ok(())
    }
}

/// Lines of names and what they stand for, the names in one column.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = fields.iter().map(|(name, value)| format!("{DIM}{name:<width$}{DIM:#}  {value}\n"));
    lines.collect::<Vec<_>>().concat()
}

/// Says something about the work, not its result.
pub(crate) fn say(line: &str) {
    // If nobody can be told, nobody can be told that either.
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Says what went wrong, and what to do about it.
pub(crate) fn say_error(message: &str, advice: Option<&str>) {
    let red = AnsiColor::Red.on_default().bold();
    say(&format!("{red}error:{red:#} {}", crate::text::harmless(message)));
    if let Some(advice) = advice {
        say(&format!("  {}", crate::text::harmless(advice)));
    }
}
