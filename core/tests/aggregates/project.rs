//! Whatever is asked of a project, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::actor::ActorKind;
use nexplane_core::id::{ChangeId, ProjectId};
use nexplane_core::project::event::ProjectEvent as E;
use nexplane_core::project::{
    Applied, Back, Became, Phase, Project, ProjectCommand as C, ProjectState as S, Standing, Stands,
};

use crate::*;

const THIS: ProjectId = ProjectId(Uuid::from_u128(1));

/// Few enough that circles are asked for all the time.
fn member() -> impl Strategy<Value = ChangeId> {
    (1..6_u128).prop_map(|no| ChangeId(Uuid::from_u128(no)))
}

fn members() -> impl Strategy<Value = Vec<ChangeId>> {
    prop::collection::vec(member(), 0..4)
}

fn became() -> impl Strategy<Value = Became> {
    prop_oneof![
        2 => Just(Became::UnderWay),
        2 => Just(Became::Approved),
        6 => Just(Became::Complete),
        1 => Just(Became::Stopped { reason: "It failed.".to_owned() }),
    ]
}

fn stands() -> impl Strategy<Value = Stands> {
    let back = prop_oneof![
        2 => (1..3_u32).prop_map(|asking| Back::ToPropose { asking }),
        1 => Just(Back::UnderWay),
        1 => member().prop_map(|rollback| Back::Approved { rollback }),
        1 => Just(Back::Stopped { reason: "It was rejected.".to_owned() }),
    ];
    let applied =
        (0..9_u64, back).prop_map(|(executed, back)| Stands::Applied(Applied { executed, back }));
    prop_oneof![
        8 => Just(Stands::Nothing),
        8 => Just(Stands::Undone),
        1 => Just(Stands::UnderWay),
        2 => applied,
    ]
}

fn command() -> impl Strategy<Value = C> {
    prop_oneof![
        2 => (text(), text()).prop_map(|(name, description)| C::Create { name, description }),
        1 => (text(), text()).prop_map(|(name, description)| C::Rename { name, description }),
        10 => (member(), members()).prop_map(|(change, after)| {
            C::AddMember { change, after, joined: Some(THIS), this: THIS }
        }),
        3 => member().prop_map(|change| C::RemoveMember { change }),
        12 => (member(), members()).prop_map(|(change, after)| C::Depend { change, after }),
        2 => Just(C::Execute),
        1 => prop::bool::weighted(0.2).prop_map(|close| {
            let reason = if close { "Done.".to_owned() } else { String::new() };
            C::Close { reason }
        }),
        4 => prop::collection::btree_map(member(), became(), 0..6)
            .prop_map(|became| C::Advance { became }),
        1 => (member(), text()).prop_map(|(change, reason)| {
            C::Block { change, reason, asked_by: OWNER }
        }),
        1 => Just(C::GoBack { reason: "They are wrong.".to_owned() }),
        4 => prop::collection::btree_map(member(), stands(), 0..6)
            .prop_map(|stands| C::LookBack { stands }),
        1 => (member(), text()).prop_map(|(change, reason)| {
            C::BlockBack { change, reason, asked_by: OWNER }
        }),
    ]
}

/// Lives long enough for an order among several members, mostly of those who may.
fn lives() -> impl Strategy<Value = Vec<(Principal, C)>> {
    let operator = || Principal { actor: Actor::user(OWNER), roles: vec![Role::Operator] };
    let create = C::Create { name: "Move".to_owned(), description: String::new() };
    let begun = Just((operator(), create));
    let by = |command: &C| match command {
        C::Advance { .. } | C::Block { .. } | C::LookBack { .. } | C::BlockBack { .. } => {
            Principal::SYSTEM
        }
        C::Create { .. }
        | C::Rename { .. }
        | C::AddMember { .. }
        | C::RemoveMember { .. }
        | C::Depend { .. }
        | C::Execute
        | C::GoBack { .. }
        | C::Close { .. } => Principal { actor: Actor::user(OWNER), roles: vec![Role::Operator] },
    };
    let likely = command().prop_map(move |command| (by(&command), command));
    let asked = prop_oneof![9 => likely, 1 => (principal(), command())];
    (begun, prop::collection::vec(asked, 0..60))
        .prop_map(|(begun, rest)| std::iter::once(begun).chain(rest).collect())
}

