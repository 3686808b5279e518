//! What no document may pass: its shape, its bounds, and the two promises that are not an
//! installation's to give up. Nothing of critical risk runs without another person, and a way back
//! is never refused.

use std::collections::BTreeSet;

use crate::policy::analysis::reached;
use crate::policy::document::{Ask, PolicyDocument, Rule, Then, When};
use crate::risk::RiskLevel;

pub const MAX_RULES: usize = 50;
pub const MAX_APPROVALS: u32 = 5;
/// Seven days.
pub const MAX_DELAY_S: u32 = 7 * 86_400;
/// An hour.
pub const MIN_VALID_S: u32 = 3600;
/// Thirty days.
pub const MAX_VALID_S: u32 = 30 * 86_400;

/// Of one list of a rule.
const MAX_LIST: usize = 20;
/// In a whole document, each counted once: what keeps the proof over all cases quick.
const MAX_TYPES: usize = 60;
/// In a whole document, each counted once.
pub(super) const MAX_TAGS: usize = 60;
/// As of the tags of assets.
const MAX_TAG: usize = 40;
const MAX_TYPE: usize = 80;
const MAX_REASON: usize = 300;

/// What is wrong with one part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) into the document.
    pub pointer: String,
    pub reason: String,
}

/// Everything that is wrong with a document; nothing when it may be published.
pub fn faults(document: &PolicyDocument) -> Vec<Fault> {
    let mut found = Found::default();
    let rules = &document.rules;
    if rules.is_empty() || rules.len() > MAX_RULES {
        found.add("/rules", format!("1 to {MAX_RULES} rules"));
        return found.0;
    }
    for (no, rule) in rules.iter().enumerate() {
        shape(&mut found, no, rule);
    }
    let last = rules.len() - 1;
    if rules.last().is_some_and(|rule| !rule.when.is_empty()) {
        let reason = "the last rule has no conditions, so that nothing is without a rule";
        found.add(format!("/rules/{last}/when"), reason);
    }
    for (what, most, count) in [
        ("change types", MAX_TYPES, distinct(rules, |when| when.change_type.as_ref())),
        ("tags", MAX_TAGS, distinct(rules, |when| when.tag.as_ref())),
    ] {
        if count > most {
            found.add("/rules", format!("at most {most} different {what}"));
        }
    }
    if found.0.is_empty() {
        promises(&mut found, document);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Fault>);

impl Found {
    fn add(&mut self, pointer: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Fault { pointer: pointer.into(), reason: reason.into() });
    }
}

fn distinct(rules: &[Rule], list: impl Fn(&When) -> Option<&Vec<String>>) -> usize {
    let all: BTreeSet<_> = rules.iter().filter_map(|rule| list(&rule.when)).flatten().collect();
    all.len()
}

fn shape(found: &mut Found, no: usize, rule: &Rule) {
    let When {
        level,
        environment,
        change_type,
        tag,
        rollback: _,
        reversibility,
        effect_class,
        score_at_least,
    } = &rule.when;
    let at = |field: &str| format!("/rules/{no}/when/{field}");
    list(found, at("level"), level.as_ref());
    list(found, at("environment"), environment.as_ref());
    list(found, at("change_type"), change_type.as_ref());
    list(found, at("tag"), tag.as_ref());
    list(found, at("reversibility"), reversibility.as_ref());
    list(found, at("effect_class"), effect_class.as_ref());
    for (place, wanted) in change_type.iter().flatten().enumerate() {
        if !is_type(wanted) {
            let reason = "an action such as postgres.lock_user, or postgres.* for all of them";
            found.add(format!("{}/{place}", at("change_type")), reason);
        }
    }
    for (place, tag) in tag.iter().flatten().enumerate() {
        if let Err(reason) = checked_text(tag, MAX_TAG) {
            found.add(format!("{}/{place}", at("tag")), reason);
        }
    }
    if score_at_least.is_some_and(|score| !(1..=10).contains(&score)) {
        found.add(at("score_at_least"), "1 to 10");
    }
    let at = |field: &str| format!("/rules/{no}/then/{field}");
    match &rule.then {
        Then::Ask(Ask { approvals, admin, from, delay_s, valid_s, break_glass: _ }) => {
            if *approvals > MAX_APPROVALS {
                found.add(at("ask/approvals"), format!("at most {MAX_APPROVALS}"));
            }
            if *admin && *approvals == 0 {
                found.add(at("ask/admin"), "an approval by an admin is one approval at least");
            }
            if let Some(pool) = from {
                for (place, reason) in pool.faults(*approvals) {
                    found.add(format!("{}{place}", at("ask/from")), reason);
                }
            }
            if *delay_s > MAX_DELAY_S {
                found.add(at("ask/delay_s"), format!("at most {MAX_DELAY_S}, seven days"));
            }
            if !(MIN_VALID_S..=MAX_VALID_S).contains(valid_s) {
                let reason = format!("{MIN_VALID_S} to {MAX_VALID_S}: from an hour to thirty days");
                found.add(at("ask/valid_s"), reason);
            }
        }
        Then::Refuse { reason } => {
            if let Err(why) = checked_text(reason, MAX_REASON) {
                found.add(at("refuse/reason"), why);
            }
        }
    }
}

fn list<T: PartialEq>(found: &mut Found, pointer: String, list: Option<&Vec<T>>) {
    let Some(list) = list else { return };
    let is_twice = |(place, item): (usize, &T)| list.iter().take(place).any(|other| other == item);
    if list.is_empty() {
        found.add(pointer, "name one at least, or leave it out");
    } else if list.len() > MAX_LIST {
        found.add(pointer, format!("at most {MAX_LIST}"));
    } else if list.iter().enumerate().any(is_twice) {
        found.add(pointer, "each once");
    }
}

fn is_type(text: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.len() <= MAX_TYPE
        && text.split_once('.').is_some_and(|(connector, action)| {
            is_word(connector) && (action == "*" || is_word(action))
        })
}

/// Not empty, not long, and as it is shown.
pub(super) fn checked_text(text: &str, limit: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return Err(format!("at most {limit} characters"));
    }
    if text.contains(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    if text.trim() != text {
        return Err("must not begin or end with a space".to_owned());
    }
    Ok(())
}

/// Of every case in which a rule decides, not of every case that it matches.
fn promises(found: &mut Found, document: &PolicyDocument) {
    let mut told = BTreeSet::new();
    reached(document, |no, rule, case| match &rule.then {
        Then::Ask(ask) => {
            if ask.approvals == 0 && case.level == RiskLevel::Critical && told.insert(no) {
                let reason =
                    "critical risk needs one approval at least, and this rule decides some of it";
                found.add(format!("/rules/{no}/then/ask/approvals"), reason);
            }
            // Nobody may be left of those whom it names.
            if ask.from.is_some() && case.is_rollback && told.insert(no) {
                let reason = "a rollback waits for nobody in particular; say 'rollback: false', or have a rule for rollbacks before";
                found.add(format!("/rules/{no}/then/ask/from"), reason);
            }
        }
        Then::Refuse { .. } => {
            if case.is_rollback && told.insert(no) {
                let reason = "a rollback is never refused; say 'rollback: false', or have a rule for rollbacks before";
                found.add(format!("/rules/{no}/when/rollback"), reason);
            }
        }
    });
}
