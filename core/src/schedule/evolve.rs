//! State and event to state.

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::id::PersonId;
use crate::schedule::event::ScheduleEvent;
use crate::schedule::state::{ScheduleState, Standing};
use crate::time::Timestamp;

/// Total. What no decision could have produced changes nothing.
pub fn evolve(
    state: ScheduleState,
    event: &ScheduleEvent,
    by: Actor,
    at: Timestamp,
) -> ScheduleState {
    use ScheduleEvent as E;
    use ScheduleState as S;

    match (state, event) {
        (S::Absent, E::Created { template, timing }) => S::Standing(Box::new(Standing {
            owner: by.person().unwrap_or(PersonId(by.id)),
            editors: BTreeSet::new(),
            template: template.clone(),
            timing: timing.clone(),
            paused: false,
            ticked: at,
            last: None,
        })),
        (S::Standing(mut standing), E::Edited { template, timing }) => {
            let editor = by.person().filter(|person| *person != standing.owner);
            standing.editors.extend(editor);
            if standing.timing != *timing {
                standing.timing.clone_from(timing);
                standing.ticked = at.max(standing.ticked);
            }
            standing.template.clone_from(template);
            S::Standing(standing)
        }
        (S::Standing(mut standing), E::Paused { .. }) => {
            standing.paused = true;
            S::Standing(standing)
        }
        (S::Standing(mut standing), E::Resumed {}) => {
            standing.paused = false;
            standing.ticked = at.max(standing.ticked);
            S::Standing(standing)
        }
        (S::Standing(standing), E::Deleted { .. }) => S::Deleted(standing),
        (S::Standing(mut standing), E::Fired { tick, change }) => {
            standing.ticked = standing.ticked.max(*tick);
            standing.last = Some(*change);
            S::Standing(standing)
        }
        (S::Standing(mut standing), E::Skipped { tick, .. }) => {
            standing.ticked = standing.ticked.max(*tick);
            S::Standing(standing)
        }
        (
            state,
            E::Created { .. }
            | E::Edited { .. }
            | E::Paused { .. }
            | E::Resumed {}
            | E::Deleted { .. }
            | E::Fired { .. }
            | E::Skipped { .. }
            | E::Stalled { .. },
        ) => state,
    }
}
