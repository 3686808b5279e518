//! Changes under way that meet: the policy of the submission says what becomes of the second.

use super::*;
use crate::change::{Approval, comes_first};
use crate::freeze::Meeting;
use crate::policy::{OnConflict, PolicyDocument};

const OTHER: ChangeId = ChangeId(Uuid::from_u128(49));

fn policy(on_conflict: OnConflict) -> PolicyState {
    let document = PolicyDocument { on_conflict, ..PolicyDocument::standard() };
    PolicyState { version: policy::VERSION, document }
}

/// Approved in that second, under a policy that says so.
fn approved_at(at: i64, on_conflict: OnConflict) -> Past {
    let mut past = approved();
    for (_, second, event) in &mut past.0 {
        if let E::Submitted { quorum, .. } = event {
            let case = crate::policy::Case::planned(&plan());
            quorum.on_conflict =
                policy(on_conflict).quorum(&case).expect("it refuses nothing").on_conflict;
        }
        if matches!(event, E::Approved { .. }) {
            *second = at;
        }
    }
    past
}

fn met() -> InTheWay {
    let how = "reader is a member of group, which change #4 changes.".to_owned();
    let meets = vec![Meeting { change: OTHER, number: Some(4), state: "executing", how }];
    InTheWay { meets, ..InTheWay::default() }
}

#[test]
fn the_second_is_refused_where_the_policy_says_so() {
    let start = || C::StartExecution { run: RUN, in_the_way: met() };
    let refused = when(&approved_at(APPROVED, OnConflict::Refuse), eve(), start());
    assert_eq!(code(&refused), "change.conflict");
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("#4 (executing): reader is a member of group"), "{said}");
    let alone = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
    let started = when(&approved_at(APPROVED, OnConflict::Refuse), eve(), alone).unwrap();
    assert!(matches!(started[..], [E::ExecutionStarted { .. }]));
    // Otherwise its run waits for its turn.
    let started = when(&approved_at(APPROVED, OnConflict::Wait), eve(), start()).unwrap();
    assert!(matches!(started[..], [E::ExecutionStarted { .. }]));
}

#[test]
fn of_two_exactly_one_comes_first() {
    let state = |at| given(&approved_at(at, OnConflict::Refuse));
    let approval = |state: &ChangeState| -> Approval {
        let ChangeState::Approved(approval) = state else { panic!("{}", state.name()) };
        approval.clone()
    };
    for (own, other) in [(30, 31), (31, 30), (30, 30)] {
        let (own, other) = (state(own), state(other));
        let there = comes_first((CHANGE, &approval(&own)), (OTHER, &other));
        let back = comes_first((OTHER, &approval(&other)), (CHANGE, &own));
        assert!(there != back);
    }
    let own = approval(&state(30));
    assert!(comes_first((CHANGE, &own), (OTHER, &state(29))));
    let executing = approved_at(60, OnConflict::Wait).then(
        &eve(),
        70,
        E::ExecutionStarted { run: OTHER_RUN, digest: plan().digest },
    );
    assert!(comes_first((CHANGE, &own), (OTHER, &given(&executing))));
    assert!(!comes_first((CHANGE, &own), (OTHER, &ChangeState::Absent)));
}
