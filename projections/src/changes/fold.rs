//! Events of a change and of its runs, folded into what the API shows. Pure.
//!
//! The same fold makes the read model and answers `?at=`: a change as of any moment. Like the
//! aggregate it is total: what cannot follow changes nothing but the row's position.

use std::collections::BTreeMap;

use nexplane_core::api::{
    ApprovalView, ChangeState, ChangeView, GlassView, OverrideView, PlanView, ReviewView,
    RollbackView, RolloutView, RunView, ScheduledView, SecretView, SettledView, StepState,
    StepView,
};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::REVIEW_DUE_S;
use nexplane_core::change::event::{ChangeEvent, Draft, Found, Produced, Quorum, Window};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, ChangeId, FreezeId, PersonId, RunId};
use nexplane_core::plan::{Plan, Step};
use nexplane_core::policy::Case;
use nexplane_core::rollout::event::RolloutEvent;
use nexplane_core::run::event::{Finding, LateReport, RunEvent};
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::waiting::waiting_for;

/// Targets of a rollout that the row shows.
const SHOWN: usize = 100;

/// A change with what the API does not show but later events, or queries, need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folded {
    pub view: ChangeView,
    pub hidden: Hidden,
}

/// What is kept of a change beside its view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hidden {
    /// When the requester wants it to run.
    pub window: Option<Window>,
    /// One of the approvals of the submitted plan is an admin's.
    pub admin_given: bool,
    /// When the quorum was complete.
    pub approved_at: Option<Timestamp>,
    /// Why it was not started when its window opened, until somebody asks again.
    #[serde(default)]
    pub unscheduled: Option<String>,
    /// Position of the event that started its execution.
    pub executed: Option<u64>,
    /// How its own execution ended; a later rollback does not change that.
    pub outcome: Option<Outcome>,
    /// When its own execution ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// All targets of a rollout; empty for any other change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<AssetId>,
    /// Steps that had an effect, or may have had, and their targets. Of a rollout, all of them from its start.
    pub applied: BTreeMap<u32, AssetId>,
    /// The newest plan, as the policy sees it.
    pub planned: Option<Case>,
    /// Its newest submission; what follows does not change that.
    pub decided: Option<Decided>,
}

/// What the policy was asked when the change was submitted, and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    pub case: Case,
    /// Whether the tags of the targets were recorded.
    pub has_tags: bool,
    pub quorum: Quorum,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Complete,
    Failed,
    OutcomeUnknown,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}

/// The change as of the last of these events: those of its stream and of its runs, in order of
/// position. `number` is the change's; the events do not tell it. `None` when it was not drafted.
pub fn fold_change<'a>(
    number: u64,
    events: impl IntoIterator<Item = &'a Recorded>,
) -> Option<ChangeView> {
    events
        .into_iter()
        .fold(None, |folded, recorded| apply(folded, recorded, number))
        .map(|folded| folded.view)
}

/// The change after one more event of its stream or of one of its runs. `number` is used when the
/// event drafts it.
pub fn apply(folded: Option<Folded>, recorded: &Recorded, number: u64) -> Option<Folded> {
    let Some(mut folded) = folded else { return drafted(recorded, number) };
    match &recorded.event {
        Event::Change(event) => {
            apply_change(&mut folded, event, recorded);
            folded.view.version = recorded.header.version;
        }
        Event::Run(event) => {
            let own = folded.view.run.as_ref().is_none_or(|r| r.id.0 == recorded.header.stream.id);
            if own {
                apply_run(&mut folded, event, recorded);
            }
        }
        Event::Rollout(event) => {
            if let (Some(run), RolloutEvent::Finished { outcome, reason, .. }) =
                (&mut folded.view.run, event)
            {
                outcome.as_str().clone_into(&mut run.state);
                run.reason.clone_from(reason);
                run.finished_at = Some(recorded.header.at);
            }
        }
        Event::Asset(_)
        | Event::Calendar(_)
        | Event::Connection(_)
        | Event::Gateway(_)
        | Event::Host(_)
        | Event::Manifest(_)
        | Event::Person(_)
        | Event::Policy(_)
        | Event::Project(_)
        | Event::Schedule(_) => {
            return Some(folded);
        }
    }
    folded.view.position = recorded.position;
    folded.view.updated_at = recorded.header.at;
    folded.view.waiting_for = waiting_for(&folded);
    Some(folded)
}

