//! Given events, when a command, then events or the exact rejection; and a random walk over whole rollouts.

use proptest::prelude::*;
use uuid::Uuid;

use super::event::{RolloutEvent as E, Strategy, Tally};
use super::{Batch, Next, Rollout, RolloutCommand as C, RolloutRejection as No, RolloutState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider as _, Principal};
use crate::id::{ChangeId, ManifestId, PersonId, RolloutId, RunId};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

const SIZE: u32 = 25;

fn second(s: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(s)
}

fn strategy() -> Strategy {
    Strategy {
        canary: 2,
        batch: 10,
        parallel: 5,
        pause_s: 60,
        max_failed: 3,
        hold_after_canary: false,
    }
}

fn started_with(strategy: Strategy, undoes: Option<RunId>) -> E {
    E::Started {
        change: ChangeId(Uuid::from_u128(1)),
        digest: "d".repeat(64),
        manifest: ManifestId(Uuid::from_u128(2)),
        size: SIZE,
        strategy,
        approvals: vec![PersonId(Uuid::from_u128(3))],
        undoes,
    }
}

fn started() -> E {
    started_with(strategy(), None)
}

fn begun(no: u32, first: u32, count: u32) -> E {
    E::BatchBegun { no, first, count }
}

fn good(complete: u32) -> Tally {
    Tally { complete, ..Tally::default() }
}

fn ended(no: u32, tally: Tally) -> E {
    E::BatchEnded { no, tally, moved: 0, undo_until: None }
}

fn stopped() -> E {
    E::Stopped { reason: "enough".to_owned() }
}

fn paused() -> E {
    E::Paused { reason: "a moment".to_owned() }
}

/// Every event happened in second 0.
fn given(events: &[E]) -> RolloutState {
    events.iter().fold(RolloutState::default(), |state, event| {
        Rollout::evolve(state, event, Actor::SYSTEM, second(0))
    })
}

fn when_at(events: &[E], at: i64, by: Principal, command: C) -> Result<Vec<E>, No> {
    Rollout::decide(&given(events), Asked { by, at: second(at), command })
}

fn when(events: &[E], command: C) -> Result<Vec<E>, No> {
    when_at(events, 3600, Principal::SYSTEM, command)
}

fn person(roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(4))), roles: roles.to_vec() }
}

fn end(no: u32, tally: Tally) -> C {
    C::EndBatch { no, tally, moved: 0, undo_until: None }
}

fn stop() -> C {
    C::Stop { reason: "enough".to_owned() }
}

fn pause() -> C {
    C::Pause { reason: "a moment".to_owned() }
}

fn next(events: &[E], at: i64) -> Option<Next> {
    match given(events) {
        RolloutState::Rolling(rolling) => Some(rolling.next(second(at))),
        RolloutState::Absent | RolloutState::Finished(..) => None,
    }
}

/// The canary is over and went well.
fn after_canary() -> Vec<E> {
    vec![started(), begun(0, 0, 2), ended(0, good(2))]
}

#[test]
fn the_canary_is_first_and_batches_follow_without_a_gap() {
    let mut log = vec![started()];
    let batches = [(0, 0, 2), (1, 2, 10), (2, 12, 10), (3, 22, 3)];
    for (no, first, count) in batches {
        assert_eq!(next(&log, 3600), Some(Next::Begin));
        assert_eq!(when(&log, C::BeginBatch), Ok(vec![begun(no, first, count)]));
        log.push(begun(no, first, count));
        assert_eq!(next(&log, 3600), Some(Next::Drive(Batch { no, first, count })));
        assert_eq!(when(&log, C::BeginBatch), Err(No::UnderWay));
        assert_eq!(when(&log, C::Finish), Err(No::NotOver));
        assert_eq!(when(&log, end(no, good(count))), Ok(vec![ended(no, good(count))]));
        log.push(ended(no, good(count)));
    }
    assert_eq!(next(&log, 0), Some(Next::Finish));
    assert_eq!(when(&log, C::BeginBatch), Err(No::NothingLeft));
    let finished = E::Finished { outcome: RunOutcome::Complete, reason: None, tally: good(SIZE) };
    assert_eq!(when(&log, C::Finish), Ok(vec![finished.clone()]));
    log.push(finished);
    assert_eq!(when(&log, C::Finish), Ok(Vec::new()));
    assert_eq!(when_at(&log, 0, person(&[Role::Operator]), stop()), Err(No::Finished));
}

