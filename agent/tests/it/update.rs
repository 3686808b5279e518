//! The agent is updated, or is not: against real files, real signatures and a real journal. Here a program is a file
//! whose text says its version, and a process is whatever was in place when it was started; on a real host with
//! systemd the server's tests do the same (`real_host_update`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use nexplane_agent::deadman::{Limit, Line, Watch};
use nexplane_agent::host::{Build, LinuxHost, OwnProgram};
use nexplane_agent::keep::Keep;
use nexplane_agent::release::key::SigningKey;
use nexplane_agent::release::{FORMAT, Manifest, PROGRAM, TARGET, Version, digest};
use nexplane_agent::runner::{Runner, RunnerError};
use nexplane_agent::update::place::{Guarded, Place};
use nexplane_agent::update::{Memory, Releases, ServiceProgram, StartGuard};
use nexplane_core::job::{Job, JobResult, Order, PollRequest, RefusalCode, ReleaseOffer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{Hand, Rig, refusal};

const UPDATE: &str = "host.update_agent";

/// What a control plane offers.
#[derive(Debug, Default)]
struct Shop {
    offers: Mutex<BTreeMap<String, (ReleaseOffer, Vec<u8>)>>,
}

impl Releases for Shop {
    fn offer(&self, version: &Version, _target: &str) -> Result<ReleaseOffer, String> {
        let offers = self.offers.lock().unwrap();
        let offer = offers.get(&version.to_string()).map(|(offer, _)| offer.clone());
        offer.ok_or_else(|| "there is no such release".to_owned())
    }

    fn program(&self, version: &Version, _: &str, _: u64, to: &mut File) -> Result<(), String> {
        let offers = self.offers.lock().unwrap();
        let (_, bytes) = &offers[&version.to_string()];
        to.write_all(bytes).map_err(|error| error.to_string())
    }
}

/// A line that answers, or not.
#[derive(Debug, Default)]
struct Switched {
    is_down: AtomicBool,
}

impl Line for Switched {
    fn reach(&self, _: Duration) -> Result<(), String> {
        unreachable!("a trial takes a poll")
    }

    fn poll(&self, request: &PollRequest, _: Duration) -> Result<(), String> {
        assert_eq!(request.wait_s, 0);
        if self.is_down.load(Ordering::SeqCst) {
            Err("no route to host".to_owned())
        } else {
            Ok(())
        }
    }
}

struct Site {
    root: TempDir,
    rig: Rig,
    shop: Arc<Shop>,
    key: SigningKey,
    is_pinned: bool,
    watch: Arc<Hand>,
    line: Arc<Switched>,
    start_guard: StartGuard,
    processes: u32,
    orders: u64,
}

fn text(version: &str) -> Vec<u8> {
    format!("program {version}").into_bytes()
}

fn manifest(version: &str) -> Manifest {
    let (sha256, size) = digest(text(version).as_slice()).unwrap();
    Manifest {
        format: FORMAT,
        program: PROGRAM.to_owned(),
        version: version.parse().unwrap(),
        target: TARGET.to_owned(),
        sha256,
        size,
        from: None,
    }
}

impl Site {
    /// An agent that is installed in version 0.2.0, and enrolled.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["usr/local/bin", "usr/local/lib/nexplane-agent", "state"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let (mut rig, _) = Rig::fake();
        let (watch, line) = (Arc::new(Hand::default()), Arc::new(Switched::default()));
        rig.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        rig.line = Arc::clone(&line) as Arc<dyn Line>;
        let mut site = Self {
            root,
            rig,
            shop: Arc::default(),
            key: SigningKey::generate().unwrap(),
            is_pinned: true,
            watch,
            line,
            start_guard: Arc::new(|| Ok(())),
            processes: 0,
            orders: 0,
        };
        fs::write(site.place().program(), text("0.2.0")).unwrap();
        site.process().recover().unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn place(&self) -> Place {
        let (program, kept) = ("usr/local/bin/nexplane-agent", "usr/local/lib/nexplane-agent");
        Place::new(self.path(program), self.path(kept), &self.path("state"))
    }

    /// What the service would start.
    fn in_place(&self) -> String {
        fs::read_to_string(self.place().program()).unwrap()
    }

    fn program(&mut self) -> ServiceProgram {
        self.processes += 1;
        let executable = self.path(&format!("process-{}", self.processes));
        fs::copy(self.place().program(), &executable).unwrap();
        let version = self.in_place().split(' ').nth(1).unwrap().parse().unwrap();
        ServiceProgram {
            place: self.place(),
            keep: Keep::directory(self.path("state")),
            executable,
            version,
            keys: if self.is_pinned { vec![self.key.public_key()] } else { Vec::new() },
            limit: Limit::new(120).unwrap(),
            releases: Arc::clone(&self.shop) as Arc<dyn Releases>,
            start_guard: Arc::clone(&self.start_guard),
            hindrance: Arc::new(|| None),
            watch: Arc::clone(&self.watch) as Arc<dyn Watch>,
            running: OnceLock::new(),
        }
    }

    /// A process of the agent: of the program that is in place now. Does not recover yet.
    fn process(&mut self) -> Runner {
        let program = Arc::new(self.program());
        let host = LinuxHost::open(self.root.path(), &[]).unwrap().with_own_program(program);
        self.rig.host = Arc::new(host);
        self.rig.start()
    }

    fn offer(&self, manifest: &Manifest) {
        let text_of_it = manifest.to_text();
        self.offer_as(&manifest.version.to_string(), &text_of_it, &self.key.sign(&text_of_it));
    }

    fn offer_as(&self, version: &str, manifest: &str, signatures: &str) {
        let (manifest, signatures) = (manifest.to_owned(), signatures.to_owned());
        let offer = (ReleaseOffer { manifest, signatures }, text(version));
        self.shop.offers.lock().unwrap().insert(version.to_owned(), offer);
    }

    fn parameters(version: &str) -> Value {
        json!({ "version": version })
    }

    fn update_job(&mut self, version: &str) -> Job {
        self.orders += 1;
        let order = self.rig.apply_order(UPDATE, &Self::parameters(version));
        self.rig.job(self.orders, order)
    }

    /// An order to update, which is not carried out.
    fn refused(&mut self, version: &str) -> (RefusalCode, String) {
        let before = self.in_place();
        let mut runner = self.process();
        let job = self.update_job(version);
        let result = self.rig.run(&mut runner, &job);
        assert_eq!(self.in_place(), before, "{version}");
        assert!(!self.place().trial.exists());
        let kept: Vec<_> = fs::read_dir(self.place().directory()).unwrap().collect();
        assert!(kept.is_empty(), "{kept:?}");
        let JobResult::Refused { detail, .. } = &result else { panic!("{result:?}") };
        (refusal(&result), detail.clone())
    }

    /// Gives an order after which the process ends.
    fn hand_over(&mut self, job: &Job) {
        let mut runner = self.process();
        let envelope = self.rig.sign(job);
        let ended = self.rig.try_deliver(&mut runner, &envelope).unwrap_err();
        assert!(matches!(ended, RunnerError::HandedOver), "{ended:?}");
    }

    fn begin(&mut self, version: &str) -> Job {
        self.offer(&manifest(version));
        drop(self.process());
        let job = self.update_job(version);
        self.hand_over(&job);
        assert_eq!(self.in_place(), format!("program {version}"));
        job
    }

    /// What a process that starts now says came of the order.
    fn settled(&mut self, job: &Job) -> JobResult {
        let mut runner = self.process();
        assert_eq!(runner.recover().unwrap(), [job.id]);
        self.answer(&mut runner, job)
    }

    fn answer(&self, runner: &mut Runner, job: &Job) -> JobResult {
        self.rig.run(runner, job)
    }

    fn guard(&self, is_start: bool) -> Guarded {
        self.place().guard(&self.watch.moment(), is_start).unwrap()
    }

    fn memory(&self) -> Memory {
        Memory::load(&Keep::directory(self.path("state"))).unwrap()
    }

    fn newest(&self) -> String {
        self.memory().newest.unwrap().version.to_string()
    }
}

fn failed(result: &JobResult) -> &str {
    match result {
        JobResult::Failed { detail } => detail,
        other => panic!("failed was expected: {other:?}"),
    }
}

#[test]
fn every_release_that_is_not_to_be_believed_is_refused() {
    let stranger = SigningKey::generate().unwrap();
    type Offer<'a> = Box<dyn Fn(&Site) + 'a>;
    let good = manifest("0.3.0");
    let with = |change: fn(&mut Manifest)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        manifest
    };
    let signed = |manifest: Manifest| -> Offer<'_> { Box::new(move |site| site.offer(&manifest)) };
    let cases: Vec<(&str, &str, Offer<'_>)> = vec![
        ("0.3.0", "no such release", Box::new(|_| ())),
        (
            "0.3.0",
            "none of these keys is pinned",
            Box::new(|site| {
                site.offer_as("0.3.0", &good.to_text(), &stranger.sign(&good.to_text()))
            }),
        ),
        (
            "0.3.0",
            "does not fit the manifest",
            Box::new(|site| {
                let signature = site.key.sign(&good.to_text());
                let other = with(|manifest| manifest.sha256 = "0".repeat(64));
                site.offer_as("0.3.0", &other.to_text(), &signature);
            }),
        ),
        ("0.1.0", "no update goes to an older version", signed(manifest("0.1.0"))),
        (
            "0.3.0",
            "built for riscv64gc-unknown-linux-gnu",
            signed(with(|manifest| manifest.target = "riscv64gc-unknown-linux-gnu".to_owned())),
        ),
        ("0.3.0", "bytes are taken", signed(with(|manifest| manifest.size = 1 << 40))),
        (
            "0.3.0",
            "update to 0.2.5 first",
            signed(with(|manifest| manifest.from = Some("0.2.5".parse().unwrap()))),
        ),
        // A release of another version in place of the one that was asked for.
        (
            "0.4.0",
            "offers 0.3.0 in its place",
            Box::new(|site| {
                site.offer_as("0.4.0", &good.to_text(), &site.key.sign(&good.to_text()));
            }),
        ),
    ];
    for (version, why, offer) in cases {
        let mut site = Site::new();
        offer(&site);
        let (code, detail) = site.refused(version);
        assert_eq!(code, RefusalCode::CheckFailed, "{detail}");
        assert!(detail.contains(why), "{why}: {detail}");
    }

    let mut unpinned = Site::new();
    unpinned.is_pinned = false;
    unpinned.offer(&good);
    let (_, detail) = unpinned.refused("0.3.0");
    assert!(detail.contains("[update] keys") && detail.contains("config.toml"), "{detail}");
}

