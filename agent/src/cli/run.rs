//! `nexplane-agent run`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use nexplane_agent::config::Retention;
use nexplane_agent::os;
use nexplane_agent::poll::{self, Enrolment, Ready, Settings};
use nexplane_agent::vital::{Vital, Watchdog};
use serde_json::json;

use super::Directory;
use super::enrolment::EnrolmentArguments;
use super::signal::Signals;

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
    #[command(flatten)]
    enrolment: EnrolmentArguments,
    /// Everything that orders can reach lies beneath this directory: /etc/motd in an order is
    /// DIR/etc/motd here.
    #[arg(long, value_name = "DIR", default_value = os::ROOT)]
    root: PathBuf,
    /// Print one line of JSON on stdout when serving.
    #[arg(long)]
    ready_json: bool,
}

impl Run {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.directory.config()?;
        let said = self.enrolment.keep_snapshots.as_deref().map(Retention::parse).transpose()?;
        let settings = Settings {
            root: self.root.clone(),
            retention: said.or(config.retention()).unwrap_or_default(),
            dead_man: self.enrolment.dead_man_s.or(config.dead_man()).unwrap_or_default(),
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
        let signals = {
            let _entered = runtime.enter();
            Signals::listen()?
        };
        let renewal = vital.clone();
        let shutdown = signals.serve(&runtime, move || renewal.ask_renewal());
        if let Some(watchdog) = Watchdog::of_environment() {
            runtime.spawn(vital.clone().ping(watchdog));
        }
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
        let Some(token) = self.enrolment.token()? else { return Ok(None) };
        let EnrolmentArguments { control_plane, name, .. } = &self.enrolment;
        let (Some(control_plane), Some(ca_pem)) = (control_plane.clone(), self.enrolment.ca_pem()?)
        else {
            bail!("enrolment needs --control-plane and --ca besides the token");
        };
        Ok(Some(Enrolment { control_plane, ca_pem, token, name: name.clone() }))
    }
}
