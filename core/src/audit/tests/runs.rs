//! Runs.

use serde_json::json;
use uuid::Uuid;

use super::log::{BACK, CHANGE, RUN, block, reason, succeed, verify};
use super::*;
use crate::actor::Actor;
use crate::event::{Event, Recorded};
use crate::id::PersonId;
use crate::plan::Plan;
use crate::run::RunCommand as R;
use crate::run::event::{Captured, Finding, LateReport, RunEvent as E, RunOutcome};

const SILENT: [&str; 0] = [];

fn run_of(recorded: &mut Recorded) -> &mut E {
    let Event::Run(event) = &mut recorded.event else { panic!("not a run's") };
    event
}

fn planted(log: Log, event: E) -> Vec<&'static str> {
    codes(&log.plant(RUN, Actor::SYSTEM, event).events)
}

fn intent(step: u32, epoch: u32, attempt: u32) -> E {
    let before = Captured { fields: Vec::new(), fingerprint: "f0".to_owned(), sealed: None };
    E::StepIntended { step, epoch, attempt, key: "k".to_owned(), before }
}

fn success(step: u32, epoch: u32) -> E {
    E::StepSucceeded { step, epoch, outcome: json!({}), produced: Vec::new(), undo_until: None }
}

fn verified(step: u32) -> E {
    E::StepVerified { step, observed: Vec::new(), fingerprint: "f1".to_owned() }
}

fn finish(outcome: RunOutcome) -> E {
    E::Finished { outcome, reason: None, secrets: Vec::new() }
}

fn sent_again() -> Log {
    let lost = Log::running().intended(0, 1).claimed(1).unknown(0, 2);
    lost.reconciled(0, 2, Finding::NotApplied).intended(0, 2)
}

#[test]
fn runs_with_every_kind_of_end_are_silent() {
    let unverify = R::Unverify { step: 0, epoch: 1, observed: Vec::new(), reason: reason() };
    let histories = [
        sent_again().run(succeed(0, 2)).run(verify(0, 2)).done(1, 2).finished(2),
        Log::running()
            .intended(0, 1)
            .unknown(0, 1)
            .reconciled(0, 1, Finding::Applied)
            .run(verify(0, 1))
            .done(1, 1)
            .finished(1),
        Log::running().intended(0, 1).unknown(0, 1).finished(1),
        // Nothing repeats an unprotected effect.
        Log::running()
            .done(0, 1)
            .intended(1, 1)
            .unknown(1, 1)
            .reconciled(1, 1, Finding::NotApplied)
            .finished(1),
        Log::running().intended(0, 1).run(succeed(0, 1)).run(unverify).finished(1),
        Log::running().done(0, 1).run(block(1)).finished(1),
        Log::running()
            .done(0, 1)
            .intended(1, 1)
            .run(R::Fail { step: 1, epoch: 1, reason: reason() })
            .finished(1),
    ];
    for log in histories {
        assert_eq!(codes(&log.events), SILENT, "{:?}", log.outcome(RUN));
    }
}

#[test]
fn a_run_of_a_change_that_is_not_executing_it() {
    let started = |alter: fn(&mut E)| {
        codes(&Log::running().altered("run.started", |recorded| alter(run_of(recorded))))
    };
    let other = started(|event| {
        let E::Started { change, .. } = event else { panic!("no start") };
        *change = BACK;
    });
    assert_eq!(other, ["audit.run_unfounded"]);
    let mut events = Log::approved().executing().started(CHANGE, RUN, None).events;
    let last = events.len() - 1;
    events[last].header.stream.id = Uuid::from_u128(22);
    assert_eq!(codes(&events), ["audit.run_unfounded"]);
    let forged = started(|event| {
        let E::Started { approvals, .. } = event else { panic!("no start") };
        approvals.push(PersonId(Uuid::from_u128(9)));
    });
    assert_eq!(forged, ["audit.run_unfounded"]);
    let undoing = started(|event| {
        let E::Started { undoes, .. } = event else { panic!("no start") };
        *undoes = Some(RUN);
    });
    assert_eq!(undoing, ["audit.run_unfounded"]);
}

