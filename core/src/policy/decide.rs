//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::id::Category;
use crate::policy::command::PolicyCommand;
use crate::policy::event::PolicyEvent;
use crate::policy::evolve::evolve;
use crate::policy::floor::{checked_text, faults};
use crate::policy::rejection::PolicyRejection as No;
use crate::policy::state::PolicyState;
use crate::time::Timestamp;

const MAX_NOTE: usize = 500;

const ADMIN: &str = "the admin role, as a person who is signed in";

/// The policy aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Policy;

impl Decider for Policy {
    const CATEGORY: Category = Category::Policy;
    type State = PolicyState;
    type Command = PolicyCommand;
    type Event = PolicyEvent;
    type Rejection = No;

    fn decide(state: &PolicyState, asked: Asked<PolicyCommand>) -> Result<Vec<PolicyEvent>, No> {
        let Asked { by, at: _, command } = asked;
        permitted(&by)?;
        match command {
            PolicyCommand::Publish { document, note, based_on } => {
                let note = note.trim().to_owned();
                checked_text(&note, MAX_NOTE)
                    .map_err(|problem| No::Invalid { field: "note", problem })?;
                let faults = faults(&document);
                if !faults.is_empty() {
                    return Err(No::Faulty { faults });
                }
                if based_on != state.version {
                    return Err(No::Moved { based_on, current: state.version });
                }
                if document == state.document {
                    return Err(No::Unchanged { version: state.version });
                }
                let version = state.version.saturating_add(1);
                Ok(vec![PolicyEvent::Published { version, document, note }])
            }
        }
    }

    fn evolve(state: PolicyState, event: &PolicyEvent, _by: Actor, _at: Timestamp) -> PolicyState {
        evolve(state, event)
    }

    fn own(event: &Event) -> Option<&PolicyEvent> {
        if let Event::Policy(event) = event { Some(event) } else { None }
    }
}

impl From<PolicyEvent> for Event {
    fn from(event: PolicyEvent) -> Self {
        Self::Policy(event)
    }
}

/// Who may ask, whatever the state.
fn permitted(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::User && by.has(Role::Admin) {
        return Ok(());
    }
    Err(No::Denied { needed: ADMIN })
}
