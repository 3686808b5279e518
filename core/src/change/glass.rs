//! Breaking glass: one responder stands for the whole quorum of one plan, for a few hours, and somebody else looks
//! back at it afterwards.
//!
//! It takes the place of approvals and of the delay after them, where the rule of the submission says that it may.
//! Everything else holds as ever: freezes, windows, dependencies, and what is asked when it executes.

use crate::actor::Actor;
use crate::aggregate::Principal;
use crate::change::GLASS_VALID_S;
use crate::change::decide::{approved, checked_text, wrong_state};
use crate::change::event::ChangeEvent;
use crate::change::freeze::{may_override, unfrozen};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Submission};
use crate::freeze::Frozen;
use crate::id::{ChangeId, PersonId};
use crate::plan::PlanDigest;
use crate::time::Timestamp;

const MAX_TEXT: usize = 2000;

/// As with approvals: whether it is their own comes first, then the role, then the plan.
pub(super) fn break_glass(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    digest: PlanDigest,
    justification: String,
    in_the_way: (Vec<Frozen>, Vec<ChangeId>),
) -> Result<Vec<ChangeEvent>, No> {
    let submission = may_override(state, by)?;
    if submission.plan.digest != digest {
        return Err(No::StaleDigest);
    }
    let justification = checked_text("justification", justification, MAX_TEXT)?;
    if let ChangeState::Approved(approval) = state {
        if at >= approval.until {
            return Err(No::ApprovalExpired { until: approval.until });
        }
        if submission.glass.is_some() {
            return Ok(Vec::new());
        }
        if at >= approval.not_before {
            return Err(wrong_state(state, "its quorum is complete, and no glass is in the way"));
        }
    }
    if !submission.quorum.break_glass {
        return Err(No::GlassNotAllowed { rule: submission.quorum.rule.clone() });
    }
    let (frozen, overdue) = in_the_way;
    if !overdue.is_empty() {
        return Err(No::ReviewOverdue { overdue });
    }
    unfrozen(frozen)?;
    let valid_s = submission.quorum.valid_s.min(GLASS_VALID_S);
    let broken = ChangeEvent::GlassBroken { digest: digest.clone(), justification };
    Ok(vec![broken, approved(digest, at, at, 0, valid_s)])
}

/// What it takes is there now, whatever was approved before; the approval follows.
pub(super) fn broken(mut submission: Submission, by: Actor) -> ChangeState {
    submission.glass = by.person();
    submission.subject.overrides.unreviewed.extend(by.person());
    ChangeState::Submitted(submission)
}

impl Submission {
    /// Who is behind the plan when it executes. Where glass was broken, approvals may have run out by then.
    pub(super) fn approvers(&self, at: Timestamp) -> Vec<PersonId> {
        let Some(responder) = self.glass else {
            return self.approvals.iter().map(|given| given.by).collect();
        };
        let others = self.standing(at).map(|given| given.by).filter(|by| *by != responder);
        others.chain([responder]).collect()
    }
}
