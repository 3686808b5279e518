//! Given events, when a command, then events or the exact rejection.

use uuid::Uuid;

use super::event::ManifestEvent as E;
use super::{Manifest, ManifestCommand, ManifestRejection as No, ManifestState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider as _, Principal};
use crate::catalog::{EffectClass, Reversibility};
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId};
use crate::plan::{Step, TargetRef};
use crate::time::Timestamp;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(1));

fn step(no: u32) -> Step {
    Step {
        no,
        action: "host.set_file_permission".to_owned(),
        connection: ConnectionId(Uuid::from_u128(2)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(u128::from(no) + 100)),
            kind: "host".to_owned(),
            external_key: "host".to_owned(),
            name: format!("web-{no}"),
        },
        parameters: serde_json::json!({}),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: String::new(),
        summary: String::new(),
        rollback: String::new(),
        diff: Vec::new(),
        undoes: None,
    }
}

fn page(numbers: std::ops::Range<u32>) -> E {
    E::PageAdded { change: CHANGE, steps: numbers.map(step).collect() }
}

fn when(given: &[E], by: Principal, change: ChangeId, steps: Vec<Step>) -> Result<Vec<E>, No> {
    let at = Timestamp::from_micros(0);
    let state = given.iter().fold(ManifestState::default(), |state, event| {
        Manifest::evolve(state, event, Actor::SYSTEM, at)
    });
    let command = ManifestCommand::AddPage { change, steps };
    Manifest::decide(&state, Asked { by, at, command })
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let add = |given: &[E], numbers: std::ops::Range<u32>| {
        when(given, Principal::SYSTEM, CHANGE, numbers.map(step).collect())
    };
    assert_eq!(add(&[], 0..3), Ok(vec![page(0..3)]));
    assert_eq!(add(&[page(0..3)], 3..4), Ok(vec![page(3..4)]));
    assert_eq!(add(&[], 1..3), Err(No::OutOfOrder { given: 1, next: 0 }));
    assert_eq!(add(&[page(0..3)], 2..4), Err(No::OutOfOrder { given: 2, next: 3 }));
    assert_eq!(add(&[page(0..3)], 3..3), Err(No::Empty));
}

#[test]
fn it_is_of_one_change_and_only_the_planner_writes_it() {
    let other = ChangeId(Uuid::from_u128(9));
    let steps = || vec![step(3)];
    let system = Principal::SYSTEM;
    assert_eq!(when(&[page(0..3)], system, other, steps()), Err(No::OfAnother(CHANGE)));
    let roles = vec![Role::Admin, Role::Operator];
    let admin = Principal { actor: Actor::user(PersonId(Uuid::from_u128(7))), roles };
    assert_eq!(when(&[page(0..3)], admin, CHANGE, steps()), Err(No::Denied));
}
