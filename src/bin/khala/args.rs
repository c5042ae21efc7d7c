//! The options of all commands, and what the commands make of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::output::Output;
use crate::place::{Check, Place};
use crate::values;

/// Looks into a khala store, and takes part in it: threads, messages and tasks in one file.
#[derive(Debug, Parser)]
#[command(name = "khala", version, max_term_width = 100, after_long_help = AFTER_HELP, arg_required_else_help = true)]
#[command(subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
The store:
  It is the file agents.khala in this folder, unless --store or KHALA_STORE names another. Only `init` creates one.

  One process at a time has a store open. Each command opens it, does one thing and closes it; where another \
process has it open, the command waits for --lock-wait. So any number of scripts share a store through this \
tool; with a program that keeps it open they cannot.

What it ends with:
  0  done
  1  failed: stderr says what, and what to do about it; nothing was changed
  2  the command line is wrong
  3  the answer is no: nothing to claim, or the claim no longer holds

Examples:
  export KHALA_STORE=agents.khala
  khala init
  thread=$(khala thread new release --initiator ada)
  khala task add $thread --role writer 'Draft the release notes.'
  khala claim --role writer --agent writer-1 --wait 30s
  khala tasks --status open
  khala --json tasks --all | jq .instruction";

/// What goes with every command.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// The file that the store is in.
    #[arg(long, global = true, value_name = "FILE", env = "KHALA_STORE", default_value = "agents.khala")]
    #[arg(help_heading = "Options of all commands", hide_env_values = true)]
    store: PathBuf,

    /// Print JSON Lines: one object for each row, under the library's field names.
    #[arg(long, global = true, help_heading = "Options of all commands")]
    json: bool,

    /// How long to wait while another process has the store open, such as 500ms, 30s or 0s.
    #[arg(long, global = true, value_name = "DURATION", env = "KHALA_LOCK_WAIT", default_value = "5s")]
    #[arg(value_parser = values::duration, help_heading = "Options of all commands", hide_env_values = true)]
    lock_wait: Duration,

    /// Whether to check every page of the file before it is used.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Check::Auto)]
    #[arg(help_heading = "Options of all commands")]
    check: Check,
}

/// What a command has at hand.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) place: Place,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) fn new(common: &Common) -> Self {
        let place = Place { path: common.store.clone(), lock_wait: common.lock_wait, check: common.check };
        Self { place, output: Output::new(common.json) }
    }
}