#[test]
fn the_earliest_limit_to_undoing_over_all_batches_stays() {
    let ended = |no, count, until: Option<i64>| {
        let undo_until = until.map(second);
        E::BatchEnded { no, tally: good(count), moved: 0, undo_until }
    };
    let log = [started(), begun(0, 0, 2)];
    let end = C::EndBatch { no: 0, tally: good(2), moved: 0, undo_until: Some(second(500)) };
    assert_eq!(when(&log, end), Ok(vec![ended(0, 2, Some(500))]));
    for (limits, earliest) in [
        ([None, None], None),
        ([Some(500), None], Some(500)),
        ([None, Some(500)], Some(500)),
        ([Some(500), Some(400)], Some(400)),
        ([Some(400), Some(500)], Some(400)),
    ] {
        let [canary, next] = limits;
        let log =
            [started(), begun(0, 0, 2), ended(0, 2, canary), begun(1, 2, 10), ended(1, 10, next)];
        let RolloutState::Rolling(rolling) = given(&log) else { panic!("it has not ended") };
        assert_eq!(rolling.undo_until, earliest.map(second), "{limits:?}");
    }
}

#[test]
fn the_next_batch_waits_for_the_pause_between_two() {
    let log = after_canary();
    let begin = |at| when_at(&log, at, Principal::SYSTEM, C::BeginBatch);
    assert_eq!(begin(59), Err(No::TooEarly { at: second(60) }));
    assert_eq!(next(&log, 59), Some(Next::WaitUntil(second(60))));
    assert_eq!(begin(60), Ok(vec![begun(1, 2, 10)]));
}

#[test]
fn every_target_of_a_batch_is_accounted_for() {
    let log = [started(), begun(0, 0, 2)];
    assert_eq!(when(&log, end(0, good(1))), Err(No::Miscounted { tallied: 1, count: 2 }));
    assert_eq!(when(&log, end(0, good(3))), Err(No::Miscounted { tallied: 3, count: 2 }));
    assert_eq!(when(&log, end(1, good(2))), Err(No::NotUnderWay { no: 1 }));
    assert_eq!(when(&after_canary(), end(0, good(2))), Err(No::NotUnderWay { no: 0 }));
}

#[test]
fn a_canary_that_is_not_well_stops_it() {
    for bad in [
        Tally { complete: 1, failed: 1, ..Tally::default() },
        Tally { complete: 1, unknown: 1, ..Tally::default() },
    ] {
        let decided = when(&[started(), begun(0, 0, 2)], end(0, bad)).unwrap();
        assert!(matches!(decided.as_slice(), [E::BatchEnded { .. }, E::Stopped { .. }]));
    }
}

#[test]
fn more_failures_than_agreed_stop_it_and_fewer_do_not() {
    let mut log = after_canary();
    log.push(begun(1, 2, 10));
    let failed = |failed, unknown| Tally {
        complete: 10 - failed - unknown,
        failed,
        unknown,
        not_started: 0,
    };
    assert_eq!(when(&log, end(1, failed(2, 1))).unwrap().len(), 1);
    assert_eq!(when(&log, end(1, failed(2, 2))).unwrap().len(), 2);
    // Over all batches.
    log.extend([ended(1, failed(2, 1)), begun(2, 12, 10)]);
    assert_eq!(when(&log, end(2, failed(0, 0))).unwrap().len(), 1);
    assert_eq!(when(&log, end(2, failed(1, 0))).unwrap().len(), 2);
}

