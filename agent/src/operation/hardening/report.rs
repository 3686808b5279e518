//! What is looked at and told, and changed by a person if at all.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::host::{Host, HostError, HostPath, SysctlKey, SysctlValue};
use crate::operation::collect_facts;

const LIMIT: u64 = 16 * 1024 * 1024;
pub const DPKG: &str = "/var/lib/dpkg/status";
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const SHADOW: &str = "/etc/shadow";
/// Most names that a sentence lists.
const SHOWN: usize = 5;

/// What was found.
pub enum Finding {
    AsWanted(String),
    Otherwise(String),
    /// There is nothing of the kind here.
    Nothing(String),
}

use Finding::{AsWanted, Nothing, Otherwise};

fn judged(as_wanted: bool, detail: String) -> Finding {
    if as_wanted { AsWanted(detail) } else { Otherwise(detail) }
}

/// A kernel setting whose wrong value may be somebody's need.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedSetting {
    pub key: SysctlKey,
    pub value: SysctlValue,
}

impl ExpectedSetting {
    pub fn look(&self, host: &dyn Host) -> Result<Finding, HostError> {
        Ok(match host.kernel_setting(&self.key)? {
            Some(now) => judged(now == self.value.as_str(), format!("{} is {now}", self.key)),
            None => Nothing(format!("the kernel has no setting {}", self.key)),
        })
    }
}

/// How a directory should be mounted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRule {
    pub path: HostPath,
    pub option: MountOption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountOption {
    Separate,
    Nodev,
    Noexec,
    Nosuid,
}

impl MountRule {
    pub fn look(&self, host: &dyn Host) -> Result<Finding, HostError> {
        let path = &self.path;
        let Some(mount) = host.mount(path)? else {
            return Ok(Nothing(format!("how {path} is mounted is not told here")));
        };
        if self.option != MountOption::Separate && !mount.is_own {
            return Ok(Nothing(format!("{path} is not a file system of its own")));
        }
        let has = |option| mount.options.contains(&option);
        let (has, word) = match self.option {
            MountOption::Separate => (mount.is_own, "a file system of its own"),
            MountOption::Nodev => (has("nodev"), "mounted with nodev"),
            MountOption::Noexec => (has("noexec"), "mounted with noexec"),
            MountOption::Nosuid => (has("nosuid"), "mounted with nosuid"),
        };
        let is = if has { "is" } else { "is not" };
        Ok(judged(has, format!("{path} {is} {word}")))
    }
}

/// Whether a package of the distribution should be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    pub name: String,
    pub present: bool,
}

impl Package {
    pub fn look(&self, host: &dyn Host) -> Result<Finding, HostError> {
        let Some(packages) = collect_facts::packages(host)? else {
            return Ok(Nothing(format!("there is no {DPKG}, and no rpm that the agent could ask")));
        };
        let found = packages.into_iter().find(|package| package.name == self.name);
        let detail = match &found {
            Some(package) => format!("version {} is installed", package.version),
            None => "it is not installed".to_owned(),
        };
        Ok(judged(found.is_some() == self.present, detail))
    }
}

/// What should be true of the local accounts and groups.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    pub rule: AccountRule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountRule {
    KnownGroups,
    NoEmptyPassword,
    OneRoot,
    OneRootGroup,
    Shadowed,
    UniqueGid,
    UniqueGroupName,
    UniqueName,
    UniqueUid,
}

impl Accounts {
    pub fn files(self) -> Vec<HostPath> {
        let files: &[&str] = match self.rule {
            AccountRule::KnownGroups => &[PASSWD, GROUP],
            AccountRule::NoEmptyPassword => &[SHADOW],
            AccountRule::UniqueGid | AccountRule::UniqueGroupName => &[GROUP],
            AccountRule::OneRoot
            | AccountRule::OneRootGroup
            | AccountRule::Shadowed
            | AccountRule::UniqueName
            | AccountRule::UniqueUid => &[PASSWD],
        };
        files.iter().map(|file| path(file)).collect()
    }

