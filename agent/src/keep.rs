//! Small files of the agent's own: private, whole, and durable when a call returns. In a directory,
//! or in memory, for the thousands of agents that a test runs in one process.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::os;

/// Where an agent keeps what it must not lose.
#[derive(Debug)]
pub enum Keep {
    Directory(PathBuf),
    Memory(Mutex<BTreeMap<String, Vec<u8>>>),
}

impl Keep {
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory(path.into())
    }

    /// Lost with this value.
    pub fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Makes the directory with mode 0700 if need be.
    pub(crate) fn make(&self) -> io::Result<()> {
        match self {
            Self::Directory(path) => os::private_directory(path),
            Self::Memory(_) => Ok(()),
        }
    }

    /// What an error calls a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(path) => path.join(name),
            Self::Memory(_) => Path::new("memory").join(name),
        }
    }

    /// `None` when there is no such file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(path) => match fs::read(path.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Memory(files) => Ok(lock(files).get(name).cloned()),
        }
    }

    /// Puts a whole file with mode 0600 in place.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Directory(path) => write_private(&path.join(name), bytes),
            Self::Memory(files) => {
                lock(files).insert(name.to_owned(), bytes.to_owned());
                Ok(())
            }
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Directory(path) => fs::remove_file(path.join(name)),
            Self::Memory(files) => match lock(files).remove(name) {
                Some(_) => Ok(()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Bytes of one file; `None` when there is no such file.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        match self {
            Self::Directory(path) => fs::metadata(path.join(name)).ok().map(|meta| meta.len()),
            Self::Memory(files) => lock(files).get(name).map(|bytes| bytes.len() as u64),
        }
    }

    /// Names of all files.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        match self {
            Self::Directory(path) => {
                let names = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name()));
                // Our own names are text.
                names.map(|name| Ok(name?.to_string_lossy().into_owned())).collect()
            }
            Self::Memory(files) => Ok(lock(files).keys().cloned().collect()),
        }
    }

    /// Bytes of all files.
    pub(crate) fn total(&self) -> io::Result<u64> {
        match self {
            Self::Directory(path) => fs::read_dir(path)?
                .map(|entry| Ok(entry.and_then(|entry| entry.metadata())?.len()))
                .sum(),
            Self::Memory(files) => Ok(lock(files).values().map(|bytes| bytes.len() as u64).sum()),
        }
    }
}

/// Nothing here panics while the lock is held.
fn lock(files: &Mutex<BTreeMap<String, Vec<u8>>>) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a whole file with mode 0600 in place, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A leftover of a crash; a fresh file has the mode that is asked for.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = os::private(OpenOptions::new().write(true).create_new(true)).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Windows renames no file that is open.
    drop(file);
    os::put_in_place(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_memory_are_the_same() {
        let directory = tempfile::tempdir().unwrap();
        for keep in [Keep::directory(directory.path().join("new")), Keep::memory()] {
            keep.make().unwrap();
            assert_eq!(keep.read("a.json").unwrap(), None);
            assert_eq!((keep.size("a.json"), keep.total().unwrap()), (None, 0));
            keep.write("a.json", b"one").unwrap();
            keep.write("a.json", b"three").unwrap();
            keep.write("b.json", b"two").unwrap();
            let mut names = keep.names().unwrap();
            names.sort();
            assert_eq!(names, ["a.json", "b.json"]);
            assert_eq!(keep.read("a.json").unwrap().as_deref(), Some(&b"three"[..]));
            assert_eq!((keep.size("a.json"), keep.total().unwrap()), (Some(5), 8));
            keep.remove("a.json").unwrap();
            assert_eq!(keep.read("a.json").unwrap(), None);
            assert_eq!(keep.remove("a.json").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
