//! The host as the agent's operations see one: read and written by commands of a session.
//!
//! An operation is synchronous, so it runs on a thread of its own ([`with`]); every command is waited for there, and
//! none is begun once nobody waits for the operation, or its time is over. What was read is remembered until the
//! operation ends or writes it: many files are read by one command ([`Remote::prepare`]).
//!
//! What [`super::file`] demands of a path holds here as well. A file is replaced by another one that was written
//! beside it, right after a last look at both; what is left is a race against root itself, for the time between
//! two commands.

mod look;
mod services;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexplane_agent::host::{
    Access, Deny, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, Mount, SysctlKey,
    SysctlValue, SystemFacts, Unit, UnitName,
};
use tokio::runtime::Handle;

use self::look::Entry;
use super::command::Command;
use super::session::{Answer, Session};
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// A host during one call.
#[derive(Debug)]
pub struct Remote {
    session: Session,
    runtime: Handle,
    until: Instant,
    memory: Mutex<Memory>,
    /// The first thing that went wrong with the session itself.
    trouble: Mutex<Option<ConnectorError>>,
    /// Something was changed, or may have been.
    changed: AtomicBool,
}

/// What was read.
#[derive(Debug, Default)]
struct Memory {
    /// By path; none where nothing is.
    entries: BTreeMap<String, Option<Entry>>,
    contents: BTreeMap<HostPath, Vec<u8>>,
    names: BTreeMap<HostPath, Vec<String>>,
    settings: BTreeMap<SysctlKey, String>,
    mounts: Option<String>,
    kernel: Option<String>,
}

/// Has a part of the session do no more when nobody waits for it.
struct Watch(Session);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Runs synchronous work on the host, for no longer than `limit`.
pub async fn with<T: Send + 'static>(
    session: &Session,
    limit: Duration,
    work: impl FnOnce(&Remote) -> Result<T, HostError> + Send + 'static,
) -> Result<T, ConnectorError> {
    let part = session.part();
    let watch = Watch(part.clone());
    let host = Remote {
        session: part,
        runtime: Handle::current(),
        until: Instant::now() + limit,
        memory: Mutex::default(),
        trouble: Mutex::default(),
        changed: AtomicBool::new(false),
    };
    let done = tokio::task::spawn_blocking(move || work(&host).map_err(|error| host.told(&error)));
    let done = done.await.unwrap_or_else(|source| {
        let message = "the thread that works on the host ended";
        let error = ConnectorError::new(ErrorKind::Unexpected, Advice::OutcomeUnknown, message);
        Err(error.because(source))
    });
    drop(watch);
    done
}

impl Remote {
    /// What a failed operation comes to.
    fn told(&self, error: &HostError) -> ConnectorError {
        let mut told = lock(&self.trouble).take().unwrap_or_else(|| ConnectorError::conflict(""));
        told.message = error.sentence();
        if self.changed.load(Ordering::SeqCst) {
            told.advice = Advice::OutcomeUnknown;
            told.message.push_str(
                "; what came before it may have been changed: run it again to go on, or undo it",
            );
        } else if !told.message.contains("nothing was changed") {
            told.message.push_str("; nothing was changed");
        }
        told
    }

    /// Keeps what went wrong with the session, and says it in the agent's way.
    fn lost(&self, error: ConnectorError) -> HostError {
        let why = error.message.clone();
        lock(&self.trouble).get_or_insert(error);
        HostError::Item { item: "the host".to_owned(), why }
    }

