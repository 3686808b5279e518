//! How long what a run did can be undone, as its targets say.

use super::*;
use crate::time::Timestamp;

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(seconds)
}

fn said(step: u32, until: Option<i64>) -> E {
    let undo_until = until.map(moment);
    E::StepSucceeded { step, epoch: 1, outcome: json!({}), produced: Vec::new(), undo_until }
}

/// Both steps, with what their targets said of undoing them.
fn both(first: Option<i64>, second: Option<i64>) -> [E; 6] {
    [intended(0), said(0, first), verified(0), intended(1), said(1, second), verified(1)]
}

#[test]
fn what_the_target_says_is_recorded() {
    let C::Succeed { step, epoch, outcome, produced, .. } = succeed(0, 1) else {
        panic!("another command")
    };
    let undo_until = Some(moment(5));
    let command = C::Succeed { step, epoch, outcome: outcome.clone(), produced, undo_until };
    let event = E::StepSucceeded { step, epoch, outcome, produced: Vec::new(), undo_until };
    assert_eq!(when(&run(&[intended(0)]), command), Ok(vec![event]));
}

#[test]
fn the_earliest_of_its_steps_holds_for_all_of_it() {
    for (first, second, earliest) in [
        (None, None, None),
        (Some(5), None, Some(5)),
        (None, Some(5), Some(5)),
        (Some(5), Some(4), Some(4)),
        (Some(4), Some(5), Some(4)),
    ] {
        let state = running(&run(&both(first, second))).unwrap();
        assert_eq!(state.undo_until(), earliest.map(moment), "{first:?}, {second:?}");
    }
}

/// Only that is undone.
#[test]
fn what_was_not_verified_sets_no_limit() {
    let lived = both(Some(5), Some(4));
    for until in [3, 5] {
        assert_eq!(running(&run(&lived[..until])).unwrap().undo_until(), Some(moment(5)));
    }
    let lived = [intended(0), said(0, Some(5))];
    assert_eq!(running(&run(&lived)).unwrap().undo_until(), None);
}

#[test]
fn the_moment_itself_is_too_late() {
    let state = running(&run(&both(Some(5), None))).unwrap();
    let effects: Vec<_> = state
        .steps
        .iter()
        .map(|phase| {
            let StepPhase::Verified(verified) = phase else { panic!("{}", phase.name()) };
            verified.effect.clone()
        })
        .collect();
    let [limited, unlimited] = effects.try_into().unwrap();
    assert_eq!(limited.too_late_since(moment(4)), None);
    assert_eq!(limited.too_late_since(moment(5)), Some(moment(5)));
    assert_eq!(limited.too_late_since(moment(6)), Some(moment(5)));
    assert_eq!(unlimited.too_late_since(moment(1_000_000_000)), None);
}
