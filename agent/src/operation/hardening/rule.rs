//! The kinds of things that an item can ask for. There is no other, and none that runs a command.
//!
//! What is changed is changed by the operations that do one such thing at a time; what is only
//! looked at is in [`super::report`].

use nexplane_core::plan::{DiffLine, Field};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Survey;
use super::line::Line;
use super::report::{Accounts, DPKG, ExpectedSetting, Finding, MountRule, Package, path};
use super::sshd::{self, Sshd};
use crate::host::{
    CONTENT_LIMIT, Host, HostError, HostPath, Mode, SysctlKey, SysctlValue, UnitName,
};
use crate::operation::service::DisableService;
use crate::operation::set_file_content::SetFileContent;
use crate::operation::set_file_permission::SetFilePermission;
use crate::operation::set_sysctl::SetSysctl;
use crate::operation::{Operation, service, set_file_content, set_file_permission, set_sysctl};

const MODULES: &str = "/etc/modprobe.d";
const LIMITS: &str = "/etc/security/limits.d";
const SYSCTLS: &str = "/etc/sysctl.d";
const UNITS: &str = "/etc/systemd/system";
const BUS: (&str, &str) = ("/run/dbus", "system_bus_socket");

/// What an item asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A kernel setting, now and at the next start.
    Setting(Setting),
    /// Owner root, one of some groups, and no more than some permissions.
    Permission(Permission),
    /// A directive of the SSH server.
    Sshd(Sshd),
    /// A limit of `limits.conf(5)`.
    Limit(Limit),
    /// A key of a file that has no directory for files of our own.
    Line(Line),
    /// A module of the kernel that cannot be loaded.
    Module(Module),
    /// A unit of systemd that neither runs nor starts.
    Service(Off),
    ExpectedSetting(ExpectedSetting),
    Mount(MountRule),
    Package(Package),
    Accounts(Accounts),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    key: SysctlKey,
    value: SysctlValue,
    /// Other values that are as good.
    #[serde(default)]
    or: Vec<SysctlValue>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    path: HostPath,
    /// The most that may be allowed.
    mode: Mode,
    /// The first is given to a file that belongs to none of them.
    #[serde(default = "root")]
    groups: Vec<String>,
}

