//! Names and values of kernel settings (`sysctl`), as they stand in parameters.
//!
//! Deliberately absent: settings that name a program, because the kernel runs it as root, and settings
//! that nothing but a restart takes back.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::HostPath;

/// Largest value that is read or written: 4 KiB, the kernel's own limit for one write.
pub const VALUE_LIMIT: usize = 4096;

/// Directories of `/proc/sys`.
const TREES: [&str; 7] = ["abi", "dev", "fs", "kernel", "net", "user", "vm"];

/// Settings that no order reaches, with everything beneath them. `Some` denies one value only.
const DENIED: &[(&str, Option<&str>, &str)] = &[
    ("fs.binfmt_misc", None, "it names programs that the kernel starts"),
    ("kernel.core_pattern", None, "it names a program that the kernel starts as root"),
    ("kernel.hotplug", None, "it names a program that the kernel starts as root"),
    ("kernel.kexec_load_disabled", Some("1"), ONE_WAY),
    ("kernel.modprobe", None, "it names a program that the kernel starts as root"),
    ("kernel.modules_disabled", Some("1"), ONE_WAY),
    ("kernel.poweroff_cmd", None, "it names a program that the kernel starts as root"),
    ("kernel.unprivileged_bpf_disabled", Some("1"), ONE_WAY),
    ("kernel.usermodehelper", None, ONE_WAY),
    ("kernel.yama.ptrace_scope", Some("3"), ONE_WAY),
    ("vm.compact_memory", None, IS_AN_ACT),
    ("vm.drop_caches", None, IS_AN_ACT),
];
const ONE_WAY: &str = "nothing but a restart of the host takes it back";
const IS_AN_ACT: &str = "it is an act, not a setting, so there is nothing to restore";

/// Name of a kernel setting, such as `net.ipv4.ip_forward`.
///
/// Components are parted by dots. A slash stands for a dot within a component, as in
/// `net.ipv4.conf.eth0/100.rp_filter` (`sysctl.d(5)`). At most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlKey(String);

/// Why a text is not a [`SysctlKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("a kernel setting begins with one of {}", TREES.join(", "))]
    UnknownTree,
    #[error("a kernel setting is letters, digits, '_', '-', ':', '@' and '/', parted by dots")]
    Malformed,
    #[error("the name of a kernel setting has at most 255 bytes")]
    TooLong,
}

impl SysctlKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the kernel shows it: a path beneath `/proc/sys`.
    pub fn path(&self) -> HostPath {
        let components = self.0.split('.').map(|component| component.replace('/', "."));
        let path = format!("/proc/sys/{}", components.collect::<Vec<_>>().join("/"));
        path.parse().expect("no component is empty, '.' or '..'")
    }

    /// Why the setting may not have this value, whoever approved it.
    pub fn denied(&self, value: &SysctlValue) -> Option<&'static str> {
        let within = |denied: &str| {
            self.0.strip_prefix(denied).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        DENIED
            .iter()
            .find(|(key, only, _)| within(key) && only.is_none_or(|only| only == value.as_str()))
            .map(|(_, _, why)| *why)
    }
}

impl FromStr for SysctlKey {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.len() > 255 {
            return Err(BadKey::TooLong);
        }
        let mut components = text.split('.');
        if !components.next().is_some_and(|tree| TREES.contains(&tree)) {
            return Err(BadKey::UnknownTree);
        }
        let mut any = false;
        for component in components {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:@/".contains(&byte);
            let begins_well = component.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
            if !begins_well || !component.bytes().all(good) {
                return Err(BadKey::Malformed);
            }
            any = true;
        }
        if any { Ok(Self(text.to_owned())) } else { Err(BadKey::Malformed) }
    }
}

impl TryFrom<String> for SysctlKey {
    type Error = BadKey;
    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<SysctlKey> for String {
    fn from(key: SysctlKey) -> Self {
        key.0
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for SysctlKey {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SysctlKey".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!(r"^({})(\.[A-Za-z0-9][A-Za-z0-9_:@/-]*)+$", TREES.join("|"));
        json_schema!({ "type": "string", "pattern": pattern, "maxLength": 255 })
    }
}

/// Value of a kernel setting: printable ASCII, 1–1,024 bytes, with one space where the kernel takes
/// any white space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlValue(String);

/// A text that is not a [`SysctlValue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kernel setting's value is 1 to 1,024 printable ASCII characters")]
pub struct BadValue;

impl SysctlValue {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the kernel shows it: several values are parted by tabs, and a line end follows.
    pub fn of_kernel(shown: &str) -> String {
        shown.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for SysctlValue {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let printable = text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        let value = Self::of_kernel(text);
        if printable && (1..=1024).contains(&value.len()) { Ok(Self(value)) } else { Err(BadValue) }
    }
}

impl TryFrom<String> for SysctlValue {
    type Error = BadValue;
    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<SysctlValue> for String {
    fn from(value: SysctlValue) -> Self {
        value.0
    }
}

impl fmt::Display for SysctlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for SysctlValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SysctlValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[ -~\\t]+$", "minLength": 1, "maxLength": 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SysctlKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_a_path_beneath_proc_sys_and_never_another() {
        assert_eq!(key("net.ipv4.ip_forward").path().as_str(), "/proc/sys/net/ipv4/ip_forward");
        let vlan = key("net.ipv4.conf.eth0/100.rp_filter").path();
        assert_eq!(vlan.as_str(), "/proc/sys/net/ipv4/conf/eth0.100/rp_filter");
        for bad in [
            "",
            "net",
            "net.",
            ".net.x",
            "net..x",
            "net./.x",
            "net.//.x",
            "net./etc/shadow",
            "net.x/../y",
            "net.x\0",
            "net.x y",
            "net.x=1",
            "sys.x",
            "Kernel.x",
            "net/ipv4/ip_forward",
            "net.-x",
        ] {
            assert!(bad.parse::<SysctlKey>().is_err(), "{bad:?}");
        }
        // A slash is a dot within a name, so it never parts two.
        assert_eq!(key("net.x//y").path().as_str(), "/proc/sys/net/x..y");
        assert_eq!(format!("net.{}", "x".repeat(252)).parse::<SysctlKey>(), Err(BadKey::TooLong));
    }

    #[test]
    fn programs_and_one_way_settings_are_denied() {
        let one: SysctlValue = "1".parse().unwrap();
        let two: SysctlValue = "2".parse().unwrap();
        for name in ["kernel.core_pattern", "kernel.modprobe", "fs.binfmt_misc.register"] {
            assert!(key(name).denied(&two).is_some(), "{name}");
        }
        assert!(key("kernel.unprivileged_bpf_disabled").denied(&one).is_some());
        assert!(key("kernel.unprivileged_bpf_disabled").denied(&two).is_none());
        assert!(key("kernel.core_pattern_x").denied(&one).is_none());
        assert!(key("net.ipv4.ip_forward").denied(&one).is_none());
    }

    #[test]
    fn values_are_one_line() {
        assert_eq!(
            "4096\t87380  6291456".parse::<SysctlValue>().unwrap().as_str(),
            "4096 87380 6291456"
        );
        for bad in ["", " ", "1\n2", "\u{e9}", "x\0"] {
            assert!(bad.parse::<SysctlValue>().is_err(), "{bad:?}");
        }
    }
}
