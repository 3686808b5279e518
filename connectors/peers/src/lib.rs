//! Starts the real servers that connectors are tried against: for tests, and for the sandbox.
//!
//! | Module | Holds |
//! |---|---|
//! | [`aws`] | two stand-ins for AWS, which are wrong in different places |
//! | [`ca`] | a private CA and server certificates |
//! | [`openbao`] | OpenBao, which speaks the API of HashiCorp Vault |
//! | [`process`] | a server of one test: it ends with the value, and with whoever started it |
//! | [`redis`] | Redis servers, with an ACL file and TLS, and with a configuration file |
//! | [`run`] | a server that all tests of a run share, because it takes long to start |
//! | [`samba`] | a domain controller of Active Directory, shared |
//! | [`slapd`] | OpenLDAP |
//! | [`spelling`] | in which ways a secret may be written down |
//! | [`sshd`] | OpenSSH on a Debian of its own |
//!
//! Everything listens on loopback only, on ports that are drawn, with passwords that are drawn; it keeps
//! its files in a folder of its own, and is stopped by the process id that was written down when it was
//! started. What is not installed is [`PeerError::Missing`], with the command that installs it.
//!
//! What cannot be had is played by something that says so: tests of [`aws`] are called `contract_`.

pub mod aws;
pub mod ca;
pub mod openbao;
pub mod process;
pub mod redis;
pub mod run;
pub mod samba;
pub mod slapd;
pub mod spelling;
pub mod sshd;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no peer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("{what} is not installed: run {install}")]
    Missing { what: &'static str, install: &'static str },

    #[error("cannot {attempt}")]
    Io {
        attempt: String,
        #[source]
        source: io::Error,
    },

    #[error("{what} did not answer within {seconds} s; its log ends with:\n{log}")]
    Silent { what: String, seconds: u64, log: String },

    #[error("{what} ended at once ({status}); its log ends with:\n{log}")]
    Ended { what: String, status: String, log: String },

    #[error("{0}")]
    Other(String),
}

impl PeerError {
    /// What was attempted, such as `read /x`, from an error of the system.
    pub fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }
}

/// The first of these programs that is there: names on `PATH`, or absolute paths.
pub fn program(
    names: &[&str],
    what: &'static str,
    install: &'static str,
) -> Result<PathBuf, PeerError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or(PeerError::Missing { what, install })
}

/// What `./setup` has put into its own folder: `bao`, `valkey-server`, `moto/bin/moto_server`,
/// `ministack/bin/ministack`.
pub fn cached(name: &str, what: &'static str) -> Result<PathBuf, PeerError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = home.join(".cache/nexplane/peers").join(name);
    let missing = PeerError::Missing { what, install: "./setup" };
    path.is_file().then_some(path).ok_or(missing)
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> Result<u16, PeerError> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(PeerError::io("find a free port"))
}

/// A password that nobody has used before: 32 letters and digits.
pub fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Asks until the peer is well, or for as long as `limit`.
pub async fn healthy(
    what: &str,
    log: &Path,
    limit: Duration,
    mut well: impl AsyncFnMut() -> bool,
) -> Result<(), PeerError> {
    let end = std::time::Instant::now() + limit;
    loop {
        if well().await {
            return Ok(());
        }
        if std::time::Instant::now() > end {
            let (what, seconds) = (what.to_owned(), limit.as_secs());
            return Err(PeerError::Silent { what, seconds, log: tail(log) });
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}
