//! What is in the way of taking an effect back at first does not keep it from being taken back; and what is read at
//! the start of a machine is back before.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nexplane_agent::config::Config;
use nexplane_agent::deadman::{Line, Moment, SystemWatch, Watch};
use nexplane_agent::host::{FakeHost, Host, Mode};
use nexplane_agent::identity::Identity;
use nexplane_agent::runner::Early;
use nexplane_agent::settle::Terms;
use nexplane_agent::vital::Vital;
use nexplane_core::job::{Envelope, JobEvent, JobResult};
use serde_json::json;

use crate::deadman::{failed, lines};
use crate::gateway::Gateway;
use crate::rig::{Hand, Rig, linux, path};

/// One that may cut the line: to stop it is armed.
const UNIT: &str = "wg-quick@wg0.service";
const DISABLE: &str = "host.disable_service";

/// A watch that is at the end of the agent's patience after each pause, and notices who does not say that the agent
/// lives.
#[derive(Debug)]
struct Nervous {
    hand: Hand,
    vital: Vital,
}

impl Watch for Nervous {
    fn moment(&self) -> Moment {
        self.hand.moment()
    }

    fn running(&self) -> Duration {
        assert!(self.vital.is_alive(), "the service manager would have ended it");
        self.hand.running()
    }

    fn sleep(&self, pause: Duration) {
        assert!(self.vital.is_alive(), "the service manager would have ended it");
        self.hand.sleep(pause);
        self.vital.within(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A unit that was stopped, armed, by a process that ended right after it.
struct Stopped {
    rig: Rig,
    fake: Arc<FakeHost>,
    watch: Arc<Nervous>,
    envelope: Envelope,
    is_there: Arc<AtomicBool>,
}

/// Whether the line is there is said by the test.
#[derive(Debug)]
struct Said(Arc<AtomicBool>);

impl Line for Said {
    fn reach(&self, _: Duration) -> Result<(), String> {
        let there = self.0.load(Ordering::SeqCst);
        there.then_some(()).ok_or_else(|| "no route to host".to_owned())
    }
}

impl Stopped {
    fn new(passed_s: u64) -> Self {
        let (mut rig, fake) = Rig::fake();
        fake.put_unit(&UNIT.parse().unwrap(), true);
        let watch = Arc::new(Nervous { hand: Hand::default(), vital: Vital::default() });
        rig.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        let is_there = Arc::new(AtomicBool::new(true));
        rig.line = Arc::new(Said(Arc::clone(&is_there)));
        let job = rig.job(1, rig.apply_order(DISABLE, &json!({ "unit": UNIT })));
        let envelope = rig.sign(&job);
        let result = rig.run(&mut rig.start(), &job);
        assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
        fs::write(rig.journal_path(), lines(&rig)[..4].concat()).unwrap();
        is_there.store(false, Ordering::SeqCst);
        let mut moment = watch.hand.moment.lock().unwrap();
        moment.uptime_ms += passed_s * 1000;
        moment.at = moment.at.plus_seconds(passed_s.cast_signed());
        drop(moment);
        Self { rig, fake, watch, envelope, is_there }
    }

    fn restart(&self) -> (JobResult, Duration) {
        let began = self.watch.hand.running();
        let mut runner = self.rig.start().with_vital(self.watch.vital.clone());
        runner.recover().unwrap();
        assert!(runner.journal().unfinished().is_empty());
        let took = self.watch.hand.running() - began;
        (self.rig.deliver(&mut runner, &self.envelope).unwrap().result, took)
    }

    fn runs(&self) -> bool {
        self.fake.unit(&UNIT.parse().unwrap()).unwrap().unwrap().active
    }
}

#[test]
fn crash_and_what_cannot_be_read_at_first_is_taken_back_when_it_can() {
    // Where time was left at first, it was over at the fifth attempt, and from then on it is taken back.
    for (passed_s, silent, took_s) in [(60, 1, 1), (60, 5, 31), (60, 8, 121), (50, 5, 15 + 1)] {
        let stopped = Stopped::new(passed_s);
        stopped.fake.silence_units(silent);
        let (result, took) = stopped.restart();
        let case = format!("after {passed_s} s, {silent} questions without an answer");
        assert!(failed(&result).contains("reverted by itself"), "{case}: {result:?}");
        assert!(stopped.runs(), "{case}");
        assert_eq!(took.as_secs(), took_s, "{case}");
    }
}

#[test]
fn crash_and_what_can_be_read_in_time_is_confirmed() {
    let stopped = Stopped::new(20);
    stopped.fake.silence_units(4);
    stopped.is_there.store(true, Ordering::SeqCst);
    let (result, took) = stopped.restart();
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    assert!(!stopped.runs());
    assert_eq!(took.as_secs(), 15);
}

#[test]
fn crash_and_what_can_never_be_read_is_unknown_in_the_end() {
    let stopped = Stopped::new(60);
    stopped.fake.silence_units(u32::MAX);
    let (result, took) = stopped.restart();
    let JobResult::Unknown { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("there is no system bus"), "{detail}");
    let minutes = took.as_secs() / 60;
    assert!((8..=10).contains(&minutes), "tried for minutes, and not for ever: {took:?}");
}

#[test]
fn what_cannot_be_taken_back_at_first_is_taken_back_later() {
    /// The bus goes away with the line.
    #[derive(Debug)]
    struct WithTheBus(Arc<FakeHost>);
    impl Line for WithTheBus {
        fn reach(&self, _: Duration) -> Result<(), String> {
            self.0.silence_units(7);
            Err("no route to host".to_owned())
        }
    }
    let (mut rig, fake) = Rig::fake();
    fake.put_unit(&UNIT.parse().unwrap(), true);
    let watch = Arc::new(Nervous { hand: Hand::default(), vital: Vital::default() });
    rig.watch = Arc::clone(&watch) as Arc<dyn Watch>;
    rig.line = Arc::new(WithTheBus(Arc::clone(&fake)));
    let job = rig.job(1, rig.apply_order(DISABLE, &json!({ "unit": UNIT })));
    let began = watch.hand.running();
    let result = rig.run(&mut rig.start().with_vital(watch.vital.clone()), &job);
    assert!(failed(&result).starts_with("not applied: reverted by itself"), "{result:?}");
    assert!(fake.unit(&UNIT.parse().unwrap()).unwrap().unwrap().active);
    assert_eq!((watch.hand.running() - began).as_secs(), 60 + 1 + 2 + 4 + 8 + 16 + 30 + 30);
}

const CONTENT: &str = "host.set_file_content";
const INTERFACES: &str = "/etc/network/interfaces";

/// A file of the network was written, and the process ended before it was confirmed.
fn written(passed: impl FnOnce(&mut Moment)) -> (Rig, Arc<FakeHost>, Envelope) {
    let (mut rig, fake) = Rig::fake();
    let file = path(INTERFACES);
    fake.put_file(&file, b"auto lo\n", Mode::from_bits(0o644));
    let watch = Arc::new(Hand::default());
    rig.watch = Arc::clone(&watch) as Arc<dyn Watch>;
    let parameters = json!({ "path": INTERFACES, "content": "auto eth9\n" });
    let job = rig.job(1, rig.apply_order(CONTENT, &parameters));
    let envelope = rig.sign(&job);
    rig.run(&mut rig.start(), &job);
    assert!(!marker(&rig).exists(), "nothing is armed any more");
    fs::write(rig.journal_path(), lines(&rig)[..4].concat()).unwrap();
    fs::write(marker(&rig), "").unwrap();
    passed(&mut watch.moment.lock().unwrap());
    (rig, fake, envelope)
}

fn marker(rig: &Rig) -> PathBuf {
    rig.config.path().join("armed")
}

fn interfaces(fake: &FakeHost) -> Vec<u8> {
    fake.read(&path(INTERFACES), 100).unwrap().unwrap().content
}

#[test]
fn crash_and_a_file_is_back_before_the_network_reads_it() {
    let second = |moment: &mut Moment| {
        (moment.boot, moment.uptime_ms) = (Some("second".to_owned()), 3000);
    };
    let over = |moment: &mut Moment| moment.uptime_ms += 60_000;
    for passed in [&second as &dyn Fn(&mut Moment), &over] {
        let (rig, fake, envelope) = written(passed);
        let mut runner = rig.start();
        let early = runner.take_back_early().unwrap();
        assert_eq!((early.taken_back.len(), early.left.len()), (1, 0), "{early:?}");
        assert_eq!(interfaces(&fake), b"auto lo\n");
        assert!(!marker(&rig).exists());
        assert_eq!(runner.take_back_early().unwrap(), Early::default());
        drop(runner);
        let mut runner = rig.start();
        assert!(runner.recover().unwrap().is_empty(), "it has its result");
        let result = rig.deliver(&mut runner, &envelope).unwrap().result;
        assert!(failed(&result).contains("reverted by itself"), "{result:?}");
    }
}

#[test]
fn crash_and_what_can_be_confirmed_yet_is_left_to_the_agent() {
    let (rig, fake, _) = written(|moment| moment.uptime_ms += 20_000);
    let mut runner = rig.start();
    assert_eq!(runner.take_back_early().unwrap(), Early::default());
    assert_eq!(interfaces(&fake), b"auto eth9\n");
    assert!(marker(&rig).exists());

    // What somebody else wrote meanwhile is looked at by the agent, and so is what no file is about.
    let second = |moment: &mut Moment| moment.boot = Some("second".to_owned());
    let (rig, fake, _) = written(second);
    let file = path(INTERFACES);
    fake.put_file(&file, b"theirs\n", Mode::from_bits(0o644));
    let early = rig.start().take_back_early().unwrap();
    assert!(early.taken_back.is_empty() && early.left[0].1.contains("somebody else"), "{early:?}");
    assert_eq!(interfaces(&fake), b"theirs\n");
    let stopped = Stopped::new(60);
    let early = stopped.rig.start().take_back_early().unwrap();
    assert!(early.left[0].1.contains("not a matter of files"), "{early:?}");
    assert!(!stopped.runs());
}

/// The address in `config.toml` is the owner's, and may be another than that of the enrolment.
#[test]
fn crash_and_the_line_is_tried_at_the_address_of_the_configuration() {
    let gateway = Gateway::start(TcpListener::bind("127.0.0.1:0").unwrap());
    let (root, host) = linux();
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::kept(Arc::new(host), directory.path());
    rig.watch = Arc::new(SystemWatch::default());
    let parameters = json!({ "path": "/etc/resolv.conf", "content": "nameserver ::1\n" });
    let job = rig.job(1, rig.apply_order(CONTENT, &parameters));
    rig.run(&mut rig.start(), &job);
    fs::write(rig.journal_path(), lines(&rig)[..4].concat()).unwrap();

    let config = Config::new(directory.path());
    let control_plane = &gateway.identity.control_plane;
    fs::write(config.ca(), &gateway.identity.ca_pem).unwrap();
    fs::write(config.file(), format!("control_plane = \"{control_plane}\"\n")).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let enrolled = gateway.identity.clone().at(&format!("https://{closed}"), "no authority");
    enrolled.save(&config.keep()).unwrap();

    let config = Config::open(directory.path()).unwrap();
    let named = Identity::of(&config).unwrap().unwrap();
    assert_eq!((&named.control_plane, &named.ca_pem), (control_plane, &gateway.identity.ca_pem));
    let settled = Terms::of(&config, root.path()).settle(&Vital::default()).unwrap();
    assert_eq!((settled, gateway.asked.load(Ordering::SeqCst)), (1, 1));
    let runner = rig.start();
    assert!(runner.journal().job(&job.id).unwrap().confirmed);
    assert!(root.path().join("etc/resolv.conf").exists(), "it was confirmed");
    drop(runner);
    assert_eq!(Terms::of(&config, root.path()).settle(&Vital::default()).unwrap(), 0);
}

#[test]
fn what_fails_on_the_way_and_cannot_be_read_then_is_put_back_later() {
    for (silent, in_the_end) in [(4, true), (u32::MAX, false)] {
        let (mut rig, fake) = Rig::fake();
        fake.put_unit(&UNIT.parse().unwrap(), true);
        let vital = Vital::default();
        rig.watch = Arc::new(Nervous { hand: Hand::default(), vital: vital.clone() });
        let job = rig.job(1, rig.apply_order(DISABLE, &json!({ "unit": UNIT })));
        let mut runner = rig.start().with_vital(vital);
        // The bus goes away right before the effect.
        let answer = runner.handle(&rig.sign(&job), &mut |_, event| {
            if matches!(event, JobEvent::Intent { .. }) {
                fake.silence_units(silent);
            }
        });
        let result = rig.open(&answer.unwrap().unwrap().1).result;
        fake.silence_units(0);
        assert!(fake.unit(&UNIT.parse().unwrap()).unwrap().unwrap().active);
        match result {
            JobResult::Failed { detail } if in_the_end => {
                assert!(detail.ends_with("; put back later"), "{detail}");
            }
            JobResult::Unknown { detail } if !in_the_end => {
                assert!(detail.contains("there is no system bus"), "{detail}");
            }
            other => panic!("{silent}: {other:?}"),
        }
    }
}
