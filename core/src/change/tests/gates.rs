//! What only time closes, for every life that leads to an execution. Whichever way somebody comes
//! to it (`server: gates`), this is what is asked; to the change they are all a person.

use super::*;
use crate::change::may_execute;
use crate::freeze::Frozen;

/// A life that a gate of time can be on.
struct Life {
    name: &'static str,
    of: fn(&Draft, RiskLevel) -> Past,
    /// Whether it has a window, and waits when it is critical.
    forward: bool,
}

const FREEZE: FreezeId = FreezeId(Uuid::from_u128(30));

const LIVES: [Life; 3] = [
    Life { name: "a change", of: |draft, level| life(draft, level, None, false), forward: true },
    Life {
        name: "a rollback",
        of: |draft, level| life(draft, level, Some(ROLLBACK), false),
        forward: false,
    },
    Life {
        name: "a change that was let pass a freeze",
        of: |draft, level| life(draft, level, None, true),
        forward: true,
    },
];

/// Approved by as many as it takes.
fn life(draft: &Draft, level: RiskLevel, rollback_of: Option<ChangeId>, passes: bool) -> Past {
    let plan = plan_of(draft, &[], "can log in");
    let plan = Plan::new(
        PlanHeader { rollback_of, ..plan.header },
        plan.steps,
        plan.checks,
        plan.computed_at,
    );
    let quorum = policy::quorum(level, Environment::Prod, rollback_of.is_some());
    let (needed, delay) = (quorum.approvals, i64::from(quorum.delay_s));
    let mut past = Past::default()
        .then(&ann(), 0, E::Drafted { draft: draft.clone(), rollback_of })
        .then(&ann(), PLANNED, planned_event(&plan))
        .then(&ann(), 20, submitted_event(&plan, quorum, level));
    if passes {
        let overridden = E::FreezeOverridden { freeze: FREEZE, justification: reason() };
        past = past.then(&dan(), 21, overridden);
    }
    if needed == 2 {
        past = past.then(&bob(), APPROVED, approval_event(&plan, false));
    }
    past.then(&cat(), APPROVED, approval_event(&plan, true)).then(
        &cat(),
        APPROVED,
        approved_event(&plan, APPROVED + delay, APPROVED + delay + VALID),
    )
}

#[test]
fn every_gate_of_time_is_on_every_way() {
    let (medium, critical) = (RiskLevel::Medium, RiskLevel::Critical);
    let window = draft_in(1000, 2000);
    // When it is asked, what of, and what the answer is; whether a rollback has the gate.
    let table = [
        (&draft(), medium, APPROVED, "accepted", true),
        (&draft(), medium, APPROVED + VALID - 1, "accepted", true),
        (&draft(), medium, APPROVED + VALID, "change.approval_expired", true),
        (&draft(), medium, 10 * VALID, "change.approval_expired", true),
        (&draft(), critical, APPROVED, "change.too_early", false),
        (&draft(), critical, APPROVED + 899, "change.too_early", false),
        (&draft(), critical, APPROVED + 900, "accepted", true),
        (&draft(), critical, APPROVED + 900 + VALID, "change.approval_expired", true),
        (&window, medium, 1000, "accepted", false),
        (&window, medium, 2000, "change.window_over", false),
    ];
    for Life { name, of, forward } in LIVES {
        for (draft, level, at, expected, always) in table {
            if !always && !forward {
                continue;
            }
            let past = of(draft, level);
            let execute = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
            let answer = when_at(&past, at, eve(), execute);
            assert_eq!(code(&answer), expected, "{name}, {level:?}, {at}");
            // The same is asked before the target is read.
            let state = given(&past);
            let asked = may_execute(&state, &eve(), second(at));
            assert_eq!(asked.map_or_else(|no| no.code(), |_| "accepted"), expected, "{name}, {at}");
        }
    }
}

/// The timer closes it, and then it is no longer a question of time.
#[test]
fn what_has_expired_does_not_execute() {
    for Life { name, of, .. } in LIVES {
        let over = APPROVED + VALID;
        let past = of(&draft(), RiskLevel::Medium).then(&Principal::SYSTEM, over, E::Expired {});
        let execute = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
        assert_eq!(code(&when_at(&past, over, eve(), execute)), "change.not_in_state", "{name}");
    }
}

/// An approval that ran out before the second came does not count towards the quorum.
#[test]
fn approvals_that_run_out_complete_no_quorum() {
    let past = submitted_as(RiskLevel::High).then(&bob(), 30, approval_event(&plan(), false));
    let late = 30 + VALID;
    let second_one = when_at(&past, late, cat(), approve(&plan())).expect("it is one approval");
    assert_eq!(second_one, vec![approval_event(&plan(), true)]);
    let past = second_one.into_iter().fold(past, |past, event| past.then(&cat(), late, event));
    let execute = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
    assert_eq!(
        when_at(&past, late, eve(), execute),
        Err(No::QuorumMissing { given: 1, needed: 2, admin: "" })
    );
    let in_time = when_at(
        &submitted_as(RiskLevel::High).then(&bob(), 30, approval_event(&plan(), false)),
        late - 1,
        cat(),
        approve(&plan()),
    );
    assert_eq!(in_time.map(|events| events.len()), Ok(2));
}

/// A freeze that was let pass is one freeze.
#[test]
fn a_freeze_is_in_the_way_of_every_life() {
    for Life { name, of, .. } in LIVES {
        let frozen = Frozen {
            freeze: FreezeId(Uuid::from_u128(31)),
            reason: "Closing.".to_owned(),
            end: second(HOUR),
        };
        let execute = C::StartExecution {
            run: RUN,
            in_the_way: InTheWay { frozen: vec![frozen], closed: None, ..InTheWay::default() },
        };
        let past = of(&draft(), RiskLevel::Medium);
        assert_eq!(code(&when(&past, eve(), execute)), "change.frozen", "{name}");
    }
}
