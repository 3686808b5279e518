//! Delegations, and those whom a policy names.

use uuid::Uuid;

use super::changes::{SILENT, change_of, who};
use super::log::{AUTHOR, CHANGE, EDITOR, FIRST, SECOND, TARGET, address, draft, judge, person};
use super::*;
use crate::actor::{Actor, Role};
use crate::asset::event::AssetEvent;
use crate::change::ChangeCommand as C;
use crate::change::event::{ChangeEvent as E, Draft};
use crate::event::{Event, Recorded};
use crate::id::PersonId;
use crate::person::event::PersonEvent;
use crate::person::{Person, PersonCommand};
use crate::policy::{
    Ask, POLICY, Policy, PolicyCommand, PolicyDocument, Pool, Rule, Then, VALID_S, When,
};
use crate::risk::Environment;

const DELEGATE: u128 = 7;
const DELEGATION: Uuid = Uuid::from_u128(70);

fn id(no: u128) -> PersonId {
    PersonId(Uuid::from_u128(no))
}

/// The first approver is one, and delegates to somebody for a hundred seconds.
fn delegated(log: Log) -> Log {
    let roles = vec![Role::Approver];
    let log = log.plant(id(FIRST), Actor::SYSTEM, PersonEvent::Added { roles });
    let command = PersonCommand::Delegate {
        person: id(FIRST),
        delegation: DELEGATION,
        to: id(DELEGATE),
        to_is_enabled: true,
        from: at(log.second),
        until: at(log.second + 100),
        reason: "On leave".to_owned(),
    };
    log.tell::<Person>(id(FIRST), &person(FIRST), command)
}

fn submitted() -> Log {
    let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
    Log::drafted().change(CHANGE, EDITOR, C::Edit { draft: edited }).submitted(
        CHANGE,
        Environment::Prod,
        5,
    )
}

fn approved_for(log: Log) -> Log {
    let account = Box::new(log.state::<Person>(id(FIRST).into()));
    let digest = log.digest(CHANGE);
    let (delegator, comment, frozen) = (id(FIRST), None, Vec::new());
    log.change(CHANGE, DELEGATE, C::ApproveFor { delegator, account, digest, comment, frozen })
}

fn approved_through_a_delegate() -> Log {
    approved_for(delegated(submitted()))
}

fn delegation_of(recorded: &mut Recorded) -> &mut PersonEvent {
    let Event::Person(event) = &mut recorded.event else { panic!("not a person's") };
    event
}

const UNFOUNDED: [&str; 2] = ["audit.delegation_unfounded", "audit.quorum_incomplete"];

#[test]
fn an_approval_through_a_delegate_is_silent() {
    let log = approved_through_a_delegate();
    assert_eq!(codes(&log.executing().events), SILENT);
}

#[test]
fn an_approval_for_somebody_who_delegated_nothing() {
    let missing = approved_through_a_delegate().without("person.approvals_delegated");
    assert_eq!(codes(&missing), UNFOUNDED);
    let kind = "person.approvals_delegated";
    let to_another = approved_through_a_delegate().altered(kind, |recorded| {
        let PersonEvent::ApprovalsDelegated { to, .. } = delegation_of(recorded) else { panic!() };
        *to = id(SECOND);
    });
    assert_eq!(codes(&to_another), UNFOUNDED);
    let over = approved_through_a_delegate().altered(kind, |recorded| {
        let PersonEvent::ApprovalsDelegated { from, until, .. } = delegation_of(recorded) else {
            panic!()
        };
        *until = *from;
    });
    assert_eq!(codes(&over), UNFOUNDED);
}

#[test]
fn an_approval_after_the_delegation_ended() {
    for end in [
        PersonEvent::DelegationEnded { delegation: DELEGATION },
        PersonEvent::Disabled {},
        PersonEvent::RolesChanged { roles: vec![Role::Viewer] },
    ] {
        // The same approval, with the end of its delegation before it.
        let log = delegated(submitted()).plant(id(FIRST), who(AUTHOR), end);
        let approvals = approved_through_a_delegate()
            .events
            .into_iter()
            .filter(|recorded| matches!(recorded.event, Event::Change(E::ApprovalGiven { .. })));
        let log = approvals
            .fold(log, |log, recorded| log.plant(CHANGE, recorded.header.actor, recorded.event));
        assert_eq!(codes(&log.events), ["audit.delegation_unfounded"]);
    }
}

