//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::change::approval::{OnBehalf, approve_for, give, in_review, seat};
use crate::change::beforehand::{go_back, start_back};
use crate::change::behalf::{
    draft_for_project, draft_for_schedule, give_up, join_project, on_behalf,
};
use crate::change::command::ChangeCommand;
use crate::change::event::{ChangeEvent, Draft};
use crate::change::evolve::evolve;
use crate::change::freeze::{override_freeze, override_window, review};
use crate::change::glass::break_glass;
use crate::change::rejection::ChangeRejection as No;
use crate::change::rollback::start_rollback;
use crate::change::schedule::{start, start_scheduled, unschedule};
use crate::change::settle::settle;
use crate::change::state::{
    Approval, ChangeState, Drafting, Finish, Given, Outcome, Subject, Submission,
};
use crate::event::Event;
use crate::freeze::Frozen;
use crate::id::{Category, ChangeId, PersonId};
use crate::plan::Plan;
use crate::policy::Case;
use crate::rollout::event::Strategy;
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

/// A plan older than this (seconds) has to be made again before it is submitted.
pub const MAX_PLAN_AGE_S: i64 = 3600;
/// The most bytes of a plan as JSON: what else is in a record beside it has room, too.
pub const MAX_PLAN: usize = 480 * 1024;
/// The most targets of one change.
pub const MAX_TARGETS: usize = 10_000;
/// The most of them that are done one after the other, in one run. More need a rollout.
pub const MAX_STEPS: usize = 100;

const OPERATOR: &str = "the operator role";
const APPROVER: &str = "the approver role";
pub(super) const A_PERSON: &str =
    "a person who is signed in; API tokens of machines only draft and plan";
const THE_SYSTEM: &str = "Nexplane itself";
const ITS_AUTHOR: &str = "its author or an editor";
const ITS_REQUESTER: &str = "the person who requested the change";

/// The change aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Change;

impl Decider for Change {
    const CATEGORY: Category = Category::Change;
    type State = ChangeState;
    type Command = ChangeCommand;
    type Event = ChangeEvent;
    type Rejection = No;

    fn decide(state: &ChangeState, asked: Asked<ChangeCommand>) -> Result<Vec<ChangeEvent>, No> {
        decide(state, asked)
    }

    fn evolve(state: ChangeState, event: &ChangeEvent, by: Actor, at: Timestamp) -> ChangeState {
        evolve(state, event, by, at)
    }

    fn own(event: &Event) -> Option<&ChangeEvent> {
        if let Event::Change(event) = event { Some(event) } else { None }
    }
}

impl From<ChangeEvent> for Event {
    fn from(event: ChangeEvent) -> Self {
        Self::Change(event)
    }
}

