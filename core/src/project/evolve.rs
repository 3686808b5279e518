//! State and event to state.

use std::collections::BTreeMap;

use crate::actor::Actor;
use crate::id::PersonId;
use crate::project::event::ProjectEvent;
use crate::project::state::{Phase, ProjectState, Standing};
use crate::time::Timestamp;

/// Total. What no decision could have produced changes nothing.
pub fn evolve(state: ProjectState, event: &ProjectEvent, by: Actor, at: Timestamp) -> ProjectState {
    use ProjectEvent as E;

    let mut standing = match (state, event) {
        (ProjectState::Absent, E::Created { name, description }) => {
            return ProjectState::Standing(Box::new(Standing {
                name: name.clone(),
                description: description.clone(),
                members: BTreeMap::new(),
                phase: Phase::Open,
                askings_back: 0,
                stopped: None,
            }));
        }
        (ProjectState::Standing(standing), _) => standing,
        (state @ (ProjectState::Absent | ProjectState::Closed(_)), _) => return state,
    };
    match event {
        E::Created { .. } => {}
        E::Renamed { name, description } => {
            standing.name.clone_from(name);
            standing.description.clone_from(description);
        }
        E::MemberAdded { change, after } | E::DependenciesChanged { change, after } => {
            standing.members.insert(*change, after.iter().copied().collect());
            standing.phase = Phase::Open;
        }
        E::MemberRemoved { change } => {
            standing.members.remove(change);
            standing.phase = Phase::Open;
        }
        E::ExecutionAsked {} => {
            let asked_by = by.person().unwrap_or(PersonId(by.id));
            standing.phase = Phase::Running { asked_by };
        }
        E::Blocked { change, reason } => {
            standing.phase = Phase::Blocked { change: *change, reason: reason.clone() };
        }
        E::Completed {} => standing.phase = Phase::Complete,
        E::GoingBack { .. } => {
            standing.askings_back = standing.askings_back.saturating_add(1);
            let asked_by = by.person().unwrap_or(PersonId(by.id));
            standing.phase = Phase::GoingBack { asked_by };
            standing.stopped = Some(at);
        }
        E::BackBlocked { change, reason } => {
            standing.phase = Phase::BackBlocked { change: *change, reason: reason.clone() };
        }
        E::WentBack {} => standing.phase = Phase::WentBack,
        E::Closed { .. } => {
            standing.stopped = Some(at);
            return ProjectState::Closed(standing);
        }
    }
    ProjectState::Standing(standing)
}
