//! The phases of a run and of its steps.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::catalog::EffectClass;
use crate::change::event::Produced;
use crate::id::{ChangeId, PersonId, RunId};
use crate::plan::{Field, Fingerprint, Plan, Step};
use crate::rollout::event::Part;
use crate::run::event::{Captured, Finding, Reason, RunOutcome};
use crate::run::rejection::RunRejection;
use crate::time::Timestamp;

const NEVER_REPEATED: &str =
    "It is known to have had no effect, but an unprotected effect is never repeated.";

#[derive(Clone, Debug, Default)]
pub enum RunState {
    #[default]
    Absent,
    Running(Running),
    Finished(Finished),
}

#[derive(Clone, Debug)]
pub struct Running {
    pub change: ChangeId,
    /// Its time in total is counted from here.
    pub started: Timestamp,
    pub plan: Box<Plan>,
    pub approvals: Vec<PersonId>,
    pub undoes: Option<RunId>,
    pub part: Option<Part>,
    /// 0 until the first claim.
    pub epoch: u32,
    /// Something was intended in it.
    pub has_begun: bool,
    /// One for each step of the plan, in its order.
    pub steps: Vec<StepPhase>,
    pub produced: Vec<Produced>,
    /// Why no further step is to begin, when somebody asked for that.
    pub cancel: Option<String>,
    /// Step and epoch of each intent on which the epoch that made it has not reported.
    pub due: BTreeSet<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub struct Finished {
    pub run: Running,
    pub outcome: RunOutcome,
    pub reason: Option<String>,
}

#[derive(Clone, Debug)]
pub enum StepPhase {
    Planned,
    Intended(Intent),
    Succeeded(Effect),
    Verified(Verified),
    Unverified { effect: Effect, reason: Reason },
    Failed { intent: Intent, reason: Reason },
    Unknown { intent: Intent, reason: Reason },
    Reconciled { intent: Intent, finding: Finding },
    Blocked { reason: Reason },
}

/// Recorded before an effect.
#[derive(Clone, Debug)]
pub struct Intent {
    pub epoch: u32,
    pub attempt: u32,
    pub key: String,
    pub before: Captured,
}

/// An effect that is known to have happened.
#[derive(Clone, Debug)]
pub struct Effect {
    pub intent: Intent,
    /// The connector's own answer; absent after a reconciliation.
    pub outcome: Option<Value>,
    /// Until when the target says that it can be undone; absent after a reconciliation.
    pub undo_until: Option<Timestamp>,
}

/// An effect that was read back from the target.
#[derive(Clone, Debug)]
pub struct Verified {
    pub effect: Effect,
    pub observed: Vec<Field>,
    /// Of the target after the effect; what a rollback must still find.
    pub fingerprint: Fingerprint,
}

impl Effect {
    /// The moment until which it could be undone, when that is over: nothing is sent to undo it any more.
    pub fn too_late_since(&self, at: Timestamp) -> Option<Timestamp> {
        self.undo_until.filter(|until| at >= *until)
    }
}

impl StepPhase {
    /// What was done and found at the target.
    pub fn verified(&self) -> Option<&Verified> {
        if let Self::Verified(verified) = self { Some(verified) } else { None }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Intended(_) => "intended",
            Self::Succeeded(_) => "done but not verified",
            Self::Verified(_) => "verified",
            Self::Unverified { .. } => "done but not as intended",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "of unknown outcome",
            Self::Reconciled { .. } => "reconciled",
            Self::Blocked { .. } => "blocked",
        }
    }
}

impl Running {
    pub fn step(&self, no: u32) -> Option<(&Step, &StepPhase)> {
        let index = usize::try_from(no).ok()?;
        Some((self.plan.steps.get(index)?, self.steps.get(index)?))
    }

    /// The first step that is not verified, while nothing has stopped the run.
    pub fn next(&self) -> Option<u32> {
        if self.outcome().is_some() {
            return None;
        }
        let index = self.steps.iter().position(|s| !matches!(s, StepPhase::Verified(_)))?;
        u32::try_from(index).ok()
    }

