//! Going back by itself: a change of which that was wished is undone when its run has failed.
//!
//! The rollback is a change like any other, with a plan made of what was captured, and is held up by all
//! that holds up a rollback: freezes, windows, a later change of the same target, a target that somebody
//! moved. Only its approval came beforehand: that the change goes back is part of the plan that was
//! approved ([`crate::plan::PlanHeader::auto_rollback`]), and so of its digest.
//!
//! Deliberately absent: undoing what is not known to have taken place. Steps that were verified are
//! undone; one that was not as intended stays as it is, for a person to look at, and so does a change
//! whose outcome is unknown.

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::aggregate::Principal;
use crate::change::decide::{approved, checked_size, ready, system, wrong_state};
use crate::change::event::{Beforehand, ChangeEvent, Quorum};
use crate::change::freeze::unfrozen;
use crate::change::rejection::ChangeRejection as No;
use crate::change::rollback::{rollback_draft, undoable};
use crate::change::schedule::{opens, started};
use crate::change::state::{ChangeState, Execution, Finish, Outcome, Overrides, Subject};
use crate::freeze::InTheWay;
use crate::id::{ChangeId, PersonId, RunId};
use crate::plan::Plan;
use crate::policy::{Case, OnConflict, PolicyState};
use crate::risk::{Environment, Risk, RiskLevel};
use crate::time::Timestamp;

/// How long (seconds) a rollback that was approved beforehand may start.
pub const BEFOREHAND_VALID_S: u32 = 3600;

const RULE: &str = "Approved beforehand, together with the change that it undoes";
const WANTED: &str =
    "it goes back by itself only when that was approved with it, and its run has failed";

/// The rollback, made of the change that it undoes.
#[derive(Clone, Debug)]
pub struct Back {
    /// The change that is undone.
    pub original: ChangeId,
    pub undone: ChangeState,
    /// What was applied to one of its targets afterwards and still stands.
    pub later: Vec<ChangeId>,
    pub plan: Plan,
    pub environment: Environment,
    pub risk: Risk,
    /// Of its targets.
    pub tags: BTreeSet<String>,
    /// The one that is in force.
    pub policy: PolicyState,
}

/// Why the change does not go back by itself, or the execution that is undone.
pub fn may_go_back<'a>(
    state: &'a ChangeState,
    at: Timestamp,
    later: &[ChangeId],
) -> Result<&'a Execution, No> {
    match state {
        ChangeState::Finished(Finish { execution, how: Outcome::Failed, .. })
            if execution.subject.draft.auto_rollback =>
        {
            undoable(execution, at, later)
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Err(wrong_state(state, WANTED)),
    }
}

/// What the rollback is about. Nobody wrote it, so nobody is its author.
pub fn subject_of_rollback(original: ChangeId, undone: &Execution) -> Subject {
    Subject {
        author: PersonId(Actor::SYSTEM.id),
        editors: BTreeSet::new(),
        draft: rollback_draft(original, &undone.subject.draft),
        rollback_of: Some(original),
        overrides: Overrides::default(),
        project: None,
        schedule: None,
    }
}

pub(super) fn go_back(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    back: Back,
) -> Result<Vec<ChangeEvent>, No> {
    let Back { original, undone, later, plan, environment, risk, tags, policy } = back;
    system(by)?;
    if let Some(subject) = state.subject() {
        let is_done =
            subject.rollback_of == Some(original) && subject.author == PersonId(Actor::SYSTEM.id);
        return if is_done { Ok(Vec::new()) } else { Err(No::Exists) };
    }
    let execution = may_go_back(&undone, at, &later)?;
    let subject = subject_of_rollback(original, execution);
    if !subject.is_planned_by(&plan.header) {
        return Err(wrong_state(&undone, "its rollback was planned as something else"));
    }
    ready(&plan)?;
    checked_size(&plan)?;
    let (planned, current) = (plan.header.policy_version, policy.version);
    if planned != current {
        return Err(No::PlanOfOtherPolicy { planned, current });
    }
    let case = Case::of(&plan, environment, &risk, tags);
    // A policy that refuses it is not asked for fewer approvals, but for none of it.
    let asked = policy
        .quorum(&case)
        .map_err(|no| No::RefusedByPolicy { version: no.version, rule: no.rule })?;
    // What ran without an approval may go back without one, up to the floor of every policy.
    if execution.approvers.is_empty() && risk.level == RiskLevel::Critical {
        let needed = asked.approvals.max(1);
        return Err(No::QuorumMissing { given: 0, needed, admin: "" });
    }
    let quorum = Quorum {
        policy_version: asked.policy_version,
        rule: RULE.to_owned(),
        approvals: 0,
        admin: false,
        delay_s: 0,
        valid_s: asked.valid_s.min(BEFOREHAND_VALID_S),
        // Its turn comes by itself; what was promised beforehand is not refused for another's sake.
        on_conflict: OnConflict::Wait,
        break_glass: false,
        seats: Vec::new(),
    };
    let beforehand = Beforehand { run: execution.run, approvers: execution.approvers.clone() };
    let (digest, valid_s) = (plan.digest.clone(), quorum.valid_s);
    Ok(vec![
        ChangeEvent::Drafted { draft: subject.draft, rollback_of: Some(original) },
        ChangeEvent::Planned { plan: Box::new(plan) },
        ChangeEvent::Submitted {
            digest: digest.clone(),
            environment,
            risk,
            quorum,
            tags: Some(case.tags),
            beforehand: Some(beforehand),
        },
        approved(digest, at, at, 0, valid_s),
    ])
}

/// It starts as soon as nothing is in its way, for as long as its approval holds. Anybody who may can
/// start it as well.
pub(super) fn start_back(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    run: RunId,
    in_the_way: InTheWay,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    match state {
        ChangeState::Approved(approval) if approval.submission.beforehand.is_some() => {
            if at >= approval.until {
                return Err(No::ApprovalExpired { until: approval.until });
            }
            unfrozen(in_the_way.frozen)?;
            match opens(approval, at, in_the_way.closed)? {
                Some(_) => Ok(Vec::new()),
                None => Ok(vec![started(approval, run)?]),
            }
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            Err(wrong_state(state, "only what was approved beforehand starts by itself"))
        }
    }
}