pub(super) fn decide(
    state: &ChangeState,
    asked: Asked<ChangeCommand>,
) -> Result<Vec<ChangeEvent>, No> {
    use ChangeCommand as C;
    let Asked { by, at, command } = asked;
    match command {
        C::Draft { draft, rollback_of } => draft_new(state, &by, draft, rollback_of),
        C::DraftForSchedule { draft, schedule, editors } => {
            draft_for_schedule(state, &by, draft, schedule, editors)
        }
        C::DraftForProject { draft, rollback_of, project } => {
            draft_for_project(state, &by, draft, rollback_of, project)
        }
        C::GiveUp { reason } => give_up(state, &by, &reason),
        C::JoinProject { project, member_of } => join_project(state, &by, project, member_of),
        C::OnBehalf { asker, project, command } => {
            on_behalf(state, &by, at, asker, project, *command)
        }
        C::Edit { draft } => edit(state, &by, draft),
        C::RecordPlan { plan } => record_plan(state, &by, plan),
        C::Submit { environment, risk, tags, known, policy } => {
            let Some(plan) = may_submit(state, &by, at, policy.version)? else {
                return Ok(Vec::new());
            };
            let case = Case::of(plan, environment, &risk, tags);
            let mut quorum = policy
                .quorum(&case)
                .map_err(|no| No::RefusedByPolicy { version: no.version, rule: no.rule })?;
            seat(state, &mut quorum, policy.pool(&case), &known)?;
            let digest = plan.digest.clone();
            let (needed, valid_s, delay_s) = (quorum.approvals, quorum.valid_s, quorum.delay_s);
            let tags = Some(case.tags);
            let submitted = ChangeEvent::Submitted {
                digest: digest.clone(),
                environment,
                risk,
                quorum,
                tags,
                beforehand: None,
            };
            let at_once = (needed == 0).then(|| approved(digest, at, at, delay_s, valid_s));
            Ok(std::iter::once(submitted).chain(at_once).collect())
        }
        C::Approve { digest, comment, frozen } => approve(state, &by, at, digest, comment, frozen),
        C::ApproveFor { delegator, account, digest, comment, frozen } => {
            let on_behalf = OnBehalf { delegator, account: &account };
            approve_for(state, &by, at, on_behalf, digest, comment, frozen)
        }
        C::Reject { reason } => reject(state, &by, reason),
        C::Withdraw => withdraw(state, &by),
        C::Cancel { reason } => cancel(state, &by, reason),
        C::Expire => expire(state, &by, at),
        C::OverrideFreeze { freeze, covers, justification } => {
            override_freeze(state, &by, freeze, covers, justification)
        }
        C::OverrideWindow { covers, justification } => {
            override_window(state, &by, covers, justification)
        }
        C::BreakGlass { digest, justification, frozen, overdue } => {
            break_glass(state, &by, at, digest, justification, (frozen, overdue))
        }
        C::StartExecution { run, in_the_way } => start(state, &by, at, run, in_the_way),
        C::StartScheduled { run, asker, in_the_way } => {
            start_scheduled(state, &by, at, &asker, run, in_the_way)
        }
        C::Unschedule { reason } => unschedule(state, &by, reason),
        C::GoBack { back } => go_back(state, &by, at, *back),
        C::StartBack { run, in_the_way } => start_back(state, &by, at, run, in_the_way),
        C::RecordOutcome { this, run, outcome, reason, secrets, undo_until } => {
            system(&by)?;
            match state {
                ChangeState::Executing(execution) if execution.run == run => {
                    let limited = undo_until.map(|until| ChangeEvent::UndoLimited { run, until });
                    let ended = match outcome {
                        RunOutcome::Complete => ChangeEvent::Completed { run, secrets },
                        RunOutcome::Failed => ChangeEvent::Failed { run, reason, secrets },
                        RunOutcome::OutcomeUnknown => {
                            ChangeEvent::OutcomeUnknown { run, reason, secrets }
                        }
                        RunOutcome::RollbackPartial => {
                            ChangeEvent::RollbackPartial { rollback: this, run, reason }
                        }
                        RunOutcome::RollbackBlocked => {
                            ChangeEvent::RollbackBlocked { rollback: this, run, reason }
                        }
                    };
                    Ok(limited.into_iter().chain([ended]).collect())
                }
                ChangeState::Finished(finish) if finish.execution.run == run => Ok(Vec::new()),
                ChangeState::Absent
                | ChangeState::Draft(_)
                | ChangeState::Submitted(_)
                | ChangeState::Approved(_)
                | ChangeState::Executing(_)
                | ChangeState::Finished(_)
                | ChangeState::Closed(_) => {
                    Err(wrong_state(state, "only the run that it executes can end it"))
                }
            }
        }
        C::Settle { finding, evidence, read } => settle(state, &by, finding, evidence, read),
        C::StartRollback { rollback, run, later } => {
            start_rollback(state, &by, at, rollback, run, later)
        }
        C::RecordRollback { rollback, run, outcome, reason } => {
            system(&by)?;
            match state {
                ChangeState::Finished(Finish {
                    how: Outcome::RollingBack { run: own, .. },
                    ..
                }) if *own == run => Ok(vec![match outcome {
                    RunOutcome::Complete => ChangeEvent::RolledBack { rollback, run },
                    RunOutcome::RollbackBlocked => {
                        ChangeEvent::RollbackBlocked { rollback, run, reason }
                    }
                    RunOutcome::Failed
                    | RunOutcome::OutcomeUnknown
                    | RunOutcome::RollbackPartial => {
                        ChangeEvent::RollbackPartial { rollback, run, reason }
                    }
                }]),
                ChangeState::Finished(_) => Ok(Vec::new()),
                ChangeState::Absent
                | ChangeState::Draft(_)
                | ChangeState::Submitted(_)
                | ChangeState::Approved(_)
                | ChangeState::Executing(_)
                | ChangeState::Closed(_) => {
                    Err(wrong_state(state, "only a change being rolled back can be"))
                }
            }
        }
        C::Review { comment } => review(state, &by, comment),
        C::RevealSecret { secret, late } => {
            let ChangeState::Finished(finish) = state else {
                return Err(if matches!(state, ChangeState::Absent) {
                    No::NotFound
                } else {
                    No::NoSuchSecret
                });
            };
            if by.actor.kind != ActorKind::User
                || by.actor.person() != Some(finish.execution.subject.author)
            {
                return Err(No::Denied { needed: ITS_REQUESTER });
            }
            if !finish.secrets.iter().chain(&late).any(|produced| produced.id == secret) {
                return Err(No::NoSuchSecret);
            }
            if finish.revealed.contains(&secret) {
                return Err(No::AlreadyRevealed);
            }
            Ok(vec![ChangeEvent::SecretRevealed { secret }])
        }
    }
}

