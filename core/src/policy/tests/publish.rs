//! Given versions, when somebody publishes, then the next version or the exact rejection.

use uuid::Uuid;

use super::*;
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{HostId, PersonId};
use crate::policy::event::PolicyEvent;
use crate::time::Timestamp;

fn person(roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(1))), roles: roles.to_vec() }
}

fn admin() -> Principal {
    person(&[Role::Admin])
}

fn given(events: &[PolicyEvent]) -> PolicyState {
    events.iter().fold(PolicyState::default(), |state, event| {
        Policy::evolve(state, event, admin().actor, Timestamp::from_micros(0))
    })
}

fn publish(document: PolicyDocument, based_on: u32) -> PolicyCommand {
    PolicyCommand::Publish { document, note: " two for all ".to_owned(), based_on }
}

fn published(version: u32, document: PolicyDocument) -> PolicyEvent {
    PolicyEvent::Published { version, document, note: "two for all".to_owned() }
}

fn when(
    events: &[PolicyEvent],
    by: Principal,
    command: PolicyCommand,
) -> Result<Vec<PolicyEvent>, PolicyRejection> {
    Policy::decide(&given(events), Asked { by, at: Timestamp::from_micros(0), command })
}

fn simple() -> PolicyDocument {
    document(Vec::new())
}

#[test]
fn there_is_one_policy() {
    assert_eq!(POLICY.0, Uuid::new_v5(&Uuid::nil(), b"policy"));
}

#[test]
fn versions_follow_each_other_from_the_one_that_is_built_in() {
    assert_eq!(given(&[]), PolicyState { version: 1, document: PolicyDocument::standard() });
    let second = published(2, simple());
    assert_eq!(when(&[], admin(), publish(simple(), 1)), Ok(vec![second.clone()]));
    assert_eq!(
        given(std::slice::from_ref(&second)),
        PolicyState { version: 2, document: simple() }
    );
    let standard = PolicyDocument::standard();
    let third = published(3, standard.clone());
    assert_eq!(when(&[second], admin(), publish(standard, 2)), Ok(vec![third]));
}

#[test]
fn whoever_wrote_it_on_another_version_looks_again() {
    let events = [published(2, simple())];
    for based_on in [0, 1, 3] {
        let refused = when(&events, admin(), publish(PolicyDocument::standard(), based_on));
        assert_eq!(refused, Err(PolicyRejection::Moved { based_on, current: 2 }));
        assert_eq!(refused.unwrap_err().code(), "policy.moved");
    }
}

#[test]
fn what_is_in_force_is_not_published_again() {
    let refused = when(&[published(2, simple())], admin(), publish(simple(), 2)).unwrap_err();
    assert_eq!(refused.code(), "policy.unchanged");
}

#[test]
fn nobody_but_an_admin_who_is_signed_in() {
    let others: Vec<_> = Role::ALL.into_iter().filter(|role| *role != Role::Admin).collect();
    let id = Uuid::from_u128(1);
    let all = |actor| Principal { actor, roles: Role::ALL.into() };
    let machine = all(Actor::machine(PersonId(id)));
    for by in [person(&others), machine, all(Actor::agent(HostId(id))), Principal::SYSTEM] {
        let refused = when(&[], by, publish(simple(), 1)).unwrap_err();
        assert_eq!(refused.code(), "access.denied");
    }
}

#[test]
fn a_document_below_the_floor_and_an_empty_note_are_refused() {
    let refused = when(&[], admin(), publish(of(Vec::new()), 1));
    assert_eq!(refused.unwrap_err().code(), "validation.failed");
    for note in ["", "  ", "a\u{7}b", &"x".repeat(501)] {
        let (document, note) = (simple(), note.to_owned());
        let refused = when(&[], admin(), PolicyCommand::Publish { document, note, based_on: 1 });
        assert!(matches!(refused, Err(PolicyRejection::Invalid { field: "note", .. })));
    }
}

#[test]
fn nothing_that_happens_later_brings_an_older_version_back() {
    let standard = PolicyDocument::standard();
    let state = given(&[published(3, simple()), published(2, standard.clone())]);
    assert_eq!(state, PolicyState { version: 3, document: simple() });
    assert_eq!(given(&[published(1, simple())]).document, standard);
}
