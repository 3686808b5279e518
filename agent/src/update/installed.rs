//! The program of the agent that `nexplane-agent install` made a service of this machine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::gateway::GatewayReleases;
use super::place::Place;
use super::{ServiceProgram, StartGuard};
use crate::config::Config;
use crate::deadman::SystemWatch;
use crate::host::{Host, LinuxHost, UnitName};
use crate::install::{GUARD_UNIT, Layout};
use crate::release::Version;

/// This process's program, whatever has its name by now.
const EXECUTABLE: &str = "/proc/self/exe";
const AGAIN: &str = "run this on the host first: nexplane-agent install";

/// Where the programs are.
pub fn place(config: &Config) -> Place {
    let layout = Layout::default();
    Place::new(layout.binary(), layout.programs(), config.state())
}

/// The program of this process, of an agent with this configuration.
pub fn program(config: &Config) -> ServiceProgram {
    ServiceProgram {
        place: place(config),
        keep: config.keep(),
        executable: PathBuf::from(EXECUTABLE),
        version: Version::own(),
        keys: config.update().keys.clone(),
        limit: config.update().trial().unwrap_or_default(),
        releases: Arc::new(GatewayReleases::new(config.clone())),
        start_guard: start_guard(),
        hindrance: {
            let config = config.clone();
            Arc::new(move || hindrance(&config))
        },
        watch: Arc::new(SystemWatch::default()),
        running: OnceLock::new(),
    }
}

/// Why the agent cannot be updated as it is installed, and what to do. By files alone.
pub fn hindrance(config: &Config) -> Option<String> {
    let layout = match Layout::default().as_configured() {
        Ok(layout) => layout,
        Err(problem) => return Some(format!("{}: {}", problem.why, problem.fix)),
    };
    let runs = std::fs::read_link(EXECUTABLE).unwrap_or_default();
    let runs = runs.to_string_lossy();
    // What was replaced while it runs has this behind its name.
    let runs = Path::new(runs.strip_suffix(" (deleted)").unwrap_or(&runs));
    if config.directory() != layout.config() || runs != layout.binary() {
        return Some(format!(
            "this agent is not the service that `install` makes, so nothing would start another program: {AGAIN}"
        ));
    }
    let is_as_written = |(path, text): &(PathBuf, String)| {
        std::fs::read_to_string(path).is_ok_and(|is| is == *text)
    };
    if let Some((path, _)) = layout.units().iter().find(|unit| !is_as_written(unit)) {
        return Some(format!("{} is not what this version writes: {AGAIN}", path.display()));
    }
    if !layout.programs().is_dir() {
        return Some(format!("there is no {}: {AGAIN}", layout.programs().display()));
    }
    None
}

/// Through systemd, so that it outlives this process. Waits until it runs.
fn start_guard() -> StartGuard {
    Arc::new(|| {
        let host =
            LinuxHost::open(Path::new("/"), &[]).map_err(|error| crate::sentence::of(&error))?;
        let unit: UnitName = GUARD_UNIT.parse().expect("the agent's units have valid names");
        host.set_active(&unit, true).map_err(|error| error.sentence())
    })
}
