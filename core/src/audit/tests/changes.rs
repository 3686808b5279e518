//! Plans, approvals, executions and rollbacks.

use serde_json::json;
use uuid::Uuid;

use super::log::{
    AUTHOR, BACK, BACK_RUN, CHANGE, EDITOR, FIRST, RUN, SECOND, draft, person, reason, risk,
};
use super::*;
use crate::actor::{Actor, Role};
use crate::aggregate::Principal;
use crate::change::event::{ChangeEvent as E, Draft, Window};
use crate::change::{Change, ChangeCommand as C};
use crate::event::{Event, Recorded};
use crate::freeze::InTheWay;
use crate::id::PersonId;
use crate::plan::Plan;
use crate::risk::{Environment, RiskLevel};
use crate::run::RunCommand as R;
use crate::run::event::{Finding, RunOutcome};

pub const SILENT: [&str; 0] = [];

pub fn who(no: u128) -> Actor {
    person(no).actor
}

pub fn change_of(recorded: &mut Recorded) -> &mut E {
    let Event::Change(event) = &mut recorded.event else { panic!("not a change's") };
    event
}

/// Low risk outside production: approved by its submission.
pub fn free() -> Log {
    Log::drafted().submitted(CHANGE, Environment::Dev, 2)
}

fn given(log: Log, by: Actor, digest: &str) -> Log {
    let event = E::ApprovalGiven {
        digest: digest.to_owned(),
        comment: None,
        as_admin: false,
        delegator: None,
    };
    log.plant(CHANGE, by, event)
}

#[test]
fn a_change_that_is_carried_out_is_silent() {
    assert_eq!(codes(&Log::complete().events), SILENT);
    assert_eq!(codes(&free().executing().started(CHANGE, RUN, None).events), SILENT);
}

