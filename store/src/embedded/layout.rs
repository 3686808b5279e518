//! The files of a private cluster and who may read them.
//!
//! ```text
//! <directory>/          ours; 0700, or 0711 when another user runs PostgreSQL
//!   lock                held while a process owns the cluster; names that process
//!   password            of the superuser, 0600
//!   settings            what the running server was started with
//!   postgres.log        what the server says; a new one when it is over 8 MiB, one old one kept
//!   ca.pem              who signed the server's certificate (loopback with TLS only)
//!   socket-directory    where the socket is, when the path of `run` is too long for one
//!   data/               the database, 0700, of the user who runs PostgreSQL
//!   run/                the socket, 0700, of the same user
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;

use secrecy::{ExposeSecret, SecretString};

use super::account::Account;
use super::error::{EmbeddedError, io_error};
use crate::secret::crypto;

/// A log of this size is set aside at the next start.
const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How much of the log an error shows.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;
/// A socket path has at most 107 bytes (`sun_path` of Linux), of which PostgreSQL's own file name
/// takes 15.
const SOCKET_DIRECTORY_BYTES: usize = 92;

/// Where everything of one cluster is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub root: PathBuf,
    pub data: PathBuf,
    pub password: PathBuf,
    pub log: PathBuf,
    pub ca: PathBuf,
    pub settings: PathBuf,
}

impl Layout {
    /// Makes the directory when it is not there. The path becomes absolute and free of links.
    pub fn create(directory: &Path) -> Result<Self, EmbeddedError> {
        // Also for parents that are missing; as root, somebody else must get through them.
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .map_err(io_error("create", directory))?;
        let root = fs::canonicalize(directory).map_err(io_error("find", directory))?;
        if root.to_str().is_none() {
            return Err(EmbeddedError::NotUtf8 { path: root });
        }
        Ok(Self {
            data: root.join("data"),
            password: root.join("password"),
            log: root.join("postgres.log"),
            ca: root.join("ca.pem"),
            settings: root.join("settings"),
            root,
        })
    }

    /// Lets the account enter the directory, and nobody else who need not.
    pub fn open_for(&self, account: &Account) -> Result<(), EmbeddedError> {
        let mode = if account.dropped { 0o711 } else { 0o700 };
        fs::set_permissions(&self.root, fs::Permissions::from_mode(mode))
            .map_err(io_error("set the permissions of", &self.root))?;
        account.check_reaches(&self.root)
    }

    /// Only one process owns a cluster. The kernel gives the lock back however that process ends.
    pub fn lock(&self) -> Result<Lock, EmbeddedError> {
        let path = self.root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io_error("read", &path))?;
                let holder = holder.trim().to_owned();
                return Err(EmbeddedError::InUse { directory: self.root.clone(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(process::id().to_string().as_bytes()))
            .map_err(io_error("write", &path))?;
        Ok(Lock(file))
    }

    /// The major version that made the database, nothing when there is none.
    pub fn made_by(&self) -> Option<String> {
        let text = fs::read_to_string(self.data.join("PG_VERSION")).ok()?;
        Some(text.trim().to_owned())
    }

    /// The superuser's password; made when there is neither one nor a database.
    pub fn password(&self) -> Result<SecretString, EmbeddedError> {
        match fs::read_to_string(&self.password) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &self.password)(error)),
        }
        if self.made_by().is_some() {
            return Err(EmbeddedError::PasswordMissing {
                directory: self.root.clone(),
                password: self.password.clone(),
            });
        }
        let password: SecretString =
            crypto::random_text().map_err(|_| EmbeddedError::Random)?.into();
        write_private(&self.password, password.expose_secret())?;
        Ok(password)
    }

    /// The directory of the socket: `run`, or a short one in `/tmp` that is remembered in a file.
    pub fn socket_directory(&self, account: &Account) -> Result<PathBuf, EmbeddedError> {
        let run = self.root.join("run");
        let text = run.to_string_lossy();
        // PostgreSQL reads the setting as a list.
        let plain = !text.contains([',', '"']);
        if plain && text.len() <= SOCKET_DIRECTORY_BYTES {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&run)
                .map_err(io_error("create", &run))?;
            account.give(&run, 0o700)?;
            return Ok(run);
        }
        let note = self.root.join("socket-directory");
        if let Ok(text) = fs::read_to_string(&note) {
            let known = PathBuf::from(text);
            let ours = fs::symlink_metadata(&known).is_ok_and(|found| {
                found.is_dir() && found.uid() == account.uid && found.mode() & 0o777 == 0o700
            });
            if ours {
                return Ok(known);
            }
        }
        let short = tempfile::Builder::new()
            .prefix("nexplane-")
            .tempdir_in("/tmp")
            .map_err(io_error("create a directory in", "/tmp"))?
            .keep();
        account.give(&short, 0o700)?;
        write_private(&note, &short.to_string_lossy())?;
        Ok(short)
    }

    /// The log for the next start, and its length so far.
    pub fn open_log(&self) -> Result<(File, u64), EmbeddedError> {
        if fs::metadata(&self.log).is_ok_and(|found| found.len() > LOG_BYTES) {
            let old = self.log.with_extension("log.1");
            fs::rename(&self.log, &old).map_err(io_error("rename", &self.log))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(io_error("open", &self.log))?;
        let length = file.metadata().map_err(io_error("read", &self.log))?.len();
        Ok((file, length))
    }

    /// The last lines of the log that were written after `start`.
    pub fn log_tail(&self, start: u64) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(TAIL_LINES);
        lines.get(first..).unwrap_or_default().join("\n")
    }
}

/// Ownership of a cluster; given back on drop, also by processes forked at the wrong moment.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do the same a little later.
        let _ = self.0.unlock();
    }
}

/// Writes a file that only we can read, completely or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Named temporary files are made with mode 0600.
    let mut file =
        tempfile::NamedTempFile::new_in(directory).map_err(io_error("write in", directory))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(io_error("write", path))?;
    file.persist(path).map_err(|failed| io_error("write", path)(failed.error))?;
    Ok(())
}
