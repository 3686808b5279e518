//! Given events, when a command, then events or the exact rejection.

use serde_json::json;
use uuid::Uuid;

use super::event::{ScheduleEvent as E, Skip, Template, Timing};
use super::{
    GRACE_S, MAX_COUNTED, Schedule, ScheduleCommand as C, ScheduleRejection as No, ScheduleState,
};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId};
use crate::time::Timestamp;

const ANN: PersonId = PersonId(Uuid::from_u128(1));
const DAN: PersonId = PersonId(Uuid::from_u128(4));
const CHANGE: ChangeId = ChangeId(Uuid::from_u128(20));
const OTHER: ChangeId = ChangeId(Uuid::from_u128(21));

/// Midnight in UTC, and minutes after it.
fn at(minute: i64) -> Timestamp {
    second(minute * 60)
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(1_799_971_200_000_000).plus_seconds(second)
}

fn user(id: PersonId, roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(id), roles: roles.to_vec() }
}

fn ann() -> Principal {
    user(ANN, &[Role::Operator])
}

fn dan() -> Principal {
    user(DAN, &[Role::Operator])
}

fn template() -> Template {
    Template {
        title: "Rotate the password of the reporting role".to_owned(),
        reason: "It is rotated every week.".to_owned(),
        ticket: None,
        change_type: "postgres.rotate_user_password".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!({}),
    }
}

fn timing(cron: &str) -> Timing {
    Timing { cron: cron.to_owned(), zone: "Etc/UTC".to_owned() }
}

/// Every hour, at ten past.
fn hourly() -> Timing {
    timing("10 * * * *")
}

fn created() -> (Principal, i64, E) {
    (ann(), 0, E::Created { template: template(), timing: hourly() })
}

fn given(past: &[(Principal, i64, E)]) -> ScheduleState {
    past.iter().fold(ScheduleState::default(), |state, (by, minute, event)| {
        Schedule::evolve(state, event, by.actor, at(*minute))
    })
}

fn when(
    past: &[(Principal, i64, E)],
    by: Principal,
    moment: Timestamp,
    command: C,
) -> Result<Vec<E>, No> {
    Schedule::decide(&given(past), Asked { by, at: moment, command })
}

fn tick_of(owner: Principal, open: Option<ChangeId>) -> C {
    C::Tick { owner, change: CHANGE, open }
}

fn ticked(past: &[(Principal, i64, E)], minute: i64) -> Vec<E> {
    when(past, Principal::SYSTEM, at(minute), tick_of(ann(), None)).expect("the timer asks")
}

fn fired(minute: i64) -> E {
    E::Fired { tick: at(minute), change: CHANGE }
}

fn skipped(minute: i64, ticks: u32, why: Skip) -> E {
    E::Skipped { tick: at(minute), ticks, why }
}

#[test]
fn a_tick_is_fired_once_when_it_has_come() {
    assert_eq!(ticked(&[created()], 9), []);
    assert_eq!(ticked(&[created()], 10), [fired(10)]);
    let past = [created(), (Principal::SYSTEM, 10, fired(10))];
    assert_eq!(ticked(&past, 10), []);
    assert_eq!(ticked(&past, 69), []);
    assert_eq!(ticked(&past, 70), [fired(70)]);
}

#[test]
fn what_nobody_was_there_for_is_skipped_and_counted_once() {
    let late = at(10).plus_seconds(GRACE_S + 1);
    let decided = when(&[created()], Principal::SYSTEM, late, tick_of(ann(), None)).unwrap();
    assert_eq!(decided, [skipped(10, 1, Skip::Missed)]);
    let in_time = at(10).plus_seconds(GRACE_S);
    let decided = when(&[created()], Principal::SYSTEM, in_time, tick_of(ann(), None)).unwrap();
    assert_eq!(decided, [fired(10)]);
    // Down from one until shortly after the fourth tick, and until long after it.
    assert_eq!(ticked(&[created()], 191), [skipped(130, 3, Skip::Missed), fired(190)]);
    assert_eq!(ticked(&[created()], 230), [skipped(190, 4, Skip::Missed)]);
}

