//! Rollouts.

mod back;
mod brakes;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::log::{AUTHOR, CHANGE, FIRST, RUN, SECOND, draft, intend, risk, step, succeed, verify};
use super::*;
use crate::actor::Actor;
use crate::aggregate::Principal;
use crate::change::event::Draft;
use crate::change::{Change, ChangeCommand as C, ChangeState};
use crate::event::{Event, Recorded};
use crate::id::{AssetId, ManifestId, RolloutId, RunId};
use crate::manifest::event::ManifestEvent;
use crate::manifest::{Manifest, ManifestCommand};
use crate::plan::{Plan, PlanHeader, Step, TargetRef};
use crate::policy::{Known, POLICY, Policy};
use crate::risk::Environment;
use crate::rollout::event::{Part, RolloutEvent as E, Strategy, Tally};
use crate::rollout::{Rollout, RolloutCommand as B};
use crate::run::event::{RunEvent, RunOutcome};
use crate::run::{Run, RunCommand as R};

const SILENT: [&str; 0] = [];
const MANIFEST: ManifestId = ManifestId(Uuid::from_u128(70));
const SIZE: u32 = 4;

fn rollout() -> RolloutId {
    RolloutId::from(RUN)
}

fn strategy() -> Strategy {
    Strategy {
        canary: 1,
        batch: 2,
        parallel: 2,
        pause_s: 0,
        max_failed: 0,
        hold_after_canary: false,
    }
}

fn target(no: u32) -> Step {
    let asset = AssetId(Uuid::from_u128(400 + u128::from(no)));
    Step { no, target: TargetRef { asset, ..step(0).target }, ..step(0) }
}

fn steps() -> Vec<Step> {
    (0..SIZE).map(target).collect()
}

impl Log {
    fn rollout_plan(&self) -> Plan {
        let header = PlanHeader {
            targets: steps().iter().map(|step| step.target.asset).collect(),
            rollout: self.strategy(),
            ..self.plan(CHANGE).header
        };
        Plan::of_parts(header, MANIFEST, &steps(), Vec::new(), super::log::at(self.second))
    }

    /// As drafted.
    fn strategy(&self) -> Option<Strategy> {
        self.state::<Change>(CHANGE.into()).subject().and_then(|subject| subject.draft.rollout)
    }

    /// Planned in parts, approved, and started.
    fn rolling() -> Self {
        Self::rolling_as(strategy())
    }

    fn rolling_as(strategy: Strategy) -> Self {
        Self::drafted_as(strategy).approved_in_parts().rolls(strategy)
    }

    fn drafted_as(strategy: Strategy) -> Self {
        let targets = steps().iter().map(|step| step.target.asset).collect();
        let draft = Draft { targets, rollout: Some(strategy), ..draft(None) };
        Self::default().change(CHANGE, AUTHOR, C::Draft { draft, rollback_of: None })
    }

    fn approved_in_parts(self) -> Self {
        let page = |steps| ManifestCommand::AddPage { change: CHANGE, steps };
        let log = self
            .tell::<Manifest>(MANIFEST, &Principal::SYSTEM, page(steps()[..2].to_vec()))
            .tell::<Manifest>(MANIFEST, &Principal::SYSTEM, page(steps()[2..].to_vec()));
        let plan = Box::new(log.rollout_plan());
        let log = log.change(CHANGE, AUTHOR, C::RecordPlan { plan });
        let policy = log.state::<Policy>(POLICY.into());
        let environment = Environment::Prod;
        let submit = C::Submit {
            environment,
            risk: risk(7),
            tags: BTreeSet::new(),
            known: Known::default(),
            policy,
        };
        log.change(CHANGE, AUTHOR, submit)
            .approved_by(CHANGE, FIRST)
            .approved_by(CHANGE, SECOND)
            .executing()
    }

    fn rolls(self, strategy: Strategy) -> Self {
        let ChangeState::Executing(execution) = self.state::<Change>(CHANGE.into()) else {
            panic!("not executing")
        };
        self.brake(B::Start {
            change: CHANGE,
            digest: execution.plan.digest,
            manifest: MANIFEST,
            size: SIZE,
            strategy,
            approvals: execution.approvers,
            undoes: None,
        })
    }

    fn brake(self, command: B) -> Self {
        let person = super::log::person(AUTHOR);
        let by = match command {
            B::Pause { .. } | B::Resume | B::Stop { .. } => &person,
            B::Start { .. } | B::BeginBatch | B::EndBatch { .. } | B::Finish => &Principal::SYSTEM,
        };
        self.tell::<Rollout>(rollout(), by, command)
    }

