//! What one person with every role can do alone, with every token they can make: a lot, but not
//! carry out what somebody else has to approve.

use nexplane_core::actor::ActorKind;
use nexplane_core::aggregate::Reject as _;
use nexplane_core::change::event::ChangeEvent as E;
use nexplane_core::change::{Change, ChangeCommand as C, ChangeState as S};

use super::wish::{Wished, lived, wishes};
use crate::*;

/// The same wishes, all of them of `people`, whoever had them: in person, or through a machine of
/// theirs. Only the runtime's own orders stay the runtime's.
fn of(people: u128, wishes: Vec<Wished>) -> Vec<Wished> {
    let whose = |actor: Actor| {
        PersonId(Uuid::from_u128(
            1 + actor.person().map_or(0, |person| person.0.as_u128() % people),
        ))
    };
    wishes
        .into_iter()
        .map(|wished| {
            let person = whose(wished.by.actor);
            let actor = match wished.by.actor.kind {
                ActorKind::Machine => Actor::machine(person),
                ActorKind::User | ActorKind::Agent | ActorKind::System => Actor::user(person),
            };
            let by = Principal { actor, roles: Role::ALL.to_vec() };
            Wished { by, presumes: false, ..wished }
        })
        .collect()
}

/// How many approvals the change that begins to execute needed.
fn needed(moment: &Moment<Change>) -> Option<u32> {
    let started = |event: &E| matches!(event, E::ExecutionStarted { .. });
    if !moment.answer.iter().flatten().any(started) {
        return None;
    }
    match &moment.before {
        S::Approved(approval) => Some(approval.submission.quorum.approvals),
        S::Absent
        | S::Draft(_)
        | S::Submitted(_)
        | S::Executing(_)
        | S::Finished(_)
        // Where nothing may begin, nothing is enough.
        | S::Closed(_) => Some(u32::MAX),
    }
}

/// Or the property below would hold for want of cases.
#[test]
fn somebody_alone_comes_as_far_as_the_review() {
    let (mut submitted, mut own, mut missing, mut free, mut glass) = (0, 0, 0, 0, 0);
    for moment in sample(wishes()).into_iter().flat_map(|life| lived(of(1, life))) {
        let waits = matches!(&moment.after, S::Submitted(it) if it.quorum.approvals > 0);
        submitted += usize::from(waits);
        if let Err(no) = &moment.answer {
            own += usize::from(waits && no.code() == "change.own_approval");
            let broke = matches!(moment.command, C::BreakGlass { .. });
            glass += usize::from(waits && broke && no.code() == "change.own_override");
            missing += usize::from(waits && no.code() == "change.quorum_missing");
        }
        free += usize::from(needed(&moment) == Some(0));
    }
    assert!(submitted > 1000 && own > 500 && missing > 50, "{submitted} {own} {missing}");
    assert!(glass > 50, "they would break glass for it: {glass}");
    assert!(free > 20, "what needs no approval, they carry out: {free}");
}

#[test]
fn two_people_come_to_an_execution() {
    let lives = sample(wishes()).into_iter().map(|life| lived(of(2, life)));
    let executed = lives.flatten().filter(|moment| needed(moment).is_some_and(|least| least > 0));
    assert!(executed.count() > 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nobody_carries_out_alone_what_needs_an_approval(wishes in wishes()) {
        for moment in lived(of(1, wishes)) {
            prop_assert!(needed(&moment).is_none_or(|least| least == 0), "{:?}", moment);
        }
    }
}