#[test]
fn a_run_that_does_not_begin_with_its_start() {
    let log = Log::approved().executing();
    assert_eq!(planted(log, intent(0, 1, 1)), ["audit.run_unfounded"]);
}

#[test]
fn a_rollback_that_undoes_another_run() {
    let altered = Log::complete().undoing().altered("run.started", |recorded| {
        let E::Started { undoes, .. } = run_of(recorded) else { panic!("no start") };
        *undoes = Some(crate::id::RunId(Uuid::from_u128(22)));
    });
    assert_eq!(codes(&altered), ["audit.run_unfounded"]);
}

#[test]
fn a_run_of_another_plan() {
    let altered = Log::running().altered("run.started", |recorded| {
        let E::Started { plan, .. } = run_of(recorded) else { panic!("no start") };
        plan.steps[0].parameters = json!({ "superuser": true });
    });
    assert_eq!(codes(&altered), ["audit.plan_altered"]);
    let exchanged = Log::running().altered("run.started", |recorded| {
        let E::Started { plan, .. } = run_of(recorded) else { panic!("no start") };
        plan.steps[0].parameters = json!({ "superuser": true });
        let Plan { header, steps, checks, computed_at, .. } = *plan.clone();
        **plan = Plan::new(header, steps, checks, computed_at);
    });
    assert_eq!(codes(&exchanged), ["audit.foreign_digest"]);
}

#[test]
fn claims_count_up() {
    for epoch in [0, 1, 3] {
        let claim = E::Claimed { epoch, worker: Uuid::nil() };
        assert_eq!(planted(Log::running(), claim), ["audit.claim_out_of_order"]);
    }
}

#[test]
fn an_intent_without_the_newest_claim() {
    let unclaimed = Log::approved().executing().started(CHANGE, RUN, None);
    assert_eq!(planted(unclaimed, intent(0, 0, 1)), ["audit.intent_unclaimed"]);
    assert_eq!(planted(Log::running().claimed(1), intent(0, 1, 1)), ["audit.intent_unclaimed"]);
    assert_eq!(planted(Log::running(), intent(0, 2, 1)), ["audit.intent_unclaimed"]);
}

#[test]
fn an_intent_that_is_not_due() {
    let due = |log, event| planted(log, event);
    let out = ["audit.intent_out_of_order"];
    assert_eq!(due(Log::running(), intent(1, 1, 1)), out, "the first step comes first");
    assert_eq!(due(Log::running(), intent(2, 1, 1)), out, "there are two steps");
    assert_eq!(due(Log::running(), intent(0, 1, 2)), out, "the first attempt is the first");
    assert_eq!(due(Log::running().intended(0, 1), intent(0, 1, 2)), out, "it is under way");
    assert_eq!(due(Log::running().done(0, 1), intent(0, 1, 2)), out, "it is done");
    let succeeded = Log::running().intended(0, 1).run(succeed(0, 1));
    assert_eq!(due(succeeded, intent(1, 1, 1)), out, "the first is not verified");
    let unknown = Log::running().intended(0, 1).unknown(0, 1);
    assert_eq!(due(unknown.clone(), intent(0, 1, 2)), out, "it may have happened");
    let again = unknown.reconciled(0, 1, Finding::NotApplied);
    assert_eq!(due(again, intent(0, 1, 2)), SILENT, "it is known not to have happened");
    let unprotected = Log::running().done(0, 1).intended(1, 1).unknown(1, 1);
    let unprotected = unprotected.reconciled(1, 1, Finding::NotApplied);
    assert_eq!(due(unprotected, intent(1, 1, 2)), out, "nothing repeats an unprotected effect");
}

