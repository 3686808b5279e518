//! State and event to state.

use std::collections::BTreeSet;

use crate::run::event::{LateReport, RunEvent};
use crate::run::state::{Effect, Finished, Intent, RunState, Running, StepPhase, Verified};
use crate::time::Timestamp;

pub fn evolve(state: RunState, event: &RunEvent, at: Timestamp) -> RunState {
    match (state, event) {
        (RunState::Absent, RunEvent::Started { change, plan, approvals, undoes, part }) => {
            RunState::Running(Running {
                change: *change,
                started: at,
                steps: plan.steps.iter().map(|_| StepPhase::Planned).collect(),
                plan: plan.clone(),
                approvals: approvals.clone(),
                undoes: *undoes,
                part: *part,
                epoch: 0,
                has_begun: false,
                produced: Vec::new(),
                cancel: None,
                due: BTreeSet::new(),
            })
        }
        (RunState::Running(run), RunEvent::Finished { outcome, reason, .. }) => {
            RunState::Finished(Finished { run, outcome: *outcome, reason: reason.clone() })
        }
        (RunState::Running(mut run), event) => {
            apply(&mut run, event);
            RunState::Running(run)
        }
        (RunState::Finished(mut finished), event @ RunEvent::LateReported { .. }) => {
            apply(&mut finished.run, event);
            RunState::Finished(finished)
        }
        (state @ (RunState::Absent | RunState::Finished(_)), _) => state,
    }
}

fn apply(run: &mut Running, event: &RunEvent) {
    use RunEvent as E;
    match event {
        E::Started { .. } | E::Finished { .. } => {}
        E::Claimed { epoch, .. } => run.epoch = *epoch,
        E::StepIntended { step, epoch, attempt, key, before } => {
            let intent = Intent {
                epoch: *epoch,
                attempt: *attempt,
                key: key.clone(),
                before: before.clone(),
            };
            run.has_begun = true;
            run.due.insert((*step, *epoch));
            update(run, *step, |_| StepPhase::Intended(intent));
        }
        E::StepSucceeded { step, outcome, produced, epoch, undo_until } => {
            run.due.remove(&(*step, *epoch));
            run.produced.extend(produced.iter().cloned());
            update(run, *step, |phase| match intent(phase) {
                Ok(intent) => {
                    let (outcome, undo_until) = (Some(outcome.clone()), *undo_until);
                    StepPhase::Succeeded(Effect { intent, outcome, undo_until })
                }
                Err(phase) => *phase,
            });
        }
        E::StepFailed { step, epoch, reason } => {
            run.due.remove(&(*step, *epoch));
            update(run, *step, |phase| match intent(phase) {
                Ok(intent) => StepPhase::Failed { intent, reason: reason.clone() },
                Err(phase) => *phase,
            });
        }
        E::StepUnknown { step, epoch, reason } => {
            run.due.remove(&(*step, *epoch));
            update(run, *step, |phase| match intent(phase) {
                Ok(intent) => StepPhase::Unknown { intent, reason: reason.clone() },
                Err(phase) => *phase,
            });
        }
        E::StepReconciled { step, finding, produced, .. } => {
            run.produced.extend(produced.iter().cloned());
            update(run, *step, |phase| match intent(phase) {
                Ok(intent) => StepPhase::Reconciled { intent, finding: *finding },
                Err(phase) => *phase,
            });
        }
        E::StepVerified { step, observed, fingerprint } => {
            update(run, *step, |phase| match effect(phase) {
                Ok(effect) => StepPhase::Verified(Verified {
                    effect,
                    observed: observed.clone(),
                    fingerprint: fingerprint.clone(),
                }),
                Err(phase) => *phase,
            });
        }
        E::StepUnverified { step, reason, .. } => update(run, *step, |phase| match effect(phase) {
            Ok(effect) => StepPhase::Unverified { effect, reason: reason.clone() },
            Err(phase) => *phase,
        }),
        E::StepBlocked { step, reason, .. } => {
            update(run, *step, |_| StepPhase::Blocked { reason: reason.clone() });
        }
        E::CancelAsked { reason } => run.cancel = Some(reason.clone()),
        E::LateReported { step, epoch, report } => {
            run.due.remove(&(*step, *epoch));
            match report {
                LateReport::Succeeded { produced, .. } => {
                    run.produced.extend(produced.iter().cloned());
                }
                LateReport::Failed { .. } | LateReport::Unknown { .. } => {}
            }
        }
    }
}

fn update(run: &mut Running, step: u32, change: impl FnOnce(StepPhase) -> StepPhase) {
    let Ok(index) = usize::try_from(step) else { return };
    if let Some(phase) = run.steps.get_mut(index) {
        *phase = change(std::mem::replace(phase, StepPhase::Planned));
    }
}

fn intent(phase: StepPhase) -> Result<Intent, Box<StepPhase>> {
    match phase {
        StepPhase::Intended(intent)
        | StepPhase::Unknown { intent, .. }
        | StepPhase::Reconciled { intent, .. } => Ok(intent),
        StepPhase::Planned
        | StepPhase::Succeeded(_)
        | StepPhase::Verified(_)
        | StepPhase::Unverified { .. }
        | StepPhase::Failed { .. }
        | StepPhase::Blocked { .. } => Err(Box::new(phase)),
    }
}

fn effect(phase: StepPhase) -> Result<Effect, Box<StepPhase>> {
    match phase {
        StepPhase::Succeeded(effect) => Ok(effect),
        StepPhase::Reconciled { intent, .. } => {
            Ok(Effect { intent, outcome: None, undo_until: None })
        }
        StepPhase::Planned
        | StepPhase::Intended(_)
        | StepPhase::Verified(_)
        | StepPhase::Unverified { .. }
        | StepPhase::Failed { .. }
        | StepPhase::Unknown { .. }
        | StepPhase::Blocked { .. } => Err(Box::new(phase)),
    }
}
