//! `khala timeline`: a thread as a picture.
//!
//! | file | is about |
//! |---|---|
//! | `timeline.rs` | the command, and the file that the picture goes to |
//! | `timeline/scene.rs` | what is read of the thread, and the lanes it makes |
//! | `timeline/axis.rs` | time from left to right |
//! | `timeline/picture.rs` | the drawing |

mod axis;
mod picture;
mod scene;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use khala::ThreadId;
use serde::Serialize;

use crate::args::Session;
use crate::failure::Failure;
use crate::text::bytes;
use crate::{Answer, Result};
use scene::Scene;

/// Draws a thread as a picture: lanes for agents, bars for claims, marks for messages.
#[derive(Args, Debug)]
#[command(after_help = "\
Pointing at a bar or a mark shows what it is about. Of a task that was tried more than once the last claim is drawn: the
store keeps no other.

Examples:
  khala timeline 01D39ZY06FGSCTVN4T2V9PKHFZ -o release.svg
  khala timeline 01D39ZY06FGSCTVN4T2V9PKHFZ -o - | rsvg-convert > release.png")]
pub(crate) struct Timeline {
    /// Which thread.
    #[arg(value_name = "THREAD")]
    thread: ThreadId,

    /// The file to draw it into; - is the standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Drawn {
    thread: ThreadId,
    file: String,
    tasks: usize,
    messages: usize,
    bytes: usize,
}

impl Timeline {
    pub(crate) fn run(self, session: &Session) -> Result {
        let scene = session.place.with(|store| Scene::of(store, self.thread))?;
        let scene = scene.ok_or(khala::Error::ThreadNotFound(self.thread))?;
        let picture = picture::draw(&scene);
        if self.output == Path::new("-") {
            crate::output::print(picture.as_bytes())?;
            return Ok(Answer::Yes);
        }
        save(&self.output, &picture, self.force)?;
        let drawn = Drawn {
            thread: self.thread,
            file: self.output.display().to_string(),
            tasks: scene.tasks.len(),
            messages: scene.messages.len(),
            bytes: picture.len(),
        };
        let size = bytes(u64::try_from(drawn.bytes).unwrap_or(u64::MAX));
        session.output.one(&drawn, |drawn| {
            format!("{}: {} tasks and {} messages, {size}\n", drawn.file, drawn.tasks, drawn.messages)
        })?;
        Ok(Answer::Yes)
    }
}

/// Puts the picture into a file that is there whole or not at all.
fn save(path: &Path, picture: &str, force: bool) -> Result<()> {
    let name = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Failure::other(format!("{name} is a folder"))),
        Ok(found) if !found.is_file() => return Err(Failure::other(format!("{name} is no regular file"))),
        Ok(_) if !force => return Err(is_there(path)),
        _ => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: &std::io::Error| Failure::other(format!("cannot write {name}: {}", said(error)));
    let mut new = tempfile::Builder::new();
    #[cfg(unix)]
    new.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less what the user's mask takes away
    let mut file = new.prefix(".khala-").suffix(".svg").tempfile_in(folder).map_err(|error| failed(&error))?;
    file.write_all(picture.as_bytes()).map_err(|error| failed(&error))?;
    let saved = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match saved {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        Err(refused) => Err(failed(&refused.error)),
    }
}

/// What the operating system said, without the path that tempfile adds to it: that is not the one that was asked for.
fn said(error: &std::io::Error) -> String {
    let cause = error.get_ref().and_then(|wrapped| wrapped.source());
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn is_there(path: &Path) -> Failure {
    let advice = Some("It was not touched. --force replaces it.".into());
    Failure::Other { message: format!("{} is there already", path.display()), advice }
}