pub(super) fn draft_new(
    state: &ChangeState,
    by: &Principal,
    draft: Draft,
    rollback_of: Option<ChangeId>,
) -> Result<Vec<ChangeEvent>, No> {
    if !matches!(state, ChangeState::Absent) {
        return Err(No::Exists);
    }
    proposer(by)?;
    let draft = checked(draft)?;
    Ok(vec![ChangeEvent::Drafted { draft, rollback_of }])
}

/// Why this person may not edit the change now, or what it is about.
pub fn may_edit<'a>(state: &'a ChangeState, by: &Principal) -> Result<&'a Subject, No> {
    let subject = reviewable(state, "only drafts and changes in review can be edited")?;
    proposer(by)?;
    if subject.rollback_of.is_some() {
        return Err(No::NotInState {
            state: "a rollback",
            wanted: "its plan comes from the captured state and is not edited",
        });
    }
    Ok(subject)
}

/// Why this person may not plan the change now, or what it is about. Asked before the target is
/// read.
pub fn may_plan<'a>(state: &'a ChangeState, by: &Principal) -> Result<&'a Subject, No> {
    let subject = reviewable(state, "only drafts and changes in review can be planned")?;
    proposer(by)?;
    Ok(subject)
}

fn edit(state: &ChangeState, by: &Principal, draft: Draft) -> Result<Vec<ChangeEvent>, No> {
    let subject = may_edit(state, by)?;
    let draft = checked(draft)?;
    if draft == subject.draft {
        return Ok(Vec::new());
    }
    Ok(vec![ChangeEvent::Edited { draft }])
}

fn record_plan(
    state: &ChangeState,
    by: &Principal,
    plan: Box<crate::plan::Plan>,
) -> Result<Vec<ChangeEvent>, No> {
    let subject = may_plan(state, by)?;
    if !subject.is_planned_by(&plan.header) {
        return Err(wrong_state(state, "it was edited while this plan was made; plan it again"));
    }
    checked_size(&plan)?;
    match state {
        // In review, the same plan again changes nothing and keeps the approvals.
        ChangeState::Submitted(Submission { plan: old, .. })
        | ChangeState::Approved(Approval { submission: Submission { plan: old, .. }, .. })
            if old.digest == plan.digest =>
        {
            Ok(Vec::new())
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Ok(vec![ChangeEvent::Planned { plan }]),
    }
}

/// A run begins with its plan, and a record of the log has an end.
pub fn checked_size(plan: &Plan) -> Result<(), No> {
    let bytes = serde_json::to_vec(plan).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_PLAN {
        return Ok(());
    }
    let problem = format!(
        "it would have {bytes} bytes, and {MAX_PLAN} are the most that is recorded: make the parameters shorter, or name fewer targets"
    );
    Err(No::Invalid { field: "plan", problem })
}

/// Why this person may not submit the change now, or its plan. `None` when agreeing with what is
/// submitted changes nothing. What the policy then asks for is for the policy to say.
pub fn may_submit<'a>(
    state: &'a ChangeState,
    by: &Principal,
    at: Timestamp,
    policy_version: u32,
) -> Result<Option<&'a Plan>, No> {
    let plan = match state {
        ChangeState::Draft(Drafting { subject: _, plan }) => plan.as_deref(),
        ChangeState::Absent => return Err(No::NotFound),
        // Whoever asks for a rollback submits it with that; agreeing with that is not an error.
        ChangeState::Submitted(submission) if submission.subject.rollback_of.is_some() => {
            person(by)?;
            operator(by)?;
            return Ok(None);
        }
        ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "only a draft can be submitted"));
        }
    };
    person(by)?;
    operator(by)?;
    let plan = plan.ok_or(No::PlanMissing)?;
    if at.seconds_since(plan.computed_at) > MAX_PLAN_AGE_S {
        return Err(No::PlanOutdated);
    }
    let planned = plan.header.policy_version;
    if planned != policy_version {
        return Err(No::PlanOfOtherPolicy { planned, current: policy_version });
    }
    ready(plan)?;
    Ok(Some(plan))
}