    fn part_started(self, no: u32, plan: Plan) -> Self {
        let ChangeState::Executing(execution) = self.state::<Change>(CHANGE.into()) else {
            panic!("not executing")
        };
        let command = R::Start {
            change: CHANGE,
            plan: Box::new(plan),
            approvals: execution.approvers,
            undoes: None,
            part: Some(Part { rollout: rollout(), manifest: MANIFEST, no }),
        };
        self.part(no, command).part(no, R::Claim { worker: Uuid::nil(), after: 0 })
    }

    fn begun(self, no: u32) -> Self {
        let plan = self.rollout_plan().part(&target(no));
        self.part_started(no, plan)
    }

    fn part(self, no: u32, command: R) -> Self {
        self.tell::<Run>(RunId::of_part(rollout(), no), &Principal::SYSTEM, command)
    }

    fn part_done(self, no: u32) -> Self {
        self.begun(no)
            .part(no, intend(0, 1))
            .part(no, succeed(0, 1))
            .part(no, verify(0, 1))
            .part(no, R::Finish { epoch: 1 })
    }

    fn part_failed(self, no: u32) -> Self {
        let reason = super::log::reason();
        self.begun(no)
            .part(no, intend(0, 1))
            .part(no, R::Fail { step: 0, epoch: 1, reason })
            .part(no, R::Finish { epoch: 1 })
    }

    fn batch_ended(self, no: u32, complete: u32, failed: u32) -> Self {
        let tally = Tally { complete, failed, ..Tally::default() };
        self.brake(B::EndBatch { no, tally, moved: 0, undo_until: None })
    }

    fn after_canary() -> Self {
        Self::rolling().brake(B::BeginBatch).part_done(0).batch_ended(0, 1, 0)
    }

    fn rolled_out() -> Self {
        Self::after_canary()
            .brake(B::BeginBatch)
            .part_done(1)
            .part_done(2)
            .batch_ended(1, 2, 0)
            .brake(B::BeginBatch)
            .part_done(3)
            .batch_ended(2, 1, 0)
            .brake(B::Finish)
            .told(RunOutcome::Complete)
    }

    /// The change is told how its rollout ended.
    fn told(self, outcome: RunOutcome) -> Self {
        let (reason, secrets) = ("so it was".to_owned(), Vec::new());
        let command =
            C::RecordOutcome { this: CHANGE, run: RUN, outcome, reason, secrets, undo_until: None };
        self.tell::<Change>(CHANGE, &Principal::SYSTEM, command)
    }
}

fn said(log: &Log) -> Vec<&'static str> {
    codes(&log.events)
}

fn planted(log: Log, event: E) -> Vec<&'static str> {
    said(&log.plant(rollout(), Actor::SYSTEM, event))
}

fn stopped() -> B {
    B::Stop { reason: "enough".to_owned() }
}

#[test]
fn rollouts_with_every_kind_of_end_are_silent() {
    assert_eq!(said(&Log::rolled_out()), SILENT);
    let paused = Log::after_canary()
        .brake(B::Pause { reason: "look".to_owned() })
        .brake(B::Resume)
        .brake(B::BeginBatch);
    assert_eq!(said(&paused), SILENT);
    let bad = Log::rolling().brake(B::BeginBatch).part_failed(0).batch_ended(0, 0, 1);
    assert_eq!(said(&bad.brake(B::Finish).told(RunOutcome::Failed)), SILENT);
    let stopped = Log::after_canary().brake(stopped()).brake(B::Finish).told(RunOutcome::Failed);
    assert_eq!(said(&stopped), SILENT);
}

#[test]
fn a_manifest_is_what_the_digest_covers() {
    let page = |recorded: &mut Recorded| {
        let Event::Manifest(ManifestEvent::PageAdded { steps, .. }) = &mut recorded.event else {
            panic!("not a page")
        };
        steps[0].summary = "Sets no password".to_owned();
    };
    let found = codes(&Log::rolled_out().altered("manifest.page_added", page));
    assert!(found.contains(&"audit.plan_altered"), "{found:?}");
    let found = codes(&Log::rolled_out().without("manifest.page_added"));
    assert!(found.contains(&"audit.plan_altered"), "{found:?}");
    let steps = vec![target(SIZE)];
    let more = ManifestEvent::PageAdded { change: CHANGE, steps };
    let log = Log::rolling().plant(MANIFEST, Actor::SYSTEM, more);
    assert_eq!(said(&log), ["audit.plan_altered"]);
}