fn drafted(recorded: &Recorded, number: u64) -> Option<Folded> {
    let Event::Change(ChangeEvent::Drafted { draft, rollback_of }) = &recorded.event else {
        return None;
    };
    let header = &recorded.header;
    let view = ChangeView {
        id: ChangeId(header.stream.id),
        number,
        title: String::new(),
        reason: String::new(),
        ticket: None,
        state: ChangeState::Draft,
        change_type: String::new(),
        connection_id: draft.connection,
        targets: Vec::new(),
        parameters: serde_json::Value::Null,
        auto_rollback: false,
        requester: header.actor.person().unwrap_or(PersonId(header.actor.id)),
        editors: Vec::new(),
        risk: None,
        plan: None,
        approvals: Vec::new(),
        approvals_needed: 0,
        admin_needed: false,
        seats: Vec::new(),
        not_before: None,
        approved_until: None,
        waiting_for: None,
        scheduled: None,
        closing_reason: None,
        run: None,
        rollout: None,
        settled: None,
        rollback_of: *rollback_of,
        rollback: None,
        rolled_back_by: None,
        schedule: None,
        project: None,
        secrets: Vec::new(),
        overrides: Vec::new(),
        glass: Vec::new(),
        review_required: false,
        review_due: None,
        review: None,
        version: header.version,
        position: recorded.position,
        created_at: header.at,
        updated_at: header.at,
        names: BTreeMap::new(),
        conflicts: Vec::new(),
        frozen: Vec::new(),
        allowed: Vec::new(),
    };
    let mut folded = Folded { view, hidden: Hidden::default() };
    set_draft(&mut folded, draft);
    folded.view.waiting_for = waiting_for(&folded);
    Some(folded)
}

/// The state after an event, or `None` when the event cannot follow.
pub fn next_state(now: ChangeState, event: &ChangeEvent) -> Option<ChangeState> {
    use ChangeEvent as E;
    use ChangeState as S;

    let in_review = matches!(now, S::Submitted | S::Approved | S::Scheduled);
    let unstarted = in_review || now == S::Draft;
    let ended = matches!(
        now,
        S::Complete
            | S::Failed
            | S::OutcomeUnknown
            | S::RollingBack
            | S::RolledBack
            | S::RollbackPartial
            | S::RollbackBlocked
    );
    let executing = now == S::Executing;
    let (follows, next) = match event {
        E::Drafted { .. } => (false, S::Draft),
        E::MadeBySchedule { .. } => (now == S::Draft, S::Draft),
        E::JoinedProject { .. } => (unstarted || now == S::Complete, now),
        E::Edited { .. } | E::Planned { .. } => (unstarted, S::Draft),
        E::Submitted { .. } => (now == S::Draft, S::Submitted),
        E::ApprovalGiven { .. } => (now == S::Submitted, S::Submitted),
        E::Approved { .. } => (now == S::Submitted, S::Approved),
        E::Rejected { .. } => (unstarted, S::Rejected),
        E::Withdrawn {} => (in_review, S::Draft),
        E::Cancelled { .. } => (unstarted, S::Cancelled),
        E::Expired {} => (unstarted, S::Expired),
        E::FreezeOverridden { .. } | E::WindowOverridden { .. } => (in_review, now),
        // What it takes is there now, whatever was approved; the approval follows.
        E::GlassBroken { .. } => (in_review, S::Submitted),
        E::Scheduled { .. } => (matches!(now, S::Approved | S::Scheduled), S::Scheduled),
        E::Unscheduled { .. } => (now == S::Scheduled, S::Approved),
        E::ExecutionStarted { .. } => (matches!(now, S::Approved | S::Scheduled), S::Executing),
        E::UndoLimited { .. } => (executing, S::Executing),
        E::Completed { .. } => (executing, S::Complete),
        E::Failed { .. } => (executing, S::Failed),
        E::OutcomeUnknown { .. } => (executing, S::OutcomeUnknown),
        E::Settled { finding: Found::Applied, .. } => (now == S::OutcomeUnknown, S::Complete),
        E::Settled { finding: Found::NotApplied, .. } => (now == S::OutcomeUnknown, S::Failed),
        E::RollbackStarted { .. } => (ended, S::RollingBack),
        E::RolledBack { .. } => (ended, S::RolledBack),
        E::RollbackPartial { .. } => (executing || ended, S::RollbackPartial),
        E::RollbackBlocked { .. } => (executing || ended, S::RollbackBlocked),
        E::Reviewed { .. } => {
            (ended || matches!(now, S::Rejected | S::Cancelled | S::Expired), now)
        }
        E::SecretRevealed { .. } => (ended, now),
    };
    follows.then_some(next)
}

