//! The profiles, as data of the agent: which items a system should have, and what each of them is.
//!
//! Items are in `profiles/items.toml`; a profile names those that it has, with the number of the
//! recommendation that each follows. No text of a benchmark is in either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::Rule;
use crate::host::HostPath;

const ITEMS: &str = include_str!("../../../profiles/items.toml");

/// A profile that this agent has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ProfileId {
    #[serde(rename = "cis-debian12-level1")]
    Debian12,
    #[serde(rename = "cis-rhel9-level1")]
    Rhel9,
    #[serde(rename = "cis-ubuntu2204-level1")]
    Ubuntu2204,
}

impl ProfileId {
    pub const ALL: [Self; 3] = [Self::Debian12, Self::Rhel9, Self::Ubuntu2204];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debian12 => "cis-debian12-level1",
            Self::Rhel9 => "cis-rhel9-level1",
            Self::Ubuntu2204 => "cis-ubuntu2204-level1",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Debian12 => include_str!("../../../profiles/cis-debian12-level1.toml"),
            Self::Rhel9 => include_str!("../../../profiles/cis-rhel9-level1.toml"),
            Self::Ubuntu2204 => include_str!("../../../profiles/cis-ubuntu2204-level1.toml"),
        }
    }

    /// # Panics
    /// Never: a test reads every profile.
    pub fn profile(self) -> &'static Profile {
        static PROFILES: LazyLock<BTreeMap<ProfileId, Profile>> = LazyLock::new(|| {
            let read = |id: ProfileId| (id, Profile::read(id).expect("a test reads every profile"));
            ProfileId::ALL.into_iter().map(read).collect()
        });
        PROFILES.get(&self).expect("every profile was read")
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One profile, with its items in the order of their ids.
#[derive(Debug)]
pub struct Profile {
    pub title: String,
    /// The document whose numbers the references are.
    pub benchmark: String,
    /// `ID` and `VERSION_ID` of `os-release(5)`; a version without a dot stands for all of its minors.
    pub os: String,
    pub version: String,
    pub items: Vec<Item>,
}

/// One thing that a profile asks for.
#[derive(Debug)]
pub struct Item {
    /// Stays the same in every version of the agent: parameters and before-states name it.
    pub id: String,
    pub title: String,
    pub why: String,
    /// Number of the recommendation; `None` when the item is our own.
    pub reference: Option<String>,
    pub rule: Rule,
    pub(super) paths: Vec<HostPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemText {
    title: String,
    why: String,
    rule: Rule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileText {
    title: String,
    benchmark: String,
    os: String,
    version: String,
    items: BTreeMap<String, String>,
}

impl Profile {
    /// # Errors
    /// What is wrong with the data.
    fn read(id: ProfileId) -> Result<Self, String> {
        let mut known: BTreeMap<String, ItemText> =
            toml::from_str(ITEMS).map_err(|error| error.to_string())?;
        let text: ProfileText = toml::from_str(id.text()).map_err(|error| error.to_string())?;
        let mut items = Vec::new();
        let mut marks = BTreeSet::new();
        for (id, reference) in text.items {
            let item = known.remove(&id).ok_or_else(|| format!("there is no item {id}"))?;
            let ItemText { title, why, rule } = item;
            let fail = |problem: &str| format!("{id}: {problem}");
            let good =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
                return Err(fail("an id is lower-case letters, digits and '-'"));
            }
            if title.is_empty() || title.len() > 100 || title.ends_with('.') || !why.ends_with('.')
            {
                return Err(fail("a title is a phrase, and a reason is a sentence"));
            }
            rule.check().map_err(|problem| fail(&problem))?;
            if !marks.insert(rule.mark()) {
                return Err(fail("another item is about the same thing"));
            }
            let paths = rule.paths(&id);
            let reference = Some(reference).filter(|number| !number.is_empty());
            items.push(Item { id, title, why, reference, rule, paths });
        }
        let ProfileText { title, benchmark, os, version, .. } = text;
        Ok(Self { title, benchmark, os, version, items })
    }

    pub fn item(&self, id: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    /// Whether the profile is for a system of this name and version.
    pub fn is_for(&self, os: &str, version: &str) -> bool {
        let minor = version.strip_prefix(self.version.as_str());
        let any_minor = !self.version.contains('.');
        os == self.os
            && minor.is_some_and(|rest| rest.is_empty() || (any_minor && rest.starts_with('.')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_every_item_is_in_one() {
        let mut known: BTreeMap<String, ItemText> = toml::from_str(ITEMS).unwrap();
        for id in ProfileId::ALL {
            let profile = Profile::read(id).unwrap();
            assert!(profile.items.len() >= 60, "{id}");
            assert_eq!(serde_json::to_value(id).unwrap(), id.as_str());
            for item in &profile.items {
                known.remove(&item.id);
                assert!(!item.title.to_lowercase().contains("ensure"), "{}", item.id);
            }
        }
        assert_eq!(known.keys().collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn a_profile_is_for_one_system() {
        let debian = ProfileId::Debian12.profile();
        assert!(debian.is_for("debian", "12"));
        assert!(!debian.is_for("debian", "13") && !debian.is_for("debian", "121"));
        assert!(!debian.is_for("ubuntu", "12"));
        let rhel = ProfileId::Rhel9.profile();
        assert!(
            rhel.is_for("rhel", "9.4") && rhel.is_for("rhel", "9") && !rhel.is_for("rhel", "91")
        );
        let ubuntu = ProfileId::Ubuntu2204.profile();
        assert!(ubuntu.is_for("ubuntu", "22.04") && !ubuntu.is_for("ubuntu", "22.04.1"));
    }
}