#[test]
fn a_part_is_one_of_what_was_approved_and_due() {
    let other = Step { summary: "Drops it".to_owned(), ..target(0) };
    let log = Log::rolling().brake(B::BeginBatch);
    let plan = log.rollout_plan().part(&other);
    assert_eq!(said(&log.part_started(0, plan)), ["audit.foreign_digest"]);
    // Not of the batch that is under way.
    let log = Log::rolling().brake(B::BeginBatch).begun(2);
    assert_eq!(said(&log), ["audit.run_unfounded"]);
    assert_eq!(said(&Log::rolling().begun(0)), ["audit.run_unfounded"]);
}

#[test]
fn nothing_begins_while_it_is_held() {
    let begun = |no, first, count| E::BatchBegun { no, first, count };
    let log = || Log::after_canary().brake(stopped());
    assert_eq!(planted(log(), begun(1, 1, 2)), ["audit.rollout_held"]);
    let pause = || B::Pause { reason: "look".to_owned() };
    assert_eq!(planted(Log::after_canary().brake(pause()), begun(1, 1, 2)), ["audit.rollout_held"]);
    // An intent of a part that had begun before.
    let log = Log::after_canary().brake(B::BeginBatch).begun(1).brake(pause());
    assert_eq!(said(&log.part(1, intend(0, 1))), ["audit.rollout_held"]);
    // More failed than was agreed.
    let bad = Log::rolling().brake(B::BeginBatch).part_failed(0).batch_ended(0, 0, 1);
    let unstopped = bad.without("rollout.stopped");
    let log = Log { events: unstopped, second: 1000 };
    assert_eq!(planted(log, begun(1, 1, 2)), ["audit.rollout_held"]);
}

#[test]
fn batches_are_no_larger_than_agreed_and_have_no_gap() {
    let begun = |no, first, count| E::BatchBegun { no, first, count };
    for wrong in [begun(0, 0, 2), begun(0, 1, 1), begun(1, 0, 1), begun(0, 0, 0)] {
        assert_eq!(planted(Log::rolling(), wrong), ["audit.rollout_out_of_order"]);
    }
    for wrong in [begun(1, 1, 3), begun(1, 2, 2), begun(2, 1, 2)] {
        assert_eq!(planted(Log::after_canary(), wrong), ["audit.rollout_out_of_order"]);
    }
}

#[test]
fn a_tally_is_what_the_runs_say() {
    let log = || Log::rolling().brake(B::BeginBatch).part_failed(0);
    let tally = Tally { complete: 1, ..Tally::default() };
    let ended = |tally| E::BatchEnded { no: 0, tally, moved: 0, undo_until: None };
    assert_eq!(planted(log(), ended(tally)), ["audit.rollout_tally"]);
    // A target that was never begun is not complete.
    let log = || Log::rolling().brake(B::BeginBatch);
    assert_eq!(planted(log(), ended(tally)), ["audit.rollout_tally"]);
    let finished = |outcome, tally| E::Finished { outcome, reason: None, tally };
    let found = planted(Log::after_canary(), finished(RunOutcome::Complete, tally));
    assert!(found.contains(&"audit.rollout_tally"), "{found:?}");
    let all = Tally { complete: 1, not_started: 3, ..Tally::default() };
    let log = || Log::after_canary().brake(stopped());
    assert_eq!(planted(log(), finished(RunOutcome::Failed, all)), SILENT);
    assert_eq!(planted(log(), finished(RunOutcome::Complete, all)), ["audit.run_outcome"]);
}

#[test]
fn a_change_ends_as_its_rollout_ended() {
    let log = Log::after_canary().brake(stopped()).brake(B::Finish).told(RunOutcome::Complete);
    assert_eq!(said(&log), ["audit.change_outcome"]);
    // Nor before it has.
    assert_eq!(said(&Log::rolling().told(RunOutcome::Failed)), ["audit.change_outcome"]);
}

/// The same with whole runs: an intent of a part after the change has ended.
#[test]
fn a_part_belongs_to_a_change_that_executes() {
    let log = Log::after_canary().brake(B::BeginBatch).begun(1);
    let mut events = log.told(RunOutcome::Failed);
    events = events.part(1, intend(0, 1));
    let found = said(&events);
    assert!(found.contains(&"audit.run_unfounded"), "{found:?}");
    assert!(matches!(
        events.events.last().unwrap().event,
        Event::Run(RunEvent::StepIntended { .. })
    ));
}
