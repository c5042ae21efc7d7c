//! What a shell and its users want besides: completions and manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{Cli, Session};
use crate::failure::Failure;
use crate::output::print;
use crate::{Answer, Result};

/// Prints what makes a shell complete this command.
#[derive(Args, Debug)]
#[command(after_help = "Example: khala completions bash >~/.local/share/bash-completion/completions/khala")]
pub(crate) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, _: &Session) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "khala", &mut script);
        print(&script)?;
        Ok(Answer::Yes)
    }
}

/// Prints the manual page, or writes one for each command into a folder.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  khala man | man -l -
  khala man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Where the pages go: a folder that is there.
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, _: &Session) -> Result {
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| Failure::other(format!("cannot write the manual page: {error}")))?;
            print(&page)?;
            return Ok(Answer::Yes);
        };
        clap_mangen::generate_to(Cli::command(), &folder).map_err(|error| {
            Failure::other(format!("cannot write the manual pages into {}: {error}", folder.display()))
        })?;
        Ok(Answer::Yes)
    }
}