#[test]
fn a_program_that_is_not_what_was_signed_is_not_kept() {
    for bytes in
        [b"program 0.3.1".to_vec(), b"program".to_vec(), b"program 0.3.0 and more".to_vec()]
    {
        let mut site = Site::new();
        site.offer(&manifest("0.3.0"));
        site.shop.offers.lock().unwrap().get_mut("0.3.0").unwrap().1 = bytes;
        let (_, detail) = site.refused("0.3.0");
        assert!(detail.contains("it was altered"), "{detail}");
    }
}

#[test]
fn another_release_than_the_approved_one_is_refused() {
    let mut site = Site::new();
    site.offer(&manifest("0.3.0"));
    let mut runner = site.process();
    let job = site.update_job("0.3.0");
    // The same version, signed by the same key, with other bytes.
    let (sha256, size) = digest(&b"program other"[..]).unwrap();
    site.offer(&Manifest { sha256, size, ..manifest("0.3.0") });
    let result = site.rig.run(&mut runner, &job);
    assert_eq!(refusal(&result), RefusalCode::CheckFailed);
    assert!(format!("{result:?}").contains("than was approved"), "{result:?}");
    assert_eq!(site.in_place(), "program 0.2.0");
}

#[test]
fn the_hosts_owner_has_the_last_word() {
    for (policy, why) in [
        ("operations = [\"host.set_sysctl\"]", "does not allow host.update_agent"),
        ("paths = [\"/etc\"]", "names no file"),
        ("hold = true", "holds all changes"),
    ] {
        let mut site = Site::new();
        site.offer(&manifest("0.3.0"));
        site.rig.write_policy(policy);
        let (code, detail) = site.refused("0.3.0");
        assert_eq!(code, RefusalCode::LocalPolicy);
        assert!(detail.contains(why), "{detail}");
    }
}

