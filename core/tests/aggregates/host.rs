use nexplane_core::actor::ActorKind;
use nexplane_core::host::event::{Certificate, HostEvent as E};
use nexplane_core::host::{Host, HostCommand as C, HostState as S, is_hostname};
use nexplane_core::id::JobId;
use nexplane_core::job::{Distrusted, RefusalCode};
use nexplane_core::refusal::{Cause, Refused};

use crate::*;

fn certificate() -> impl Strategy<Value = Certificate> {
    let hashes = prop::sample::select(vec!["a", "b"]).prop_map(|digit| digit.repeat(64));
    let key_hash = prop_oneof![9 => hashes, 1 => text()];
    (key_hash, 0..100_i64)
        .prop_map(|(key_hash, end)| Certificate { key_hash, not_after: moment(end) })
}

fn host() -> impl Strategy<Value = HostId> {
    prop_oneof![4 => Just(HOST), 1 => Just(HostId(Uuid::from_u128(8)))]
}

fn command() -> impl Strategy<Value = C> {
    let enrolment = (text(), text(), prop::option::of(text()), certificate());
    prop_oneof![
        6 => enrolment.prop_map(|(hostname, agent_version, policy_hash, certificate)| {
            C::Enroll { hostname, agent_version, policy_hash, certificate }
        }),
        2 => (host(), certificate())
            .prop_map(|(host, certificate)| C::Renew { host, certificate }),
        3 => host().prop_map(|host| C::ComeOnline { host }),
        2 => (host(), text()).prop_map(|(host, reason)| C::GoOffline { host, reason }),
        2 => (host(), prop::option::of(text()))
            .prop_map(|(host, policy_hash)| C::ReportPolicy { host, policy_hash }),
        2 => (host(), text())
            .prop_map(|(host, agent_version)| C::ReportAgent { host, agent_version }),
        1 => text().prop_map(|reason| C::Lock { reason }),
        1 => text().prop_map(|reason| C::Revoke { reason }),
        2 => (0..3_u64, prop::option::of(text())).prop_map(|(count, source)| {
            let (cause, since) = (Cause::HostRevoked, moment(0));
            C::RecordRefused { refused: Refused { cause, count, since, source } }
        }),
        1 => (code(), 0..3_u64, text()).prop_map(|(code, count, detail)| {
            let (since, job) = (moment(0), JobId(Uuid::from_u128(3)));
            C::RecordOrderRefused { code, count, since, job, detail }
        }),
        2 => (host(), code(), 0..5_u64).prop_map(|(host, code, total)| {
            let distrusted = Distrusted { code, total, last_at: moment(0) };
            C::ReportDistrusted { host, distrusted }
        }),
    ]
}

