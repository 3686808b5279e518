//! An effect that cuts the agent's own line is taken back by itself: in the same process, in a later one,
//! and whatever the clock says.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexplane_agent::deadman::{DeadMan, Line, Watch};
use nexplane_agent::host::{FakeHost, Host};
use nexplane_agent::line::FreshLine;
use nexplane_core::job::{Envelope, Job, JobResult, Order, RefusalCode};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::rig::{Hand, Rig, refusal};

const SYSCTL: &str = "host.set_sysctl";
const KEY: &str = "net.ipv4.conf.all.log_martians";

fn parameters() -> Value {
    json!({ "key": KEY, "value": "1" })
}

fn value(host: &dyn Host) -> String {
    host.kernel_setting(&KEY.parse().unwrap()).unwrap().unwrap()
}

/// A line that is there only while the setting has one value, as one over an address that the setting takes.
#[derive(Debug)]
struct Hanging {
    host: Arc<FakeHost>,
    on: Mutex<&'static str>,
    watch: Arc<Hand>,
    /// From this second of the watch on it is there in any case.
    back_at_s: Mutex<u64>,
    asked: AtomicU32,
}

impl Line for Hanging {
    fn reach(&self, patience: Duration) -> Result<(), String> {
        assert!(!patience.is_zero() && patience <= Duration::from_secs(10));
        self.asked.fetch_add(1, Ordering::SeqCst);
        let back = self.watch.running().as_secs() >= *self.back_at_s.lock().unwrap();
        if back || value(self.host.as_ref()) == *self.on.lock().unwrap() {
            return Ok(());
        }
        Err("no route to host".to_owned())
    }
}

struct Cut {
    rig: Rig,
    fake: Arc<FakeHost>,
    watch: Arc<Hand>,
    line: Arc<Hanging>,
    job: Job,
    envelope: Envelope,
}

impl Cut {
    fn new() -> Self {
        let (mut rig, fake) = Rig::fake();
        let watch = Arc::new(Hand::default());
        let line = Arc::new(Hanging {
            host: Arc::clone(&fake),
            on: Mutex::new("0"),
            watch: Arc::clone(&watch),
            back_at_s: Mutex::new(u64::MAX),
            asked: AtomicU32::new(0),
        });
        rig.line = Arc::clone(&line) as Arc<dyn Line>;
        rig.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        let job = rig.job(1, rig.apply_order(SYSCTL, &parameters()));
        let envelope = rig.sign(&job);
        Self { rig, fake, watch, line, job, envelope }
    }

    fn value(&self) -> String {
        value(self.fake.as_ref())
    }

    fn asked(&self) -> u32 {
        self.line.asked.load(Ordering::SeqCst)
    }

    fn seconds(&self) -> u64 {
        self.watch.running().as_secs()
    }