/// Whether there is anything to do, and nothing that was asked of the targets speaks against it.
pub(super) fn ready(plan: &crate::plan::Plan) -> Result<(), No> {
    if !plan.is_ready() {
        let failed: Vec<_> =
            plan.checks.iter().filter(|c| !c.ok).map(|c| c.detail.as_str()).collect();
        return Err(No::PlanNotReady { checks: failed.join("; ") });
    }
    if plan.shown().next().is_none() {
        return Err(No::PlanNotReady { checks: "it has no steps".to_owned() });
    }
    Ok(())
}

/// Why somebody may not approve this change now, or `Ok`.
///
/// The question whether it is their own comes first: no role makes a difference to that answer.
fn may_approve<'a>(state: &'a ChangeState, by: &Principal) -> Result<&'a Submission, No> {
    let submission = in_review(state)?;
    person(by)?;
    if by.actor.person().is_some_and(|person| submission.subject.is_own(person)) {
        return Err(No::OwnApproval);
    }
    if !by.has(Role::Approver) {
        return Err(No::Denied { needed: APPROVER });
    }
    Ok(submission)
}

fn approve(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    digest: String,
    comment: Option<String>,
    frozen: Vec<Frozen>,
) -> Result<Vec<ChangeEvent>, No> {
    let submission = may_approve(state, by)?;
    let Some(approver) = by.actor.person() else {
        return Err(No::Denied { needed: A_PERSON });
    };
    let given = Given { by: approver, at, as_admin: by.has(Role::Admin), delegator: None };
    give(state, submission, given, digest, comment, frozen)
}

/// The delay begins with the last approval, and prolongs the validity, which begins with the oldest.
pub(super) fn approved(
    digest: String,
    oldest: Timestamp,
    last: Timestamp,
    delay_s: u32,
    valid_s: u32,
) -> ChangeEvent {
    ChangeEvent::Approved {
        digest,
        not_before: last.plus_seconds(i64::from(delay_s)),
        until: oldest.plus_seconds(i64::from(delay_s) + i64::from(valid_s)),
    }
}

fn reject(state: &ChangeState, by: &Principal, reason: String) -> Result<Vec<ChangeEvent>, No> {
    let submission = may_approve(state, by)?;
    let reason = checked_text("reason", reason, 2000)?;
    Ok(vec![ChangeEvent::Rejected { digest: submission.plan.digest.clone(), reason }])
}

fn withdraw(state: &ChangeState, by: &Principal) -> Result<Vec<ChangeEvent>, No> {
    let subject = match state {
        ChangeState::Submitted(phase) => &phase.subject,
        ChangeState::Approved(phase) => &phase.submission.subject,
        ChangeState::Absent => return Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "only a change in review can be withdrawn"));
        }
    };
    own(subject, by)?;
    Ok(vec![ChangeEvent::Withdrawn {}])
}

fn cancel(state: &ChangeState, by: &Principal, reason: String) -> Result<Vec<ChangeEvent>, No> {
    let is_rollout = matches!(state, ChangeState::Executing(run) if run.plan.parts.is_some());
    let too_late =
        if is_rollout { "stop the rollout instead" } else { "it is too late to cancel it" };
    let subject = reviewable(state, too_late)?;
    own(subject, by)?;
    let reason = checked_text("reason", reason, 2000)?;
    Ok(vec![ChangeEvent::Cancelled { reason }])
}

fn expire(state: &ChangeState, by: &Principal, at: Timestamp) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    match state {
        ChangeState::Approved(approval) if at >= approval.until => {
            Ok(vec![ChangeEvent::Expired {}])
        }
        ChangeState::Absent => Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Ok(Vec::new()),
    }
}

