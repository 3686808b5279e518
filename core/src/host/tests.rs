use uuid::Uuid;

use super::event::{Certificate, HostEvent as E};
use super::{Host, HostCommand as C, HostRejection as No, HostState, is_hostname};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{HostId, JobId, PersonId};
use crate::job::{Distrusted, RefusalCode};
use crate::refusal::{Cause, Refused};
use crate::time::Timestamp;

const NOW: i64 = 1_800_000_000_000_000;
const HOST: HostId = HostId(Uuid::from_u128(7));

fn now() -> Timestamp {
    Timestamp::from_micros(NOW)
}

fn given(events: &[E]) -> HostState {
    events
        .iter()
        .fold(HostState::default(), |state, event| Host::evolve(state, event, Actor::SYSTEM, now()))
}

fn when(events: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    Host::decide(&given(events), Asked { by, at: now(), command })
}

fn admin() -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(1))), roles: vec![Role::Admin] }
}

fn agent(host: HostId) -> Principal {
    Principal { actor: Actor::agent(host), roles: Vec::new() }
}

fn certificate(digit: &str) -> Certificate {
    Certificate { key_hash: digit.repeat(64), not_after: now().plus_seconds(3600) }
}

fn enroll(hostname: &str) -> C {
    C::Enroll {
        hostname: hostname.to_owned(),
        agent_version: "0.1.0".to_owned(),
        policy_hash: None,
        certificate: certificate("a"),
    }
}

fn enrolled() -> E {
    E::Enrolled {
        hostname: "web-1.example".to_owned(),
        agent_version: "0.1.0".to_owned(),
        policy_hash: None,
        certificate: certificate("a"),
    }
}

fn offline(reason: &str) -> C {
    C::GoOffline { host: HOST, reason: reason.to_owned() }
}

fn lock() -> C {
    C::Lock { reason: "two users of one key".to_owned() }
}

fn locked() -> E {
    E::Locked { reason: "two users of one key".to_owned() }
}

fn revoke(reason: &str) -> C {
    C::Revoke { reason: reason.to_owned() }
}

fn revoked() -> E {
    E::Revoked { reason: "sold".to_owned() }
}

