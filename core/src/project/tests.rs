//! Given events, when a command, then events or the exact rejection.

mod back;

use std::collections::BTreeMap;

use uuid::Uuid;

use super::event::ProjectEvent as E;
use super::{
    Became, MAX_MEMBERS, Phase, Project, ProjectCommand as C, ProjectRejection as No, ProjectState,
};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{ChangeId, PersonId, ProjectId};
use crate::time::Timestamp;

const THIS: ProjectId = ProjectId(Uuid::from_u128(90));
const ANN: PersonId = PersonId(Uuid::from_u128(1));
const BOB: PersonId = PersonId(Uuid::from_u128(2));
const A: ChangeId = ChangeId(Uuid::from_u128(11));
const B: ChangeId = ChangeId(Uuid::from_u128(12));
const D: ChangeId = ChangeId(Uuid::from_u128(13));
const OTHER: ChangeId = ChangeId(Uuid::from_u128(14));

fn user(id: PersonId, roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(id), roles: roles.to_vec() }
}

fn ann() -> Principal {
    user(ANN, &[Role::Operator])
}

fn created() -> E {
    E::Created { name: "Move".to_owned(), description: String::new() }
}

fn added(change: ChangeId, after: &[ChangeId]) -> E {
    E::MemberAdded { change, after: after.to_vec() }
}

/// B and D come after A.
fn three() -> Vec<E> {
    vec![created(), added(A, &[]), added(B, &[A]), added(D, &[A])]
}

fn running() -> Vec<E> {
    three().into_iter().chain([E::ExecutionAsked {}]).collect()
}

fn given(past: &[E]) -> ProjectState {
    past.iter().fold(ProjectState::default(), |state, event| {
        Project::evolve(state, event, ann().actor, Timestamp::from_micros(0))
    })
}

fn when(past: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    Project::decide(&given(past), Asked { by, at: Timestamp::from_micros(0), command })
}

fn add(change: ChangeId, after: &[ChangeId]) -> C {
    C::AddMember { change, after: after.to_vec(), joined: Some(THIS), this: THIS }
}

fn depend(change: ChangeId, after: &[ChangeId]) -> C {
    C::Depend { change, after: after.to_vec() }
}

fn stopped() -> Became {
    Became::Stopped { reason: "It failed.".to_owned() }
}

fn advance(became: [Became; 3]) -> C {
    C::Advance { became: [A, B, D].into_iter().zip(became).collect() }
}

#[test]
fn what_a_member_comes_after_is_a_member() {
    assert_eq!(when(&three(), ann(), add(OTHER, &[B])), Ok(vec![added(OTHER, &[B])]));
    assert_eq!(when(&[created()], ann(), add(A, &[B])), Err(No::NoMember { change: B }));
    assert_eq!(when(&three(), ann(), depend(B, &[OTHER])), Err(No::NoMember { change: OTHER }));
    assert_eq!(when(&three(), ann(), add(B, &[])), Err(No::MemberAlready));
}

#[test]
fn a_circle_is_refused_and_named() {
    assert_eq!(when(&three(), ann(), add(OTHER, &[OTHER])), Err(No::Cycle { cycle: vec![OTHER] }));
    assert_eq!(when(&three(), ann(), depend(A, &[A])), Err(No::Cycle { cycle: vec![A] }));
    assert_eq!(when(&three(), ann(), depend(A, &[B])), Err(No::Cycle { cycle: vec![A, B] }));
    let mut past = three();
    past.push(E::DependenciesChanged { change: D, after: vec![B] });
    let refused = when(&past, ann(), depend(A, &[D]));
    assert_eq!(refused, Err(No::Cycle { cycle: vec![A, D, B] }));
    let circle = format!("{A} after {D} after {B} after {A}");
    assert!(refused.is_err_and(|no| no.to_string().contains(&circle)));
    // Two ways to the same member are no circle.
    past.push(added(OTHER, &[]));
    let again = E::DependenciesChanged { change: OTHER, after: vec![A, B, D] };
    assert_eq!(when(&past, ann(), depend(OTHER, &[D, B, A, B])), Ok(vec![again]));
}

#[test]
fn the_same_order_again_changes_nothing() {
    assert_eq!(when(&three(), ann(), depend(B, &[A, A])), Ok(Vec::new()));
    assert_eq!(when(&three(), ann(), C::RemoveMember { change: OTHER }), Ok(Vec::new()));
}