#[test]
fn there_and_back_and_there_again() {
    let mut site = Site::new();
    assert_eq!(site.newest(), "0.2.0");
    let job = site.begin("0.3.0");
    assert_eq!(site.newest(), "0.2.0", "it is on trial still");
    assert_eq!(site.guard(true), Guarded::Open);
    let JobResult::Applied { changed: true, observed, .. } = site.settled(&job) else { panic!() };
    let field = |name: &str| &observed.iter().find(|field| field.name == name).unwrap().value;
    assert_eq!(*field("version"), "0.3.0");
    assert_eq!(*field("signed_by"), site.key.public_key().id().as_str());
    assert_eq!(site.newest(), "0.3.0");
    assert_eq!(site.guard(true), Guarded::Nothing);

    // What runs is no news, and nothing that is older or only called the same takes its place.
    let mut runner = site.process();
    let same = site.update_job("0.3.0");
    let unchanged = site.rig.run(&mut runner, &same);
    assert!(matches!(unchanged, JobResult::Applied { changed: false, .. }), "{unchanged:?}");
    drop(runner);
    for version in ["0.1.0", "0.2.0", "0.2.9"] {
        site.offer(&manifest(version));
        let mut runner = site.process();
        let older = site.update_job(version);
        let result = site.rig.run(&mut runner, &older);
        assert!(format!("{result:?}").contains("older version"), "{result:?}");
    }

    // The undo of this update may go to the earlier program, which has a trial of its own.
    drop(site.process());
    site.orders += 1;
    let undo = site.rig.revert_order(UPDATE, &Site::parameters("0.3.0"), job.id);
    let undo = site.rig.job(site.orders, undo);
    site.hand_over(&undo);
    assert_eq!(site.in_place(), "program 0.2.0");
    assert_eq!(site.guard(true), Guarded::Open);
    let undone = site.settled(&undo);
    assert!(matches!(undone, JobResult::Reverted { .. }), "{undone:?}");
    assert_eq!(site.newest(), "0.3.0", "what ran once is not forgotten");

    // And there again, to the very same program, but to no other of that version and to none between.
    site.offer(&manifest("0.2.5"));
    let mut runner = site.process();
    let between = site.update_job("0.2.5");
    let result = site.rig.run(&mut runner, &between);
    assert!(format!("{result:?}").contains("0.3.0 has run on this host"), "{result:?}");
    let (sha256, size) = digest(&b"program other"[..]).unwrap();
    site.offer(&Manifest { sha256, size, ..manifest("0.3.0") });
    let other = site.update_job("0.3.0");
    let result = site.rig.run(&mut runner, &other);
    assert!(format!("{result:?}").contains("another program of version 0.3.0"), "{result:?}");
    drop(runner);
    let again = site.begin("0.3.0");
    assert!(matches!(site.settled(&again), JobResult::Applied { .. }));
}

