//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::id::{Category, ChangeId};
use crate::schedule::command::ScheduleCommand;
use crate::schedule::event::{ScheduleEvent, Skip, Template, Timing};
use crate::schedule::evolve::evolve;
use crate::schedule::rejection::ScheduleRejection as No;
use crate::schedule::state::{ScheduleState, Standing};
use crate::time::Timestamp;

/// A tick that is seen later than this (seconds) was missed: it is not caught up.
pub const GRACE_S: i64 = 120;

/// The most ticks that one event says were missed; the next event goes on from there.
pub const MAX_COUNTED: usize = 10_000;

const MAX_REASON: usize = 500;
const MAX_TITLE: usize = 200;
const MAX_TEXT: usize = 4000;

const OPERATOR: &str = "the operator role, as a person who is signed in";
const OPERATOR_OR_ADMIN: &str = "the operator or the admin role, as a person who is signed in";
const THE_SYSTEM: &str = "Nexplane itself";

/// The schedule aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Schedule;

impl Decider for Schedule {
    const CATEGORY: Category = Category::Schedule;
    type State = ScheduleState;
    type Command = ScheduleCommand;
    type Event = ScheduleEvent;
    type Rejection = No;

    fn decide(
        state: &ScheduleState,
        asked: Asked<ScheduleCommand>,
    ) -> Result<Vec<ScheduleEvent>, No> {
        decide(state, asked)
    }

    fn evolve(
        state: ScheduleState,
        event: &ScheduleEvent,
        by: Actor,
        at: Timestamp,
    ) -> ScheduleState {
        evolve(state, event, by, at)
    }

    fn own(event: &Event) -> Option<&ScheduleEvent> {
        if let Event::Schedule(event) = event { Some(event) } else { None }
    }
}

impl From<ScheduleEvent> for Event {
    fn from(event: ScheduleEvent) -> Self {
        Self::Schedule(event)
    }
}

fn decide(state: &ScheduleState, asked: Asked<ScheduleCommand>) -> Result<Vec<ScheduleEvent>, No> {
    use ScheduleCommand as C;
    let Asked { by, at, command } = asked;
    match command {
        C::Create { template, timing } => {
            permitted(&by, &[Role::Operator], OPERATOR)?;
            if !matches!(state, ScheduleState::Absent) {
                return Err(No::Exists);
            }
            let (template, timing) = (checked(template)?, evaluable(timing, at)?);
            Ok(vec![ScheduleEvent::Created { template, timing }])
        }
        C::Edit { template, timing } => {
            permitted(&by, &[Role::Operator], OPERATOR)?;
            let standing = standing(state)?;
            let (template, timing) = (checked(template)?, evaluable(timing, at)?);
            if standing.template == template && standing.timing == timing {
                return Ok(Vec::new());
            }
            Ok(vec![ScheduleEvent::Edited { template, timing }])
        }
        C::Pause { reason } => {
            permitted(&by, &[Role::Operator, Role::Admin], OPERATOR_OR_ADMIN)?;
            let reason = text("reason", &reason, MAX_REASON)?;
            if standing(state)?.paused {
                return Ok(Vec::new());
            }
            Ok(vec![ScheduleEvent::Paused { reason }])
        }
        C::Resume => {
            let paused = standing(state)?.paused;
            permitted(&by, &[Role::Operator], OPERATOR)?;
            if paused { Ok(vec![ScheduleEvent::Resumed {}]) } else { Ok(Vec::new()) }
        }
        C::Delete { reason } => {
            permitted(&by, &[Role::Operator, Role::Admin], OPERATOR_OR_ADMIN)?;
            let reason = text("reason", &reason, MAX_REASON)?;
            match state {
                ScheduleState::Absent => Err(No::NotFound),
                ScheduleState::Standing(_) => Ok(vec![ScheduleEvent::Deleted { reason }]),
                ScheduleState::Deleted(_) => Ok(Vec::new()),
            }
        }
        C::Tick { owner, change, open } => {
            system(&by)?;
            match state {
                ScheduleState::Absent => Err(No::NotFound),
                ScheduleState::Standing(standing) => Ok(tick(standing, at, &owner, change, open)),
                ScheduleState::Deleted(_) => Ok(Vec::new()),
            }
        }
        C::Stall { change, reason } => {
            system(&by)?;
            let reason: String = reason.chars().take(MAX_TEXT).collect();
            match state {
                ScheduleState::Absent => Err(No::NotFound),
                ScheduleState::Standing(standing) if standing.last == Some(change) => {
                    Ok(vec![ScheduleEvent::Stalled { change, reason }])
                }
                ScheduleState::Standing(_) | ScheduleState::Deleted(_) => Ok(Vec::new()),
            }
        }
    }
}