    /// Until when all that it has done can be undone, as far as targets say.
    pub fn undo_until(&self) -> Option<Timestamp> {
        // Only what was verified is undone.
        let verified = self.steps.iter().filter_map(StepPhase::verified);
        verified.filter_map(|verified| verified.effect.undo_until).min()
    }

    /// Whether a step may begin still that could be held back.
    pub fn has_more_to_begin(&self) -> bool {
        for (planned, phase) in self.plan.steps.iter().zip(&self.steps) {
            match phase {
                StepPhase::Intended(_)
                | StepPhase::Succeeded(_)
                | StepPhase::Verified(_)
                | StepPhase::Reconciled { finding: Finding::Applied, .. } => {}
                StepPhase::Planned => return true,
                // It is tried again when the target says that nothing was done.
                StepPhase::Unknown { .. }
                | StepPhase::Reconciled { finding: Finding::NotApplied, .. } => {
                    return planned.effect_class != EffectClass::Unprotected;
                }
                StepPhase::Unverified { .. }
                | StepPhase::Failed { .. }
                | StepPhase::Blocked { .. }
                | StepPhase::Reconciled { finding: Finding::Conflict, .. } => return false,
            }
        }
        false
    }

    /// Why no step may begin, when somebody asked to cancel the run.
    pub fn cancelled(&self) -> Option<RunRejection> {
        let reason = self.cancel.clone()?;
        let (done, of) = self.progress();
        Some(RunRejection::Cancelled { done, of, reason })
    }

    /// How the run has ended, once its steps say so, with the reason when it did not go well.
    pub fn outcome(&self) -> Option<(RunOutcome, Option<String>)> {
        let back = self.undoes.is_some();
        let verified = self.steps.iter().filter(|s| matches!(s, StepPhase::Verified(_))).count();
        if verified == self.steps.len() {
            return Some((RunOutcome::Complete, None));
        }
        self.plan.steps.iter().zip(&self.steps).find_map(|(planned, step)| {
            let (outcome, reason) = match step {
                StepPhase::Planned
                | StepPhase::Intended(_)
                | StepPhase::Succeeded(_)
                | StepPhase::Verified(_)
                | StepPhase::Reconciled { finding: Finding::Applied, .. } => return None,
                StepPhase::Reconciled { finding: Finding::NotApplied, .. } => {
                    match planned.effect_class {
                        EffectClass::Keyed | EffectClass::Fenced | EffectClass::Verifiable => {
                            return None;
                        }
                        EffectClass::Unprotected if back && verified > 0 => {
                            (RunOutcome::RollbackPartial, NEVER_REPEATED.to_owned())
                        }
                        EffectClass::Unprotected => (RunOutcome::Failed, NEVER_REPEATED.to_owned()),
                    }
                }
                StepPhase::Failed { reason, .. } if back && verified > 0 => {
                    (RunOutcome::RollbackPartial, reason.message.clone())
                }
                StepPhase::Unverified { reason, .. } if back => {
                    (RunOutcome::RollbackPartial, reason.message.clone())
                }
                StepPhase::Failed { reason, .. } | StepPhase::Unverified { reason, .. } => {
                    (RunOutcome::Failed, reason.message.clone())
                }
                StepPhase::Unknown { reason, .. } => {
                    (RunOutcome::OutcomeUnknown, reason.message.clone())
                }
                StepPhase::Reconciled { finding: Finding::Conflict, .. } => (
                    RunOutcome::OutcomeUnknown,
                    "The target is neither as it was nor as intended; a person has to settle it."
                        .to_owned(),
                ),
                StepPhase::Blocked { reason } if back && verified > 0 => {
                    (RunOutcome::RollbackPartial, reason.message.clone())
                }
                StepPhase::Blocked { reason } if back => {
                    (RunOutcome::RollbackBlocked, reason.message.clone())
                }
                StepPhase::Blocked { reason } => (RunOutcome::Failed, reason.message.clone()),
            };
            Some((outcome, Some(reason)))
        })
    }
}
