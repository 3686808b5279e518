//! What can be proven of a document, over every case that there can be.
//!
//! A case has a score, an environment, a type, and so on, of which a document distinguishes only
//! some: all types that no rule names are one type to it. So there are finitely many different cases,
//! and they are gone through one by one. Tags are the exception, since a target can have any set of
//! them: a rule needs one of its tags and those before it need that none of theirs is there, which is
//! a question of sets that has an exact answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::catalog::EffectClass;
use crate::policy::case::Case;
use crate::policy::document::{Ask, PolicyDocument, ReversibilityKind, Rule, Then, When};
use crate::policy::pool::Pool;
use crate::policy::sentence::{approvers, duration};
use crate::risk::{Environment, RiskLevel};

/// What a look at a document finds. None of it keeps the document from being published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Analysis {
    pub unreachable: Vec<Unreachable>,
    /// Compared with the version before.
    pub weakened: Vec<Weakened>,
}

/// A rule that decides nothing. The last rule is not one: it is there for what nobody thought of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unreachable {
    /// From 1, as people count.
    pub rule: u32,
    /// The rules that decide what it is about.
    pub shadowed_by: Vec<u32>,
    pub sentence: String,
}

/// A rule that asks for less than what decided the same before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weakened {
    /// From 1, as people count.
    pub rule: u32,
    /// The rule of the version before.
    pub before: u32,
    pub sentence: String,
}

/// Looks at a document, and at what it changes when there is a version before it.
pub fn analyse(document: &PolicyDocument, before: Option<&PolicyDocument>) -> Analysis {
    let weakened = before.map(|before| weakened(document, before)).unwrap_or_default();
    Analysis { unreachable: unreachable(document), weakened }
}

/// Every rule with every case in which it decides.
pub(super) fn reached(document: &PolicyDocument, mut with: impl FnMut(usize, &Rule, &Case)) {
    let tags = Tags::of(&[document]);
    let known = tags.masks(document);
    Grid::of(&[document]).each(|case| {
        for way in ways(document, &known, case) {
            with(way.no, way.rule, case);
        }
    });
}

fn unreachable(document: &PolicyDocument) -> Vec<Unreachable> {
    let mut reached_by: BTreeSet<usize> = BTreeSet::new();
    reached(document, |no, _, _| {
        reached_by.insert(no);
    });
    let candidates: Vec<_> = document
        .rules
        .iter()
        .enumerate()
        .take(document.rules.len().saturating_sub(1))
        .filter(|(no, _)| !reached_by.contains(no))
        .collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let known = Tags::of(&[document]).masks(document);
    let mut shadows: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    Grid::of(&[document]).each(|case| {
        for (no, rule) in &candidates {
            if rule.when.holds_but_for_tags(case) {
                let before = ways(document, &known, case).map(|way| way.no);
                shadows.entry(*no).or_default().extend(before.filter(|other| other < no));
            }
        }
    });
    candidates
        .into_iter()
        .map(|(no, rule)| {
            let shadowed_by: Vec<_> =
                shadows.remove(&no).unwrap_or_default().into_iter().map(number).collect();
            let sentence = match shadowed_by.as_slice() {
                [] => format!("Rule {} never decides: there is no such change.", number(no)),
                others => format!(
                    "Rule {} ({}) never decides: {} before it.",
                    number(no),
                    rule.sentence(),
                    match others {
                        [one] => format!("rule {one} does"),
                        more => format!(
                            "rules {} do",
                            more.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                        ),
                    }
                ),
            };
            Unreachable { rule: number(no), shadowed_by, sentence }
        })
        .collect()
}

