//! Putting a whole file in place of another.

use nexplane_agent::host::{FileMeta, Host, HostError, HostPath, Ids, Mode};

use super::super::command::Command;
use super::Remote;

/// What is written before it takes the place of `path`: always the same name, so that what an interruption left is
/// found again.
pub fn beside(path: &HostPath) -> Result<HostPath, HostError> {
    let directory = path.parent().map_or_else(String::new, |directory| directory.to_string());
    let why = "its name is too long";
    format!("{directory}/.{}.nexplane-ssh", path.name())
        .parse()
        .map_err(|_| HostError::Unsafe { path: path.clone(), why })
}

impl Remote {
    pub(super) fn replace(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let new = beside(path)?;
        let written = self.put(path, &new, expected, content, mode, ids);
        self.forget(&new);
        if written.is_err() {
            // The first error is the one that is told; what stays is removed before the next write.
            let _ = self.discard_leftovers(path);
        }
        written
    }

    fn put(
        &self,
        path: &HostPath,
        new: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let moved = || HostError::Moved { path: path.clone() };
        match expected {
            Some(was) => {
                // A copy has what a rename would otherwise lose: access lists, extended attributes.
                self.change_beside(&Command::Copy { from: path, to: new })?;
                self.change_beside(&Command::Fill { path: new, content })?;
                if ids != was.ids {
                    self.change_beside(&Command::SetOwner { path: new, from: was.ids, to: ids })?;
                }
                if ids != was.ids || mode != was.mode {
                    self.change_beside(&Command::SetMode { path: new, mode })?;
                }
            }
            None => {
                self.change_beside(&Command::Create { path: new, mode, ids })?;
                self.change_beside(&Command::Fill { path: new, content })?;
            }
        }
        self.look_again(&[path, new])?;
        self.is_still(path, expected)?;
        let written = self.file(new)?.ok_or_else(moved)?;
        let meta = written.meta();
        if (meta.size, meta.mode, meta.ids) != (content.len() as u64, mode, ids) {
            return Err(moved());
        }
        self.forget(path);
        let replace = expected.is_some();
        self.change(&Command::Rename { from: new, to: path, replace })?;
        self.look_again(&[path, new])?;
        let now = self.file(path)?.ok_or_else(moved)?;
        // A name that was taken in between is left to whoever took it.
        if now.version.inode != written.version.inode || self.entry(new)?.is_some() {
            return Err(moved());
        }
        if now.modified == written.modified && now.size == written.size {
            self.memory().contents.insert(path.clone(), content.to_vec());
        }
        Ok(())
    }
}