fn root() -> Vec<String> {
    vec!["root".to_owned()]
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    domain: String,
    strength: Strength,
    item: String,
    value: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strength {
    Hard,
    Soft,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {
    unit: UnitName,
}

/// An item's state, as the operation has it that changes it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Setting(set_sysctl::State),
    Permission(set_file_permission::State),
    File(set_file_content::State),
    Service(service::State),
    Lines(Vec<String>),
}

/// What an item comes to on a host.
pub enum Standing {
    Applies(Found),
    /// Looked at and told.
    Reported {
        as_wanted: bool,
        detail: String,
    },
    /// There is nothing to do here, or it cannot be done; the rest can.
    NotApplicable(String),
}

use Standing::{Applies, NotApplicable, Reported};

impl Rule {
    /// # Errors
    /// What is wrong with the data.
    pub(super) fn check(&self) -> Result<(), String> {
        let word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-*.".contains(&b))
        };
        let sound = match self {
            // The others are only left as they are.
            Self::Setting(setting) => setting.key.denied(&setting.value).is_none(),
            Self::Permission(permission) => {
                !permission.mode.is_special() && !permission.groups.is_empty()
            }
            Self::Sshd(directive) => return directive.check(),
            Self::Line(line) => return line.check(),
            Self::Limit(limit) => {
                [&limit.domain, &limit.item, &limit.value].into_iter().all(|t| word(t))
            }
            Self::Module(module) => word(&module.name),
            Self::Service(Off { unit }) => {
                unit.denied().is_none() && !unit.as_str().starts_with("ssh")
            }
            Self::Package(package) => word(&package.name),
            Self::ExpectedSetting(_) | Self::Mount(_) | Self::Accounts(_) => true,
        };
        if sound { Ok(()) } else { Err("the rule is not allowed, or malformed".to_owned()) }
    }

    /// What it is about: no two items of a profile are about the same.
    pub(super) fn mark(&self) -> String {
        match self {
            Self::Setting(Setting { key, .. })
            | Self::ExpectedSetting(ExpectedSetting { key, .. }) => format!("setting {key}"),
            Self::Permission(permission) => format!("permission {}", permission.path),
            Self::Sshd(directive) => format!("sshd {}", directive.keyword),
            Self::Limit(limit) => format!("limit {} {}", limit.domain, limit.item),
            Self::Line(line) => line.mark(),
            Self::Module(module) => format!("module {}", module.name),
            Self::Service(Off { unit }) => format!("unit {unit}"),
            Self::Mount(rule) => format!("mount {} {:?}", rule.path, rule.option),
            Self::Package(package) => format!("package {}", package.name),
            Self::Accounts(rule) => format!("accounts {:?}", rule.rule),
        }
    }

    /// Whether it is looked at and never changed.
    pub fn is_report(&self) -> bool {
        matches!(
            self,
            Self::ExpectedSetting(_) | Self::Mount(_) | Self::Package(_) | Self::Accounts(_)
        )
    }

    /// The kernel setting that it is about.
    pub(super) fn setting(&self) -> Option<&SysctlKey> {
        if let Self::Setting(Setting { key, .. })
        | Self::ExpectedSetting(ExpectedSetting { key, .. }) = self
        {
            return Some(key);
        }
        None
    }

    /// Whether it reads the content of its files. A file whose permission is looked at may be a secret.
    pub(super) fn reads_content(&self) -> bool {
        matches!(
            self,
            Self::Setting(_)
                | Self::Sshd(_)
                | Self::Limit(_)
                | Self::Line(_)
                | Self::Module(_)
                | Self::Accounts(_)
        )
    }

    /// The files that an item with this id reads or writes, for the host owner's policy.
    pub(super) fn paths(&self, id: &str) -> Vec<HostPath> {
        match self {
            Self::Setting(setting) => setting.operation().paths().into_iter().cloned().collect(),
            Self::Permission(permission) => vec![permission.path.clone()],
            Self::Sshd(_) => vec![self.file(id).path, Sshd::main_file()],
            Self::Limit(_) | Self::Module(_) => vec![self.file(id).path],
            Self::Line(line) => vec![line.path.clone()],
            Self::Package(_) => vec![path(DPKG)],
            Self::Accounts(rule) => rule.files(),
            // Where it is said what starts with the host.
            Self::Service(_) => vec![path(UNITS)],
            Self::ExpectedSetting(_) | Self::Mount(_) => Vec::new(),
        }
    }

    /// The file of an item that has one of its own: which directory it is in, and its lines.
    fn own_file(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Sshd(directive) => Some((sshd::DIRECTORY, directive.text())),
            Self::Limit(Limit { domain, strength, item, value }) => {
                let strength = match strength {
                    Strength::Hard => "hard",
                    Strength::Soft => "soft",
                };
                Some((LIMITS, format!("{domain} {strength} {item} {value}\n")))
            }
            Self::Module(Module { name }) => {
                Some((MODULES, format!("install {name} /bin/false\nblacklist {name}\n")))
            }
            Self::Setting(_)
            | Self::Permission(_)
            | Self::Line(_)
            | Self::Service(_)
            | Self::ExpectedSetting(_)
            | Self::Mount(_)
            | Self::Package(_)
            | Self::Accounts(_) => None,
        }
    }

    fn file(&self, id: &str) -> SetFileContent {
        let (directory, lines) = self.own_file().expect("the rule is one of those with a file");
        let header =
            format!("# Written by the Nexplane agent: host.run_hardening_profile, {id}.\n");
        SetFileContent {
            path: path(&format!("{directory}/60-nexplane-{id}.conf")),
            content: header + &lines,
            mode: None,
        }
    }

    /// Changes nothing.
    pub(super) fn look(&self, id: &str, survey: &Survey<'_>) -> Result<Standing, HostError> {
        match self.look_closely(id, survey) {
            Err(error) if is_of_host(&error) => Ok(NotApplicable(error.sentence())),
            other => other,
        }
    }

    /// The state of what is changed, whether the item applies or not; none when it is not there. Changes
    /// nothing.
    pub(super) fn read(&self, id: &str, host: &dyn Host) -> Result<Option<Found>, HostError> {
        let found = match self {
            Self::Setting(setting) => setting.operation().snapshot(host).map(Found::Setting),
            Self::Permission(permission) => {
                permission.operation().snapshot(host).map(Found::Permission)
            }
            Self::Sshd(_) | Self::Limit(_) | Self::Module(_) => {
                self.file(id).snapshot(host).map(Found::File)
            }
            Self::Line(line) => line.read(host).map(Found::Lines),
            Self::Service(off) => off.operation().snapshot(host).map(Found::Service),
            Self::ExpectedSetting(_) | Self::Mount(_) | Self::Package(_) | Self::Accounts(_) => {
                return Ok(None);
            }
        };
        match found {
            Err(error) if is_of_host(&error) => Ok(None),
            other => other.map(Some),
        }
    }

    fn look_closely(&self, id: &str, survey: &Survey<'_>) -> Result<Standing, HostError> {
        let host = survey.host;
        match self {
            Self::Setting(setting) => setting.look(host),
            Self::Permission(permission) => permission.look(host),
            Self::Sshd(directive) => {
                if let Some(why) = directive.hindrance(host)? {
                    return Ok(NotApplicable(why));
                }
                match survey.sshd_accepts(directive) {
                    Ok(()) => look_at_file(&self.file(id), host),
                    Err(why) => Ok(NotApplicable(why)),
                }
            }
            Self::Limit(_) => look_at_file(&self.file(id), host),
            Self::Module(module) if module.is_built_in(host)? => {
                Ok(NotApplicable(format!("{} is built into the kernel", module.name)))
            }
            Self::Module(_) => look_at_file(&self.file(id), host),
            Self::Line(line) => line.read(host).map(|lines| Applies(Found::Lines(lines))),
            Self::Service(off) => off.look(host),
            Self::ExpectedSetting(setting) => setting.look(host).map(told),
            Self::Mount(mount) => mount.look(host).map(told),
            Self::Package(package) => package.look(host).map(told),
            Self::Accounts(rule) => rule.look(host).map(told),
        }
    }

    /// The state that an item is brought to from `before`.
    pub(super) fn intended(
        &self,
        id: &str,
        host: &dyn Host,
        before: &Found,
    ) -> Result<Found, HostError> {
        match (self, before) {
            (Self::Setting(setting), Found::Setting(state)) => {
                setting.towards(state).intended(host, state).map(Found::Setting)
            }
            (Self::Permission(permission), Found::Permission(state)) => {
                permission.towards(state).intended(host, state).map(Found::Permission)
            }
            (Self::Sshd(_) | Self::Limit(_) | Self::Module(_), Found::File(state)) => {
                self.file(id).intended(host, state).map(Found::File)
            }
            (Self::Service(off), Found::Service(state)) => {
                off.operation().intended(host, state).map(Found::Service)
            }
            (Self::Line(line), Found::Lines(lines)) => Ok(Found::Lines(line.intended(lines))),
            _ => Err(another_kind(id)),
        }
    }

    /// Makes the item as `to` says, whatever it is now. `from` is how it was found, where that is known.
    pub(super) fn bring(
        &self,
        id: &str,
        host: &dyn Host,
        from: Option<&Found>,
        to: &Found,
    ) -> Result<(), HostError> {
        match (self, to) {
            (Self::Setting(setting), Found::Setting(to)) => {
                setting.operation().bring(host, None, to)
            }
            (Self::Permission(permission), Found::Permission(to)) => {
                permission.operation().bring(host, None, to)
            }
            (Self::Sshd(_) | Self::Limit(_) | Self::Module(_), Found::File(to)) => {
                self.file(id).bring(host, None, to)
            }
            (Self::Service(Off { unit }), Found::Service(to)) => {
                let from = match from {
                    Some(Found::Service(from)) => Some(from),
                    Some(
                        Found::Setting(_) | Found::Permission(_) | Found::File(_) | Found::Lines(_),
                    )
                    | None => None,
                };
                service::switch(host, unit, from, to)
            }
            (Self::Line(line), Found::Lines(to)) => line.bring(host, to),
            _ => Err(another_kind(id)),
        }
    }
}