#[test]
fn a_canary_can_wait_for_a_person() {
    let held = Strategy { hold_after_canary: true, ..strategy() };
    let log = [started_with(held, None), begun(0, 0, 2)];
    let decided = when(&log, end(0, good(2))).unwrap();
    assert!(matches!(decided.as_slice(), [E::BatchEnded { .. }, E::Paused { .. }]));
    // There is nothing to wait for after the last one.
    let all = Strategy { canary: SIZE, ..held };
    let log = [started_with(all, None), begun(0, 0, SIZE)];
    assert_eq!(when(&log, end(0, good(SIZE))).unwrap().len(), 1);
}

#[test]
fn nothing_begins_while_it_is_paused_and_it_goes_on_afterwards() {
    let operator = || person(&[Role::Operator]);
    let mut log = after_canary();
    assert_eq!(when_at(&log, 0, operator(), C::Resume), Err(No::NotPaused));
    assert_eq!(when_at(&log, 0, operator(), pause()), Ok(vec![paused()]));
    log.push(paused());
    assert_eq!(when_at(&log, 0, operator(), pause()), Ok(Vec::new()));
    assert_eq!(when(&log, C::BeginBatch), Err(No::Paused { reason: "a moment".to_owned() }));
    assert_eq!(next(&log, 3600), Some(Next::Wait));
    assert_eq!(when(&log, C::Finish), Err(No::NotOver));
    assert_eq!(when_at(&log, 0, operator(), C::Resume), Ok(vec![E::Resumed {}]));
    log.push(E::Resumed {});
    assert_eq!(next(&log, 3600), Some(Next::Begin));
}

#[test]
fn what_is_stopped_stays_stopped_and_says_what_was_left() {
    let operator = || person(&[Role::Operator]);
    let mut log = after_canary();
    log.push(stopped());
    let no = || No::Stopped { reason: "enough".to_owned() };
    assert_eq!(when(&log, C::BeginBatch), Err(no()));
    assert_eq!(when_at(&log, 0, operator(), C::Resume), Err(no()));
    assert_eq!(when_at(&log, 0, operator(), pause()), Err(no()));
    assert_eq!(when_at(&log, 0, operator(), stop()), Ok(Vec::new()));
    assert_eq!(next(&log, 0), Some(Next::Finish));
    let decided = when(&log, C::Finish).unwrap();
    let [E::Finished { outcome: RunOutcome::Failed, reason: Some(reason), tally }] =
        decided.as_slice()
    else {
        panic!("{decided:?}");
    };
    assert_eq!(*tally, Tally { complete: 2, not_started: 23, ..Tally::default() });
    assert!(reason.contains("23 were not started. enough"), "{reason}");
}

/// A stop in mid-batch ends with the batch, whose targets are all accounted for.
#[test]
fn a_stopped_batch_still_ends() {
    let log = [started(), begun(0, 0, 2), stopped()];
    assert_eq!(next(&log, 0), Some(Next::Drive(Batch { no: 0, first: 0, count: 2 })));
    let tally = Tally { complete: 1, not_started: 1, ..Tally::default() };
    assert_eq!(when(&log, end(0, tally)), Ok(vec![ended(0, tally)]));
}

