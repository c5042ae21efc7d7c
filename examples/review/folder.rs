//! Which files there are to review.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Result, as_u64, counted, grouped, printable, shown};

/// More files than this are not taken on in one run.
const FILES_MOST: usize = 10_000;

/// How many of the entries that could not be taken are named.
const NAMED_MOST: usize = 10;

/// The files of a folder and of the folders in it, in the order of their paths, and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The folder, absolute, so that its tasks name the same files for a later run elsewhere.
    pub(crate) folder: PathBuf,
    /// Absolute paths.
    pub(crate) files: Vec<String>,
    hidden: usize,
    target: usize,
    links: usize,
    is_cut: bool,
    refused: Vec<String>,
}

/// Lists a folder. The store's own file is none of its files.
pub(crate) fn list(folder: &Path, store: &Path) -> Result<Listing> {
    let refuse = |error: io::Error| format!("cannot review {}: {error}", shown(folder));
    let absolute = fs::canonicalize(folder).map_err(refuse)?;
    if !fs::metadata(&absolute).map_err(refuse)?.is_dir() {
        return Err(format!("{} is not a folder; name the folder it is in", shown(folder)).into());
    }
    // The first folder must open; one that does not further down is only left out.
    fs::read_dir(&absolute).map_err(refuse)?;
    // A store that cannot be found yet cannot be met on the way either.
    let store = fs::canonicalize(store).ok();
    let mut listing = Listing { folder: absolute.clone(), ..Listing::default() };
    // A stack of our own: folders can be nested deeper than calls.
    let mut entries = vec![absolute];
    while let Some(path) = entries.pop() {
        if listing.files.len() == FILES_MOST {
            listing.is_cut = true;
            break;
        }
        if Some(&path) != store.as_ref() {
            listing.visit(&path, &mut entries);
        }
    }
    Ok(listing)
}

impl Listing {
    /// Takes a file, or puts what is in a folder on the stack, the first name on top.
    fn visit(&mut self, path: &Path, entries: &mut Vec<PathBuf>) {
        // Not followed: what a link leads to is reviewed where it is, and a loop of links has no end.
        let kind = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) => return self.refuse(path, &error.to_string()),
        };
        if kind.is_symlink() {
            self.links += 1;
        } else if kind.is_dir() {
            match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>) {
                Ok(found) => {
                    let mut found: Vec<PathBuf> = found.iter().map(DirEntry::path).collect();
                    found.retain(|path| self.is_wanted(path));
                    found.sort_unstable_by(|one, other| other.cmp(one));
                    entries.extend(found);
                }
                Err(error) => self.refuse(path, &error.to_string()),
            }
        } else if !kind.is_file() {
            self.refuse(path, "neither a file nor a folder");
        } else {
            match path.to_str() {
                Some(text) => self.files.push(text.to_owned()),
                None => self.refuse(path, "its name is not UTF-8, and an instruction is text"),
            }
        }
    }

    fn is_wanted(&mut self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            self.hidden += 1;
            return false;
        }
        if name == OsStr::new("target") && path.is_dir() {
            self.target += 1;
            return false;
        }
        true
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        let path = path.strip_prefix(&self.folder).unwrap_or(path);
        self.refused.push(format!("{}: {}", shown(path), printable(why)));
    }

    /// What was not taken and why, as lines of text.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let passed = [
            (self.hidden, counted(self.hidden, "hidden entry")),
            (self.target, counted(self.target, "target folder")),
            (self.links, counted(self.links, "symbolic link")),
        ];
        let passed: Vec<String> = passed.into_iter().filter(|(count, _)| *count > 0).map(|(_, words)| words).collect();
        if !passed.is_empty() {
            lines.push(format!("Passed over: {}", passed.join(", ")));
        }
        lines.extend(self.refused.iter().take(NAMED_MOST).map(|refused| format!("Left out {refused}")));
        if let Some(more) = self.refused.len().checked_sub(NAMED_MOST).filter(|more| *more > 0) {
            lines.push(format!("Left out {} more", grouped(as_u64(more))));
        }
        if self.is_cut {
            lines.push(format!("There are more files: only the first {} are reviewed", counted(FILES_MOST, "file")));
        }
        lines
    }
}