    /// Kinds of the journal's records.
    fn records(&self) -> Vec<String> {
        lines(&self.rig)
            .iter()
            .map(|line| {
                let json: Value = serde_json::from_slice(&line[65..]).unwrap();
                json["record"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// The process ends right after the effect: the setting is there, the journal ends with the intent.
    fn stopped_after_the_effect() -> Self {
        let cut = Self::new();
        cut.rig.run(&mut cut.rig.start(), &cut.job);
        let kept = lines(&cut.rig)[..4].concat();
        std::fs::write(cut.rig.journal_path(), kept).unwrap();
        let bound = nexplane_agent::operation::find(SYSCTL).unwrap().bind(&parameters()).unwrap();
        let host = cut.fake.as_ref();
        bound.apply(host, &bound.snapshot(host).unwrap()).unwrap();
        // As if it had been armed just now.
        cut.watch.moment.lock().unwrap().clone_from(&Hand::default().moment.lock().unwrap());
        cut.line.asked.store(0, Ordering::SeqCst);
        cut
    }

    /// The next process settles it.
    fn restart(&self) -> JobResult {
        let mut runner = self.rig.start();
        runner.recover().unwrap();
        assert!(runner.journal().unfinished().is_empty());
        self.rig.deliver(&mut runner, &self.envelope).unwrap().result
    }

    fn pass(&self, boot: &str, wall_s: i64, uptime_s: u64) {
        let mut moment = self.watch.moment.lock().unwrap();
        moment.boot = Some(boot.to_owned());
        moment.at = moment.at.plus_seconds(wall_s);
        moment.uptime_ms = uptime_s * 1000;
    }
}

pub fn lines(rig: &Rig) -> Vec<Vec<u8>> {
    let journal = std::fs::read(rig.journal_path()).unwrap();
    journal.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

pub fn failed(result: &JobResult) -> &str {
    match result {
        JobResult::Failed { detail } => detail,
        other => panic!("failed was expected: {other:?}"),
    }
}

#[test]
fn with_the_line_there_it_is_confirmed_before_the_result() {
    let cut = Cut::new();
    *cut.line.on.lock().unwrap() = "1";
    let result = cut.rig.run(&mut cut.rig.start(), &cut.job);
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    assert_eq!((cut.value().as_str(), cut.asked()), ("1", 1));
    assert_eq!(cut.records(), ["opened", "received", "armed", "intent", "confirmed", "result"]);
}

#[test]
fn a_line_that_the_effect_cuts_has_the_effect_taken_back() {
    let cut = Cut::new();
    let (before, began) = (cut.fake.nodes(), cut.seconds());
    let mut runner = cut.rig.start();
    let result = cut.rig.run(&mut runner, &cut.job);
    let detail = failed(&result);
    assert!(detail.starts_with("not applied: reverted by itself"), "{detail}");
    assert!(detail.contains("within 60 s: no route to host"), "{detail}");
    assert_eq!(cut.fake.nodes(), before, "the running value and the file for the next start");
    assert_eq!(cut.seconds() - began, 60);
    assert!(cut.asked() > 30, "{}", cut.asked());
    assert_eq!(cut.records(), ["opened", "received", "armed", "intent", "result"]);
    // There is nothing to undo, the answer stays the same, and the next order runs.
    assert_eq!(runner.journal().job(&cut.job.id).unwrap().after, None);
    let asked = cut.asked();
    assert_eq!(cut.rig.deliver(&mut runner, &cut.envelope).unwrap().result, result);
    assert_eq!(cut.asked(), asked);
    *cut.line.on.lock().unwrap() = "1";
    let next = cut.rig.job(2, cut.rig.apply_order(SYSCTL, &parameters()));
    assert!(matches!(cut.rig.run(&mut runner, &next), JobResult::Applied { .. }));
}

#[test]
fn a_line_that_comes_back_in_time_is_waited_for() {
    let cut = Cut::new();
    *cut.line.back_at_s.lock().unwrap() = cut.seconds() + 45;
    let result = cut.rig.run(&mut cut.rig.start(), &cut.job);
    assert!(matches!(result, JobResult::Applied { .. }), "{result:?}");
    assert_eq!(cut.value(), "1");
}

#[test]
fn going_back_is_confirmed_like_going_there() {
    let cut = Cut::new();
    *cut.line.on.lock().unwrap() = "1";
    let mut runner = cut.rig.start();
    cut.rig.run(&mut runner, &cut.job);
    let undo = cut.rig.job(2, cut.rig.revert_order(SYSCTL, &parameters(), cut.job.id));
    let result = cut.rig.run(&mut runner, &undo);
    assert!(failed(&result).starts_with("not undone: reverted by itself"), "{result:?}");
    assert_eq!(cut.value(), "1");
}

#[test]
fn what_somebody_else_changed_meanwhile_is_left_and_said() {
    #[derive(Debug)]
    struct Console(Arc<FakeHost>);
    impl Line for Console {
        fn reach(&self, _: Duration) -> Result<(), String> {
            self.0.set_kernel_setting(&KEY.parse().unwrap(), "2").unwrap();
            Err("no route to host".to_owned())
        }
    }
    let mut cut = Cut::new();
    cut.rig.line = Arc::new(Console(Arc::clone(&cut.fake)));
    let result = cut.rig.run(&mut cut.rig.start(), &cut.job);
    let JobResult::Unknown { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("somebody else changed the target"), "{detail}");
    assert_eq!(cut.value(), "2");
}

#[test]
fn without_a_line_what_may_cut_it_is_refused_and_inspecting_says_so() {
    let cut = Cut::new();
    let order = || Order::Inspect {
        operation: SYSCTL.to_owned(),
        target: "h".to_owned(),
        parameters: parameters(),
    };
    let check = |result: &JobResult| {
        let JobResult::Inspected { checks, .. } = result else { panic!("{result:?}") };
        checks.iter().find(|check| check.name == "commit_confirmed").cloned().unwrap()
    };
    let mut armed = cut.rig.start();
    let seen = check(&cut.rig.run(&mut armed, &cut.rig.job(1, order())));
    assert!(seen.ok && seen.detail.contains("not reached within 60 s"), "{seen:?}");
    drop(armed);
    let mut without = cut.rig.start().with_dead_man(DeadMan::default());
    assert!(!check(&cut.rig.run(&mut without, &cut.rig.job(2, order()))).ok);
    let job = cut.rig.job(3, cut.rig.apply_order(SYSCTL, &parameters()));
    let result = cut.rig.run(&mut without, &job);
    assert_eq!(refusal(&result), RefusalCode::CheckFailed);
    assert_eq!(cut.value(), "0");
    let motd = cut.rig.apply_order("host.set_file_content", &crate::rig::motd("new\n"));
    let result = cut.rig.run(&mut without, &cut.rig.job(4, motd));
    assert!(matches!(result, JobResult::Applied { .. }), "it hangs on no line: {result:?}");
}

/// The journal is cut off after every record; the machine has the effect or not.
#[test]
fn crash_at_every_write_of_an_effect_that_cuts_the_line_ends_as_before() {
    for passed_s in [0, 20, 59, 60, 100_000] {
        for (kept, applied) in [(1, false), (2, false), (3, false), (4, false), (4, true)] {
            let cut = Cut::stopped_after_the_effect();
            let journal = lines(&cut.rig)[..kept].concat();
            std::fs::write(cut.rig.journal_path(), journal).unwrap();
            if !applied {
                cut.fake.set_kernel_setting(&KEY.parse().unwrap(), "0").unwrap();
                let file = crate::rig::path("/etc/sysctl.d/zz-nexplane.conf");
                let meta = cut.fake.stat(&file).unwrap().unwrap();
                cut.fake.remove(&file, &meta).unwrap();
            }
            cut.pass("first", passed_s, 1000 + passed_s.unsigned_abs());
            let began = cut.seconds();
            let result = cut.restart();
            let case = format!("{kept} records, applied: {applied}, after {passed_s} s");
            assert!(failed(&result).contains("reverted by itself"), "{case}: {result:?}");
            assert_eq!(cut.value(), "0", "{case}");
            let took = cut.seconds() - began;
            if kept == 4 && passed_s >= 60 {
                assert_eq!((cut.asked(), took), (0, 0), "no network: {case}");
            } else if applied {
                assert_eq!(took, 60 - passed_s.unsigned_abs(), "{case}");
            } else {
                assert_eq!(took, 60, "done again, and taken back: {case}");
            }
        }
    }
}

#[test]
fn crash_after_the_effect_and_the_line_is_there_it_stands() {
    let cut = Cut::stopped_after_the_effect();
    *cut.line.on.lock().unwrap() = "1";
    cut.pass("first", 20, 1020);
    let result = cut.restart();
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    assert_eq!((cut.value().as_str(), cut.asked()), ("1", 1));
    assert_eq!(cut.records(), ["opened", "received", "armed", "intent", "confirmed", "result"]);
    // And once its time is over nobody asks any more.
    let cut = Cut::stopped_after_the_effect();
    *cut.line.on.lock().unwrap() = "1";
    cut.pass("first", 60, 1060);
    let result = cut.restart();
    assert!(failed(&result).contains("the agent was stopped"), "{result:?}");
    assert_eq!((cut.value().as_str(), cut.asked()), ("0", 0));
}

#[test]
fn crash_and_a_wrong_clock_change_nothing_of_it() {
    let day = 86_400;
    // Start of the machine, seconds on the wall, uptime; how long the line is tried.
    for (boot, wall_s, uptime_s, tried_s) in [
        ("first", -day, 1020, 40),
        ("first", day, 1020, 40),
        ("first", -day, 1060, 0),
        ("first", day, 1060, 0),
        ("second", 20, 5, 40),
        ("second", 60, 5, 0),
        ("second", day, 5, 0),
        ("second", -day, 5, 60),
    ] {
        let cut = Cut::stopped_after_the_effect();
        cut.pass(boot, wall_s, uptime_s);
        let began = cut.seconds();
        let result = cut.restart();
        let case = format!("start {boot}, {wall_s} s on the wall");
        assert!(failed(&result).contains("reverted by itself"), "{case}: {result:?}");
        assert_eq!((cut.value().as_str(), cut.seconds() - began), ("0", tried_s), "{case}");
        assert_eq!(cut.asked() == 0, tried_s == 0, "{case}");
    }
}

/// The line is tried after one start of the machine; killed there, the next start takes it back at once.
#[test]
fn crash_at_every_start_ends_with_the_second() {
    #[derive(Debug)]
    struct Deadly;
    impl Line for Deadly {
        fn reach(&self, _: Duration) -> Result<(), String> {
            panic!("crash");
        }
    }
    let mut cut = Cut::stopped_after_the_effect();
    let sound = Arc::clone(&cut.rig.line);
    cut.rig.line = Arc::new(Deadly);
    cut.pass("second", -86_400, 5);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cut.restart()));
    assert!(died.is_err());
    assert_eq!(cut.records(), ["opened", "received", "armed", "intent", "armed"]);
    assert_eq!(cut.value(), "1");
    cut.rig.line = sound;
    cut.pass("third", -86_400, 5);
    let result = cut.restart();
    assert!(failed(&result).contains("reverted by itself"), "{result:?}");
    assert_eq!((cut.value().as_str(), cut.asked()), ("0", 0));
}

#[test]
fn a_line_is_tried_over_a_connection_of_its_own_each_time() {
    let gateway = Gateway::start(TcpListener::bind("127.0.0.1:0").unwrap());
    let line = FreshLine::new(&gateway.identity);
    let patience = Duration::from_secs(10);
    for times in 1..=3 {
        line.reach(patience).unwrap();
        assert_eq!(gateway.asked.load(Ordering::SeqCst), times);
    }
    // A no is an answer of the control plane.
    gateway.status.store(403, Ordering::SeqCst);
    line.reach(patience).unwrap();
    gateway.status.store(200, Ordering::SeqCst);
    // Also in the middle of a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { line.reach(patience).unwrap() });
}

#[test]
fn a_line_that_leads_elsewhere_or_nowhere_is_not_there() {
    let patience = Duration::from_secs(5);
    let gateway = Gateway::start(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = gateway.identity.control_plane.trim_start_matches("https://").parse().unwrap();
    let why = FreshLine::new(&Gateway::stranger(address)).reach(patience).unwrap_err();
    assert!(why.contains("could not be reached"), "another authority: {why}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let why = FreshLine::new(&Gateway::stranger(closed)).reach(patience).unwrap_err();
    assert!(why.contains("refused"), "{why}");

    // Somebody listens and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = FreshLine::new(&Gateway::stranger(silent.local_addr().unwrap()));
    let began = Instant::now();
    let why = line.reach(Duration::from_millis(300)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(why.contains("no answer within 300 ms"), "{why}");
    assert_eq!(gateway.asked.load(Ordering::SeqCst), 0);
}
