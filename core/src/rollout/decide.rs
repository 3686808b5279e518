//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::id::Category;
use crate::rollout::command::RolloutCommand;
use crate::rollout::event::{RolloutEvent, Tally};
use crate::rollout::evolve::evolve;
use crate::rollout::rejection::RolloutRejection as No;
use crate::rollout::state::{Batch, Hold, Rolling, RolloutState};
use crate::time::Timestamp;

const MAX_REASON: usize = 2000;
/// Canaries of a rollback that had nothing left to be undone, before somebody has to look.
const MAX_LOOKS: u32 = 20;

const THE_SYSTEM: &str = "Nexplane itself";
const OPERATOR: &str = "the operator role, as a person who is signed in";
const BRAKES: &str = "the operator or the responder role, as a person who is signed in";

/// The rollout aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Rollout;

impl Decider for Rollout {
    const CATEGORY: Category = Category::Rollout;
    type State = RolloutState;
    type Command = RolloutCommand;
    type Event = RolloutEvent;
    type Rejection = No;

    fn decide(state: &RolloutState, asked: Asked<RolloutCommand>) -> Result<Vec<RolloutEvent>, No> {
        let Asked { by, at, command } = asked;
        permitted(&by, &command)?;
        match (state, command) {
            (RolloutState::Absent, command) => start(command),
            (_, RolloutCommand::Start { .. }) => Err(No::Exists),
            (RolloutState::Finished(..), RolloutCommand::Finish) => Ok(Vec::new()),
            (RolloutState::Finished(..), _) => Err(No::Finished),
            (RolloutState::Rolling(rolling), command) => rolls(rolling, at, command),
        }
    }

    fn evolve(
        state: RolloutState,
        event: &RolloutEvent,
        _by: Actor,
        at: Timestamp,
    ) -> RolloutState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&RolloutEvent> {
        if let Event::Rollout(event) = event { Some(event) } else { None }
    }
}

impl From<RolloutEvent> for Event {
    fn from(event: RolloutEvent) -> Self {
        Self::Rollout(event)
    }
}

/// Who may ask, whatever the state. Brakes are for more people than the way on.
fn permitted(by: &Principal, command: &RolloutCommand) -> Result<(), No> {
    use RolloutCommand as C;
    let (is_so, needed) = match command {
        C::Start { .. } | C::BeginBatch | C::EndBatch { .. } | C::Finish => {
            (by.actor.kind == ActorKind::System, THE_SYSTEM)
        }
        // The runtime stops what is not what was approved.
        C::Stop { .. } if by.actor.kind == ActorKind::System => (true, THE_SYSTEM),
        C::Pause { .. } | C::Stop { .. } => (
            by.actor.kind == ActorKind::User && by.has_any(&[Role::Operator, Role::Responder]),
            BRAKES,
        ),
        C::Resume => (by.actor.kind == ActorKind::User && by.has(Role::Operator), OPERATOR),
    };
    if is_so { Ok(()) } else { Err(No::Denied { needed }) }
}

fn start(command: RolloutCommand) -> Result<Vec<RolloutEvent>, No> {
    let RolloutCommand::Start { change, digest, manifest, size, strategy, approvals, undoes } =
        command
    else {
        return Err(No::NotFound);
    };
    // All of nothing would be complete.
    if size == 0 {
        return Err(No::NothingLeft);
    }
    Ok(vec![RolloutEvent::Started { change, digest, manifest, size, strategy, approvals, undoes }])
}

fn rolls(
    rolling: &Rolling,
    at: Timestamp,
    command: RolloutCommand,
) -> Result<Vec<RolloutEvent>, No> {
    use RolloutCommand as C;
    match command {
        C::Start { .. } => Err(No::Exists),
        C::BeginBatch => begin(rolling, at),
        C::EndBatch { no, tally, moved, undo_until } => end(rolling, no, tally, moved, undo_until),
        C::Pause { reason } => match &rolling.hold {
            Hold::Free => Ok(vec![RolloutEvent::Paused { reason: checked(reason)? }]),
            Hold::Paused { .. } => Ok(Vec::new()),
            Hold::Stopped { reason } => Err(No::Stopped { reason: reason.clone() }),
        },
        C::Resume => match &rolling.hold {
            Hold::Free => Err(No::NotPaused),
            Hold::Paused { .. } => Ok(vec![RolloutEvent::Resumed {}]),
            Hold::Stopped { reason } => Err(No::Stopped { reason: reason.clone() }),
        },
        C::Stop { reason } => match &rolling.hold {
            Hold::Free | Hold::Paused { .. } => {
                Ok(vec![RolloutEvent::Stopped { reason: checked(reason)? }])
            }
            Hold::Stopped { .. } => Ok(Vec::new()),
        },
        C::Finish => {
            let (outcome, reason, tally) = rolling.outcome().ok_or(No::NotOver)?;
            Ok(vec![RolloutEvent::Finished { outcome, reason, tally }])
        }
    }
}

