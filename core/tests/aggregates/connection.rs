use nexplane_core::connection::event::{ConnectionEvent as E, Limits, Purpose};
use nexplane_core::connection::{Connection, ConnectionCommand as C, ConnectionState as S};
use nexplane_core::id::{ChangeId, SecretId};
use nexplane_core::plan::Check;
use nexplane_core::risk::Environment;
use serde_json::{Value, json};

use crate::*;

fn settings() -> impl Strategy<Value = Value> {
    prop_oneof![
        9 => any::<bool>().prop_map(|tls| json!({ "tls": tls })),
        1 => Just(Value::Null),
    ]
}

fn create() -> impl Strategy<Value = C> {
    (text(), settings(), prop::option::of(id()), any::<bool>()).prop_map(
        |(name, settings, credentials, built_in)| C::Create {
            name,
            connector: if built_in { "host" } else { "postgres" }.to_owned(),
            environment: Environment::Prod,
            settings,
            credentials: credentials.map(SecretId),
            host: built_in.then_some(HOST),
        },
    )
}

fn purpose() -> impl Strategy<Value = Purpose> {
    use Purpose::{Discover, Execute, Plan, Test};
    prop::sample::select(vec![Test, Discover, Plan, Execute])
}

fn limits() -> impl Strategy<Value = Limits> {
    let per_minute = prop::option::of(0..7000_u32);
    (0..120_u32, per_minute).prop_map(|(sessions, per_minute)| Limits { sessions, per_minute })
}

fn command() -> impl Strategy<Value = C> {
    let environment = prop::sample::select(vec![Environment::Prod, Environment::Dev]);
    prop_oneof![
        5 => create(),
        2 => text().prop_map(|name| C::Rename { name }),
        2 => environment.prop_map(|environment| C::Relabel { environment }),
        2 => limits().prop_map(|limits| C::Limit { limits }),
        2 => prop::option::of(200..700_000_u32).prop_map(|every_s| C::ScheduleDiscovery { every_s }),
        2 => (settings(), id()).prop_map(|(settings, id)| C::ReplaceCredentials {
            settings,
            credentials: SecretId(id),
        }),
        1 => any::<bool>().prop_map(|host_revoked| C::Remove { host_revoked }),
        1 => prop::collection::vec(any::<bool>(), 0..3).prop_map(|oks| C::RecordTest {
            checks: oks
                .into_iter()
                .map(|ok| Check { name: "log in".to_owned(), ok, detail: String::new() })
                .collect(),
        }),
        1 => (0..9_u64).prop_map(|found| C::RecordDiscovery {
            found,
            new: 0,
            changed: 0,
            gone: 0,
            duration_ms: 1,
        }),
        1 => text().prop_map(|reason| C::RecordDiscoveryFailure {
            kind: "denied".to_owned(),
            reason,
        }),
        4 => (purpose(), prop::option::of(id())).prop_map(|(purpose, change)| {
            C::OpenCredentials { purpose, change: change.map(ChangeId), reads_for: None }
        }),
    ]
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        (text(), any::<bool>()).prop_map(|(name, built_in)| E::Created {
            name,
            connector: "postgres".to_owned(),
            environment: Environment::Prod,
            settings: Value::Null,
            credentials: None,
            host: built_in.then_some(HOST),
        }),
        text().prop_map(|name| E::Renamed { name }),
        Just(E::Relabelled { environment: Environment::Dev }),
        limits().prop_map(|limits| E::Limited { limits }),
        prop::option::of(any::<u32>()).prop_map(|every_s| E::DiscoveryScheduled { every_s }),
        id().prop_map(|id| E::CredentialsReplaced {
            settings: Value::Null,
            credentials: SecretId(id),
        }),
        Just(E::Removed {}),
        Just(E::Tested { ok: true, checks: Vec::new() }),
        Just(E::Discovered { found: 1, new: 1, changed: 0, gone: 0, duration_ms: 1 }),
        text().prop_map(|reason| E::DiscoveryFailed { kind: "denied".to_owned(), reason }),
        purpose().prop_map(|purpose| E::CredentialsOpened {
            purpose,
            change: None,
            reads_for: None
        }),
    ]
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> =
        sample(commands(command())).into_iter().flat_map(life::<Connection>).collect();
    let built_in = |state: &S| matches!(state, S::Active(active) if active.is_built_in());
    assert!(moments.iter().any(|moment| built_in(&moment.after)));
    assert!(moments.iter().any(|moment| matches!(moment.before, S::Removed(_))));
    let opened = |event: &E| matches!(event, E::CredentialsOpened { .. });
    assert!(moments.iter().any(|moment| moment.answer.iter().flatten().any(opened)));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Connection>(S::Absent, &events);
    }

    #[test]
    fn removed_is_for_good(
        before in prop::collection::vec(event(), 0..10),
        after in prop::collection::vec(event(), 0..25),
        asked in commands(command()),
    ) {
        let state = fold::<Connection>(S::Absent, &before);
        let state = fold::<Connection>(state, &[E::Removed {}]);
        if let S::Removed(_) = state {
            prop_assert_eq!(&fold::<Connection>(state.clone(), &after), &state);
            for (by, command) in asked {
                prop_assert!(ask::<Connection>(&state, &by, moment(0), &command).is_err());
            }
        }
    }

    #[test]
    fn twice_is_once(commands in commands(command())) {
        for moment in life::<Connection>(commands) {
            let Ok(events) = &moment.answer else { continue };
            match &moment.command {
                C::Rename { .. } | C::Relabel { .. } | C::Limit { .. } | C::ScheduleDiscovery { .. } | C::ReplaceCredentials { .. } => {
                    prop_assert_eq!(again(&moment), Ok(Vec::new()));
                }
                C::Create { .. } | C::Remove { .. } => prop_assert!(again(&moment).is_err()),
                C::RecordTest { .. }
                | C::RecordDiscovery { .. }
                | C::RecordDiscoveryFailure { .. }
                | C::OpenCredentials { .. } => {
                    prop_assert_eq!(&again(&moment), &Ok(events.clone()));
                }
            }
        }
    }

    #[test]
    fn machines_only_plan(commands in commands(command())) {
        for moment in life::<Connection>(commands) {
            if moment.by.actor != Actor::machine(OWNER) {
                continue;
            }
            for event in moment.answer.iter().flatten() {
                let planned =
                    matches!(event, E::CredentialsOpened { purpose: Purpose::Plan, .. });
                prop_assert!(planned, "{:?}", event);
            }
        }
    }
}
