mod ledger;
pub mod wish;

use std::collections::BTreeSet;

use nexplane_core::aggregate::Reject;
use nexplane_core::run::event::{Finding, RunEvent as E, RunOutcome};
use nexplane_core::run::{Run, RunCommand as C, RunState as S, StepPhase};

use self::ledger::{Known, Ledger, audited};
use self::wish::{Luck, Wish, event, express, life_of, lived, next, order, wished};
use crate::*;

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> = sample(life_of()).into_iter().flat_map(lived).collect();
    let mut names = BTreeSet::new();
    let mut outcomes = BTreeSet::new();
    let mut codes = BTreeSet::new();
    let mut attempts = 0;
    for moment in &moments {
        codes.extend(moment.answer.as_ref().err().map(Reject::code));
        match &moment.before {
            S::Absent => {}
            S::Running(run) => names.extend(run.steps.iter().map(StepPhase::name)),
            S::Finished(finished) => {
                outcomes.insert((finished.outcome.as_str(), finished.run.undoes.is_some()));
            }
        }
        for event in moment.answer.iter().flatten() {
            if let E::StepIntended { attempt, .. } = event {
                attempts = attempts.max(*attempt);
            }
        }
    }
    assert_eq!(names.len(), 9, "{names:?}");
    let forward = ["complete", "failed", "outcome_unknown"].map(|name| (name, false));
    let back = ["complete", "failed", "outcome_unknown", "rollback_partial", "rollback_blocked"];
    let expected = forward.into_iter().chain(back.map(|name| (name, true)));
    assert_eq!(outcomes, expected.collect());
    for code in [
        "access.denied",
        "run.fenced",
        "run.finished",
        "run.no_such_step",
        "run.not_over",
        "run.out_of_order",
        "run.step_not_in_state",
    ] {
        assert!(codes.contains(code), "{code}");
    }
    assert!(attempts >= 3);
}

