//! `host.set_sysctl`

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Meta, Operation, check, is_yes, line, yes};
use crate::host::{Host, HostError, HostPath, Mode, SysctlKey, SysctlValue};

/// Read at start after every file that begins with a digit; the last one wins (`sysctl.d(5)`).
static FILE: LazyLock<HostPath> = LazyLock::new(|| {
    "/etc/sysctl.d/zz-nexplane.conf".parse().expect("the path is normal and absolute")
});
const FILE_LIMIT: u64 = 256 * 1024;
const HEADER: &str = "# Written by the Nexplane agent: host.set_sysctl.\n";

/// Sets a setting of the running kernel and, unless told not to, keeps it for the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSysctl {
    /// Name of the setting. A slash stands for a dot within a part, as in net.ipv4.conf.eth0/100.rp_filter.
    #[schemars(example = "net.ipv4.ip_forward")]
    pub key: SysctlKey,
    /// The value; several are parted by a space.
    #[schemars(example = "0")]
    pub value: SysctlValue,
    /// Whether it holds after the next start, too. True when absent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub persist: bool,
}

/// The setting now, and at the next start as far as this agent has a say.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    running: String,
    /// The value in the agent's file.
    persisted: Option<String>,
}

impl Operation for SetSysctl {
    const META: Meta = Meta {
        id: "host.set_sysctl",
        title: "Set kernel setting",
        description: "Sets a setting of the running kernel (sysctl) and keeps it for the next start. \
                      Undone by setting both as they were. Settings that name a program, or that only \
                      a restart takes back, are refused.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &["root to write the kernel's settings"],
    };

    type State = State;

    fn example() -> Self {
        Self {
            key: "net.ipv4.conf.all.log_martians".parse().expect("the key is well formed"),
            value: "1".parse().expect("the value is well formed"),
            persist: true,
        }
    }

    fn paths(&self) -> Vec<&HostPath> {
        if self.persist { vec![&FILE] } else { Vec::new() }
    }

    fn may_cut_line(&self) -> bool {
        line::hangs_on_setting(&self.key)
    }

    fn summary(&self, target: &str) -> String {
        let Self { key, value, persist } = self;
        let until = if *persist { "now and after every start" } else { "until the next start" };
        format!("Sets {key} on {target} to {value}, {until}.")
    }

    fn rollback(&self) -> String {
        format!("Sets {} as it was, now and for the next start.", self.key)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        vec![
            check("setting_allowed", self.setting_allowed()),
            check("setting_exists", self.setting_exists(host)),
            check("next_start", self.next_start(host)),
        ]
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        let running = host
            .kernel_setting(&self.key)?
            .ok_or_else(|| HostError::Missing { path: self.key.path() })?;
        let persisted = Kept::read(host)?.value(&self.key).map(ToOwned::to_owned);
        Ok(State { running, persisted })
    }

    fn intended(&self, _host: &dyn Host, before: &State) -> Result<State, HostError> {
        let value = self.value.as_str().to_owned();
        let persisted = if self.persist { Some(value.clone()) } else { before.persisted.clone() };
        Ok(State { running: value, persisted })
    }

    fn fields(state: &State) -> Vec<Field> {
        let kept = state.persisted.clone().map_or(serde_json::Value::Null, Into::into);
        vec![Field::new("value", state.running.clone()), Field::new("kept_for_next_start", kept)]
    }

    fn bring(&self, host: &dyn Host, from: Option<&State>, to: &State) -> Result<(), HostError> {
        if let Some(why) = self.key.denied(&self.value) {
            return Err(HostError::Denied { path: self.key.path(), why });
        }
        let now = self.snapshot(host)?;
        if from.is_some_and(|from| *from != now) {
            return Err(HostError::Moved { path: self.key.path() });
        }
        // The kernel may refuse the value; then nothing is kept for a start that nobody has seen.
        if now.running != to.running {
            host.set_kernel_setting(&self.key, &to.running)?;
        }
        if now.persisted != to.persisted {
            let kept = Kept::read(host)?;
            kept.write(host, &self.key, to.persisted.as_deref())?;
        }
        Ok(())
    }
}

impl SetSysctl {
    fn setting_allowed(&self) -> Result<String, String> {
        match self.key.denied(&self.value) {
            None => Ok(format!("{} may be set to {}", self.key, self.value)),
            Some(why) => Err(format!("{} is not set to {}: {why}", self.key, self.value)),
        }
    }

    fn setting_exists(&self, host: &dyn Host) -> Result<String, String> {
        match host.kernel_setting(&self.key) {
            Ok(Some(now)) => Ok(format!("{} is {now} now", self.key)),
            Ok(None) => Err(format!("the kernel has no setting {}", self.key)),
            Err(error) => Err(error.sentence()),
        }
    }

    /// Whose word counts at the next start.
    fn next_start(&self, host: &dyn Host) -> Result<String, String> {
        if !self.persist {
            return Ok("the next start takes no notice of it".to_owned());
        }
        match host.is_directory(&FILE.parent().expect("the file is in a directory")) {
            Ok(true) => Ok(format!("{} is read at the next start, after all others", &*FILE)),
            Ok(false) => Err("there is no /etc/sysctl.d, so nothing can be kept".to_owned()),
            Err(error) => Err(error.sentence()),
        }
    }
}

/// The agent's file of settings. Lines that are not the agent's stay.
struct Kept {
    view: Option<crate::host::FileView>,
    lines: Vec<String>,
}

impl Kept {
    fn read(host: &dyn Host) -> Result<Self, HostError> {
        let view = host.read(&FILE, FILE_LIMIT)?;
        let text = view.as_ref().map(|view| String::from_utf8_lossy(&view.content).into_owned());
        let lines = text.unwrap_or_default().lines().map(ToOwned::to_owned).collect();
        Ok(Self { view, lines })
    }

    /// The last one wins, as at the start of the host.
    fn value(&self, key: &SysctlKey) -> Option<&str> {
        let entries: BTreeMap<&str, &str> =
            self.lines.iter().filter_map(|line| entry(line)).collect();
        entries.get(key.as_str()).copied()
    }

    /// Gives the key its only line, or none. A file without any setting is removed.
    fn write(
        mut self,
        host: &dyn Host,
        key: &SysctlKey,
        value: Option<&str>,
    ) -> Result<(), HostError> {
        let is_it = |line: &String| entry(line).is_some_and(|(name, _)| name == key.as_str());
        let place = self.lines.iter().position(is_it);
        self.lines.retain(|line| !is_it(line));
        if let Some(value) = value {
            let place = place.unwrap_or(self.lines.len()).min(self.lines.len());
            self.lines.insert(place, format!("{key} = {value}"));
        }
        let expected = self.view.as_ref().map(|view| &view.meta);
        if !self.lines.iter().any(|line| entry(line).is_some()) {
            return expected.map_or(Ok(()), |meta| host.remove(&FILE, meta));
        }
        let mut text = if self.view.is_some() { String::new() } else { HEADER.to_owned() };
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        let (mode, ids) =
            expected.map_or((Mode::from_bits(0o644), host.own_ids()), |meta| (meta.mode, meta.ids));
        host.write(&FILE, expected, text.as_bytes(), mode, ids)
    }
}

/// `key = value` of a line that is a setting; a leading `-` (ignore errors) is not part of the key.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim().trim_start_matches('-'), value.trim()))
}