    fn left(&self) -> Result<Duration, HostError> {
        let is_gone = lock(&self.trouble)
            .as_ref()
            .filter(|error| matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout))
            .map(|error| error.message.clone());
        if let Some(why) = is_gone {
            return Err(HostError::Item { item: "the host".to_owned(), why });
        }
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = "the time of the call is over; no other command was begun";
            let error = ConnectorError::new(ErrorKind::Timeout, Advice::Later, message);
            return Err(self.lost(error));
        }
        Ok(left)
    }

    /// Runs a command that only reads, whatever its exit status is.
    fn ask(&self, command: &Command<'_>) -> Result<Answer, HostError> {
        let left = self.left()?;
        let answer = self.runtime.block_on(self.session.ask_within(command, left));
        answer.map_err(|error| self.lost(error))
    }

    /// The error of one that had to end well.
    fn failed(&self, command: &Command<'_>, answer: &Answer) -> HostError {
        self.lost(self.session.failed(command, answer))
    }

    /// Runs a command that makes, fills or removes a file of ours beside another one.
    fn change_beside(&self, command: &Command<'_>) -> Result<(), HostError> {
        let left = self.left()?;
        let done = self.runtime.block_on(self.session.change(command, left));
        done.map_err(|error| self.lost(error))
    }

    /// Runs a command with an effect.
    fn change(&self, command: &Command<'_>) -> Result<(), HostError> {
        let left = self.left()?;
        let done = self.runtime.block_on(self.session.change(command, left));
        if done.as_ref().map_or_else(ConnectorError::is_outcome_unknown, |()| true) {
            self.changed.store(true, Ordering::SeqCst);
        }
        done.map_err(|error| self.lost(error))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    /// Reads ahead what an operation is known to look at, in few commands.
    pub fn prepare(
        &self,
        looked_at: BTreeSet<HostPath>,
        contents: &BTreeSet<HostPath>,
        settings: &[SysctlKey],
    ) -> Result<(), HostError> {
        let mut paths = looked_at;
        paths.extend(contents.iter().cloned());
        paths.extend(contents.iter().filter_map(|path| write::beside(path).ok()));
        paths.extend(settings.iter().map(SysctlKey::path));
        self.examine(paths.iter())?;
        self.read_ahead(contents)?;
        self.read_settings(settings)
    }

    /// How the file system at a path, or the one that it is in, is mounted: whether it begins there, and its
    /// options.
    fn mounted(&self, path: &HostPath) -> Result<(bool, String), HostError> {
        if self.memory().mounts.is_none() {
            let command = Command::Mounts;
            let answer = self.ask(&command)?;
            if !answer.ok() {
                return Err(self.failed(&command, &answer));
            }
            let text = answer.text().to_string();
            self.memory().mounts = Some(text);
        }
        let memory = self.memory();
        let mut found = (false, 0, String::new());
        for line in memory.mounts.as_deref().unwrap_or_default().lines() {
            let mut words = line.split(' ').skip(4);
            let (Some(place), Some(options)) = (words.next(), words.next()) else { continue };
            let inside = place == "/"
                || path.as_str() == place
                || path.as_str().strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
            // The last of those at one place is the one that is seen.
            if inside && place.len() >= found.1 {
                found = (path.as_str() == place, place.len(), options.to_owned());
            }
        }
        Ok((found.0, found.2))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host for Remote {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        Deny::default().check(path, access)
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        let Some(entry) = self.file(path)? else { return Ok(None) };
        let mut meta = entry.meta();
        // Only of a program do capabilities mean anything.
        if meta.mode.bits() & 0o111 != 0 {
            let command = Command::Capabilities(path);
            let answer = self.ask(&command)?;
            if !answer.ok() {
                return Err(self.failed(&command, &answer));
            }
            meta.has_capabilities = !answer.output.is_empty();
        }
        Ok(Some(meta))
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        self.content(path, limit)
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.replace(path, expected, content, mode, ids)
    }

    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.still(path, Some(expected))?;
        self.forget(path);
        if ids != expected.ids {
            self.change(&Command::SetOwner { path, from: expected.ids, to: ids })?;
        }
        if mode != expected.mode || ids != expected.ids {
            self.change(&Command::SetMode { path, mode })?;
        }
        Ok(())
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        self.still(path, Some(expected))?;
        self.forget(path);
        self.change(&Command::Unlink(path))
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        let beside = write::beside(path)?;
        if self.entry(&beside)?.is_none() {
            return Ok(());
        }
        self.forget(&beside);
        self.change_beside(&Command::Unlink(&beside))
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        Ok(self.entry(path)?.is_some_and(|entry| entry.is_directory()))
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        self.listed(path)
    }

    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        if self.file(&key.path())?.is_none() {
            return Ok(None);
        }
        let known = |memory: &Memory| memory.settings.get(key).cloned();
        if let Some(found) = known(&self.memory()) {
            return Ok(Some(found));
        }
        self.read_settings(std::slice::from_ref(key))?;
        let found = known(&self.memory());
        found.map(Some).ok_or_else(|| HostError::Moved { path: key.path() })
    }

    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError> {
        let path = key.path();
        let why = "the value is not one that could be written";
        let value: SysctlValue =
            value.parse().map_err(|_| HostError::Unsafe { path: path.clone(), why })?;
        self.memory().settings.remove(key);
        self.change(&Command::SetKernel { path: &path, value: &value })
    }

    fn can_set(&self, key: &SysctlKey) -> Result<bool, HostError> {
        let path = key.path();
        let is_writable = self.file(&path)?.is_some_and(|entry| entry.mode & 0o200 != 0);
        let (_, options) = self.mounted(&path)?;
        Ok(is_writable && options.split(',').all(|option| option != "ro"))
    }

    fn mount(&self, path: &HostPath) -> Result<Option<Mount>, HostError> {
        if !self.is_directory(path)? {
            return Ok(None);
        }
        let (is_own, options) = self.mounted(path)?;
        let known = ["nodev", "noexec", "nosuid"].into_iter();
        let options = known.filter(|known| options.split(',').any(|option| option == *known));
        Ok(Some(Mount { is_own, options: options.collect() }))
    }

    fn sshd_accepts(&self, directives: &str) -> Result<(), String> {
        let directives: Vec<&str> = directives.lines().collect();
        let command = Command::SshdAccepts(&directives);
        let answer = self.ask(&command).map_err(|error| error.sentence())?;
        if answer.ok() {
            return Ok(());
        }
        let said: Vec<&str> = answer.errors.split_whitespace().collect();
        Err(format!("{} does not accept it: {}", command.program(), said.join(" ")))
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        Err(HostError::Unsupported { what: "lock of its accounts" })
    }

    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.service(name)
    }

    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        self.enable(name, enabled)
    }

    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        self.activate(name, active)
    }

    /// Who acts is root, by itself or through sudo.
    fn own_ids(&self) -> Ids {
        Ids { uid: 0, gid: 0 }
    }

    /// Nothing but the release of the kernel is asked for.
    fn system(&self) -> SystemFacts {
        let known = self.memory().kernel.clone();
        let kernel = known.unwrap_or_else(|| {
            let answer = self.ask(&Command::System);
            let text = answer.map(|answer| answer.text().to_string()).unwrap_or_default();
            let kernel = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
            self.memory().kernel = Some(kernel.clone());
            kernel
        });
        SystemFacts {
            hostname: String::new(),
            kernel,
            architecture: String::new(),
            cpus: 0,
            memory_bytes: 0,
            uptime_s: 0,
        }
    }
}