fn weakened(document: &PolicyDocument, before: &PolicyDocument) -> Vec<Weakened> {
    let both = [document, before];
    let tags = Tags::of(&both);
    let (new_masks, old_masks) = (tags.masks(document), tags.masks(before));
    let grid = Grid::of(&both);
    // The pairs that are left to be found, and in what respects they differ.
    let mut left: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (new, rule) in document.rules.iter().enumerate() {
        for (old, was) in before.rules.iter().enumerate() {
            let less = less(&was.then, &rule.then);
            if !less.is_empty() {
                left.insert((new, old), less.join(", "));
            }
        }
    }
    let mut found: BTreeMap<(usize, usize), String> = BTreeMap::new();
    grid.each(|case| {
        if left.is_empty() {
            return;
        }
        let was: Vec<_> = ways(before, &old_masks, case).collect();
        for new in ways(document, &new_masks, case) {
            for old in was.iter().filter(|old| new.meets(old)) {
                let Some(less) = left.remove(&(new.no, old.no)) else { continue };
                let sentence = format!(
                    "Rule {} ({}) asks for less than rule {} did, for {}: {less}.",
                    number(new.no),
                    new.rule.sentence(),
                    number(old.no),
                    grid.describe(case),
                );
                found.insert((new.no, old.no), sentence);
            }
        }
    });
    found
        .into_iter()
        .map(|((new, old), sentence)| Weakened { rule: number(new), before: number(old), sentence })
        .collect()
}

/// In what respects the later one asks for less, in words.
pub(super) fn less(before: &Then, now: &Then) -> Vec<String> {
    match (before, now) {
        (_, Then::Refuse { .. }) => Vec::new(),
        (Then::Refuse { .. }, Then::Ask(now)) => {
            vec![format!("{} instead of a refusal", now.phrase())]
        }
        (Then::Ask(before), Then::Ask(now)) => less_of(before, now),
    }
}

fn less_of(before: &Ask, now: &Ask) -> Vec<String> {
    let mut less = Vec::new();
    if now.approvals < before.approvals {
        less.push(format!(
            "{} instead of {}",
            approvers(now.approvals),
            approvers(before.approvals)
        ));
    }
    if before.admin && !now.admin {
        less.push("no admin among them".to_owned());
    }
    less.extend(Pool::less(before.from.as_ref(), now.from.as_ref()));
    if now.delay_s < before.delay_s {
        less.push(format!(
            "{} to wait instead of {}",
            duration(now.delay_s),
            duration(before.delay_s)
        ));
    }
    if now.valid_s > before.valid_s {
        less.push(format!(
            "approvals valid for {} instead of {}",
            duration(now.valid_s),
            duration(before.valid_s)
        ));
    }
    // Where nothing was asked for there is nothing to break.
    let asked = before.approvals > 0 || before.delay_s > 0;
    if asked && now.break_glass && !before.break_glass {
        less.push("glass that a responder may break".to_owned());
    }
    less
}

/// As people count.
fn number(no: usize) -> u32 {
    u32::try_from(no).unwrap_or(u32::MAX).saturating_add(1)
}

/// The tags that documents name, each a bit.
struct Tags<'a>(BTreeMap<&'a str, u128>);

impl<'a> Tags<'a> {
    fn of(documents: &[&'a PolicyDocument]) -> Self {
        let named: BTreeSet<&str> = documents
            .iter()
            .flat_map(|document| &document.rules)
            .filter_map(|rule| rule.when.tag.as_ref())
            .flatten()
            .map(String::as_str)
            .collect();
        Self(named.into_iter().zip((0..128).map(|bit| 1 << bit)).collect())
    }

    /// The tags of each rule of a document.
    fn masks(&self, document: &PolicyDocument) -> Vec<Option<u128>> {
        let mask = |tags: &Vec<String>| {
            tags.iter().filter_map(|tag| self.0.get(tag.as_str())).fold(0, |mask, bit| mask | bit)
        };
        document.rules.iter().map(|rule| rule.when.tag.as_ref().map(mask)).collect()
    }
}

/// How a rule comes to decide a case.
struct Way<'a> {
    no: usize,
    rule: &'a Rule,
    /// One of these is there.
    one_of: Option<u128>,
    /// None of these is there, or a rule before would decide.
    none_of: u128,
}

impl Way<'_> {
    /// Whether the same target can have the tags for both.
    const fn meets(&self, other: &Way<'_>) -> bool {
        let absent = self.none_of | other.none_of;
        can_be_there(self.one_of, absent) && can_be_there(other.one_of, absent)
    }
}

const fn can_be_there(one_of: Option<u128>, absent: u128) -> bool {
    match one_of {
        None => true,
        Some(tags) => tags & !absent != 0,
    }
}

