//! Going back: newest first, one after the other, until nothing stands or one has stopped.

use super::*;
use crate::project::{Applied, Back, Stands};

const ASKING: Back = Back::ToPropose { asking: 1 };

fn ask() -> C {
    C::GoBack { reason: "The reports are wrong.".to_owned() }
}

fn going_back() -> Vec<E> {
    let asked = E::GoingBack { reason: "The reports are wrong.".to_owned() };
    three().into_iter().chain([E::ExecutionAsked {}, E::Completed {}, asked]).collect()
}

fn applied(executed: u64, back: Back) -> Stands {
    Stands::Applied(Applied { executed, back })
}

fn look(stands: [Stands; 3]) -> C {
    C::LookBack { stands: [A, B, D].into_iter().zip(stands).collect() }
}

fn rejected() -> Back {
    Back::Stopped { reason: "Its rollback is rejected.".to_owned() }
}

#[test]
fn the_newest_is_next_and_only_once_nothing_is_under_way() {
    let ProjectState::Standing(standing) = given(&going_back()) else { panic!("it stands") };
    let next = |stands: [Stands; 3]| {
        let C::LookBack { stands } = look(stands) else { unreachable!() };
        standing.next_back(&stands).map(|(change, _)| change)
    };
    assert_eq!(next([applied(10, ASKING), applied(30, ASKING), applied(20, ASKING)]), Some(B));
    assert_eq!(next([applied(10, ASKING), Stands::Undone, applied(20, ASKING)]), Some(D));
    assert_eq!(next([applied(10, ASKING), Stands::UnderWay, applied(20, ASKING)]), None);
    assert_eq!(next([applied(10, ASKING), Stands::Nothing, Stands::Undone]), Some(A));
    assert_eq!(standing.next_back(&BTreeMap::new()), None, "what is not known is not undone");
}

#[test]
fn it_goes_on_until_nothing_stands_or_one_has_stopped() {
    let went = |stands| when(&going_back(), Principal::SYSTEM, look(stands)).unwrap();
    assert_eq!(went([applied(10, ASKING), applied(30, Back::UnderWay), Stands::Undone]), []);
    assert_eq!(went([Stands::Undone, Stands::Nothing, Stands::Undone]), [E::WentBack {}]);
    assert_eq!(went([Stands::Undone, Stands::UnderWay, Stands::Undone]), []);
    let blocked = E::BackBlocked { change: B, reason: "Its rollback is rejected.".to_owned() };
    assert_eq!(went([applied(10, ASKING), applied(30, rejected()), Stands::Nothing]), [blocked]);
    // What is older does not stop what is newer.
    assert_eq!(went([applied(10, rejected()), applied(30, ASKING), Stands::Nothing]), []);
    // Nobody asked.
    let idle = [Stands::Undone, Stands::Undone, Stands::Undone];
    assert_eq!(when(&running(), Principal::SYSTEM, look(idle)), Ok(Vec::new()));
}

#[test]
fn it_is_asked_for_and_gone_on_with_after_a_stop() {
    for past in [three(), running(), going_back()[..5].to_vec()] {
        assert!(when(&past, ann(), ask()).is_ok_and(|events| events.len() == 1));
    }
    assert_eq!(when(&going_back(), ann(), ask()), Ok(Vec::new()));
    let bob = user(BOB, &[Role::Operator]);
    assert!(when(&going_back(), bob, ask()).is_ok_and(|events| events.len() == 1));
    let block = |asked_by| C::BlockBack { change: B, reason: "It is frozen.".to_owned(), asked_by };
    assert_eq!(when(&going_back(), Principal::SYSTEM, block(BOB)), Ok(Vec::new()));
    let blocked = when(&going_back(), Principal::SYSTEM, block(ANN)).unwrap();
    assert_eq!(blocked, [E::BackBlocked { change: B, reason: "It is frozen.".to_owned() }]);
    let past: Vec<_> = going_back().into_iter().chain(blocked).collect();
    assert_eq!(given(&past).name(), "blocked in its going back");
    assert!(when(&past, ann(), ask()).is_ok_and(|events| events.len() == 1));
    let mut past = going_back();
    past.push(E::WentBack {});
    for command in [ask(), C::Execute] {
        let refused = when(&past, ann(), command).map_err(|no| no.code());
        assert_eq!(refused, Err("project.not_in_state"));
    }
    assert_eq!(when(&[], ann(), ask()), Err(No::NotFound));
    assert_eq!(when(&[created()], ann(), ask()), Err(No::Empty));
}

#[test]
fn while_it_goes_back_nothing_is_executed_and_its_order_stays() {
    for command in [C::Execute, add(OTHER, &[]), C::RemoveMember { change: B }, depend(B, &[])] {
        let refused = when(&going_back(), ann(), command.clone()).map_err(|no| no.code());
        assert_eq!(refused, Err("project.not_in_state"), "{command:?}");
    }
    let ready = advance([Became::Complete, Became::Complete, Became::Complete]);
    assert_eq!(when(&going_back(), Principal::SYSTEM, ready), Ok(Vec::new()));
}
