//! The agent stops at any moment and is started again: the same end as without the stop.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nexplane_agent::host::package::{Effect, Inventory, Package, Wish};
use nexplane_agent::host::{
    Access, FakeHost, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode,
    PackageManager, PackageName, PackageVersion, Release, SealingKey, SysctlKey, SystemFacts, Unit,
    UnitName,
};
use nexplane_agent::operation::OPERATIONS;
use nexplane_core::id::JobId;
use nexplane_core::job::{Envelope, JobResult};
use serde_json::{Value, json};

use crate::rig::{Rig, bound, fitting, hosts, motd, path};

const CONTENT: &str = "host.set_file_content";
const PERMISSION: &str = "host.set_file_permission";

/// The example of every operation, and what else differs on the way.
fn orders() -> Vec<(&'static str, Value)> {
    // An update of the agent is not done again after a crash, but taken back: see `update`.
    let entries = OPERATIONS.iter().filter(|entry| entry.meta.id != "host.update_agent");
    let examples = entries.map(|entry| (entry.meta.id, entry.spec().example));
    let more = [
        (CONTENT, motd("new\n")),
        (CONTENT, json!({ "path": "/etc/fresh", "content": "new\n", "mode": "0600" })),
    ];
    examples.chain(more).collect()
}

/// The journal's lines so far, as whole lines.
fn lines(rig: &Rig) -> Vec<Vec<u8>> {
    let journal = std::fs::read(rig.journal_path()).unwrap();
    journal.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Starts again on what is on disk, settles what is open, delivers the order once more.
pub fn restart(rig: &Rig, envelope: &Envelope) -> JobResult {
    let mut runner = rig.start();
    runner.recover().unwrap();
    assert!(runner.journal().unfinished().is_empty());
    let result = rig.deliver(&mut runner, envelope).unwrap().result;
    assert_eq!(runner.journal().receipt_head().0, 1, "one order, one receipt");
    result
}

#[test]
fn at_every_write_of_the_journal_the_end_is_the_same() {
    for (operation, parameters) in orders() {
        let (rig, fake) = Rig::fake();
        let before = (fake.nodes(), fake.units());
        let job = rig.job(1, rig.apply_order(operation, &parameters));
        let envelope = rig.sign(&job);
        let whole = rig.run(&mut rig.start(), &job);
        let after = (fake.nodes(), fake.units());
        let lines = lines(&rig);
        let armed = rig.may_cut_line(operation, &parameters);
        let intent = if armed {
            assert_eq!(lines.len(), 6, "opened, received, armed, intent, confirmed, result");
            4
        } else {
            assert_eq!(lines.len(), 4, "opened, received, intent, result");
            3
        };
        let snapshot = rig.snapshot_files().remove(0);
        let saved = std::fs::read(&snapshot).unwrap();

        for kept in 1..=lines.len() {
            let next = lines.get(kept).map_or(&[][..], Vec::as_slice);
            for torn in [0, 1, next.len() / 2, next.len().saturating_sub(1)] {
                let torn = torn.min(next.len());
                let mut journal = lines[..kept].concat();
                journal.extend(&next[..torn]);
                // What can be true of host and snapshot at that moment.
                let moments: &[(bool, bool)] = match kept {
                    1 => &[(false, false)],
                    2 => &[(false, false), (false, true)],
                    _ if kept < intent => &[(false, true)],
                    _ if kept == intent => &[(false, true), (true, true)],
                    _ => &[(true, true)],
                };
                for (applied, captured) in moments {
                    std::fs::write(rig.journal_path(), &journal).unwrap();
                    let (nodes, units) = if *applied { &after } else { &before };
                    restore(&fake, nodes);
                    fake.set_units(units.clone());
                    let _ = std::fs::remove_file(&snapshot);
                    if *captured {
                        std::fs::write(&snapshot, &saved).unwrap();
                    }
                    let result = restart(&rig, &envelope);
                    assert_eq!(result, whole, "{operation} {kept} lines + {torn}, {applied}");
                    let found = (fake.nodes(), fake.units());
                    assert_eq!(found, after, "{operation} {kept} lines + {torn}");
                    assert_eq!(std::fs::read(&snapshot).unwrap(), saved);
                }
            }
        }
    }
}

fn restore(
    fake: &FakeHost,
    nodes: &std::collections::BTreeMap<HostPath, nexplane_agent::host::fake::Node>,
) {
    for file in fake.nodes().keys() {
        if !nodes.contains_key(file) {
            let meta = fake.stat(file).unwrap().unwrap();
            fake.remove(file, &meta).unwrap();
        }
    }
    for (file, node) in nodes {
        fake.put(file, node.clone());
    }
}

/// A host on which the process ends right before or right after the n-th change.
#[derive(Debug)]
pub struct Crashing {
    pub inner: Arc<dyn Host>,
    pub countdown: AtomicU32,
    /// How the process ends; does not come back.
    pub end: fn(),
}

impl Crashing {
    fn around<T>(&self, change: impl FnOnce() -> T) -> T {
        self.tick();
        let result = change();
        self.tick();
        result
    }

    pub fn tick(&self) {
        let left = self.countdown.load(Ordering::SeqCst);
        if left == 1 {
            (self.end)();
        }
        self.countdown.store(left.saturating_sub(1), Ordering::SeqCst);
    }
}

impl Host for Crashing {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        self.inner.may_touch(path, access)
    }
    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        self.inner.stat(path)
    }
    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        self.inner.read(path, limit)
    }
    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.around(|| self.inner.write(path, expected, content, mode, ids))
    }
    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        // Two system calls on a real host: owner, then mode.
        self.around(|| self.inner.set_permission(path, expected, expected.mode, ids))?;
        let now = self.inner.stat(path)?.expect("it is there");
        self.around(|| self.inner.set_permission(path, &now, mode, ids))
    }
    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        self.around(|| self.inner.remove(path, expected))
    }
    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        self.inner.discard_leftovers(path)
    }
    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        self.inner.is_directory(path)
    }
    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        self.inner.list(path)
    }
    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        self.inner.kernel_setting(key)
    }
    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError> {
        self.around(|| self.inner.set_kernel_setting(key, value))
    }
    fn lock_accounts(&self) -> Result<Held, HostError> {
        self.inner.lock_accounts()
    }
    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        self.inner.sealing_key()
    }
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.inner.unit(name)
    }

    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        self.around(|| self.inner.set_enabled(name, enabled))
    }

    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        self.around(|| self.inner.set_active(name, active))
    }

    fn package_manager(&self) -> Result<Box<dyn PackageManager + '_>, HostError> {
        let inner = self.inner.package_manager()?;
        Ok(Box::new(CrashingPackages { host: self, inner }))
    }

    fn has_modes(&self) -> bool {
        self.inner.has_modes()
    }
    fn release(&self) -> Option<Release> {
        self.inner.release()
    }
    fn own_ids(&self) -> Ids {
        self.inner.own_ids()
    }
    fn system(&self) -> SystemFacts {
        self.inner.system()
    }
}

