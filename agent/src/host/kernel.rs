//! Names and values of kernel settings (`sysctl`), as they stand in parameters.
//!
//! Deliberately absent: settings that name a program, because the kernel runs it as root, settings that nothing
//! but a restart takes back, and values that lower the protection of memory.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::HostPath;

/// Largest value that is read or written: 4 KiB, the kernel's own limit for one write.
#[cfg(target_os = "linux")]
pub const VALUE_LIMIT: usize = 4096;

/// Directories of `/proc/sys`.
const TREES: [&str; 7] = ["abi", "dev", "fs", "kernel", "net", "user", "vm"];

/// Values of a setting, however they are written.
#[derive(Clone, Copy)]
enum Which {
    All,
    Is(i64),
    Below(i64),
    Above(i64),
}

/// Settings that no order reaches, with everything beneath them, and which of their values.
const DENIED: &[(&str, Which, &str)] = &[
    ("fs.binfmt_misc", Which::All, "it names programs that the kernel starts"),
    ("fs.suid_dumpable", Which::Is(1), LOWERS),
    ("kernel.core_pattern", Which::All, STARTED_AS_ROOT),
    ("kernel.hotplug", Which::All, STARTED_AS_ROOT),
    ("kernel.kexec_load_disabled", Which::Is(1), ONE_WAY),
    ("kernel.kexec_load_limit_panic", Which::All, ONE_WAY),
    ("kernel.kexec_load_limit_reboot", Which::All, ONE_WAY),
    ("kernel.modprobe", Which::All, STARTED_AS_ROOT),
    ("kernel.modules_disabled", Which::Is(1), ONE_WAY),
    ("kernel.ns_last_pid", Which::All, IS_AN_ACT),
    ("kernel.poweroff_cmd", Which::All, STARTED_AS_ROOT),
    ("kernel.randomize_va_space", Which::Below(2), LOWERS),
    ("kernel.reboot-cmd", Which::All, "it is a command that is run at the next start"),
    ("kernel.unprivileged_bpf_disabled", Which::Is(1), ONE_WAY),
    ("kernel.usermodehelper", Which::All, ONE_WAY),
    ("kernel.yama.ptrace_scope", Which::Is(3), ONE_WAY),
    ("net.ipv4.route.flush", Which::All, IS_AN_ACT),
    ("net.ipv6.route.flush", Which::All, IS_AN_ACT),
    ("vm.compact_memory", Which::All, IS_AN_ACT),
    ("vm.drop_caches", Which::All, IS_AN_ACT),
    ("vm.legacy_va_layout", Which::Above(0), LOWERS),
    ("vm.mmap_min_addr", Which::All, LOWERS),
    ("vm.mmap_rnd_bits", Which::All, LOWERS),
    ("vm.mmap_rnd_compat_bits", Which::All, LOWERS),
    ("vm.stat_refresh", Which::All, IS_AN_ACT),
    ("vm.unprivileged_userfaultfd", Which::Is(1), LOWERS),
];
const STARTED_AS_ROOT: &str = "it names a program that the kernel starts as root";
const LOWERS: &str = "it can lower the protection of memory, which the host depends on";
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
        let number = value.number();
        let is_one = |which: Which| match which {
            Which::All => true,
            Which::Is(value) => number.is_none_or(|number| number == value),
            Which::Below(limit) => number.is_none_or(|number| number < limit),
            Which::Above(limit) => number.is_none_or(|number| number > limit),
        };
        let denied = DENIED.iter().find(|(key, which, _)| within(key) && is_one(*which));
        denied.map(|(_, _, why)| *why)
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

    /// The number that the kernel takes it for, where it wants one: the first one, of base 16 with `0x` and of
    /// base 8 with `0` before it (`proc_get_long`, `kernel/sysctl.c`).
    fn number(&self) -> Option<i64> {
        let word = self.0.split(' ').next()?;
        let (sign, digits) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
        let lower = digits.to_ascii_lowercase();
        let (base, digits) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
            (Some(digits), _) => (16, digits),
            (None, Some(digits)) if !digits.is_empty() => (8, digits),
            (None, _) => (10, lower.as_str()),
        };
        i64::from_str_radix(digits, base).ok()?.checked_mul(sign)
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
        for name in [
            "fs.binfmt_misc.status",
            "kernel.hotplug",
            "kernel.poweroff_cmd",
            "kernel.usermodehelper.bset",
            "kernel.reboot-cmd",
            "kernel.kexec_load_limit_reboot",
            "vm.mmap_min_addr",
            "vm.mmap_rnd_bits",
            "vm.mmap_rnd_compat_bits",
            "vm.unprivileged_userfaultfd",
            "vm.legacy_va_layout",
            "fs.suid_dumpable",
            "kernel.randomize_va_space",
        ] {
            assert!(key(name).denied(&one).is_some(), "{name}");
        }
        assert!(key("kernel.randomize_va_space").denied(&two).is_none());
        assert!(key("fs.suid_dumpable").denied(&two).is_none());
        assert!(key("net.ipv4.ip_forward").denied(&one).is_none());
    }

    #[test]
    fn a_denied_value_is_denied_however_it_is_written() {
        let denied = |name: &str, value: &str| key(name).denied(&value.parse().unwrap()).is_some();
        for value in ["1", "01", "001", "0x1", "0X01", "1 0", "1\t7"] {
            assert!(denied("kernel.modules_disabled", value), "{value}");
        }
        // What is no number is nothing that the kernel takes, either.
        for value in ["0", "00", "0x0", "-0", "1", "-1", "x", "0x", "2x", "09"] {
            assert!(denied("kernel.randomize_va_space", value), "{value}");
        }
        for value in ["2", "0x2", "02", "10"] {
            assert!(!denied("kernel.randomize_va_space", value), "{value}");
        }
        assert!(denied("vm.legacy_va_layout", "2") && !denied("vm.legacy_va_layout", "0"));
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
