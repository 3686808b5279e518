//! State and command to events, or the exact reason why not.

use std::collections::{BTreeMap, BTreeSet};

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::id::{Category, ChangeId, PersonId};
use crate::project::back::{block_back, goes_back, look_back};
use crate::project::command::{Became, ProjectCommand};
use crate::project::event::ProjectEvent;
use crate::project::evolve::evolve;
use crate::project::rejection::ProjectRejection as No;
use crate::project::state::{Phase, ProjectState, Standing};
use crate::time::Timestamp;

/// The most changes of one project: all their streams are read when one of them ends.
pub const MAX_MEMBERS: usize = 100;

const MAX_NAME: usize = 100;
const MAX_REASON: usize = 500;
const MAX_TEXT: usize = 2000;

const OPERATOR: &str = "the operator role, as a person who is signed in";
const THE_SYSTEM: &str = "Nexplane itself";

/// The project aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Project;

impl Decider for Project {
    const CATEGORY: Category = Category::Project;
    type State = ProjectState;
    type Command = ProjectCommand;
    type Event = ProjectEvent;
    type Rejection = No;

    fn decide(state: &ProjectState, asked: Asked<ProjectCommand>) -> Result<Vec<ProjectEvent>, No> {
        let Asked { by, at: _, command } = asked;
        match command {
            ProjectCommand::Advance { became } => advance(state, &by, &became),
            ProjectCommand::Block { change, reason, asked_by } => {
                system(&by)?;
                // Somebody who asked meanwhile is not held up by what was found before.
                if !is_running(state, Some(asked_by)) || !state.has(change) {
                    return Ok(Vec::new());
                }
                Ok(vec![ProjectEvent::Blocked { change, reason: cut(&reason) }])
            }
            ProjectCommand::LookBack { stands } => look_back(state, &by, &stands),
            ProjectCommand::BlockBack { change, reason, asked_by } => {
                block_back(state, &by, change, &reason, asked_by)
            }
            command @ (ProjectCommand::Create { .. }
            | ProjectCommand::Rename { .. }
            | ProjectCommand::AddMember { .. }
            | ProjectCommand::RemoveMember { .. }
            | ProjectCommand::Depend { .. }
            | ProjectCommand::Execute
            | ProjectCommand::GoBack { .. }
            | ProjectCommand::Close { .. }) => asked_by_a_person(state, &by, command),
        }
    }

    fn evolve(state: ProjectState, event: &ProjectEvent, by: Actor, at: Timestamp) -> ProjectState {
        evolve(state, event, by, at)
    }

    fn own(event: &Event) -> Option<&ProjectEvent> {
        if let Event::Project(event) = event { Some(event) } else { None }
    }
}

impl From<ProjectEvent> for Event {
    fn from(event: ProjectEvent) -> Self {
        Self::Project(event)
    }
}

fn asked_by_a_person(
    state: &ProjectState,
    by: &Principal,
    command: ProjectCommand,
) -> Result<Vec<ProjectEvent>, No> {
    use ProjectCommand as C;
    if matches!((state, &command), (ProjectState::Absent, C::Execute | C::GoBack { .. })) {
        return Err(No::NotFound);
    }
    operator(by)?;
    match command {
        C::Create { name, description } => {
            if !matches!(state, ProjectState::Absent) {
                return Err(No::Exists);
            }
            let (name, description) = (named(&name)?, described(&description)?);
            Ok(vec![ProjectEvent::Created { name, description }])
        }
        C::Rename { name, description } => {
            let standing = standing(state)?;
            let (name, description) = (named(&name)?, described(&description)?);
            if standing.name == name && standing.description == description {
                return Ok(Vec::new());
            }
            Ok(vec![ProjectEvent::Renamed { name, description }])
        }
        C::AddMember { change, after, joined, this } => {
            let after = may_add(state, by, change, &after)?;
            if joined != Some(this) {
                return Err(No::JoinedAnother);
            }
            Ok(vec![ProjectEvent::MemberAdded { change, after }])
        }
        C::RemoveMember { change } => {
            let standing = editable(state)?;
            if !standing.members.contains_key(&change) {
                return Ok(Vec::new());
            }
            let after = |(other, after): (&ChangeId, &BTreeSet<ChangeId>)| {
                after.contains(&change).then_some(*other)
            };
            let by: Vec<_> = standing.members.iter().filter_map(after).collect();
            if by.is_empty() {
                Ok(vec![ProjectEvent::MemberRemoved { change }])
            } else {
                Err(No::Needed { by })
            }
        }
        C::Depend { change, after } => {
            let standing = editable(state)?;
            let known = standing.members.get(&change).ok_or(No::NoMember { change })?;
            let after = members_of(standing, &after)?;
            if let Some(cycle) = standing.cycle(change, &after) {
                return Err(No::Cycle { cycle });
            }
            if *known == after {
                return Ok(Vec::new());
            }
            let after = after.into_iter().collect();
            Ok(vec![ProjectEvent::DependenciesChanged { change, after }])
        }
        C::Execute => match (&standing(state)?.phase, standing(state)?.members.is_empty()) {
            (_, true) => Err(No::Empty),
            (Phase::Open | Phase::Blocked { .. }, false) => {
                Ok(vec![ProjectEvent::ExecutionAsked {}])
            }
            // Whoever asks next speaks for it from then on.
            (Phase::Running { asked_by }, false) if by.actor.person() == Some(*asked_by) => {
                Ok(Vec::new())
            }
            (Phase::Running { .. }, false) => Ok(vec![ProjectEvent::ExecutionAsked {}]),
            (Phase::Complete, false) => {
                Err(wrong(state, "every member is complete, there is nothing to execute"))
            }
            (Phase::GoingBack { .. }, false) => {
                Err(wrong(state, "nothing of it is executed until that has ended"))
            }
            (Phase::BackBlocked { .. } | Phase::WentBack, false) => Err(wrong(
                state,
                "change its members, or what they come after, to go forward again",
            )),
        },
        C::GoBack { reason } => {
            let reason = text("reason", &reason, MAX_REASON)?;
            let standing = standing(state)?;
            if standing.members.is_empty() {
                return Err(No::Empty);
            }
            match standing.phase {
                Phase::GoingBack { asked_by } if by.actor.person() == Some(asked_by) => {
                    Ok(Vec::new())
                }
                Phase::WentBack => Err(wrong(state, "nothing that was applied of it stands")),
                Phase::Open
                | Phase::Running { .. }
                | Phase::Blocked { .. }
                | Phase::Complete
                | Phase::GoingBack { .. }
                | Phase::BackBlocked { .. } => Ok(vec![ProjectEvent::GoingBack { reason }]),
            }
        }
        C::Close { reason } => {
            let reason = text("reason", &reason, MAX_REASON)?;
            match state {
                ProjectState::Absent => Err(No::NotFound),
                ProjectState::Standing(_) => Ok(vec![ProjectEvent::Closed { reason }]),
                ProjectState::Closed(_) => Ok(Vec::new()),
            }
        }
        C::Advance { .. } | C::Block { .. } | C::LookBack { .. } | C::BlockBack { .. } => {
            Err(No::Denied { needed: THE_SYSTEM })
        }
    }
}