/// What becomes of every tick that has come and was neither fired nor skipped.
fn tick(
    standing: &Standing,
    at: Timestamp,
    owner: &Principal,
    change: ChangeId,
    open: Option<ChangeId>,
) -> Vec<ScheduleEvent> {
    if standing.paused {
        return Vec::new();
    }
    let starts = standing.timing.slots().starts(standing.ticked);
    let due: Vec<_> = starts.take_while(|tick| *tick <= at).take(MAX_COUNTED).collect();
    let Some((&tick, earlier)) = due.split_last() else { return Vec::new() };
    let skipped = |tick, ticks: usize, why| {
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        ScheduleEvent::Skipped { tick, ticks, why }
    };
    if at.seconds_since(tick) > GRACE_S {
        return vec![skipped(tick, due.len(), Skip::Missed)];
    }
    let missed = earlier.last().map(|last| skipped(*last, earlier.len(), Skip::Missed));
    let is_owner = owner.actor == Actor::user(standing.owner);
    let event = if !is_owner || !owner.has(Role::Operator) {
        let problem = "Its owner's account is disabled, or has no longer the operator role.";
        skipped(tick, 1, Skip::Owner { problem: problem.to_owned() })
    } else if let Some(change) = open {
        skipped(tick, 1, Skip::Open { change })
    } else {
        ScheduleEvent::Fired { tick, change }
    };
    missed.into_iter().chain([event]).collect()
}

fn standing(state: &ScheduleState) -> Result<&Standing, No> {
    match state {
        ScheduleState::Absent => Err(No::NotFound),
        ScheduleState::Standing(standing) => Ok(standing),
        ScheduleState::Deleted(_) => Err(No::Deleted),
    }
}

fn permitted(by: &Principal, roles: &[Role], needed: &'static str) -> Result<(), No> {
    if by.actor.kind == ActorKind::User && by.has_any(roles) {
        return Ok(());
    }
    Err(No::Denied { needed })
}

fn system(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::System { Ok(()) } else { Err(No::Denied { needed: THE_SYSTEM }) }
}

/// What a draft would be refused for later, as far as that can be said now.
fn checked(template: Template) -> Result<Template, No> {
    let title = text("title", &template.title, MAX_TITLE)?;
    let reason = text("reason", &template.reason, MAX_TEXT)?;
    let ticket = template.ticket.as_deref().map(|ticket| text("ticket", ticket, MAX_TITLE));
    let ticket = ticket.transpose()?;
    if template.targets.is_empty() {
        let problem = "name at least one target".to_owned();
        return Err(No::Invalid { field: "targets", problem });
    }
    Ok(Template { title, reason, ticket, ..template })
}

fn evaluable(timing: Timing, at: Timestamp) -> Result<Timing, No> {
    match timing.slots().check(at) {
        Ok(()) => Ok(timing),
        Err(bad) => Err(No::Invalid { field: bad.field(), problem: bad.to_string() }),
    }
}

fn text(field: &'static str, text: &str, limit: usize) -> Result<String, No> {
    let text = text.trim();
    let invalid = |problem: String| Err(No::Invalid { field, problem });
    if text.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    if text.contains('\0') {
        return invalid("must not contain NUL".to_owned());
    }
    Ok(text.to_owned())
}
