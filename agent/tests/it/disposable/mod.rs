//! A real Debian with systemd as process 1, in a container that is thrown away.
//!
//! Needs root, `systemd-nspawn` and `mmdebstrap` (`./setup` installs both). Where one of them is missing a
//! test says so and is skipped, unless the variable `CI` is `true`: then it fails. The server's tests use it
//! as well.

pub mod base;
mod host;

use std::process::Output;

pub use base::Kin;
pub use host::RealHost;

/// The agent, as a host sees it before it is installed.
pub const AGENT: &str = "/opt/nexplane/nexplane-agent";
/// Says which test runs inside; holds the name of the host that it may run on.
pub const INSIDE: &str = "NEXPLANE_INSIDE";
/// The host's name again, in the host: so that nothing but a host that is thrown away is ever changed.
pub const MARKER: &str = "/etc/nexplane-disposable";
/// Everything below /etc: kinds, modes, owners, links and contents.
pub const CONFIGURATION: &str = "cd /etc; find . -printf '%p %y %m %u %g %l\\n' | sort; \
    find . -type f -print0 | sort -z | xargs -0 sha256sum";

/// A host that runs; none, with a line that says why, where there can be none.
pub fn start_or_skip() -> Option<RealHost> {
    start_of_or_skip(Kin::Debian)
}

/// The same, of whichever packages.
pub fn start_of_or_skip(kin: Kin) -> Option<RealHost> {
    let Some(missing) = missing() else { return Some(RealHost::start_of(kin)) };
    let how = format!("{missing}: a host for this test needs root and what `./setup` installs");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{how}");
    println!("skipped: {how}");
    None
}

/// What there is not of all that a host needs.
pub fn missing() -> Option<String> {
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

/// What a program printed; fails when the program did.
pub fn printed(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}\n{}\n{text}{errors}", output.status);
    text
}

/// Fails with the lines in which two texts differ.
pub fn assert_same(what: &str, before: &str, now: &str) {
    let gone: Vec<&str> = before.lines().filter(|line| !now.lines().any(|l| l == *line)).collect();
    let come: Vec<&str> = now.lines().filter(|line| !before.lines().any(|l| l == *line)).collect();
    assert!(before == now, "{what}\nbefore only: {gone:#?}\nnow only: {come:#?}");
}