#[test]
fn an_intent_of_a_change_that_is_over() {
    let over = Log::running().plant(
        CHANGE,
        Actor::SYSTEM,
        crate::change::event::ChangeEvent::Completed { run: RUN, secrets: Vec::new() },
    );
    let expected = ["audit.change_outcome", "audit.run_unfounded"];
    assert_eq!(planted(over, intent(0, 1, 1)), expected);
}

#[test]
fn one_outcome_per_intent() {
    let out = ["audit.outcome_without_intent"];
    assert_eq!(planted(Log::running(), success(0, 1)), out);
    assert_eq!(planted(Log::running().intended(0, 1), success(1, 1)), out);
    assert_eq!(planted(Log::running().intended(0, 1), success(7, 1)), out);
    let answered = Log::running().intended(0, 1).run(succeed(0, 1));
    assert_eq!(planted(answered.clone(), success(0, 1)), out);
    let failure = E::StepFailed { step: 0, epoch: 1, reason: reason() };
    assert_eq!(planted(answered, failure), out);
}

#[test]
fn an_outcome_is_reported_by_the_epoch_that_intended_it() {
    let fenced = || Log::running().intended(0, 1).claimed(1);
    let out = ["audit.outcome_without_intent"];
    assert_eq!(planted(fenced(), success(0, 1)), out);
    assert_eq!(planted(fenced(), success(0, 2)), out);
    let unknown = |epoch| E::StepUnknown { step: 0, epoch, reason: reason() };
    assert_eq!(planted(fenced(), unknown(1)), out);
    assert_eq!(planted(fenced(), unknown(2)), SILENT);
}

#[test]
fn what_is_said_of_a_step_follows() {
    let out = ["audit.step_out_of_order"];
    assert_eq!(planted(Log::running(), verified(0)), out);
    assert_eq!(planted(Log::running().intended(0, 1), verified(0)), out);
    let finding = E::StepReconciled {
        step: 0,
        finding: Finding::Applied,
        evidence: "none".to_owned(),
        observed: Vec::new(),
        produced: Vec::new(),
    };
    assert_eq!(planted(Log::running().intended(0, 1), finding), out);
    let (before, after, now) = (Vec::new(), Vec::new(), Vec::new());
    let blocked = E::StepBlocked { step: 0, before, after, now, reason: reason() };
    assert_eq!(planted(Log::running().intended(0, 1), blocked), out);
    let unverified = E::StepUnverified { step: 0, observed: Vec::new(), reason: reason() };
    assert_eq!(planted(Log::running().done(0, 1), unverified), out);
    let log = Log::running();
    let start = log.events.iter().find(|e| e.header.kind == "run.started").unwrap().event.clone();
    let Event::Run(start) = start else { panic!("not a run's") };
    assert_eq!(planted(log, start), out);
}

#[test]
fn a_run_ends_as_its_steps_say() {
    let out = ["audit.run_outcome"];
    let complete = || finish(RunOutcome::Complete);
    assert_eq!(planted(Log::running().done(0, 1), complete()), out);
    let failed = Log::running().intended(0, 1).run(R::Fail { step: 0, epoch: 1, reason: reason() });
    assert_eq!(planted(failed.clone(), complete()), out);
    assert_eq!(planted(failed, finish(RunOutcome::Failed)), SILENT);
    let unknown = Log::running().intended(0, 1).unknown(0, 1);
    assert_eq!(planted(unknown.clone(), finish(RunOutcome::Failed)), out);
    assert_eq!(planted(unknown, finish(RunOutcome::OutcomeUnknown)), SILENT);
    let succeeded = Log::running().done(0, 1).intended(1, 1).run(succeed(1, 1));
    assert_eq!(planted(succeeded, complete()), out, "done is not verified");
}

#[test]
fn nothing_follows_the_end_of_a_run() {
    assert_eq!(planted(Log::complete(), verified(0)), ["audit.after_the_end"]);
}

