//! Rollbacks that were approved together with the change that they undo.

use std::collections::BTreeSet;

use super::changes::{SILENT, who};
use super::log::{
    AUTHOR, BACK, BACK_RUN, CHANGE, FIRST, RUN, SECOND, draft, intend, reason, risk, step,
};
use super::*;
use crate::actor::Actor;
use crate::aggregate::Principal;
use crate::change::event::{ChangeEvent as E, Draft};
use crate::change::{Back, Change, ChangeCommand as C, ChangeState, subject_of_rollback};
use crate::event::Event;
use crate::freeze::InTheWay;
use crate::id::{PersonId, RunId};
use crate::plan::{Plan, PlanHeader};
use crate::policy::{POLICY, Policy};
use crate::risk::Environment;
use crate::run::RunCommand as R;
use uuid::Uuid;

/// Approved by one, done by half, and failed then.
fn failed(auto_rollback: bool) -> Log {
    let draft = Draft { auto_rollback, ..draft(None) };
    Log::default()
        .change(CHANGE, AUTHOR, C::Draft { draft, rollback_of: None })
        .submitted(CHANGE, Environment::Prod, 5)
        .approved_by(CHANGE, FIRST)
        .executing()
        .started(CHANGE, RUN, None)
        .claimed(0)
        .done(0, 1)
        .run(intend(1, 1))
        .run(R::Fail { step: 1, epoch: 1, reason: reason() })
        .finished(1)
}

/// Nexplane makes the rollback, and starts it.
fn going_back() -> Log {
    let log = failed(true);
    let undone = log.state::<Change>(CHANGE.into());
    let ChangeState::Finished(finish) = &undone else { panic!("not finished") };
    let subject = subject_of_rollback(CHANGE, &finish.execution);
    let policy = log.state::<Policy>(POLICY.into());
    let header = PlanHeader {
        change: BACK,
        change_type: subject.draft.change_type.clone(),
        connection: subject.draft.connection,
        targets: subject.draft.targets.clone(),
        parameters: subject.draft.parameters.clone(),
        policy_version: policy.version,
        author: subject.author,
        editors: Vec::new(),
        rollback_of: subject.rollback_of,
        auto_rollback: false,
        limit_s: None,
        rollout: None,
    };
    let back = Box::new(Back {
        original: CHANGE,
        later: Vec::new(),
        plan: Plan::new(header, vec![step(0)], Vec::new(), at(log.second)),
        environment: Environment::Prod,
        risk: risk(7),
        tags: BTreeSet::new(),
        policy,
        undone,
    });
    let start = C::StartBack { run: BACK_RUN, in_the_way: InTheWay::default() };
    log.tell::<Change>(BACK, &Principal::SYSTEM, C::GoBack { back }).tell::<Change>(
        BACK,
        &Principal::SYSTEM,
        start,
    )
}

fn whole() -> Log {
    let command = C::StartRollback { rollback: BACK, run: BACK_RUN, later: Vec::new() };
    going_back()
        .tell::<Change>(CHANGE, &Principal::SYSTEM, command)
        .started(BACK, BACK_RUN, Some(RUN))
        .back(R::Claim { worker: Uuid::nil(), after: 0 })
        .undone(0)
        .back_finished()
}

const UNFOUNDED: &str = "audit.beforehand_unfounded";

#[test]
fn a_change_that_goes_back_as_it_was_approved_is_silent() {
    assert_eq!(codes(&whole().events), SILENT);
    // A person may undo it as well; it then takes an approval as every rollback does.
    assert_eq!(codes(&failed(true).rolling_back().events), SILENT);
}

/// What the submission says, said otherwise.
fn told(change: impl FnOnce(&mut E)) -> Vec<&'static str> {
    let altered = going_back().altered("change.submitted", |recorded| {
        let Event::Change(event) = &mut recorded.event else { panic!("no change") };
        change(event);
    });
    codes(&altered)
}

#[test]
fn nobody_goes_back_on_approvals_that_were_not_given() {
    let other = told(|event| {
        let E::Submitted { beforehand: Some(beforehand), .. } = event else { panic!() };
        beforehand.approvers = vec![PersonId(Uuid::from_u128(SECOND))];
    });
    assert_eq!(other, [UNFOUNDED]);
    let run = told(|event| {
        let E::Submitted { beforehand: Some(beforehand), .. } = event else { panic!() };
        beforehand.run = RunId(Uuid::from_u128(999));
    });
    assert_eq!(run, [UNFOUNDED]);
    // Without a word of it, it is a rollback that nobody approved.
    let silent = told(|event| {
        let E::Submitted { beforehand, .. } = event else { panic!() };
        *beforehand = None;
    });
    assert_eq!(
        silent,
        ["audit.quorum_weakened", "audit.quorum_incomplete", "audit.quorum_incomplete"]
    );
}

#[test]
fn nothing_critical_goes_back_on_nobodys_word() {
    let nobody = told(|event| {
        let E::Submitted { beforehand: Some(beforehand), risk: told, .. } = event else { panic!() };
        (beforehand.approvers, *told) = (Vec::new(), risk(9));
    });
    assert_eq!(nobody, [UNFOUNDED, "audit.quorum_weakened"]);
}

#[test]
fn only_what_says_so_goes_back() {
    // The same, of a change of which nobody wished it.
    let unwished = going_back().events.into_iter().map(|mut recorded| {
        if let Event::Change(E::Drafted { draft, .. }) = &mut recorded.event {
            draft.auto_rollback = false;
        } else if let Event::Change(E::Planned { plan }) = &mut recorded.event {
            let Plan { header, steps, computed_at, .. } = (**plan).clone();
            let header = PlanHeader { auto_rollback: false, ..header };
            **plan = Plan::new(header, steps, Vec::new(), computed_at);
        }
        recorded
    });
    let report = super::log::judge(&unwished.collect::<Vec<_>>());
    assert!(report.violations.iter().any(|found| found.rule == UNFOUNDED), "{report:#?}");
    // The wish is in the draft, and not in the plan that was approved.
    let unsaid = failed(true).altered("change.planned", |recorded| {
        let Event::Change(E::Planned { plan }) = &mut recorded.event else { panic!() };
        let header = PlanHeader { auto_rollback: false, ..plan.header.clone() };
        plan.header = header;
    });
    assert!(codes(&unsaid).contains(&"audit.plan_of_another"));
}

#[test]
fn only_nexplane_itself_submits_it() {
    let by_person = going_back().altered("change.submitted", |recorded| {
        recorded.header.actor = who(AUTHOR);
    });
    assert_eq!(codes(&by_person), [UNFOUNDED]);
    assert_eq!(Actor::SYSTEM.person(), None);
}

#[test]
fn what_was_approved_beforehand_starts_within_the_hour() {
    let for_days = |until: i64| {
        let mut log = going_back();
        for recorded in &mut log.events {
            if recorded.header.stream != BACK.into() {
                continue;
            }
            if let Event::Change(E::Submitted { quorum, .. }) = &mut recorded.event {
                quorum.valid_s = 7 * 24 * 3600;
            } else if let Event::Change(E::Approved { until: told, .. }) = &mut recorded.event {
                *told = recorded.header.at.plus_seconds(until);
            }
        }
        codes(&log.events)
    };
    assert_eq!(for_days(3600), SILENT);
    assert_eq!(for_days(3601), ["audit.approval_times"]);
}
