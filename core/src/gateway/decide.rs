//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind};
use crate::aggregate::{Asked, Decider, Reject};
use crate::event::Event;
use crate::gateway::event::GatewayEvent;
use crate::id::Category;
use crate::refusal::Refused;
use crate::time::Timestamp;

/// What can be asked of a gateway's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayCommand {
    /// By Nexplane.
    RecordRefused { refused: Refused },
}

/// Nothing is decided on what was recorded before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayState;

/// Every "no" of a gateway's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayRejection {
    #[error("Only Nexplane itself says what a gateway refused.")]
    Denied,
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: &'static str },
}

impl Reject for GatewayRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied => "access.denied",
            Self::Invalid { .. } => "validation.failed",
        }
    }
}

/// The gateway aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Gateway;

impl Decider for Gateway {
    const CATEGORY: Category = Category::Gateway;
    type State = GatewayState;
    type Command = GatewayCommand;
    type Event = GatewayEvent;
    type Rejection = GatewayRejection;

    fn decide(
        _state: &GatewayState,
        asked: Asked<GatewayCommand>,
    ) -> Result<Vec<GatewayEvent>, GatewayRejection> {
        let GatewayCommand::RecordRefused { refused } = asked.command;
        if asked.by.actor.kind != ActorKind::System {
            return Err(GatewayRejection::Denied);
        }
        let Refused { cause, count, since, source } = refused
            .checked()
            .map_err(|(field, problem)| GatewayRejection::Invalid { field, problem })?;
        Ok(vec![GatewayEvent::Refused { cause, count, since, source }])
    }

    fn evolve(
        state: GatewayState,
        _event: &GatewayEvent,
        _by: Actor,
        _at: Timestamp,
    ) -> GatewayState {
        state
    }

    fn own(event: &Event) -> Option<&GatewayEvent> {
        if let Event::Gateway(event) = event { Some(event) } else { None }
    }
}

impl From<GatewayEvent> for Event {
    fn from(event: GatewayEvent) -> Self {
        Self::Gateway(event)
    }
}
