//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Several agents review the text files of a folder, and share one store to do it.

Usage: review [FOLDER] [--agents N] [--store FILE]

  FOLDER        the folder to review, with the folders in it   [this project's src]
  --agents N    how many agents work at it, 1 to 64; one of them
                crashes, unless it is the only one             [4]
  --store FILE  where the agents keep their work; made if it
                does not exist, and may be used again          [review.khala]
  --help        show this

Hidden files, folders named target and symbolic links are passed over.
Tasks that an interrupted run left in the store are finished as well. A file
that cannot be read is tried three times; then its task has failed.
";

const AGENTS_MOST: usize = 64;

/// What is to be done, where, by how many.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) folder: PathBuf,
    pub(crate) agents: usize,
    pub(crate) store: PathBuf,
}

#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Review(Options),
}

/// What the arguments ask for, or what is wrong with them. Paths need not be UTF-8.
pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let (mut folder, mut agents, mut store) = (None, None, None);
    while let Some(argument) = arguments.next() {
        let (name, inline) = split(&argument);
        match name {
            "--help" | "-h" if inline.is_none() => return Ok(Asked::Help),
            "--agents" => {
                let value = value("--agents", inline, &mut arguments)?;
                once("--agents", &mut agents, agent_count(&value)?)?;
            }
            "--store" => {
                let file = value("--store", inline, &mut arguments)?;
                once("--store", &mut store, PathBuf::from(file))?;
            }
            option if option.starts_with('-') => return Err(format!("there is no option {option}")),
            _ if argument.is_empty() => return Err("the folder's name is empty".into()),
            _ => once("FOLDER", &mut folder, PathBuf::from(argument))?,
        }
    }
    Ok(Asked::Review(Options {
        folder: folder.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))),
        agents: agents.unwrap_or(4),
        store: store.unwrap_or_else(|| PathBuf::from("review.khala")),
    }))
}

/// `--name=value` in its two parts. What is not UTF-8 is no option, and so a path.
fn split(argument: &OsString) -> (&str, Option<OsString>) {
    let text = argument.to_str().unwrap_or_default();
    match text.split_once('=') {
        Some((name, value)) if name.starts_with("--") => (name, Some(value.into())),
        _ => (text, None),
    }
}

fn value(
    option: &str,
    inline: Option<OsString>,
    arguments: &mut impl Iterator<Item = OsString>,
) -> Result<OsString, String> {
    let value = inline.or_else(|| arguments.next()).filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("{option} needs a value"))
}

fn agent_count(text: &OsString) -> Result<usize, String> {
    let count = text.to_str().and_then(|text| text.parse().ok()).filter(|count| (1..=AGENTS_MOST).contains(count));
    count.ok_or_else(|| format!("--agents {} is not a number from 1 to {AGENTS_MOST}", text.display()))
}

fn once<T>(what: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    if place.replace(value).is_some() { Err(format!("{what} is given twice")) } else { Ok(()) }
}
