//! Whose approvals a rule asks for: the owners of the targets, and people whom it names.
//!
//! A rule names people by their e-mail address, or by their id; the owner of a target is what operators
//! wrote at it ([`crate::asset::event::AssetEvent::Annotated`]), which has to be somebody's e-mail address.
//! Who that is becomes a list of [`Seat`]s when a change is submitted, and is recorded: whoever moves a
//! target to another owner, or edits the directory, changes nothing for what is in review.
//!
//! Owners have a seat each: what somebody owns is not changed without them because somebody else owns
//! another target of the same change. People whom the rule names as well stand in for any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::id::{AssetId, PersonId};
use crate::policy::document::Then;
use crate::policy::floor::MAX_APPROVALS;
use crate::policy::sentence::any;

const MAX_PEOPLE: usize = 20;
const MAX_NAME: usize = 254;

/// Whose approvals have to be among those that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The owner of every target; more approvals are asked for when there are more owners.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owners: bool,
    /// E-mail addresses or ids of people, at most 20. With `owners`, they stand in for any owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// How many have to be of these people; 1 when absent, and with `owners`.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub at_least: u32,
}

/// Approvals that have to be of one of these people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Seat {
    /// How many.
    pub approvals: u32,
    /// Sorted.
    pub people: Vec<PersonId>,
    /// The target, or the first of them, whose owner one of them is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_of: Option<AssetId>,
}

/// Whom pools may name, as the installation knows them; looked up by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub targets: BTreeMap<AssetId, Owned>,
    /// By [`Known::key`] of how owners and rules call them.
    pub people: BTreeMap<String, PersonId>,
    /// Those of them whose account is enabled and has the approver role.
    pub approvers: BTreeSet<PersonId>,
}

/// A target, and what operators say whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub name: String,
    pub owner: Option<String>,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Known {
    /// How somebody is called, as it is compared.
    pub fn key(name: &str) -> String {
        name.trim().to_lowercase()
    }

    fn person(&self, name: &str) -> Option<PersonId> {
        self.people.get(&Self::key(name)).copied()
    }
}

impl Pool {
    /// What is wrong with it, and where in it.
    pub(super) fn faults(&self, approvals: u32) -> Vec<(String, String)> {
        let Self { owners, people, at_least } = self;
        let mut faults = Vec::new();
        let mut add =
            |place: &str, reason: &str| faults.push((place.to_owned(), reason.to_owned()));
        if approvals == 0 {
            add("", "an approval by somebody in particular is one approval at least");
        }
        if !owners && people.is_empty() {
            add("", "say 'owners: true', or name people");
        }
        if *owners && *at_least != 1 {
            add("/at_least", "with owners, each of them approves once; leave it out");
        } else if approvals > 0 && !(1..=approvals).contains(at_least) {
            add("/at_least", "1 to as many as there are approvals");
        }
        if people.len() > MAX_PEOPLE {
            add("/people", &format!("at most {MAX_PEOPLE}"));
        }
        let mut seen = BTreeSet::new();
        for (place, name) in people.iter().enumerate() {
            if !is_name(name) {
                add(&format!("/people/{place}"), "an e-mail address, or the id of a person");
            } else if !seen.insert(Known::key(name)) {
                add(&format!("/people/{place}"), "each person once");
            }
        }
        faults
    }

    /// `an approval by the owner of each target is among them`
    pub(super) fn phrase(&self) -> String {
        let Self { owners, people, at_least } = self;
        let mut text = match (owners, at_least) {
            (true, _) => "an approval by the owner of each target".to_owned(),
            (false, 1) => format!("an approval by {}", any(people, |name| name)),
            (false, count) => format!("{count} approvals by {}", any(people, |name| name)),
        };
        if *owners && !people.is_empty() {
            let _ = write!(text, ", or by {} in an owner's place,", any(people, |name| name));
        }
        text.push_str(if *at_least == 1 { " is among them" } else { " are among them" });
        text
    }