#[test]
fn what_others_come_after_stays() {
    let remove = |change| when(&three(), ann(), C::RemoveMember { change });
    assert_eq!(remove(A), Err(No::Needed { by: vec![B, D] }));
    assert_eq!(remove(B), Ok(vec![E::MemberRemoved { change: B }]));
}

#[test]
fn only_what_joined_this_project_is_added() {
    let joined = |joined| C::AddMember { change: OTHER, after: Vec::new(), joined, this: THIS };
    let another = ProjectId(Uuid::from_u128(91));
    for joined_instead in [None, Some(another)] {
        assert_eq!(when(&three(), ann(), joined(joined_instead)), Err(No::JoinedAnother));
    }
    assert_eq!(when(&three(), ann(), joined(Some(THIS))), Ok(vec![added(OTHER, &[])]));
}

#[test]
fn there_is_a_limit_to_the_members() {
    let many = (0..MAX_MEMBERS).map(|no| added(ChangeId(Uuid::from_u128(no as u128 + 100)), &[]));
    let past: Vec<_> = std::iter::once(created()).chain(many).collect();
    assert_eq!(when(&past, ann(), add(A, &[])), Err(No::TooManyMembers));
}

#[test]
fn members_start_when_everything_before_them_is_complete() {
    use Became::{Approved, Complete, UnderWay};
    let ProjectState::Standing(standing) = given(&running()) else {
        unreachable!("it was created")
    };
    let ready = |became: [Became; 3]| {
        let became: BTreeMap<_, _> = [A, B, D].into_iter().zip(became).collect();
        standing.ready(&became)
    };
    assert_eq!(ready([Approved, Approved, Approved]), [A]);
    assert_eq!(ready([UnderWay, Approved, Approved]), []);
    assert_eq!(ready([stopped(), Approved, Approved]), []);
    assert_eq!(ready([Complete, Approved, Approved]), [B, D]);
    assert_eq!(ready([Complete, UnderWay, Approved]), [D]);
    assert_eq!(standing.ready(&BTreeMap::new()), [], "what is not known is not ready");
}

#[test]
fn it_goes_on_until_all_are_complete_or_one_has_stopped() {
    use Became::{Approved, Complete, UnderWay};
    let went = |became| when(&running(), Principal::SYSTEM, advance(became)).unwrap();
    assert_eq!(went([Complete, UnderWay, Approved]), []);
    assert_eq!(went([Complete, Complete, Complete]), [E::Completed {}]);
    let blocked = E::Blocked { change: B, reason: "It failed.".to_owned() };
    assert_eq!(went([Complete, stopped(), UnderWay]), [blocked]);
    // What is not known is not complete.
    let nothing = C::Advance { became: BTreeMap::new() };
    assert_eq!(when(&running(), Principal::SYSTEM, nothing), Ok(Vec::new()));
    // Nobody asked.
    let idle = when(&three(), Principal::SYSTEM, advance([Complete, Complete, Complete]));
    assert_eq!(idle, Ok(Vec::new()));
}

#[test]
fn whoever_asks_last_speaks_for_it() {
    assert_eq!(when(&running(), ann(), C::Execute), Ok(Vec::new()));
    let bob = user(BOB, &[Role::Operator]);
    assert_eq!(when(&running(), bob, C::Execute), Ok(vec![E::ExecutionAsked {}]));
    let block = |asked_by| {
        let reason = "It is frozen.".to_owned();
        when(&running(), Principal::SYSTEM, C::Block { change: A, reason, asked_by })
    };
    assert_eq!(block(BOB), Ok(Vec::new()));
    let blocked = E::Blocked { change: A, reason: "It is frozen.".to_owned() };
    assert_eq!(block(ANN), Ok(vec![blocked]));
}

#[test]
fn while_it_runs_its_order_stays() {
    for command in [add(OTHER, &[]), C::RemoveMember { change: B }, depend(B, &[])] {
        let refused = when(&running(), ann(), command.clone());
        assert_eq!(refused.map_err(|no| no.code()), Err("project.not_in_state"), "{command:?}");
        let mut past = running();
        past.push(E::Blocked { change: A, reason: "It failed.".to_owned() });
        assert!(when(&past, ann(), command).is_ok_and(|events| events.len() == 1));
    }
}

