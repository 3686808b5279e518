//! `nexplane-agent install`

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use nexplane_agent::client::ClientError;
use nexplane_agent::config::{Config, ConfigFile};
use nexplane_agent::identity::{Identity, IdentityError, hash_token};
use nexplane_agent::install::{Layout, Mode, Outcome, Problem, Said, Step};
use nexplane_agent::sentence;
use nexplane_agent::settle::Terms;
use nexplane_agent::update::trial::TrialFile;
use nexplane_agent::vital::Vital;
use nexplane_agent::{keep, os, policy};

use super::enrolment::EnrolmentArguments;
use super::service::{Service, Told};

/// Make the agent a service of this machine, enrolled and started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nexplane-agent install --control-plane https://nexplane.example:8443 --token-file token --ca ca.pem
  nexplane-agent install --control-plane https://nexplane.example:8443 --token-stdin --ca ca.pem --dry-run
  Repair, or bring a new version of this program into service:
    nexplane-agent install

Every step can be done again: what is as it should be is left alone. When a step fails, mend what it says and
run the same command again. The host owner's policy is never overwritten.

Exit status: 0 when every line is OK, 1 otherwise.")]
pub struct Install {
    #[command(flatten)]
    enrolment: EnrolmentArguments,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Install {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mode = if self.dry_run { Mode::Tell } else { Mode::Do };
        let mut told = Told::new(mode);
        let done = self.steps(&mut told, mode)?;
        let mut out = io::stdout();
        if !done {
            writeln!(
                out,
                "\nNot installed yet. The steps after this one are left; mend it and run the same command again."
            )?;
            return Ok(ExitCode::FAILURE);
        }
        if mode == Mode::Do {
            writeln!(out, "\nInstalled. See: nexplane-agent status, nexplane-agent check")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// False when one did not work.
    fn steps(&self, told: &mut Told, mode: Mode) -> anyhow::Result<bool> {
        let token = self.enrolment.token()?;
        let ca_pem = self.enrolment.ca_pem()?;
        let service = match Service::open() {
            Ok(service) => service,
            Err(problem) => return Ok(told.tell("service manager", Err(problem))?),
        };
        let layout = match Layout::default().as_configured() {
            Ok(layout) => layout,
            Err(problem) => return Ok(told.tell("configuration", Err(problem))?),
        };
        let earlier = match Identity::load(&keep::Keep::directory(layout.state())) {
            Ok(earlier) => earlier,
            Err(error) => return Ok(told.tell("identity", Err(problem(&error)))?),
        };
        let place = Place { layout: &layout, service: &service, mode };
        let gateway = Said {
            control_plane: self.enrolment.control_plane.as_deref(),
            ca_pem: ca_pem.as_deref(),
            ..Said::default()
        };
        let kept = Said {
            keep_snapshots: self.enrolment.keep_snapshots.as_deref(),
            dead_man: self.enrolment.dead_man_s,
            ..Said::default()
        };
        // A token that this machine does not have yet buys another identity.
        let buys = token.as_deref().filter(|token| {
            earlier.as_ref().is_none_or(|identity| hash_token(token) != identity.token_hash)
        });
        // Where it belongs is written when it belongs there.
        let at_once = if buys.is_some() {
            kept
        } else {
            Said { control_plane: gateway.control_plane, ca_pem: gateway.ca_pem, ..kept }
        };
        let steps = told.tell("rights", root(mode))?
            && told.tell("program", program(&layout, mode))?
            && told.tell("directories", layout.make_directories(mode))?
            && told.tell("configuration", layout.put_config(&at_once, mode))?
            && told.tell("host owner's policy", layout.put_policy(mode))?
            && match buys {
                None => told.tell("identity", enrolled(&layout, earlier.as_ref()))?,
                Some(token) => {
                    let name = self.enrolment.name.as_deref();
                    told.tell("identity", place.enrol(earlier.as_ref(), token, &gateway, name))?
                        && told
                            .tell("control plane's address", layout.put_config(&gateway, mode))?
                }
            }
            && told.tell("units", layout.put_units(mode))?
            && told.tell("start with the host", service.enable(mode))?;
        if !steps {
            return Ok(false);
        }
        let again = told.changed;
        if !told.tell("service", service.start(again, mode))? {
            return Ok(false);
        }
        if mode == Mode::Tell {
            return Ok(true);
        }
        Ok(told.tell("control plane", service.wait_until_served())?)
    }
}

/// Where an agent is enrolled.
struct Place<'a> {
    layout: &'a Layout,
    service: &'a Service,
    mode: Mode,
}

impl Place<'_> {
    /// Enrols. An earlier agent is stopped for it, and started again as it was when nothing comes of it.
    fn enrol(
        &self,
        earlier: Option<&Identity>,
        token: &str,
        gateway: &Said<'_>,
        name: Option<&str>,
    ) -> Step {
        not_by_hand(self.layout)?;
        let file = Config::new(self.layout.config()).file();
        let kept = ConfigFile::load(&file).map_err(|error| problem(&error))?.unwrap_or_default();
        let control_plane = gateway.control_plane.map(str::to_owned).or(kept.control_plane);
        let ca_pem = gateway.ca_pem.map(str::to_owned);
        let ca_pem =
            ca_pem.or_else(|| std::fs::read_to_string(Config::new(self.layout.config()).ca()).ok());
        let (Some(control_plane), Some(ca_pem)) = (control_plane, ca_pem) else {
            return Err(Problem {
                why: "the control plane is not known".to_owned(),
                fix: "give --control-plane URL and --ca FILE".to_owned(),
            });
        };
        if self.mode == Mode::Tell {
            let found = format!("enrol at {control_plane}");
            return Ok(Outcome { changed: true, found });
        }
        let ran = self.service.unit()?.is_some_and(|unit| unit.active);
        let done = self
            .service
            .stop(self.mode)
            .and_then(|_| self.take_over(earlier, &control_plane, &ca_pem, token, name));
        match done {
            Err(Problem { why, fix }) if ran => {
                let again = match self.service.start(false, self.mode) {
                    Ok(_) => "the earlier agent runs again as it was".to_owned(),
                    Err(problem) => format!("the earlier agent does not run: {}", problem.why),
                };
                Err(Problem { why: format!("{why}; {again}"), fix })
            }
            done => done,
        }
    }

