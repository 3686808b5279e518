//! Configuration: defaults < `nexplane.toml` < environment `NEXPLANE_…` < flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use crate::runtime::EngineOptions;

/// The options of every command that runs a server or opens its database.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Where the private database, keys and state are [default: /var/lib/nexplane for root,
    /// ~/.local/share/nexplane for others].
    #[arg(long, env = "NEXPLANE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// PostgreSQL 15 or later to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// A TOML file with these options [default: nexplane.toml in the data directory, if there].
    #[arg(long, env = "NEXPLANE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The options of a server.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerOptions {
    #[command(flatten)]
    pub base: Options,

    /// Address of the API and the dashboard; port 0 picks one [default: 127.0.0.1:8000].
    #[arg(long, env = "NEXPLANE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Address of the agent gateway (mutual TLS); port 0 picks one [default: 0.0.0.0:8443; the demo
    /// listens on 127.0.0.1 only].
    #[arg(long, env = "NEXPLANE_GATEWAY_LISTEN", value_name = "ADDRESS")]
    pub gateway_listen: Option<SocketAddr>,

    /// Names and addresses by which agents reach the gateway, for its certificate.
    #[arg(long, env = "NEXPLANE_GATEWAY_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub gateway_names: Vec<String>,

    /// Where people find the dashboard, for links [default: http://<listen>].
    #[arg(long, env = "NEXPLANE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,

    /// File that names the witnesses who are shown every checkpoint of the log, as in
    /// c2sp.org/tlog-policy.
    #[arg(long, env = "NEXPLANE_WITNESS_POLICY", value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,

    /// Directory of signed releases of the agent, as `nexplane-agent release sign --out` writes it, for hosts to
    /// be updated from [default: none].
    #[arg(long, env = "NEXPLANE_AGENT_RELEASES", value_name = "DIR")]
    pub agent_releases: Option<PathBuf>,

    /// Directory of secrets, a file each, that credentials of connections may refer to; beside each NAME, NAME.hosts says
    /// at which host:port it may be used [default: none].
    #[arg(long, env = "NEXPLANE_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,

    /// Print one JSON line with the addresses on stdout when serving.
    #[arg(long)]
    pub ready_json: bool,

    /// Seconds after which a silent worker's runs are taken over.
    #[arg(long, env = "NEXPLANE_LEASE_S", default_value = "30", value_parser = clap::value_parser!(u64).range(2..=3600), hide = true)]
    pub lease_s: u64,

    /// Seconds for which the server tries to read a target whose outcome it does not know; then a
    /// person has to settle it.
    #[arg(long, env = "NEXPLANE_PATIENCE_S", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86400), hide = true)]
    pub patience_s: u64,

    /// It is a sandbox, of which people are shown around. Said by `nexplane demo` only.
    #[arg(skip)]
    pub demo: bool,
}

impl Options {
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return std::path::absolute(dir).context("the data directory is not a path");
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/nexplane"));
        }
        let home = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".local/share")));
        home.map(|home| home.join("nexplane"))
            .context("there is no HOME; say where the data is with --data-dir")
    }
}

impl ServerOptions {
    /// Fills in what flags and environment left open from the configuration file.
    pub fn with_file(mut self) -> anyhow::Result<Self> {
        let path = match &self.base.config {
            Some(path) => Some(path.clone()),
            None => Some(self.base.data_dir()?.join("nexplane.toml")).filter(|path| path.exists()),
        };
        let Some(path) = path else { return Ok(self) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file: File =
            toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        self.base.data_dir = self.base.data_dir.or(file.data_dir);
        self.base.database_url = self.base.database_url.or(file.database_url);
        self.listen = self.listen.or(file.listen);
        self.gateway_listen = self.gateway_listen.or(file.gateway_listen);
        self.public_url = self.public_url.or(file.public_url);
        self.witness_policy = self.witness_policy.or(file.witness_policy);
        self.agent_releases = self.agent_releases.or(file.agent_releases);
        self.secrets_dir = self.secrets_dir.or(file.secrets_dir);
        if self.gateway_names.is_empty() {
            self.gateway_names = file.gateway_names;
        }
        Ok(self)
    }

    pub fn engine(&self) -> EngineOptions {
        EngineOptions {
            lease: Duration::from_secs(self.lease_s.max(2)),
            patience: Duration::from_secs(self.patience_s.max(1)),
            ..EngineOptions::default()
        }
    }
}

/// What the file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    data_dir: Option<PathBuf>,
    database_url: Option<String>,
    listen: Option<SocketAddr>,
    gateway_listen: Option<SocketAddr>,
    gateway_names: Vec<String>,
    public_url: Option<String>,
    witness_policy: Option<PathBuf>,
    agent_releases: Option<PathBuf>,
    secrets_dir: Option<PathBuf>,
}
