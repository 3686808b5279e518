//! What a person says became of a change.

use uuid::Uuid;

use super::changes::{SILENT, who};
use super::log::{AUTHOR, CHANGE, EDITOR, FIRST, RUN, draft};
use super::*;
use crate::actor::Actor;
use crate::change::ChangeCommand as C;
use crate::change::event::{ChangeEvent as E, Draft, Found};
use crate::id::{PersonId, RunId};
use crate::risk::Environment;

fn unknown() -> Log {
    let edited = Draft { title: "Lock it".to_owned(), ..draft(None) };
    Log::drafted()
        .change(CHANGE, EDITOR, C::Edit { draft: edited })
        .submitted(CHANGE, Environment::Prod, 5)
        .approved_by(CHANGE, FIRST)
        .executing()
        .started(CHANGE, RUN, None)
        .claimed(0)
        .intended(0, 1)
        .unknown(0, 1)
        .finished(1)
}

fn finds(run: RunId) -> E {
    E::Settled { run, finding: Found::Applied, evidence: "I looked.".to_owned() }
}

#[test]
fn somebody_else_settles_and_it_is_silent() {
    for finding in [Found::Applied, Found::NotApplied] {
        let settle = C::Settle { finding, evidence: "I looked.".to_owned(), read: None };
        let log = unknown().change(CHANGE, FIRST, settle);
        assert_eq!(codes(&log.events), SILENT);
        // What is settled is known, and may be rolled back.
        assert_eq!(codes(&log.rolling_back().events), SILENT);
    }
}

#[test]
fn author_and_editors_do_not_settle() {
    for by in [AUTHOR, EDITOR] {
        let log = unknown().plant(CHANGE, who(by), finds(RUN));
        assert_eq!(codes(&log.events), ["audit.self_settlement"]);
    }
}

#[test]
fn nobody_but_a_person_settles() {
    for by in [Actor::SYSTEM, Actor::machine(PersonId(Uuid::from_u128(FIRST)))] {
        let log = unknown().plant(CHANGE, by, finds(RUN));
        assert_eq!(codes(&log.events), ["audit.not_a_person"]);
    }
}

#[test]
fn what_is_known_is_not_settled() {
    let known = ["audit.settled_known"];
    let log = Log::complete().plant(CHANGE, who(FIRST), finds(RUN));
    assert_eq!(codes(&log.events), known);
    let twice =
        unknown().plant(CHANGE, who(FIRST), finds(RUN)).plant(CHANGE, who(FIRST), finds(RUN));
    assert_eq!(codes(&twice.events), known);
    let early = Log::approved().executing().plant(CHANGE, who(FIRST), finds(RUN));
    assert_eq!(codes(&early.events), ["audit.out_of_order"]);
}

#[test]
fn it_is_the_run_of_the_change_that_is_settled() {
    let other = RunId(Uuid::from_u128(99));
    let log = unknown().plant(CHANGE, who(FIRST), finds(other));
    assert_eq!(codes(&log.events), ["audit.change_outcome"]);
}

/// A receipt that comes late is no second outcome.
#[test]
fn nothing_overwrites_a_finding() {
    let log = unknown().plant(CHANGE, who(FIRST), finds(RUN));
    let late = E::Completed { run: RUN, secrets: Vec::new() };
    let log = log.plant(CHANGE, Actor::SYSTEM, late);
    assert_eq!(codes(&log.events), ["audit.after_the_end"]);
}
