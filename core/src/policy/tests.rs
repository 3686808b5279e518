//! The table, the first match, the floor, what the analysis proves, and who may publish.

mod document;
mod pool;
mod publish;

use std::collections::BTreeSet;

use super::*;
use crate::catalog::EffectClass;
use crate::risk::{Environment, RiskLevel};

fn ask(approvals: u32) -> Then {
    let (from, break_glass) = (None, approvals > 0);
    Then::Ask(Ask { approvals, admin: false, from, delay_s: 0, valid_s: VALID_S, break_glass })
}

fn refuse() -> Then {
    Then::Refuse { reason: "not here".to_owned() }
}

fn rule(when: When, then: Then) -> Rule {
    Rule { when, then }
}

fn level(levels: &[RiskLevel]) -> When {
    When { level: Some(levels.to_vec()), ..When::default() }
}

fn environment(environment: Environment) -> When {
    When { environment: Some(vec![environment]), ..When::default() }
}

fn change_type(types: &[&str]) -> When {
    let types = types.iter().map(|name| (*name).to_owned()).collect();
    When { change_type: Some(types), ..When::default() }
}

fn tag(tags: &[&str]) -> When {
    When { tag: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()), ..When::default() }
}

/// These rules, and nothing else.
const fn of(rules: Vec<Rule>) -> PolicyDocument {
    PolicyDocument { rules, on_conflict: OnConflict::Wait }
}

/// With a last rule that asks for two.
fn document(rules: Vec<Rule>) -> PolicyDocument {
    let last = rule(When::default(), ask(2));
    of(rules.into_iter().chain([last]).collect())
}

fn case(level: RiskLevel) -> Case {
    Case { level, change_type: "postgres.lock_user".to_owned(), ..Case::any() }
}

fn tagged(tags: &[&str]) -> Case {
    let tags: BTreeSet<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Case { tags, ..case(RiskLevel::Low) }
}

/// How many approvals it takes; `None` when it is refused.
fn approvals(document: &PolicyDocument, case: &Case) -> Option<u32> {
    let policy = PolicyState { version: 7, document: document.clone() };
    policy.quorum(case).ok().map(|quorum| quorum.approvals)
}
