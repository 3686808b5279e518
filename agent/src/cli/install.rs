//! `nexplane-agent install`

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use nexplane_agent::client::ClientError;
use nexplane_agent::config::Config;
use nexplane_agent::identity::{Identity, IdentityError, hash_token};
use nexplane_agent::install::{Layout, Mode, Outcome, Problem, Step};
use nexplane_agent::policy;

use super::chain;
use super::service::{Service, Told};

/// Longest token that is read.
const TOKEN_LIMIT: u64 = 4096;

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
    /// Address of the agent gateway, such as https://nexplane.example:8443. Needed the first time.
    #[arg(long, value_name = "URL", env = "NEXPLANE_CONTROL_PLANE")]
    control_plane: Option<String>,
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
    ca: Option<PathBuf>,
    /// Name to enrol under. [default: the machine's host name]
    #[arg(long)]
    name: Option<String>,
    /// How long the state before a change is kept, such as 30d.
    #[arg(long, value_name = "TIME", env = "NEXPLANE_KEEP_SNAPSHOTS")]
    keep_snapshots: Option<String>,
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
        let layout = Layout::default();
        let token = self.token()?;
        let ca_pem = self.ca_pem()?;
        let service = match Service::open() {
            Ok(service) => service,
            Err(problem) => return Ok(told.tell("service manager", Err(problem))?),
        };
        let steps = told.tell("rights", root(mode))?
            && told.tell("program", program(&layout, mode))?
            && told.tell("directories", layout.make_directories(mode))?
            && told.tell("configuration", {
                let control_plane = self.control_plane.as_deref();
                let keep = self.keep_snapshots.as_deref();
                layout.put_config(control_plane, ca_pem.as_deref(), keep, mode)
            })?
            && told.tell("host owner's policy", layout.put_policy(mode))?
            && told.tell("identity", self.identity(&layout, token.as_deref(), &service, mode))?
            && told.tell("unit", layout.put_unit(mode))?
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

    fn token(&self) -> anyhow::Result<Option<String>> {
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

    fn ca_pem(&self) -> anyhow::Result<Option<String>> {
        let Some(ca) = &self.ca else { return Ok(None) };
        std::fs::read_to_string(ca)
            .map(Some)
            .with_context(|| format!("could not read the authority's certificate {}", ca.display()))
    }

    /// Enrols, unless the agent is enrolled, with this token or without any.
    fn identity(
        &self,
        layout: &Layout,
        token: Option<&str>,
        service: &Service,
        mode: Mode,
    ) -> Step {
        let in_place = Config::new(layout.config());
        if in_place.state().join("identity.json").exists() {
            return Err(Problem {
                why: format!(
                    "an agent that was run by hand has its state in {}",
                    layout.config().display()
                ),
                fix: format!(
                    "stop it, move identity.json, journal and snapshots to {}, and run this again",
                    layout.state().display()
                ),
            });
        }
        let problem = |error: &dyn std::error::Error| Problem {
            why: chain(error),
            fix: "mend that and run the same command again".to_owned(),
        };
        let config = match (mode, layout.config().exists()) {
            (Mode::Tell, false) => None,
            _ => Some(Config::open(layout.config()).map_err(|error| problem(&error))?),
        };
        let keep = nexplane_agent::keep::Keep::directory(layout.state());
        let earlier = Identity::load(&keep).map_err(|error| problem(&error))?;
        if let Some(identity) = &earlier
            && token.is_none_or(|token| hash_token(token) == identity.token_hash)
        {
            let found = format!("enrolled as {} ({})", identity.name, identity.host);
            return Ok(Outcome { changed: false, found });
        }
        let Some(token) = token else {
            return Err(Problem {
                why: "this machine is not enrolled, and there is no token".to_owned(),
                fix:
                    "make one in the dashboard (Hosts) and give --token-file FILE or --token-stdin"
                        .to_owned(),
            });
        };
        let gateway = config.as_ref().and_then(Config::gateway);
        let Some((control_plane, ca_pem)) = gateway else {
            return match (mode, &self.control_plane, &self.ca) {
                (Mode::Tell, Some(control_plane), Some(_)) => Ok(would_enrol(control_plane)),
                _ => Err(Problem {
                    why: "the control plane is not known".to_owned(),
                    fix: "give --control-plane URL and --ca FILE".to_owned(),
                }),
            };
        };
        if mode == Mode::Tell {
            return Ok(would_enrol(self.control_plane.as_ref().unwrap_or(control_plane)));
        }
        // An earlier identity settles what it began before another takes its place.
        if service.unit()?.is_some() {
            service.stop(mode)?;
        }
        let config = config.as_ref().ok_or_else(|| Problem {
            why: "the configuration is gone".to_owned(),
            fix: "run the same command again".to_owned(),
        })?;
        let _lock = config.lock().map_err(|error| problem(&error))?;
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let policy = policy::Source::File(config.policy());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| problem(&error))?;
        let identity = runtime
            .block_on(Identity::enroll(&keep, control_plane, ca_pem, token, &name, policy.hash()))
            .map_err(|error| Problem { why: chain(&error), fix: advice(&error) })?;
        let found = format!("enrolled as {} ({})", identity.name, identity.host);
        Ok(Outcome { changed: true, found })
    }
}

fn would_enrol(control_plane: &str) -> Outcome {
    Outcome { changed: true, found: format!("enrol at {control_plane}") }
}

fn advice(error: &IdentityError) -> String {
    let text = match error {
        IdentityError::Refused { source: ClientError::Refused { .. }, .. } => {
            "a token works once and for a short time: make another in the dashboard (Hosts)"
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
    layout.put_binary(&own, mode)
}
