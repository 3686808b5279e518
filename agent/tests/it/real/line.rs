//! The line to the control plane is a real connection that the effect really cuts: IPv6 is switched off,
//! and the gateway answers on `::1`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nexplane_agent::deadman::{Limit, Line, SystemWatch};
use nexplane_agent::host::LinuxHost;
use nexplane_agent::identity::Identity;
use nexplane_agent::journal::Journal;
use nexplane_agent::line::FreshLine;
use nexplane_core::job::{JobResult, Receipt};
use serde_json::{Value, json};

use super::install::installed;
use super::{RealHost, assert_same, configuration, driven, put, sh, within};
use crate::gateway::Gateway;
use crate::rig::{HOST, Rig};

const SYSCTL: &str = "host.set_sysctl";
const RUNNING: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
const KEPT: &str = "/etc/sysctl.d/zz-nexplane.conf";
const LIMIT_S: u32 = 10;
const LIMIT: Duration = Duration::from_secs(LIMIT_S as u64);
/// What a busy machine takes besides.
const SLACK: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(5);
/// The agent's directory in the host; outlives the process.
const DIRECTORY: &str = "/var/lib/nexplane-test";
/// What the process in the host does.
const ROLE: &str = "NEXPLANE_ROLE";

fn parameters() -> Value {
    json!({ "key": "net.ipv6.conf.all.disable_ipv6", "value": "1" })
}

/// Whether the line can be cut, now and for the next start.
fn is_cut() -> (bool, bool) {
    let running = fs::read_to_string(RUNNING).unwrap();
    (running.trim() == "1", Path::new(KEPT).exists())
}

fn wait_until_cut() {
    let began = Instant::now();
    while is_cut() != (true, true) {
        assert!(began.elapsed() < Duration::from_secs(60), "it was never cut");
        sleep(Duration::from_millis(5));
    }
}

/// One that others reach over `::1`.
fn gateway() -> Gateway {
    let mut gateway = Gateway::start(TcpListener::bind("[::]:0").unwrap());
    gateway.identity.control_plane = gateway.identity.control_plane.replace("[::]", "[::1]");
    gateway
}

/// An agent whose line is the identity's.
fn rig(identity: &Identity) -> Rig {
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    let mut rig = Rig::kept(Arc::new(host), Path::new(DIRECTORY));
    rig.line = Arc::new(FreshLine::new(identity));
    rig.watch = Arc::new(SystemWatch::default());
    rig.limit = Limit::new(LIMIT_S).unwrap();
    rig
}

#[test]
fn real_line_that_the_effect_cuts_is_there_again_in_time() {
    within("real::line::real_line_that_the_effect_cuts_is_there_again_in_time", || {
        let gateway = gateway();
        let rig = rig(&gateway.identity);
        rig.line.reach(PATIENCE).expect("the line is there before");
        assert_eq!(is_cut(), (false, false));
        let kept = configuration();
        let witness = std::thread::spawn(wait_until_cut);
        let job = rig.job(1, rig.apply_order(SYSCTL, &parameters()));
        let began = Instant::now();
        let result = rig.run(&mut rig.start(), &job);
        let took = began.elapsed();
        println!("{took:?}: {result:?}");
        witness.join().expect("it was cut");
        let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
        assert!(detail.starts_with("not applied: reverted by itself"), "{detail}");
        assert!((LIMIT..LIMIT + SLACK).contains(&took), "{took:?}");
        assert_eq!(is_cut(), (false, false));
        assert_same("taken back", &kept, &configuration());
        rig.line.reach(PATIENCE).expect("the line is there again");

        // What leaves the line alone is confirmed over it.
        let harmless = json!({ "key": "net.ipv6.conf.all.accept_redirects", "value": "0" });
        let job = rig.job(2, rig.apply_order(SYSCTL, &harmless));
        let mut runner = rig.start();
        let result = rig.run(&mut runner, &job);
        assert!(matches!(result, JobResult::Applied { .. }), "{result:?}");
        let undo = rig.job(3, rig.revert_order(SYSCTL, &harmless, job.id));
        let result = rig.run(&mut runner, &undo);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert_same("undone", &kept, &configuration());
    });
}

#[test]
fn real_line_is_there_again_after_a_kill() {
    const TEST: &str = "real::line::real_line_is_there_again_after_a_kill";
    within(TEST, || {
        if let Ok(role) = std::env::var(ROLE) {
            return play(&role);
        }
        let gateway = gateway();
        let line = FreshLine::new(&gateway.identity);
        let kept = configuration();
        for pause in [Duration::ZERO, LIMIT + Duration::from_secs(1)] {
            sh(&format!("rm -rf {DIRECTORY}"));
            keep(&gateway.identity);
            line.reach(PATIENCE).unwrap();
            let mut agent = spawn(TEST, "apply");
            wait_until_cut();
            agent.kill().unwrap();
            agent.wait().unwrap();
            sleep(pause);
            assert_eq!(is_cut(), (true, true), "nobody is there to take it back");
            line.reach(PATIENCE).expect_err("it is cut");
            let began = Instant::now();
            assert!(spawn(TEST, "recover").wait().unwrap().success());
            let took = began.elapsed();
            println!("started again after {pause:?}, settled in {took:?}");
            if pause.is_zero() {
                assert!(took < LIMIT + SLACK, "{took:?}");
            } else {
                assert!(took < LIMIT, "no network, no waiting: {took:?}");
            }
            line.reach(PATIENCE).expect("the line is there again");
            assert_same("settled", &kept, &configuration());
        }
    });
}

