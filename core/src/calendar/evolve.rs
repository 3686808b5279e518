//! State and event to state.

use crate::calendar::event::CalendarEvent;
use crate::calendar::state::{CalendarState, Ended, Freeze};
use crate::time::Timestamp;

/// Total. What no decision could have produced, such as a second `freeze_declared`, changes nothing.
pub fn evolve(state: CalendarState, event: &CalendarEvent, at: Timestamp) -> CalendarState {
    use CalendarEvent as E;
    use CalendarState as S;

    match (state, event) {
        (S::Absent, E::FreezeDeclared { scope, start, end, reason }) => S::Declared(Freeze {
            scope: scope.clone(),
            start: *start,
            end: *end,
            reason: reason.clone(),
        }),
        (S::Declared(freeze), E::FreezeEnded { reason }) => {
            S::Ended(Ended { freeze, at, reason: reason.clone() })
        }
        (state, E::FreezeDeclared { .. } | E::FreezeEnded { .. }) => state,
    }
}