/// Whether it is true of the host, not of the moment.
fn is_of_host(error: &HostError) -> bool {
    matches!(
        error,
        HostError::Denied { .. }
            | HostError::Unsafe { .. }
            | HostError::TooLarge { .. }
            | HostError::Missing { .. }
            | HostError::UnknownName { .. }
    )
}

fn another_kind(id: &str) -> HostError {
    let why = "its state is one of another version of the agent".to_owned();
    HostError::Item { item: id.to_owned(), why }
}

fn told(finding: Finding) -> Standing {
    match finding {
        Finding::AsWanted(detail) => Reported { as_wanted: true, detail },
        Finding::Otherwise(detail) => Reported { as_wanted: false, detail },
        Finding::Nothing(why) => NotApplicable(why),
    }
}

fn look_at_file(file: &SetFileContent, host: &dyn Host) -> Result<Standing, HostError> {
    let directory = file.path.parent().expect("the file is in a directory");
    if host.is_directory(&directory)? {
        file.snapshot(host).map(|state| Applies(Found::File(state)))
    } else {
        Ok(NotApplicable(format!("there is no {directory}")))
    }
}

/// A field's text; the operations have the state to themselves.
fn text<'a>(fields: &'a [Field], name: &str) -> &'a str {
    let field = fields.iter().find(|field| field.name == name);
    field.and_then(|field| field.value.as_str()).unwrap_or_default()
}

