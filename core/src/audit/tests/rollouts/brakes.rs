//! What holds a rollout, and what keeps its parts from being sent.

use super::*;
use crate::run::event::Reason;

/// Begun in the second batch, and blocked before anything was sent.
impl Log {
    fn part_stopped(self, no: u32) -> Self {
        let (before, after, now) = (Vec::new(), Vec::new(), Vec::new());
        let reason = Reason { kind: "stopped".to_owned(), message: "Enough.".to_owned() };
        self.part(no, R::Block { step: 0, epoch: 1, before, after, now, reason })
            .part(no, R::Finish { epoch: 1 })
    }

    fn batch_ended_as(self, no: u32, tally: Tally) -> Self {
        self.brake(B::EndBatch { no, tally, moved: 0, undo_until: None })
    }
}

fn left_out(not_started: u32) -> Tally {
    Tally { not_started, ..Tally::default() }
}

#[test]
fn a_stop_that_keeps_parts_from_being_sent_is_silent() {
    let log = Log::after_canary()
        .brake(B::BeginBatch)
        .begun(1)
        .brake(stopped())
        .part_stopped(1)
        .batch_ended_as(1, left_out(2))
        .brake(B::Finish)
        .told(RunOutcome::Failed);
    assert_eq!(said(&log), SILENT);
    // Too many had failed: its stream says so at the end of the batch.
    let failed = Tally { failed: 1, ..left_out(1) };
    let log = Log::after_canary()
        .brake(B::BeginBatch)
        .begun(1)
        .part_failed(2)
        .part_stopped(1)
        .batch_ended_as(1, failed)
        .brake(B::Finish)
        .told(RunOutcome::Failed);
    assert_eq!(said(&log), SILENT);
}

#[test]
fn nothing_is_left_out_as_stopped_when_nothing_stopped_it() {
    let log = Log::after_canary()
        .brake(B::BeginBatch)
        .begun(1)
        .part_stopped(1)
        .part_done(2)
        .batch_ended_as(1, Tally { complete: 1, ..left_out(1) });
    assert_eq!(said(&log), ["audit.rollout_tally"]);
    // A stop afterwards is none before.
    assert_eq!(said(&log.brake(stopped())), ["audit.rollout_tally"]);
    // Neither does one that failed for another reason count as left out.
    let log = Log::after_canary().brake(B::BeginBatch).part_failed(1).brake(stopped());
    assert_eq!(said(&log.batch_ended_as(1, left_out(2))), ["audit.rollout_tally"]);
}

#[test]
fn a_rollout_goes_through_the_manifest_of_the_plan_that_was_approved() {
    let other = ManifestId(Uuid::from_u128(71));
    let harmful = |no| Step { summary: "Drops it".to_owned(), ..target(no) };
    let harm: Vec<_> = (0..SIZE).map(harmful).collect();
    let mut log = Log::drafted_as(strategy());
    let page = ManifestCommand::AddPage { change: CHANGE, steps: harm.clone() };
    log = log.tell::<Manifest>(other, &Principal::SYSTEM, page);
    let header = log.rollout_plan().header;
    let first = Plan::of_parts(header, other, &harm, Vec::new(), super::super::log::at(log.second));
    let log = log.change(CHANGE, AUTHOR, C::RecordPlan { plan: Box::new(first.clone()) });
    let log = log.approved_in_parts();
    let ChangeState::Executing(execution) = log.state::<Change>(CHANGE.into()) else {
        panic!("not executing")
    };
    let event = E::Started {
        change: CHANGE,
        digest: execution.plan.digest,
        manifest: other,
        size: SIZE,
        strategy: strategy(),
        approvals: execution.approvers.clone(),
        undoes: None,
    };
    let log = log.plant(rollout(), Actor::SYSTEM, event).brake(B::BeginBatch);
    assert_eq!(said(&log), ["audit.foreign_digest"]);
    // Nor is a part of it one of what was approved.
    let part = RunEvent::Started {
        change: CHANGE,
        plan: Box::new(first.part(&harm[0])),
        approvals: execution.approvers,
        undoes: None,
        part: Some(Part { rollout: rollout(), manifest: other, no: 0 }),
    };
    let log = log.plant(RunId::of_part(rollout(), 0), Actor::SYSTEM, part);
    assert_eq!(said(&log), ["audit.foreign_digest", "audit.foreign_digest"]);
}

