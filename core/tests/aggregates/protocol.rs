//! The protocol by which a step has its effect once: every interleaving of two workers, their lease, the
//! log, the network and the target, by a model checker, within bounds.
//!
//! Real is what decides: all that the log is told goes through `Run::decide`, and becomes what it is by
//! `Run::evolve`. Modelled are the workers (`nexplane-server`, `runtime`: `engine`, `step`, `settle`), the
//! lease (`runtime::lease`), the network and the target. Time is counted in ticks, of which a lease has
//! two, what a worker believes of its lease one, and a message on its way as many as an effect without an
//! answer is waited for. A worker stops anywhere for any number of ticks; crashes, and what it knew is
//! gone; messages arrive late, unheard, or never.
//!
//! Not here: an append of unknown fate, which is repeated with the same command id (`store: log_append`),
//! several steps, whose order `Run::decide` alone decides (`run`), and going back.
//!
//! Bounded: one step, two workers, one or two crashes, as many claims and attempts as [`world`] says.
//! Whether it comes to an end is asked of each state on its own: if from then on nothing more fails, a fair
//! course of things ends the run, also beyond those bounds.
//!
//! Each protection can be left out, and the checker has to find how it goes wrong then, unless the class of
//! the effect makes up for it: [`breaks`] says which is which.

mod worker;
mod world;

use nexplane_core::catalog::EffectClass as Class;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use world::{DENIED, NAKED, Protection as P, Protocol, TWICE};

const CLASSES: [Class; 4] = [Class::Keyed, Class::Fenced, Class::Verifiable, Class::Unprotected];

fn never_wrong(class: Class, crashes: u8) {
    let checker = Protocol { class, without: None, crashes }.checker().spawn_bfs().join();
    checker.assert_properties();
}

#[test]
fn a_keyed_effect_happens_once() {
    never_wrong(Class::Keyed, 1);
}

#[test]
fn a_fenced_effect_happens_once() {
    never_wrong(Class::Fenced, 1);
}

#[test]
fn a_verifiable_effect_happens_once() {
    never_wrong(Class::Verifiable, 2);
}

#[test]
fn an_unprotected_effect_happens_once_or_a_person_is_asked() {
    never_wrong(Class::Unprotected, 2);
}

/// Which promise is broken without a protection; none where the class makes up for it.
const fn breaks(without: P, class: Class) -> Option<&'static str> {
    match (without, class) {
        (P::IntentFirst, _) => Some(NAKED),
        // What is never repeated cannot be repeated too early.
        (_, Class::Unprotected) => None,
        // It knows the key, whoever comes with it, and when.
        (P::EpochFence | P::Deadline | P::SettleWindow, Class::Keyed) => None,
        // It does not happen twice, but the log says the opposite of what did.
        (P::ReadBack, Class::Keyed) | (_, Class::Fenced) => Some(DENIED),
        (_, Class::Verifiable) => Some(TWICE),
    }
}

#[test]
fn without_any_one_protection_it_goes_wrong() {
    for without in P::ALL {
        for class in CLASSES {
            let model = Protocol { class, without: Some(without), crashes: 0 }.checker();
            let what = format!("{class:?} without {without:?}");
            match breaks(without, class) {
                Some(promise) => {
                    let enough = HasDiscoveries::AllOf([promise].into());
                    let checker = model.finish_when(enough).spawn_bfs().join();
                    assert!(checker.discovery(promise).is_some(), "{what}: “{promise}” holds");
                }
                None => {
                    let checker = model.spawn_bfs().join();
                    checker.assert_properties();
                }
            }
        }
    }
}