impl Setting {
    fn operation(&self) -> SetSysctl {
        SetSysctl { key: self.key.clone(), value: self.value.clone(), persist: true }
    }

    /// A value that is as good stays, and is kept.
    fn towards(&self, before: &set_sysctl::State) -> SetSysctl {
        let fields = SetSysctl::fields(before);
        let now = text(&fields, "value");
        let value = self.or.iter().find(|other| other.as_str() == now).unwrap_or(&self.value);
        SetSysctl { value: value.clone(), ..self.operation() }
    }

    fn look(&self, host: &dyn Host) -> Result<Standing, HostError> {
        let key = &self.key;
        if host.kernel_setting(key)?.is_none() {
            return Ok(NotApplicable(format!("the kernel has no setting {key}")));
        }
        if !host.is_directory(&path(SYSCTLS))? {
            return Ok(NotApplicable(format!("there is no {SYSCTLS}")));
        }
        if !host.can_set(key)? {
            return Ok(NotApplicable(format!("{key} cannot be set from here")));
        }
        self.operation().snapshot(host).map(|state| Applies(Found::Setting(state)))
    }
}

impl Permission {
    fn operation(&self) -> SetFilePermission {
        SetFilePermission { path: self.path.clone(), mode: self.mode, owner: None, group: None }
    }

    /// Takes away and never gives, and leaves the file to a group that may have it.
    fn towards(&self, before: &set_file_permission::State) -> SetFilePermission {
        let fields = SetFilePermission::fields(before);
        let mode = text(&fields, "mode").parse().unwrap_or(self.mode);
        let group = text(&fields, "group").to_owned();
        let group =
            if self.groups.contains(&group) { Some(group) } else { self.groups.first().cloned() };
        SetFilePermission {
            mode: Mode::from_bits(mode.bits() & self.mode.bits()),
            owner: Some("root".to_owned()),
            group,
            ..self.operation()
        }
    }

    fn look(&self, host: &dyn Host) -> Result<Standing, HostError> {
        let Some(meta) = host.stat(&self.path)? else {
            return Ok(NotApplicable(format!("there is no {}", self.path)));
        };
        if meta.has_capabilities {
            return Ok(NotApplicable(format!("{} carries capabilities", self.path)));
        }
        if meta.ids.uid != 0 && host.own_ids().uid != 0 {
            return Ok(NotApplicable(format!("only root gives {} to root", self.path)));
        }
        let state = self.operation().snapshot(host)?;
        // The group that it would be given may not be there.
        self.towards(&state).intended(host, &state)?;
        Ok(Applies(Found::Permission(state)))
    }
}

