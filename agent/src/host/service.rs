//! Names and states of services, as they stand in parameters and before-states.
//!
//! Deliberately absent: targets, mounts, slices and whatever else would take a part of the host down
//! with it, and the services without which nobody could put anything back.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Kinds of units that are enabled and disabled.
const KINDS: [&str; 4] = [".path", ".service", ".socket", ".timer"];

/// Units that no order reaches. `*` at the end stands for anything.
const DENIED: &[(&str, &str)] = &[
    ("NetworkManager.service", CUT_OFF),
    ("connman.service", CUT_OFF),
    ("dbus*", "the agent talks to the host through it"),
    ("dhcpcd*", CUT_OFF),
    ("ifup@*", CUT_OFF),
    ("iwd.service", CUT_OFF),
    ("netplan-*", CUT_OFF),
    ("networking.service", CUT_OFF),
    ("nexplane-agent*", "it is the agent"),
    ("systemd-*", "it is a part of systemd itself"),
    ("wickedd*", CUT_OFF),
    ("wpa_supplicant*", CUT_OFF),
];
const CUT_OFF: &str = "the host would be cut off";
/// Parts of systemd that a host can do without.
const SPARED: [&str; 2] = ["systemd-pstore.service", "systemd-timesyncd.service"];
/// Units through which people sign in.
const WAYS_IN: [&str; 8] = [
    "dropbear.service",
    "dropbear.socket",
    "ssh.service",
    "ssh.socket",
    "sshd.service",
    "sshd.socket",
    "sssd.service",
    "tailscaled.service",
];

/// Name of a unit of systemd, such as `nginx.service` or `wg-quick@wg0.service`: at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

/// A text that is not a [`UnitName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a unit is letters, digits, ':', '-', '_', '.', '\\' and one '@', and ends in {}",
    KINDS.join(", ")
)]
pub struct BadUnit;

impl UnitName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Why the unit is not touched, whoever approved it.
    pub fn denied(&self) -> Option<&'static str> {
        let is = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => self.0.starts_with(beginning),
            None => self.0 == pattern,
        };
        let spared = SPARED.contains(&self.as_str());
        DENIED.iter().find(|(unit, _)| is(unit) && !spared).map(|(_, why)| *why)
    }

    /// Whether people sign in to the host through it.
    pub fn is_way_in(&self) -> bool {
        WAYS_IN.contains(&self.as_str())
    }
}

impl FromStr for UnitName {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let kind = KINDS.iter().find_map(|kind| text.strip_suffix(kind)).ok_or(BadUnit)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        // A template without an instance (`x@.service`) is no unit that could run.
        let one_at = match kind.split_once('@') {
            None => true,
            Some((template, instance)) => {
                !template.is_empty() && !instance.is_empty() && !instance.contains('@')
            }
        };
        let begins_well = kind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if text.len() <= 255 && begins_well && one_at && kind.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadUnit)
        }
    }
}

impl TryFrom<String> for UnitName {
    type Error = BadUnit;
    fn try_from(text: String) -> Result<Self, BadUnit> {
        text.parse()
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for UnitName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "UnitName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern =
            r"^[A-Za-z0-9_][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\-]+)?\.(path|service|socket|timer)$";
        json_schema!({ "type": "string", "pattern": pattern, "maxLength": 255 })
    }
}

/// A unit as the host's service manager has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Unit {
    /// Its own name; the one that it was asked for may be an alias.
    pub id: String,
    /// Whether it starts with the host, in systemd's words: `enabled`, `disabled`, `static`, `masked` …
    pub file_state: String,
    /// Runs, or is about to.
    pub active: bool,
    /// In systemd's words: `running`, `dead`, `failed` …
    pub sub_state: String,
    /// Ended, and will be started again by the service manager.
    pub waiting: bool,
    /// Was told to stop, and has not yet.
    pub stopping: bool,
    /// The agent runs in it.
    pub is_own: bool,
    /// Ends once its work is done, so it cannot be kept running.
    pub ends_by_itself: bool,
    /// Others that run, and that stop when it stops, directly or through others.
    pub stops: Vec<String>,
    /// Others that do not run, and that it needs or wants, directly or through others: while it does not run,
    /// its start starts them.
    pub starts: Vec<String>,
    /// Others that run, and that need or want it themselves.
    pub needed_by: Vec<String>,
    /// Others that run, and that stop when it starts, or what it starts.
    pub displaces: Vec<String>,
    /// Others that run, and that start it again when they are triggered.
    pub triggers: Vec<String>,
    /// Others that start with the host, and no longer do when it is disabled (`Also=`).
    pub partners: Vec<String>,
}

impl Unit {
    /// Whether it starts with the host; `None` when that cannot be switched.
    pub fn enabled(&self) -> Option<bool> {
        match self.file_state.as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_units_that_can_be_switched_have_names() {
        for good in ["nginx.service", "wg-quick@wg0.service", r"a\x2db.timer", "x.y.socket"] {
            assert_eq!(good.parse::<UnitName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "nginx",
            ".service",
            "multi-user.target",
            "-.mount",
            "a b.service",
            "../x.service",
            "x@.service",
            "@x.service",
            "a@b@c.service",
            "-x.service",
            "x;y.service",
            "x\n.service",
        ] {
            assert_eq!(bad.parse::<UnitName>(), Err(BadUnit), "{bad:?}");
        }
        let long = format!("{}.service", "x".repeat(248));
        assert_eq!(long.parse::<UnitName>(), Err(BadUnit));
    }

    #[test]
    fn what_puts_things_back_is_not_touched() {
        for denied in [
            "nexplane-agent.service",
            "nexplane-agent@2.service",
            "dbus.service",
            "dbus.socket",
            "systemd-journald-dev-log.socket",
            "systemd-logind.service",
            "networking.service",
        ] {
            assert!(denied.parse::<UnitName>().unwrap().denied().is_some(), "{denied}");
        }
        for free in ["nginx.service", "ssh.service", "systemd-timesyncd.service"] {
            assert!(free.parse::<UnitName>().unwrap().denied().is_none(), "{free}");
        }
        assert!("ssh.service".parse::<UnitName>().unwrap().is_way_in());
    }
}