#[test]
fn real_line_is_there_again_after_a_reset() {
    const TEST: &str = "real::line::real_line_is_there_again_after_a_reset";
    let drive = |host: &RealHost| {
        let starts = host.starts();
        let output = host.try_test(TEST, &[(ROLE, "apply and reset")]);
        assert!(!output.status.success(), "{output:?}");
        host.ready(starts + 1);
        host.run_test(TEST, &[(ROLE, "recover")]);
    };
    driven(drive, || play(&std::env::var(ROLE).unwrap()));
}

/// A file that is read when the network is configured.
const READ_AT_START: &str = "/etc/systemd/network/50-line.network";

#[test]
fn real_line_files_are_back_before_the_network_reads_them() {
    const TEST: &str = "real::line::real_line_files_are_back_before_the_network_reads_them";
    let drive = |host: &RealHost| {
        let starts = host.starts();
        let output = host.try_test(TEST, &[(ROLE, "write and reset")]);
        assert!(!output.status.success(), "{output:?}");
        host.ready(starts + 1);
        host.run_test(TEST, &[(ROLE, "look")]);
    };
    driven(drive, || match std::env::var(ROLE).unwrap().as_str() {
        "write and reset" => write_and_reset(),
        "look" => look_at_the_start(),
        other => panic!("no role {other}"),
    });
}

/// The machine goes down when the line is tried.
#[derive(Debug)]
struct Resetting;

impl Line for Resetting {
    fn reach(&self, _: Duration) -> Result<(), String> {
        sh("sync; systemctl reboot --force --force");
        sleep(Duration::from_secs(60));
        Err("it is there still".to_owned())
    }
}

fn write_and_reset() {
    let layout = installed();
    put(READ_AT_START, "[Match]\nName=before\n");
    // Whoever is the first to read it after the target saw this.
    put(
        "/etc/systemd/system/witness.service",
        &format!(
            "[Unit]\nDefaultDependencies=no\nAfter=network-pre.target\nBefore=network.target\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cp {READ_AT_START} /run/witness\n\
             [Install]\nWantedBy=sysinit.target\n"
        ),
    );
    sh("systemctl daemon-reload; systemctl -q enable witness.service");
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    let mut rig = Rig::kept(Arc::new(host), &layout.state());
    rig.line = Arc::new(Resetting);
    rig.watch = Arc::new(SystemWatch::default());
    let parameters = json!({ "path": READ_AT_START, "content": "[Match]\nName=after\n" });
    let job = rig.job(1, rig.apply_order("host.set_file_content", &parameters));
    rig.run(&mut rig.start(), &job);
}

fn look_at_the_start() {
    let state = Path::new("/var/lib/nexplane-agent");
    println!("{}", sh("journalctl --no-pager -b -u nexplane-agent-takeback.service"));
    assert_eq!(fs::read_to_string(READ_AT_START).unwrap(), "[Match]\nName=before\n");
    assert_eq!(fs::read_to_string("/run/witness").unwrap(), "[Match]\nName=before\n");
    let moment = |unit: &str, what: &str| -> u64 {
        let text = sh(&format!("systemctl show --value -p {what}TimestampMonotonic {unit}"));
        text.trim().parse().unwrap()
    };
    let back = moment("nexplane-agent-takeback.service", "ExecMainExit");
    let network = moment("network-pre.target", "ActiveEnter");
    println!("back {back} us after the start, network-pre.target reached at {network} us");
    assert!(0 < back && back <= network, "{back} {network}");
    let journal = Journal::read(&state.join("journal"), HOST).unwrap().unwrap();
    assert!(journal.unfinished().is_empty());
    let (_, _, receipt) = journal.unreported().unwrap().remove(0);
    assert!(receipt.payload.contains("reverted by itself"), "{}", receipt.payload);
    assert!(!state.join("armed").exists(), "the next start has nothing to look for");
}

fn identity_file() -> std::path::PathBuf {
    Path::new(DIRECTORY).join("line.json")
}

fn keep(identity: &Identity) {
    fs::create_dir_all(DIRECTORY).unwrap();
    fs::write(identity_file(), serde_json::to_vec(identity).unwrap()).unwrap();
}

/// A process of its own, for killing.
fn spawn(test: &str, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .spawn()
        .unwrap()
}

fn play(role: &str) {
    match role {
        "apply" => {
            apply();
        }
        "apply and reset" => {
            let gateway = gateway();
            keep(&gateway.identity);
            std::thread::spawn(|| {
                wait_until_cut();
                sh("systemctl reboot --force --force");
            });
            apply();
            sleep(Duration::from_secs(60));
        }
        "recover" => recover(),
        other => panic!("no role {other}"),
    }
}

fn kept_rig() -> Rig {
    rig(&serde_json::from_slice(&fs::read(identity_file()).unwrap()).unwrap())
}

fn apply() {
    let rig = kept_rig();
    let job = rig.job(1, rig.apply_order(SYSCTL, &parameters()));
    println!("{:?}", rig.run(&mut rig.start(), &job));
}

/// The next process of the agent takes it back, and whoever listens afterwards is reached.
fn recover() {
    assert_eq!(is_cut(), (true, true), "nobody took it back before");
    let rig = kept_rig();
    let mut runner = rig.start();
    let settled = runner.recover().unwrap();
    assert_eq!(settled.len(), 1);
    let receipt = runner.journal().receipt(&settled[0]).unwrap().unwrap();
    let receipt: Receipt = serde_json::from_str(&receipt.payload).unwrap();
    println!("{:?}", receipt.result);
    let JobResult::Failed { detail } = &receipt.result else { panic!("{receipt:?}") };
    assert!(detail.contains("reverted by itself"), "{detail}");
    assert_eq!(is_cut(), (false, false));
    FreshLine::new(&gateway().identity).reach(PATIENCE).expect("IPv6 works again");
}
