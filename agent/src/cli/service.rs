//! What `install`, `uninstall` and `check` ask of systemd, and how the steps of the first two are told.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nexplane_agent::host::{Host, HostError, LinuxHost, ServiceState, Unit, UnitName};
use nexplane_agent::install::{Mode, Outcome, Problem, Step, TAKE_BACK_UNIT, UNIT};
use nexplane_agent::sentence;
use nexplane_agent::vital::SERVED;

/// Longest that a service that started may take to be answered by the control plane.
const SERVED_WITHIN: Duration = Duration::from_secs(90);
const BUS: &str = "/run/dbus/system_bus_socket";

/// The agent's unit on this machine.
pub struct Service {
    host: LinuxHost,
    unit: UnitName,
    take_back: UnitName,
}

impl Service {
    pub fn open() -> Result<Self, Problem> {
        if !Path::new("/run/systemd/system").is_dir() || !Path::new(BUS).exists() {
            return Err(Problem {
                why: "this machine was not started by systemd, or has no D-Bus".to_owned(),
                fix: "have `nexplane-agent run` started by what starts services here".to_owned(),
            });
        }
        let host = LinuxHost::open(Path::new("/"), &[]).map_err(|error| Problem {
            why: sentence::of(&error),
            fix: "Linux must be 5.6 or newer".to_owned(),
        })?;
        let name = |unit: &str| unit.parse().expect("the agent's units have valid names");
        Ok(Self { host, unit: name(UNIT), take_back: name(TAKE_BACK_UNIT) })
    }

    /// `None` when systemd knows no such unit.
    pub fn unit(&self) -> Result<Option<Unit>, Problem> {
        self.host.unit(&self.unit).map_err(|error| trouble(&error))
    }

    /// The unit that takes back before the network is up; `None` when systemd knows no such unit.
    pub fn take_back_unit(&self) -> Result<Option<Unit>, Problem> {
        self.host.unit(&self.take_back).map_err(|error| trouble(&error))
    }

    pub fn state(&self) -> Result<ServiceState, Problem> {
        self.host.service(&self.unit).map_err(|error| trouble(&error))
    }

    /// Reads the units' files again and makes both start with the host.
    pub fn enable(&self, mode: Mode) -> Step {
        let mut changed = false;
        for unit in [&self.take_back, &self.unit] {
            let found = self.host.unit(unit).map_err(|error| trouble(&error))?;
            changed |= found.is_none_or(|unit| unit.file_state != "enabled");
            if mode == Mode::Do {
                self.host.set_enabled(unit, true).map_err(|error| trouble(&error))?;
            }
        }
        let found = format!("{UNIT}, and {TAKE_BACK_UNIT} before the network");
        Ok(Outcome { changed, found })
    }

    /// Starts the agent; again, when what it is made of has changed.
    pub fn start(&self, again: bool, mode: Mode) -> Step {
        let runs = self.unit()?.is_some_and(|unit| unit.active);
        if runs && !again {
            return Ok(Outcome { changed: false, found: "runs".to_owned() });
        }
        if mode == Mode::Do {
            if runs {
                self.set_active(false)?;
            }
            // A unit that failed too often has to be forgiven first.
            self.host.reload_unit(&self.unit).map_err(|error| trouble(&error))?;
            self.set_active(true)?;
        }
        Ok(Outcome { changed: true, found: "started".to_owned() })
    }

    /// Waits until the control plane has answered a poll of the agent.
    pub fn wait_until_served(&self) -> Step {
        let begun = Instant::now();
        loop {
            let ServiceState { status, main_pid, restarts } = self.state()?;
            if status == SERVED && main_pid != 0 {
                return Ok(Outcome { changed: false, found: "answered a poll".to_owned() });
            }
            if begun.elapsed() > SERVED_WITHIN {
                let status = if status.is_empty() { "it said nothing" } else { &status };
                let seconds = SERVED_WITHIN.as_secs();
                return Err(Problem {
                    why: format!(
                        "no poll in {seconds} s: {status} (started again {restarts} times)"
                    ),
                    fix: "see: journalctl -u nexplane-agent, and nexplane-agent check".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn stop(&self, mode: Mode) -> Step {
        match self.unit()? {
            Some(unit) if unit.active => {
                if mode == Mode::Do {
                    self.set_active(false)?;
                }
                Ok(Outcome { changed: true, found: "stopped".to_owned() })
            }
            Some(_) | None => Ok(Outcome { changed: false, found: "does not run".to_owned() }),
        }
    }

    pub fn disable(&self, mode: Mode) -> Step {
        let mut changed = false;
        for unit in [&self.unit, &self.take_back] {
            let found = self.host.unit(unit).map_err(|error| trouble(&error))?;
            if found.is_some_and(|unit| unit.file_state != "disabled") {
                changed = true;
                if mode == Mode::Do {
                    self.host.set_enabled(unit, false).map_err(|error| trouble(&error))?;
                }
            }
        }
        Ok(Outcome { changed, found: "does not start with the host".to_owned() })
    }

    /// Lets systemd notice that the unit's file is gone.
    pub fn forget(&self, mode: Mode) -> Step {
        if mode == Mode::Do {
            self.host.reload_unit(&self.unit).map_err(|error| trouble(&error))?;
        }
        Ok(Outcome { changed: true, found: format!("forgot {UNIT}") })
    }

    fn set_active(&self, active: bool) -> Result<(), Problem> {
        self.host.set_active(&self.unit, active).map_err(|error| trouble(&error))
    }
}

fn trouble(error: &HostError) -> Problem {
    Problem { why: sentence::of(error), fix: "see: journalctl -u nexplane-agent".to_owned() }
}

/// The lines that a person reads while steps are taken.
#[derive(Debug)]
pub struct Told {
    mode: Mode,
    /// Whether a step has changed anything.
    pub changed: bool,
}

impl Told {
    pub fn new(mode: Mode) -> Self {
        Self { mode, changed: false }
    }

    /// Prints how a step went. False when it did not work, so that no later one is tried.
    pub fn tell(&mut self, what: &str, step: Step) -> io::Result<bool> {
        let mut out = io::stdout();
        match step {
            Ok(Outcome { changed, found }) => {
                self.changed |= changed;
                let mark = match (self.mode, changed) {
                    (Mode::Tell, true) => "WOULD",
                    (Mode::Tell | Mode::Do, _) => "OK   ",
                };
                writeln!(out, "{mark} {what}: {found}")?;
                Ok(true)
            }
            Err(Problem { why, fix }) => {
                writeln!(out, "FAIL  {what}: {why}\n      {fix}")?;
                Ok(false)
            }
        }
    }
}