/// Why this person may not have the change executed, or the approval that lets them. It may have to wait
/// for a window still.
///
/// The runtime asks this before it reads the target; the same function decides the command.
pub fn may_execute<'a>(
    state: &'a ChangeState,
    by: &Principal,
    at: Timestamp,
) -> Result<&'a Approval, No> {
    person(by)?;
    operator(by)?;
    let approval = match state {
        ChangeState::Approved(approval) => approval,
        ChangeState::Absent => return Err(No::NotFound),
        ChangeState::Submitted(submission) => {
            return Err(No::QuorumMissing {
                given: u32::try_from(submission.standing(at).count()).unwrap_or(u32::MAX),
                needed: submission.quorum.approvals,
                admin: match (submission.quorum.admin, submission.seats_lack()) {
                    (true, 0) => ", one of which has to be an admin's",
                    (true, _) => ", and an admin or whom the policy names is not among them",
                    (false, 0) => "",
                    (false, _) => ", and whom the policy names is not among them",
                },
            });
        }
        ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "only an approved change can be executed"));
        }
    };
    if at >= approval.until {
        return Err(No::ApprovalExpired { until: approval.until });
    }
    if at < approval.not_before {
        return Err(No::TooEarly {
            not_before: approval.not_before,
            why: "critical changes wait 15 minutes after the last approval",
        });
    }
    if let Some(window) = approval.submission.subject.draft.window
        && at >= window.end
    {
        return Err(No::WindowOver { end: window.end });
    }
    Ok(approval)
}

/// The subject of a change that has not begun to execute.
fn reviewable<'a>(state: &'a ChangeState, wanted: &'static str) -> Result<&'a Subject, No> {
    match state {
        ChangeState::Draft(phase) => Ok(&phase.subject),
        ChangeState::Submitted(phase) => Ok(&phase.subject),
        ChangeState::Approved(phase) => Ok(&phase.submission.subject),
        ChangeState::Absent => Err(No::NotFound),
        ChangeState::Executing(_) | ChangeState::Finished(_) | ChangeState::Closed(_) => {
            Err(wrong_state(state, wanted))
        }
    }
}

pub(super) fn wrong_state(state: &ChangeState, wanted: &'static str) -> No {
    if matches!(state, ChangeState::Absent) {
        return No::NotFound;
    }
    No::NotInState { state: state.name(), wanted }
}

pub(super) fn proposer(by: &Principal) -> Result<(), No> {
    if by.actor.person().is_none() {
        return Err(No::Denied { needed: A_PERSON });
    }
    operator(by)
}

pub(super) fn operator(by: &Principal) -> Result<(), No> {
    if by.has(Role::Operator) { Ok(()) } else { Err(No::Denied { needed: OPERATOR }) }
}

pub(super) fn person(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::User { Ok(()) } else { Err(No::Denied { needed: A_PERSON }) }
}

pub(super) fn system(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::System { Ok(()) } else { Err(No::Denied { needed: THE_SYSTEM }) }
}

fn own(subject: &Subject, by: &Principal) -> Result<(), No> {
    person(by)?;
    let is_own = by.actor.person().is_some_and(|person: PersonId| subject.is_own(person));
    if is_own { Ok(()) } else { Err(No::Denied { needed: ITS_AUTHOR }) }
}

fn checked(mut draft: Draft) -> Result<Draft, No> {
    draft.title = checked_text("title", draft.title, 200)?;
    draft.reason = checked_text("reason", draft.reason, 4000)?;
    if let Some(ticket) = draft.ticket.take() {
        draft.ticket = Some(checked_text("ticket", ticket, 200)?);
    }
    let invalid = |field, problem: String| Err(No::Invalid { field, problem });
    if draft.targets.is_empty() {
        return invalid("targets", "name at least one target".to_owned());
    }
    if draft.targets.len() > MAX_TARGETS {
        return invalid("targets", format!("at most {MAX_TARGETS} targets in one change"));
    }
    let mut seen = std::collections::BTreeSet::new();
    if !draft.targets.iter().all(|target| seen.insert(*target)) {
        return invalid("targets", "each target once".to_owned());
    }
    if draft.targets.len() > MAX_STEPS {
        draft.rollout.get_or_insert(Strategy::for_targets(draft.targets.len()));
    }
    if let Some((field, problem)) = draft.rollout.and_then(|s| s.fault(draft.targets.len())) {
        return invalid(field, problem);
    }
    if draft.window.is_some_and(|window| window.end <= window.start) {
        return invalid("window", "it has to end after it starts".to_owned());
    }
    Ok(draft)
}

pub(super) fn checked_text(field: &'static str, text: String, limit: usize) -> Result<String, No> {
    let text = text.trim();
    if text.is_empty() {
        return Err(No::Invalid { field, problem: "must not be empty".to_owned() });
    }
    if text.chars().count() > limit {
        return Err(No::Invalid { field, problem: format!("at most {limit} characters") });
    }
    if text.contains('\0') {
        return Err(No::Invalid { field, problem: "must not contain NUL".to_owned() });
    }
    Ok(text.to_owned())
}
