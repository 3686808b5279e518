//! `nexplane-agent run`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use nexplane_agent::config::Retention;
use nexplane_agent::deadman::Limit;
use nexplane_agent::poll::{self, Enrolment, Ready, Settings};
use nexplane_agent::vital::{Vital, Watchdog};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Directory;

/// Enrol if need be, then serve in the foreground until SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  First start, with a one-time token (the token is not visible to other users of this machine):
    NEXPLANE_TOKEN=… nexplane-agent run --control-plane https://nexplane.example:8443 --ca ca.pem
  Every later start:
    nexplane-agent run
  Only what lies beneath a directory:
    nexplane-agent run --root /srv/sandbox")]
pub struct Run {
    #[command(flatten)]
    directory: Directory,
    /// Address of the agent gateway, such as https://nexplane.example:8443. Counts together with a
    /// token; later starts know it.
    #[arg(long, value_name = "URL", env = "NEXPLANE_CONTROL_PLANE")]
    control_plane: Option<String>,
    /// One-time enrolment token. Prefer --token-file or NEXPLANE_TOKEN: the arguments of a process
    /// are visible to everybody on the machine.
    #[arg(long, value_name = "T", env = "NEXPLANE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the one-time enrolment token.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificate authority of the agent gateway; no other is trusted.
    #[arg(long, value_name = "FILE", env = "NEXPLANE_CA")]
    ca: Option<PathBuf>,
    /// Everything that orders can reach lies beneath this directory: /etc/motd in an order is
    /// DIR/etc/motd here.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// How long the state before a change is kept: until then it can be undone. Such as 30d, 12h, 45m or 90s,
    /// at most 3650d. [default: as in config.toml, or 30d]
    #[arg(
        long,
        value_name = "TIME",
        env = "NEXPLANE_KEEP_SNAPSHOTS",
        value_parser = Retention::parse
    )]
    keep_snapshots: Option<Retention>,
    /// Seconds within which the control plane must be reached after a change that may cut the line to it;
    /// otherwise the change is taken back. From 10 to 600.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "NEXPLANE_DEAD_MAN_S",
        default_value = "60",
        value_parser = Limit::parse
    )]
    dead_man_s: Limit,
    /// Name to enrol under. [default: the machine's host name]
    #[arg(long)]
    name: Option<String>,
    /// Print one line of JSON on stdout when serving.
    #[arg(long)]
    ready_json: bool,
}

impl Run {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.directory.config()?;
        let settings = Settings {
            root: self.root.clone(),
            retention: self.keep_snapshots.or(config.retention()).unwrap_or_default(),
            dead_man: self.dead_man_s,
            config,
            enrolment: self.enrolment()?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("could not start the runtime")?;
        let vital =
            Vital::of_environment().context("could not reach who started this as a service")?;
        let (mut terminate, mut rotate) = {
            let _entered = runtime.enter();
            let terminate = signal(SignalKind::terminate());
            let rotate = signal(SignalKind::user_defined1());
            (
                terminate.context("could not listen for SIGTERM")?,
                rotate.context("could not listen for SIGUSR1")?,
            )
        };
        let renewal = vital.clone();
        runtime.spawn(async move {
            while rotate.recv().await.is_some() {
                renewal.ask_renewal();
            }
        });
        if let Some(watchdog) = Watchdog::of_environment() {
            runtime.spawn(vital.clone().ping(watchdog));
        }
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        let ready = |ready: Ready| {
            tracing::info!(host.id = %ready.host, name = ready.name, "Waiting for orders");
            if self.ready_json {
                let line = json!({ "ready": true, "host": ready.host, "name": ready.name });
                let mut stdout = std::io::stdout();
                if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
                    tracing::warn!(%error, "Nobody reads the ready line");
                }
            }
        };
        runtime.block_on(poll::run_as_service(settings, &vital, shutdown, ready))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What buys an identity, when it is given at all.
    fn enrolment(&self) -> anyhow::Result<Option<Enrolment>> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("could not read the token file {}", file.display()))?,
            (None, None) => return Ok(None),
        };
        let (Some(control_plane), Some(ca)) = (self.control_plane.clone(), &self.ca) else {
            bail!("enrolment needs --control-plane and --ca besides the token");
        };
        let ca_pem = std::fs::read_to_string(ca).with_context(|| {
            format!("could not read the authority's certificate {}", ca.display())
        })?;
        let token = token.trim().to_owned();
        Ok(Some(Enrolment { control_plane, ca_pem, token, name: self.name.clone() }))
    }
}
