//! The agent on a real Debian.
//!
//! A test calls [`within`] and is then run twice: outside it starts a host, and in that host the same
//! test runs again, as a service of systemd and as root.

mod conformance;
mod hardening;
mod install;
mod line;
mod orders;
mod package;
mod repository;
mod rpm;
mod rpms;
mod runner;
mod service;

use std::path::Path;
use std::process::Command;

use nexplane_agent::host::fake::SEALING_KEY;
use nexplane_agent::host::{LinuxHost, SealingKey};

pub use crate::disposable::{AGENT, RealHost, assert_same};
use crate::disposable::{CONFIGURATION, INSIDE, Kin, MARKER, printed, start_of_or_skip};

/// The machine itself, as an agent sees it; for use inside.
pub fn whole() -> LinuxHost {
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    host.with_sealing_key(SealingKey::new(&SEALING_KEY))
}

/// Runs a test in a host of its own. `test` is its name with its module's.
pub fn within(test: &str, inside: impl FnOnce()) {
    within_kin(Kin::Debian, test, inside);
}

/// The same on a host of whichever packages.
pub fn within_kin(kin: Kin, test: &str, inside: impl FnOnce()) {
    driven_kin(kin, |host| host.run_test(test, &[]), inside);
}

/// A test of which the outside decides when and how often it runs inside.
pub fn driven(drive: impl FnOnce(&RealHost), inside: impl FnOnce()) {
    driven_kin(Kin::Debian, drive, inside);
}

fn driven_kin(kin: Kin, drive: impl FnOnce(&RealHost), inside: impl FnOnce()) {
    if let Ok(name) = std::env::var(INSIDE) {
        let found = std::fs::read_to_string(MARKER).unwrap_or_default();
        assert!(!name.is_empty() && found == name, "this is not the host '{name}'");
        return inside();
    }
    if let Some(host) = start_of_or_skip(kin) {
        drive(&host);
    }
}

/// Runs a script in this host and gives what it printed; for use inside.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    printed(script, &output)
}

/// Puts a file there with everything above it; for use inside.
pub fn put(file: &str, text: &str) {
    std::fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// Everything below /etc; for use inside.
pub fn configuration() -> String {
    sh(CONFIGURATION)
}
