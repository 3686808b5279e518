//! Paths and modes as they stand in parameters: strict text, checked once, at the border.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An absolute path within a host's root, such as `/etc/motd`.
///
/// At most 4,096 bytes; every component is 1–255 bytes and neither `.` nor `..`; no control
/// characters, no trailing slash. So two different texts are two different names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

/// Why a text is not a [`HostPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("a path starts with '/' and names a file")]
    NotAbsolute,
    #[error("a path has no empty, '.' or '..' component and no trailing slash")]
    NotNormal,
    #[error("a path has no control characters")]
    Control,
    #[error("a path has at most 4,096 bytes, and 255 in each component")]
    TooLong,
}

impl HostPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash: relative to the root.
    pub fn relative(&self) -> &str {
        self.0.strip_prefix('/').unwrap_or(&self.0)
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The directory that holds it; `None` when that is the root.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            None | Some(("", _)) => None,
            Some((parent, _)) => Some(Self(parent.to_owned())),
        }
    }

    /// True for the directory itself and everything beneath it.
    pub fn is_within(&self, directory: &Self) -> bool {
        self.0
            .strip_prefix(directory.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for HostPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let relative = text.strip_prefix('/').ok_or(BadPath::NotAbsolute)?;
        if relative.is_empty() {
            return Err(BadPath::NotAbsolute);
        }
        if text.len() > 4096 {
            return Err(BadPath::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadPath::Control);
        }
        for component in relative.split('/') {
            match component {
                "" | "." | ".." => return Err(BadPath::NotNormal),
                long if long.len() > 255 => return Err(BadPath::TooLong),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for HostPath {
    type Error = BadPath;
    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for HostPath {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "HostPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(/[^/]+)+$", "maxLength": 4096 })
    }
}

/// Permission bits of a file: exactly four octal digits as text, such as `0644`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

/// A text that is not a [`Mode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mode is exactly four octal digits, such as 0644")]
pub struct BadMode;

impl Mode {
    /// The permission bits of a `st_mode`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Set-user-ID, set-group-ID or sticky.
    pub const fn is_special(self) -> bool {
        self.0 & 0o7000 != 0
    }

    pub const fn is_readable_by_everyone(self) -> bool {
        self.0 & 0o004 != 0
    }
}

impl FromStr for Mode {
    type Err = BadMode;
    fn from_str(text: &str) -> Result<Self, BadMode> {
        if text.len() == 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
            u32::from_str_radix(text, 8).map(Self).map_err(|_| BadMode)
        } else {
            Err(BadMode)
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = BadMode;
    fn try_from(text: String) -> Result<Self, BadMode> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mode({self})")
    }
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-7]{4}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_absolute_paths_are_paths() {
        for good in ["/etc/motd", "/a", "/a b/ü", "/...", "/.hidden"] {
            assert_eq!(good.parse::<HostPath>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", BadPath::NotAbsolute),
            ("etc/motd", BadPath::NotAbsolute),
            ("/", BadPath::NotAbsolute),
            ("/etc/", BadPath::NotNormal),
            ("//etc", BadPath::NotNormal),
            ("/etc/../root", BadPath::NotNormal),
            ("/..", BadPath::NotNormal),
            ("/etc/./motd", BadPath::NotNormal),
            ("/etc/mo\0td", BadPath::Control),
            ("/etc/mo\ntd", BadPath::Control),
        ] {
            assert_eq!(bad.parse::<HostPath>(), Err(why), "{bad:?}");
        }
        assert_eq!(format!("/{}", "x".repeat(256)).parse::<HostPath>(), Err(BadPath::TooLong));
        assert_eq!("/x".repeat(2049).parse::<HostPath>(), Err(BadPath::TooLong));
    }

    #[test]
    fn within_is_by_component() {
        let etc: HostPath = "/etc".parse().unwrap();
        assert!("/etc".parse::<HostPath>().unwrap().is_within(&etc));
        assert!("/etc/a/b".parse::<HostPath>().unwrap().is_within(&etc));
        assert!(!"/etcetera".parse::<HostPath>().unwrap().is_within(&etc));
    }

    #[test]
    fn modes_are_four_octal_digits() {
        assert_eq!("0644".parse::<Mode>().unwrap().bits(), 0o644);
        assert_eq!("4755".parse::<Mode>().unwrap().to_string(), "4755");
        for bad in ["", "644", "00644", "0648", "+644", "0o64", " 644", "u+rw"] {
            assert_eq!(bad.parse::<Mode>(), Err(BadMode), "{bad:?}");
        }
    }
}
