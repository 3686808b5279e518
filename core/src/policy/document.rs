//! The document: ordered rules, each of what it is about and what it asks for.
//!
//! What a rule does not name, it does not look at. A name that this build does not know makes the
//! document unreadable: to leave a condition out would make its rule be about more than was meant.

use serde::{Deserialize, Serialize};

use crate::catalog::{EffectClass, Reversibility};
use crate::policy::pool::Pool;
use crate::risk::{Environment, RiskLevel};

/// How long an approval is valid when a rule does not say, in seconds: 72 hours.
pub const VALID_S: u32 = 72 * 60 * 60;

/// A policy. The first rule that matches decides; the last matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    pub rules: Vec<Rule>,
    /// What becomes of the second of two changes under way that meet.
    #[serde(default, skip_serializing_if = "OnConflict::is_usual")]
    pub on_conflict: OnConflict,
}

/// What becomes of a change that is to execute while one that meets it comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It has its turn when that one has ended.
    #[default]
    Wait,
    /// It cannot be executed before that one has ended.
    Refuse,
}

impl OnConflict {
    // Its form is serde's.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(crate) const fn is_usual(&self) -> bool {
        matches!(self, Self::Wait)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// All of it has to hold; absent, the rule matches everything.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
    pub then: Then,
}

/// What a rule is about. Of each list, one has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct When {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Vec<RiskLevel>>,
    /// The one that the change is submitted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Vec<Environment>>,
    /// Action ids such as `postgres.lock_user`, or all of a connector: `postgres.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_type: Option<Vec<String>>,
    /// Tags, of which a target has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Vec<String>>,
    /// Whether it undoes another change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<bool>,
    /// Of the step that is worst in this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversibility: Option<Vec<ReversibilityKind>>,
    /// Of the step that is worst in this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect_class: Option<Vec<EffectClass>>,
    /// 1–10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_at_least: Option<u8>,
}

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Then {
    Ask(Ask),
    /// It cannot be submitted.
    Refuse {
        /// 1–300 characters; whoever is refused reads it.
        reason: String,
    },
}

/// Approvals, by people with the approver role who are neither author nor editors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// 0–5.
    pub approvals: u32,
    /// One of them has to be an admin's.
    #[serde(default)]
    pub admin: bool,
    /// Whose approvals have to be among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Pool>,
    /// Seconds between the last approval and the earliest execution; at most 7 days.
    #[serde(default)]
    pub delay_s: u32,
    /// Seconds that approvals stay valid: an hour to 30 days; 72 hours when absent.
    #[serde(default = "usual_validity")]
    pub valid_s: u32,
    /// Whether a responder may stand for all of it, for a few hours and to be reviewed afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// Whether the before-state can come back, without the why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReversibilityKind {
    Reversible,
    CompensateOnly,
    OneWay,
}

impl ReversibilityKind {
    pub const ALL: [Self; 3] = [Self::Reversible, Self::CompensateOnly, Self::OneWay];
}

impl From<&Reversibility> for ReversibilityKind {
    fn from(reversibility: &Reversibility) -> Self {
        match reversibility {
            Reversibility::Reversible => Self::Reversible,
            Reversibility::CompensateOnly { .. } => Self::CompensateOnly,
            Reversibility::OneWay { .. } => Self::OneWay,
        }
    }
}

const fn usual_validity() -> u32 {
    VALID_S
}

impl When {
    /// Whether it holds for everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PolicyDocument {
    /// Version 1.
    ///
    /// Once it said nothing of breaking glass. It does now, and its number stays: what was submitted under it
    /// before recorded a quorum that does not let glass be broken, which is more than is asked now, so that such
    /// logs are judged by this document as they were, and nobody breaks glass for what they hold in review.
    pub fn standard() -> Self {
        use Environment::{Dev, Prod, Staging};
        use RiskLevel::{Critical, High, Low, Medium};

        let level = |level| When { level: Some(vec![level]), ..When::default() };
        let low_in = |environment| When { environment: Some(vec![environment]), ..level(Low) };
        let rule = |when, approvals| {
            let (from, break_glass) = (None, approvals > 0);
            let ask =
                Ask { approvals, admin: false, from, delay_s: 0, valid_s: VALID_S, break_glass };
            Rule { when, then: Then::Ask(ask) }
        };
        let strictest = |when| {
            let (approvals, admin, from, delay_s, break_glass) = (2, true, None, 15 * 60, true);
            let ask = Ask { approvals, admin, from, delay_s, valid_s: VALID_S, break_glass };
            Rule { when, then: Then::Ask(ask) }
        };
        let rules = vec![
            rule(When { rollback: Some(true), ..When::default() }, 1),
            rule(low_in(Prod), 1),
            rule(low_in(Staging), 0),
            rule(low_in(Dev), 0),
            rule(level(Medium), 1),
            rule(level(High), 2),
            strictest(level(Critical)),
            // Nothing of today is left for it.
            strictest(When::default()),
        ];
        Self { rules, on_conflict: OnConflict::Wait }
    }
}