#[test]
fn there_is_a_limit_to_what_one_event_counts() {
    let past = [(ann(), 0, E::Created { template: template(), timing: timing("* * * * *") })];
    let limit = u32::try_from(MAX_COUNTED).unwrap();
    let expected = skipped(i64::from(limit), limit, Skip::Missed);
    assert_eq!(ticked(&past, 30_000), [expected]);
}

#[test]
fn nothing_is_made_while_the_change_before_is_open() {
    let past = [created(), (Principal::SYSTEM, 10, fired(10))];
    let open = tick_of(ann(), Some(OTHER));
    let decided = when(&past, Principal::SYSTEM, at(70), open).unwrap();
    assert_eq!(decided, [skipped(70, 1, Skip::Open { change: OTHER })]);
}

#[test]
fn nothing_is_made_for_an_owner_who_may_not_propose() {
    let is_skipped = |owner: Principal| {
        let decided = when(&[created()], Principal::SYSTEM, at(10), tick_of(owner, None)).unwrap();
        matches!(&decided[..], [E::Skipped { ticks: 1, why: Skip::Owner { .. }, .. }])
    };
    assert!(is_skipped(user(ANN, &[])));
    assert!(is_skipped(user(ANN, &[Role::Approver, Role::Admin, Role::Viewer])));
    assert!(is_skipped(dan()), "somebody else");
    assert!(is_skipped(Principal { actor: Actor::machine(ANN), roles: vec![Role::Operator] }));
    assert!(!is_skipped(ann()));
}

#[test]
fn a_paused_schedule_does_not_count_the_ticks_that_pass() {
    let paused = (ann(), 5, E::Paused { reason: "Holidays".to_owned() });
    let past = [created(), paused.clone()];
    assert_eq!(ticked(&past, 10), []);
    let again = C::Pause { reason: "Twice".to_owned() };
    assert_eq!(when(&past, ann(), at(6), again), Ok(Vec::new()));
    assert_eq!(when(&past, ann(), at(200), C::Resume), Ok(vec![E::Resumed {}]));
    let past = [created(), paused, (ann(), 200, E::Resumed {})];
    assert_eq!(ticked(&past, 249), []);
    assert_eq!(ticked(&past, 250), [fired(250)]);
    assert_eq!(when(&past, ann(), at(201), C::Resume), Ok(Vec::new()));
}

#[test]
fn another_timing_counts_from_when_it_was_set() {
    let edited = E::Edited { template: template(), timing: timing("* * * * *") };
    let past = [created(), (dan(), 30, edited)];
    assert_eq!(ticked(&past, 31), [fired(31)]);
    // The template alone does not move the ticks that are due.
    let other = Template { ticket: Some("OPS-1".to_owned()), ..template() };
    let past = [created(), (dan(), 10, E::Edited { template: other, timing: hourly() })];
    assert_eq!(ticked(&past, 11), [fired(10)]);
}

#[test]
fn whoever_edits_is_an_editor_and_the_owner_stays_the_owner() {
    let edited = |by: Principal| {
        let other = Template { title: "Rotate".to_owned(), ..template() };
        (by, 5, E::Edited { template: other, timing: hourly() })
    };
    let ScheduleState::Standing(standing) = given(&[created(), edited(ann()), edited(dan())])
    else {
        unreachable!("it was not deleted")
    };
    assert_eq!((standing.owner, standing.editors.into_iter().collect()), (ANN, vec![DAN]));
}

#[test]
fn the_same_again_is_no_edit() {
    let same = C::Edit { template: template(), timing: hourly() };
    assert_eq!(when(&[created()], dan(), at(5), same), Ok(Vec::new()));
}