proptest! {
    // Lives in which an unprotected step is known to have had no effect are few.
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_effect_is_intended_only_when_it_cannot_happen_twice(life in life_of()) {
        let moments = lived(life);
        let mut seen = BTreeSet::new();
        for (ledger, event) in audited(&moments) {
            let E::StepIntended { step, attempt, .. } = event else { continue };
            prop_assert!(seen.insert((*step, *attempt)));
            prop_assert_eq!(*attempt, ledger.attempts(*step) + 1);
            prop_assert!((0..*step).all(|earlier| ledger.of(earlier) == Known::Verified));
            match ledger.of(*step) {
                Known::Nothing => prop_assert_eq!(*attempt, 1),
                Known::Found(Finding::NotApplied) => {
                    prop_assert!(!ledger.is_unprotected(*step));
                }
                Known::Intended { .. }
                | Known::Succeeded
                | Known::Failed
                | Known::Unknown
                | Known::Found(Finding::Applied | Finding::Conflict)
                | Known::Verified
                | Known::Unverified
                | Known::Blocked => prop_assert!(false, "{:?}", ledger.of(*step)),
            }
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..40)) {
        if let S::Running(run) = fold::<Run>(S::Absent, &events) {
            run.outcome();
            run.next();
        }
    }

    #[test]
    fn finished_is_for_good(
        life in life_of(),
        after in prop::collection::vec(event(), 0..25),
        wished in wished(),
    ) {
        for moment in lived(life) {
            let S::Finished(finished) = &moment.after else { continue };
            let S::Finished(later) = fold::<Run>(moment.after.clone(), &after) else {
                return Err(TestCaseError::fail("no longer finished"));
            };
            prop_assert_eq!(&later.outcome, &finished.outcome);
            prop_assert_eq!(&later.reason, &finished.reason);
            let command = express(&moment.after, &wished, &[], false);
            let finish = matches!(command, C::Finish { .. });
            let answer = ask::<Run>(&moment.after, &Principal::SYSTEM, moment.at, &command);
            prop_assert!(answer.is_err() || (finish && answer == Ok(Vec::new())));
        }
    }

    #[test]
    fn only_the_newest_epoch_orders(life in life_of()) {
        let moments = lived(life);
        for (ledger, event) in audited(&moments) {
            match event {
                E::Claimed { epoch, .. } => prop_assert_eq!(*epoch, ledger.epoch + 1),
                E::StepIntended { epoch, .. }
                | E::StepSucceeded { epoch, .. }
                | E::StepFailed { epoch, .. }
                | E::StepUnknown { epoch, .. } => {
                    prop_assert_eq!(*epoch, ledger.epoch);
                    prop_assert!(*epoch > 0, "nobody claimed it");
                }
                E::Started { .. }
                | E::StepReconciled { .. }
                | E::StepVerified { .. }
                | E::StepUnverified { .. }
                | E::StepBlocked { .. }
                | E::CancelAsked { .. }
                | E::LateReported { .. }
                | E::Finished { .. } => {}
            }
        }
        for moment in moments {
            let asked = match moment.command {
                C::Start { .. } | C::AskCancel { .. } | C::ReportLate { .. } => continue,
                C::Claim { after, .. } => after,
                C::Intend { epoch, .. }
                | C::Succeed { epoch, .. }
                | C::Fail { epoch, .. }
                | C::LoseSight { epoch, .. }
                | C::Reconcile { epoch, .. }
                | C::Verify { epoch, .. }
                | C::Unverify { epoch, .. }
                | C::Block { epoch, .. }
                | C::Finish { epoch } => epoch,
            };
            if let S::Running(run) = &moment.before {
                prop_assert!(asked == run.epoch || moment.answer.is_err());
            }
        }
    }

    #[test]
    fn an_intent_has_one_outcome(life in life_of()) {
        let moments = lived(life);
        for (ledger, event) in audited(&moments) {
            match event {
                E::StepSucceeded { step, epoch, .. } | E::StepFailed { step, epoch, .. } => {
                    prop_assert_eq!(ledger.of(*step), Known::Intended { epoch: *epoch });
                }
                E::StepUnknown { step, .. } => {
                    let intended = matches!(ledger.of(*step), Known::Intended { .. });
                    prop_assert!(intended);
                }
                E::StepReconciled { step, .. } => {
                    prop_assert_eq!(ledger.of(*step), Known::Unknown);
                }
                E::StepVerified { step, .. } | E::StepUnverified { step, .. } => {
                    let known = ledger.of(*step);
                    let effect = [Known::Succeeded, Known::Found(Finding::Applied)];
                    prop_assert!(effect.contains(&known), "{:?}", known);
                }
                E::StepBlocked { step, .. } => {
                    let known = ledger.of(*step);
                    let nothing = [Known::Nothing, Known::Found(Finding::NotApplied)];
                    prop_assert!(nothing.contains(&known), "{:?}", known);
                }
                E::Started { .. }
                | E::Claimed { .. }
                | E::StepIntended { .. }
                | E::CancelAsked { .. }
                | E::LateReported { .. } => {}
                E::Finished { .. } => prop_assert!(!ledger.over),
            }
        }
    }

    #[test]
    fn the_outcome_is_derived(life in life_of()) {
        let moments = lived(life);
        let mut ledger = Ledger::default();
        for moment in &moments {
            for event in moment.answer.iter().flatten() {
                if let E::Finished { outcome, reason, .. } = event {
                    prop_assert_eq!(Some(*outcome), ledger.outcome());
                    prop_assert_eq!(reason.is_none(), *outcome == RunOutcome::Complete);
                }
                ledger.read(event);
            }
            if let S::Running(run) = &moment.after {
                prop_assert_eq!(run.outcome().map(|(outcome, _)| outcome), ledger.outcome());
            }
        }
    }

    /// However a worker left it, the next one can bring it to an end.
    #[test]
    fn every_run_can_end(life in life_of()) {
        let Some(last) = lived(life).pop() else { return Ok(()) };
        let S::Running(run) = last.after else { return Ok(()) };
        let epoch = run.epoch + 1;
        let mut state = S::Running(run);
        let ask_for = |state: &mut S, wish: Wish, step: u32, epoch: u32| {
            let command = order(wish, step, epoch, Luck::Good);
            let answer = ask::<Run>(state, &Principal::SYSTEM, last.at, &command);
            for event in answer.iter().flatten() {
                *state = fold::<Run>(state.clone(), std::slice::from_ref(event));
            }
            answer.is_ok()
        };
        prop_assert!(ask_for(&mut state, Wish::Claim, 0, epoch - 1));
        for _ in 0..20 {
            let S::Running(run) = &state else { return Ok(()) };
            let (step, wish) = run.next().map_or((0, Wish::Finish), |step| {
                // No answer is known to what an earlier epoch intended.
                let left = run.step(step).is_some_and(|(_, phase)| {
                    matches!(phase, StepPhase::Intended(intent) if intent.epoch != epoch)
                });
                (step, if left { Wish::LoseSight } else { next(run, step, Luck::Good) })
            });
            prop_assert!(ask_for(&mut state, wish, step, epoch), "{:?} {:?}", wish, state);
        }
        prop_assert!(false, "it goes on and on: {:?}", state);
    }

    #[test]
    fn twice_is_once(life in life_of()) {
        for moment in lived(life) {
            if moment.answer.is_err() {
                continue;
            }
            match moment.command {
                C::Finish { .. } | C::AskCancel { .. } => {
                    prop_assert_eq!(again(&moment), Ok(Vec::new()));
                }
                C::Start { .. }
                | C::Claim { .. }
                | C::Intend { .. }
                | C::Succeed { .. }
                | C::Fail { .. }
                | C::LoseSight { .. }
                | C::Reconcile { .. }
                | C::Verify { .. }
                | C::Unverify { .. }
                | C::ReportLate { .. }
                | C::Block { .. } => prop_assert!(again(&moment).is_err()),
            }
        }
    }
}
