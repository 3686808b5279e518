//! What `install` and `run` are told in the same words.

use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::Context;
use nexplane_agent::config::{Retention, RetentionError};
use nexplane_agent::deadman::Limit;

/// Longest token that is read.
const TOKEN_LIMIT: u64 = 4096;

/// Whom the agent belongs to, and what it keeps.
#[derive(Debug, clap::Args)]
pub struct EnrolmentArguments {
    /// Address of the agent gateway, such as https://nexplane.example:8443. Needed the first time; later
    /// starts know it.
    #[arg(long, value_name = "URL", env = "NEXPLANE_CONTROL_PLANE")]
    pub control_plane: Option<String>,
    /// One-time enrolment token. Prefer --token-file, --token-stdin or NEXPLANE_TOKEN: the arguments of a
    /// process are visible to everybody on the machine.
    #[arg(long, value_name = "T", env = "NEXPLANE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the one-time enrolment token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Read the one-time enrolment token from standard input.
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    token_stdin: bool,
    /// PEM file with the certificate authority of the agent gateway; no other is trusted. Needed the
    /// first time.
    #[arg(long, value_name = "FILE", env = "NEXPLANE_CA")]
    pub ca: Option<PathBuf>,
    /// Name to enrol under. [default: the machine's host name]
    #[arg(long)]
    pub name: Option<String>,
    /// How long the state before a change is kept: until then it can be undone. Such as 30d, 12h, 45m or 90s,
    /// at most 3650d. [default: as in config.toml, or 30d]
    #[arg(long, value_name = "TIME", env = "NEXPLANE_KEEP_SNAPSHOTS", value_parser = kept)]
    pub keep_snapshots: Option<String>,
    /// Seconds within which the control plane must be reached after a change that may cut the line to it;
    /// otherwise the change is taken back. From 10 to 600. [default: as in config.toml, or 60]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "NEXPLANE_DEAD_MAN_S",
        value_parser = Limit::parse
    )]
    pub dead_man_s: Option<Limit>,
}

/// The text as it was said: that is what stands in config.toml.
fn kept(text: &str) -> Result<String, RetentionError> {
    Retention::parse(text).map(|_| text.to_owned())
}

impl EnrolmentArguments {
    /// The token, if there is one anywhere.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("could not read the token file {}", file.display()))?,
            (None, None) if self.token_stdin => {
                let mut text = String::new();
                io::stdin()
                    .take(TOKEN_LIMIT)
                    .read_to_string(&mut text)
                    .context("could not read the token from standard input")?;
                text
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    pub fn ca_pem(&self) -> anyhow::Result<Option<String>> {
        let Some(ca) = &self.ca else { return Ok(None) };
        std::fs::read_to_string(ca)
            .map(Some)
            .with_context(|| format!("could not read the authority's certificate {}", ca.display()))
    }
}
