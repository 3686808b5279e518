//! A rule as a sentence. The only place that puts rules into words: rules that differ in what they
//! do have different sentences, and a test holds them to that.

use std::fmt::Write as _;

use crate::catalog::EffectClass;
use crate::policy::document::{Ask, PolicyDocument, ReversibilityKind, Rule, Then, VALID_S, When};
use crate::risk::{Environment, RiskLevel};

impl PolicyDocument {
    /// One sentence per rule, in their order.
    pub fn text(&self) -> Vec<String> {
        self.rules.iter().map(Rule::sentence).collect()
    }
}

impl Rule {
    /// Without a capital and a full stop, so that it fits into others: `high risk needs two
    /// approvers`. That an approval is valid for 72 hours goes without saying.
    pub fn sentence(&self) -> String {
        let subject = self.when.subject();
        match &self.then {
            Then::Ask(ask) => format!("{subject} needs {}", ask.phrase()),
            Then::Refuse { reason } => format!("{subject} is refused: {reason}"),
        }
    }
}

impl When {
    /// What it is about: `low risk in staging or dev`.
    pub fn subject(&self) -> String {
        let Self {
            level,
            environment,
            change_type,
            tag,
            rollback,
            reversibility,
            effect_class,
            score_at_least,
        } = self;
        let level = level.as_ref().map(|levels| format!("{} risk", any(levels, level_word)));
        let mut text = match (rollback, level) {
            (None, None) if self.is_empty() => return "anything else".to_owned(),
            (None, Some(level)) => level,
            (None, None) => "a change".to_owned(),
            (Some(is_rollback), level) => {
                let what = if *is_rollback { "a rollback" } else { "a change that is no rollback" };
                level.map_or_else(|| what.to_owned(), |level| format!("{what} of {level}"))
            }
        };
        let mut add = |phrase: Option<String>| {
            if let Some(phrase) = phrase {
                text.push(' ');
                text.push_str(&phrase);
            }
        };
        add(environment.as_ref().map(|list| format!("in {}", any(list, environment_word))));
        add(change_type.as_ref().map(|list| format!("of type {}", any(list, String::clone))));
        add(tag
            .as_ref()
            .map(|list| format!("on a target tagged {}", any(list, |tag| format!("“{tag}”")))));
        add(reversibility.as_ref().map(|list| format!("that {}", any(list, reversibility_word))));
        add(effect_class.as_ref().map(|list| format!("with {} effect", any(list, effect_word))));
        add(score_at_least.map(|score| format!("with a score of {score} or more")));
        text
    }
}

impl Ask {
    /// What it takes: `two approvers, one of them an admin, and 15 minutes`.
    pub fn phrase(&self) -> String {
        let Self { approvals, admin, delay_s, valid_s } = *self;
        let mut text = match (approvals, admin) {
            (1, true) => "one approver who is an admin".to_owned(),
            (_, true) => format!("{}, one of them an admin", approvers(approvals)),
            (_, false) => approvers(approvals),
        };
        if delay_s > 0 {
            let and = match (approvals, admin) {
                (0, _) => ", but",
                (_, true) => ", and",
                (_, false) => " and",
            };
            let _ = write!(text, "{and} {}", duration(delay_s));
        }
        if valid_s != VALID_S {
            let _ = write!(text, "; an approval is valid for {}", duration(valid_s));
        }
        text
    }
}

pub(super) fn approvers(count: u32) -> String {
    match count {
        0 => "no approver".to_owned(),
        1 => "one approver".to_owned(),
        2 => "two approvers".to_owned(),
        3 => "three approvers".to_owned(),
        4 => "four approvers".to_owned(),
        5 => "five approvers".to_owned(),
        more => format!("{more} approvers"),
    }
}

/// `2 hours 30 minutes`
pub(super) fn duration(seconds: u32) -> String {
    let units = [(3600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, name) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") }
}

/// `a, b or c`
fn any<T>(list: &[T], word: impl Fn(&T) -> String) -> String {
    let words: Vec<_> = list.iter().map(word).collect();
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

fn level_word(level: &RiskLevel) -> String {
    level.as_str().to_owned()
}

fn environment_word(environment: &Environment) -> String {
    environment.as_str().to_owned()
}

fn reversibility_word(kind: &ReversibilityKind) -> String {
    match kind {
        ReversibilityKind::Reversible => "can be undone",
        ReversibilityKind::CompensateOnly => "can only be compensated",
        ReversibilityKind::OneWay => "cannot be undone",
    }
    .to_owned()
}

fn effect_word(class: &EffectClass) -> String {
    match class {
        EffectClass::Keyed => "a keyed",
        EffectClass::Fenced => "a fenced",
        EffectClass::Verifiable => "a verifiable",
        EffectClass::Unprotected => "an unprotected",
    }
    .to_owned()
}