#[test]
fn a_deleted_schedule_stays_deleted() {
    let deleted = (ann(), 5, E::Deleted { reason: "Done".to_owned() });
    let past = [created(), deleted];
    assert_eq!(ticked(&past, 10), []);
    let delete = || C::Delete { reason: "Again".to_owned() };
    assert_eq!(when(&past, ann(), at(6), delete()), Ok(Vec::new()));
    for command in [
        C::Edit { template: template(), timing: timing("0 0 * * *") },
        C::Pause { reason: "x".to_owned() },
        C::Resume,
    ] {
        assert_eq!(when(&past, ann(), at(6), command), Err(No::Deleted));
    }
    let create = C::Create { template: template(), timing: hourly() };
    assert_eq!(when(&past, ann(), at(6), create), Err(No::Exists));
}

/// `o` operator, `a` admin, `s` Nexplane itself; nobody else, and no machine.
#[test]
fn every_command_has_its_people() {
    let stranger = |role| user(PersonId(Uuid::from_u128(6)), &[role]);
    let everybody = [
        ("o", stranger(Role::Operator)),
        ("a", stranger(Role::Admin)),
        ("p", stranger(Role::Approver)),
        ("r", stranger(Role::Responder)),
        ("u", stranger(Role::Auditor)),
        ("v", stranger(Role::Viewer)),
        ("m", Principal { actor: Actor::machine(ANN), roles: Role::ALL.to_vec() }),
        ("s", Principal::SYSTEM),
    ];
    let reason = || "Not needed.".to_owned();
    let (paused, past) = ((ann(), 1, E::Paused { reason: reason() }), vec![created()]);
    let other = || timing("0 0 * * *");
    let rows: [(&str, Vec<_>, C); 7] = [
        ("o", vec![], C::Create { template: template(), timing: hourly() }),
        ("o", past.clone(), C::Edit { template: template(), timing: other() }),
        ("oa", past.clone(), C::Pause { reason: reason() }),
        ("o", vec![created(), paused], C::Resume),
        ("oa", past.clone(), C::Delete { reason: reason() }),
        ("s", past, tick_of(ann(), None)),
        (
            "s",
            vec![created(), (Principal::SYSTEM, 10, fired(10))],
            C::Stall { change: CHANGE, reason: reason() },
        ),
    ];
    for (expected, past, command) in rows {
        let may = |by: &Principal| when(&past, by.clone(), at(10), command.clone());
        let found: String = everybody
            .iter()
            .filter(|(_, by)| may(by).is_ok_and(|events| !events.is_empty()))
            .map(|(sign, _)| *sign)
            .collect();
        assert_eq!(found, expected, "{command:?}");
        let codes = everybody.iter().filter_map(|(_, by)| may(by).err());
        assert!(codes.map(|no| no.code()).all(|code| code == "access.denied"), "{command:?}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let create = |template, timing| {
        let answer = when(&[], ann(), at(0), C::Create { template, timing });
        match answer {
            Err(No::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(create(template(), timing("every day")), "cron");
    assert_eq!(create(template(), timing("0 0 30 2 *")), "cron");
    let nowhere = Timing { zone: "Europe/Atlantis".to_owned(), ..hourly() };
    assert_eq!(create(template(), nowhere), "zone");
    assert_eq!(create(Template { title: " ".to_owned(), ..template() }, hourly()), "title");
    assert_eq!(create(Template { reason: "x".repeat(4001), ..template() }, hourly()), "reason");
    assert_eq!(create(Template { targets: vec![], ..template() }, hourly()), "targets");
}

#[test]
fn only_the_change_of_the_last_tick_stalls() {
    let past = [created(), (Principal::SYSTEM, 10, fired(10))];
    let stall = |change| C::Stall { change, reason: "The target is away.".to_owned() };
    let decided = when(&past, Principal::SYSTEM, at(11), stall(CHANGE)).unwrap();
    assert_eq!(decided.len(), 1);
    assert_eq!(when(&past, Principal::SYSTEM, at(11), stall(OTHER)), Ok(Vec::new()));
}