fn code() -> impl Strategy<Value = RefusalCode> {
    use RefusalCode as R;
    prop::sample::select(vec![R::BadSignature, R::Replayed, R::Expired, R::Drift])
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        (text(), certificate()).prop_map(|(hostname, certificate)| E::Enrolled {
            hostname,
            agent_version: "1".to_owned(),
            policy_hash: None,
            certificate,
        }),
        certificate().prop_map(|certificate| E::Renewed { certificate }),
        Just(E::CameOnline {}),
        text().prop_map(|reason| E::WentOffline { reason }),
        prop::option::of(text()).prop_map(|policy_hash| E::PolicyChanged { policy_hash }),
        text().prop_map(|agent_version| E::AgentChanged { agent_version }),
        text().prop_map(|reason| E::Locked { reason }),
        text().prop_map(|reason| E::Revoked { reason }),
        (1..5_u64).prop_map(|count| E::Refused {
            cause: Cause::HostLocked,
            count,
            since: moment(0),
            source: None,
        }),
        (code(), 0..5_u64).prop_map(|(code, total)| E::OrderDistrusted {
            code,
            count: 1,
            total,
            last_at: moment(0),
        }),
    ]
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> = sample(commands(command())).into_iter().flat_map(life::<Host>).collect();
    assert!(moments.iter().any(|moment| matches!(moment.after, S::Online(_))));
    assert!(moments.iter().any(|moment| matches!(moment.after, S::Locked(_))));
    assert!(moments.iter().any(|moment| matches!(moment.before, S::Revoked(_))));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Host>(S::Absent, &events);
    }

    #[test]
    fn revoked_is_for_good(
        before in prop::collection::vec(event(), 0..10),
        after in prop::collection::vec(event(), 0..25),
        asked in commands(command()),
    ) {
        let state = fold::<Host>(S::Absent, &before);
        let state = fold::<Host>(state, &[E::Revoked { reason: "sold".to_owned() }]);
        if let S::Revoked(_) = state {
            prop_assert_eq!(&fold::<Host>(state.clone(), &after), &state);
            for (by, command) in asked {
                // What is still tried in its name is written down, and that is all.
                if let Ok(events) = ask::<Host>(&state, &by, moment(0), &command) {
                    prop_assert_eq!(&fold::<Host>(state.clone(), &events), &state);
                    let is_record = matches!(
                        command,
                        C::RecordRefused { .. } | C::RecordOrderRefused { .. }
                    );
                    prop_assert!(is_record, "{:?}", command);
                }
            }
        }
    }

    #[test]
    fn a_locked_host_leaves_by_revocation_only(
        events in prop::collection::vec(event(), 0..25),
    ) {
        let enrolled = E::Enrolled {
            hostname: "a".to_owned(),
            agent_version: "1".to_owned(),
            policy_hash: None,
            certificate: Certificate { key_hash: "a".repeat(64), not_after: moment(1) },
        };
        let locked = E::Locked { reason: "two users of one key".to_owned() };
        let locked = fold::<Host>(S::Absent, &[enrolled, locked]);
        let after = fold::<Host>(locked.clone(), &events);
        if events.iter().any(|event| matches!(event, E::Revoked { .. })) {
            prop_assert!(matches!(after, S::Revoked(_)));
        } else {
            let S::Locked(mut after) = after else { panic!("not locked: {after:?}") };
            after.enrolment.distrusted.clear();
            prop_assert_eq!(S::Locked(after), locked);
        }
    }

    #[test]
    fn twice_is_once(commands in commands(command())) {
        for moment in life::<Host>(commands) {
            if moment.answer.is_err() {
                continue;
            }
            match moment.command {
                C::Enroll { .. } | C::Revoke { .. } => prop_assert!(again(&moment).is_err()),
                C::Renew { .. }
                | C::ComeOnline { .. }
                | C::GoOffline { .. }
                | C::ReportPolicy { .. }
                | C::ReportAgent { .. }
                | C::ReportDistrusted { .. }
                | C::Lock { .. } => prop_assert_eq!(again(&moment), Ok(Vec::new())),
                // Each is another time that something was refused.
                C::RecordRefused { .. } | C::RecordOrderRefused { .. } => {
                    prop_assert_eq!(again(&moment), moment.answer);
                }
            }
        }
    }

    #[test]
    fn agents_speak_for_themselves(commands in commands(command())) {
        for moment in life::<Host>(commands) {
            if moment.by.actor.kind != ActorKind::Agent || moment.answer.is_err() {
                continue;
            }
            match moment.command {
                C::Renew { host, .. }
                | C::ComeOnline { host }
                | C::GoOffline { host, .. }
                | C::ReportPolicy { host, .. }
                | C::ReportAgent { host, .. }
                | C::ReportDistrusted { host, .. } => {
                    prop_assert_eq!(Actor::agent(host), moment.by.actor);
                }
                C::Enroll { .. }
                | C::Lock { .. }
                | C::Revoke { .. }
                | C::RecordRefused { .. }
                | C::RecordOrderRefused { .. } => {
                    prop_assert!(false, "{:?}", moment.command);
                }
            }
        }
    }

    #[test]
    fn host_names_are_short_and_plain(name in "[a-zA-Z0-9._-]{0,300}") {
        if is_hostname(&name) {
            prop_assert!((1..=253).contains(&name.len()));
            prop_assert!(name.split('.').all(|label| (1..=63).contains(&label.len())));
        }
    }
}
