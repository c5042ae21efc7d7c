//! `khala`, the command-line tool: a store from a shell, for people who look into theirs and for agents in any language.
//!
//! It stands on the library's public API alone. Each command opens the store, does one thing and closes it again, since one
//! process at a time has the file open; where another has it, the command waits a little (`place.rs`).
//!
//! | file | is about |
//! |---|---|
//! | `main.rs` | what the process ends with |
//! | `args.rs` | the options of all commands |
//! | `commands/` | each command: its arguments, what it does, what it prints |
//! | `place.rs` | where the store is, and opening it |
//! | `output.rs`, `table.rs`, `text.rs` | what is printed: JSON Lines, tables, texts of others made harmless |
//! | `failure.rs` | what went wrong, and what to do about it |
//! | `timeline.rs`, `demo.rs` | the commands that are more than a few lines, each with a folder |
//! | `values.rs` | durations, moments and texts on the command line |
//!
//! | it ends with | when |
//! |---|---|
//! | 0 | it is done |
//! | 1 | it failed: the error stands on stderr, nothing was changed |
//! | 2 | the command line is wrong |
//! | 3 | the answer is no: nothing to claim, or the claim no longer holds |

mod args;
mod commands;
mod demo;
mod failure;
mod output;
mod place;
mod table;
mod text;
mod timeline;
mod values;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Session};
use crate::failure::Failure;

/// What a command came to, where it did not fail.
#[derive(Debug)]
enum Answer {
    Yes,
    /// Nothing went wrong, and it was not done: why.
    No(String),
}

/// What every command gives back.
type Result<T = Answer, E = Failure> = std::result::Result<T, E>;

const FAILED: u8 = 1;
const WRONG_COMMAND_LINE: u8 = 2;
const ANSWER_IS_NO: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let session = Session::new(&cli.common);
    match cli.command.run(&session) {
        Ok(Answer::Yes) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Answer::No(why)) => {
            output::say(&why);
            ExitCode::from(ANSWER_IS_NO)
        }
        Err(failure) => {
            output::say_error(&failure.message(&session.place), failure.advice(&session.place).as_deref());
            ExitCode::from(match failure {
                Failure::Usage(_) => WRONG_COMMAND_LINE,
                failure if failure.is_no() => ANSWER_IS_NO,
                _ => FAILED,
            })
        }
    }
}
