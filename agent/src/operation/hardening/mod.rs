//! `host.run_hardening_profile`
//!
//! A profile is a list of items, and an item is one of the closed set of [`rule::Rule`]s. Each item
//! has a before-state of its own and is put back on its own. What cannot be done here is told and
//! left out; what only a person should decide is told and never done.

mod line;
pub mod profile;
mod report;
pub mod rule;
mod sshd;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::profile::{Item, ProfileId};
use self::rule::{Found, Rule, Standing, named};
use self::sshd::Sshd;
use super::collect_facts::os_release;
use super::{Meta, Operation, check};
use crate::host::{Host, HostError, HostPath, SysctlKey};

/// Brings a host to a hardening profile, item by item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunHardeningProfile {
    /// The profile. It has to be the one of the host's system.
    pub profile: ProfileId,
    /// Items of the profile that are left out, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 64)))]
    pub skip: Vec<String>,
    /// If there are any, nothing but these items, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 64)))]
    pub only: Vec<String>,
}

/// The state of every item that can be brought about here, by id.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    profile: ProfileId,
    items: BTreeMap<String, Found>,
}

/// Every profile is for a distribution of Linux.
fn has_profiles(host: &dyn Host) -> Result<(), HostError> {
    match host.release() {
        None => Ok(()),
        Some(_) => Err(HostError::Unsupported { what: "profile" }),
    }
}

impl Operation for RunHardeningProfile {
    const META: Meta = Meta {
        id: "host.run_hardening_profile",
        title: "Run hardening profile",
        description: "Brings a host to a hardening profile, item by item: kernel settings, \
                      permissions of files, directives of the SSH server, modules, services. What \
                      cannot be done on the host is told and left out; what only a person should \
                      decide is told and not changed. Undone by putting back each item that was \
                      changed. Nothing asks for a restart, and the SSH server is not reloaded.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        permissions: &["root"],
    };

    type State = State;

    fn example() -> Self {
        let skip = ["module-usb-storage", "service-rsync"].map(str::to_owned).to_vec();
        Self { profile: ProfileId::Debian12, skip, only: Vec::new() }
    }

    fn paths(&self) -> Vec<&HostPath> {
        self.items().flat_map(|item| &item.paths).collect()
    }

    fn summary(&self, target: &str) -> String {
        let changed = self.items().filter(|item| !item.rule.is_report()).count();
        let reported = self.items().count() - changed;
        format!(
            "Brings {target} to {changed} items of the profile {}, as far as they apply, and \
             reports {reported} more.",
            self.profile
        )
    }

    fn rollback(&self) -> String {
        "Puts back each item that was changed.".to_owned()
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        let mut checks = vec![
            check("items_known", self.items_known()),
            check("operating_system", self.system_fits(host)),
        ];
        if checks.iter().all(|check| check.ok) {
            checks.extend(self.look_at_items(host));
        }
        checks
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        has_profiles(host)?;
        let survey = self.survey(host);
        let mut items = BTreeMap::new();
        for item in self.items().filter(|item| !item.rule.is_report()) {
            if let Standing::Applies(found) = survey.look(item)? {
                items.insert(item.id.clone(), found);
            }
        }
        Ok(State { profile: self.profile, items })
    }

    fn intended(&self, host: &dyn Host, before: &State) -> Result<State, HostError> {
        let mut items = BTreeMap::new();
        for (id, found) in &before.items {
            let item = self.item(id)?;
            let intended = item.rule.intended(id, host, found).map_err(|error| of(item, &error))?;
            items.insert(id.clone(), intended);
        }
        Ok(State { profile: before.profile, items })
    }

    fn fields(state: &State) -> Vec<Field> {
        let fields = state.items.iter().flat_map(|(id, found)| {
            let name = state.name(id);
            let parts = found.parts().into_iter();
            parts.map(move |(part, value)| Field::new(named(&name, part.as_deref()), value))
        });
        fields.collect()
    }

    fn diff(target: &str, before: &State, after: &State) -> Vec<DiffLine> {
        let lines = before.items.iter().filter_map(|(id, old)| {
            let new = after.items.get(id)?;
            Some(Found::diff(target, &before.name(id), old, new))
        });
        lines.flatten().collect()
    }

    /// Every item of `like`, whether it would apply now or not. One that is not there any more is left out, and
    /// so differs; but a service that cannot be asked for now is a hindrance, and nobody's doing.
    fn reread(&self, host: &dyn Host, like: &State) -> Result<State, HostError> {
        let mut items = BTreeMap::new();
        for (id, was) in &like.items {
            let item = self.item(id)?;
            let found = item.rule.read(id, host).map_err(|error| of(item, &error))?;
            if found.is_none() && matches!(was, Found::Service(_)) {
                let why = "its unit cannot be looked at now".to_owned();
                return Err(HostError::Item { item: like.name(id), why });
            }
            items.extend(found.map(|found| (id.clone(), found)));
        }
        Ok(State { profile: self.profile, items })
    }

