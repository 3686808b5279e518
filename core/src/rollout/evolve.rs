//! State and event to state.

use crate::rollout::event::{RolloutEvent as E, Tally};
use crate::rollout::state::{Batch, Hold, Rolling, RolloutState};
use crate::time::Timestamp;

/// Total.
pub fn evolve(state: RolloutState, event: &E, at: Timestamp) -> RolloutState {
    match (state, event) {
        (
            RolloutState::Absent,
            E::Started { change, digest, manifest, size, strategy, approvals, undoes },
        ) => RolloutState::Rolling(Rolling {
            change: *change,
            digest: digest.clone(),
            manifest: *manifest,
            size: *size,
            strategy: *strategy,
            approvals: approvals.clone(),
            undoes: *undoes,
            hold: Hold::Free,
            ended: 0,
            tally: Tally::default(),
            moved: 0,
            undo_until: None,
            ended_at: None,
            open: None,
        }),
        (RolloutState::Rolling(rolling), E::Finished { outcome, .. }) => {
            RolloutState::Finished(rolling, *outcome)
        }
        (RolloutState::Rolling(mut rolling), event) => {
            apply(&mut rolling, event, at);
            RolloutState::Rolling(rolling)
        }
        (state @ (RolloutState::Absent | RolloutState::Finished(..)), _) => state,
    }
}

fn apply(rolling: &mut Rolling, event: &E, at: Timestamp) {
    match event {
        E::Started { .. } | E::Finished { .. } => {}
        E::BatchBegun { no, first, count } => {
            rolling.open = Some(Batch { no: *no, first: *first, count: *count });
        }
        E::BatchEnded { no, tally, moved, undo_until } => {
            rolling.open = None;
            rolling.undo_until = rolling.undo_until.into_iter().chain(*undo_until).min();
            rolling.ended = no.saturating_add(1);
            rolling.tally = rolling.tally.plus(*tally);
            rolling.moved = rolling.moved.saturating_add(*moved);
            rolling.ended_at = Some(at);
        }
        E::Paused { reason } => rolling.hold = Hold::Paused { reason: reason.clone() },
        E::Resumed {} => rolling.hold = Hold::Free,
        E::Stopped { reason } => rolling.hold = Hold::Stopped { reason: reason.clone() },
    }
}