/// The first intent of a run, as much later as this.
fn first_intent_after(log: Log, seconds: i64) -> Vec<&'static str> {
    let mut log = log.plant(RUN, Actor::SYSTEM, intent(0, 1, 1));
    let last = log.events.last_mut().unwrap();
    last.header.at = last.header.at.plus_seconds(seconds);
    codes(&log.events)
}

#[test]
fn nothing_is_intended_after_the_time_in_total() {
    let day = 24 * 60 * 60;
    let out = ["audit.intent_after_time"];
    assert_eq!(first_intent_after(Log::running(), day - 60), SILENT);
    assert_eq!(first_intent_after(Log::running(), day + 60), out);
    // What was begun in time is no better.
    let mut log = Log::running().done(0, 1).plant(RUN, Actor::SYSTEM, intent(1, 1, 1));
    let last = log.events.last_mut().unwrap();
    last.header.at = last.header.at.plus_seconds(day + 60);
    assert_eq!(codes(&log.events), out);
}

#[test]
fn nothing_begins_once_its_approvals_ran_out() {
    let month = 31 * 24 * 60 * 60;
    let begun_late = |codes: Vec<&str>| codes.contains(&"audit.begun_late");
    assert!(begun_late(first_intent_after(Log::running(), month)));
    let mut log = Log::running().done(0, 1).plant(RUN, Actor::SYSTEM, intent(1, 1, 1));
    let last = log.events.last_mut().unwrap();
    last.header.at = last.header.at.plus_seconds(month);
    assert!(!begun_late(codes(&log.events)));
}

fn cancelled() -> E {
    E::CancelAsked { reason: "not today".to_owned() }
}

fn cancelled_by_a_person(log: Log) -> Log {
    log.plant(RUN, Actor::user(PersonId(Uuid::from_u128(1))), cancelled())
}

#[test]
fn nothing_is_intended_after_a_cancel() {
    let out = ["audit.intent_after_cancel"];
    assert_eq!(planted(cancelled_by_a_person(Log::running()), intent(0, 1, 1)), out);
    let between = cancelled_by_a_person(Log::running().done(0, 1));
    assert_eq!(planted(between.clone(), intent(1, 1, 1)), out);
    // Nor by whoever takes the run over.
    assert_eq!(planted(between.claimed(1), intent(1, 2, 1)), out);
    // What is under way comes to its end.
    let under_way = cancelled_by_a_person(Log::running().intended(0, 1));
    let ended = under_way.run(succeed(0, 1)).run(verify(0, 1)).run(block(1)).finished(1);
    assert_eq!(codes(&ended.events), SILENT);
    assert_eq!(planted(Log::running(), cancelled()), ["audit.not_a_person"]);
}

#[test]
fn what_is_late_has_an_intent_of_its_epoch() {
    let out = ["audit.late_report_unfounded"];
    let late = |step, epoch| E::LateReported {
        step,
        epoch,
        report: LateReport::Failed { reason: reason() },
    };
    let fenced = || Log::running().intended(0, 1).claimed(1);
    assert_eq!(planted(fenced(), late(0, 1)), SILENT);
    assert_eq!(planted(fenced(), late(0, 2)), out, "that is the one that has the run");
    assert_eq!(planted(fenced(), late(1, 1)), out, "it was not intended");
    assert_eq!(planted(Log::running().intended(0, 1), late(0, 1)), out, "nobody took over");
    let told = fenced().plant(RUN, Actor::SYSTEM, late(0, 1));
    assert_eq!(planted(told, late(0, 1)), out, "twice");

    let over = || {
        let settled = fenced().unknown(0, 2).reconciled(0, 2, Finding::Applied);
        settled.run(verify(0, 2)).done(1, 2).finished(2)
    };
    assert_eq!(planted(over(), late(0, 1)), SILENT);
    let told = over().plant(RUN, Actor::SYSTEM, late(0, 1));
    assert_eq!(planted(told, late(0, 1)), out, "twice, after the end");
    assert_eq!(planted(over(), late(1, 2)), out);
    assert_eq!(planted(Log::complete(), late(0, 1)), out);
}
