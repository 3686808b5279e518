//! State and event to state.

use crate::calendar::event::CalendarEvent;
use crate::calendar::state::{CalendarState, Ended, Freeze, Window};
use crate::time::Timestamp;

/// How long a freeze that is over is remembered, in seconds: a day, so that servers whose clocks
/// differ agree on it while it matters.
const REMEMBERED_S: i64 = 86_400;

/// Total. What no decision could have produced, such as a second declaration of one freeze, changes
/// nothing.
pub fn evolve(mut state: CalendarState, event: &CalendarEvent, at: Timestamp) -> CalendarState {
    use CalendarEvent as E;

    match event {
        E::FreezeDeclared { freeze, scope, start, end, reason } => {
            state.freezes.retain(|_, known| at < known.end.plus_seconds(REMEMBERED_S));
            state.freezes.entry(*freeze).or_insert_with(|| Freeze {
                scope: scope.clone(),
                start: *start,
                end: *end,
                reason: reason.clone(),
                ended: None,
            });
        }
        E::FreezeEnded { freeze, reason } => {
            if let Some(known) = state.freezes.get_mut(freeze) {
                known.ended.get_or_insert(Ended { at, reason: reason.clone() });
            }
        }
        E::WindowDefined { window, name, scope, slots } => {
            state.windows.entry(*window).or_insert_with(|| Window {
                name: name.clone(),
                scope: scope.clone(),
                slots: slots.clone(),
                removed: false,
            });
        }
        E::WindowRemoved { window, .. } => {
            if let Some(known) = state.windows.get_mut(window) {
                known.removed = true;
            }
        }
    }
    state
}
