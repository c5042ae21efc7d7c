//! The file a store lives in: opened only if it is one, created so that a crash leaves nothing half-made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::planted::{Bug, planted};

/// What every file of the engine begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// So many bytes tell whether a file was closed.
pub(super) const HEADER_BYTES: usize = MAGIC.len() + 1;

/// The engine sets this bit of the byte behind the magic before it changes a file, and takes it away when it closes it.
const RECOVERY_REQUIRED: u8 = 2;

/// Whether a file that begins like this was closed by who had it open last.
pub(super) fn was_closed(header: &[u8; HEADER_BYTES]) -> bool {
    let [.., flags] = header;
    flags & RECOVERY_REQUIRED == 0
}

/// The file at `path`, open for reading and writing; `None` if nothing is there. What is there and cannot be a store
/// is refused before anybody locks it, writes to it, or waits for it as one would for a pipe.
pub(super) fn open_existing(path: &Path) -> Result<Option<File>> {
    let failed = |source| io_error("open the store", path, source);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_there(path) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(Error::NotAStore { path: path.into() });
    }
    // The superuser could write to it all the same, and would override what its owner decided.
    if metadata.permissions().readonly() {
        return Err(failed(ErrorKind::PermissionDenied.into()));
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => Ok(Some(file)),
        Ok(()) => Err(Error::NotAStore { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Error::NotAStore { path: path.into() }),
        Err(error) => Err(failed(error)),
    }
}

/// Whether there is something at `path`, if only a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What tells a file from every other, whatever it is called, where the system says so.
pub(super) type Identity = (u64, u64);

fn identity_in(metadata: &fs::Metadata) -> Identity {
    #[cfg(unix)]
    let identity = (metadata.dev(), metadata.ino());
    #[cfg(not(unix))]
    let identity = (0, metadata.is_file().into());
    identity
}

/// Which file this is.
pub(super) fn identity(file: &File, path: &Path) -> Result<Identity> {
    file.metadata().map(|metadata| identity_in(&metadata)).map_err(|source| io_error("open the store", path, source))
}

/// Whether this file, and no other, is at `path`.
pub(super) fn is_at(path: &Path, identity: Identity) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(identity_in(&metadata) == identity),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("open the store", path, error)),
    }
}

/// A store in the making, under another name in the same folder. It takes the store's name when it is whole and on
/// the disk; dropped before that, it disappears. A crash leaves the other name behind, and the next creation takes it.
pub(super) struct Draft {
    path: PathBuf,
    other_name: PathBuf,
    file: File,
    /// Locked while this lives, so that two creators do not replace each other's file.
    folder: File,
    published: bool,
}

impl Draft {
    /// Begins a file for a store at `path`; `None` if somebody else has created one meanwhile.
    pub(super) fn begin(path: &Path) -> Result<Option<Self>> {
        let (folder_path, folder) = lock_folder_of(path)?;
        if is_there(path) {
            return Ok(None);
        }
        Self::in_folder(path, folder_path, folder).map(Some)
    }

    /// Begins a file that is to take the place of the one at `path`.
    pub(super) fn begin_over(path: &Path) -> Result<Self> {
        let (folder_path, folder) = lock_folder_of(path)?;
        Self::in_folder(path, folder_path, folder)
    }

    fn in_folder(path: &Path, folder_path: &Path, folder: File) -> Result<Self> {
        let failed = |source| io_error("create the store", path, source);
        let name = path.file_name().ok_or_else(|| failed(ErrorKind::IsADirectory.into()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let other_name = folder_path.join(hidden);
        match fs::remove_file(&other_name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = create_private(&other_name).map_err(failed)?;
        Ok(Self { path: path.into(), other_name, file, folder, published: false })
    }

    /// The file, for the engine to fill.
    pub(super) fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|source| io_error("create the store", &self.path, source))
    }

    /// Makes the file its owner's who owns a file of these properties, and open to whom that is.
    pub(super) fn resemble(&self, metadata: &fs::Metadata) -> Result<()> {
        let failed = |source| io_error("keep owner and mode of the store", &self.path, source);
        #[cfg(unix)]
        {
            let own = self.file.metadata().map_err(failed)?;
            if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
                std::os::unix::fs::fchown(&self.file, Some(metadata.uid()), Some(metadata.gid())).map_err(failed)?;
            }
        }
        self.file.set_permissions(metadata.permissions()).map_err(failed)
    }

    /// Gives the file its name, if nothing has it: whatever came there meanwhile stays, whoever made it. When this returns
    /// `Ok`, content and name survive a power cut.
    pub(super) fn publish_beside(self) -> Result<()> {
        let linked = sync(&self.file).and_then(|()| fs::hard_link(&self.other_name, &self.path));
        match linked {
            Ok(()) => sync(&self.folder).map_err(|source| {
                // Nobody has been told of it.
                let _ = fs::remove_file(&self.path);
                io_error("create the store", &self.path, source)
            }),
            Err(_) if is_there(&self.path) => Err(Error::FileExists { path: self.path.clone() }),
            // A file system without second names: the folder's lock keeps off whoever makes stores, if nobody else.
            Err(error) if is_for_want_of_links(&error) => self.publish(),
            Err(source) => Err(io_error("create the store", &self.path, source)),
        }
    }

    /// Gives the file its name. When this returns `Ok`, content and name survive a power cut.
    pub(super) fn publish(mut self) -> Result<()> {
        let published = sync(&self.file)
            .and_then(|()| fs::rename(&self.other_name, &self.path))
            .inspect(|()| self.published = true)
            .and_then(|()| sync(&self.folder));
        published.map_err(|source| io_error("create the store", &self.path, source))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the next creation removes what stays.
            let _ = fs::remove_file(&self.other_name);
        }
    }
}

/// The folder that a file is in, locked until it is dropped, and how it is called.
fn lock_folder_of(path: &Path) -> Result<(&Path, File)> {
    let failed = |source| io_error("create the store", path, source);
    let folder_path = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = File::open(folder_path).map_err(failed)?;
    folder.lock().map_err(failed)?;
    Ok((folder_path, folder))
}

/// A new file that only its owner may read: conversations and hashed tokens are nobody else's business.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn is_for_want_of_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

fn sync(file: &File) -> io::Result<()> {
    if planted(Bug::SyncSkipped) { Ok(()) } else { file.sync_all() }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: Some(path.into()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_draft_that_cannot_take_its_name_says_so_and_disappears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.khala");
        let draft = Draft::begin(&path).unwrap().unwrap();
        // Somebody puts something there that no file can take the place of.
        fs::create_dir(&path).unwrap();
        let error = draft.publish().unwrap_err();
        assert!(matches!(&error, Error::Io { path: Some(named), .. } if *named == path), "{error:?}");
        assert_eq!(names_in(folder.path()), ["agents.khala"]);
        fs::remove_dir(&path).unwrap();
        Draft::begin(&path).unwrap().unwrap().publish().unwrap();
        assert_eq!(names_in(folder.path()), ["agents.khala"]);
    }

    #[test]
    fn a_draft_that_is_gone_is_not_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.khala");
        let draft = Draft::begin(&path).unwrap().unwrap();
        fs::remove_file(&draft.other_name).unwrap();
        assert!(draft.publish().is_err());
        assert_eq!(names_in(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn a_draft_that_is_given_up_disappears() {
        let folder = tempfile::tempdir().unwrap();
        drop(Draft::begin(&folder.path().join("agents.khala")).unwrap().unwrap());
        assert_eq!(names_in(folder.path()), Vec::<String>::new());
    }
}
