//! Broken glass: by whom, for what, under which rule, and what became of its review.

use uuid::Uuid;

use super::changes::{SILENT, change_of, who};
use super::log::{AUTHOR, CHANGE, EDITOR, FIRST, RUN, SECOND, at, draft, person, risk};
use super::*;
use crate::actor::Actor;
use crate::audit::CLOCK_SKEW_S;
use crate::change::event::{ChangeEvent as E, Draft};
use crate::change::{ChangeCommand as C, GLASS_VALID_S, REVIEW_DUE_S};
use crate::event::Event;
use crate::id::{ChangeId, PersonId, RunId};
use crate::risk::{Environment, RiskLevel};
use crate::run::event::RunEvent;

const OTHER: ChangeId = ChangeId(Uuid::from_u128(12));
const OTHER_RUN: RunId = RunId(Uuid::from_u128(22));

/// High risk in production, edited once: needs two approvals.
fn in_review() -> Log {
    let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
    Log::drafted().change(CHANGE, EDITOR, C::Edit { draft: edited }).submitted(
        CHANGE,
        Environment::Prod,
        7,
    )
}

fn broken_by(log: Log, id: ChangeId, by: u128) -> Log {
    let digest = log.digest(id);
    let justification = "the database is down".to_owned();
    let (frozen, overdue) = (Vec::new(), Vec::new());
    log.change(id, by, C::BreakGlass { digest, justification, frozen, overdue })
}

fn glass(digest: &str) -> E {
    E::GlassBroken { digest: digest.to_owned(), justification: "now".to_owned() }
}

/// The two events, whoever is behind the first of them.
fn planted(by: Actor, digest: Option<&str>) -> Log {
    let log = in_review();
    let own = log.digest(CHANGE);
    let (not_before, until) = (at(log.second + 1), at(log.second + 100));
    log.plant(CHANGE, by, glass(digest.unwrap_or(&own))).plant(
        CHANGE,
        by,
        E::Approved { digest: own, not_before, until },
    )
}

fn cancelled(log: Log) -> Log {
    log.change(CHANGE, AUTHOR, C::Cancel { reason: "no longer".to_owned() })
}

fn reviewed(log: Log, by: Actor) -> Log {
    log.plant(CHANGE, by, E::Reviewed { comment: "so it was".to_owned() })
}

fn second_in_review(log: Log) -> Log {
    log.change(OTHER, AUTHOR, C::Draft { draft: draft(None), rollback_of: None }).submitted(
        OTHER,
        Environment::Prod,
        9,
    )
}

#[test]
fn what_a_responder_did_is_silent_and_in_the_run() {
    let log = broken_by(in_review(), CHANGE, FIRST).executing().started(CHANGE, RUN, None);
    assert_eq!(codes(&log.events), SILENT);
    let last = &log.events.last().expect("it started").event;
    let Event::Run(RunEvent::Started { approvals, .. }) = last else { panic!("no start") };
    assert_eq!(*approvals, [PersonId(Uuid::from_u128(FIRST))]);
    // Left out, the run would say that nobody is behind it.
    let nobody = log.altered("run.started", |recorded| {
        let Event::Run(RunEvent::Started { approvals, .. }) = &mut recorded.event else {
            panic!("no start")
        };
        approvals.clear();
    });
    assert_eq!(codes(&nobody), ["audit.run_unfounded"]);
}

#[test]
fn an_approval_before_it_is_silent_as_long_as_it_stands() {
    let one = || in_review().approved_by(CHANGE, SECOND);
    let log = broken_by(one(), CHANGE, FIRST).executing().started(CHANGE, RUN, None);
    assert_eq!(codes(&log.events), SILENT);
    let late = broken_by(one().wait(71 * 3600), CHANGE, FIRST).wait(2 * 3600).executing();
    assert_eq!(codes(&late.started(CHANGE, RUN, None).events), SILENT);
}

#[test]
fn the_delay_of_a_critical_change_is_broken_too() {
    let critical = || Log::drafted().submitted(CHANGE, Environment::Prod, 10);
    assert_eq!(codes(&broken_by(critical(), CHANGE, FIRST).executing().events), SILENT);
    let waits = critical().approved_by(CHANGE, FIRST).approved_by(CHANGE, SECOND);
    assert_eq!(codes(&broken_by(waits.clone(), CHANGE, FIRST).executing().events), SILENT);
    let digest = waits.digest(CHANGE);
    let needless = waits.wait(900).plant(CHANGE, who(FIRST), glass(&digest));
    assert_eq!(codes(&needless.events), ["audit.out_of_order"]);
}

#[test]
fn broken_by_its_author_or_an_editor_or_by_nobody() {
    for own in [AUTHOR, EDITOR] {
        let log = planted(who(own), None);
        assert_eq!(codes(&log.events), ["audit.self_approval", "audit.quorum_incomplete"]);
    }
    for nobody in [Actor::SYSTEM, Actor::machine(PersonId(Uuid::from_u128(FIRST)))] {
        let log = planted(nobody, None);
        assert_eq!(codes(&log.events), ["audit.not_a_person", "audit.quorum_incomplete"]);
    }
    assert_eq!(codes(&planted(who(FIRST), None).events), SILENT);
}