#[test]
fn an_undo_needs_the_program_that_was_kept_for_it() {
    let mut site = Site::new();
    let job = site.begin("0.3.0");
    site.settled(&job);
    let earlier = site.place().directory().join(manifest("0.2.0").sha256);
    fs::write(&earlier, b"something else").unwrap();
    let mut runner = site.process();
    site.orders += 1;
    let undo = site.rig.revert_order(UPDATE, &Site::parameters("0.3.0"), job.id);
    let undo = site.rig.job(site.orders, undo);
    let result = site.rig.run(&mut runner, &undo);
    assert!(format!("{result:?}").contains("is not kept on this host any more"), "{result:?}");
    assert_eq!(site.in_place(), "program 0.3.0");
}

#[test]
fn without_an_answer_to_its_poll_the_new_program_puts_the_earlier_one_back() {
    let mut site = Site::new();
    let job = site.begin("0.3.0");
    site.line.is_down.store(true, Ordering::SeqCst);
    let begun = site.watch.running();
    let ended = site.process().recover().unwrap_err();
    assert!(matches!(ended, RunnerError::HandedOver), "{ended:?}");
    assert!(site.watch.running() - begun >= Duration::from_secs(119));
    assert_eq!(site.in_place(), "program 0.2.0");
    // The earlier one needs no line to say so.
    let result = site.settled(&job);
    let why = failed(&result);
    assert!(why.contains("within 120 s") && why.contains("no route to host"), "{why}");
    assert!(why.contains("earlier program of the agent runs again"), "{why}");
    assert!(!site.place().trial.exists());
    assert_eq!(site.newest(), "0.2.0");

    // Nothing is in the way of another attempt.
    site.line.is_down.store(false, Ordering::SeqCst);
    let again = site.begin("0.3.0");
    assert!(matches!(site.settled(&again), JobResult::Applied { .. }));
}