fn event() -> impl Strategy<Value = E> {
    let name = || "Move".to_owned();
    prop_oneof![
        2 => Just(E::Created { name: name(), description: String::new() }),
        1 => Just(E::Renamed { name: name(), description: String::new() }),
        4 => (member(), members()).prop_map(|(change, after)| E::MemberAdded { change, after }),
        1 => member().prop_map(|change| E::MemberRemoved { change }),
        2 => (member(), members())
            .prop_map(|(change, after)| E::DependenciesChanged { change, after }),
        1 => Just(E::ExecutionAsked {}),
        1 => member().prop_map(move |change| E::Blocked { change, reason: name() }),
        1 => Just(E::Completed {}),
        1 => Just(E::GoingBack { reason: name() }),
        1 => member().prop_map(move |change| E::BackBlocked { change, reason: name() }),
        1 => Just(E::WentBack {}),
        1 => Just(E::Closed { reason: name() }),
    ]
}

const fn standing(state: &S) -> Option<&Standing> {
    match state {
        S::Standing(standing) | S::Closed(standing) => Some(standing),
        S::Absent => None,
    }
}

/// Members in an order in which each comes after all that it has to; fewer than all when there is a circle.
fn ordered(members: &BTreeMap<ChangeId, BTreeSet<ChangeId>>) -> Vec<ChangeId> {
    let mut done: Vec<ChangeId> = Vec::new();
    while let Some((next, _)) = members.iter().find(|(change, after)| {
        !done.contains(change) && after.iter().all(|before| done.contains(before))
    }) {
        done.push(*next);
    }
    done
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> = sample(lives()).into_iter().flat_map(life::<Project>).collect();
    let names: BTreeSet<_> = moments.iter().map(|moment| moment.after.name()).collect();
    let expected = [
        "blocked",
        "blocked in its going back",
        "closed",
        "complete",
        "going back",
        "open",
        "running",
        "undone",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    let deepest = moments
        .iter()
        .filter_map(|moment| standing(&moment.after))
        .map(|standing| standing.members.values().filter(|after| after.len() > 1).count());
    assert!(deepest.max() >= Some(2));
    let codes: BTreeSet<_> = moments
        .iter()
        .filter_map(|moment| moment.answer.as_ref().err())
        .map(nexplane_core::aggregate::Reject::code)
        .collect();
    for code in ["project.cycle", "project.member_needed", "project.no_member"] {
        assert!(codes.contains(code), "{code}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Project>(S::default(), &events);
    }

    #[test]
    fn no_order_of_commands_makes_a_circle(commands in lives()) {
        for moment in life::<Project>(commands) {
            let Some(standing) = standing(&moment.after) else { continue };
            prop_assert_eq!(ordered(&standing.members).len(), standing.members.len());
            for after in standing.members.values() {
                prop_assert!(after.iter().all(|before| standing.members.contains_key(before)));
            }
        }
    }

    /// What is refused as a circle is one.
    #[test]
    fn every_circle_that_is_named_is_one(commands in lives()) {
        use nexplane_core::project::ProjectRejection as No;
        for moment in life::<Project>(commands) {
            let Err(No::Cycle { cycle }) = &moment.answer else { continue };
            let (change, after) = match &moment.command {
                C::AddMember { change, after, .. } | C::Depend { change, after } => (change, after),
                C::Create { .. }
                | C::Rename { .. }
                | C::RemoveMember { .. }
                | C::Execute
                | C::Close { .. }
                | C::Advance { .. }
                | C::GoBack { .. }
                | C::LookBack { .. }
                | C::BlockBack { .. }
                | C::Block { .. } => {
                    return Err(TestCaseError::fail(format!("{:?}", moment.command)));
                }
            };
            let standing = standing(&moment.before).expect("it has members");
            prop_assert_eq!(cycle.first(), Some(change));
            for (place, member) in cycle.iter().enumerate() {
                let next = cycle.get(place + 1).unwrap_or(change);
                let follows = if member == change {
                    after.contains(next)
                } else {
                    standing.members[member].contains(next)
                };
                prop_assert!(follows, "{} does not come after {}", member, next);
            }
        }
    }

    /// Members were executed in an order that their project allows; they are undone in no other.
    #[test]
    fn nothing_is_undone_before_what_comes_after_it(commands in lives()) {
        for moment in life::<Project>(commands) {
            let S::Standing(standing) = &moment.after else { continue };
            let back = || Back::ToPropose { asking: 1 };
            let mut stands: BTreeMap<_, _> = ordered(&standing.members)
                .into_iter()
                .zip(10..)
                .map(|(change, executed)| (change, Stands::Applied(Applied { executed, back: back() })))
                .collect();
            let mut undone = BTreeSet::new();
            while let Some((next, _)) = standing.next_back(&stands) {
                for (change, after) in &standing.members {
                    prop_assert!(!after.contains(&next) || undone.contains(change));
                }
                undone.insert(next);
                stands.insert(next, Stands::Undone);
            }
            prop_assert_eq!(undone.len(), standing.members.len());
        }
    }

    #[test]
    fn it_has_gone_back_only_when_nothing_stands(commands in lives()) {
        for moment in life::<Project>(commands) {
            let events = moment.answer.iter().flatten();
            for event in events.filter(|event| matches!(event, E::WentBack {})) {
                let C::LookBack { stands } = &moment.command else {
                    return Err(TestCaseError::fail(format!("{event:?}")));
                };
                let S::Standing(standing) = &moment.before else {
                    return Err(TestCaseError::fail("it was not there"));
                };
                let going = matches!(standing.phase, Phase::GoingBack { .. });
                prop_assert!(going);
                for member in standing.members.keys() {
                    let stands = stands.get(member);
                    prop_assert!(matches!(stands, Some(Stands::Nothing | Stands::Undone)));
                }
            }
        }
    }

    #[test]
    fn it_is_complete_only_when_all_members_are(commands in lives()) {
        for moment in life::<Project>(commands) {
            let events = moment.answer.iter().flatten();
            for event in events.filter(|event| matches!(event, E::Completed {})) {
                let C::Advance { became } = &moment.command else {
                    return Err(TestCaseError::fail(format!("{event:?}")));
                };
                prop_assert_eq!(moment.by.actor.kind, ActorKind::System);
                let S::Standing(standing) = &moment.before else {
                    return Err(TestCaseError::fail("it was not there"));
                };
                let running = matches!(standing.phase, Phase::Running { .. });
                prop_assert!(running);
                for member in standing.members.keys() {
                    prop_assert_eq!(became.get(member), Some(&Became::Complete));
                }
            }
        }
    }

    #[test]
    fn what_is_ready_has_everything_before_it(
        commands in lives(),
        became in prop::collection::btree_map(member(), became(), 0..6),
    ) {
        for moment in life::<Project>(commands) {
            let Some(standing) = standing(&moment.after) else { continue };
            for ready in standing.ready(&became) {
                prop_assert_eq!(became.get(&ready), Some(&Became::Approved));
                for before in &standing.members[&ready] {
                    prop_assert_eq!(became.get(before), Some(&Became::Complete));
                }
            }
        }
    }

    #[test]
    fn closed_stays_closed(commands in lives()) {
        for moment in life::<Project>(commands) {
            if matches!(moment.before, S::Closed(_)) {
                prop_assert_eq!(moment.before, moment.after);
            }
        }
    }
}
