//! State and event to state.

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::change::event::{ChangeEvent, Found};
use crate::change::glass::broken;
use crate::change::state::{
    Approval, ChangeState, Closed, Closing, Drafting, Execution, Finish, Given, Outcome, Overrides,
    Scheduled, Subject, Submission,
};
use crate::id::{FreezeId, PersonId};
use crate::time::Timestamp;

pub fn evolve(state: ChangeState, event: &ChangeEvent, by: Actor, at: Timestamp) -> ChangeState {
    use ChangeEvent as E;
    use ChangeState as S;

    match (state, event) {
        (S::Absent, E::Drafted { draft, rollback_of }) => S::Draft(Drafting {
            subject: Subject {
                author: by.person().unwrap_or(PersonId(by.id)),
                editors: BTreeSet::new(),
                draft: draft.clone(),
                rollback_of: *rollback_of,
                schedule: None,
                project: None,
                overrides: Overrides::default(),
            },
            plan: None,
        }),
        (S::Draft(mut drafting), E::MadeBySchedule { schedule, editors }) => {
            drafting.subject.schedule = Some(*schedule);
            drafting.subject.editors.extend(editors);
            S::Draft(drafting)
        }
        (mut state, E::JoinedProject { project }) => {
            if let Some(subject) = state.subject_mut() {
                subject.project = Some(*project);
            }
            state
        }
        (state, E::Edited { draft }) => match into_subject(state) {
            Ok(mut subject) => {
                subject.draft = draft.clone();
                subject.editors.extend(by.person());
                subject.overrides.void();
                S::Draft(Drafting { subject, plan: None })
            }
            Err(state) => *state,
        },
        (state, E::Planned { plan }) => match into_subject(state) {
            Ok(mut subject) => {
                subject.overrides.void();
                S::Draft(Drafting { subject, plan: Some(plan.clone()) })
            }
            Err(state) => *state,
        },
        (
            S::Draft(Drafting { subject, plan: Some(plan) }),
            E::Submitted { environment, quorum, beforehand, tags, .. },
        ) => S::Submitted(Submission {
            subject,
            plan,
            environment: *environment,
            tags: tags.clone().unwrap_or_default(),
            quorum: quorum.clone(),
            approvals: beforehand
                .iter()
                .flat_map(|beforehand| &beforehand.approvers)
                .map(|by| Given { by: *by, at, as_admin: false, delegator: None })
                .collect(),
            glass: None,
            beforehand: beforehand.clone(),
        }),
        (S::Submitted(mut submission), E::ApprovalGiven { as_admin, delegator, .. }) => {
            if let Some(by) = by.person() {
                let (as_admin, delegator) = (*as_admin, *delegator);
                submission.add(Given { by, at, as_admin, delegator });
            }
            S::Submitted(submission)
        }
        (S::Submitted(submission), E::Approved { not_before, until, .. }) => {
            let (not_before, until) = (*not_before, *until);
            S::Approved(Approval { submission, since: at, not_before, until, scheduled: None })
        }
        (state, E::Withdrawn {}) => match state {
            S::Submitted(Submission { mut subject, plan, .. })
            | S::Approved(Approval { submission: Submission { mut subject, plan, .. }, .. }) => {
                subject.overrides.void();
                S::Draft(Drafting { subject, plan: Some(plan) })
            }
            S::Absent | S::Draft(_) | S::Executing(_) | S::Finished(_) | S::Closed(_) => state,
        },
        (S::Submitted(mut submission), E::FreezeOverridden { freeze, .. }) => {
            pass(&mut submission.subject, *freeze, by);
            S::Submitted(submission)
        }
        (S::Approved(mut approval), E::FreezeOverridden { freeze, .. }) => {
            pass(&mut approval.submission.subject, *freeze, by);
            S::Approved(approval)
        }
        (S::Submitted(mut submission), E::WindowOverridden { .. }) => {
            pass_windows(&mut submission.subject, by);
            S::Submitted(submission)
        }
        (S::Approved(mut approval), E::WindowOverridden { .. }) => {
            pass_windows(&mut approval.submission.subject, by);
            S::Approved(approval)
        }
        (
            S::Submitted(submission) | S::Approved(Approval { submission, .. }),
            E::GlassBroken { .. },
        ) => broken(submission, by),
        (S::Approved(mut approval), E::Scheduled { opens, asked_by }) => {
            let asked = approval.scheduled.map(|scheduled| scheduled.by);
            approval.scheduled =
                asked_by.or(by.person()).or(asked).map(|by| Scheduled { by, opens: *opens });
            S::Approved(approval)
        }
        (S::Approved(approval), E::Unscheduled { .. }) => {
            S::Approved(Approval { scheduled: None, ..approval })
        }
        (S::Finished(mut finish), E::Reviewed { .. }) => {
            finish.execution.subject.overrides.unreviewed.clear();
            S::Finished(finish)
        }
        (S::Closed(mut closing), E::Reviewed { .. }) => {
            closing.subject.overrides.unreviewed.clear();
            S::Closed(closing)
        }
        (state, E::Rejected { .. }) => close(state, Closed::Rejected),
        (state, E::Cancelled { .. }) => close(state, Closed::Cancelled),
        (state, E::Expired {}) => close(state, Closed::Expired),
        (S::Approved(Approval { submission, until, .. }), E::ExecutionStarted { run, .. }) => {
            S::Executing(Execution {
                approvers: submission.approvers(at),
                subject: submission.subject,
                plan: submission.plan,
                environment: submission.environment,
                tags: submission.tags,
                run: *run,
                undo_until: None,
                started: at,
                approved_until: until,
            })
        }
        (S::Executing(execution), E::UndoLimited { until, .. }) => {
            S::Executing(Execution { undo_until: Some(*until), ..execution })
        }
        (S::Executing(execution), E::Completed { secrets, .. }) => {
            finish(execution, Outcome::Complete, secrets)
        }
        (S::Executing(execution), E::Failed { secrets, .. }) => {
            finish(execution, Outcome::Failed, secrets)
        }
        (S::Executing(execution), E::OutcomeUnknown { secrets, .. }) => {
            finish(execution, Outcome::Unknown, secrets)
        }
        (S::Executing(execution), E::RollbackPartial { .. }) => {
            finish(execution, Outcome::RollbackPartial, &[])
        }
        (S::Executing(execution), E::RollbackBlocked { .. }) => {
            finish(execution, Outcome::RollbackBlocked, &[])
        }
        (
            S::Finished(Finish { how: Outcome::Unknown, execution, secrets, revealed }),
            E::Settled { finding, .. },
        ) => {
            let how = match finding {
                Found::Applied => Outcome::Complete,
                Found::NotApplied => Outcome::Failed,
            };
            S::Finished(Finish { execution, how, secrets, revealed })
        }
        (S::Finished(finish), E::RollbackStarted { rollback, run }) => {
            let how = Outcome::RollingBack { rollback: *rollback, run: *run };
            S::Finished(Finish { how, ..finish })
        }
        (S::Finished(finish), E::RolledBack { .. }) => {
            S::Finished(Finish { how: Outcome::RolledBack, ..finish })
        }
        (S::Finished(finish), E::RollbackPartial { .. }) => {
            S::Finished(Finish { how: Outcome::RollbackPartial, ..finish })
        }
        (S::Finished(finish), E::RollbackBlocked { .. }) => {
            S::Finished(Finish { how: Outcome::RollbackBlocked, ..finish })
        }
        (S::Finished(mut finish), E::SecretRevealed { secret }) => {
            finish.revealed.insert(*secret);
            S::Finished(finish)
        }
        // What cannot follow changes nothing: decide never lets it happen, and evolve is total.
        (
            state,
            E::Drafted { .. }
            | E::MadeBySchedule { .. }
            | E::Submitted { .. }
            | E::ApprovalGiven { .. }
            | E::Approved { .. }
            | E::FreezeOverridden { .. }
            | E::WindowOverridden { .. }
            | E::GlassBroken { .. }
            | E::Scheduled { .. }
            | E::Unscheduled { .. }
            | E::ExecutionStarted { .. }
            | E::UndoLimited { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. }
            | E::Settled { .. }
            | E::RollbackStarted { .. }
            | E::RolledBack { .. }
            | E::RollbackPartial { .. }
            | E::RollbackBlocked { .. }
            | E::Reviewed { .. }
            | E::SecretRevealed { .. },
        ) => state,
    }
}