#[test]
fn another_order_opens_it_again() {
    let mut past = running();
    past.push(E::Completed {});
    assert_eq!(given(&past).name(), "complete");
    let refused = when(&past, ann(), C::Execute).map_err(|no| no.code());
    assert_eq!(refused, Err("project.not_in_state"));
    past.push(added(OTHER, &[A]));
    assert_eq!(given(&past).name(), "open");
    assert_eq!(when(&past, ann(), C::Execute), Ok(vec![E::ExecutionAsked {}]));
}

/// What a person stopped, of those who were started before that.
#[test]
fn a_member_knows_that_its_project_was_stopped_since() {
    let at = Timestamp::from_micros;
    let blocked = E::Blocked { change: B, reason: "It failed.".to_owned() };
    let past = |last| running().into_iter().chain([last]).collect::<Vec<_>>();
    assert_eq!(given(&running()).stopped_since(A, at(0)), None);
    assert_eq!(given(&past(blocked)).stopped_since(A, at(0)), None);
    for (stop, name) in [
        (E::GoingBack { reason: "no".to_owned() }, "going back"),
        (E::Closed { reason: "no".to_owned() }, "closed"),
    ] {
        let stopped = given(&past(stop));
        assert_eq!(stopped.stopped_since(A, at(0)), Some(name));
        assert_eq!(stopped.stopped_since(A, at(1)), None, "it was started after that");
        assert_eq!(stopped.stopped_since(OTHER, at(0)), None, "no member");
    }
}

#[test]
fn a_closed_project_holds_nothing_up() {
    let mut past = running();
    assert_eq!(given(&past).before(B).collect::<Vec<_>>(), [A]);
    assert!(given(&past).has(B) && !given(&past).has(OTHER));
    past.push(E::Closed { reason: "Done.".to_owned() });
    assert_eq!(given(&past).before(B).count(), 0);
    assert!(!given(&past).has(B));
    for command in [add(OTHER, &[]), depend(B, &[]), C::Execute] {
        let refused = when(&past, ann(), command).map_err(|no| no.code());
        assert_eq!(refused, Err("project.not_in_state"));
    }
    let close = C::Close { reason: "Again.".to_owned() };
    assert_eq!(when(&past, ann(), close), Ok(Vec::new()));
}

#[test]
fn nothing_is_executed_where_there_is_nothing() {
    assert_eq!(when(&[created()], ann(), C::Execute), Err(No::Empty));
    assert_eq!(when(&[], ann(), C::Execute), Err(No::NotFound));
    let nothing = given(&[created()]);
    assert!(matches!(nothing, ProjectState::Standing(s) if s.phase == Phase::Open));
}

/// `o` operator, `s` Nexplane itself; nobody else, and no machine.
#[test]
fn every_command_has_its_people() {
    let stranger = |role| user(PersonId(Uuid::from_u128(6)), &[role]);
    let everybody = [
        ("o", stranger(Role::Operator)),
        ("a", stranger(Role::Admin)),
        ("p", stranger(Role::Approver)),
        ("r", stranger(Role::Responder)),
        ("u", stranger(Role::Auditor)),
        ("v", stranger(Role::Viewer)),
        ("m", Principal { actor: Actor::machine(ANN), roles: Role::ALL.to_vec() }),
        ("s", Principal::SYSTEM),
    ];
    let reason = || "Not needed.".to_owned();
    let name = || "Another".to_owned();
    let complete = || advance([Became::Complete, Became::Complete, Became::Complete]);
    let rows = [
        ("o", vec![], C::Create { name: name(), description: String::new() }),
        ("o", three(), C::Rename { name: name(), description: String::new() }),
        ("o", three(), add(OTHER, &[A])),
        ("o", three(), C::RemoveMember { change: B }),
        ("o", three(), depend(B, &[])),
        ("o", three(), C::Execute),
        ("o", three(), C::GoBack { reason: reason() }),
        ("o", three(), C::Close { reason: reason() }),
        ("s", running(), complete()),
        ("s", running(), C::Block { change: A, reason: reason(), asked_by: ANN }),
    ];
    for (expected, past, command) in rows {
        let may = |by: &Principal| when(&past, by.clone(), command.clone());
        let found: String = everybody
            .iter()
            .filter(|(_, by)| may(by).is_ok_and(|events| !events.is_empty()))
            .map(|(sign, _)| *sign)
            .collect();
        assert_eq!(found, expected, "{command:?}");
        let codes = everybody.iter().filter_map(|(_, by)| may(by).err());
        assert!(codes.map(|no| no.code()).all(|code| code == "access.denied"), "{command:?}");
    }
}