#[derive(Debug)]
struct CrashingPackages<'a> {
    host: &'a Crashing,
    inner: Box<dyn PackageManager + 'a>,
}

impl PackageManager for CrashingPackages<'_> {
    fn called(&self) -> &'static str {
        "of a machine that crashes"
    }

    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError> {
        self.inner.packages(names)
    }
    fn unsettled(&self) -> Result<Vec<String>, HostError> {
        self.inner.unsettled()
    }
    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError> {
        self.inner.available(name)
    }
    fn is_before(&self, one: &PackageVersion, other: &PackageVersion) -> Result<bool, HostError> {
        self.inner.is_before(one, other)
    }
    fn simulate(&self, wish: &Wish) -> Result<Vec<Effect>, HostError> {
        self.inner.simulate(wish)
    }
    fn inventory(&self) -> Result<Inventory, HostError> {
        self.inner.inventory()
    }
    fn fetch(&self, wish: &Wish) -> Result<(), HostError> {
        self.inner.fetch(wish)
    }
    fn keep(
        &self,
        job: &JobId,
        versions: &BTreeMap<PackageName, PackageVersion>,
    ) -> Result<(), HostError> {
        self.inner.keep(job, versions)
    }
    fn is_kept(&self, name: &PackageName, version: &PackageVersion) -> Result<bool, HostError> {
        self.inner.is_kept(name, version)
    }
    fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> Result<(), HostError> {
        self.inner.forget(is_needed)
    }
    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        self.host.around(|| self.inner.carry_out(wish))
    }
    fn set_auto(&self, name: &PackageName, is_auto: bool) -> Result<(), HostError> {
        self.host.around(|| self.inner.set_auto(name, is_auto))
    }
    fn settle(&self) -> Result<(), HostError> {
        self.inner.settle()
    }
}

fn crash_at(rig: &mut Rig, nth: u32) -> Arc<dyn Host> {
    let sound = Arc::clone(&rig.host);
    let (inner, countdown) = (Arc::clone(&sound), AtomicU32::new(nth));
    rig.host = Arc::new(Crashing { inner, countdown, end: || panic!("crash") });
    sound
}

/// Delivers the order; true when the process "ended" on the way.
fn crashes(rig: &Rig, envelope: &Envelope) -> bool {
    let mut runner = rig.start();
    runner.recover().unwrap();
    catch_unwind(AssertUnwindSafe(|| drop(rig.deliver(&mut runner, envelope)))).is_err()
}

