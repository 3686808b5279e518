//! The agent on a real Debian: systemd as process 1, in a container that is thrown away.
//!
//! A test calls [`within`] and is then run twice: outside it starts a host, and in that host the same
//! test runs again, as a service of systemd and as root. Needs root, `systemd-nspawn` and
//! `mmdebstrap` (`./setup` installs both). Where one of them is missing the test says so and is
//! skipped, unless the variable `CI` is `true`: then it fails.

mod base;
mod conformance;
mod hardening;
mod host;
mod line;
mod package;
mod repository;
mod runner;
mod service;

use std::path::Path;
use std::process::{Command, Output};

use nexplane_agent::host::fake::SEALING_KEY;
use nexplane_agent::host::{LinuxHost, SealingKey};

pub use host::RealHost;

/// The machine itself, as an agent sees it; for use inside.
pub fn whole() -> LinuxHost {
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    host.with_sealing_key(SealingKey::new(&SEALING_KEY))
}

/// Says which test runs inside; holds the name of the host that it may run on.
const INSIDE: &str = "NEXPLANE_INSIDE";
/// The host's name again, in the host: so that nothing but a host that is thrown away is ever changed.
const MARKER: &str = "/etc/nexplane-disposable";

/// Runs a test in a host of its own. `test` is its name with its module's.
pub fn within(test: &str, inside: impl FnOnce()) {
    driven(|host| host.run_test(test, &[]), inside);
}

/// A test of which the outside decides when and how often it runs inside.
pub fn driven(drive: impl FnOnce(&RealHost), inside: impl FnOnce()) {
    if let Ok(name) = std::env::var(INSIDE) {
        let found = std::fs::read_to_string(MARKER).unwrap_or_default();
        assert!(!name.is_empty() && found == name, "this is not the host '{name}'");
        return inside();
    }
    if let Some(host) = start_or_skip() {
        drive(&host);
    }
}

/// A host that runs; none, with a line that says why, where there can be none.
pub fn start_or_skip() -> Option<RealHost> {
    let Some(missing) = missing() else { return Some(RealHost::start()) };
    let how = format!("{missing}: a host for this test needs root and what `./setup` installs");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{how}");
    println!("skipped: {how}");
    None
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let needed: &[&str] =
        if base::is_given() { &["systemd-nspawn"] } else { &["systemd-nspawn", "mmdebstrap"] };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let program = needed.iter().find(|program| !has(program))?;
    Some(format!("{program} is not installed"))
}

/// Runs a script in this host and gives what it printed; for use inside.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    printed(script, &output)
}

fn printed(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}\n{}\n{text}{errors}", output.status);
    text
}

/// Puts a file there with everything above it; for use inside.
pub fn put(file: &str, text: &str) {
    std::fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// Everything below /etc: kinds, modes, owners, links and contents.
pub fn configuration() -> String {
    sh("cd /etc; find . -printf '%p %y %m %u %g %l\\n' | sort; \
        find . -type f -print0 | sort -z | xargs -0 sha256sum")
}

/// Fails with the lines in which two texts differ.
pub fn assert_same(what: &str, before: &str, now: &str) {
    let gone: Vec<&str> = before.lines().filter(|line| !now.lines().any(|l| l == *line)).collect();
    let come: Vec<&str> = now.lines().filter(|line| !before.lines().any(|l| l == *line)).collect();
    assert!(before == now, "{what}\nbefore only: {gone:#?}\nnow only: {come:#?}");
}
