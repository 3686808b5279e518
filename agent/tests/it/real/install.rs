//! The agent as a service: its units, and a new enrolment over an earlier one.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nexplane_agent::config::Config;
use nexplane_agent::host::LinuxHost;
use nexplane_agent::install::{Layout, Mode, Said};
use serde_json::json;

use super::{AGENT, put, sh, within};
use crate::gateway::Gateway;
use crate::rig::Rig;

/// What `install` puts on a host, and an identity that no control plane knows.
pub fn installed() -> Layout {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let identity = Gateway::stranger(closed);
    let layout = Layout::default().as_configured().unwrap();
    layout.put_binary(Path::new(AGENT), Mode::Do).unwrap();
    layout.make_directories(Mode::Do).unwrap();
    let said = Said {
        control_plane: Some(&identity.control_plane),
        ca_pem: Some(&identity.ca_pem),
        ..Said::default()
    };
    layout.put_config(&said, Mode::Do).unwrap();
    layout.put_policy(Mode::Do).unwrap();
    layout.put_units(Mode::Do).unwrap();
    identity.save(&Config::open(layout.config()).unwrap().keep()).unwrap();
    sh("systemctl daemon-reload; systemctl -q enable nexplane-agent-takeback.service; \
        systemd-analyze verify nexplane-agent.service nexplane-agent-takeback.service");
    layout
}

/// Runs it with a token that nobody takes; what it said.
fn enrol_elsewhere() -> String {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    put("/srv/new-ca.pem", &Gateway::stranger(closed).ca_pem);
    let mut install = Command::new(AGENT)
        .args(["install", "--token-stdin", "--ca", "/srv/new-ca.pem", "--control-plane"])
        .arg(format!("https://{closed}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    install.stdin.take().unwrap().write_all(b"another token\n").unwrap();
    let output = install.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(!output.status.success(), "{said}");
    said
}

fn state_of_files(layout: &Layout) -> Vec<Vec<u8>> {
    let config = Config::new(layout.config());
    let identity = layout.state().join("identity.json");
    [config.file(), config.ca(), identity].map(|path| fs::read(path).unwrap()).to_vec()
}

#[test]
fn real_an_enrolment_that_fails_leaves_the_earlier_agent_as_it_was() {
    let test = "real::install::real_an_enrolment_that_fails_leaves_the_earlier_agent_as_it_was";
    within(test, || {
        let layout = installed();
        sh("systemctl enable --now nexplane-agent.service");
        let process = || sh("systemctl show -p MainPID --value nexplane-agent.service");
        let (earlier, before) = (process(), state_of_files(&layout));
        let said = enrol_elsewhere();
        assert!(said.contains("the earlier agent runs again as it was"), "{said}");
        assert_eq!(state_of_files(&layout), before, "address, authority and identity");
        assert_eq!(sh("systemctl is-active nexplane-agent.service"), "active\n");
        assert_ne!(process(), earlier, "it was stopped in between");
        let found = sh("nexplane-agent check || true");
        for line in ["unit", "service", "start of the machine", "sandbox", "state directory"] {
            assert!(found.contains(&format!("OK    {line}: ")), "{line}: {found}");
        }
        assert!(!found.contains("FAIL  unit"), "{found}");

        // What it left open is settled first, and who did not run does not run afterwards.
        sh("systemctl stop nexplane-agent.service");
        let file = "/etc/network/interfaces.d/line";
        put(file, "before\n");
        let host = LinuxHost::open("/".as_ref(), &[]).unwrap();
        let rig = Rig::kept(Arc::new(host), &layout.state());
        let parameters = json!({ "path": file, "content": "after\n" });
        let job = rig.job(1, rig.apply_order("host.set_file_content", &parameters));
        rig.run(&mut rig.start(), &job);
        let journal = fs::read(rig.journal_path()).unwrap();
        let lines: Vec<&[u8]> = journal.split_inclusive(|byte| *byte == b'\n').collect();
        fs::write(rig.journal_path(), lines[..4].concat()).unwrap();
        let said = enrol_elsewhere();
        assert_eq!(fs::read_to_string(file).unwrap(), "before\n", "{said}");
        assert_eq!(state_of_files(&layout), before);
        assert_eq!(sh("systemctl is-active nexplane-agent.service || true"), "inactive\n");

        println!("{}", sh("nexplane-agent uninstall --yes"));
        for unit in ["nexplane-agent.service", "nexplane-agent-takeback.service"] {
            let known = sh(&format!("systemctl list-unit-files --no-legend {unit} || true"));
            assert_eq!(known, "", "{unit}");
        }
        assert!(!layout.state().exists() && !layout.config().exists() && !layout.binary().exists());
    });
}

#[test]
fn real_a_state_directory_of_the_owners_own_is_the_services() {
    let test = "real::install::real_a_state_directory_of_the_owners_own_is_the_services";
    within(test, || {
        put("/etc/nexplane-agent/config.toml", "state_dir = \"/srv/agent\"\n");
        let layout = installed();
        assert_eq!(layout.state(), Path::new("/srv/agent"));
        sh("systemctl enable --now nexplane-agent.service");
        assert!(Path::new("/srv/agent/journal").exists(), "the service writes there");
        assert!(!Path::new("/var/lib/nexplane-agent").exists());
        let found = sh("nexplane-agent check || true");
        assert!(found.contains("OK    state directory: /srv/agent"), "{found}");
        assert!(!found.contains("FAIL  unit") && found.contains("OK    sandbox"), "{found}");
        sh("echo mine >/srv/agent/notes; nexplane-agent uninstall --yes");
        assert_eq!(sh("ls -A /srv/agent"), "notes\n");
    });
}
