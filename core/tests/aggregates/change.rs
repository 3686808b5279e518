mod alone;
mod ledger;
mod wish;

use std::collections::BTreeSet;

use nexplane_core::actor::ActorKind;
use nexplane_core::aggregate::Reject;
use nexplane_core::change::event::ChangeEvent as E;
use nexplane_core::change::{
    Change, ChangeCommand as C, ChangeState as S, Closed, GLASS_VALID_S, Given,
};
use nexplane_core::freeze::InTheWay;

use self::ledger::audited;
use self::wish::{event, express, lived, wishes};
use crate::*;

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> = sample(wishes()).into_iter().flat_map(lived).collect();
    let mut reached = BTreeSet::new();
    let mut codes = BTreeSet::new();
    for moment in &moments {
        let rollback = moment.before.subject().is_some_and(|subject| subject.rollback_of.is_some());
        reached.insert((moment.before.name(), rollback));
        codes.extend(moment.answer.as_ref().err().map(Reject::code));
    }
    let spoken_for = moments.iter().filter(|moment| {
        matches!(moment.command, C::OnBehalf { .. })
            && moment.answer.as_ref().is_ok_and(|events| !events.is_empty())
    });
    assert!(spoken_for.count() > 0, "in the name of the owner of a schedule");
    for phase in [
        "a draft",
        "submitted",
        "approved",
        "scheduled",
        "executing",
        "complete",
        "failed",
        "of unknown outcome",
        "being rolled back",
        "rolled back",
        "partly rolled back",
        "blocked in its rollback",
        "rejected",
        "cancelled",
        "expired",
    ] {
        assert!(reached.contains(&(phase, false)), "{phase}");
    }
    for phase in ["submitted", "approved", "executing", "complete"] {
        assert!(reached.contains(&(phase, true)), "rollback {phase}");
    }
    for code in [
        "access.denied",
        "change.approved_already",
        "change.not_delegated",
        "change.approval_expired",
        "change.dependency_missing",
        "change.in_other_project",
        "change.exists",
        "change.frozen",
        "change.never_opens",
        "change.no_review_due",
        "change.not_in_state",
        "change.own_approval",
        "change.own_override",
        "change.opens_too_late",
        "change.own_review",
        "change.own_settlement",
        "change.plan_missing",
        "change.plan_not_ready",
        "change.plan_outdated",
        "change.quorum_missing",
        "change.review_overdue",
        "change.stale_digest",
        "change.too_early",
        "change.window_over",
        "not_found",
        "secret.already_revealed",
        "validation.failed",
    ] {
        assert!(codes.contains(code), "{code}");
    }
    // Often enough that a hundred lives show what is wrong with an execution.
    let started = |event: &E| matches!(event, E::ExecutionStarted { .. });
    let executed = moments.iter().filter(|moment| moment.answer.iter().flatten().any(started));
    assert!(executed.count() >= 100);
    let by_itself = moments.iter().filter(|moment| {
        moment.before.name() == "scheduled" && moment.answer.iter().flatten().any(started)
    });
    assert!(by_itself.count() >= 10);
    let glass = |event: &E| matches!(event, E::GlassBroken { .. });
    let broken = moments.iter().filter(|moment| moment.answer.iter().flatten().any(glass));
    assert!(broken.count() >= 30);
    let by_glass = moments.iter().filter(|moment| {
        let S::Approved(approval) = &moment.before else { return false };
        approval.submission.glass.is_some() && moment.answer.iter().flatten().any(started)
    });
    assert!(by_glass.count() >= 10);
    let by_two = |state: &S| matches!(state, S::Executing(it) if it.approvers.len() >= 2);
    assert!(moments.iter().any(|moment| by_two(&moment.after)));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..40)) {
        fold::<Change>(S::Absent, &events);
    }

    #[test]
    fn closed_is_for_good(
        wishes in wishes(),
        how in prop::sample::select(vec![Closed::Rejected, Closed::Cancelled, Closed::Expired]),
        after in prop::collection::vec(event(), 0..25),
        asked in wishes(),
    ) {
        let reason = || "Not today.".to_owned();
        let close = match how {
            Closed::Rejected => E::Rejected { digest: String::new(), reason: reason() },
            Closed::Cancelled => E::Cancelled { reason: reason() },
            Closed::Expired => E::Expired {},
        };
        for moment in lived(wishes) {
            let state = fold::<Change>(moment.after, std::slice::from_ref(&close));
            let S::Closed(_) = state else { continue };
            let name = state.name();
            let later = fold::<Change>(state.clone(), &after);
            prop_assert_eq!(later.name(), name);
            for wished in asked.iter().take(5) {
                let command = express(&state, wished, moment.at);
                let nothing = matches!(command, C::Expire | C::Unschedule { .. });
                let reviewed = matches!(command, C::Review { .. });
                let answer = ask::<Change>(&state, &wished.by, moment.at, &command);
                prop_assert!(answer.is_err() || reviewed || (nothing && answer == Ok(Vec::new())));
            }
        }
    }

    #[test]
    fn executed_is_for_good(wishes in wishes(), after in prop::collection::vec(event(), 0..25)) {
        for moment in lived(wishes) {
            let S::Finished(finish) = moment.after else { continue };
            let (run, digest) = (finish.execution.run, finish.execution.plan.digest.clone());
            let S::Finished(later) = fold::<Change>(S::Finished(finish), &after) else {
                return Err(TestCaseError::fail("no longer finished"));
            };
            prop_assert_eq!((later.execution.run, later.execution.plan.digest), (run, digest));
        }
    }

    #[test]
    fn nobodys_own_approval_counts(wishes in wishes()) {
        let moments = lived(wishes);
        for (ledger, moment, event) in audited(&moments) {
            if let E::ApprovalGiven { delegator: Some(delegator), .. } = event {
                prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
                let by = moment.by.actor.person().expect("a user is a person");
                prop_assert!(!ledger.own.contains(&by) && !ledger.own.contains(delegator));
                let C::ApproveFor { account, .. } = &moment.command else {
                    return Err(TestCaseError::fail("nobody delegated it"));
                };
                prop_assert!(account.delegates(by, moment.at).is_some());
            } else if matches!(event, E::ApprovalGiven { .. } | E::Rejected { .. }) {
                prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
                let by = moment.by.actor.person().expect("a user is a person");
                prop_assert!(!ledger.own.contains(&by));
                prop_assert!(moment.by.has(Role::Approver));
            }
            if matches!(event, E::GlassBroken { .. }) {
                prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
                let by = moment.by.actor.person().expect("a user is a person");
                prop_assert!(!ledger.own.contains(&by));
                prop_assert!(moment.by.has(Role::Responder));
            }
        }
        for moment in moments {
            let Some(subject) = moment.after.subject() else { continue };
            let everybody = |given: &Given| {
                let delegator = given.delegator;
                std::iter::once(given.by).chain(delegator)
            };
            let counted: Vec<PersonId> = match &moment.after {
                S::Submitted(phase) => phase.approvals.iter().flat_map(everybody).collect(),
                S::Approved(phase) => {
                    phase.submission.approvals.iter().flat_map(everybody).collect()
                }
                S::Executing(phase) => phase.approvers.clone(),
                S::Finished(phase) => phase.execution.approvers.clone(),
                S::Absent | S::Draft(_) | S::Closed(_) => Vec::new(),
            };
            prop_assert!(!counted.iter().any(|person| subject.is_own(*person)));
            prop_assert_eq!(counted.iter().collect::<BTreeSet<_>>().len(), counted.len());
        }
    }

    #[test]
    fn what_executes_was_approved(wishes in wishes()) {
        let moments = lived(wishes);
        for (ledger, moment, event) in audited(&moments) {
            let E::ExecutionStarted { digest, .. } = event else { continue };
            let review = ledger.review.clone().expect("it was submitted and not superseded");
            prop_assert_eq!(digest, &review.digest);
            prop_assert_eq!(Some(digest), ledger.planned.as_ref());
            let quorum = &review.quorum;
            let lasts = i64::from(quorum.delay_s) + i64::from(quorum.valid_s);
            let standing: Vec<_> = review
                .approvals
                .iter()
                .filter(|(by, _, given)| {
                    !ledger.own.contains(by) && moment.at < given.plus_seconds(lasts)
                })
                .collect();
            let people: BTreeSet<_> = standing.iter().map(|(by, _, _)| by).collect();
            let glass = review.glass.map(|(by, _)| by);
            if let Some((by, broken)) = review.glass {
                prop_assert!(quorum.break_glass && !ledger.own.contains(&by));
                prop_assert!(moment.at < broken.plus_seconds(i64::from(GLASS_VALID_S)));
            } else {
                prop_assert!(people.len() >= usize::try_from(quorum.approvals).unwrap());
                prop_assert!(!quorum.admin || standing.iter().any(|(_, admin, _)| *admin));
            }
            let S::Executing(execution) = &moment.after else {
                return Err(TestCaseError::fail("not executing"));
            };
            prop_assert_eq!(digest, &execution.plan.digest);
            let behind = &execution.approvers;
            prop_assert!(behind.iter().all(|by| people.contains(by) || Some(*by) == glass));
            prop_assert!(glass.is_none_or(|by| behind.contains(&by)));
        }
    }

    #[test]
    fn it_executes_when_it_may(wishes in wishes()) {
        let moments = lived(wishes);
        for (ledger, moment, event) in audited(&moments) {
            let E::ExecutionStarted { .. } = event else { continue };
            let review = ledger.review.expect("it was submitted and not superseded");
            let (not_before, until) = review.approved.expect("its quorum is complete");
            prop_assert!((not_before..until).contains(&moment.at));
            let delay_s = i64::from(review.quorum.delay_s);
            prop_assert!(
                review.glass.is_some()
                    || review.approvals.iter().all(|(_, _, given)| moment.at >= given.plus_seconds(delay_s))
            );
            if let Some(window) = ledger.window {
                prop_assert!((window.start..window.end).contains(&moment.at));
            }
            let (by, in_the_way) = match (&moment.command, &moment.before) {
                (C::StartExecution { in_the_way, .. }, _) => (&moment.by, in_the_way),
                (C::StartScheduled { asker, in_the_way, .. }, S::Approved(approval)) => {
                    let asked = approval.scheduled.map(|scheduled| scheduled.by);
                    prop_assert_eq!(asker.actor.person(), asked);
                    prop_assert_eq!(moment.by.actor.kind, ActorKind::System);
                    (asker, in_the_way)
                }
                (C::OnBehalf { asker, command, project: None }, S::Approved(approval)) => {
                    let subject = &approval.submission.subject;
                    prop_assert!(subject.schedule.is_some());
                    prop_assert_eq!(asker.actor.person(), Some(subject.author));
                    prop_assert_eq!(moment.by.actor.kind, ActorKind::System);
                    let C::StartExecution { in_the_way, .. } = &**command else {
                        return Err(TestCaseError::fail("started by another command"));
                    };
                    (asker, in_the_way)
                }
                _ => return Err(TestCaseError::fail("started by another command")),
            };
            prop_assert_eq!(in_the_way, &InTheWay::default());
            prop_assert_eq!(by.actor.kind, ActorKind::User);
            prop_assert!(by.has(Role::Operator));
        }
    }

    /// A change executes once, has one outcome, and its plan is one of what it says.
    #[test]
    fn one_thing_happens_once(wishes in wishes()) {
        let moments = lived(wishes);
        let (mut started, mut ended, mut settled, mut revealed) = (0, 0, 0, BTreeSet::new());
        for (ledger, moment, event) in audited(&moments) {
            match event {
                E::ExecutionStarted { .. } => started += 1,
                E::Completed { .. } | E::Failed { .. } | E::OutcomeUnknown { .. } => ended += 1,
                E::SecretRevealed { secret } => {
                    prop_assert!(revealed.insert(*secret));
                    prop_assert_eq!(moment.by.actor, Actor::user(ledger.author.unwrap()));
                }
                E::Settled { .. } => {
                    settled += 1;
                    let by = moment.by.actor.person().expect("a user is a person");
                    prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
                    prop_assert!(!ledger.own.contains(&by));
                    prop_assert_eq!(moment.before.name(), "of unknown outcome");
                }
                E::Planned { plan } => {
                    let subject = moment.before.subject().expect("it exists");
                    prop_assert_eq!(&plan.header.parameters, &subject.draft.parameters);
                    prop_assert!(plan.header.editors.iter().eq(&subject.editors));
                }
                E::Drafted { .. }
                | E::MadeBySchedule { .. }
                | E::JoinedProject { .. }
                | E::Edited { .. }
                | E::Submitted { .. }
                | E::ApprovalGiven { .. }
                | E::Approved { .. }
                | E::Rejected { .. }
                | E::Withdrawn {}
                | E::Cancelled { .. }
                | E::Expired {}
                | E::FreezeOverridden { .. }
                | E::WindowOverridden { .. }
                | E::GlassBroken { .. }
                | E::Scheduled { .. }
                | E::Unscheduled { .. }
                | E::Reviewed { .. }
                | E::UndoLimited { .. }
                | E::RollbackStarted { .. }
                | E::RolledBack { .. }
                | E::RollbackPartial { .. }
                | E::RollbackBlocked { .. } => {}
            }
        }
        prop_assert!(started <= 1 && ended <= started && settled <= ended);
    }

    #[test]
    fn machines_only_propose(wishes in wishes()) {
        for moment in lived(wishes) {
            if moment.by.actor.kind != ActorKind::Machine {
                continue;
            }
            for event in moment.answer.iter().flatten() {
                let proposed =
                    matches!(event, E::Drafted { .. } | E::MadeBySchedule { .. } | E::Edited { .. } | E::Planned { .. });
                prop_assert!(proposed, "{:?}", event);
            }
        }
    }

    #[test]
    fn twice_is_once(wishes in wishes()) {
        for moment in lived(wishes) {
            let Ok(events) = &moment.answer else { continue };
            let again = again(&moment);
            if events.is_empty() {
                prop_assert_eq!(again, Ok(Vec::new()));
                continue;
            }
            match moment.command {
                C::Edit { .. }
                | C::JoinProject { .. }
                | C::Approve { .. }
                | C::ApproveFor { .. }
                | C::OverrideFreeze { .. }
                | C::OverrideWindow { .. }
                | C::BreakGlass { .. }
                | C::Unschedule { .. }
                | C::Expire
                | C::RecordOutcome { .. }
                | C::StartRollback { .. }
                | C::RecordRollback { .. }
                | C::GoBack { .. } => prop_assert_eq!(again, Ok(Vec::new())),
                C::RecordPlan { .. } => prop_assert_eq!(&again, &Ok(events.clone())),
                C::OnBehalf { .. } | C::Submit { .. } | C::StartExecution { .. } | C::StartScheduled { .. } | C::StartBack { .. } => prop_assert!(again.is_err() || again == Ok(Vec::new())),
                C::Draft { .. }
                | C::GiveUp { .. }
                | C::DraftForSchedule { .. }
                | C::DraftForProject { .. }
                | C::Reject { .. }
                | C::Withdraw
                | C::Cancel { .. }
                | C::Settle { .. }
                | C::Review { .. }
                | C::RevealSecret { .. } => prop_assert!(again.is_err()),
            }
        }
    }
}
