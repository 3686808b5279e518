//! What `check` looks at when the agent is a service: program, directories, unit, and the process's sandbox.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nexplane_agent::config::Config;
use nexplane_agent::host::{ServiceState, Unit};
use nexplane_agent::install::{Layout, Problem, TAKE_BACK_UNIT, UNIT};
use nexplane_agent::release::key::PublicKey;
use nexplane_agent::update::Memory;

use super::check::Finding;
use super::service::Service;

const AGAIN: &str = "put it right with: nexplane-agent install";

pub fn findings(config: &Config) -> Vec<(&'static str, Finding)> {
    let layout = match Layout::default().as_configured() {
        Ok(layout) => layout,
        Err(Problem { why, fix }) => return vec![("layout", Err((why, fix.into())))],
    };
    let mut findings = vec![("state directory", private(config.state()))];
    if config.directory() != layout.config() {
        return findings;
    }
    if !layout.unit().exists() {
        let found = format!("no {UNIT}: it runs as long as somebody lets it");
        findings.push(("unit", Ok(found)));
        return findings;
    }
    findings.push(("program", program(&layout.binary())));
    findings.push(("programs for updates", programs(&layout.programs())));
    findings.push(("updates", updates(config)));
    findings.extend(layout.units().map(|(path, text)| ("unit", unit_text(&path, &text))));
    match running() {
        Err(Problem { why, fix }) => findings.push(("service", Err((why, fix.into())))),
        Ok((unit, take_back, state)) => {
            findings.push(("service", service(&unit, &state)));
            findings.push(("start of the machine", early(take_back.as_ref())));
            if state.main_pid != 0 {
                findings.push(("sandbox", sandbox(state.main_pid)));
            }
        }
    }
    findings
}

fn running() -> Result<(Unit, Option<Unit>, ServiceState), Problem> {
    let service = Service::open()?;
    let unit = service.unit()?.ok_or_else(|| Problem {
        why: format!("systemd does not know {UNIT}"),
        fix: AGAIN.to_owned(),
    })?;
    Ok((unit, service.take_back_unit()?, service.state()?))
}

fn private(directory: &Path) -> Finding {
    match fs::metadata(directory) {
        Err(error) => Err((format!("{}: {error}", directory.display()), AGAIN.into())),
        Ok(meta) if meta.mode() & 0o077 != 0 => Err((
            format!(
                "{} is open to other users ({:04o})",
                directory.display(),
                meta.mode() & 0o7777
            ),
            "take that away with: chmod 0700 on the directory".into(),
        )),
        Ok(_) => Ok(directory.display().to_string()),
    }
}

fn program(path: &Path) -> Finding {
    match fs::symlink_metadata(path) {
        Err(error) => Err((format!("{}: {error}", path.display()), AGAIN.into())),
        Ok(meta) if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o7022 != 0 => Err((
            format!("{} is not a file of root that only root can write", path.display()),
            AGAIN.into(),
        )),
        Ok(_) => Ok(path.display().to_string()),
    }
}

fn programs(path: &Path) -> Finding {
    match fs::symlink_metadata(path) {
        Err(error) => Err((format!("{}: {error}", path.display()), AGAIN.into())),
        Ok(meta) if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 => Err((
            format!("{} is not a directory of root that only root can write", path.display()),
            AGAIN.into(),
        )),
        Ok(_) => Ok(path.display().to_string()),
    }
}

/// Whose programs take the agent's place. That it is nobody's is the owner's to say.
fn updates(config: &Config) -> Finding {
    let keys: Vec<_> = config.update().keys.iter().map(PublicKey::id).collect();
    if keys.is_empty() {
        return Ok("no release key is pinned: every update is refused".to_owned());
    }
    if let Err(error) = Memory::load(&config.keep()) {
        let fix = "until it can be read every update is refused; if it is lost, remove it:                    the version that runs is then the lowest";
        return Err((format!("releases.json in the state directory: {error}"), fix.into()));
    }
    Ok(format!("signed by release key {}", keys.join(" or ")))
}

/// What takes back before the network is up.
fn early(unit: Option<&Unit>) -> Finding {
    match unit {
        None => Err((format!("systemd does not know {TAKE_BACK_UNIT}"), AGAIN.into())),
        Some(unit) if unit.file_state != "enabled" => {
            let why = format!(
                "{TAKE_BACK_UNIT} is {}: what was not confirmed is taken back after the network is up",
                unit.file_state
            );
            Err((why, AGAIN.into()))
        }
        Some(unit) if unit.sub_state == "failed" => {
            let fix = format!("see: journalctl -u {TAKE_BACK_UNIT}");
            Err((format!("{TAKE_BACK_UNIT} failed"), fix.into()))
        }
        Some(_) => Ok(format!("{TAKE_BACK_UNIT} takes back before the network is up")),
    }
}

fn unit_text(path: &Path, expected: &str) -> Finding {
    match fs::read_to_string(path) {
        Err(error) => Err((format!("{}: {error}", path.display()), AGAIN.into())),
        Ok(text) if text != expected => Err((
            format!("{} is not what this version writes", path.display()),
            "keep your own settings in a drop-in (systemctl edit nexplane-agent), then run: \
             nexplane-agent install"
                .into(),
        )),
        Ok(_) => Ok(path.display().to_string()),
    }
}

fn service(unit: &Unit, state: &ServiceState) -> Finding {
    let ServiceState { status, restarts, .. } = state;
    if !unit.active {
        let why = format!("it is {}", unit.sub_state);
        return Err((
            why,
            "see: journalctl -u nexplane-agent; start it with: nexplane-agent install".into(),
        ));
    }
    if unit.file_state != "enabled" {
        return Err((
            format!("it is {}: it does not start with the host", unit.file_state),
            AGAIN.into(),
        ));
    }
    Ok(format!("{}, {}, started again {restarts} times: {status}", unit.sub_state, unit.file_state))
}

/// What the kernel says of the process, whatever the unit says.
fn sandbox(pid: u32) -> Finding {
    let path = format!("/proc/{pid}/status");
    let text =
        fs::read_to_string(&path).map_err(|error| (format!("{path}: {error}"), AGAIN.into()))?;
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    let missing: Vec<_> = [("NoNewPrivs:", "1"), ("Seccomp:", "2")]
        .into_iter()
        .filter(|(name, wanted)| field(name) != *wanted)
        .map(|(name, _)| name.trim_end_matches(':'))
        .collect();
    if missing.is_empty() {
        let capabilities = field("CapBnd:");
        return Ok(format!(
            "no new privileges, system calls filtered, capabilities {capabilities}"
        ));
    }
    let why = format!("the process runs without {}", missing.join(" and "));
    Err((why, "look for what takes it away: systemctl cat nexplane-agent".into()))
}