fn apply_change(folded: &mut Folded, event: &ChangeEvent, recorded: &Recorded) {
    use ChangeEvent as E;

    let Some(next) = next_state(folded.view.state, event) else { return };
    if folded.view.state == ChangeState::Executing && next != ChangeState::Executing {
        folded.hidden.ended = Some(recorded.header.at);
    }
    folded.view.state = next;
    let Folded { view, hidden } = folded;
    match event {
        E::Drafted { .. } => {}
        E::MadeBySchedule { schedule, editors } => {
            view.schedule = Some(*schedule);
            view.editors.clone_from(editors);
            view.editors.sort_unstable();
        }
        E::JoinedProject { project } => view.project = Some(*project),
        E::Edited { draft } => {
            if let Some(editor) = recorded.header.actor.person()
                && let Err(place) = view.editors.binary_search(&editor)
            {
                view.editors.insert(place, editor);
            }
            view.plan = None;
            view.risk = None;
            set_draft(folded, draft);
            reopen(folded);
        }
        E::Planned { plan } => {
            view.plan = Some(plan_view(plan));
            hidden.planned = Some(Case::planned(plan));
            view.risk = None;
            reopen(folded);
        }
        E::Submitted { digest: _, environment, risk, quorum, tags, beforehand } => {
            view.risk = Some(risk.clone());
            view.approvals_needed = quorum.approvals;
            view.admin_needed = quorum.admin;
            view.seats.clone_from(&quorum.seats);
            hidden.admin_given = false;
            // Of what was approved beforehand another policy would not have been asked either.
            let planned = hidden.planned.clone().filter(|_| beforehand.is_none());
            hidden.decided = planned.map(|planned| Decided {
                case: planned.submitted(*environment, risk, tags.clone().unwrap_or_default()),
                has_tags: tags.is_some(),
                quorum: quorum.clone(),
            });
        }
        E::ApprovalGiven { digest, comment, as_admin, delegator } => {
            view.approvals.push(ApprovalView {
                by: PersonId(recorded.header.actor.id),
                delegator: *delegator,
                digest: digest.clone(),
                at: recorded.header.at,
                comment: comment.clone(),
                superseded: false,
            });
            hidden.admin_given |= *as_admin;
        }
        E::Approved { digest: _, not_before, until } => {
            view.not_before = Some(*not_before);
            view.approved_until = Some(*until);
            hidden.approved_at = Some(recorded.header.at);
        }
        E::Withdrawn {} => reopen(folded),
        E::Rejected { digest: _, reason } | E::Cancelled { reason } => {
            view.closing_reason = Some(reason.clone());
        }
        E::Expired {} => {
            view.closing_reason = Some("its approvals ran out before it was executed".to_owned());
        }
        E::FreezeOverridden { freeze, justification } => {
            add_override(view, recorded, Some(*freeze), justification);
        }
        E::WindowOverridden { justification } => add_override(view, recorded, None, justification),
        E::GlassBroken { digest, justification } => {
            let by = PersonId(recorded.header.actor.id);
            let (digest, justification) = (digest.clone(), justification.clone());
            let at = recorded.header.at;
            view.glass.push(GlassView { by, digest, at, justification, superseded: false });
            view.review_required = true;
        }
        E::Scheduled { opens, asked_by } => {
            hidden.unscheduled = None;
            let person = asked_by.or(recorded.header.actor.person());
            let (by, at) = match (person, view.scheduled) {
                (None, Some(asked)) => (asked.by, asked.at),
                (person, _) => {
                    (person.unwrap_or(PersonId(recorded.header.actor.id)), recorded.header.at)
                }
            };
            view.scheduled = Some(ScheduledView { by, at, opens: *opens });
        }
        E::Unscheduled { reason } => {
            view.scheduled = None;
            hidden.unscheduled = Some(reason.clone());
        }
        E::ExecutionStarted { run, digest: _ } => {
            hidden.executed = Some(recorded.position);
            hidden.applied.extend((0..).zip(hidden.targets.iter().copied()));
            view.scheduled = None;
            hidden.unscheduled = None;
            // Two streams: the run's first events may stand before this one.
            if view.run.as_ref().is_none_or(|known| known.id != *run) {
                let plan = view.plan.as_ref();
                let steps = plan.filter(|_| view.rollout.is_none());
                let steps = steps.map_or_else(Vec::new, |plan| step_views(&plan.steps));
                view.run = Some(run_view(*run, recorded.header.at, steps));
            }
        }
        E::UndoLimited { run: _, until } => {
            view.rollback = Some(RollbackView { possible_until: *until });
        }
        E::Completed { run: _, secrets } => {
            hidden.outcome = Some(Outcome::Complete);
            add_secrets(view, secrets);
        }
        E::Failed { run: _, reason, secrets } => {
            hidden.outcome = Some(Outcome::Failed);
            view.closing_reason = Some(reason.clone());
            add_secrets(view, secrets);
        }
        E::OutcomeUnknown { run: _, reason, secrets } => {
            hidden.outcome = Some(Outcome::OutcomeUnknown);
            view.closing_reason = Some(reason.clone());
            add_secrets(view, secrets);
        }
        E::Settled { run: _, finding, evidence } => {
            let by = PersonId(recorded.header.actor.id);
            let (finding, evidence) = (*finding, evidence.clone());
            view.settled = Some(SettledView { by, at: recorded.header.at, finding, evidence });
            settle(folded, finding);
        }
        E::RollbackStarted { .. } => {}
        E::RolledBack { rollback, run: _ } => {
            view.rolled_back_by = Some(*rollback);
            // Of an earlier attempt to undo it; why it failed itself stays.
            if hidden.outcome == Some(Outcome::Complete) {
                view.closing_reason = None;
            }
        }
        E::RollbackPartial { rollback: _, run: _, reason }
        | E::RollbackBlocked { rollback: _, run: _, reason } => {
            view.closing_reason = Some(reason.clone());
        }
        E::Reviewed { comment } => {
            view.review_required = false;
            view.review_due = None;
            view.review = Some(ReviewView {
                by: PersonId(recorded.header.actor.id),
                at: recorded.header.at,
                comment: comment.clone(),
            });
        }
        E::SecretRevealed { secret } => {
            view.secrets.iter_mut().filter(|s| s.id == *secret).for_each(|s| s.revealed = true);
        }
    }
    let view = &mut folded.view;
    if view.review_required && view.review_due.is_none() && view.state.is_settled() {
        view.review_due = Some(recorded.header.at.plus_seconds(REVIEW_DUE_S));
    }
}

