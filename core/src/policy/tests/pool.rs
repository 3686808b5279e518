//! Whose approvals a rule asks for.

use uuid::Uuid;

use super::*;
use crate::id::{AssetId, PersonId};

const APP: AssetId = AssetId(Uuid::from_u128(1));
const DB: AssetId = AssetId(Uuid::from_u128(2));

fn person(no: u128) -> PersonId {
    PersonId(Uuid::from_u128(no))
}

fn address(no: u128) -> String {
    format!("p{no}@example.org")
}

fn pool(owners: bool, people: &[&str]) -> Pool {
    Pool { owners, people: people.iter().map(|name| (*name).to_owned()).collect(), at_least: 1 }
}

fn asks(approvals: u32, pool: Pool) -> Then {
    let ask = Ask {
        approvals,
        admin: false,
        from: Some(pool),
        delay_s: 0,
        valid_s: VALID_S,
        break_glass: false,
    };
    Then::Ask(ask)
}

fn no_rollback() -> When {
    When { rollback: Some(false), ..When::default() }
}

/// Seven people, all approvers but the seventh; of two targets.
fn known(owners: [Option<u128>; 2]) -> Known {
    let owned = |name: &str, owner: Option<u128>| Owned {
        name: name.to_owned(),
        owner: owner.map(|no| address(no).to_uppercase()),
    };
    Known {
        targets: [(APP, owned("app", owners[0])), (DB, owned("db", owners[1]))].into(),
        people: (1..8).map(|no| (address(no), person(no))).collect(),
        approvers: (1..7).map(person).collect(),
    }
}

fn taken(pool: &Pool, known: &Known, own: &[PersonId]) -> Result<Vec<Vec<PersonId>>, String> {
    let seats = seats(pool, known, &[APP, DB], |person| own.contains(&person))?;
    Ok(seats.into_iter().map(|seat| seat.people).collect())
}

#[test]
fn every_owner_has_a_seat() {
    let owners = pool(true, &[]);
    let of = |owners_are, own: &[PersonId]| taken(&owners, &known(owners_are), own);
    assert_eq!(of([Some(1), Some(2)], &[]), Ok(vec![vec![person(1)], vec![person(2)]]));
    assert_eq!(of([Some(1), Some(1)], &[]), Ok(vec![vec![person(1)]]));
    for (owners_are, own, why) in [
        ([Some(1), None], vec![], "'db' has no owner"),
        ([Some(1), Some(99)], vec![], "no e-mail address of a person here"),
        ([Some(1), Some(7)], vec![], "the owner of 'db' is no approver"),
        ([Some(1), Some(2)], vec![person(2)], "the owner of 'db' is no approver, or wrote"),
    ] {
        let no = of(owners_are, &own).unwrap_err();
        assert!(no.contains(why), "{no}");
    }
}

#[test]
fn people_stand_in_for_owners() {
    let both = pool(true, &["P3@example.org"]);
    let seats = taken(&both, &known([Some(1), Some(7)]), &[person(1)]);
    assert_eq!(seats, Ok(vec![vec![person(3)], vec![person(3), person(7)]]));
    // An owner has to be set all the same.
    assert!(taken(&both, &known([None, Some(1)]), &[]).is_err());
}

#[test]
fn people_have_one_seat_together() {
    let id = person(4).to_string();
    let two = Pool { at_least: 2, ..pool(false, &["p3@example.org", &id, "p7@example.org"]) };
    let mut known = known([None, None]);
    known.people.insert(id.clone(), person(4));
    let seats = super::super::seats(&two, &known, &[APP], |_| false).unwrap();
    let people = vec![person(3), person(4), person(7)];
    assert_eq!(seats, [Seat { approvals: 2, people, owner_of: None }]);
    let no = super::super::seats(&two, &known, &[APP], |who| who == person(3)).unwrap_err();
    assert!(
        no.contains("1 are approvers who neither wrote nor edited it, and 2 are needed"),
        "{no}"
    );
}

#[test]
fn what_no_pool_may_be() {
    let faults_of = |approvals, pool| {
        let document = document(vec![rule(no_rollback(), asks(approvals, pool))]);
        faults(&document).into_iter().map(|fault| fault.pointer).collect::<Vec<_>>()
    };
    let from = "/rules/0/then/ask/from";
    assert_eq!(faults_of(1, pool(true, &["a@example.org"])), [""; 0]);
    assert_eq!(faults_of(1, pool(false, &[])), [from]);
    assert_eq!(faults_of(0, pool(true, &[])), [from]);
    assert_eq!(
        faults_of(1, Pool { at_least: 2, ..pool(false, &["a@b"]) }),
        [format!("{from}/at_least")]
    );
    assert_eq!(faults_of(2, Pool { at_least: 2, ..pool(true, &[]) }), [format!("{from}/at_least")]);
    assert_eq!(faults_of(1, pool(false, &["a@b", "A@B"])), [format!("{from}/people/1")]);
    assert_eq!(faults_of(1, pool(false, &["the team"])), [format!("{from}/people/0")]);
    let many: Vec<String> = (0..21).map(|no| format!("p{no}@b")).collect();
    let many = Pool { people: many, ..pool(false, &[]) };
    assert_eq!(faults_of(1, many), [format!("{from}/people")]);
}

#[test]
fn a_rollback_waits_for_nobody_in_particular() {
    let always = document(vec![rule(environment(Environment::Prod), asks(1, pool(true, &[])))]);
    let pointers: Vec<_> = faults(&always).into_iter().map(|fault| fault.pointer).collect();
    assert_eq!(pointers, ["/rules/0/then/ask/from"]);
}

#[test]
fn it_is_part_of_the_sentence() {
    let says = |pool| rule(environment(Environment::Prod), asks(2, pool)).sentence();
    assert_eq!(
        says(pool(true, &[])),
        "a change in prod needs two approvers; an approval by the owner of each target is among them"
    );
    assert_eq!(
        says(pool(false, &["a@b", "c@d"])),
        "a change in prod needs two approvers; an approval by a@b or c@d is among them"
    );
    assert_eq!(
        says(Pool { at_least: 2, ..pool(false, &["a@b", "c@d"]) }),
        "a change in prod needs two approvers; 2 approvals by a@b or c@d are among them"
    );
    assert_eq!(
        says(pool(true, &["a@b"])),
        "a change in prod needs two approvers; an approval by the owner of each target, or by a@b \
         in an owner's place, is among them"
    );
}

#[test]
fn whom_it_no_longer_asks_is_less() {
    let weaker = |before: Option<Pool>, now: Option<Pool>| {
        let with = |from| {
            let ask = Ask {
                approvals: 2,
                admin: false,
                from,
                delay_s: 0,
                valid_s: VALID_S,
                break_glass: false,
            };
            document(vec![rule(no_rollback(), Then::Ask(ask))])
        };
        !analyse(&with(now), Some(&with(before))).weakened.is_empty()
    };
    let named = |people: &[&str]| Some(pool(false, people));
    assert!(weaker(named(&["a@b"]), None));
    assert!(!weaker(None, named(&["a@b"])));
    assert!(weaker(named(&["a@b"]), named(&["a@b", "c@d"])));
    assert!(!weaker(named(&["a@b", "c@d"]), named(&["A@b"])));
    assert!(weaker(Some(pool(true, &[])), named(&["a@b"])));
    assert!(weaker(
        Some(Pool { at_least: 2, ..pool(false, &["a@b", "c@d"]) }),
        named(&["a@b", "c@d"])
    ));
    assert!(!weaker(named(&["a@b"]), named(&["a@b"])));
}