#[test]
fn broken_for_another_plan_or_one_that_was_superseded() {
    let log = planted(who(FIRST), Some("of another"));
    assert_eq!(codes(&log.events), ["audit.foreign_digest", "audit.quorum_incomplete"]);
    let log = broken_by(in_review(), CHANGE, FIRST).change(CHANGE, AUTHOR, C::Withdraw);
    let log = log.submitted(CHANGE, Environment::Prod, 7);
    let digest = log.digest(CHANGE);
    let (not_before, until) = (at(log.second), at(log.second + 10));
    let log = log.plant(CHANGE, who(FIRST), E::Approved { digest, not_before, until });
    assert_eq!(codes(&log.events), ["audit.quorum_incomplete"]);
}

#[test]
fn an_approval_without_the_event_is_incomplete() {
    let log = broken_by(in_review(), CHANGE, FIRST).executing();
    assert_eq!(codes(&log.without("change.glass_broken")), ["audit.quorum_incomplete"; 2]);
}

#[test]
fn valid_for_longer_than_glass_is() {
    let alter = |earlier: i64, later: i64| {
        let log = broken_by(in_review(), CHANGE, FIRST);
        codes(&log.altered("change.approved", |recorded| {
            let E::Approved { not_before, until, .. } = change_of(recorded) else {
                panic!("not approved")
            };
            *not_before = not_before.plus_seconds(-earlier);
            *until = until.plus_seconds(later);
        }))
    };
    assert_eq!(alter(0, 0), SILENT);
    assert_eq!(alter(0, 1), ["audit.approval_times"]);
    assert_eq!(alter(1, 0), ["audit.approval_times"]);
    let late = broken_by(in_review(), CHANGE, FIRST);
    let digest = late.digest(CHANGE);
    let late = late.wait(i64::from(GLASS_VALID_S));
    let late = late.plant(CHANGE, who(AUTHOR), E::ExecutionStarted { run: RUN, digest });
    assert_eq!(codes(&late.events), ["audit.outside_approval"]);
}

#[test]
fn broken_where_the_rule_does_not_let_it_be() {
    // The submission says that it may not.
    let log = broken_by(in_review(), CHANGE, FIRST).altered("change.submitted", |recorded| {
        let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.break_glass = false;
    });
    assert_eq!(codes(&log), ["audit.glass_unfounded", "audit.quorum_incomplete"]);
    // It says that it may, and the policy says that it may not.
    let log = Log::drafted().submitted(CHANGE, Environment::Dev, 2);
    let log = log.altered("change.submitted", |recorded| {
        let E::Submitted { quorum, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.break_glass = true;
    });
    assert_eq!(codes(&log), ["audit.quorum_weakened"]);
}

/// Version 1 lets glass be broken now. What was submitted before says nothing of it, and is silent.
#[test]
fn a_log_of_before_is_verified_as_it_was() {
    let log = Log::complete().altered("change.submitted", |recorded| {
        let E::Submitted { quorum, risk: told, .. } = change_of(recorded) else {
            panic!("no quorum")
        };
        quorum.break_glass = false;
        quorum.rule = "high risk needs two approvers".to_owned();
        assert_eq!((told.level, &*told), (RiskLevel::High, &risk(7)));
    });
    assert_eq!(codes(&log), SILENT);
}

#[test]
fn reviewed_by_somebody_who_had_a_part_in_it() {
    let ended = || cancelled(broken_by(in_review(), CHANGE, FIRST));
    for part in [AUTHOR, EDITOR, FIRST] {
        assert_eq!(codes(&reviewed(ended(), who(part)).events), ["audit.self_review"]);
    }
    assert_eq!(codes(&reviewed(ended(), Actor::SYSTEM).events), ["audit.not_a_person"]);
    assert_eq!(codes(&reviewed(ended(), who(SECOND)).events), SILENT);
    // Overrides as well.
    let event = E::WindowOverridden { justification: "the disk is full".to_owned() };
    let ended = cancelled(in_review().plant(CHANGE, who(FIRST), event));
    assert_eq!(codes(&reviewed(ended, who(FIRST)).events), ["audit.self_review"]);
}

#[test]
fn broken_again_while_a_review_is_overdue() {
    let again = |wait: i64, by: u128, is_reviewed: bool| {
        let mut log = cancelled(broken_by(in_review(), CHANGE, FIRST));
        if is_reviewed {
            log = reviewed(log, who(SECOND));
        }
        let log = broken_by(second_in_review(log.wait(wait)), OTHER, by);
        let start =
            C::StartExecution { run: OTHER_RUN, in_the_way: crate::freeze::InTheWay::default() };
        codes(&log.tell::<crate::change::Change>(OTHER, &person(AUTHOR), start).events)
    };
    let late = REVIEW_DUE_S + CLOCK_SKEW_S;
    assert_eq!(again(late, FIRST, false), ["audit.glass_unreviewed"]);
    assert_eq!(again(late, SECOND, false), SILENT);
    assert_eq!(again(late, FIRST, true), SILENT);
    assert_eq!(again(late - 60, FIRST, false), SILENT);
}
