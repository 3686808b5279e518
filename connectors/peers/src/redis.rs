//! Redis servers: each of one test, for it starts in a tenth of a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{PeerError, ca, cached, free_port, password, program};

/// Where a server keeps its users, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// An ACL file, a configuration file, and TLS only. The user `default` is off.
    AclFile,
    /// A configuration file with `requirepass` and users in it, without TLS.
    Requirepass,
    /// Neither file, without TLS: the command line has the password of the user `default`, and nothing is
    /// kept.
    Nothing,
}

/// Which program. Valkey is without TLS: not with [`Setup::AclFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Redis,
    Valkey,
}

/// A running server. Its administrator is [`RedisServer::ADMIN`], who may do everything.
#[derive(Debug)]
pub struct RedisServer {
    pub process: Process,
    pub port: u16,
    /// Password of the administrator.
    pub password: String,
    /// `requirepass`: the password of the user `default`, where it has one.
    pub requirepass: Option<String>,
    /// PEM of the CA that signed its certificate, where it has one.
    pub ca_pem: Option<String>,
    client: PathBuf,
    folder: TempDir,
}

impl RedisServer {
    pub const ADMIN: &'static str = "admin";

    pub async fn start(setup: Setup) -> Result<Self, PeerError> {
        Self::start_product(Product::Redis, setup).await
    }

    pub async fn start_product(product: Product, setup: Setup) -> Result<Self, PeerError> {
        Self::open(product, setup, &std::env::temp_dir(), "", "").await
    }

    /// Redis with an ACL file and TLS, and its files in a folder of its own below `parent`. `users` are lines
    /// of the ACL file beside the administrator's, `settings` lines of the configuration file.
    pub async fn start_in(parent: &Path, users: &str, settings: &str) -> Result<Self, PeerError> {
        Self::open(Product::Redis, Setup::AclFile, parent, users, settings).await
    }

    async fn open(
        product: Product,
        setup: Setup,
        parent: &Path,
        users: &str,
        settings: &str,
    ) -> Result<Self, PeerError> {
        let (server, client) = match product {
            Product::Redis => {
                let install = "apt-get install redis-server";
                (
                    program(&["redis-server"], "Redis", install)?,
                    program(&["redis-cli"], "redis-cli", install)?,
                )
            }
            // As it comes from PyPI it has neither TLS nor a client of its own.
            Product::Valkey => (
                cached("valkey-server", "Valkey")?,
                program(&["redis-cli"], "redis-cli", "apt-get install redis-server")?,
            ),
        };
        let folder = tempfile::Builder::new()
            .prefix("nexplane-redis-")
            .tempdir_in(parent)
            .map_err(PeerError::io("make a folder for Redis"))?;
        let (at, port, admin) = (folder.path(), free_port()?, password());
        let requirepass = (setup != Setup::AclFile).then(password);
        let ca_pem = match setup {
            Setup::AclFile => Some(ca::issue(&at.join("ca"), &["localhost", "127.0.0.1"])?.ca_pem),
            Setup::Requirepass | Setup::Nothing => None,
        };
        let mut command = Command::new(server);
        command.current_dir(at);
        let folder_line =
            format!("dir {}\nsave \"\"\nappendonly no\nbind 127.0.0.1\n", at.display());
        let acl_file = at.join("users.acl");
        match (setup, &requirepass) {
            (Setup::AclFile, _) => {
                let administrator = format!("user admin on >{admin} ~* &* +@all");
                write(&acl_file, &format!("user default off\n{administrator}\n{users}"))?;
                let (cert, key, ca) =
                    (at.join("ca/cert.pem"), at.join("ca/key.pem"), at.join("ca/ca.pem"));
                let config = format!(
                    "{folder_line}port 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\n\
                     tls-ca-cert-file {}\ntls-auth-clients no\naclfile {}\n{settings}",
                    cert.display(),
                    key.display(),
                    ca.display(),
                    acl_file.display()
                );
                write(&at.join("redis.conf"), &config)?;
                command.arg(at.join("redis.conf"));
            }
            (Setup::Requirepass, Some(requirepass)) => {
                let config = format!(
                    "{folder_line}port {port}\nrequirepass {requirepass}\n\
                     user admin on >{admin} ~* &* +@all\n"
                );
                write(&at.join("redis.conf"), &config)?;
                command.arg(at.join("redis.conf"));
            }
            (Setup::Requirepass | Setup::Nothing, _) => {
                command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
                command.arg("--requirepass").arg(requirepass.as_deref().unwrap_or_default());
                command.args([
                    "--user",
                    Self::ADMIN,
                    "on",
                    &format!(">{admin}"),
                    "~*",
                    "&*",
                    "+@all",
                ]);
            }
        }
        let mut process = Process::start("Redis", &command, &at.join("redis.log"))?;
        // Its own client tells whether it is well.
        let probe = || {
            let mut probe = client_command(&client, port, ca_pem.is_some(), at);
            probe.env("REDISCLI_AUTH", &admin).args(["--user", Self::ADMIN, "PING"]);
            let answer = probe.stderr(Stdio::null()).output();
            answer.is_ok_and(|answer| answer.stdout.starts_with(b"PONG"))
        };
        process.healthy(Duration::from_secs(20), async || probe()).await?;
        Ok(Self { process, port, password: admin, requirepass, ca_pem, client, folder })
    }

    /// The server's own client, as this user: what it prints, or what it complains of.
    pub fn cli_as(&self, user: &str, password: &str, words: &[&str]) -> Result<String, String> {
        let mut command = self.client();
        command.env("REDISCLI_AUTH", password).args(["--user", user, "-e"]).args(words);
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let complaint = text(&output.stderr);
        if output.status.success() && complaint.is_empty() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{complaint}{}", text(&output.stdout)))
        }
    }

    /// The same as the administrator.
    pub fn cli(&self, words: &[&str]) -> Result<String, String> {
        self.cli_as(Self::ADMIN, &self.password, words)
    }

    /// A call of the server's own client, for one that stays connected.
    pub fn client(&self) -> Command {
        let mut command =
            client_command(&self.client, self.port, self.ca_pem.is_some(), self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// The file that keeps its users, as it is now.
    pub fn kept(&self) -> String {
        let file = if self.ca_pem.is_some() { "users.acl" } else { "redis.conf" };
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }

    /// The folder with its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn client_command(client: &Path, port: u16, tls: bool, folder: &Path) -> Command {
    let mut command = Command::new(client);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--no-auth-warning"]);
    if tls {
        command.arg("--tls").arg("--cacert").arg(folder.join("ca/ca.pem"));
    }
    command
}

fn write(path: &Path, text: &str) -> Result<(), PeerError> {
    fs::write(path, text).map_err(PeerError::io(format!("write {}", path.display())))
}