    pub fn look(self, host: &dyn Host) -> Result<Finding, HostError> {
        let mut texts = Vec::new();
        for file in self.files() {
            match host.read(&file, LIMIT)? {
                Some(view) => texts.push(String::from_utf8_lossy(&view.content).into_owned()),
                None => return Ok(Nothing(format!("there is no {file}"))),
            }
        }
        let lines: Vec<Vec<&str>> = texts.first().map(|text| entries(text)).unwrap_or_default();
        let named = |is_bad: &dyn Fn(&[&str]) -> bool| -> Vec<String> {
            let bad = lines.iter().filter(|line| is_bad(line));
            bad.filter_map(|line| line.first()).map(|&name| name.to_owned()).collect()
        };
        let at =
            |line: &[&str], place: usize| line.get(place).copied().unwrap_or_default().to_owned();
        let bad = match self.rule {
            AccountRule::KnownGroups => {
                let groups: BTreeSet<String> = texts.get(1).map_or_else(BTreeSet::new, |text| {
                    entries(text).iter().map(|line| at(line, 2)).collect()
                });
                named(&|line| !groups.contains(&at(line, 3)))
            }
            AccountRule::NoEmptyPassword => named(&|line| at(line, 1).is_empty()),
            AccountRule::Shadowed => named(&|line| at(line, 1) != "x"),
            AccountRule::OneRoot => named(&|line| at(line, 2) == "0" && at(line, 0) != "root"),
            AccountRule::OneRootGroup => {
                // These belong to it from the start on Red Hat, and cannot sign in.
                let known = ["root", "sync", "shutdown", "halt", "operator"];
                named(&|line| at(line, 3) == "0" && !known.contains(&at(line, 0).as_str()))
            }
            AccountRule::UniqueUid | AccountRule::UniqueGid => repeated(&lines, 2),
            AccountRule::UniqueName | AccountRule::UniqueGroupName => repeated(&lines, 0),
        };
        if bad.is_empty() {
            return Ok(AsWanted(format!("{} entries were looked at", lines.len())));
        }
        let more = if bad.len() > SHOWN {
            format!(" and {} more", bad.len() - SHOWN)
        } else {
            String::new()
        };
        let shown: Vec<String> = bad.into_iter().take(SHOWN).collect();
        Ok(Otherwise(format!("look at {}{more}", shown.join(", "))))
    }
}

fn entries(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.contains(':') && !line.starts_with('#'));
    lines.map(|line| line.split(':').collect()).collect()
}

/// Names of the lines whose part at `place` another line has, too.
fn repeated(lines: &[Vec<&str>], place: usize) -> Vec<String> {
    let mut by_part: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        if let (Some(part), Some(name)) = (line.get(place), line.first()) {
            by_part.entry(part).or_default().push(name);
        }
    }
    let several = by_part.into_values().filter(|names| names.len() > 1);
    several.flatten().map(ToOwned::to_owned).collect()
}

pub fn path(text: &str) -> HostPath {
    text.parse().expect("the path is normal and absolute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{FakeHost, Mode};

    #[test]
    fn accounts_that_break_a_rule_are_named() {
        let host = FakeHost::new();
        for (file, text) in [
            (
                PASSWD,
                "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\na:$6$x:7:9::/:/x\na:x:8:1::/:/x\n",
            ),
            (GROUP, "root:x:0:\nb:x:1:\nc:x:1:\n"),
            (SHADOW, "root:*:1::::::\na::1::::::\n"),
        ] {
            host.put_file(&path(file), text.as_bytes(), Mode::from_bits(0o600));
        }
        for (rule, bad) in [
            (AccountRule::KnownGroups, "a"),
            (AccountRule::NoEmptyPassword, "a"),
            (AccountRule::OneRoot, "toor"),
            (AccountRule::OneRootGroup, "toor"),
            (AccountRule::Shadowed, "a"),
            (AccountRule::UniqueGid, "b, c"),
            (AccountRule::UniqueName, "a, a"),
            (AccountRule::UniqueUid, "root, toor"),
        ] {
            match (Accounts { rule }).look(&host).unwrap() {
                Otherwise(detail) => assert_eq!(detail, format!("look at {bad}"), "{rule:?}"),
                AsWanted(detail) | Nothing(detail) => panic!("{rule:?}: {detail}"),
            }
        }
        let groups = Accounts { rule: AccountRule::UniqueGroupName };
        assert!(matches!(groups.look(&host).unwrap(), AsWanted(_)));
    }
}