#[test]
fn a_critical_change_waits_and_is_silent() {
    let log = Log::drafted()
        .submitted(CHANGE, Environment::Prod, 10)
        .approved_by(CHANGE, FIRST)
        .approved_by(CHANGE, SECOND)
        .wait(15 * 60)
        .executing();
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn ways_that_do_not_lead_to_an_execution_are_silent() {
    let why = || "no".to_owned();
    let histories = [
        Log::approved().change(CHANGE, AUTHOR, C::Cancel { reason: why() }),
        Log::approved().change(CHANGE, FIRST, C::Reject { reason: why() }),
        Log::approved().change(CHANGE, AUTHOR, C::Withdraw),
        Log::approved().wait(72 * 3600).tell::<Change>(CHANGE, &Principal::SYSTEM, C::Expire),
    ];
    for log in histories {
        assert_eq!(codes(&log.events), SILENT);
    }
}

#[test]
fn a_change_that_is_reviewed_again_is_silent() {
    let edited = Draft { parameters: json!({ "length": 32 }), ..draft(None) };
    let log = Log::approved()
        .change(CHANGE, EDITOR, C::Edit { draft: edited })
        .submitted(CHANGE, Environment::Prod, 5)
        .approved_by(CHANGE, FIRST)
        .executing();
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn a_plan_that_was_altered() {
    let altered = Log::approved().altered("change.planned", |recorded| {
        let E::Planned { plan } = change_of(recorded) else { panic!("not a plan") };
        plan.steps[0].parameters = json!({ "superuser": true });
    });
    assert_eq!(codes(&altered), ["audit.plan_altered"]);
}

#[test]
fn a_plan_of_another_change_or_other_people() {
    type Alter = fn(&mut Plan);
    let alterations: [Alter; 7] = [
        |plan| plan.header.change = BACK,
        |plan| plan.header.author = PersonId(Uuid::from_u128(FIRST)),
        |plan| plan.header.editors.clear(),
        |plan| plan.header.rollback_of = Some(BACK),
        |plan| plan.header.parameters = json!({}),
        |plan| plan.header.targets.clear(),
        |plan| plan.header.change_type.push('x'),
    ];
    for alter in alterations {
        let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
        let log = Log::drafted().change(CHANGE, EDITOR, C::Edit { draft: edited });
        let mut plan = log.plan(CHANGE);
        alter(&mut plan);
        let plan = Plan::new(plan.header, plan.steps, plan.checks, plan.computed_at);
        let log = log.plant(CHANGE, who(AUTHOR), E::Planned { plan: Box::new(plan) });
        assert_eq!(codes(&log.events), ["audit.plan_of_another"]);
    }
}

#[test]
fn an_approval_by_author_or_editor() {
    for own in [AUTHOR, EDITOR] {
        let altered =
            Log::approved().altered("change.approval_given", |e| e.header.actor = who(own));
        assert_eq!(codes(&altered), ["audit.self_approval", "audit.quorum_incomplete"]);
    }
}

#[test]
fn an_approval_by_nobody() {
    let machine = Actor::machine(PersonId(Uuid::from_u128(FIRST)));
    for by in [machine, Actor::SYSTEM] {
        let altered = Log::approved().altered("change.approval_given", |e| e.header.actor = by);
        assert_eq!(codes(&altered), ["audit.not_a_person", "audit.quorum_incomplete"]);
    }
}

#[test]
fn an_approval_of_another_plan() {
    let altered = Log::approved().altered("change.approval_given", |recorded| {
        let E::ApprovalGiven { digest, .. } = change_of(recorded) else { panic!("no approval") };
        "0".clone_into(digest);
    });
    assert_eq!(codes(&altered), ["audit.foreign_digest", "audit.quorum_incomplete"]);
}

#[test]
fn one_person_twice() {
    let altered = Log::approved().altered("change.approval_given", |e| e.header.actor = who(FIRST));
    assert_eq!(codes(&altered), ["audit.approved_twice", "audit.quorum_incomplete"]);
}

#[test]
fn approvals_of_an_earlier_plan_do_not_count() {
    let edited = Draft { parameters: json!({ "length": 32 }), ..draft(None) };
    let log = Log::approved().change(CHANGE, AUTHOR, C::Edit { draft: edited }).submitted(
        CHANGE,
        Environment::Prod,
        5,
    );
    let digest = log.digest(CHANGE);
    let (not_before, until) = (at(log.second), at(log.second + 10));
    let log = log.plant(CHANGE, who(FIRST), E::Approved { digest, not_before, until });
    assert_eq!(codes(&log.events), ["audit.quorum_incomplete"]);
}

#[test]
fn approved_without_its_quorum() {
    let missing = Log::approved().without("change.approval_given");
    assert_eq!(codes(&missing), ["audit.quorum_incomplete"]);
    let no_admin = Log::drafted()
        .submitted(CHANGE, Environment::Prod, 10)
        .approved_by(CHANGE, FIRST)
        .approved_by(CHANGE, SECOND);
    let mut events = no_admin.events;
    for recorded in &mut events {
        if let Event::Change(E::ApprovalGiven { as_admin, .. }) = &mut recorded.event {
            *as_admin = false;
        }
    }
    assert_eq!(codes(&events), ["audit.quorum_incomplete"]);
}

#[test]
fn an_admin_has_to_be_asked_for_only_where_policy_says_so() {
    let approver = Principal { actor: who(FIRST), roles: vec![Role::Approver] };
    let log = Log::drafted().submitted(CHANGE, Environment::Prod, 5);
    let digest = log.digest(CHANGE);
    let log = log.tell::<Change>(
        CHANGE,
        &approver,
        C::Approve { digest, comment: None, frozen: Vec::new() },
    );
    assert_eq!(codes(&log.executing().events), SILENT);
}

#[test]
fn a_quorum_that_was_weakened() {
    type Alter = fn(&mut crate::change::event::Quorum);
    let alterations: [Alter; 4] = [
        |quorum| quorum.approvals = 1,
        |quorum| quorum.admin = false,
        |quorum| quorum.delay_s = 0,
        |quorum| quorum.valid_s += 1,
    ];
    for alter in alterations {
        let log = Log::drafted().submitted(CHANGE, Environment::Prod, 9);
        let weakened = log.altered("change.submitted", |recorded| {
            let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
            alter(quorum);
        });
        assert_eq!(codes(&weakened), ["audit.quorum_weakened"]);
    }
    let log = Log::drafted().submitted(CHANGE, Environment::Prod, 9);
    let understated = log.altered("change.submitted", |recorded| {
        let E::Submitted { risk, quorum, .. } = change_of(recorded) else { panic!("no risk") };
        risk.level = RiskLevel::Low;
        *quorum = crate::policy::quorum(RiskLevel::Low, Environment::Prod, false);
    });
    assert_eq!(codes(&understated), ["audit.quorum_weakened"; 2]);
}

#[test]
fn a_stricter_quorum_is_silent_and_counts() {
    let stricter = Log::approved().altered("change.submitted", |recorded| {
        let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.approvals = 3;
    });
    assert_eq!(codes(&stricter), ["audit.quorum_incomplete"]);
}

#[test]
fn a_weakened_quorum_weakens_nothing() {
    let log = Log::drafted().submitted(CHANGE, Environment::Prod, 7);
    let digest = log.digest(CHANGE);
    let (not_before, until) = (at(log.second), at(log.second + 10));
    let log = log
        .plant(CHANGE, who(AUTHOR), E::Approved { digest: digest.clone(), not_before, until })
        .plant(CHANGE, who(AUTHOR), E::ExecutionStarted { run: RUN, digest });
    let weakened = log.altered("change.submitted", |recorded| {
        let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.approvals = 0;
    });
    let expected = ["audit.quorum_weakened", "audit.quorum_incomplete", "audit.quorum_incomplete"];
    assert_eq!(codes(&weakened), expected);
}

#[test]
fn a_policy_version_that_nobody_published() {
    let newer = Log::approved().altered("change.submitted", |recorded| {
        let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.policy_version = 2;
    });
    assert_eq!(codes(&newer), ["audit.policy_outdated"; 2]);
}

#[test]
fn approvals_valid_for_longer_or_sooner_than_the_policy_says() {
    let alter = |earlier: i64, later: i64| {
        Log::approved().altered("change.approved", |recorded| {
            let E::Approved { not_before, until, .. } = change_of(recorded) else {
                panic!("not approved")
            };
            *not_before = not_before.plus_seconds(-earlier);
            *until = until.plus_seconds(later);
        })
    };
    assert_eq!(codes(&alter(1, 0)), ["audit.approval_times"]);
    assert_eq!(codes(&alter(0, 1)), ["audit.approval_times"]);
    assert_eq!(codes(&alter(0, -1)), SILENT);
}

#[test]
fn submitted_or_approved_is_another_plan() {
    let submitted = Log::drafted().submitted(CHANGE, Environment::Prod, 7).altered(
        "change.submitted",
        |recorded| {
            let E::Submitted { digest, .. } = change_of(recorded) else { panic!("no digest") };
            "0".clone_into(digest);
        },
    );
    assert_eq!(codes(&submitted), ["audit.foreign_digest"]);
    let approved = Log::approved().altered("change.approved", |recorded| {
        let E::Approved { digest, .. } = change_of(recorded) else { panic!("no digest") };
        "0".clone_into(digest);
    });
    assert_eq!(codes(&approved), ["audit.foreign_digest"]);
}

#[test]
fn executed_without_approval() {
    let log = Log::drafted().submitted(CHANGE, Environment::Prod, 7);
    let start = |log: Log, digest: String| {
        log.plant(CHANGE, who(AUTHOR), E::ExecutionStarted { run: RUN, digest })
    };
    let digest = log.digest(CHANGE);
    assert_eq!(codes(&start(log, digest).events), ["audit.not_approved"]);
    assert_eq!(
        codes(&Log::approved().executing().without("change.approved")),
        ["audit.not_approved"]
    );
}

#[test]
fn executed_is_another_plan() {
    let altered = Log::approved().executing().altered("change.execution_started", |recorded| {
        let E::ExecutionStarted { digest, .. } = change_of(recorded) else { panic!("no start") };
        "0".clone_into(digest);
    });
    assert_eq!(codes(&altered), ["audit.foreign_digest"]);
}

#[test]
fn executed_while_its_approvals_are_not_valid() {
    let at_second = |second| {
        let log = Log::drafted()
            .submitted(CHANGE, Environment::Prod, 10)
            .approved_by(CHANGE, FIRST)
            .approved_by(CHANGE, SECOND);
        let approved = log.second - 1;
        let digest = log.digest(CHANGE);
        let log = Log { second: approved + second, ..log };
        let start = E::ExecutionStarted { run: RUN, digest };
        codes(&log.plant(CHANGE, who(AUTHOR), start).events)
    };
    let (delay, valid) = (15 * 60, 72 * 3600);
    assert_eq!(at_second(delay - 1), ["audit.outside_approval"]);
    assert_eq!(at_second(delay), SILENT);
    // The first of the two approvals is a second older, and ends what both allow.
    assert_eq!(at_second(delay + valid - 2), SILENT);
    assert_eq!(at_second(delay + valid - 1), ["audit.outside_approval"]);
}

#[test]
fn executed_outside_its_window() {
    let at_second = |second| {
        let window = Some(Window { start: at(100), end: at(200) });
        let drafted = C::Draft { draft: draft(window), rollback_of: None };
        let log = Log::default().change(CHANGE, AUTHOR, drafted);
        let log = log.submitted(CHANGE, Environment::Dev, 2);
        let digest = log.digest(CHANGE);
        let start = E::ExecutionStarted { run: RUN, digest };
        codes(&Log { second, ..log }.plant(CHANGE, who(AUTHOR), start).events)
    };
    assert_eq!(at_second(99), ["audit.outside_window"]);
    assert_eq!(at_second(100), SILENT);
    assert_eq!(at_second(199), SILENT);
    assert_eq!(at_second(200), ["audit.outside_window"]);
}

#[test]
fn a_review_follows_the_end() {
    let reviewed = || E::Reviewed { comment: "it had to be".to_owned() };
    assert_eq!(codes(&Log::complete().plant(CHANGE, who(FIRST), reviewed()).events), SILENT);
    let cancelled = Log::drafted().change(CHANGE, AUTHOR, C::Cancel { reason: "no".to_owned() });
    assert_eq!(codes(&cancelled.plant(CHANGE, who(FIRST), reviewed()).events), SILENT);
    let early = Log::approved().plant(CHANGE, who(9), reviewed());
    assert_eq!(codes(&early.events), ["audit.out_of_order"]);
}

#[test]
fn what_cannot_follow() {
    let digest = "0".to_owned();
    let rejected = E::Rejected { digest, reason: "no".to_owned() };
    let drafted = E::Drafted { draft: draft(None), rollback_of: None };
    for event in [rejected, drafted, E::Withdrawn {}, E::Expired {}] {
        let log = Log::drafted().plant(CHANGE, who(FIRST), event);
        assert_eq!(codes(&log.events), ["audit.out_of_order"]);
    }
    let log = Log::default().plant(CHANGE, who(FIRST), E::Withdrawn {});
    assert_eq!(codes(&log.events), ["audit.out_of_order"]);
    let early = Log::approved().plant(CHANGE, Actor::SYSTEM, E::Expired {});
    assert_eq!(codes(&early.events), ["audit.out_of_order"]);
    let digest = Log::approved().digest(CHANGE);
    let log = given(Log::approved(), who(9), &digest);
    assert_eq!(codes(&log.events), ["audit.out_of_order"]);
    let log = Log::running().plant(CHANGE, who(AUTHOR), E::Edited { draft: draft(None) });
    assert_eq!(codes(&log.events), ["audit.out_of_order"]);
}

#[test]
fn nothing_follows_the_end() {
    let cancelled = Log::drafted().change(CHANGE, AUTHOR, C::Cancel { reason: "no".to_owned() });
    let log = cancelled.plant(CHANGE, who(AUTHOR), E::Edited { draft: draft(None) });
    assert_eq!(codes(&log.events), ["audit.after_the_end"]);
    let log = Log::complete().plant(CHANGE, who(AUTHOR), E::Edited { draft: draft(None) });
    assert_eq!(codes(&log.events), ["audit.after_the_end"]);
}

#[test]
fn a_change_ends_as_its_run() {
    let ended = |log: Log, event| codes(&log.plant(CHANGE, Actor::SYSTEM, event).events);
    let complete = E::Completed { run: RUN, secrets: Vec::new() };
    let over = |log: Log| log.run(R::Finish { epoch: 1 });
    let failed =
        || over(Log::running().intended(0, 1).run(R::Fail { step: 0, epoch: 1, reason: reason() }));
    assert_eq!(ended(failed(), complete.clone()), ["audit.change_outcome"]);
    let running = Log::running().done(0, 1).done(1, 1);
    assert_eq!(ended(running, complete.clone()), ["audit.change_outcome"]);
    assert_eq!(ended(Log::approved().executing(), complete), ["audit.change_outcome"]);
    let failure = |run| E::Failed { run, reason: "no".to_owned(), secrets: Vec::new() };
    assert_eq!(ended(failed(), failure(RUN)), SILENT);
    assert_eq!(ended(failed(), failure(BACK_RUN)), ["audit.change_outcome"]);
    // Only a rollback can fail without a run.
    assert_eq!(ended(Log::approved().executing(), failure(RUN)), ["audit.change_outcome"]);
}

#[test]
fn rollbacks_are_silent() {
    let undoing = || Log::complete().undoing();
    let fail = |step| R::Fail { step, epoch: 1, reason: reason() };
    let histories = [
        undoing().undone(0).undone(1).back_finished(),
        undoing().back(super::log::block(0)).back_finished(),
        undoing().undone(0).back(super::log::block(1)).back_finished(),
        undoing().back(super::log::intend(0, 1)).back(fail(0)).back_finished(),
        undoing().undone(0).back(super::log::intend(1, 1)).back(fail(1)).back_finished(),
    ];
    for log in histories {
        assert_eq!(codes(&log.events), SILENT, "{:?}", log.outcome(BACK_RUN));
    }
}

#[test]
fn a_rollback_that_is_refused_fails_without_a_run() {
    let refused = C::RecordOutcome {
        this: BACK,
        run: BACK_RUN,
        outcome: RunOutcome::Failed,
        reason: "there is nothing left to undo".to_owned(),
        secrets: Vec::new(),
        undo_until: None,
    };
    let log = Log::complete().rolling_back().tell::<Change>(BACK, &Principal::SYSTEM, refused);
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn a_rollback_of_an_unknown_outcome() {
    let start = || E::RollbackStarted { rollback: BACK, run: BACK_RUN };
    let unknown = Log::running().intended(0, 1).unknown(0, 1).finished(1).rolling_back();
    let log = unknown.plant(CHANGE, Actor::SYSTEM, start());
    assert_eq!(codes(&log.events), ["audit.rollback_of_unknown"]);
    let running = Log::running().rolling_back().plant(CHANGE, Actor::SYSTEM, start());
    assert_eq!(codes(&running.events), ["audit.rollback_of_unknown"]);
    let conflict = Log::running()
        .intended(0, 1)
        .unknown(0, 1)
        .reconciled(0, 1, Finding::Conflict)
        .finished(1)
        .rolling_back()
        .plant(CHANGE, Actor::SYSTEM, start());
    assert_eq!(codes(&conflict.events), ["audit.rollback_of_unknown"]);
}

/// The lie: the decision refused it, and somebody wrote it all the same.
#[test]
fn a_rollback_that_began_when_it_was_too_late() {
    let until = |seconds: i64| {
        let log = Log::running().done(0, 1).done(1, 1).run(R::Finish { epoch: 1 });
        let until = log.events.last().expect("there is one").header.at.plus_seconds(seconds);
        let limited = E::UndoLimited { run: RUN, until };
        let log = log.plant(CHANGE, Actor::SYSTEM, limited).ended(CHANGE, RUN).rolling_back();
        let start = E::RollbackStarted { rollback: BACK, run: BACK_RUN };
        codes(&log.plant(CHANGE, Actor::SYSTEM, start).events)
    };
    assert_eq!(until(30 * 24 * 3600), SILENT);
    assert_eq!(until(0), ["audit.rollback_too_late"]);
    let foreign = E::UndoLimited { run: BACK_RUN, until: "2026-01-01T00:00:00Z".parse().unwrap() };
    let log = Log::running().done(0, 1).done(1, 1).run(R::Finish { epoch: 1 });
    let log = log.plant(CHANGE, Actor::SYSTEM, foreign);
    assert_eq!(codes(&log.events), ["audit.out_of_order"]);
}

#[test]
fn a_rollback_that_does_not_name_the_change() {
    let start = |rollback, run| {
        let event = E::RollbackStarted { rollback, run };
        codes(&Log::complete().rolling_back().plant(CHANGE, Actor::SYSTEM, event).events)
    };
    assert_eq!(start(BACK, BACK_RUN), SILENT);
    assert_eq!(start(BACK, RUN), ["audit.rollback_unnamed"]);
    assert_eq!(start(CHANGE, BACK_RUN), ["audit.rollback_unnamed"]);
    // Executing just that run, but nobody was told that it undoes the change.
    let unnamed = Log::complete()
        .change(BACK, AUTHOR, C::Draft { draft: draft(None), rollback_of: None })
        .submitted(BACK, Environment::Dev, 2)
        .change(BACK, AUTHOR, C::StartExecution { run: BACK_RUN, in_the_way: InTheWay::default() });
    let event = E::RollbackStarted { rollback: BACK, run: BACK_RUN };
    let unnamed = unnamed.plant(CHANGE, Actor::SYSTEM, event);
    assert_eq!(codes(&unnamed.events), ["audit.rollback_unnamed"]);
}

#[test]
fn a_rollback_ends_as_its_run() {
    let blocked = || {
        let log = Log::complete().undoing().back(super::log::block(0));
        log.back(R::Finish { epoch: 1 }).ended(BACK, BACK_RUN)
    };
    let rolled_back = E::RolledBack { rollback: BACK, run: BACK_RUN };
    let log = blocked().plant(CHANGE, Actor::SYSTEM, rolled_back);
    assert_eq!(codes(&log.events), ["audit.rollback_outcome"]);
    let other = E::RolledBack { rollback: BACK, run: RUN };
    let log = blocked().plant(CHANGE, Actor::SYSTEM, other);
    assert_eq!(codes(&log.events), ["audit.rollback_outcome"]);
    let never = E::RolledBack { rollback: BACK, run: BACK_RUN };
    let log = Log::complete().plant(CHANGE, Actor::SYSTEM, never);
    assert_eq!(codes(&log.events), ["audit.rollback_outcome"]);
}

#[test]
fn one_rollback_at_a_time_and_none_after_the_last() {
    let start = || E::RollbackStarted { rollback: BACK, run: BACK_RUN };
    let twice = Log::complete().undoing().plant(CHANGE, Actor::SYSTEM, start());
    assert_eq!(codes(&twice.events), ["audit.out_of_order"]);
    let done = Log::complete().undoing().undone(0).undone(1).back_finished();
    let again = done.plant(CHANGE, Actor::SYSTEM, start());
    assert_eq!(codes(&again.events), ["audit.out_of_order", "audit.rollback_unnamed"]);
}

#[test]
fn a_rollback_needs_one_approval_whatever_its_risk() {
    let log = Log::complete().rolling_back();
    assert_eq!(risk(7).level, RiskLevel::High);
    assert_eq!(codes(&log.clone().events), SILENT);
    let missing = log.without("change.approval_given");
    assert_eq!(codes(&missing), ["audit.quorum_incomplete"; 2]);
}