fn pass(subject: &mut Subject, freeze: FreezeId, by: Actor) {
    subject.overrides.standing.insert(freeze);
    subject.overrides.unreviewed.extend(by.person());
}

fn pass_windows(subject: &mut Subject, by: Actor) {
    subject.overrides.windows = true;
    subject.overrides.unreviewed.extend(by.person());
}

/// The subject of a change that has not begun to execute; any other state comes back.
fn into_subject(state: ChangeState) -> Result<Subject, Box<ChangeState>> {
    match state {
        ChangeState::Draft(phase) => Ok(phase.subject),
        ChangeState::Submitted(phase) => Ok(phase.subject),
        ChangeState::Approved(phase) => Ok(phase.submission.subject),
        ChangeState::Absent
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Err(Box::new(state)),
    }
}

fn close(state: ChangeState, how: Closed) -> ChangeState {
    match into_subject(state) {
        Ok(subject) => ChangeState::Closed(Closing { subject, how }),
        Err(state) => *state,
    }
}

fn finish(
    execution: Execution,
    how: Outcome,
    secrets: &[crate::change::event::Produced],
) -> ChangeState {
    ChangeState::Finished(Finish {
        execution,
        how,
        secrets: secrets.to_vec(),
        revealed: BTreeSet::new(),
    })
}
