//! Freezes and maintenance windows: what started and what was intended inside of one or outside, and who let
//! it pass.

use uuid::Uuid;

use super::changes::{SILENT, free, who};
use super::log::{AUTHOR, CHANGE, EDITOR, FIRST, FREEZE, RUN, TARGET, block, draft, person};
use super::*;
use crate::actor::Actor;
use crate::asset::event::AssetEvent;
use crate::calendar::event::Scope;
use crate::calendar::{CALENDAR, Calendar, CalendarCommand};
use crate::change::ChangeCommand as C;
use crate::change::event::{ChangeEvent as E, Draft};
use crate::id::{FreezeId, WindowId};
use crate::recurrence::Recurrence;
use crate::risk::Environment;

fn declared(log: Log, scope: Scope, start: i64, end: i64) -> Log {
    let reason = "closing of the year".to_owned();
    let (freeze, start, end) = (FREEZE, at(start), at(end));
    let command = CalendarCommand::DeclareFreeze { freeze, scope, start, end, reason };
    log.tell::<Calendar>(CALENDAR, &person(AUTHOR), command)
}

fn tagged(log: Log, tags: &[&str]) -> Log {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let event = AssetEvent::Annotated { owner: None, tags, critical: false, environment: None };
    log.plant(TARGET, who(AUTHOR), event)
}

fn tag(tag: &str) -> Scope {
    Scope::Tag { tag: tag.to_owned() }
}

#[test]
fn executed_inside_a_freeze() {
    let environment = |environment| Scope::Environment { environment };
    let frozen = |scope| codes(&declared(free(), scope, 0, 100).executing().events);
    assert_eq!(frozen(Scope::All), ["audit.frozen"]);
    assert_eq!(frozen(environment(Environment::Dev)), ["audit.frozen"]);
    assert_eq!(frozen(environment(Environment::Prod)), SILENT);
    assert_eq!(frozen(tag("billing")), SILENT);
}

#[test]
fn executed_on_a_target_whose_tag_is_frozen() {
    let frozen = |tags: &[&str]| {
        let log = declared(tagged(free(), &["old"]), tag("billing"), 0, 100);
        codes(&tagged(log, tags).executing().events)
    };
    assert_eq!(frozen(&["accounts", "billing"]), ["audit.frozen"]);
    assert_eq!(frozen(&["accounts"]), SILENT);
    assert_eq!(frozen(&[]), SILENT);
}