    /// In what respect the later one lets others suffice, in words.
    pub(super) fn less(before: Option<&Self>, now: Option<&Self>) -> Option<String> {
        let before = before?;
        let Some(now) = now else { return Some(format!("without that {}", before.phrase())) };
        let named = |pool: &Self| -> BTreeSet<String> {
            pool.people.iter().map(|name| Known::key(name)).collect()
        };
        let is_less = now.owners != before.owners
            || now.at_least < before.at_least
            || !named(now).is_subset(&named(before));
        is_less.then(|| format!("that {} instead of that {}", now.phrase(), before.phrase()))
    }

    /// What a past submission asked for, as far as it can be compared: that somebody in particular had to
    /// approve is recorded, the rule by which they were found is not.
    pub(super) fn replayed(seats: &[Seat], rule: &Then) -> Option<Self> {
        if seats.is_empty() {
            return None;
        }
        match rule {
            Then::Ask(ask) if ask.from.is_some() => ask.from.clone(),
            Then::Ask(_) | Then::Refuse { .. } => {
                Some(Self { owners: true, people: Vec::new(), at_least: 1 })
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_address = name.len() <= MAX_NAME
        && name.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    is_address || name.parse::<PersonId>().is_ok()
}

/// The seats of a submission, without its author and editors; or what keeps them from being filled.
pub fn seats(
    pool: &Pool,
    known: &Known,
    targets: &[AssetId],
    is_own: impl Fn(PersonId) -> bool,
) -> Result<Vec<Seat>, String> {
    let is_able = |person: &PersonId| known.approvers.contains(person);
    let named: BTreeSet<PersonId> =
        pool.people.iter().filter_map(|name| known.person(name)).filter(|p| !is_own(*p)).collect();
    if !pool.owners {
        let able = u32::try_from(named.iter().filter(|p| is_able(p)).count()).unwrap_or(u32::MAX);
        if able < pool.at_least {
            return Err(format!(
                "of the people whom the rule names, {able} are approvers who neither wrote nor edited it, and {} are needed; give them the approver role, or ask an admin to name others in the policy",
                pool.at_least
            ));
        }
        let people = named.into_iter().collect();
        return Ok(vec![Seat { approvals: pool.at_least, people, owner_of: None }]);
    }
    let mut owners: BTreeMap<PersonId, AssetId> = BTreeMap::new();
    for target in targets {
        let Some(owned) = known.targets.get(target) else {
            return Err(format!("target {target} is not known"));
        };
        let name = &owned.name;
        let Some(owner) = &owned.owner else {
            return Err(format!(
                "'{name}' has no owner; set it to the e-mail address of the person whose it is"
            ));
        };
        let Some(person) = known.person(owner).filter(|_| owner.contains('@')) else {
            return Err(format!(
                "the owner of '{name}' is '{owner}', which is no e-mail address of a person here; set it to one"
            ));
        };
        owners.entry(person).or_insert(*target);
    }
    if owners.len() > usize::try_from(MAX_APPROVALS).unwrap_or(usize::MAX) {
        return Err(format!(
            "its targets have {} owners, and at most {MAX_APPROVALS} can approve one change; make a change for the targets of each",
            owners.len()
        ));
    }
    let mut seats = Vec::new();
    for (owner, target) in owners {
        let mut people = named.clone();
        people.extend(Some(owner).filter(|owner| !is_own(*owner)));
        if !people.iter().any(is_able) {
            let name = known.targets.get(&target).map_or("a target", |owned| owned.name.as_str());
            return Err(format!(
                "the owner of '{name}' is no approver, or wrote or edited the change, and nobody stands in; give the owner the approver role, set another owner, or ask an admin to name people in the policy"
            ));
        }
        let people = people.into_iter().collect();
        seats.push(Seat { approvals: 1, people, owner_of: Some(target) });
    }
    Ok(seats)
}