/// Why somebody may not add a change now, or what it then comes after. Asked before the change joins.
pub fn may_add(
    state: &ProjectState,
    by: &Principal,
    change: ChangeId,
    after: &[ChangeId],
) -> Result<Vec<ChangeId>, No> {
    operator(by)?;
    let standing = editable(state)?;
    if standing.members.contains_key(&change) {
        return Err(No::MemberAlready);
    }
    if standing.members.len() >= MAX_MEMBERS {
        return Err(No::TooManyMembers);
    }
    if after.contains(&change) {
        return Err(No::Cycle { cycle: vec![change] });
    }
    Ok(members_of(standing, after)?.into_iter().collect())
}

/// What follows from what has become of the members.
fn advance(
    state: &ProjectState,
    by: &Principal,
    became: &BTreeMap<ChangeId, Became>,
) -> Result<Vec<ProjectEvent>, No> {
    system(by)?;
    let ProjectState::Standing(standing) = state else { return Ok(Vec::new()) };
    if !is_running(state, None) {
        return Ok(Vec::new());
    }
    for change in standing.members.keys() {
        if let Some(Became::Stopped { reason }) = became.get(change) {
            return Ok(vec![ProjectEvent::Blocked { change: *change, reason: cut(reason) }]);
        }
    }
    let is_complete = |change| became.get(change) == Some(&Became::Complete);
    if standing.members.keys().all(is_complete) {
        return Ok(vec![ProjectEvent::Completed {}]);
    }
    Ok(Vec::new())
}

/// Whether it is started by itself, for this person when one is named.
fn is_running(state: &ProjectState, by: Option<PersonId>) -> bool {
    let ProjectState::Standing(standing) = state else { return false };
    match standing.phase {
        Phase::Running { asked_by } => by.is_none_or(|by| by == asked_by),
        Phase::Open
        | Phase::Blocked { .. }
        | Phase::Complete
        | Phase::GoingBack { .. }
        | Phase::BackBlocked { .. }
        | Phase::WentBack => false,
    }
}

fn standing(state: &ProjectState) -> Result<&Standing, No> {
    match state {
        ProjectState::Absent => Err(No::NotFound),
        ProjectState::Standing(standing) => Ok(standing),
        ProjectState::Closed(_) => Err(wrong(state, "start another one")),
    }
}

/// While it runs or goes back, its order stays what it is.
fn editable(state: &ProjectState) -> Result<&Standing, No> {
    if is_running(state, None) || goes_back(state, None) {
        return Err(wrong(state, "its members and their order stay as they are until it ends"));
    }
    standing(state)
}

fn members_of(standing: &Standing, after: &[ChangeId]) -> Result<BTreeSet<ChangeId>, No> {
    match after.iter().find(|change| !standing.members.contains_key(change)) {
        Some(change) => Err(No::NoMember { change: *change }),
        None => Ok(after.iter().copied().collect()),
    }
}

fn wrong(state: &ProjectState, wanted: &'static str) -> No {
    No::NotInState { state: state.name(), wanted }
}

fn operator(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::User && by.has(Role::Operator) {
        return Ok(());
    }
    Err(No::Denied { needed: OPERATOR })
}

pub(super) fn system(by: &Principal) -> Result<(), No> {
    if by.actor.kind == ActorKind::System { Ok(()) } else { Err(No::Denied { needed: THE_SYSTEM }) }
}

fn named(name: &str) -> Result<String, No> {
    text("name", name, MAX_NAME)
}

fn described(description: &str) -> Result<String, No> {
    if description.trim().is_empty() {
        Ok(String::new())
    } else {
        text("description", description, MAX_TEXT)
    }
}

pub(super) fn cut(reason: &str) -> String {
    reason.chars().take(MAX_TEXT).collect()
}

fn text(field: &'static str, text: &str, limit: usize) -> Result<String, No> {
    let text = text.trim();
    let invalid = |problem: String| Err(No::Invalid { field, problem });
    if text.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    if text.contains('\0') {
        return invalid("must not contain NUL".to_owned());
    }
    Ok(text.to_owned())
}
