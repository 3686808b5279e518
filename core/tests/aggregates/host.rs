use nexplane_core::actor::ActorKind;
use nexplane_core::host::event::{Certificate, HostEvent as E};
use nexplane_core::host::{Host, HostCommand as C, HostState as S, is_hostname};

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
        1 => text().prop_map(|reason| C::Lock { reason }),
        1 => text().prop_map(|reason| C::Revoke { reason }),
    ]
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
        text().prop_map(|reason| E::Locked { reason }),
        text().prop_map(|reason| E::Revoked { reason }),
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
                prop_assert!(ask::<Host>(&state, &by, moment(0), &command).is_err());
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
            prop_assert_eq!(after, locked);
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
                | C::Lock { .. } => prop_assert_eq!(again(&moment), Ok(Vec::new())),
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
                | C::ReportPolicy { host, .. } => {
                    prop_assert_eq!(Actor::agent(host), moment.by.actor);
                }
                C::Enroll { .. } | C::Lock { .. } | C::Revoke { .. } => {
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
