//! A person settles what nobody could read back.

use super::*;
use crate::change::may_roll_back;

fn settled(finding: Found) -> E {
    E::Settled { run: RUN, finding, evidence: "I looked.".to_owned() }
}

#[test]
fn what_a_person_finds_is_the_outcome() {
    for (finding, name) in [(Found::Applied, "complete"), (Found::NotApplied, "failed")] {
        assert_eq!(when(&unknown(), eve(), settle(finding)), Ok(vec![settled(finding)]));
        let after = unknown().then(&eve(), 60, settled(finding));
        assert_eq!(given(&after).name(), name);
        // What was produced before the answer was lost is there to be handed over.
        let reveal = C::RevealSecret { secret: SECRET, late: Vec::new() };
        assert_eq!(code(&when(&after, ann(), reveal)), "accepted");
    }
}

/// Neither a receipt that comes late nor somebody else who has looked.
#[test]
fn what_is_settled_stays() {
    for (finding, name) in [(Found::Applied, "complete"), (Found::NotApplied, "failed")] {
        let past = unknown().then(&eve(), 60, settled(finding));
        for outcome in [RunOutcome::Complete, RunOutcome::Failed, RunOutcome::OutcomeUnknown] {
            let late = when(&past, Principal::SYSTEM, record_outcome(RUN, outcome));
            assert_eq!(late, Ok(Vec::new()), "{outcome:?}");
        }
        for other in [Found::Applied, Found::NotApplied] {
            let again = when(&past, cat(), settle(other));
            assert_eq!(code(&again), "change.not_in_state");
            assert_eq!(given(&past.clone().then(&cat(), 70, settled(other))).name(), name);
        }
        for late in [completed(), E::Failed { run: RUN, reason: reason(), secrets: Vec::new() }] {
            assert_eq!(given(&past.clone().then(&Principal::SYSTEM, 70, late)).name(), name);
        }
    }
}

#[test]
fn what_is_not_unknown_is_not_settled() {
    for (phase, past) in every_phase() {
        let answer = when(&past, eve(), settle(Found::Applied));
        let expected = match phase {
            "unknown" => "accepted",
            "absent" => "not_found",
            _ => "change.not_in_state",
        };
        assert_eq!(code(&answer), expected, "{phase}");
        let name = given(&past).name();
        if phase != "unknown" {
            assert_eq!(given(&past.then(&eve(), 99, settled(Found::NotApplied))).name(), name);
        }
    }
}

#[test]
fn the_evidence_is_one_to_four_thousand_characters() {
    let with = |evidence: String| {
        code(&when(&unknown(), eve(), C::Settle { finding: Found::Applied, evidence, read: None }))
    };
    assert_eq!(with("é".repeat(4000)), "accepted");
    assert_eq!(with("é".repeat(4001)), "validation.failed");
    for nothing in ["", " ", "a\0b"] {
        assert_eq!(with(nothing.to_owned()), "validation.failed");
    }
}

#[test]
fn nobody_says_the_opposite_of_what_the_target_says() {
    let both = [Found::Applied, Found::NotApplied];
    for (finding, read) in both.into_iter().flat_map(|one| both.map(|other| (one, other))) {
        let evidence = "I looked.".to_owned();
        let asked = C::Settle { finding, evidence, read: Some(read) };
        let answer = when(&unknown(), eve(), asked);
        let expected = if finding == read { "accepted" } else { "change.finding_contradicted" };
        assert_eq!(code(&answer), expected, "{finding:?}, {read:?}");
    }
}

/// It is undone by the same rules as any change that ended like that.
#[test]
fn what_was_settled_can_be_rolled_back() {
    let may = |past: &Past| {
        may_roll_back(&given(past), &ann(), second(NOW), &[]).map(|_| ()).map_err(|no| no.code())
    };
    assert_eq!(may(&unknown()), Err("change.not_in_state"));
    for finding in [Found::Applied, Found::NotApplied] {
        let past = unknown().then(&eve(), 60, settled(finding));
        assert_eq!(may(&past), Ok(()));
        let start = when(&past, Principal::SYSTEM, start_rollback(RUN_BACK, &[]));
        assert_eq!(code(&start), "accepted");
    }
}