fn add_override(
    view: &mut ChangeView,
    recorded: &Recorded,
    freeze: Option<FreezeId>,
    justification: &str,
) {
    view.overrides.push(OverrideView {
        freeze,
        by: PersonId(recorded.header.actor.id),
        at: recorded.header.at,
        justification: justification.to_owned(),
        superseded: false,
    });
    view.review_required = true;
}

/// The state is a person's finding, and says so.
fn settle(folded: &mut Folded, finding: Found) {
    let Folded { view, hidden } = folded;
    let (outcome, what) = match finding {
        Found::Applied => (Outcome::Complete, "was applied"),
        Found::NotApplied => (Outcome::Failed, "was not applied"),
    };
    hidden.outcome = Some(outcome);
    view.closing_reason =
        Some(format!("A person found that it {what}; that is not a reading of the target."));
    // Which targets of a rollout it is about nobody says.
    if finding == Found::NotApplied && view.rollout.is_none() {
        let steps: BTreeMap<_, _> =
            view.run.iter().flat_map(|run| &run.steps).map(|step| (step.no, step.state)).collect();
        hidden.applied.retain(|step, _| steps.get(step) == Some(&StepState::Verified));
    }
}

fn set_draft(folded: &mut Folded, draft: &Draft) {
    let Draft {
        title,
        reason,
        ticket,
        change_type,
        connection,
        targets,
        parameters,
        window,
        rollout,
        auto_rollback,
    } = draft;
    let Folded { view, hidden } = folded;
    view.title.clone_from(title);
    view.reason.clone_from(reason);
    view.ticket.clone_from(ticket);
    view.change_type.clone_from(change_type);
    view.connection_id = *connection;
    view.rollout = rollout.map(|strategy| RolloutView {
        strategy,
        targets: u32::try_from(targets.len()).unwrap_or(u32::MAX),
        progress: None,
    });
    if rollout.is_some() {
        hidden.targets.clone_from(targets);
        view.targets = targets.iter().take(SHOWN).copied().collect();
    } else {
        hidden.targets.clear();
        view.targets.clone_from(targets);
    }
    view.parameters.clone_from(parameters);
    view.auto_rollback = *auto_rollback;
    hidden.window = *window;
}

