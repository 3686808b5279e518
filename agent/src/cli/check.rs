//! `nexplane-agent check`

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use nexplane_agent::client::ClientError;
use nexplane_agent::config::Config;
use nexplane_agent::host;
use nexplane_agent::identity::Identity;
use nexplane_agent::journal::Journal;
use nexplane_agent::key::AgentKey;
use nexplane_agent::os;
use nexplane_agent::policy::Policy;
use nexplane_agent::sentence;
use nexplane_core::time::Timestamp;

use super::Directory;
#[cfg(target_os = "linux")]
use super::check_unit;

/// Try everything the agent needs, and say what to do about what does not work.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent check --config-dir /etc/nexplane-agent

Exit status: 0 when every line is OK, 1 otherwise. Changes nothing.")]
pub struct Check {
    #[command(flatten)]
    directory: Directory,
    /// Root directory that the agent is run with.
    #[arg(long, value_name = "DIR", default_value = os::ROOT)]
    root: PathBuf,
}

/// What was found, or what is wrong and what to do about it.
pub(super) type Finding = Result<String, (String, Cow<'static, str>)>;

#[cfg(target_os = "linux")]
const ENROL: &str =
    "enrol with: nexplane-agent install --control-plane URL --token-file FILE --ca FILE";
#[cfg(not(target_os = "linux"))]
const ENROL: &str =
    "enrol with: nexplane-agent run --control-plane URL --token-file FILE --ca FILE";

const SET_CLOCK: &str = "set the clock, for example with: timedatectl set-ntp true";

impl Check {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = match self.directory.config() {
            Ok(config) => config,
            Err(error) => {
                let fix = "mend the file: without it the agent does not start";
                return report([("configuration", Err((sentence::of(&error), fix.into())))]);
            }
        };
        let mut findings = vec![
            ("configuration directory", self.private()),
            ("root directory", self.root(&config)),
            ("host owner's policy", policy(&config)),
            ("packages", Ok(self.packages(&config))),
        ];
        #[cfg(target_os = "linux")]
        findings.extend(check_unit::findings(&config));
        match Identity::of(&config) {
            Err(error) => findings.push(("identity", Err((error.to_string(), ENROL.into())))),
            Ok(None) => {
                findings.push((
                    "identity",
                    Err(("this agent is not enrolled".to_owned(), ENROL.into())),
                ));
            }
            Ok(Some(identity)) => {
                findings.push(("identity", Ok(format!("{} ({})", identity.name, identity.host))));
                findings.push(("certificate", certificate(&identity)));
                findings.push(("journal", journal(&config, &identity)));
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("could not start the runtime")?;
                let (reached, clock) = runtime.block_on(control_plane(&identity));
                findings.push(("control plane", reached));
                findings.extend(clock.map(|clock| ("clock", clock)));
            }
        }
        report(findings)
    }

    fn private(&self) -> Finding {
        let directory = &self.directory.config_dir;
        match std::fs::metadata(directory) {
            Err(error) => Err((format!("{}: {error}", directory.display()), ENROL.into())),
            Ok(meta) => match os::is_writable_by_others(&meta) {
                Some(true) => Err((
                    format!("{} can be written by other users", directory.display()),
                    "take that away with: chmod go-w on the directory".into(),
                )),
                Some(false) => Ok(directory.display().to_string()),
                None => Ok(format!(
                    "{} (who can write it is not looked at on this kind of host)",
                    directory.display()
                )),
            },
        }
    }

    fn root(&self, config: &Config) -> Finding {
        host::local::try_root(&self.root, &config.own_paths())
            .map(|()| self.root.display().to_string())
            .map_err(|error| (sentence::of(&error), host::local::NEEDS.into()))
    }
}

impl Check {
    /// What installs and removes packages; a host without it has an agent that works.
    fn packages(&self, config: &Config) -> String {
        let (own, packages) = (config.own_paths(), config.packages());
        let Ok(host) = host::local::open(&self.root, &own, packages, None, None) else {
            return "not looked for without a root directory".to_owned();
        };
        match host.package_manager() {
            Ok(manager) => manager.called().to_owned(),
            Err(error) => format!("not managed by the agent: {}", error.sentence()),
        }
    }
}

fn report(findings: impl IntoIterator<Item = (&'static str, Finding)>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let mut code = ExitCode::SUCCESS;
    for (what, finding) in findings {
        match finding {
            Ok(found) => writeln!(out, "OK    {what}: {found}")?,
            Err((problem, fix)) => {
                code = ExitCode::FAILURE;
                writeln!(out, "FAIL  {what}: {problem}\n      {fix}")?;
            }
        }
    }
    Ok(code)
}

fn policy(config: &Config) -> Finding {
    match Policy::load(&config.policy()) {
        Err(error) => {
            Err((sentence::of(&error), "until this is mended, every order is refused".into()))
        }
        Ok(loaded) if loaded.policy.hold => Ok("holds all changes".to_owned()),
        Ok(loaded) => Ok(loaded.hash.map_or_else(
            || "none: everything within the root is allowed".to_owned(),
            |hash| format!("SHA-256 {hash}"),
        )),
    }
}

fn journal(config: &Config, identity: &Identity) -> Finding {
    match Journal::read(&config.journal(), identity.host) {
        Err(error) => Err((
            sentence::of(&error),
            "keep a copy, compare it with the control plane's receipts, then enrol again".into(),
        )),
        Ok(None) => Ok("none yet".to_owned()),
        Ok(Some(journal)) => Ok(format!("{} receipts", journal.receipt_head().0)),
    }
}

fn certificate(identity: &Identity) -> Finding {
    if let Err(error) = AgentKey::from_pem(&identity.key_pem) {
        return Err((error.to_string(), ENROL.into()));
    }
    match identity.not_after() {
        None => Err(("the certificate is not readable".to_owned(), ENROL.into())),
        Some(end) if end <= now() => Err((
            format!("it ended at {end}"),
            "start the agent: it renews it, or says why not".into(),
        )),
        Some(end) => Ok(format!("until {end}")),
    }
}

async fn control_plane(identity: &Identity) -> (Finding, Option<Finding>) {
    let answer = match identity.client() {
        Ok(client) => client.time().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => {
            let skew_s = now().seconds_since(answer.now);
            let clock = if skew_s.abs() <= 30 {
                Ok(format!("{skew_s} s from the control plane's"))
            } else {
                Err((
                    format!("{skew_s} s from the control plane's: orders will be refused"),
                    SET_CLOCK.into(),
                ))
            };
            (Ok(identity.control_plane.clone()), Some(clock))
        }
        Err(error) => {
            let fix = match error.code() {
                None if matches!(error, ClientError::OutOfTime(_)) => SET_CLOCK,
                Some("host.revoked" | "host.locked") => {
                    "ask an administrator of the control plane for a new token"
                }
                Some(_) => "look for the code above in the control plane's documentation",
                None => {
                    "check address, firewall, and that the authority's certificate is the right one"
                }
            };
            (Err((sentence::of(&error), fix.into())), None)
        }
    }
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}