#[test]
fn the_outcome_follows_from_how_the_targets_ended() {
    let run = RunId(Uuid::from_u128(60));
    let outcome = |undoes, tally: Tally| {
        let all = Strategy { canary: SIZE, ..strategy() };
        let log = [started_with(all, undoes), begun(0, 0, SIZE), ended(0, tally)];
        match given(&log) {
            RolloutState::Rolling(rolling) => rolling.outcome().map(|(outcome, ..)| outcome),
            RolloutState::Absent | RolloutState::Finished(..) => None,
        }
    };
    let failed = Tally { complete: 24, failed: 1, ..Tally::default() };
    let unknown = Tally { complete: 23, failed: 1, unknown: 1, not_started: 0 };
    let none = Tally { failed: SIZE, ..Tally::default() };
    assert_eq!(outcome(None, good(SIZE)), Some(RunOutcome::Complete));
    assert_eq!(outcome(Some(run), good(SIZE)), Some(RunOutcome::Complete));
    assert_eq!(outcome(None, failed), Some(RunOutcome::Failed));
    assert_eq!(outcome(Some(run), failed), Some(RunOutcome::RollbackPartial));
    assert_eq!(outcome(Some(run), none), Some(RunOutcome::RollbackBlocked));
    assert_eq!(outcome(None, unknown), Some(RunOutcome::OutcomeUnknown));
    assert_eq!(outcome(Some(run), unknown), Some(RunOutcome::OutcomeUnknown));
}

#[test]
fn brakes_are_for_operators_and_responders_and_the_rest_for_the_runtime() {
    let log = after_canary();
    let is_denied = |by: Principal, command: C| {
        matches!(when_at(&log, 3600, by, command), Err(No::Denied { .. }))
    };
    let others = [Role::Viewer, Role::Approver, Role::Auditor, Role::Admin];
    let token = |roles: &[Role]| Principal {
        actor: Actor::machine(PersonId(Uuid::from_u128(4))),
        roles: roles.to_vec(),
    };
    for brake in [pause(), stop()] {
        assert!(is_denied(person(&others), brake.clone()));
        assert!(is_denied(token(&[Role::Operator]), brake.clone()));
        for role in [Role::Operator, Role::Responder] {
            assert!(!is_denied(person(&[role]), brake.clone()));
        }
    }
    assert!(is_denied(person(&[Role::Responder]), C::Resume));
    assert!(is_denied(token(&[Role::Operator]), C::Resume));
    for command in [C::BeginBatch, end(0, good(2)), C::Finish] {
        assert!(is_denied(person(&[Role::Operator, Role::Admin]), command));
    }
}

#[test]
fn a_reason_has_words() {
    let log = after_canary();
    for reason in ["", "  ", "a\0b", &"x".repeat(2001)] {
        let command = C::Stop { reason: reason.to_owned() };
        let decided = when_at(&log, 0, person(&[Role::Operator]), command);
        assert!(matches!(decided, Err(No::Invalid { field: "reason", .. })), "{reason:?}");
    }
}

#[test]
fn strategies_have_bounds() {
    let fault_for = |strategy: Strategy, n| strategy.fault(n).map(|(field, _)| field);
    let fault = |strategy| fault_for(strategy, 25);
    assert_eq!(fault(strategy()), None);
    for n in [1, 2, 99, 100, 101, 5000, 10_000] {
        assert_eq!(fault_for(Strategy::for_targets(n), n), None, "{n}");
    }
    // At most 500 batches, the first of which is the canary.
    for (canary, batch, n, is_good) in [
        (1, 1, 500, true),
        (1, 1, 501, false),
        (2, 1, 501, true),
        (1, 20, 9_981, true),
        (1, 20, 9_982, false),
        (1, 1, 10_000, false),
        (1000, 1, 10, true),
    ] {
        let expected = (!is_good).then_some("rollout/batch");
        assert_eq!(fault_for(Strategy { canary, batch, ..strategy() }, n), expected, "{n}");
    }
    for (bad, field) in [
        (Strategy { canary: 0, ..strategy() }, "rollout/canary"),
        (Strategy { canary: 1001, ..strategy() }, "rollout/canary"),
        (Strategy { batch: 0, ..strategy() }, "rollout/batch"),
        (Strategy { batch: 1001, ..strategy() }, "rollout/batch"),
        (Strategy { parallel: 0, ..strategy() }, "rollout/parallel"),
        (Strategy { parallel: 101, ..strategy() }, "rollout/parallel"),
        (Strategy { pause_s: 86_401, ..strategy() }, "rollout/pause_s"),
    ] {
        assert_eq!(fault(bad), Some(field));
    }
}

