//! A rule as a sentence. The only place that puts rules into words: rules that differ in what they
//! do have different sentences, and a test holds them to that.

use std::fmt::Write as _;

use crate::catalog::EffectClass;
use crate::policy::document::{
    Ask, OnConflict, PolicyDocument, ReversibilityKind, Rule, Then, VALID_S, When,
};

impl PolicyDocument {
    /// One sentence per rule, in their order, and one of what is not usual besides.
    pub fn text(&self) -> Vec<String> {
        let refused =
            "of two changes under way that meet, the second is refused until the first has ended";
        let refuses = self.on_conflict == OnConflict::Refuse;
        let besides = refuses.then(|| refused.to_owned());
        self.rules.iter().map(Rule::sentence).chain(besides).collect()
    }
}

impl Rule {
    /// Without a capital and a full stop, so that it fits into others: `high risk needs two
    /// approvers`. That nobody may break glass goes without saying, and that an approval is valid for 72 hours.
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
        let level = level.as_ref().map(|list| format!("{} risk", any(list, |l| l.as_str())));
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
        add(environment.as_ref().map(|list| format!("in {}", any(list, |e| e.as_str()))));
        add(change_type.as_ref().map(|list| format!("of type {}", any(list, |name| name))));
        let quoted = |tag: &String| format!("“{tag}”");
        add(tag.as_ref().map(|list| format!("on a target tagged {}", any(list, quoted))));
        add(reversibility.as_ref().map(|list| format!("that {}", any(list, |r| r.word()))));
        add(effect_class.as_ref().map(|list| format!("with {} effect", any(list, |e| effect(*e)))));
        add(score_at_least.map(|score| format!("with a score of {score} or more")));
        text
    }
}

impl Ask {
    /// What it takes: `two approvers, one of them an admin, and 15 minutes`.
    pub fn phrase(&self) -> String {
        let Self { approvals, admin, ref from, delay_s, valid_s, break_glass } = *self;
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
        if let Some(pool) = from {
            let _ = write!(text, "; {}", pool.phrase());
        }
        if valid_s != VALID_S {
            let _ = write!(text, "; an approval is valid for {}", duration(valid_s));
        }
        if break_glass {
            text.push_str("; a responder may break glass");
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
pub(super) fn any<'a, T, W: ToString>(list: &'a [T], word: impl Fn(&'a T) -> W) -> String {
    let words: Vec<_> = list.iter().map(|item| word(item).to_string()).collect();
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

impl ReversibilityKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Reversible => "can be undone",
            Self::CompensateOnly => "can only be compensated",
            Self::OneWay => "cannot be undone",
        }
    }
}

const fn effect(class: EffectClass) -> &'static str {
    match class {
        EffectClass::Keyed => "a keyed",
        EffectClass::Fenced => "a fenced",
        EffectClass::Verifiable => "a verifiable",
        EffectClass::Unprotected => "an unprotected",
    }
}
