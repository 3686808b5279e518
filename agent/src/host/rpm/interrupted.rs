//! What a transaction was about to change, written down before it begins and gone when it came to an end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::host::package::{PackageName, PackageVersion};

/// Each package, and the version that it should have afterwards.
pub(super) type Targets = BTreeMap<PackageName, Option<PackageVersion>>;

/// The note; none is there while nothing is open.
#[derive(Debug)]
pub(super) struct Interrupted(PathBuf);

impl Interrupted {
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes it down, durably. What an earlier note has stays in it.
    pub fn begin(&self, targets: &Targets) -> io::Result<()> {
        let mut all = self.read()?;
        all.extend(targets.clone());
        let directory = self.0.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(&all)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        File::open(directory)?.sync_all()
    }

    pub fn end(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Empty when nothing is open.
    pub fn read(&self) -> io::Result<Targets> {
        match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Targets::new()),
            content => Ok(serde_json::from_slice(&content?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_there_until_the_end() {
        let root = tempfile::tempdir().unwrap();
        let note = Interrupted::at(root.path().join("deep/note.json"));
        assert_eq!(note.read().unwrap(), Targets::new());
        note.end().unwrap();
        let one: Targets = [("app".parse().unwrap(), "1-1".parse().ok())].into();
        let two: Targets = [("lib".parse().unwrap(), None)].into();
        note.begin(&one).unwrap();
        note.begin(&two).unwrap();
        assert_eq!(note.read().unwrap(), one.into_iter().chain(two).collect());
        note.end().unwrap();
        assert_eq!(note.read().unwrap(), Targets::new());
        fs::write(note.path(), "{").unwrap();
        assert!(note.read().is_err());
    }
}