/// What was agreed to before there was a limit is undone in fewer batches; and what cannot be undone any more
/// keeps nothing else from it.
#[test]
fn the_way_back_is_not_stopped_by_what_cannot_be_undone() {
    let old = Strategy { canary: 1, batch: 1, max_failed: 0, ..strategy() };
    let back = old.back(10_000);
    assert_eq!(back.fault(10_000), None);
    assert_eq!((back.canary, back.max_failed), (1, 10_000));
    assert_eq!(old.back(25), Strategy { max_failed: 25, ..old });

    let undoes = Some(RunId(Uuid::from_u128(9)));
    let log = vec![started_with(strategy().back(25), undoes), begun(0, 0, 2), ended(0, good(2))];
    let log = [log, vec![begun(1, 2, 10)]].concat();
    let tally = Tally { complete: 4, failed: 6, ..Tally::default() };
    assert_eq!(when(&log, end(1, tally)), Ok(vec![ended(1, tally)]));
}

fn ended_with(no: u32, tally: Tally, moved: u32) -> E {
    E::BatchEnded { no, tally, moved, undo_until: None }
}

fn end_with(no: u32, tally: Tally, moved: u32) -> C {
    C::EndBatch { no, tally, moved, undo_until: None }
}

/// What was moved since says nothing of how the others go: the next ones are the canary then.
#[test]
fn the_canary_of_a_way_back_is_what_can_be_undone() {
    let undoes = Some(RunId(Uuid::from_u128(9)));
    let back = Strategy { hold_after_canary: true, ..strategy().back(25) };
    let mut log = vec![started_with(back, undoes), begun(0, 0, 2)];
    let gone = Tally { failed: 2, ..Tally::default() };
    assert_eq!(when(&log, end_with(0, gone, 2)), Ok(vec![ended_with(0, gone, 2)]));
    // No more than have failed, and none where nothing is undone.
    let miscounted = |tallied, count| Err(No::Miscounted { tallied, count });
    assert_eq!(when(&log, end_with(0, gone, 3)), miscounted(3, 2));
    assert_eq!(when(&[started(), begun(0, 0, 2)], end_with(0, gone, 1)), miscounted(1, 0));

    log.push(ended_with(0, gone, 2));
    assert_eq!(when(&log, C::BeginBatch), Ok(vec![begun(1, 2, 2)]), "as few as were agreed");
    log.push(begun(1, 2, 2));
    let one = Tally { complete: 1, failed: 1, ..Tally::default() };
    let decided = when(&log, end_with(1, one, 0)).unwrap();
    let [E::BatchEnded { .. }, E::Stopped { reason }] = decided.as_slice() else {
        panic!("{decided:?}")
    };
    assert_eq!(reason, "1 of the first batch did not end well.");
    let decided = when(&log, end_with(1, one, 1)).unwrap();
    assert!(matches!(decided.as_slice(), [E::BatchEnded { .. }, E::Paused { .. }]), "{decided:?}");

    log.push(ended_with(1, one, 1));
    assert_eq!(when(&log, C::BeginBatch), Ok(vec![begun(2, 4, 10)]));
}

#[test]
fn a_canary_is_not_looked_for_without_end() {
    let undoes = Some(RunId(Uuid::from_u128(9)));
    let mut log = vec![started_with(Strategy { canary: 1, ..strategy().back(25) }, undoes)];
    let gone = Tally { failed: 1, ..Tally::default() };
    for no in 0..19 {
        log.push(begun(no, no, 1));
        assert_eq!(when(&log, end_with(no, gone, 1)), Ok(vec![ended_with(no, gone, 1)]));
        log.push(ended_with(no, gone, 1));
    }
    log.push(begun(19, 19, 1));
    let decided = when(&log, end_with(19, gone, 1)).unwrap();
    let [E::BatchEnded { .. }, E::Stopped { reason }] = decided.as_slice() else {
        panic!("{decided:?}")
    };
    assert!(reason.starts_with("None of the first 20 can be undone any more"), "{reason}");
}