#[test]
fn a_program_that_cannot_be_put_back_yet_stays_on_trial_and_says_nothing() {
    let mut site = Site::new();
    let earlier = site.place().kept(&site.program().running().unwrap());
    let job = site.begin("0.3.0");
    let aside = site.path("aside");
    fs::rename(&earlier, &aside).unwrap();
    site.line.is_down.store(true, Ordering::SeqCst);
    let ended = site.process().recover().unwrap_err();
    assert!(matches!(ended, RunnerError::HandedOver), "{ended:?}");
    assert_eq!(site.in_place(), "program 0.3.0");
    assert!(site.place().guard(&site.watch.moment(), true).is_err(), "it is tried again");
    assert!(site.place().trial.exists());
    site.line.is_down.store(false, Ordering::SeqCst);
    let ended = site.process().recover().unwrap_err();
    assert!(matches!(ended, RunnerError::HandedOver), "its time is over: {ended:?}");

    fs::rename(&aside, &earlier).unwrap();
    assert!(matches!(site.guard(true), Guarded::Back { .. }));
    assert_eq!(site.in_place(), "program 0.2.0");
    assert!(failed(&site.settled(&job)).contains("within 120 s"));
    assert!(!site.place().trial.exists());
}

#[test]
fn what_is_on_trial_is_not_there_for_whoever_asks() {
    let mut site = Site::new();
    let job = site.begin("0.3.0");
    let ask = |site: &mut Site, seq| {
        let (operation, target) = (UPDATE.to_owned(), "web-1".to_owned());
        let parameters = Site::parameters("0.3.0");
        let order = Order::Verify { operation, target, parameters, prepared: None, undoes: None };
        let mut runner = site.process();
        match site.rig.run(&mut runner, &site.rig.job(seq, order)) {
            JobResult::Verified { satisfied, .. } => satisfied,
            other => panic!("{other:?}"),
        }
    };
    assert!(!ask(&mut site, 8), "nobody has answered it");
    assert!(matches!(site.settled(&job), JobResult::Applied { .. }));
    assert!(ask(&mut site, 9));
}

#[test]
fn whatever_becomes_of_the_new_program_the_guard_puts_the_earlier_one_back() {
    type Fate = fn(&Site);
    let fates: [(Fate, &str); 3] = [
        // It ends at once, or does not even start.
        (
            |site| (0..3).for_each(|_| assert_eq!(site.guard(true), Guarded::Open)),
            "started 3 times",
        ),
        // It hangs.
        (|site| site.watch.sleep(Duration::from_secs(120)), "within 120 s"),
        // The machine is started again.
        (
            |site| {
                let mut moment = site.watch.moment.lock().unwrap();
                (moment.boot, moment.uptime_ms) = (Some("second".to_owned()), 5000);
            },
            "started again",
        ),
    ];
    for (fate, expected) in fates {
        let mut site = Site::new();
        let job = site.begin("0.3.0");
        assert_eq!(site.guard(false), Guarded::Open);
        fate(&site);
        let Guarded::Back { why } = site.guard(true) else { panic!("{expected}") };
        assert!(why.contains(expected), "{why}");
        assert_eq!(site.in_place(), "program 0.2.0");
        // A guard that was interrupted between its word and its deed does it again.
        fs::write(site.place().program(), text("0.3.0")).unwrap();
        assert!(matches!(site.guard(false), Guarded::Back { .. }));
        assert_eq!(site.in_place(), "program 0.2.0");
        let result = site.settled(&job);
        assert!(failed(&result).contains(expected), "{result:?}");
        assert_eq!(site.guard(true), Guarded::Nothing);
    }
}

