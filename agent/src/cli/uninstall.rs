//! `nexplane-agent uninstall`

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use nexplane_agent::config::Config;
use nexplane_agent::install::{Layout, Mode, Problem, UNIT};

use super::install::root;
use super::service::{Service, Told};

/// Stop the agent and remove everything that `install` made.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nexplane-agent uninstall --dry-run
  nexplane-agent uninstall --yes

With the state goes what changes of this host could be undone from, and your policy.toml. The host stays in the
control plane's list until it is revoked there.

Exit status: 0 when all is gone, 1 otherwise.")]
pub struct Uninstall {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Leave configuration, policy, identity, journal and before-states.
    #[arg(long)]
    keep_state: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Uninstall {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mode = if self.dry_run { Mode::Tell } else { Mode::Do };
        let mut told = Told::new(mode);
        let layout = match Layout::default().as_configured() {
            Ok(layout) => layout,
            Err(problem) => {
                told.tell("configuration", Err(problem))?;
                return Ok(ExitCode::FAILURE);
            }
        };
        if !told.tell("rights", root(mode))? {
            return Ok(ExitCode::FAILURE);
        }
        let parts = layout.parts(self.keep_state);
        let mut out = io::stdout();
        if parts.is_empty() {
            writeln!(out, "Nothing to remove.")?;
            return Ok(ExitCode::SUCCESS);
        }
        if mode == Mode::Do && !self.yes {
            writeln!(out, "This stops the agent and removes:")?;
            for part in &parts {
                writeln!(out, "  {}", part.display())?;
            }
            write!(out, "Go on? [y/N] ")?;
            out.flush()?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if !["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
                writeln!(out, "Nothing was removed.")?;
                return Ok(ExitCode::FAILURE);
            }
        }
        let service = Service::open().ok();
        if let Some(service) = &service
            && !(told.tell("service", service.stop(mode))?
                && told.tell("start with the host", service.disable(mode))?)
        {
            return Ok(ExitCode::FAILURE);
        }
        if mode == Mode::Do
            && let Err(problem) = nobody_runs(&layout)
        {
            told.tell("agent", Err(problem))?;
            return Ok(ExitCode::FAILURE);
        }
        let mut all = true;
        for part in &parts {
            all &= told.tell("removed", Layout::remove(part, mode))?;
        }
        if let Some(service) = &service {
            all &= told.tell("service manager", service.forget(mode))?;
        }
        if !all {
            writeln!(out, "\nNot all is gone: mend what failed and run the same command again.")?;
            return Ok(ExitCode::FAILURE);
        }
        self.farewell(&layout, mode)
    }

    /// Says what is left.
    fn farewell(&self, layout: &Layout, mode: Mode) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout();
        writeln!(out)?;
        if self.keep_state {
            let (config, state) = (layout.config(), layout.state());
            writeln!(out, "Left: {} and {}", config.display(), state.display())?;
        }
        if layout.has_own_state() && !self.keep_state && layout.state().exists() {
            writeln!(
                out,
                "Left: {}, which you chose, and what else is in it",
                layout.state().display()
            )?;
        }
        let own = layout.unit().with_extension("service.d");
        if own.exists() {
            writeln!(out, "Left: {}, which you made", own.display())?;
        }
        writeln!(out, "Left: what changes did to this host, and what journald has of {UNIT}.")?;
        if mode == Mode::Do {
            writeln!(
                out,
                "Revoke the host in the dashboard (Hosts): its certificate is valid until it ends."
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An agent that was started by hand with the same state.
fn nobody_runs(layout: &Layout) -> Result<(), Problem> {
    if !layout.state().exists() {
        return Ok(());
    }
    Config::new(layout.state()).lock().map(drop).map_err(|error| Problem {
        why: error.to_string(),
        fix: "stop it, then run the same command again".to_owned(),
    })
}