fn begin(rolling: &Rolling, at: Timestamp) -> Result<Vec<RolloutEvent>, No> {
    if rolling.open.is_some() {
        return Err(No::UnderWay);
    }
    match &rolling.hold {
        Hold::Free => {}
        Hold::Paused { reason } => return Err(No::Paused { reason: reason.clone() }),
        Hold::Stopped { reason } => return Err(No::Stopped { reason: reason.clone() }),
    }
    if let Some(begin) = rolling.not_before()
        && at < begin
    {
        return Err(No::TooEarly { at: begin });
    }
    let Batch { no, first, count } = rolling.next_batch().ok_or(No::NothingLeft)?;
    Ok(vec![RolloutEvent::BatchBegun { no, first, count }])
}

/// Ends a batch, and with it the rollout's freedom when it did not go as agreed.
fn end(
    rolling: &Rolling,
    no: u32,
    tally: Tally,
    moved: u32,
    undo_until: Option<Timestamp>,
) -> Result<Vec<RolloutEvent>, No> {
    let batch = rolling.open.filter(|batch| batch.no == no).ok_or(No::NotUnderWay { no })?;
    if tally.sum() != batch.count {
        return Err(No::Miscounted { tallied: tally.sum(), count: batch.count });
    }
    // Where nothing is undone, what moved has failed like everything else.
    let may_have_moved = if rolling.undoes.is_some() { tally.failed } else { 0 };
    if moved > may_have_moved {
        return Err(No::Miscounted { tallied: moved, count: may_have_moved });
    }
    let says_something = tally.tried(moved) > 0;
    let mut events = vec![RolloutEvent::BatchEnded { no, tally, moved, undo_until }];
    let is_last = batch.first.saturating_add(batch.count) >= rolling.size;
    match &rolling.hold {
        Hold::Stopped { .. } => {}
        Hold::Free | Hold::Paused { .. } if rolling.is_too_bad(tally, moved) => {
            events.push(RolloutEvent::Stopped { reason: too_bad(rolling, tally, moved) });
        }
        Hold::Free | Hold::Paused { .. }
            if rolling.is_canary()
                && !says_something
                && no.saturating_add(1) >= MAX_LOOKS
                && !is_last =>
        {
            let reason = format!(
                "None of the first {} can be undone any more: they were moved, or taken away, since. Nothing was sent to any of them.",
                batch.first.saturating_add(batch.count)
            );
            events.push(RolloutEvent::Stopped { reason });
        }
        Hold::Free
            if rolling.is_canary()
                && says_something
                && rolling.strategy.hold_after_canary
                && !is_last =>
        {
            let reason =
                "The first batch went well. Somebody has to look at it and let the rest go on.";
            events.push(RolloutEvent::Paused { reason: reason.to_owned() });
        }
        Hold::Free | Hold::Paused { .. } => {}
    }
    Ok(events)
}

fn too_bad(rolling: &Rolling, tally: Tally, moved: u32) -> String {
    if rolling.is_canary() {
        let bad = tally.bad().saturating_sub(moved);
        return format!("{bad} of the first batch did not end well.");
    }
    let bad = rolling.tally.bad().saturating_add(tally.bad());
    format!("{bad} did not end well; {} were agreed to.", rolling.strategy.max_failed)
}

fn checked(reason: String) -> Result<String, No> {
    let text = reason.trim();
    let problem = match text.chars().count() {
        0 => "must not be empty".to_owned(),
        1..=MAX_REASON if !text.contains('\0') => return Ok(text.to_owned()),
        1..=MAX_REASON => "must not contain NUL".to_owned(),
        _ => format!("at most {MAX_REASON} characters"),
    };
    Err(No::Invalid { field: "reason", problem })
}