#[test]
fn what_was_confirmed_is_not_put_back_and_what_was_put_back_not_confirmed() {
    let mut site = Site::new();
    site.begin("0.3.0");
    let new = site.program();
    new.confirm().unwrap();
    site.watch.sleep(Duration::from_secs(500));
    assert_eq!(site.guard(true), Guarded::Nothing);
    new.put_back("too late").unwrap();
    assert_eq!(site.in_place(), "program 0.3.0");

    // Killed between its confirmation and its result, it needs no line for the result.
    let mut site = Site::new();
    let job = site.begin("0.3.0");
    site.program().confirm().unwrap();
    site.line.is_down.store(true, Ordering::SeqCst);
    assert!(matches!(site.settled(&job), JobResult::Applied { .. }));

    let mut site = Site::new();
    let job = site.begin("0.3.0");
    let new = site.program();
    site.watch.sleep(Duration::from_secs(500));
    assert!(matches!(site.guard(false), Guarded::Back { .. }));
    assert!(new.confirm().unwrap_err().sentence().contains("within 120 s"));
    // The process that hung goes on after all: it finds that it is over.
    let host = LinuxHost::open(site.root.path(), &[]).unwrap().with_own_program(Arc::new(new));
    site.rig.host = Arc::new(host);
    let ended = site.rig.start().recover().unwrap_err();
    assert!(matches!(ended, RunnerError::HandedOver), "{ended:?}");
    assert!(failed(&site.settled(&job)).contains("within 120 s"));
}

#[test]
fn without_a_guard_there_is_no_trial() {
    let mut site = Site::new();
    site.offer(&manifest("0.3.0"));
    site.start_guard = Arc::new(|| Err("systemd is away".to_owned()));
    let mut runner = site.process();
    let job = site.update_job("0.3.0");
    let result = site.rig.run(&mut runner, &job);
    assert!(failed(&result).contains("systemd is away"), "{result:?}");
    assert_eq!(site.in_place(), "program 0.2.0");
    assert!(!site.place().trial.exists());
}

#[test]
fn a_process_that_dies_before_the_program_is_in_place_changes_nothing() {
    let mut site = Site::new();
    site.offer(&manifest("0.3.0"));
    site.start_guard = Arc::new(|| panic!("the process dies"));
    let mut runner = site.process();
    let job = site.update_job("0.3.0");
    let envelope = site.rig.sign(&job);
    let rig = std::panic::AssertUnwindSafe(&site.rig);
    let mut runner = std::panic::AssertUnwindSafe(&mut runner);
    std::panic::catch_unwind(move || rig.try_deliver(&mut runner, &envelope)).unwrap_err();
    assert!(site.place().trial.exists());
    site.start_guard = Arc::new(|| Ok(()));
    let result = site.settled(&job);
    assert!(failed(&result).contains("before the other program ran"), "{result:?}");
    assert_eq!(site.in_place(), "program 0.2.0");
    assert!(!site.place().trial.exists());
}

#[test]
fn a_program_that_somebody_else_put_there_is_left_alone_and_not_known() {
    let mut site = Site::new();
    let job = site.begin("0.3.0");
    fs::write(site.place().program(), text("0.9.0")).unwrap();
    let result = site.settled(&job);
    assert!(matches!(result, JobResult::Unknown { .. }), "{result:?}");
    assert_eq!(site.in_place(), "program 0.9.0");
}

#[test]
fn nothing_is_believed_to_be_newer_when_it_is_not_known_what_ran() {
    let mut site = Site::new();
    fs::write(site.path("state/releases.json"), "{").unwrap();
    site.offer(&manifest("0.3.0"));
    let (_, detail) = site.refused("0.3.0");
    assert!(detail.contains("what ran on this host is not known"), "{detail}");
}

#[test]
fn the_files_are_roots_alone_and_no_more_are_kept_than_needed() {
    use std::os::unix::fs::PermissionsExt;
    let mut site = Site::new();
    for version in ["0.3.0", "0.4.0", "0.5.0"] {
        let job = site.begin(version);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(site.place().program()), 0o755);
        assert_eq!(mode(&site.place().previous()), 0o755);
        assert!(matches!(site.settled(&job), JobResult::Applied { .. }));
    }
    let mut kept: Vec<_> = fs::read_dir(site.place().directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let mut expected =
        vec![manifest("0.4.0").sha256, manifest("0.5.0").sha256, "previous".to_owned()];
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(fs::read_to_string(site.place().previous()).unwrap(), "program 0.4.0");
    let signed: Vec<_> = site.memory().signed.into_keys().collect();
    assert_eq!(signed.len(), 2, "{signed:?}");
    let _: Option<Build> = site.memory().newest;
}