#[test]
fn at_every_change_of_the_host_the_end_is_the_same_there_and_back() {
    let mut orders = orders();
    if is_root() {
        orders.push((
            PERMISSION,
            json!({ "path": "/etc/motd", "mode": "0600", "owner": "www-data" }),
        ));
    }
    for (operation, parameters) in orders {
        for nth in 1.. {
            let (_root, host) = hosts(operation).pop().unwrap();
            let parameters = fitting(operation, parameters.clone(), host.as_ref());
            let mut rig = Rig::new(host);
            let bound = bound(operation, &parameters);
            let before = bound.snapshot(rig.host.as_ref()).unwrap();
            let after = bound.intended(rig.host.as_ref(), &before).unwrap();

            let job = rig.job(1, rig.apply_order(operation, &parameters));
            let envelope = rig.sign(&job);
            let sound = crash_at(&mut rig, nth);
            let crashed_there = crashes(&rig, &envelope);
            rig.host = sound;
            let result = restart(&rig, &envelope);
            assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
            assert_eq!(bound.snapshot(rig.host.as_ref()).unwrap(), after);

            let undo = rig.sign(&rig.job(2, rig.revert_order(operation, &parameters, job.id)));
            let sound = crash_at(&mut rig, nth);
            let crashed_back = crashes(&rig, &undo);
            rig.host = sound;
            let mut runner = rig.start();
            runner.recover().unwrap();
            let result = rig.deliver(&mut runner, &undo).unwrap().result;
            assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
            assert_eq!(bound.snapshot(rig.host.as_ref()).unwrap(), before);
            if !crashed_there && !crashed_back {
                assert!(nth > 2, "every order changes something");
                break;
            }
        }
    }
}

/// An order whose intent is in the journal, on a host in a state of choice, long after its time.
fn late(arrange: impl Fn(&FakeHost)) -> (JobResult, Arc<FakeHost>) {
    let (mut rig, fake) = Rig::fake();
    let parameters = json!({ "path": "/etc/motd", "mode": "0640", "owner": "www-data" });
    let job = rig.job(1, rig.apply_order(PERMISSION, &parameters));
    let before = fake.nodes();
    rig.run(&mut rig.start(), &job);
    std::fs::write(rig.journal_path(), lines(&rig)[..3].concat()).unwrap();
    restore(&fake, &before);
    arrange(&fake);
    let envelope = rig.sign(&job);
    rig.now = rig.now.plus_seconds(3600);
    (restart(&rig, &envelope), fake)
}

fn set(fake: &FakeHost, mode: u32, uid: u32) {
    let file = path("/etc/motd");
    let meta = fake.stat(&file).unwrap().unwrap();
    fake.set_permission(&file, &meta, Mode::from_bits(mode), Ids { uid, gid: 0 }).unwrap();
}

fn state(fake: &FakeHost) -> (u32, u32) {
    let meta = fake.stat(&path("/etc/motd")).unwrap().unwrap();
    (meta.mode.bits(), meta.ids.uid)
}

#[test]
fn an_interrupted_order_past_its_time_is_finished_or_put_back_never_begun() {
    let (result, fake) = late(|_| {});
    assert!(matches!(result, JobResult::Failed { .. }), "untouched: {result:?}");
    assert_eq!(state(&fake), (0o644, 0));
    let (result, fake) = late(|fake| set(fake, 0o640, 33));
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "done: {result:?}");
    assert_eq!(state(&fake), (0o640, 33));
    let (result, fake) = late(|fake| set(fake, 0o644, 33));
    assert!(matches!(result, JobResult::Failed { .. }), "half: {result:?}");
    assert_eq!(state(&fake), (0o644, 0));
    let (result, fake) = late(|fake| set(fake, 0o777, 33));
    assert!(matches!(result, JobResult::Unknown { .. }), "somebody else: {result:?}");
    assert_eq!(state(&fake), (0o777, 33));
}

#[test]
fn an_intent_without_its_snapshot_is_unknown() {
    let (rig, _) = Rig::fake();
    let job = rig.job(1, rig.apply_order(CONTENT, &motd("new\n")));
    rig.run(&mut rig.start(), &job);
    std::fs::write(rig.journal_path(), lines(&rig)[..3].concat()).unwrap();
    std::fs::remove_file(&rig.snapshot_files()[0]).unwrap();
    let result = restart(&rig, &rig.sign(&job));
    assert!(matches!(result, JobResult::Unknown { .. }), "{result:?}");
}

#[test]
fn a_journal_cut_off_in_the_middle_of_everything_loses_no_earlier_job() {
    let (rig, _) = Rig::fake();
    let first = rig.job(1, rig.apply_order(CONTENT, &motd("one\n")));
    rig.run(&mut rig.start(), &first);
    let second = rig.job(2, rig.apply_order(CONTENT, &motd("two\n")));
    rig.run(&mut rig.start(), &second);
    let whole = std::fs::read(rig.journal_path()).unwrap();
    std::fs::write(rig.journal_path(), &whole[..whole.len() - 5]).unwrap();
    let mut runner = rig.start();
    assert_eq!(runner.recover().unwrap(), [second.id]);
    assert!(runner.journal().job(&first.id).unwrap().finished);
    let ids: Vec<JobId> =
        runner.journal().unreported().unwrap().into_iter().map(|(job, ..)| job).collect();
    assert_eq!(ids, [first.id, second.id]);
}

fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}
