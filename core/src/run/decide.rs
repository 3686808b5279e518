//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::catalog::EffectClass;
use crate::event::Event;
use crate::freeze::InTheWay;
use crate::id::Category;
use crate::run::command::{Held, RunCommand};
use crate::run::event::{Finding, LateReport, RunEvent};
use crate::run::evolve::evolve;
use crate::run::rejection::RunRejection as No;
use crate::run::state::{RunState, Running, StepPhase};
use crate::time::Timestamp;

const MAX_REASON: usize = 2000;

const BRAKES: &str = "the operator or the responder role, as a person who is signed in";

/// The run aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Run;

impl Decider for Run {
    const CATEGORY: Category = Category::Run;
    type State = RunState;
    type Command = RunCommand;
    type Event = RunEvent;
    type Rejection = No;

    fn decide(state: &RunState, asked: Asked<RunCommand>) -> Result<Vec<RunEvent>, No> {
        permitted(&asked.by, &asked.command)?;
        decide(state, asked.at, asked.command)
    }

    fn evolve(state: RunState, event: &RunEvent, _by: Actor, at: Timestamp) -> RunState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&RunEvent> {
        if let Event::Run(event) = event { Some(event) } else { None }
    }
}

impl From<RunEvent> for Event {
    fn from(event: RunEvent) -> Self {
        Self::Run(event)
    }
}

/// Who may ask, whatever the state. Orders are the runtime's, the brake is for people.
fn permitted(by: &Principal, command: &RunCommand) -> Result<(), No> {
    use RunCommand as C;
    match command {
        C::AskCancel { .. } => {
            let may =
                by.actor.kind == ActorKind::User && by.has_any(&[Role::Operator, Role::Responder]);
            if may { Ok(()) } else { Err(No::NeedsRole { needed: BRAKES }) }
        }
        C::Start { .. }
        | C::Claim { .. }
        | C::Intend { .. }
        | C::Succeed { .. }
        | C::Fail { .. }
        | C::LoseSight { .. }
        | C::Reconcile { .. }
        | C::Verify { .. }
        | C::Unverify { .. }
        | C::Block { .. }
        | C::ReportLate { .. }
        | C::Finish { .. } => {
            if by.actor.kind == ActorKind::System {
                Ok(())
            } else {
                Err(No::Denied)
            }
        }
    }
}

fn decide(state: &RunState, at: Timestamp, command: RunCommand) -> Result<Vec<RunEvent>, No> {
    use RunCommand as C;

    match (state, command) {
        // All of nothing would be complete.
        (RunState::Absent, C::Start { plan, .. }) if plan.steps.is_empty() => Err(No::NoSteps),
        (RunState::Absent, C::Start { change, plan, approvals, undoes, part }) => {
            Ok(vec![RunEvent::Started { change, plan, approvals, undoes, part }])
        }
        (RunState::Absent, _) => Err(No::NotFound),
        (RunState::Running(_) | RunState::Finished(_), C::Start { .. }) => Err(No::Exists),
        (RunState::Finished(_), C::Finish { .. }) => Ok(Vec::new()),
        (RunState::Finished(_), C::AskCancel { .. }) => Err(No::TooLate { why: "it has ended" }),
        (RunState::Finished(finished), C::ReportLate { step, epoch, report }) => {
            late(&finished.run, step, epoch, report)
        }
        (RunState::Finished(_), _) => Err(No::Finished),
        (RunState::Running(run), command) => running(run, at, command),
    }
}

fn running(run: &Running, at: Timestamp, command: RunCommand) -> Result<Vec<RunEvent>, No> {
    use RunCommand as C;
    match command {
        C::Start { .. } => Err(No::Exists),
        C::Claim { worker, after } => {
            if after != run.epoch {
                return Err(No::Fenced { asked: after, current: run.epoch });
            }
            Ok(vec![RunEvent::Claimed { epoch: run.epoch.saturating_add(1), worker }])
        }
        C::Intend {
            step,
            epoch,
            key,
            before,
            in_the_way: InTheWay { frozen, closed, waits_for: _, meets: _ },
            held,
            terms,
        } => {
            fenced(run, epoch)?;
            let attempt = next_attempt(run, step)?;
            if let Some(no) = run.cancelled() {
                return Err(no);
            }
            match held {
                None => {}
                Some(Held::Paused) => return Err(No::Paused),
                Some(Held::Stopped { reason }) => return Err(No::Stopped { reason }),
            }
            run.may_begin(at, terms.as_ref())?;
            if !frozen.is_empty() {
                return Err(No::Frozen { frozen });
            }
            if let Some(closed) = closed {
                return Err(No::WindowClosed { closed });
            }
            Ok(vec![RunEvent::StepIntended { step, epoch, attempt, key, before }])
        }
        C::Succeed { step, epoch, outcome, produced, undo_until } => {
            fenced(run, epoch)?;
            own_intent(run, step, epoch)?;
            Ok(vec![RunEvent::StepSucceeded { step, epoch, outcome, produced, undo_until }])
        }
        C::Fail { step, epoch, reason } => {
            fenced(run, epoch)?;
            own_intent(run, step, epoch)?;
            Ok(vec![RunEvent::StepFailed { step, epoch, reason }])
        }
        C::LoseSight { step, epoch, reason } => {
            fenced(run, epoch)?;
            let now = phase(run, step)?;
            if !matches!(now, StepPhase::Intended(_)) {
                return Err(wrong(step, now, "only an intent without an answer is unknown"));
            }
            Ok(vec![RunEvent::StepUnknown { step, epoch, reason }])
        }
        C::Reconcile { step, epoch, finding, evidence, observed, produced } => {
            fenced(run, epoch)?;
            let now = phase(run, step)?;
            if !matches!(now, StepPhase::Unknown { .. }) {
                return Err(wrong(step, now, "only what is unknown is reconciled"));
            }
            Ok(vec![RunEvent::StepReconciled { step, finding, evidence, observed, produced }])
        }
        C::Verify { step, epoch, observed, fingerprint } => {
            fenced(run, epoch)?;
            effect_known(run, step)?;
            Ok(vec![RunEvent::StepVerified { step, observed, fingerprint }])
        }
        C::Unverify { step, epoch, observed, reason } => {
            fenced(run, epoch)?;
            effect_known(run, step)?;
            Ok(vec![RunEvent::StepUnverified { step, observed, reason }])
        }
        C::Block { step, epoch, before, after, now, reason } => {
            fenced(run, epoch)?;
            next_attempt(run, step)?;
            Ok(vec![RunEvent::StepBlocked { step, before, after, now, reason }])
        }
        C::AskCancel { reason } => cancel(run, &reason),
        C::ReportLate { step, epoch, report } => late(run, step, epoch, report),
        C::Finish { epoch } => {
            fenced(run, epoch)?;
            let (outcome, reason) = run.outcome().ok_or(No::NotOver)?;
            Ok(vec![RunEvent::Finished { outcome, reason, secrets: run.produced.clone() }])
        }
    }
}