/// Back to draft: approvals and overrides stay as history and count no more.
fn reopen(folded: &mut Folded) {
    let Folded { view, hidden } = folded;
    view.approvals.iter_mut().for_each(|approval| approval.superseded = true);
    view.overrides.iter_mut().for_each(|given| given.superseded = true);
    view.glass.iter_mut().for_each(|broken| broken.superseded = true);
    view.approvals_needed = 0;
    view.admin_needed = false;
    view.seats.clear();
    view.not_before = None;
    view.approved_until = None;
    view.scheduled = None;
    hidden.unscheduled = None;
    hidden.admin_given = false;
    hidden.approved_at = None;
}

fn apply_run(folded: &mut Folded, event: &RunEvent, recorded: &Recorded) {
    use RunEvent as E;

    let Folded { view, hidden } = folded;
    if let E::Started { .. } = event {
        let began = view.run.as_ref().map(|run| run.started_at);
        view.run = follow(None, event, recorded);
        if let (Some(run), Some(began)) = (&mut view.run, began) {
            run.started_at = began;
        }
        return;
    }
    let ChangeView { plan, run, secrets, .. } = view;
    let Some(before) = run.take() else { return };
    *run = follow(Some(before), event, recorded);
    let target = |step: u32| {
        let steps = &plan.as_ref()?.steps;
        Some(steps.get(usize::try_from(step).ok()?)?.target.asset)
    };
    match event {
        // From here on the effect may happen.
        E::StepIntended { step, .. } => {
            hidden.applied.extend(target(*step).map(|asset| (*step, asset)));
        }
        E::StepFailed { step, .. } => {
            hidden.applied.remove(step);
        }
        E::StepReconciled { step, finding, produced, .. } => {
            merge_secrets(secrets, produced);
            match finding {
                Finding::Applied | Finding::Conflict => {}
                Finding::NotApplied => {
                    hidden.applied.remove(step);
                }
            }
        }
        E::StepSucceeded { produced, .. }
        | E::LateReported { report: LateReport::Succeeded { produced, .. }, .. }
        | E::Finished { secrets: produced, .. } => merge_secrets(secrets, produced),
        // What is asked of a run is read from its stream.
        E::CancelAsked { .. }
        | E::Claimed { .. }
        | E::LateReported { .. }
        | E::Started { .. }
        | E::StepBlocked { .. }
        | E::StepUnknown { .. }
        | E::StepUnverified { .. }
        | E::StepVerified { .. } => {}
    }
}

/// A run by itself, such as a part of a rollout, as of the last of these events of its stream. `None` when it
/// has not begun.
pub fn fold_run<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Option<RunView> {
    events.into_iter().fold(None, |run, recorded| match &recorded.event {
        Event::Run(event) => follow(run, event, recorded),
        Event::Asset(_)
        | Event::Calendar(_)
        | Event::Change(_)
        | Event::Connection(_)
        | Event::Gateway(_)
        | Event::Host(_)
        | Event::Manifest(_)
        | Event::Person(_)
        | Event::Policy(_)
        | Event::Project(_)
        | Event::Rollout(_)
        | Event::Schedule(_) => run,
    })
}

