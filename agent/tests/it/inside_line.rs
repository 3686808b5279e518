//! On a real host, whose line is a real connection that the effect really cuts: IPv6 is switched off, and the
//! gateway answers on `::1`. Only for a host that may be broken: `NEXPLANE_INSIDE_HOST=1`, as root.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_agent::deadman::{Limit, SystemWatch};
use nexplane_agent::host::LinuxHost;
use nexplane_agent::identity::Identity;
use nexplane_agent::line::FreshLine;
use nexplane_core::job::{JobResult, Receipt};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::rig::Rig;

const SYSCTL: &str = "host.set_sysctl";
const RUNNING: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
const KEPT: &str = "/etc/sysctl.d/zz-nexplane.conf";
const LIMIT_S: u32 = 10;

fn parameters() -> Value {
    json!({ "key": "net.ipv6.conf.all.disable_ipv6", "value": "1" })
}

/// Whether the line can be cut, now and for the next start.
fn is_cut() -> (bool, bool) {
    let running = std::fs::read_to_string(RUNNING).unwrap();
    (running.trim() == "1", Path::new(KEPT).exists())
}

fn directory() -> PathBuf {
    std::env::var_os("NEXPLANE_INSIDE_DIR").expect("a directory that outlives the process").into()
}

fn rig(identity: &Identity) -> Rig {
    assert_eq!(std::env::var("NEXPLANE_INSIDE_HOST").as_deref(), Ok("1"), "this breaks the host");
    let mut rig = Rig::new(Arc::new(LinuxHost::open(Path::new("/"), &[]).unwrap()));
    rig.line = Arc::new(FreshLine::new(identity));
    rig.watch = Arc::new(SystemWatch::default());
    rig.limit = Limit::new(LIMIT_S).unwrap();
    rig
}

fn gateway() -> Gateway {
    Gateway::start(TcpListener::bind("[::]:0").unwrap())
}

/// The one that others connect to.
fn at_loopback(mut identity: Identity) -> Identity {
    identity.control_plane = identity.control_plane.replace("[::]", "[::1]");
    identity
}

#[test]
#[ignore = "runs inside a disposable host"]
fn real_line_that_the_effect_cuts_is_there_again_in_time() {
    let gateway = gateway();
    let identity = at_loopback(gateway.identity.clone());
    let rig = rig(&identity);
    rig.line.reach(Duration::from_secs(5)).expect("the line is there before");
    assert_eq!(is_cut(), (false, false));
    let witness = std::thread::spawn(|| {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end && is_cut() != (true, true) {
            std::thread::sleep(Duration::from_millis(5));
        }
        is_cut()
    });
    let job = rig.job(1, rig.apply_order(SYSCTL, &parameters()));
    let began = Instant::now();
    let result = rig.run(&mut rig.start(), &job);
    let took = began.elapsed();
    println!("{took:?}: {result:?}");
    assert_eq!(witness.join().unwrap(), (true, true), "it was cut");
    let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
    assert!(detail.starts_with("not applied: reverted by itself"), "{detail}");
    assert!((LIMIT_S.into()..u64::from(LIMIT_S) + 3).contains(&took.as_secs()), "{took:?}");
    assert_eq!(is_cut(), (false, false));
    rig.line.reach(Duration::from_secs(5)).expect("the line is there again");
    // What leaves the line alone is confirmed over it.
    let harmless = json!({ "key": "net.ipv6.conf.all.accept_redirects", "value": "0" });
    let job = rig.job(2, rig.apply_order(SYSCTL, &harmless));
    let mut runner = rig.start();
    let result = rig.run(&mut runner, &job);
    assert!(matches!(result, JobResult::Applied { .. }), "{result:?}");
    let undo = rig.job(3, rig.revert_order(SYSCTL, &harmless, job.id));
    let result = rig.run(&mut runner, &undo);
    assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
}

/// A process of its own, for killing.
fn spawn(role: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside_line::real_line_role", "--ignored", "--nocapture"])
        .env("NEXPLANE_INSIDE_ROLE", role)
        .env("NEXPLANE_INSIDE_DIR", directory)
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "runs inside a disposable host"]
fn real_line_is_there_again_after_a_kill() {
    for pause_s in [0, u64::from(LIMIT_S) + 1] {
        assert_eq!(is_cut(), (false, false));
        let directory = tempfile::tempdir().unwrap();
        let gateway = gateway();
        let identity = at_loopback(gateway.identity.clone());
        let file = directory.path().join("line.json");
        std::fs::write(&file, serde_json::to_vec(&identity).unwrap()).unwrap();
        let mut agent = spawn("apply", directory.path());
        let began = Instant::now();
        while is_cut() != (true, true) {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        agent.kill().unwrap();
        agent.wait().unwrap();
        std::thread::sleep(Duration::from_secs(pause_s));
        assert_eq!(is_cut(), (true, true), "nobody is there to take it back");
        let began = Instant::now();
        assert!(spawn("recover", directory.path()).wait().unwrap().success());
        let took = began.elapsed();
        println!("started again after {pause_s} s, settled in {took:?}");
        if pause_s == 0 {
            assert!(took <= Duration::from_secs(u64::from(LIMIT_S) + 3), "{took:?}");
        } else {
            assert!(took < Duration::from_secs(3), "no network, no waiting: {took:?}");
        }
        assert_eq!(is_cut(), (false, false));
        let line = FreshLine::new(&identity);
        nexplane_agent::deadman::Line::reach(&line, Duration::from_secs(5)).unwrap();
    }
}

/// What the processes of the test above do; for a restart of the machine it is called by hand: `apply`
/// before and `recover` after it, over the same directory.
#[test]
#[ignore = "runs inside a disposable host"]
fn real_line_role() {
    let Ok(role) = std::env::var("NEXPLANE_INSIDE_ROLE") else { return };
    let directory = directory();
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("line.json");
    let _gateway = (!file.exists()).then(|| {
        let gateway = gateway();
        let identity = at_loopback(gateway.identity.clone());
        std::fs::write(&file, serde_json::to_vec(&identity).unwrap()).unwrap();
        gateway
    });
    let identity = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rig = rig(&identity);
    let mut runner = rig.start_in(&directory);
    match role.as_str() {
        "apply" => {
            let job = rig.job(1, rig.apply_order(SYSCTL, &parameters()));
            println!("{:?}", rig.run(&mut runner, &job));
        }
        "recover" => {
            let settled = runner.recover().unwrap();
            assert_eq!(settled.len(), 1);
            let receipt = runner.journal().receipt(&settled[0]).unwrap().unwrap();
            let receipt: Receipt = serde_json::from_str(&receipt.payload).unwrap();
            println!("{:?}", receipt.result);
            let JobResult::Failed { detail } = &receipt.result else { panic!("{receipt:?}") };
            assert!(detail.contains("reverted by itself"), "{detail}");
            assert_eq!(is_cut(), (false, false));
        }
        other => panic!("no role {other}"),
    }
}
