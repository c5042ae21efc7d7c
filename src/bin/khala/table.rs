//! Tables: no lines, a heading, a row for each thing.
//!
//! On a terminal they are as wide as it is and their last column gives way; in a pipe nothing is cut but long texts.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Row, Table, presets};
use khala::{TaskStatus, ThreadStatus};

/// A column: its heading, and what stands in it.
pub(crate) struct Column<T> {
    pub(crate) heading: &'static str,
    pub(crate) cell: fn(&T) -> Cell,
}

/// What a table looks like where it is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    pub(crate) is_terminal: bool,
}

/// A table in the making.
pub(crate) struct Rows {
    table: Table,
    look: Look,
    columns: usize,
}

impl Rows {
    pub(crate) fn new<T>(columns: &[Column<T>], look: Look) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !look.is_terminal {
            table.force_no_tty();
        }
        if look.colour {
            table.enforce_styling();
        }
        table.set_header(columns.iter().map(|column| Cell::new(column.heading).add_attribute(Attribute::Bold)));
        Self { table, look, columns: columns.len() }
    }

    pub(crate) fn add<T>(&mut self, row: &T, columns: &[Column<T>]) {
        let mut cells = Row::from(columns.iter().map(|column| (column.cell)(row)).collect::<Vec<_>>());
        cells.max_height(1);
        self.table.add_row(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The table as text, each line ended.
    pub(crate) fn render(mut self) -> String {
        if self.look.is_terminal {
            self.table.set_content_arrangement(ContentArrangement::Dynamic);
            // An id that is cut is of no use.
            for column in self.table.column_iter_mut().take(self.columns.saturating_sub(1)) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// What a task's status looks like.
pub(crate) fn task_status(status: TaskStatus) -> Cell {
    let cell = Cell::new(status);
    match status {
        TaskStatus::Open => cell.fg(Color::Yellow),
        TaskStatus::Claimed => cell.fg(Color::Cyan),
        TaskStatus::Completed => cell.fg(Color::Green),
        TaskStatus::Failed => cell.fg(Color::Red),
        _ => cell.add_attribute(Attribute::Dim),
    }
}

/// What a thread's status looks like.
pub(crate) fn thread_status(status: ThreadStatus) -> Cell {
    let cell = Cell::new(status);
    match status {
        ThreadStatus::Active => cell.fg(Color::Cyan),
        ThreadStatus::Completed => cell.fg(Color::Green),
        ThreadStatus::Failed => cell.fg(Color::Red),
        _ => cell.add_attribute(Attribute::Dim),
    }
}

/// A number, at the right edge of its column.
pub(crate) fn number(number: impl ToString) -> Cell {
    Cell::new(number).set_alignment(comfy_table::CellAlignment::Right)
}