impl Module {
    /// `modules.builtin` of the running kernel has a line for each: `kernel/fs/x/x.ko`.
    fn is_built_in(&self, host: &dyn Host) -> Result<bool, HostError> {
        let kernel = host.system().kernel;
        let Ok(file) = format!("/usr/lib/modules/{kernel}/modules.builtin").parse::<HostPath>()
        else {
            return Ok(false);
        };
        let Some(view) = host.read(&file, CONTENT_LIMIT)? else { return Ok(false) };
        let plain = |name: &str| name.replace('-', "_");
        let wanted = plain(&self.name);
        Ok(String::from_utf8_lossy(&view.content).lines().any(|line| {
            let name = line.rsplit('/').next().and_then(|name| name.strip_suffix(".ko"));
            name.is_some_and(|name| plain(name) == wanted)
        }))
    }
}

impl Off {
    fn operation(&self) -> DisableService {
        DisableService { unit: self.unit.clone() }
    }

    fn look(&self, host: &dyn Host) -> Result<Standing, HostError> {
        let (directory, socket) = BUS;
        if !host.list(&path(directory))?.iter().any(|name| name == socket) {
            return Ok(NotApplicable("there is no bus of systemd".to_owned()));
        }
        let Some(unit) = host.unit(&self.unit)? else {
            return Ok(NotApplicable(format!("there is no {}", self.unit)));
        };
        if unit.id != self.unit.as_str() {
            return Ok(NotApplicable(format!("{} is another name of {}", self.unit, unit.id)));
        }
        if unit.enabled().is_none() {
            let Off { unit: name } = self;
            return Ok(NotApplicable(format!(
                "{name} is {} and {}",
                unit.file_state, unit.sub_state
            )));
        }
        self.operation().snapshot(host).map(|state| Applies(Found::Service(state)))
    }
}

impl Found {
    /// Parts with their values; an item with one part has it without a name.
    ///
    /// Each part is brought about in one step, so a host that stopped in the middle has each part as
    /// it was or as it should be.
    pub(super) fn parts(&self) -> Vec<(Option<String>, Value)> {
        let several = |fields: Vec<Field>| {
            fields.into_iter().map(|field| (Some(field.name), field.value)).collect()
        };
        match self {
            Self::Setting(state) => several(SetSysctl::fields(state)),
            Self::Permission(state) => several(SetFilePermission::fields(state)),
            Self::Service(state) => several(DisableService::fields(state)),
            Self::File(state) => {
                let fields = SetFileContent::fields(state);
                let parts = ["sha256", "mode", "owner", "group"].map(|name| text(&fields, name));
                let is_there = parts.iter().any(|part| !part.is_empty());
                let value = if is_there { Value::String(parts.join(" ")) } else { Value::Null };
                vec![(None, value)]
            }
            Self::Lines(lines) if lines.is_empty() => vec![(None, Value::Null)],
            Self::Lines(lines) => vec![(None, Value::String(lines.join("\n")))],
        }
    }

    /// What differs, for people: the content of a file instead of its sum.
    pub(super) fn diff(target: &str, name: &str, before: &Self, after: &Self) -> Vec<DiffLine> {
        if let (Self::File(before), Self::File(after)) = (before, after) {
            let mut lines = SetFileContent::diff(target, before, after);
            if lines.iter().any(|line| line.field == "content") {
                lines.retain(|line| line.field == "content");
            }
            for line in &mut lines {
                name.clone_into(&mut line.field);
            }
            return lines;
        }
        // What stops with a service is not among the parts of afterwards.
        if let (Self::Service(before), Self::Service(after)) = (before, after) {
            let mut lines = service::diff(target, before, after);
            for line in &mut lines {
                line.field = named(name, Some(&line.field));
            }
            return lines;
        }
        let parts = before.parts().into_iter().zip(after.parts());
        parts
            .filter(|((_, before), (_, after))| before != after)
            .map(|((part, before), (_, after))| DiffLine {
                target: target.to_owned(),
                field: named(name, part.as_deref()),
                before,
                after,
            })
            .collect()
    }
}

/// The name of a part of an item. Names of units stay as they are.
pub(super) fn named(item: &str, part: Option<&str>) -> String {
    match part {
        None => item.to_owned(),
        Some(unit) if unit.contains('.') => format!("{item} ({unit})"),
        Some(part) => format!("{item} ({})", part.replace('_', " ")),
    }
}
