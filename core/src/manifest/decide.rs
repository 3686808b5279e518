//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind};
use crate::aggregate::{Asked, Decider, Reject};
use crate::event::Event;
use crate::id::{Category, ChangeId};
use crate::manifest::event::ManifestEvent;
use crate::plan::Step;
use crate::time::Timestamp;

/// The manifest aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Manifest;

#[derive(Clone, Debug)]
pub enum ManifestCommand {
    /// By the planner; steps are numbered from `count` of those there are.
    AddPage { change: ChangeId, steps: Vec<Step> },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestState {
    /// Whose plan it is; `None` until there is a page.
    pub change: Option<ChangeId>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestRejection {
    #[error("Only the planner writes manifests.")]
    Denied,
    #[error("This manifest belongs to change {0}.")]
    OfAnother(ChangeId),
    #[error("The page begins with step {given}; {next} is next.")]
    OutOfOrder { given: u32, next: u32 },
    #[error("The page has no steps.")]
    Empty,
}

impl Reject for ManifestRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied => "access.denied",
            Self::OfAnother(_) => "manifest.of_another",
            Self::OutOfOrder { .. } => "manifest.out_of_order",
            Self::Empty => "manifest.empty",
        }
    }
}

impl Decider for Manifest {
    const CATEGORY: Category = Category::Manifest;
    type State = ManifestState;
    type Command = ManifestCommand;
    type Event = ManifestEvent;
    type Rejection = ManifestRejection;

    fn decide(
        state: &ManifestState,
        asked: Asked<ManifestCommand>,
    ) -> Result<Vec<ManifestEvent>, ManifestRejection> {
        let ManifestCommand::AddPage { change, steps } = asked.command;
        if asked.by.actor.kind != ActorKind::System {
            return Err(ManifestRejection::Denied);
        }
        if let Some(own) = state.change
            && own != change
        {
            return Err(ManifestRejection::OfAnother(own));
        }
        if steps.is_empty() {
            return Err(ManifestRejection::Empty);
        }
        let first = u32::try_from(state.steps.len()).unwrap_or(u32::MAX);
        for (next, step) in (first..).zip(&steps) {
            if step.no != next {
                return Err(ManifestRejection::OutOfOrder { given: step.no, next });
            }
        }
        Ok(vec![ManifestEvent::PageAdded { change, steps }])
    }

    fn evolve(
        mut state: ManifestState,
        event: &ManifestEvent,
        _by: Actor,
        _at: Timestamp,
    ) -> ManifestState {
        let ManifestEvent::PageAdded { change, steps } = event;
        state.change.get_or_insert(*change);
        state.steps.extend(steps.iter().cloned());
        state
    }

    fn own(event: &Event) -> Option<&ManifestEvent> {
        if let Event::Manifest(event) = event { Some(event) } else { None }
    }
}

impl From<ManifestEvent> for Event {
    fn from(event: ManifestEvent) -> Self {
        Self::Manifest(event)
    }
}
