//! The executable, as a person meets it.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nexplane_agent::config::Config;
use tempfile::TempDir;

use crate::gateway::Gateway;

fn agent(arguments: &[&str], config: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexplane-agent"));
    command.args(arguments).env_remove("NEXPLANE_TOKEN");
    if !arguments.contains(&"--help") && arguments != ["version"] {
        command.arg("--config-dir").arg(config.path());
    }
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let config = tempfile::tempdir().unwrap();
    let help = text(&agent(&["--help"], &config).output().unwrap());
    for command in [
        "install",
        "run",
        "status",
        "check",
        "rotate-cert",
        "take-back",
        "guard",
        "release",
        "uninstall",
        "version",
    ] {
        assert!(help.contains(command), "{help}");
        let output = agent(&[command, "--help"], &config).output().unwrap();
        assert!(output.status.success());
        assert!(text(&output).contains("Example"), "{command}");
    }
    let version = agent(&["version"], &config).output().unwrap();
    assert!(text(&version).starts_with("nexplane-agent "));
}

#[test]
fn without_an_identity_each_command_says_what_to_do() {
    let config = tempfile::tempdir().unwrap();
    let run = agent(&["run"], &config).output().unwrap();
    assert!(!run.status.success());
    assert!(text(&run).contains("--token"), "{}", text(&run));
    let status = agent(&["status"], &config).output().unwrap();
    assert!(!status.status.success());
    assert!(text(&status).contains("not enrolled"));
    let rotate = agent(&["rotate-cert"], &config).output().unwrap();
    assert!(!rotate.status.success());
    assert!(text(&rotate).contains("not enrolled"));
    let check = agent(&["check"], &config).output().unwrap();
    let found = text(&check);
    assert!(!check.status.success());
    assert!(found.contains("OK    root directory"), "{found}");
    assert!(found.contains("OK    packages: "), "{found}");
    assert!(found.contains("FAIL  identity") && found.contains("enrol with"), "{found}");
}

/// This process holds the lock as an installation does. The signal that an agent is told with would end it.
#[test]
fn who_holds_the_state_directory_and_is_no_agent_is_not_signalled() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new(directory.path());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Gateway::stranger(closed).save(&config.keep()).unwrap();
    let lock = config.lock().unwrap();
    let refused = agent(&["rotate-cert"], &directory).output().unwrap();
    assert!(!refused.status.success());
    let said = text(&refused);
    assert!(said.contains(&format!("process {} works with", std::process::id())), "{said}");
    assert!(said.contains("run this again"), "{said}");
    // What stands in the file is another's number, of one that does not have it.
    std::fs::write(directory.path().join("lock"), "1").unwrap();
    let refused = agent(&["rotate-cert"], &directory).output().unwrap();
    assert!(text(&refused).contains("does not say which one it is"), "{}", text(&refused));
    let early = agent(&["take-back"], &directory).output().unwrap();
    assert!(early.status.success() && text(&early).contains("an agent runs"), "{}", text(&early));
    drop(lock);
    let early = agent(&["take-back"], &directory).output().unwrap();
    assert!(early.status.success() && text(&early).contains("nothing to take back"));
}

#[test]
fn a_control_plane_that_is_away_is_waited_for_until_sigterm() {
    let config = tempfile::tempdir().unwrap();
    let ca = config.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(&ca, authority.self_signed(&key).unwrap().pem()).unwrap();
    // Port 9 of this machine: nobody listens.
    let mut child = agent(&["run", "--control-plane", "https://127.0.0.1:9"], &config)
        .arg("--ca")
        .arg(&ca)
        .env("NEXPLANE_TOKEN", "a token")
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !config.path().join("enrolling.json").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never began to enrol");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(config.path().join("enrolling.json")).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600, "the key is the agent's alone");
}