/// A run of the plan in parts itself: it has no steps, and all of none are done.
fn empty(log: Log) -> Log {
    let ChangeState::Executing(execution) = log.state::<Change>(CHANGE.into()) else {
        panic!("not executing")
    };
    let started = RunEvent::Started {
        change: CHANGE,
        plan: execution.plan,
        approvals: execution.approvers,
        undoes: None,
        part: None,
    };
    let (outcome, secrets) = (RunOutcome::Complete, Vec::new());
    log.plant(RUN, Actor::SYSTEM, started)
        .plant(RUN, Actor::SYSTEM, RunEvent::Claimed { epoch: 1, worker: Uuid::nil() })
        .plant(RUN, Actor::SYSTEM, RunEvent::Finished { outcome, reason: None, secrets })
        .told(RunOutcome::Complete)
}

#[test]
fn a_rollout_is_not_complete_by_a_run_that_touched_nothing() {
    const UNFOUNDED: &str = "audit.run_unfounded";
    let log = Log::drafted_as(strategy()).approved_in_parts();
    assert_eq!(said(&empty(log)), [UNFOUNDED]);
    let expected = [UNFOUNDED, UNFOUNDED, UNFOUNDED, "audit.change_outcome"];
    assert_eq!(said(&empty(Log::rolling())), expected, "instead of the parts");
}

fn begun() -> E {
    E::BatchBegun { no: 1, first: 1, count: 2 }
}

#[test]
fn between_batches_is_the_pause_that_was_approved() {
    let log = || {
        let strategy = Strategy { pause_s: 60, ..strategy() };
        Log::rolling_as(strategy).brake(B::BeginBatch).part_done(0).batch_ended(0, 1, 0)
    };
    assert_eq!(said(&log().wait(60).brake(B::BeginBatch)), SILENT);
    // One second has passed already.
    assert_eq!(planted(log().wait(58), begun()), ["audit.rollout_held"]);
    assert_eq!(planted(log().wait(59), begun()), SILENT);
}

#[test]
fn after_the_canary_a_person_lets_it_go_on() {
    let log = || {
        let strategy = Strategy { hold_after_canary: true, ..strategy() };
        Log::rolling_as(strategy).brake(B::BeginBatch).part_done(0)
    };
    let ended = || log().batch_ended(0, 1, 0);
    let whole = ended()
        .brake(B::Resume)
        .brake(B::BeginBatch)
        .part_done(1)
        .part_done(2)
        .batch_ended(1, 2, 0)
        .brake(B::BeginBatch);
    assert_eq!(said(&whole), SILENT, "once is enough");
    // A person had paused it before the canary ended.
    let pause = || B::Pause { reason: "look".to_owned() };
    let paused = log().brake(pause()).batch_ended(0, 1, 0).brake(B::Resume).brake(B::BeginBatch);
    assert_eq!(said(&paused), SILENT);
    assert_eq!(planted(ended(), begun()), ["audit.rollout_held"]);
    // The pause is left out; what was let go on before the end says nothing of it.
    let unpaused = |log: Log| Log { events: log.without("rollout.paused"), second: 1000 };
    assert_eq!(planted(unpaused(ended()), begun()), ["audit.rollout_held"]);
    let before = log().brake(pause()).brake(B::Resume).batch_ended(0, 1, 0);
    assert_eq!(planted(unpaused(before), begun()), ["audit.rollout_held"]);
}

#[test]
fn only_people_let_a_rollout_go_on() {
    let paused = || Log::after_canary().brake(B::Pause { reason: "look".to_owned() });
    let machine = Actor::machine(crate::id::PersonId(Uuid::from_u128(AUTHOR)));
    for by in [Actor::SYSTEM, machine] {
        let log = paused().plant(rollout(), by, E::Resumed {});
        assert_eq!(said(&log), ["audit.not_a_person"]);
        assert_eq!(planted(log, begun()), ["audit.not_a_person", "audit.rollout_held"]);
    }
}
