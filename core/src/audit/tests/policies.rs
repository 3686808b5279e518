//! Policies: submissions are held to the version that was in force at their place in the log.

use super::changes::{SILENT, change_of, who};
use super::log::{AUTHOR, CHANGE, TARGET, judge, person};
use super::*;
use crate::actor::Actor;
use crate::asset::event::AssetEvent;
use crate::change::event::ChangeEvent as E;
use crate::policy::event::PolicyEvent;
use crate::policy::{
    Ask, POLICY, Policy, PolicyCommand, PolicyDocument, Rule, Then, VALID_S, When,
};
use crate::risk::Environment;

/// Version 1 with a rule in front that asks for this many approvals.
fn with(when: When, approvals: u32) -> PolicyDocument {
    let mut document = PolicyDocument::standard();
    let (from, break_glass) = (None, false);
    let ask = Ask { approvals, admin: false, from, delay_s: 0, valid_s: VALID_S, break_glass };
    let then = Then::Ask(ask);
    document.rules.insert(0, Rule { when, then });
    document
}

fn in_dev() -> When {
    When { environment: Some(vec![Environment::Dev]), ..When::default() }
}

fn published(log: Log, document: PolicyDocument, based_on: u32) -> Log {
    let note = "as agreed".to_owned();
    let command = PolicyCommand::Publish { document, note, based_on };
    log.tell::<Policy>(POLICY, &person(AUTHOR), command)
}

fn approvals(events: &[crate::event::Recorded]) -> Vec<u32> {
    let submissions = events.iter().filter_map(|recorded| {
        let crate::event::Event::Change(E::Submitted { quorum, .. }) = &recorded.event else {
            return None;
        };
        Some(quorum.approvals)
    });
    submissions.collect()
}

#[test]
fn each_submission_by_the_version_of_its_time() {
    let log = published(Log::drafted(), with(in_dev(), 3), 1)
        .submitted(CHANGE, Environment::Dev, 2)
        .change(CHANGE, AUTHOR, crate::change::ChangeCommand::Withdraw);
    let log = published(log, with(in_dev(), 1), 2).submitted(CHANGE, Environment::Dev, 2);
    assert_eq!(approvals(&log.events), [3, 1]);
    assert_eq!(codes(&log.events), SILENT);
}

#[test]
fn asked_for_less_than_the_version_in_force_says() {
    let log = published(Log::drafted(), with(in_dev(), 3), 1);
    let weakened = log.submitted(CHANGE, Environment::Dev, 2).altered("change.submitted", |e| {
        let E::Submitted { quorum, .. } = change_of(e) else { panic!("no quorum") };
        // Version 1 would be content with it.
        quorum.approvals = 2;
    });
    assert_eq!(codes(&weakened), ["audit.quorum_weakened"]);
}

#[test]
fn submitted_under_a_version_that_was_replaced() {
    let log = Log::drafted().submitted(CHANGE, Environment::Dev, 5);
    assert_eq!(codes(&log.events), SILENT);
    // The same events, with the version before them.
    let published = published(Log::default(), with(in_dev(), 3), 1);
    let late = log.events.into_iter().fold(published, |log, recorded| {
        log.plant(recorded.header.stream, recorded.header.actor, recorded.event)
    });
    assert_eq!(codes(&late.events), ["audit.policy_outdated", "audit.quorum_weakened"]);
}

#[test]
fn tags_are_those_that_the_log_says() {
    let tagged = |log: Log, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let event = AssetEvent::Annotated { owner: None, tags, critical: false, environment: None };
        log.plant(TARGET, who(AUTHOR), event)
    };
    let billing = When { tag: Some(vec!["billing".to_owned()]), ..When::default() };
    let log = tagged(published(Log::drafted(), with(billing, 3), 1), &["billing"]);
    let log = log.submitted(CHANGE, Environment::Dev, 2);
    assert_eq!((approvals(&log.events), codes(&log.events)), (vec![3], SILENT.to_vec()));
    let denied = log.altered("change.submitted", |recorded| {
        let E::Submitted { quorum, tags, .. } = change_of(recorded) else { panic!("no quorum") };
        quorum.approvals = 0;
        *tags = Some(std::collections::BTreeSet::new());
    });
    assert_eq!(codes(&denied), ["audit.quorum_weakened"]);
}

#[test]
fn submitted_though_the_policy_refuses_it() {
    let mut document = with(When { rollback: Some(false), ..in_dev() }, 0);
    let reason = "nothing is changed there".to_owned();
    document.rules[0].then = Then::Refuse { reason };
    let log = Log::drafted().submitted(CHANGE, Environment::Dev, 5);
    let published = published(Log::default(), document, 1);
    let late = log.events.into_iter().fold(published, |log, mut recorded| {
        if let crate::event::Event::Change(E::Submitted { quorum, .. }) = &mut recorded.event {
            quorum.policy_version = 2;
        }
        log.plant(recorded.header.stream, recorded.header.actor, recorded.event)
    });
    // Planned under version 1 as well.
    assert_eq!(codes(&late.events), ["audit.policy_outdated", "audit.quorum_weakened"]);
}

#[test]
fn published_by_nobody_or_out_of_turn_or_below_the_floor() {
    let planted = |version, by: Actor, document| {
        let event = PolicyEvent::Published { version, document, note: "so be it".to_owned() };
        codes(&Log::default().plant(POLICY, by, event).events)
    };
    let good = || with(in_dev(), 1);
    assert_eq!(planted(2, who(AUTHOR), good()), SILENT);
    assert_eq!(planted(2, Actor::SYSTEM, good()), ["audit.policy_unfounded"]);
    for version in [1, 3] {
        assert_eq!(planted(version, who(AUTHOR), good()), ["audit.policy_unfounded"]);
    }
    assert_eq!(planted(2, who(AUTHOR), with(in_dev(), 0)), ["audit.policy_below_floor"]);
}

#[test]
fn what_came_before_the_first_event_is_not_known() {
    let log = published(Log::default(), with(in_dev(), 3), 1)
        .change(
            CHANGE,
            AUTHOR,
            crate::change::ChangeCommand::Draft {
                draft: super::log::draft(None),
                rollback_of: None,
            },
        )
        .submitted(CHANGE, Environment::Dev, 2);
    assert_eq!(codes(&log.events), SILENT);
    let report = judge(&log.events[1..]);
    assert_eq!(report.violations, Vec::new());
    let sentences: Vec<_> = report.incomplete.iter().map(|i| i.sentence.as_str()).collect();
    assert_eq!(sentences, ["What policy version 2 asks for is not known."]);
}
