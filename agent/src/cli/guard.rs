//! `nexplane-agent guard`

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nexplane_agent::config::Config;
use nexplane_agent::deadman::{SystemWatch, Watch};
use nexplane_agent::host::{LinuxHost, UnitName};
use nexplane_agent::install::UNIT;
use nexplane_agent::release::digest;
use nexplane_agent::sentence;
use nexplane_agent::update::installed;
use nexplane_agent::update::place::{Guarded, Place};
use nexplane_agent::update::trial::{Stage, Trial};

use super::Directory;

/// How often it is looked whether the time of a trial is over.
const GLANCE: Duration = Duration::from_secs(1);

/// Count a start of a new program in its trial, and put the earlier one back when the trial is over.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent guard

The units do this with the program from before an update. Without a trial it does nothing.

Exit status: 0 when there is nothing to do or it is done, 1 when the trial cannot be read or ended.")]
pub struct Guard {
    #[command(flatten)]
    directory: Directory,
    /// Stay until the trial is over, and have the service run the program that is in place then.
    #[arg(long)]
    watch: bool,
}

impl Guard {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let place = installed::place(&self.directory.config()?);
        let clock = SystemWatch::default();
        let mut out = std::io::stdout();
        let mut is_told = false;
        loop {
            let guarded = place
                .guard(&clock.moment(), !self.watch)
                .context("the trial of another program could not be guarded")?;
            match guarded {
                Guarded::Nothing => return Ok(ExitCode::SUCCESS),
                Guarded::Open if self.watch => std::thread::sleep(GLANCE),
                Guarded::Open => {
                    writeln!(out, "another program is on trial, and is started")?;
                    return Ok(ExitCode::SUCCESS);
                }
                Guarded::Back { why } => {
                    if !std::mem::replace(&mut is_told, true) {
                        writeln!(out, "the earlier program is in its place again: {why}")?;
                    }
                    if !self.watch {
                        return Ok(ExitCode::SUCCESS);
                    }
                    // Where nothing runs, the next start is guarded by itself.
                    if !end_other(&place)? {
                        return Ok(ExitCode::SUCCESS);
                    }
                    std::thread::sleep(GLANCE);
                }
            }
        }
    }
}

/// How the trial of another program stands, in words; none when there is none.
pub(super) fn trial(config: &Config) -> Option<String> {
    let trial = match installed::place(config).trial.read() {
        Ok(trial) => trial?,
        Err(error) => return Some(format!("not readable: {error}")),
    };
    let Trial { from, to, stage, .. } = trial;
    let stands = match stage {
        Stage::Open => "the control plane has not answered it yet".to_owned(),
        Stage::Confirmed => "the control plane has answered it".to_owned(),
        Stage::Over { why } => format!("over, because {why}"),
    };
    Some(format!("{} in place of {}: {stands}", to.version, from.version))
}

/// Ends the service's process if it is not what is in place; systemd starts what is. Whether any runs.
fn end_other(place: &Place) -> anyhow::Result<bool> {
    let host = LinuxHost::open(Path::new("/"), &[])?;
    let unit: UnitName = UNIT.parse()?;
    let pid = host.service(&unit)?.main_pid;
    if pid == 0 {
        return Ok(false);
    }
    // By their bytes: numbers of files differ where file systems lie on each other.
    let program = |path: &Path| File::open(path).and_then(digest).ok();
    let runs = program(Path::new(&format!("/proc/{pid}/exe")));
    if runs.is_some()
        && runs != program(place.program())
        && let Err(error) = host.kill_service(&unit)
    {
        // It may have ended by itself meanwhile; otherwise it is tried again.
        tracing::warn!("The other program could not be ended: {}", sentence::of(&error));
    }
    Ok(true)
}
