//! Where the agent's programs are on a host, and how one takes the place of another.
//!
//! ```text
//! /usr/local/bin/nexplane-agent            what the service starts: always a file, never a link
//! /usr/local/lib/nexplane-agent/<SHA-256>  programs that are kept
//! /usr/local/lib/nexplane-agent/previous   link to the one that guards a trial, and comes back
//! ```
//!
//! Everything belongs to root and only root writes it. A program is put in place by a rename within its directory,
//! after its bytes are durable: at no moment is there none, or a part of one.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::trial::{Locked, Stage, Trial, TrialFile};
use crate::deadman::Moment;
use crate::host::Build;
use crate::release::{PROGRAM_LIMIT, digest, is_sha256};

/// How files begin that are written beside those that are kept, and beside what the service starts.
const PART: &str = ".part-";
const BESIDE: &str = ".nexplane-agent-";

/// The programs of a host's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the service starts.
    program: PathBuf,
    /// Directory of those that are kept.
    kept: PathBuf,
    pub trial: TrialFile,
}

/// What whoever guards a trial found, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// There is no trial, or it ended well.
    Nothing,
    Open,
    /// The earlier program is in its place.
    Back {
        why: String,
    },
}

impl Place {
    pub fn new(program: PathBuf, kept: PathBuf, state: &Path) -> Self {
        Self { program, kept, trial: TrialFile::within(state) }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn directory(&self) -> &Path {
        &self.kept
    }

    /// The program that guards a trial.
    pub fn previous(&self) -> PathBuf {
        self.kept.join("previous")
    }

    pub fn kept(&self, build: &Build) -> PathBuf {
        self.kept.join(&build.sha256)
    }

    /// Whether it is kept, whole.
    pub fn has(&self, build: &Build) -> io::Result<bool> {
        if !is_sha256(&build.sha256) {
            return Ok(false);
        }
        match File::open(self.kept(build)) {
            Ok(file) => Ok(digest(file)?.0 == build.sha256),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps what `write` writes, if it is this program.
    ///
    /// # Errors
    /// Then nothing is kept.
    pub fn keep(
        &self,
        build: &Build,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        remove_begun(&self.kept, PART)?;
        let mut file = tempfile::Builder::new()
            .prefix(PART)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.kept)?;
        write(file.as_file_mut())?;
        let (sha256, size) = digest(File::open(file.path())?)?;
        if (&sha256, size) != (&build.sha256, build.size) {
            return Err(io::Error::other(format!(
                "it has SHA-256 {sha256} and {size} bytes, and not {} and {} as was signed: it was altered",
                build.sha256, build.size
            )));
        }
        file.as_file().set_permissions(Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(self.kept(build)).map_err(|error| error.error)?;
        sync(&self.kept)
    }

    /// From now on this one, which is kept, guards, and comes back.
    pub fn make_previous(&self, build: &Build) -> io::Result<()> {
        let beside = self.kept.join(".previous");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        symlink(&build.sha256, &beside)?;
        fs::rename(&beside, self.previous())?;
        sync(&self.kept)
    }

    /// Puts one that is kept in place.
    pub fn put(&self, build: &Build) -> io::Result<()> {
        let directory = self.program.parent().ok_or(io::ErrorKind::InvalidInput)?;
        remove_begun(directory, BESIDE)?;
        let kept = self.kept(build);
        let beside = tempfile::Builder::new().prefix(BESIDE).to_owned();
        // A file of its own, so that whoever writes into the one does not alter the other.
        let copied = || {
            let mut file = beside.tempfile_in(directory)?;
            io::copy(&mut File::open(&kept)?.take(PROGRAM_LIMIT), &mut file)?;
            file.as_file().set_permissions(Permissions::from_mode(0o755))?;
            file.as_file().sync_all()?;
            Ok(file.into_temp_path())
        };
        // Another name takes no room, so a full disk does not keep a program from coming back.
        let linked = |error: io::Error| {
            let linked = beside.make_in(directory, |path| fs::hard_link(&kept, path));
            linked.map_or(Err(error), |linked| Ok(linked.into_temp_path()))
        };
        let file = copied().or_else(linked)?;
        let (sha256, _) = digest(File::open(&file)?)?;
        if sha256 != build.sha256 {
            return Err(io::Error::other("the program that is kept was altered"));
        }
        file.persist(&self.program).map_err(|error| error.error)?;
        sync(directory)
    }

    /// Whether this one is what the service starts.
    pub fn is_in_place(&self, build: &Build) -> io::Result<bool> {
        match File::open(&self.program) {
            Ok(file) => Ok(digest(file)?.0 == build.sha256),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks after a trial; `is_start` when the program is about to be started.
    ///
    /// # Errors
    /// When the trial cannot be read, or the earlier program cannot be put in its place.
    pub fn guard(&self, now: &Moment, is_start: bool) -> io::Result<Guarded> {
        // Almost always.
        if !self.trial.exists() {
            return Ok(Guarded::Nothing);
        }
        let locked = self.trial.lock()?;
        let Some(mut trial) = locked.read()? else { return Ok(Guarded::Nothing) };
        if trial.stage == Stage::Confirmed {
            return Ok(Guarded::Nothing);
        }
        trial.starts = trial.starts.saturating_add(u32::from(is_start));
        if let Some(why) = trial.over(now) {
            self.end(&locked, trial, &why)?;
            return Ok(Guarded::Back { why });
        }
        if is_start {
            locked.write(&trial)?;
        }
        Ok(Guarded::Open)
    }

    /// Ends a trial with the earlier program in its place. First it says so, then it does so: whoever comes after
    /// an interruption does it again.
    pub fn end(&self, locked: &Locked<'_>, trial: Trial, why: &str) -> io::Result<()> {
        let from = trial.from.clone();
        let said = if matches!(trial.stage, Stage::Over { .. }) {
            Ok(())
        } else {
            locked.write(&Trial { stage: Stage::Over { why: why.to_owned() }, ..trial })
        };
        // Also where it cannot be said: there may be room for the one and not for the other.
        if !self.is_in_place(&from)? {
            self.put(&from)?;
        }
        said
    }

    /// Removes one that is kept.
    pub fn forget(&self, build: &Build) -> io::Result<()> {
        match fs::remove_file(self.kept(build)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what is kept, but for these.
    pub fn forget_all_but(&self, needed: &[&Build]) -> io::Result<()> {
        for entry in fs::read_dir(&self.kept)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_ours = is_sha256(&name) || name.starts_with(PART);
            if is_ours && !needed.iter().any(|build| build.sha256 == *name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes what an interruption left half written.
fn remove_begun(directory: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
