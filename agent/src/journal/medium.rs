//! Where the lines of a journal are.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::os;

/// A file, or memory.
#[derive(Debug)]
pub(super) enum Medium {
    File { path: PathBuf, file: File },
    Memory(Vec<u8>),
}

impl Medium {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::File { path: path.to_owned(), file: open_file(path)? })
    }

    /// What an error calls it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Memory(_) => PathBuf::from("memory/journal"),
        }
    }

    /// Everything that is there, from its beginning.
    pub fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::File { file, .. } => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file))
            }
            Self::Memory(bytes) => Ok(Box::new(bytes.as_slice())),
        }
    }

    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::File { file, .. } => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Forgets what comes after the first `size` bytes.
    pub fn cut(&mut self, size: u64) -> io::Result<()> {
        match self {
            Self::File { file, .. } => {
                file.set_len(size)?;
                file.sync_all()
            }
            Self::Memory(bytes) => {
                bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                Ok(())
            }
        }
    }

    /// Adds a line, durably.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, .. } => {
                file.write_all(line)?;
                file.sync_data()
            }
            Self::Memory(bytes) => {
                bytes.extend_from_slice(line);
                Ok(())
            }
        }
    }

    /// Makes the name of a new file durable.
    pub fn sync_name(&self) -> io::Result<()> {
        match self {
            Self::File { path, .. } => os::sync_directory(path),
            Self::Memory(_) => Ok(()),
        }
    }

    pub fn read_at(&self, at: u64, size: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::File { path, .. } => {
                let mut line = vec![0; size];
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut line)?;
                Ok(line)
            }
            Self::Memory(bytes) => usize::try_from(at)
                .ok()
                .and_then(|at| bytes.get(at..at.checked_add(size)?))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The same journal with other lines, in one step.
    pub fn replaced(&mut self, text: &str) -> io::Result<Self> {
        match self {
            Self::File { path, file } => {
                let beside = path.with_extension("new");
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true);
                let mut new = os::private(&mut options).open(&beside)?;
                new.write_all(text.as_bytes())?;
                new.sync_all()?;
                drop(new);
                // Windows gives no file the name of one that is open.
                *file = open_file(&beside)?;
                if let Err(error) = os::put_in_place(&beside, path) {
                    *file = open_file(path)?;
                    return Err(error);
                }
                Self::open(path)
            }
            Self::Memory(_) => Ok(Self::Memory(text.as_bytes().to_vec())),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    os::private(OpenOptions::new().read(true).append(true).create(true)).open(path)
}
