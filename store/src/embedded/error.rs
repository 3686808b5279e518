//! What can go wrong with a private PostgreSQL cluster.

use std::io;
use std::path::{Path, PathBuf};

/// Why a cluster could not be opened, asked or stopped. Each text says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "PostgreSQL {minimum} or newer is not installed (looked in {}): install it \
         (Debian and Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server; \
         macOS: brew install postgresql@17) or name a database of your own",
        looked_in.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotInstalled { minimum: u32, looked_in: Vec<PathBuf> },

    #[error("PostgreSQL {found} in {} is too old: {minimum} or newer is needed", directory.display())]
    TooOld { found: u32, minimum: u32, directory: PathBuf },

    #[error(
        "{} was made by PostgreSQL {made_by}, which is not installed here (found: {}): install \
         PostgreSQL {made_by}, or upgrade the directory with pg_upgrade",
        directory.display(),
        installed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    )]
    OtherMajor { directory: PathBuf, made_by: String, installed: Vec<u32> },

    #[error(
        "PostgreSQL refuses to run as root, and this machine has no user '{name}' to run it as: \
         create one (useradd --system {name}) or start as an ordinary user"
    )]
    NoAccount { name: String },

    #[error(
        "the user '{user}', who runs PostgreSQL here, cannot enter {} (mode {mode:04o}): choose a \
         data directory outside of it, or allow entering it (chmod o+x)",
        directory.display()
    )]
    Unreachable { user: String, directory: PathBuf, mode: u32 },

    #[error("{} is in use by process {holder}: stop that one first, or choose another data directory", directory.display())]
    InUse { directory: PathBuf, holder: String },

    #[error("{} is not valid UTF-8, which PostgreSQL needs in its settings: choose another path", path.display())]
    NotUtf8 { path: PathBuf },

    #[error(
        "{} has a database but {} is missing: restore that file from a backup of the directory",
        directory.display(), password.display()
    )]
    PasswordMissing { directory: PathBuf, password: PathBuf },

    #[error("'{name}' cannot be a {what} name: use a-z, 0-9 and _, at most 63, a letter first")]
    BadName { what: &'static str, name: String },

    #[error("cannot {attempt} {}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("cannot find a free port on 127.0.0.1")]
    Port(#[source] io::Error),

    #[error("cannot make the server's certificate")]
    Certificate(#[source] rcgen::Error),

    #[error("cannot get random bytes from the operating system")]
    Random,

    #[error("initdb could not create the database in {}:\n{output}", directory.display())]
    Init { directory: PathBuf, output: String },

    #[error("PostgreSQL did not start; the end of {}:\n{tail}", log.display())]
    Start { log: PathBuf, tail: String },

    #[error("PostgreSQL did not answer within {seconds} s; the end of {}:\n{tail}", log.display())]
    NoAnswer {
        seconds: u64,
        log: PathBuf,
        tail: String,
        #[source]
        source: Option<sqlx::Error>,
    },

    #[error("PostgreSQL (process {pid}) did not stop within {seconds} s")]
    Stop { pid: i32, seconds: u64 },

    #[error("cannot create the database '{name}'")]
    CreateDatabase {
        name: String,
        #[source]
        source: sqlx::Error,
    },

    #[error("the task that waits for PostgreSQL was cancelled")]
    Cancelled,
}

/// Names the file and what was tried with it.
pub(super) fn io_error(
    attempt: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> EmbeddedError {
    let path = path.as_ref().to_owned();
    move |source| EmbeddedError::Io { attempt, path, source }
}