#[test]
fn executed_before_or_after_a_freeze() {
    let at_second = |second| {
        let log = declared(free(), Scope::All, 100, 200);
        codes(&Log { second, ..log }.executing().events)
    };
    assert_eq!(at_second(99), SILENT);
    assert_eq!(at_second(100), ["audit.frozen"]);
    assert_eq!(at_second(199), ["audit.frozen"]);
    assert_eq!(at_second(200), SILENT);
    let ended = CalendarCommand::EndFreeze { freeze: FREEZE, reason: "done early".to_owned() };
    let log = declared(free(), Scope::All, 0, 100);
    let log = log.tell::<Calendar>(CALENDAR, &person(AUTHOR), ended).executing();
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn a_freeze_declared_after_the_start_froze_nothing() {
    let log = declared(free().executing(), Scope::All, 0, 100);
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn an_override_is_of_one_freeze_by_a_person_and_comes_first() {
    let by = |actor, freeze| {
        let justification = "the database is down".to_owned();
        let event = E::FreezeOverridden { freeze, justification };
        declared(free(), Scope::All, 0, 100).plant(CHANGE, actor, event)
    };
    assert_eq!(codes(&by(who(FIRST), FREEZE).executing().events), SILENT);
    let other = FreezeId(Uuid::from_u128(31));
    assert_eq!(codes(&by(who(FIRST), other).executing().events), ["audit.frozen"]);
    let nobody = by(Actor::SYSTEM, FREEZE).executing();
    assert_eq!(codes(&nobody.events), ["audit.not_a_person", "audit.frozen"]);
    let justification = "too late".to_owned();
    let late = declared(free(), Scope::All, 0, 100).executing().plant(
        CHANGE,
        who(FIRST),
        E::FreezeOverridden { freeze: FREEZE, justification },
    );
    assert_eq!(codes(&late.events), ["audit.frozen", "audit.out_of_order"]);
}

#[test]
fn nobody_overrides_a_freeze_for_a_change_of_their_own() {
    let justification = "the database is down".to_owned();
    let event = E::FreezeOverridden { freeze: FREEZE, justification };
    let log = declared(free(), Scope::All, 0, 100).plant(CHANGE, who(AUTHOR), event).executing();
    assert_eq!(codes(&log.events), ["audit.self_override", "audit.frozen"]);
}

#[test]
fn an_override_is_of_the_plan_that_was_in_review() {
    let justification = "the database is down".to_owned();
    let event = E::FreezeOverridden { freeze: FREEZE, justification };
    let log = declared(free(), Scope::All, 0, 1000).plant(CHANGE, who(FIRST), event);
    let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
    let log = log.change(CHANGE, EDITOR, C::Edit { draft: edited });
    let log = log.submitted(CHANGE, Environment::Dev, 2).executing();
    assert_eq!(codes(&log.events), ["audit.frozen"]);
}

#[test]
fn intended_inside_a_freeze() {
    let begun = || free().executing().started(CHANGE, RUN, None).claimed(0).done(0, 1);
    let scope = || Scope::Environment { environment: Environment::Dev };
    assert_eq!(codes(&begun().intended(1, 1).events), SILENT);
    let log = declared(begun(), scope(), 0, 100).intended(1, 1);
    assert_eq!(codes(&log.events), ["audit.frozen"]);
    let ended = CalendarCommand::EndFreeze { freeze: FREEZE, reason: "done early".to_owned() };
    let log = declared(begun(), scope(), 0, 100).tell::<Calendar>(CALENDAR, &person(FIRST), ended);
    assert_eq!(codes(&log.intended(1, 1).events), SILENT);
    // What stops instead is in order.
    let log = declared(begun(), scope(), 0, 100).run(block(1)).finished(1);
    assert_eq!(codes(&log.events), SILENT);
}

/// A window that is open in this minute of every hour, which is the first of the log when it is 0.
fn windowed(log: Log, scope: Scope, minute: u32) -> Log {
    let first = at(0).as_jiff().to_zoned(jiff::tz::TimeZone::UTC).minute();
    let minute = (u32::from(first.unsigned_abs()) + minute) % 60;
    let cron = format!("{minute} * * * *");
    let slots = Recurrence { cron, zone: "UTC".to_owned(), duration_s: 60 };
    let window = WindowId(Uuid::from_u128(32 + u128::from(minute)));
    let name = format!("At {minute}");
    let command = CalendarCommand::DefineWindow { window, name, scope, slots };
    log.tell::<Calendar>(CALENDAR, &person(AUTHOR), command)
}

#[test]
fn executed_outside_of_maintenance_windows() {
    let environment = |environment| Scope::Environment { environment };
    let outside = |scope| codes(&windowed(free(), scope, 30).executing().events);
    assert_eq!(outside(Scope::All), ["audit.outside_maintenance"]);
    assert_eq!(outside(environment(Environment::Dev)), ["audit.outside_maintenance"]);
    assert_eq!(outside(environment(Environment::Prod)), SILENT);
    assert_eq!(outside(tag("billing")), SILENT);
    let inside = windowed(windowed(free(), Scope::All, 30), Scope::All, 0);
    assert_eq!(codes(&inside.executing().events), SILENT);
}

#[test]
fn intended_outside_of_maintenance_windows() {
    let begun = || free().executing().started(CHANGE, RUN, None).claimed(0).done(0, 1);
    let log = windowed(begun(), Scope::All, 30);
    assert_eq!(codes(&log.intended(1, 1).events), ["audit.outside_maintenance"]);
    let log = windowed(begun(), Scope::All, 30).run(block(1)).finished(1);
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn maintenance_windows_are_overridden_by_somebody_else_for_the_plan_in_review() {
    let event = || E::WindowOverridden { justification: "the disk is full".to_owned() };
    let by = |actor| windowed(free(), Scope::All, 30).plant(CHANGE, actor, event());
    assert_eq!(codes(&by(who(FIRST)).executing().events), SILENT);
    let own = by(who(AUTHOR)).executing();
    assert_eq!(codes(&own.events), ["audit.self_override", "audit.outside_maintenance"]);
    let nobody = by(Actor::SYSTEM).executing();
    assert_eq!(codes(&nobody.events), ["audit.not_a_person", "audit.outside_maintenance"]);
    let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
    let log = by(who(FIRST)).change(CHANGE, EDITOR, C::Edit { draft: edited });
    let log = log.submitted(CHANGE, Environment::Dev, 2).executing();
    assert_eq!(codes(&log.events), ["audit.outside_maintenance"]);
}

#[test]
fn what_was_scheduled_starts_by_itself() {
    let opens = at(100);
    let log = free().plant(CHANGE, who(AUTHOR), E::Scheduled { opens, asked_by: None });
    assert_eq!(codes(&log.executing().events), SILENT);
    let early = E::Scheduled { opens, asked_by: None };
    let log = super::log::Log::default().plant(CHANGE, who(AUTHOR), early);
    assert!(!codes(&log.events).is_empty());
}