#[test]
fn an_approval_of_the_author_through_somebody_else() {
    for own in [AUTHOR, EDITOR] {
        let altered = approved_through_a_delegate().altered("change.approval_given", |recorded| {
            let E::ApprovalGiven { delegator, .. } = change_of(recorded) else { panic!() };
            *delegator = Some(id(own));
        });
        assert_eq!(codes(&altered), ["audit.self_approval", "audit.quorum_incomplete"]);
        let altered = approved_through_a_delegate()
            .altered("change.approval_given", |recorded| recorded.header.actor = who(own));
        assert_eq!(codes(&altered), ["audit.self_approval", "audit.quorum_incomplete"]);
    }
}

#[test]
fn one_person_twice_through_somebody_else() {
    let log = delegated(Log::drafted().submitted(CHANGE, Environment::Prod, 7));
    let log = approved_for(log).approved_by(CHANGE, SECOND);
    assert_eq!(codes(&log.events), SILENT);
    for twice in [FIRST, DELEGATE] {
        let altered = log
            .clone()
            .altered("change.approval_given", |recorded| recorded.header.actor = who(twice));
        assert_eq!(codes(&altered), ["audit.approved_twice", "audit.quorum_incomplete"]);
    }
}

#[test]
fn a_delegation_that_nobody_gave() {
    let by = |actor| {
        let altered = delegated(Log::default())
            .altered("person.approvals_delegated", |recorded| recorded.header.actor = actor);
        codes(&altered)
    };
    assert_eq!(by(who(FIRST)), SILENT);
    assert_eq!(by(who(SECOND)), SILENT, "an admin");
    assert_eq!(by(Actor::SYSTEM), ["audit.not_a_person"]);
    assert_eq!(by(Actor::machine(id(FIRST))), ["audit.not_a_person"]);
    assert_eq!(by(who(DELEGATE)), ["audit.delegation_unfounded"]);
}

fn then_submitted(log: Log) -> Log {
    log.change(CHANGE, AUTHOR, C::Draft { draft: draft(None), rollback_of: None }).submitted(
        CHANGE,
        Environment::Prod,
        5,
    )
}

#[test]
fn a_delegation_of_before_the_first_event_is_not_known() {
    let log = approved_for(then_submitted(delegated(Log::default())));
    let first = log.events.iter().position(|recorded| recorded.header.stream == CHANGE.into());
    let report = judge(&log.events[first.expect("a change")..]);
    assert_eq!(report.violations, Vec::new());
    let sentences: Vec<_> = report.incomplete.iter().map(|i| i.sentence.clone()).collect();
    let expected = format!("What person {} delegated is not provable.", id(FIRST));
    assert_eq!(sentences, [expected]);
}

fn asking(pool: Pool) -> Log {
    let mut document = PolicyDocument::standard();
    let ask = Ask {
        approvals: 1,
        admin: false,
        from: Some(pool),
        delay_s: 0,
        valid_s: VALID_S,
        break_glass: false,
    };
    let no_rollback = When { rollback: Some(false), ..When::default() };
    document.rules.insert(0, Rule { when: no_rollback, then: Then::Ask(ask) });
    let note = "as agreed".to_owned();
    let command = PolicyCommand::Publish { document, note, based_on: 1 };
    let owner = Some(address(FIRST));
    let owned = AssetEvent::Annotated { owner, tags: vec![], critical: false, environment: None };
    let log = Log::default().tell::<Policy>(POLICY, &person(AUTHOR), command).plant(
        TARGET,
        who(AUTHOR),
        owned,
    );
    then_submitted(log)
}

fn pools() -> [Pool; 2] {
    [
        Pool { owners: true, people: Vec::new(), at_least: 1 },
        Pool { owners: false, people: vec![address(FIRST)], at_least: 1 },
    ]
}

#[test]
fn approved_by_those_whom_the_policy_names_is_silent() {
    for pool in pools() {
        let log = asking(pool).approved_by(CHANGE, FIRST);
        assert_eq!(codes(&log.executing().events), SILENT);
    }
}

#[test]
fn approved_by_somebody_else() {
    for pool in pools() {
        let altered = asking(pool)
            .approved_by(CHANGE, FIRST)
            .executing()
            .altered("change.approval_given", |recorded| recorded.header.actor = who(SECOND));
        assert_eq!(codes(&altered), ["audit.seat_empty", "audit.seat_empty"]);
    }
}

#[test]
fn a_seat_that_was_left_out() {
    for pool in pools() {
        let altered = asking(pool).altered("change.submitted", |recorded| {
            let E::Submitted { quorum, .. } = change_of(recorded) else { panic!() };
            quorum.seats.clear();
        });
        assert_eq!(codes(&altered), ["audit.quorum_weakened"]);
    }
    // The target had no owner at all.
    let [owners, _] = pools();
    let unowned = asking(owners).without("asset.annotated");
    assert_eq!(codes(&unowned), ["audit.quorum_weakened"]);
}