/// The run after one more event of its stream.
fn follow(run: Option<RunView>, event: &RunEvent, recorded: &Recorded) -> Option<RunView> {
    use RunEvent as E;

    let at = recorded.header.at;
    if let E::Started { plan, .. } = event {
        let ends_by = plan.header.limit_s.map(|limit| at.plus_seconds(i64::from(limit)));
        let run = run_view(RunId(recorded.header.stream.id), at, step_views(&plan.steps));
        return Some(RunView { ends_by, ..run });
    }
    let mut followed = run?;
    let run = &mut followed;
    match event {
        E::Started { .. } => {}
        E::Claimed { epoch, worker: _ } => run.epoch = *epoch,
        E::StepIntended { step, epoch: _, attempt, key: _, before } => {
            with_step(run, *step, |view| {
                view.state = StepState::Intended;
                view.attempt = *attempt;
                view.before.clone_from(&before.fields);
                view.started_at.get_or_insert(at);
                view.reason = None;
            });
        }
        E::StepSucceeded { step, .. } => {
            with_step(run, *step, |view| view.state = StepState::Succeeded);
        }
        E::StepFailed { step, epoch: _, reason } => with_step(run, *step, |view| {
            view.state = StepState::Failed;
            view.reason = Some(reason.message.clone());
            view.finished_at = Some(at);
        }),
        E::StepUnknown { step, epoch: _, reason } => with_step(run, *step, |view| {
            view.state = StepState::Unknown;
            view.reason = Some(reason.message.clone());
        }),
        E::StepReconciled { step, finding: _, evidence, observed, produced: _ } => {
            with_step(run, *step, |view| {
                view.state = StepState::Reconciled;
                view.after.clone_from(observed);
                view.reason = Some(evidence.clone());
            });
        }
        E::StepVerified { step, observed, fingerprint: _ } => with_step(run, *step, |view| {
            view.state = StepState::Verified;
            view.after.clone_from(observed);
            view.finished_at = Some(at);
            view.reason = None;
        }),
        E::StepUnverified { step, observed, reason } => with_step(run, *step, |view| {
            view.state = StepState::Failed;
            view.after.clone_from(observed);
            view.reason = Some(reason.message.clone());
            view.finished_at = Some(at);
        }),
        E::StepBlocked { step, before, after, now, reason } => with_step(run, *step, |view| {
            view.state = StepState::Blocked;
            view.before.clone_from(before);
            view.after.clone_from(after);
            view.now = Some(now.clone());
            view.reason = Some(reason.message.clone());
            view.finished_at = Some(at);
        }),
        E::CancelAsked { reason: _ } => {}
        E::LateReported { step, epoch, report } => with_step(run, *step, |view| {
            let said = format!(
                "A worker whose turn was over (epoch {epoch}) said later: {}. That is evidence only.",
                report.as_str()
            );
            view.late.push(said);
        }),
        E::Finished { outcome, reason, secrets: _ } => {
            outcome.as_str().clone_into(&mut run.state);
            run.reason.clone_from(reason);
            run.finished_at = Some(at);
        }
    }
    Some(followed)
}

fn with_step(run: &mut RunView, step: u32, change: impl FnOnce(&mut StepView)) {
    if let Some(view) = run.steps.iter_mut().find(|view| view.no == step) {
        change(view);
    }
}

fn run_view(id: RunId, started_at: Timestamp, steps: Vec<StepView>) -> RunView {
    RunView {
        id,
        started_at,
        ends_by: None,
        finished_at: None,
        state: "running".to_owned(),
        epoch: 0,
        steps,
        reason: None,
    }
}

fn step_views(steps: &[Step]) -> Vec<StepView> {
    steps
        .iter()
        .map(|step| StepView {
            no: step.no,
            action: step.action.clone(),
            target: step.target.name.clone(),
            state: StepState::Planned,
            attempt: 0,
            before: Vec::new(),
            after: Vec::new(),
            now: None,
            reason: None,
            late: Vec::new(),
            started_at: None,
            finished_at: None,
        })
        .collect()
}

fn add_secrets(view: &mut ChangeView, produced: &[Produced]) {
    merge_secrets(&mut view.secrets, produced);
}

fn merge_secrets(secrets: &mut Vec<SecretView>, produced: &[Produced]) {
    for new in produced {
        if !secrets.iter().any(|known| known.id == new.id) {
            secrets.push(SecretView { id: new.id, name: new.name.clone(), revealed: false });
        }
    }
}

/// What the API shows of a plan.
pub fn plan_view(plan: &Plan) -> PlanView {
    PlanView {
        digest: plan.digest.clone(),
        steps: plan.shown().cloned().collect(),
        step_count: plan.parts.as_ref().map_or_else(
            || u32::try_from(plan.steps.len()).unwrap_or(u32::MAX),
            |parts| parts.count,
        ),
        diff: plan.shown().flat_map(|step| step.diff.iter().cloned()).collect(),
        checks: plan.checks.clone(),
        effect_class: plan.weakest_effect_class().unwrap_or(EffectClass::Verifiable),
        limit_s: plan.header.limit_s,
        reversible: plan.shown().all(|step| step.reversibility.is_reversible()),
        reversibility: plan.worst_reversibility().cloned().unwrap_or(Reversibility::Reversible),
        computed_at: plan.computed_at,
    }
}