fn of_the_host() -> Vec<C> {
    vec![
        C::Renew { host: HOST, certificate: certificate("b") },
        C::ComeOnline { host: HOST },
        C::ReportPolicy { host: HOST, policy_hash: Some("p1".to_owned()) },
        C::ReportAgent { host: HOST, agent_version: "0.2.0".to_owned() },
        offline("shut down"),
    ]
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

#[test]
fn a_host_is_enrolled_once_by_nexplane() {
    assert_eq!(when(&[], Principal::SYSTEM, enroll("web-1.example")), Ok(vec![enrolled()]));
    for by in [admin(), agent(HOST)] {
        assert_eq!(when(&[], by, enroll("web-1")).unwrap_err().code(), "access.denied");
    }
    for events in [vec![enrolled()], vec![enrolled(), locked()]] {
        let refused = when(&events, Principal::SYSTEM, enroll("web-1")).unwrap_err();
        assert_eq!(refused.code(), "host.already_enrolled");
    }
}

#[test]
fn host_names_are_host_names() {
    let label = "x".repeat(63);
    let longest = [label.as_str(), &label, &label, &"x".repeat(61)].join(".");
    for name in ["a", "WEB-1", "web_1.example", "1.2", &longest] {
        assert!(is_hostname(name), "{name}");
    }
    let too_long = format!("{longest}x");
    let long_label = "x".repeat(64);
    for name in
        ["", ".", "a.", ".a", "a..b", "-a", "a-", "_a", "a/b", "a b", "é", &long_label, &too_long]
    {
        assert!(!is_hostname(name), "{name}");
        assert!(is_invalid(&when(&[], Principal::SYSTEM, enroll(name)), "hostname"), "{name}");
    }
}

#[test]
fn what_an_agent_says_of_itself_is_bounded() {
    let enroll_with = |version: &str, policy_hash: Option<&str>, certificate| C::Enroll {
        hostname: "web-1".to_owned(),
        agent_version: version.to_owned(),
        policy_hash: policy_hash.map(str::to_owned),
        certificate,
    };
    let when = |command| when(&[], Principal::SYSTEM, command);
    let long = "x".repeat(129);
    let fine = certificate("a");
    assert!(is_invalid(&when(enroll_with(" ", None, fine.clone())), "agent_version"));
    assert!(is_invalid(&when(enroll_with(&long, None, fine.clone())), "agent_version"));
    for hash in ["", "a b", &long] {
        assert!(is_invalid(&when(enroll_with("1", Some(hash), fine.clone())), "policy_hash"));
    }
    for key_hash in ["ab", &"A".repeat(64), &"g".repeat(64)] {
        let bad = Certificate { key_hash: key_hash.to_owned(), ..fine.clone() };
        assert!(is_invalid(&when(enroll_with("1", None, bad)), "certificate"));
    }
    let old = Certificate { not_after: now(), ..fine };
    assert!(is_invalid(&when(enroll_with("1", None, old)), "certificate"));
}

#[test]
fn an_agent_speaks_for_its_own_host_only() {
    let other = HostId(Uuid::from_u128(8));
    for command in of_the_host() {
        for by in [agent(HOST), Principal::SYSTEM] {
            assert!(when(&[enrolled()], by, command.clone()).is_ok());
        }
        for by in [agent(other), admin()] {
            let refused = when(&[enrolled()], by, command.clone()).unwrap_err();
            assert_eq!(refused.code(), "access.denied");
        }
    }
}

#[test]
fn transitions_are_events_and_standing_still_is_not() {
    let off = E::WentOffline { reason: "shut down".to_owned() };
    let online = [enrolled(), E::CameOnline {}];
    let come = || C::ComeOnline { host: HOST };
    assert_eq!(when(&online[..1], agent(HOST), come()), Ok(vec![E::CameOnline {}]));
    assert_eq!(when(&online, agent(HOST), come()), Ok(Vec::new()));
    assert_eq!(when(&online, Principal::SYSTEM, offline(" shut down ")), Ok(vec![off.clone()]));
    let back = [enrolled(), E::CameOnline {}, off];
    assert_eq!(when(&back, Principal::SYSTEM, offline("shut down")), Ok(Vec::new()));
    assert!(is_invalid(&when(&online, Principal::SYSTEM, offline(" ")), "reason"));
}

#[test]
fn renewals_and_policy_changes_are_recorded_when_they_differ() {
    let renew = |certificate| C::Renew { host: HOST, certificate };
    let renewed = E::Renewed { certificate: certificate("b") };
    let events = [enrolled(), renewed.clone()];
    assert_eq!(when(&events[..1], agent(HOST), renew(certificate("b"))), Ok(vec![renewed]));
    assert_eq!(when(&events, agent(HOST), renew(certificate("b"))), Ok(Vec::new()));
    let old = Certificate { not_after: now().plus_seconds(-1), ..certificate("c") };
    assert!(is_invalid(&when(&events, agent(HOST), renew(old)), "certificate"));

    let report =
        |hash: Option<&str>| C::ReportPolicy { host: HOST, policy_hash: hash.map(str::to_owned) };
    let changed = E::PolicyChanged { policy_hash: Some("p1".to_owned()) };
    let events = [enrolled(), changed.clone()];
    assert_eq!(when(&events[..1], agent(HOST), report(None)), Ok(Vec::new()));
    assert_eq!(when(&events[..1], agent(HOST), report(Some("p1"))), Ok(vec![changed]));
    assert_eq!(when(&events, agent(HOST), report(Some("p1"))), Ok(Vec::new()));
    let removed = E::PolicyChanged { policy_hash: None };
    assert_eq!(when(&events, agent(HOST), report(None)), Ok(vec![removed]));

    let report = |version: &str| C::ReportAgent { host: HOST, agent_version: version.to_owned() };
    let changed = E::AgentChanged { agent_version: "0.2.0".to_owned() };
    let events = [enrolled(), changed.clone()];
    assert_eq!(when(&events[..1], agent(HOST), report("0.1.0")), Ok(Vec::new()));
    assert_eq!(when(&events[..1], agent(HOST), report("0.2.0")), Ok(vec![changed]));
    assert_eq!(when(&events, agent(HOST), report("0.2.0")), Ok(Vec::new()));
    assert!(is_invalid(&when(&events, agent(HOST), report("")), "agent_version"));
}

#[test]
fn a_locked_host_can_only_be_revoked() {
    for by in [admin(), Principal::SYSTEM] {
        assert_eq!(when(&[enrolled()], by.clone(), lock()), Ok(vec![locked()]));
        assert_eq!(when(&[enrolled(), locked()], by, lock()), Ok(Vec::new()));
    }
    assert_eq!(when(&[enrolled()], agent(HOST), lock()).unwrap_err().code(), "access.denied");
    for command in of_the_host() {
        let went_offline = matches!(command, C::GoOffline { .. });
        let result = when(&[enrolled(), E::CameOnline {}, locked()], agent(HOST), command);
        if went_offline {
            assert_eq!(result, Ok(Vec::new()));
        } else {
            assert_eq!(result.unwrap_err().code(), "host.locked");
        }
    }
    let events = [enrolled(), locked()];
    assert_eq!(when(&events, admin(), revoke("sold")), Ok(vec![revoked()]));
}

#[test]
fn an_admin_revokes_with_a_reason() {
    assert_eq!(when(&[enrolled()], admin(), revoke(" sold ")), Ok(vec![revoked()]));
    for reason in ["", " ", "a\0", &"x".repeat(501)] {
        assert!(is_invalid(&when(&[enrolled()], admin(), revoke(reason)), "reason"));
    }
    for by in [agent(HOST), Principal::SYSTEM] {
        let refused = when(&[enrolled()], by, revoke("sold")).unwrap_err();
        assert_eq!(refused.code(), "access.denied");
    }
}

#[test]
fn a_revoked_host_refuses_everything() {
    let events = [enrolled(), E::CameOnline {}, revoked()];
    let refused = No::Revoked { hostname: "web-1.example".to_owned(), reason: "sold".to_owned() };
    assert_eq!(refused.code(), "host.revoked");
    for command in of_the_host().into_iter().chain([enroll("web-1"), lock()]) {
        assert_eq!(when(&events, Principal::SYSTEM, command), Err(refused.clone()));
    }
    assert_eq!(when(&events, admin(), revoke("again")), Err(refused));
}

#[test]
fn nothing_that_happens_later_brings_a_revoked_host_back() {
    let mut events = vec![enrolled(), revoked()];
    let after = given(&events);
    events.extend([enrolled(), E::CameOnline {}, E::Renewed { certificate: certificate("b") }]);
    assert_eq!(given(&events), after);
    let HostState::Revoked(state) = after else { panic!("not revoked") };
    assert_eq!(state.certificate, certificate("a"));
}

#[test]
fn an_absent_host_can_only_be_enrolled() {
    for command in of_the_host().into_iter().chain([lock()]) {
        assert_eq!(when(&[], Principal::SYSTEM, command), Err(No::NotFound));
    }
    assert_eq!(when(&[], admin(), revoke("sold")), Err(No::NotFound));
}

fn refused() -> C {
    let source = Some("203.0.113.0/24".to_owned());
    C::RecordRefused {
        refused: Refused { cause: Cause::HostRevoked, count: 2, since: now(), source },
    }
}

fn order_refused(code: RefusalCode, detail: &str) -> C {
    let (job, detail) = (JobId(Uuid::from_u128(9)), detail.to_owned());
    C::RecordOrderRefused { code, count: 1, since: now(), job, detail }
}

fn distrusted(total: u64) -> C {
    let code = RefusalCode::BadSignature;
    C::ReportDistrusted { host: HOST, distrusted: Distrusted { code, total, last_at: now() } }
}

#[test]
fn what_is_refused_is_recorded_in_every_phase_and_changes_nothing() {
    for events in [
        vec![enrolled()],
        vec![enrolled(), E::CameOnline {}],
        vec![enrolled(), locked()],
        vec![enrolled(), revoked()],
    ] {
        for command in [refused(), order_refused(RefusalCode::Expired, "it ended")] {
            let recorded = when(&events, Principal::SYSTEM, command.clone()).unwrap();
            assert_eq!(recorded.len(), 1);
            let after: Vec<_> = events.iter().cloned().chain(recorded).collect();
            assert_eq!(given(&after), given(&events));
            for by in [agent(HOST), admin()] {
                let no = when(&events, by, command.clone()).unwrap_err();
                assert_eq!(no.code(), "access.denied");
            }
        }
    }
    assert_eq!(when(&[], Principal::SYSTEM, refused()), Err(No::NotFound));
}

#[test]
fn what_an_agent_says_of_a_refusal_is_short_and_plain() {
    let long = format!("path \u{202e}/etc\n{}", "x".repeat(1000));
    let command = order_refused(RefusalCode::NoSnapshot, &long);
    let recorded = when(&[enrolled()], Principal::SYSTEM, command).unwrap();
    let [E::OrderRefused { detail, .. }] = recorded.as_slice() else { panic!("{recorded:?}") };
    assert_eq!(detail.chars().count(), 300);
    assert!(detail.starts_with("path \u{fffd}/etc\u{fffd}x"), "{detail}");
    let command = order_refused(RefusalCode::BadSignature, "");
    assert!(is_invalid(&when(&[enrolled()], Principal::SYSTEM, command), "code"));
}

#[test]
fn a_count_of_distrusted_orders_is_recorded_once() {
    let more = |count, total| {
        let code = RefusalCode::BadSignature;
        E::OrderDistrusted { code, count, total, last_at: now() }
    };
    assert_eq!(when(&[enrolled()], agent(HOST), distrusted(3)), Ok(vec![more(3, 3)]));
    let events = [enrolled(), more(3, 3)];
    assert_eq!(when(&events, agent(HOST), distrusted(3)), Ok(Vec::new()));
    assert_eq!(when(&events, agent(HOST), distrusted(2)), Ok(Vec::new()));
    assert_eq!(when(&events, agent(HOST), distrusted(5)), Ok(vec![more(2, 5)]));
    let events = [enrolled(), more(3, 3), locked()];
    assert_eq!(when(&events, Principal::SYSTEM, distrusted(5)), Ok(vec![more(2, 5)]));
    let other = agent(HostId(Uuid::from_u128(8)));
    assert_eq!(when(&events, other, distrusted(5)).unwrap_err().code(), "access.denied");
    let told = Distrusted { code: RefusalCode::Drift, total: 1, last_at: now() };
    let command = C::ReportDistrusted { host: HOST, distrusted: told };
    assert!(is_invalid(&when(&[enrolled()], agent(HOST), command), "code"));
}
