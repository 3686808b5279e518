//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::calendar::command::CalendarCommand;
use crate::calendar::event::{CalendarEvent, Scope};
use crate::calendar::evolve::evolve;
use crate::calendar::rejection::CalendarRejection as No;
use crate::calendar::state::{CalendarState, Freeze, Window};
use crate::event::Event;
use crate::id::{Category, FreezeId, WindowId};
use crate::time::Timestamp;

/// The longest freeze, in seconds: a year. What is longer is a typing error or a policy.
pub const MAX_FREEZE_S: i64 = 366 * 86_400;

/// The most maintenance windows that stand at the same time: every gate evaluates all that cover it.
pub const MAX_WINDOWS: usize = 100;

const MAX_REASON: usize = 500;
const MAX_NAME: usize = 100;
/// As of the tags of assets.
const MAX_TAG: usize = 40;

const ADMIN: &str = "the admin role, as a person who is signed in";

/// The calendar aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Calendar;

impl Decider for Calendar {
    const CATEGORY: Category = Category::Calendar;
    type State = CalendarState;
    type Command = CalendarCommand;
    type Event = CalendarEvent;
    type Rejection = No;

    fn decide(
        state: &CalendarState,
        asked: Asked<CalendarCommand>,
    ) -> Result<Vec<CalendarEvent>, No> {
        let Asked { by, at, command } = asked;
        permitted(&by)?;
        match command {
            CalendarCommand::DeclareFreeze { freeze, scope, start, end, reason } => {
                declare(state, at, freeze, Freeze { scope, start, end, reason, ended: None })
            }
            CalendarCommand::EndFreeze { freeze, reason } => end(state, at, freeze, &reason),
            CalendarCommand::DefineWindow { window, name, scope, slots } => {
                define(state, at, window, Window { name, scope, slots, removed: false })
            }
            CalendarCommand::RemoveWindow { window, reason } => remove(state, window, &reason),
        }
    }

    fn evolve(
        state: CalendarState,
        event: &CalendarEvent,
        _by: Actor,
        at: Timestamp,
    ) -> CalendarState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&CalendarEvent> {
        if let Event::Calendar(event) = event { Some(event) } else { None }
    }
}

impl From<CalendarEvent> for Event {
    fn from(event: CalendarEvent) -> Self {
        Self::Calendar(event)
    }
}

/// Who may ask, whatever the state.
fn permitted(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::User && by.has(Role::Admin) {
        return Ok(());
    }
    Err(No::Denied { needed: ADMIN })
}

fn declare(
    state: &CalendarState,
    at: Timestamp,
    id: FreezeId,
    freeze: Freeze,
) -> Result<Vec<CalendarEvent>, No> {
    if state.freezes.contains_key(&id) {
        return Err(No::Exists);
    }
    let Freeze { scope, start, end, reason, ended: _ } = freeze;
    let invalid = |problem: &str| Err(No::Invalid { field: "end", problem: problem.to_owned() });
    if end <= start {
        return invalid("it has to end after it starts");
    }
    if end <= at {
        return invalid("it would be over already");
    }
    if end.seconds_since(start) > MAX_FREEZE_S {
        return invalid("at most 366 days after the start");
    }
    let scope = checked_scope(scope)?;
    let reason = checked_text("reason", &reason, MAX_REASON)?;
    Ok(vec![CalendarEvent::FreezeDeclared { freeze: id, scope, start, end, reason }])
}

fn end(
    state: &CalendarState,
    at: Timestamp,
    id: FreezeId,
    reason: &str,
) -> Result<Vec<CalendarEvent>, No> {
    let reason = checked_text("reason", reason, MAX_REASON)?;
    let freeze = state.freezes.get(&id).ok_or(No::NotFound)?;
    if freeze.ended.is_some() {
        return Ok(Vec::new());
    }
    if freeze.end <= at {
        return Err(No::Over { end: freeze.end });
    }
    Ok(vec![CalendarEvent::FreezeEnded { freeze: id, reason }])
}

fn define(
    state: &CalendarState,
    at: Timestamp,
    id: WindowId,
    window: Window,
) -> Result<Vec<CalendarEvent>, No> {
    if state.windows.contains_key(&id) {
        return Err(No::Exists);
    }
    let Window { name, scope, slots, removed: _ } = window;
    let name = checked_text("name", &name, MAX_NAME)?;
    if state.standing().any(|known| known.name == name) {
        return Err(No::NameTaken);
    }
    if state.standing().count() >= MAX_WINDOWS {
        return Err(No::TooManyWindows);
    }
    let scope = checked_scope(scope)?;
    if let Err(bad) = slots.check(at) {
        return Err(No::Invalid { field: bad.field(), problem: bad.to_string() });
    }
    Ok(vec![CalendarEvent::WindowDefined { window: id, name, scope, slots }])
}

fn remove(state: &CalendarState, id: WindowId, reason: &str) -> Result<Vec<CalendarEvent>, No> {
    let reason = checked_text("reason", reason, MAX_REASON)?;
    let window = state.windows.get(&id).ok_or(No::NotFound)?;
    if window.removed {
        return Ok(Vec::new());
    }
    Ok(vec![CalendarEvent::WindowRemoved { window: id, reason }])
}

fn checked_scope(scope: Scope) -> Result<Scope, No> {
    Ok(match scope {
        Scope::All => Scope::All,
        Scope::Environment { environment } => Scope::Environment { environment },
        Scope::Tag { tag } => Scope::Tag { tag: checked_text("scope", &tag, MAX_TAG)? },
    })
}

fn checked_text(field: &'static str, text: &str, limit: usize) -> Result<String, No> {
    let text = text.trim();
    let invalid = |problem: String| Err(No::Invalid { field, problem });
    if text.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    if text.contains(char::is_control) {
        return invalid("must not contain control characters".to_owned());
    }
    Ok(text.to_owned())
}