fn cancel(run: &Running, reason: &str) -> Result<Vec<RunEvent>, No> {
    if run.part.is_some() {
        return Err(No::OfRollout);
    }
    if run.cancel.is_some() {
        return Ok(Vec::new());
    }
    if !run.has_more_to_begin() {
        return Err(No::TooLate { why: "no step is left that could be held back" });
    }
    let reason = reason.trim();
    let problem = match reason.chars().count() {
        0 => "must not be empty".to_owned(),
        1..=MAX_REASON if !reason.contains('\0') => {
            return Ok(vec![RunEvent::CancelAsked { reason: reason.to_owned() }]);
        }
        1..=MAX_REASON => "must not contain NUL".to_owned(),
        _ => format!("at most {MAX_REASON} characters"),
    };
    Err(No::Invalid { field: "reason", problem })
}

/// Evidence of an epoch that was fenced off, on an intent of its own, once.
fn late(run: &Running, step: u32, epoch: u32, report: LateReport) -> Result<Vec<RunEvent>, No> {
    if epoch >= run.epoch {
        return Err(No::NotLate { epoch: run.epoch });
    }
    if !run.due.contains(&(step, epoch)) {
        return Err(No::NothingDue { step, epoch });
    }
    Ok(vec![RunEvent::LateReported { step, epoch, report }])
}

/// Orders are the newest epoch's. Epoch 0 is nobody's: two workers could believe that it is theirs.
fn fenced(run: &Running, asked: u32) -> Result<(), No> {
    if asked == run.epoch && asked > 0 {
        Ok(())
    } else {
        Err(No::Fenced { asked, current: run.epoch })
    }
}

fn phase(run: &Running, step: u32) -> Result<&StepPhase, No> {
    run.step(step).map(|(_, phase)| phase).ok_or(No::NoSuchStep { step })
}

/// The number of the next attempt at a step, if there may be one: it is the step's turn, and it was
/// never tried, or a reading of the target says that the last attempt had no effect.
fn next_attempt(run: &Running, step: u32) -> Result<u32, No> {
    let (planned, phase) = run.step(step).ok_or(No::NoSuchStep { step })?;
    for (before, earlier) in (0..step).zip(&run.steps) {
        if !matches!(earlier, StepPhase::Verified(_)) {
            return Err(No::OutOfOrder { step, before });
        }
    }
    match phase {
        StepPhase::Planned => Ok(1),
        StepPhase::Reconciled { intent, finding: Finding::NotApplied } => {
            match planned.effect_class {
                EffectClass::Keyed | EffectClass::Fenced | EffectClass::Verifiable => {
                    Ok(intent.attempt.saturating_add(1))
                }
                EffectClass::Unprotected => {
                    Err(wrong(step, phase, "an unprotected effect is never repeated by itself"))
                }
            }
        }
        StepPhase::Intended(_)
        | StepPhase::Succeeded(_)
        | StepPhase::Verified(_)
        | StepPhase::Unverified { .. }
        | StepPhase::Failed { .. }
        | StepPhase::Unknown { .. }
        | StepPhase::Reconciled { .. }
        | StepPhase::Blocked { .. } => Err(wrong(
            step,
            phase,
            "a step is tried again only when it is known to have had no effect",
        )),
    }
}

fn own_intent(run: &Running, step: u32, epoch: u32) -> Result<(), No> {
    let now = phase(run, step)?;
    if matches!(now, StepPhase::Intended(intent) if intent.epoch == epoch) {
        return Ok(());
    }
    Err(wrong(step, now, "only the epoch that intended it can report on it"))
}

fn effect_known(run: &Running, step: u32) -> Result<(), No> {
    let now = phase(run, step)?;
    let known = matches!(
        now,
        StepPhase::Succeeded(_) | StepPhase::Reconciled { finding: Finding::Applied, .. }
    );
    if known { Ok(()) } else { Err(wrong(step, now, "only a known effect can be verified")) }
}

fn wrong(step: u32, phase: &StepPhase, wanted: &'static str) -> No {
    No::StepNotInState { step, state: phase.name(), wanted }
}
