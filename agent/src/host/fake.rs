//! A machine in memory, for tests that must not touch a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::deny::Deny;
use super::fake_package::Beyond;
use super::fake_program::FakeProgram;
use super::{
    Access, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, OwnProgram,
    PackageManager, SealingKey, SysctlKey, SysctlValue, SystemFacts, Unit, UnitName, Version,
    fake_package,
};

/// What a furnished host has: enough for the example of every operation.
pub const FILES: [(&str, &str); 9] = [
    ("/etc/motd", "hello\n"),
    ("/etc/passwd", PASSWD),
    ("/etc/group", GROUP),
    ("/etc/shadow", SHADOW),
    ("/etc/login.defs", "# days\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\n"),
    ("/etc/modprobe.d/local.conf", "# ours\n"),
    ("/usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
    ("/proc/sys/net/ipv4/conf/all/log_martians", "0\n"),
    (fake_package::FILE, fake_package::INSTALLED),
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/bin/false\n\
    deploy:x:1000:1000::/home/deploy:/bin/bash\nformer:x:1001:1001::/home/former:/bin/bash\n";
/// The second has no password; the last was locked by this agent.
pub const SHADOW: &str = "root:*:20000:0:99999:7:::\nwww-data:!:20000:0:99999:7:::\n\
    deploy:$y$j9T$salt$hash:20001:1:99999:7:3::\nformer:!$6$salt$hash:20002:0:99999:7::1:\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\n";

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File { content: Vec<u8>, mode: Mode, ids: Ids, names: u32, has_capabilities: bool },
    Directory,
    SymbolicLink,
}

/// What a machine in memory seals with.
pub const SEALING_KEY: [u8; 32] = [7; 32];

/// A machine in memory. Everything in it belongs to root unless put there otherwise.
#[derive(Debug, Default)]
pub struct FakeHost {
    state: Mutex<State>,
    deny: Deny,
    sealing_key: OnceLock<SealingKey>,
    program: FakeProgram,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<HostPath, (Node, Version)>,
    units: BTreeMap<UnitName, Unit>,
    /// Which unit needs which others.
    needs: BTreeMap<UnitName, BTreeSet<UnitName>>,
    refused: BTreeSet<HostPath>,
    beyond: Beyond,
    /// How many more questions about units nobody answers.
    silent: u32,
    clock: i128,
}

impl FakeHost {
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine with [`FILES`].
    ///
    /// # Panics
    /// Never: their paths are normal and absolute.
    pub fn furnished() -> Self {
        let host = Self::new();
        let path = |text: &str| text.parse::<HostPath>().expect("the path is normal and absolute");
        for (file, content) in FILES {
            host.put_file(&path(file), content.as_bytes(), Mode::from_bits(0o644));
        }
        host.put(&path("/etc/sysctl.d"), Node::Directory);
        let unit = |name: &str| name.parse().expect("the name is well formed");
        for (name, is_up) in [
            ("anacron.timer", true),
            ("cron.service", true),
            ("rsync.service", false),
            ("rsync-log.service", false),
        ] {
            host.put_unit(&unit(name), is_up);
        }
        host.put_need(&unit("anacron.timer"), &unit("cron.service"));
        host.put_need(&unit("rsync.service"), &unit("rsync-log.service"));
        host
    }

    /// A unit that runs and starts with the host, or neither.
    pub fn put_unit(&self, name: &UnitName, is_up: bool) {
        let [file_state, sub_state] =
            if is_up { ["enabled", "running"] } else { ["disabled", "dead"] }.map(str::to_owned);
        let id = name.to_string();
        let unit = Unit { id, file_state, active: is_up, sub_state, ..Unit::default() };
        self.lock().units.insert(name.clone(), unit);
    }

    /// From now on the first is started only with the second, and stops with it.
    pub fn put_need(&self, unit: &UnitName, needed: &UnitName) {
        self.lock().needs.entry(unit.clone()).or_default().insert(needed.clone());
    }

    /// Its units: for comparing two moments.
    pub fn units(&self) -> BTreeMap<UnitName, Unit> {
        self.lock().units.clone()
    }

    /// Its units from now on.
    pub fn set_units(&self, units: BTreeMap<UnitName, Unit>) {
        self.lock().units = units;
    }

    fn switch(&self, name: &UnitName, how: impl FnOnce(&mut Unit)) -> Result<(), HostError> {
        let unknown = || HostError::UnknownName { kind: "unit", name: name.to_string() };
        self.lock().units.get_mut(name).map(how).ok_or_else(unknown)
    }

    /// Puts something there, with every directory above it.
    pub fn put(&self, path: &HostPath, node: Node) {
        let mut state = self.lock();
        let mut above = path.parent();
        while let Some(directory) = above {
            above = directory.parent();
            state.nodes.entry(directory).or_insert((Node::Directory, Version::default()));
        }
        state.put(path, node);
    }

    /// A regular file of root.
    pub fn put_file(&self, path: &HostPath, content: &[u8], mode: Mode) {
        let ids = Ids { uid: 0, gid: 0 };
        let content = content.to_vec();
        self.put(path, Node::File { content, mode, ids, names: 1, has_capabilities: false });
    }

    /// From now on the file is not written any more, as on a full disk.
    pub fn refuse(&self, path: &HostPath) {
        self.lock().refused.insert(path.clone());
    }

    /// The next questions about units are not answered, as while the bus is away.
    pub fn silence_units(&self, questions: u32) {
        self.lock().silent = questions;
    }

    /// Everything that is there, without versions: for comparing two moments.
    pub fn nodes(&self) -> BTreeMap<HostPath, Node> {
        self.lock().nodes.iter().map(|(path, (node, _))| (path.clone(), node.clone())).collect()
    }

    /// What its package manager meets beyond the host.
    pub(super) fn beyond<T>(&self, look: impl FnOnce(&mut Beyond) -> T) -> T {
        look(&mut self.lock().beyond)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, path: &HostPath, node: Node) {
        self.clock += 1;
        let version = Version { changed_ns: self.clock, ..Version::default() };
        self.nodes.insert(path.clone(), (node, version));
    }

    /// Others that hang together with a unit, by a step from one to the next, as long as they run or not.
    fn others(
        &self,
        unit: &UnitName,
        is_next: impl Fn(&UnitName, &UnitName) -> bool,
    ) -> Vec<UnitName> {
        let mut found = vec![unit.clone()];
        let mut at = 0;
        while let Some(unit) = found.get(at).cloned() {
            at += 1;
            let next = self.units.keys().filter(|other| is_next(&unit, other));
            let next: Vec<_> = next.filter(|other| !found.contains(other)).cloned().collect();
            found.extend(next);
        }
        found.split_off(1)
    }

    fn needs(&self, unit: &UnitName, other: &UnitName) -> bool {
        self.needs.get(unit).is_some_and(|needed| needed.contains(other))
    }

    fn runs(&self, unit: &UnitName) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.active)
    }

    /// With those that hang together with it, as they are now.
    fn unit(&self, name: &UnitName) -> Option<Unit> {
        let unit = self.units.get(name)?.clone();
        let names = |units: Vec<UnitName>| units.into_iter().map(String::from).collect();
        let needing = self.units.keys().filter(|other| self.needs(other, name) && self.runs(other));
        let needed_by = needing.map(ToString::to_string).collect();
        let stops = self.others(name, |unit, other| self.needs(other, unit) && self.runs(other));
        let starts = self.others(name, |unit, other| self.needs(unit, other) && !self.runs(other));
        let (stops, starts) =
            if unit.active { (names(stops), Vec::new()) } else { (Vec::new(), names(starts)) };
        Some(Unit { stops, starts, needed_by, ..unit })
    }

    fn resolve(&self, path: &HostPath) -> Result<Option<&(Node, Version)>, HostError> {
        let refuse = |why| Err(HostError::Unsafe { path: path.clone(), why });
        let mut above = path.parent();
        while let Some(directory) = above {
            match self.nodes.get(&directory).map(|(node, _)| node) {
                Some(Node::SymbolicLink) => return refuse("a part of it is a symbolic link"),
                Some(Node::File { .. }) | None => return Ok(None),
                Some(Node::Directory) => {}
            }
            above = directory.parent();
        }
        match self.nodes.get(path) {
            Some((Node::SymbolicLink, _)) => refuse("a part of it is a symbolic link"),
            other => Ok(other),
        }
    }

    fn view(&self, path: &HostPath) -> Result<Option<FileView>, HostError> {
        let refuse = |why| Err(HostError::Unsafe { path: path.clone(), why });
        match self.resolve(path)? {
            None => Ok(None),
            Some((Node::Directory | Node::SymbolicLink, _)) => refuse("it is not a regular file"),
            Some((Node::File { names: 2.., .. }, _)) => {
                refuse("it has more than one name (hard links)")
            }
            Some((Node::File { content, mode, ids, has_capabilities, .. }, version)) => {
                let meta = FileMeta {
                    size: content.len() as u64,
                    mode: *mode,
                    ids: *ids,
                    has_capabilities: *has_capabilities,
                    version: *version,
                };
                Ok(Some(FileView { meta, content: content.clone() }))
            }
        }
    }

    fn still(&self, path: &HostPath, expected: Option<&FileMeta>) -> Result<(), HostError> {
        if self.view(path)?.as_ref().map(|view| &view.meta) == expected {
            Ok(())
        } else {
            Err(HostError::Moved { path: path.clone() })
        }
    }
}