    /// The first item that does not come out ends the way there; on the way back every item is tried.
    fn bring(&self, host: &dyn Host, from: Option<&State>, to: &State) -> Result<(), HostError> {
        if let Some(from) = from {
            let now = self.snapshot(host)?;
            if let Some(id) = from.differs(&now) {
                let why = "it was changed by somebody else in the meantime".to_owned();
                return Err(HostError::Item { item: from.name(id), why });
            }
        }
        let mut first = None;
        for (id, goal) in &to.items {
            if from.is_some_and(|from| from.items.get(id) == Some(goal)) {
                continue;
            }
            let done = self.item(id).and_then(|item| {
                let found = from.and_then(|from| from.items.get(id));
                item.rule.bring(id, host, found, goal).map_err(|error| of(item, &error))
            });
            match done {
                Ok(()) => {}
                Err(error) if from.is_some() => return Err(error),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn of(item: &Item, error: &HostError) -> HostError {
    let Item { id, title, .. } = item;
    HostError::Item { item: format!("{id}: {title}"), why: error.sentence() }
}

impl State {
    fn name(&self, id: &str) -> String {
        let title = self.profile.profile().item(id).map(|item| item.title.as_str());
        title.map_or_else(|| id.to_owned(), |title| format!("{id}: {title}"))
    }

    /// The first item that is not the same.
    fn differs<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let mut ids = self.items.keys().chain(other.items.keys());
        ids.find(|id| self.items.get(*id) != other.items.get(*id)).map(String::as_str)
    }
}

impl RunHardeningProfile {
    /// The items that are asked for.
    pub fn items(&self) -> impl Iterator<Item = &'static Item> {
        let wanted = |item: &&Item| {
            let is_in = |ids: &[String]| ids.contains(&item.id);
            (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.skip)
        };
        self.profile.profile().items.iter().filter(wanted)
    }

    /// The files of which more is read than mode and owner, for a host that reads many at once.
    pub fn contents(&self) -> impl Iterator<Item = &'static HostPath> {
        self.items().filter(|item| item.rule.reads_content()).flat_map(|item| &item.paths)
    }

    /// The kernel settings that are looked at, for the same.
    pub fn settings(&self) -> impl Iterator<Item = &'static SysctlKey> {
        self.items().filter_map(|item| item.rule.setting())
    }

    fn item(&self, id: &str) -> Result<&'static Item, HostError> {
        let unknown =
            || HostError::UnknownName { kind: "item of the profile", name: id.to_owned() };
        self.profile.profile().item(id).ok_or_else(unknown)
    }

    fn survey<'a>(&self, host: &'a dyn Host) -> Survey<'a> {
        let directives = self.items().filter_map(|item| {
            if let Rule::Sshd(directive) = &item.rule { Some(directive.text()) } else { None }
        });
        Survey { host, directives: directives.collect(), sshd: OnceCell::new() }
    }

    fn items_known(&self) -> Result<String, String> {
        let profile = self.profile.profile();
        let named = self.skip.iter().chain(&self.only);
        let unknown: Vec<&str> =
            named.filter(|id| profile.item(id).is_none()).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(format!("{} has no item {}", self.profile, unknown.join(", ")));
        }
        match self.items().count() {
            0 => Err("no item is left: name fewer to skip".to_owned()),
            count => Ok(format!("{count} of {} items are asked for", profile.items.len())),
        }
    }

    fn system_fits(&self, host: &dyn Host) -> Result<String, String> {
        has_profiles(host).map_err(|error| error.sentence())?;
        let release = os_release(host).map_err(|error| error.sentence())?;
        let entry = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        let (os, version) = (entry("ID"), entry("VERSION_ID"));
        let profile = self.profile.profile();
        if profile.is_for(&os, &version) {
            return Ok(format!("the host runs {os} {version}"));
        }
        let found =
            if os.is_empty() { "something unknown".to_owned() } else { format!("{os} {version}") };
        Err(format!(
            "{} is for {} {}, and the host runs {found}: choose the profile of its system",
            self.profile, profile.os, profile.version
        ))
    }

    /// One answer for each item, and the sum of them.
    fn look_at_items(&self, host: &dyn Host) -> Vec<Check> {
        let survey = self.survey(host);
        let (mut will, mut is, mut cannot, mut told) = (0, 0, 0, 0);
        let mut answers = Vec::new();
        for item in self.items() {
            let Item { id, title, rule, .. } = item;
            let answer = survey.look(item).and_then(|standing| {
                Ok(match standing {
                    Standing::Applies(found) if rule.intended(id, host, &found)? == found => {
                        is += 1;
                        "is so already".to_owned()
                    }
                    Standing::Applies(_) => {
                        will += 1;
                        "will be set".to_owned()
                    }
                    Standing::NotApplicable(why) => {
                        cannot += 1;
                        format!("not applicable, {why}")
                    }
                    Standing::Reported { as_wanted, detail } => {
                        told += 1;
                        let word = if as_wanted { "is so" } else { "is not so" };
                        format!("{word}, {detail}; reported, not changed")
                    }
                })
            });
            let answer = match answer {
                Ok(answer) => Ok(format!("{title}: {answer}")),
                Err(error) => Err(format!("{title}: {}", error.sentence())),
            };
            answers.push(check(id, answer));
        }
        let sum = format!(
            "{will} items will be set, {is} are so already, {cannot} are not applicable here, \
             {told} are only reported"
        );
        answers.insert(0, check("items", Ok(sum)));
        answers
    }
}

/// One look at a host, in which sshd is asked once for all directives.
pub(super) struct Survey<'a> {
    host: &'a dyn Host,
    /// All that the profile would have sshd read.
    directives: String,
    sshd: OnceCell<Result<(), String>>,
}

impl Survey<'_> {
    fn look(&self, item: &Item) -> Result<Standing, HostError> {
        item.rule.look(&item.id, self).map_err(|error| of(item, &error))
    }

    /// Whether sshd takes the directive; each is asked about on its own when it does not take all.
    fn sshd_accepts(&self, directive: &Sshd) -> Result<(), String> {
        let all = self.sshd.get_or_init(|| self.host.sshd_accepts(&self.directives));
        all.clone().or_else(|_| self.host.sshd_accepts(&directive.text()))
    }
}
