//! State and event to state.

use crate::policy::event::PolicyEvent;
use crate::policy::state::PolicyState;

/// Total. What no decision could have produced, such as an older version, changes nothing.
pub fn evolve(state: PolicyState, event: &PolicyEvent) -> PolicyState {
    match event {
        PolicyEvent::Published { version, document, note: _ } if *version > state.version => {
            PolicyState { version: *version, document: document.clone() }
        }
        PolicyEvent::Published { .. } => state,
    }
}