/// The rules that decide a case, depending on the tags.
fn ways<'a>(
    document: &'a PolicyDocument,
    masks: &'a [Option<u128>],
    case: &'a Case,
) -> impl Iterator<Item = Way<'a>> {
    let (mut absent, mut is_over) = (0, false);
    document
        .rules
        .iter()
        .zip(masks)
        .enumerate()
        .filter(|(_, (rule, _))| rule.when.holds_but_for_tags(case))
        .map_while(move |(no, (rule, one_of))| {
            if is_over {
                return None;
            }
            let way = Way { no, rule, one_of: *one_of, none_of: absent };
            match one_of {
                None => is_over = true,
                Some(tags) => absent |= tags,
            }
            Some(way)
        })
        .filter(|way| can_be_there(way.one_of, way.none_of))
}

/// All that documents distinguish, but for tags. What they do not look at has one value.
struct Grid {
    scores: BTreeSet<u8>,
    environments: Vec<Environment>,
    types: Vec<String>,
    rollback: Vec<bool>,
    reversibilities: Vec<ReversibilityKind>,
    effects: Vec<EffectClass>,
}

impl Grid {
    fn of(documents: &[&PolicyDocument]) -> Self {
        let looks = |at: fn(&When) -> bool| {
            documents.iter().flat_map(|document| &document.rules).any(|rule| at(&rule.when))
        };
        let named: BTreeSet<&String> = documents
            .iter()
            .flat_map(|document| &document.rules)
            .filter_map(|rule| rule.when.change_type.as_ref())
            .flatten()
            .collect();
        // The pattern of a connector stands for an action of it that nobody names; no action is
        // called like that. Nothing at all stands for the actions of all other connectors.
        let types = named.into_iter().cloned().chain([String::new()]).collect();
        let all = |all: &[EffectClass], looked: bool| {
            if looked { all.to_vec() } else { vec![EffectClass::Verifiable] }
        };
        Self {
            // The lowest of each level, and the lowest from which a rule holds.
            scores: documents
                .iter()
                .flat_map(|document| &document.rules)
                .filter_map(|rule| rule.when.score_at_least)
                .chain([1, 4, 7, 9])
                .collect(),
            environments: if looks(|when| when.environment.is_some()) {
                vec![Environment::Prod, Environment::Staging, Environment::Dev]
            } else {
                vec![Environment::Prod]
            },
            types,
            // The floor asks of rollbacks, also when no rule does.
            rollback: vec![false, true],
            reversibilities: if looks(|when| when.reversibility.is_some()) {
                ReversibilityKind::ALL.to_vec()
            } else {
                vec![ReversibilityKind::Reversible]
            },
            effects: all(
                &[
                    EffectClass::Keyed,
                    EffectClass::Fenced,
                    EffectClass::Verifiable,
                    EffectClass::Unprotected,
                ],
                looks(|when| when.effect_class.is_some()),
            ),
        }
    }

    fn each(&self, mut with: impl FnMut(&Case)) {
        let mut case = Case::any();
        for change_type in &self.types {
            case.change_type.clone_from(change_type);
            for score in &self.scores {
                (case.score, case.level) = (*score, RiskLevel::of(*score));
                for environment in &self.environments {
                    case.environment = *environment;
                    for is_rollback in &self.rollback {
                        case.is_rollback = *is_rollback;
                        for reversibility in &self.reversibilities {
                            case.reversibility = *reversibility;
                            for effect_class in &self.effects {
                                case.effect_class = *effect_class;
                                with(&case);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A case in words, by what is distinguished.
    fn describe(&self, case: &Case) -> String {
        let when = When {
            level: Some(vec![case.level]),
            environment: (self.environments.len() > 1).then(|| vec![case.environment]),
            change_type: (!case.change_type.is_empty()).then(|| vec![case.change_type.clone()]),
            tag: None,
            rollback: case.is_rollback.then_some(true),
            reversibility: (self.reversibilities.len() > 1).then(|| vec![case.reversibility]),
            effect_class: (self.effects.len() > 1).then(|| vec![case.effect_class]),
            score_at_least: None,
        };
        when.subject()
    }
}