    /// Settles what the earlier identity began, and only then has another take its place.
    fn take_over(
        &self,
        earlier: Option<&Identity>,
        control_plane: &str,
        ca_pem: &str,
        token: &str,
        name: Option<&str>,
    ) -> Step {
        let config = Config::open(self.layout.config()).map_err(|error| problem(&error))?;
        let _lock = config.lock().map_err(|error| problem(&error))?;
        let mut settled = String::new();
        if earlier.is_some() {
            let open =
                Terms::of(&config, Path::new("/")).settle(&Vital::default()).map_err(|error| {
                    Problem {
                        why: format!(
                            "what the earlier agent began is not settled: {}",
                            sentence::of(&error)
                        ),
                        fix: "see: nexplane-agent check, and run the same command again".to_owned(),
                    }
                })?;
            settled = format!("; the earlier identity is set aside, {open} orders of it were open");
        }
        let name = name.map_or_else(os::host_name, str::to_owned);
        let policy = policy::Source::File(config.policy());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| problem(&error))?;
        let (keep, hash) = (config.keep(), policy.hash());
        let identity = runtime
            .block_on(Identity::enroll(&keep, control_plane, ca_pem, token, &name, hash))
            .map_err(|error| Problem { why: sentence::of(&error), fix: advice(&error) })?;
        let found = format!("enrolled as {} ({}){settled}", identity.name, identity.host);
        Ok(Outcome { changed: true, found })
    }
}

/// An identity that is there and stays.
fn enrolled(layout: &Layout, identity: Option<&Identity>) -> Step {
    not_by_hand(layout)?;
    match identity {
        Some(Identity { name, host, .. }) => {
            Ok(Outcome { changed: false, found: format!("enrolled as {name} ({host})") })
        }
        None => Err(Problem {
            why: "this machine is not enrolled, and there is no token".to_owned(),
            fix: "make one in the dashboard (Hosts) and give --token-file FILE or --token-stdin"
                .to_owned(),
        }),
    }
}

/// Refuses while an agent that was run by hand has its state beside its configuration.
fn not_by_hand(layout: &Layout) -> Result<(), Problem> {
    let (config, state) = (layout.config(), layout.state());
    if config == state || !config.join("identity.json").exists() {
        return Ok(());
    }
    Err(Problem {
        why: format!("an agent that was run by hand has its state in {}", config.display()),
        fix: format!(
            "stop it, move identity.json, journal and snapshots to {}, and run this again",
            state.display()
        ),
    })
}

fn problem(error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem { why: sentence::of(error), fix: "mend that and run the same command again".to_owned() }
}

fn advice(error: &IdentityError) -> String {
    let text = match error {
        IdentityError::Refused { source: ClientError::Refused { .. }, .. } => {
            "a token works once and for a short time: make another in the dashboard (Hosts)"
        }
        IdentityError::Refused { source: ClientError::OutOfTime(_), .. } => {
            "set the clock and run the same command again"
        }
        IdentityError::Refused { .. } => {
            "check address, firewall, and that the authority's certificate is the right one"
        }
        IdentityError::Io { .. } | IdentityError::Malformed { .. } | IdentityError::Key(_) => {
            "mend that and run the same command again"
        }
    };
    text.to_owned()
}

pub(super) fn root(mode: Mode) -> Step {
    let is_root = rustix::process::geteuid().is_root();
    if is_root || mode == Mode::Tell {
        let found = if is_root { "root" } else { "not root, which doing it takes" };
        return Ok(Outcome { changed: false, found: found.to_owned() });
    }
    Err(Problem {
        why: "only root can do this".to_owned(),
        fix: "run the same command with sudo".to_owned(),
    })
}

fn program(layout: &Layout, mode: Mode) -> Step {
    let own = std::env::current_exe().map_err(|error| Problem {
        why: format!("this program does not know where it is: {error}"),
        fix: "/proc must be mounted".to_owned(),
    })?;
    let trial = TrialFile::within(&layout.state());
    if mode != Mode::Do || !trial.exists() {
        return layout.put_binary(&own, mode);
    }
    // What the host's owner puts there is on nobody's trial, and nobody puts the earlier one there meanwhile.
    let locked = trial.lock().map_err(|error| problem(&error))?;
    let put = layout.put_binary(&own, mode)?;
    if put.changed {
        locked.remove().map_err(|error| problem(&error))?;
    }
    Ok(put)
}