#[test]
fn what_has_no_target_does_not_start() {
    let E::Started { change, digest, manifest, strategy, approvals, undoes, .. } = started() else {
        unreachable!()
    };
    let start = C::Start { change, digest, manifest, size: 0, strategy, approvals, undoes };
    assert_eq!(when(&[], start), Err(No::NothingLeft));
}

#[test]
fn the_run_of_a_part_follows_from_rollout_and_number() {
    let rollout = RolloutId(Uuid::from_u128(5));
    assert_eq!(RunId::of_part(rollout, 7), RunId::of_part(rollout, 7));
    assert_ne!(RunId::of_part(rollout, 7), RunId::of_part(rollout, 8));
    assert_ne!(RunId::of_part(rollout, 7), RunId::of_part(RolloutId(Uuid::from_u128(6)), 7));
    assert!(RunId::of_part(rollout, 7).is_part());
    for other in [Uuid::from_u128(7), Uuid::new_v5(&Uuid::nil(), b"start")] {
        assert!(!RunId(other).is_part());
    }
}

proptest! {
    /// However targets end and people brake: it comes to an end, in which every target is accounted for
    /// once, and nothing began while it was held.
    #[test]
    fn every_rollout_accounts_for_every_target(
        size in 1_u32..200,
        canary in 1_u32..20,
        batch in 1_u32..50,
        max_failed in 0_u32..10,
        moves in prop::collection::vec((0_u32..12, 0_u32..12, 0_u8..8), 0..60),
    ) {
        let strategy = Strategy { canary, batch, max_failed, pause_s: 0, ..strategy() };
        let E::Started { change, digest, manifest, approvals, .. } = started() else { unreachable!() };
        let mut log =
            vec![E::Started { change, digest, manifest, size, strategy, approvals, undoes: None }];
        let mut moves = moves.into_iter().chain(std::iter::repeat((0, 0, 7)));
        let mut covered = 0;
        let tally = loop {
            let (failed, unknown, hand) = moves.next().unwrap();
            let brake = match hand {
                0 => Some(pause()),
                1 => Some(stop()),
                2 => Some(C::Resume),
                _ => None,
            };
            let asked = brake.map(|command| when_at(&log, 1, person(&[Role::Operator]), command));
            log.extend(asked.and_then(Result::ok).unwrap_or_default());
            match next(&log, 1).unwrap() {
                Next::Begin => log.extend(when(&log, C::BeginBatch).unwrap()),
                Next::Drive(Batch { no, first, count }) => {
                    prop_assert_eq!(first, covered);
                    covered += count;
                    let failed = failed.min(count);
                    let unknown = unknown.min(count - failed);
                    let complete = count - failed - unknown;
                    let tally = Tally { complete, failed, unknown, not_started: 0 };
                    log.extend(when(&log, end(no, tally)).unwrap());
                }
                Next::Wait => {
                    prop_assert!(when(&log, C::BeginBatch).is_err());
                    log.extend(when_at(&log, 1, person(&[Role::Operator]), C::Resume).unwrap());
                }
                Next::WaitUntil(_) => prop_assert!(false, "there is no pause"),
                Next::Finish => {
                    let decided = when(&log, C::Finish).unwrap();
                    let [E::Finished { tally, .. }] = decided.as_slice() else { unreachable!() };
                    break *tally;
                }
            }
        };
        prop_assert_eq!(tally.sum(), size);
        let is_stopped = log.iter().any(|event| matches!(event, E::Stopped { .. }));
        prop_assert!(is_stopped || covered == size);
        let worst = log.iter().filter_map(|event| {
            if let E::BatchEnded { tally, .. } = event { Some(tally.bad()) } else { None }
        });
        prop_assert!(is_stopped || worst.sum::<u32>() <= max_failed);
    }
}