impl Host for FakeHost {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        self.deny.check(path, access)
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        Ok(self.lock().view(path)?.map(|view| view.meta))
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        match self.lock().view(path)? {
            Some(view) if view.meta.size > limit => {
                Err(HostError::TooLarge { path: path.clone(), limit })
            }
            view => Ok(view),
        }
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let mut state = self.lock();
        state.still(path, expected)?;
        if state.refused.contains(path) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(HostError::Io { attempt: "write", path: path.clone(), source });
        }
        if let Some(parent) = path.parent()
            && !matches!(state.resolve(&parent)?, Some((Node::Directory, _)))
        {
            return Err(HostError::Missing { path: parent });
        }
        let content = content.to_vec();
        let has_capabilities = expected.is_some_and(|meta| meta.has_capabilities);
        state.put(path, Node::File { content, mode, ids, names: 1, has_capabilities });
        Ok(())
    }

    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let mut state = self.lock();
        state.still(path, Some(expected))?;
        let Some(FileView { content, .. }) = state.view(path)? else {
            return Err(HostError::Missing { path: path.clone() });
        };
        let has_capabilities = expected.has_capabilities && ids == expected.ids;
        state.put(path, Node::File { content, mode, ids, names: 1, has_capabilities });
        Ok(())
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        let mut state = self.lock();
        state.still(path, Some(expected))?;
        state.nodes.remove(path);
        Ok(())
    }

    fn discard_leftovers(&self, _path: &HostPath) -> Result<(), HostError> {
        Ok(())
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        Ok(matches!(self.lock().resolve(path)?, Some((Node::Directory, _))))
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        let state = self.lock();
        state.resolve(path)?;
        let names = state.nodes.keys().filter(|other| other.parent().as_ref() == Some(path));
        Ok(names.map(|other| other.name().to_owned()).collect())
    }

    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        let view = self.lock().view(&key.path())?;
        Ok(view.map(|view| SysctlValue::of_kernel(&String::from_utf8_lossy(&view.content))))
    }

    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError> {
        let path = key.path();
        let view =
            self.lock().view(&path)?.ok_or_else(|| HostError::Missing { path: path.clone() })?;
        self.put_file(&path, format!("{value}\n").as_bytes(), view.meta.mode);
        Ok(())
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        Ok(Held::default())
    }

    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        Ok(self.sealing_key.get_or_init(|| SealingKey::new(&SEALING_KEY)))
    }

    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        let mut state = self.lock();
        if state.silent > 0 {
            state.silent -= 1;
            let why = "there is no system bus to ask".to_owned();
            return Err(HostError::Service { unit: name.to_string(), why });
        }
        Ok(state.unit(name))
    }

    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        let word = if enabled { "enabled" } else { "disabled" };
        self.switch(name, |unit| word.clone_into(&mut unit.file_state))
    }

    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        let word = if active { "running" } else { "dead" };
        let along = {
            let state = self.lock();
            let unit = state.unit(name);
            unit.map(|unit| if active { unit.starts } else { unit.stops }).unwrap_or_default()
        };
        let along = along.into_iter().filter_map(|other| other.parse().ok());
        for unit in along.chain([name.clone()]) {
            self.switch(&unit, |unit| {
                unit.active = active;
                word.clone_into(&mut unit.sub_state);
            })?;
        }
        Ok(())
    }

    fn package_manager(&self) -> Result<Box<dyn PackageManager + '_>, HostError> {
        fake_package::FakePackages::on(self)
    }

    fn own_program(&self) -> Result<&dyn OwnProgram, HostError> {
        Ok(&self.program)
    }

    fn own_ids(&self) -> Ids {
        Ids { uid: 0, gid: 0 }
    }

    fn system(&self) -> SystemFacts {
        SystemFacts {
            hostname: "fake".to_owned(),
            kernel: "6.1.0".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            memory_bytes: 1 << 30,
            uptime_s: 60,
        }
    }
}
