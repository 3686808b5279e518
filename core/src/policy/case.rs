//! One submission as rules see it, and the one evaluator.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::catalog::EffectClass;
use crate::change::event::Quorum;
use crate::plan::Plan;
use crate::policy::document::{PolicyDocument, ReversibilityKind, Rule, Then, When};
use crate::policy::pool::Pool;
use crate::policy::state::PolicyState;
use crate::risk::{Environment, Risk, RiskLevel};

/// What a decision is taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// 1–10.
    pub score: u8,
    pub level: RiskLevel,
    pub environment: Environment,
    /// Action id.
    pub change_type: String,
    /// Of all targets.
    pub tags: BTreeSet<String>,
    pub is_rollback: bool,
    /// Of the step that is worst in this.
    pub reversibility: ReversibilityKind,
    /// Of the step that is worst in this.
    pub effect_class: EffectClass,
}

/// The policy says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub version: u32,
    /// The rule that matched, in words.
    pub rule: String,
}

impl Case {
    /// What the policy is asked when this plan is submitted.
    pub fn of(plan: &Plan, environment: Environment, risk: &Risk, tags: BTreeSet<String>) -> Self {
        Self::planned(plan).submitted(environment, risk, tags)
    }

    /// As far as the plan tells.
    pub fn planned(plan: &Plan) -> Self {
        let reversibility = plan.worst_reversibility().map(ReversibilityKind::from);
        Self {
            change_type: plan.header.change_type.clone(),
            is_rollback: plan.header.rollback_of.is_some(),
            reversibility: reversibility.unwrap_or(ReversibilityKind::Reversible),
            effect_class: plan.weakest_effect_class().unwrap_or(EffectClass::Verifiable),
            ..Self::any()
        }
    }

    /// With what the submission tells.
    #[must_use]
    pub fn submitted(self, environment: Environment, risk: &Risk, tags: BTreeSet<String>) -> Self {
        Self { score: risk.score, level: risk.level, environment, tags, ..self }
    }

    /// Of which nothing in particular is known: to be completed.
    pub(super) const fn any() -> Self {
        Self {
            score: 1,
            level: RiskLevel::Low,
            environment: Environment::Prod,
            change_type: String::new(),
            tags: BTreeSet::new(),
            is_rollback: false,
            reversibility: ReversibilityKind::Reversible,
            effect_class: EffectClass::Verifiable,
        }
    }
}

impl When {
    pub fn holds(&self, case: &Case) -> bool {
        self.holds_but_for_tags(case)
            && self.tag.as_ref().is_none_or(|tags| tags.iter().any(|tag| case.tags.contains(tag)))
    }

    pub(super) fn holds_but_for_tags(&self, case: &Case) -> bool {
        let Self {
            level,
            environment,
            change_type,
            tag: _,
            rollback,
            reversibility,
            effect_class,
            score_at_least,
        } = self;
        fits(level.as_ref(), &case.level)
            && fits(environment.as_ref(), &case.environment)
            && rollback.is_none_or(|rollback| rollback == case.is_rollback)
            && fits(reversibility.as_ref(), &case.reversibility)
            && fits(effect_class.as_ref(), &case.effect_class)
            && score_at_least.is_none_or(|score| score <= case.score)
            && change_type.as_ref().is_none_or(|types| {
                types.iter().any(|wanted| is_of_type(&case.change_type, wanted))
            })
    }
}

fn fits<T: PartialEq>(list: Option<&Vec<T>>, value: &T) -> bool {
    list.is_none_or(|list| list.contains(value))
}

/// `postgres.*` is every action of the connector `postgres`.
fn is_of_type(change_type: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => change_type.starts_with(prefix),
        None => change_type == wanted,
    }
}

impl PolicyDocument {
    /// The rule that decides: the first that matches.
    pub fn matching(&self, case: &Case) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.holds(case))
    }

    /// The pools of all rules.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.rules.iter().filter_map(|rule| match &rule.then {
            Then::Ask(ask) => ask.from.as_ref(),
            Then::Refuse { .. } => None,
        })
    }

    /// Whether any rule looks at the tags of targets.
    pub fn names_tags(&self) -> bool {
        self.rules.iter().any(|rule| rule.when.tag.is_some())
    }
}

impl PolicyState {
    /// Whose approvals have to be among those that the policy asks for.
    pub fn pool(&self, case: &Case) -> Option<&Pool> {
        match &self.document.matching(case)?.then {
            Then::Ask(ask) => ask.from.as_ref(),
            Then::Refuse { .. } => None,
        }
    }

    /// What the policy asks for, without its seats. What no rule is about is refused; a document that keeps the floor
    /// has a rule for everything.
    pub fn quorum(&self, case: &Case) -> Result<Quorum, Refusal> {
        let version = self.version;
        let Some(rule) = self.document.matching(case) else {
            return Err(Refusal { version, rule: "no rule is about it".to_owned() });
        };
        let sentence = rule.sentence();
        match &rule.then {
            Then::Ask(ask) => Ok(Quorum {
                policy_version: version,
                rule: sentence,
                approvals: ask.approvals,
                admin: ask.admin,
                delay_s: ask.delay_s,
                valid_s: ask.valid_s,
                on_conflict: self.document.on_conflict,
                break_glass: ask.break_glass,
                seats: Vec::new(),
            }),
            Then::Refuse { .. } => Err(Refusal { version, rule: sentence }),
        }
    }
}
