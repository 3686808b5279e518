//! The way back: what somebody moved since is not the canary.

use super::*;
use crate::run::event::Reason;

const UNDONE: RunId = RunId(Uuid::from_u128(77));

impl Log {
    fn rolling_parts_back() -> Self {
        let strategy = Strategy { max_failed: SIZE, hold_after_canary: true, ..strategy() };
        let log = Self::drafted_as(strategy).approved_in_parts();
        let ChangeState::Executing(execution) = log.state::<Change>(CHANGE.into()) else {
            panic!("not executing")
        };
        log.brake(B::Start {
            change: CHANGE,
            digest: execution.plan.digest,
            manifest: MANIFEST,
            size: SIZE,
            strategy,
            approvals: execution.approvers,
            undoes: Some(UNDONE),
        })
        .brake(B::BeginBatch)
    }

    fn back_begun(self, no: u32) -> Self {
        let ChangeState::Executing(execution) = self.state::<Change>(CHANGE.into()) else {
            panic!("not executing")
        };
        let command = R::Start {
            change: CHANGE,
            plan: Box::new(self.rollout_plan().part(&target(no))),
            approvals: execution.approvers,
            undoes: Some(UNDONE),
            part: Some(Part { rollout: rollout(), manifest: MANIFEST, no }),
        };
        self.part(no, command).part(no, R::Claim { worker: Uuid::nil(), after: 0 })
    }

    fn not_undone(self, no: u32, kind: &str) -> Self {
        let (before, after, now) = (Vec::new(), Vec::new(), Vec::new());
        let reason = Reason { kind: kind.to_owned(), message: "Nothing was undone.".to_owned() };
        self.back_begun(no)
            .part(no, R::Block { step: 0, epoch: 1, before, after, now, reason })
            .part(no, R::Finish { epoch: 1 })
    }

    fn ended_with(self, no: u32, tally: Tally, moved: u32) -> Self {
        self.brake(B::EndBatch { no, tally, moved, undo_until: None })
    }
}

fn one_failed() -> Tally {
    Tally { failed: 1, ..Tally::default() }
}

/// What is said of the rollout: its change is none that undoes another here.
fn judged(log: &Log) -> Vec<&'static str> {
    said(log).into_iter().filter(|code| code.starts_with("audit.rollout")).collect()
}

fn and(log: Log, event: E) -> Vec<&'static str> {
    judged(&log.plant(rollout(), Actor::SYSTEM, event))
}

#[test]
fn the_canary_is_what_can_be_undone() {
    let moved = || Log::rolling_parts_back().not_undone(0, "moved").ended_with(0, one_failed(), 1);
    // As small as the first, and nobody has to look at what says nothing.
    let log = moved().brake(B::BeginBatch);
    assert_eq!(judged(&log), SILENT);
    let done = Tally { complete: 1, ..Tally::default() };
    let log = log
        .back_begun(1)
        .part(1, intend(0, 1))
        .part(1, succeed(0, 1))
        .part(1, verify(0, 1))
        .part(1, R::Finish { epoch: 1 })
        .ended_with(1, done, 0);
    let begun = |no, first, count| E::BatchBegun { no, first, count };
    assert_eq!(judged(&log.brake(B::Resume).brake(B::BeginBatch)), SILENT);
    assert_eq!(and(moved(), begun(1, 1, 2)), ["audit.rollout_out_of_order"]);
}

#[test]
fn only_what_its_run_says_was_moved_is_left_out() {
    let ended = |moved| E::BatchEnded { no: 0, tally: one_failed(), moved, undo_until: None };
    let log = |kind| Log::rolling_parts_back().not_undone(0, kind);
    assert_eq!(and(log("moved"), ended(1)), SILENT);
    assert_eq!(and(log("not_found"), ended(1)), SILENT);
    assert_eq!(and(log("unreachable"), ended(0)), SILENT);
    for kind in ["unreachable", "frozen"] {
        assert_eq!(and(log(kind), ended(1)), ["audit.rollout_tally"], "{kind}");
    }
    // One that was sent and refused is a failure, whatever the target calls it.
    let refused = Reason { kind: "moved".to_owned(), message: "No.".to_owned() };
    let log = Log::rolling_parts_back()
        .back_begun(0)
        .part(0, intend(0, 1))
        .part(0, R::Fail { step: 0, epoch: 1, reason: refused })
        .part(0, R::Finish { epoch: 1 });
    assert_eq!(and(log, ended(1)), ["audit.rollout_tally"]);
}

#[test]
fn a_canary_that_failed_for_another_reason_holds_it() {
    let log = Log::rolling_parts_back().not_undone(0, "unreachable").ended_with(0, one_failed(), 0);
    let log = Log { events: log.without("rollout.stopped"), second: 1000 };
    let begun = E::BatchBegun { no: 1, first: 1, count: 2 };
    assert_eq!(and(log, begun), ["audit.rollout_held"]);
}
