//! Changes that schedules make, and who asks for what.

use super::changes::{SILENT, who};
use super::log::{AUTHOR, CHANGE, EDITOR, FIRST, RUN, SECOND, draft, person};
use super::*;
use crate::actor::Actor;
use crate::aggregate::Principal;
use crate::change::event::{ChangeEvent as E, Draft};
use crate::change::{Change, ChangeCommand as C};
use crate::freeze::InTheWay;
use crate::id::{HostId, PersonId, ScheduleId};
use crate::risk::Environment;
use crate::schedule::event::{ScheduleEvent as S, Template, Timing};
use crate::schedule::{Schedule, ScheduleCommand as D};
use uuid::Uuid;

const SCHEDULE: ScheduleId = ScheduleId(Uuid::from_u128(80));
const UNFOUNDED: &str = "audit.schedule_unfounded";

fn template(length: u32) -> Template {
    let parameters = serde_json::json!({ "length": length });
    Template { parameters, ..Template::from(draft(None)) }
}

fn timing() -> Timing {
    Timing { cron: "* * * * *".to_owned(), zone: "Etc/UTC".to_owned() }
}

fn machine(no: u128) -> Principal {
    Principal { actor: Actor::machine(PersonId(Uuid::from_u128(no))), ..person(no) }
}

impl Log {
    fn schedule(self, by: &Principal, command: D) -> Self {
        self.tell::<Schedule>(SCHEDULE, by, command)
    }

    /// Of the author, and edited by another.
    fn scheduled() -> Self {
        Self::default()
            .schedule(&person(AUTHOR), D::Create { template: template(24), timing: timing() })
            .edited(32)
    }

    fn edited(self, length: u32) -> Self {
        let edit = D::Edit { template: template(length), timing: timing() };
        self.schedule(&person(EDITOR), edit)
    }

    fn fired(self) -> Self {
        let tick = D::Tick { owner: person(AUTHOR), change: CHANGE, open: None };
        self.wait(60).schedule(&Principal::SYSTEM, tick)
    }

    fn made_of(self, template: &Template, editors: &[u128]) -> Self {
        let editors = editors.iter().map(|no| PersonId(Uuid::from_u128(*no))).collect();
        let command = C::DraftForSchedule { draft: template.draft(), schedule: SCHEDULE, editors };
        self.tell::<Change>(CHANGE, &machine(AUTHOR), command)
    }

    fn made(self) -> Self {
        self.fired().made_of(&template(32), &[EDITOR])
    }
}

#[test]
fn a_change_that_a_schedule_makes_is_silent() {
    let start = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
    let command = C::OnBehalf { asker: person(AUTHOR), project: None, command: Box::new(start) };
    let log = Log::scheduled().made().submitted(CHANGE, Environment::Dev, 2).tell::<Change>(
        CHANGE,
        &Principal::SYSTEM,
        command,
    );
    assert_eq!(codes(&log.events), SILENT);
    // It was edited while the change was made of what it said before.
    let between = Log::scheduled().fired().edited(48);
    assert_eq!(codes(&between.clone().made_of(&template(32), &[EDITOR]).events), SILENT);
    assert_eq!(codes(&between.made_of(&template(48), &[EDITOR]).events), SILENT);
    // The author may change it afterwards.
    let parameters = serde_json::json!({ "length": 40 });
    let edit = C::Edit { draft: Draft { parameters, ..draft(None) } };
    let log = Log::scheduled().made().change(CHANGE, AUTHOR, edit);
    assert_eq!(codes(&log.submitted(CHANGE, Environment::Prod, 5).events), SILENT);
}

#[test]
fn whoever_edited_a_schedule_edited_its_changes() {
    let log = Log::scheduled().fired().made_of(&template(32), &[]);
    let log = log.submitted(CHANGE, Environment::Prod, 5).approved_by(CHANGE, EDITOR);
    assert_eq!(codes(&log.events), [UNFOUNDED]);
    let silent = Log::scheduled().made().without("change.made_by_schedule");
    let log = Log { events: silent, second: 1000 }.submitted(CHANGE, Environment::Prod, 5);
    assert_eq!(codes(&log.events), [UNFOUNDED], "it does not say so at all");
}

#[test]
fn a_schedule_makes_what_it_says_for_its_owner() {
    let made = |log: Log| codes(&log.events);
    assert_eq!(made(Log::scheduled().made_of(&template(32), &[EDITOR])), [UNFOUNDED], "no tick");
    let none = Log::default().made_of(&template(32), &[]);
    assert_eq!(made(none), [UNFOUNDED], "no schedule");
    let other = Log::scheduled().fired().made_of(&template(99), &[EDITOR]);
    assert_eq!(made(other), [UNFOUNDED], "something else");
    let mut foreign = Log::scheduled().made();
    for event in foreign.events.iter_mut().filter(|e| e.header.stream == CHANGE.into()) {
        event.header.actor = machine(FIRST).actor;
    }
    assert_eq!(made(foreign), [UNFOUNDED], "for somebody else");
}

#[test]
fn schedules_are_changed_by_people_and_fire_by_themselves() {
    let planted = |by: Actor, event: S| codes(&Log::scheduled().plant(SCHEDULE, by, event).events);
    let edited = || S::Edited { template: template(48), timing: timing() };
    assert_eq!(planted(machine(AUTHOR).actor, edited()), [UNFOUNDED]);
    assert_eq!(planted(who(SECOND), edited()), SILENT);
    let fired = || S::Fired { tick: at(0), change: CHANGE };
    assert_eq!(planted(who(AUTHOR), fired()), [UNFOUNDED]);
    assert_eq!(planted(Actor::SYSTEM, fired()), SILENT);
    let paused = Log::scheduled().schedule(&person(AUTHOR), D::Pause { reason: "x".to_owned() });
    let log = paused.clone().plant(SCHEDULE, Actor::SYSTEM, fired());
    assert_eq!(codes(&log.events), [UNFOUNDED]);
    let log = paused.schedule(&person(AUTHOR), D::Resume);
    assert_eq!(codes(&log.plant(SCHEDULE, Actor::SYSTEM, fired()).events), SILENT);
    let alone = Log::default().plant(SCHEDULE, Actor::SYSTEM, fired());
    assert_eq!(codes(&alone.events), [UNFOUNDED]);
}

#[test]
fn no_program_submits_or_starts_a_change() {
    let agent = Actor::agent(HostId(Uuid::from_u128(90)));
    for by in [machine(AUTHOR).actor, agent] {
        for kind in ["change.submitted", "change.execution_started"] {
            let log = Log::approved().executing();
            let altered = log.altered(kind, |recorded| recorded.header.actor = by);
            assert_eq!(codes(&altered), ["audit.by_program"], "{kind}");
        }
    }
    let asked = || E::Scheduled { opens: at(4000), asked_by: None };
    let planted = |by| codes(&Log::approved().plant(CHANGE, by, asked()).events);
    assert_eq!(planted(machine(AUTHOR).actor), ["audit.by_program"]);
    assert_eq!(planted(who(AUTHOR)), SILENT);
}
