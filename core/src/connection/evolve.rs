//! State and event to state.

use crate::connection::event::{ConnectionEvent, Limits};
use crate::connection::state::{Active, ConnectionState, Removed};
use crate::time::Timestamp;

/// Total. What no decision could have produced, such as a second `created`, changes nothing.
pub fn evolve(state: ConnectionState, event: &ConnectionEvent, at: Timestamp) -> ConnectionState {
    use ConnectionEvent as E;
    use ConnectionState as S;

    match (state, event) {
        (S::Absent, E::Created { name, connector, environment, settings, credentials, host }) => {
            S::Active(Active {
                name: name.clone(),
                connector: connector.clone(),
                environment: *environment,
                settings: settings.clone(),
                credentials: *credentials,
                host: *host,
                limits: Limits::default(),
                discover_every_s: None,
                discover_next: None,
            })
        }
        (S::Active(active), E::Renamed { name }) => {
            S::Active(Active { name: name.clone(), ..active })
        }
        (S::Active(active), E::Relabelled { environment }) => {
            S::Active(Active { environment: *environment, ..active })
        }
        (S::Active(active), E::Limited { limits }) => {
            S::Active(Active { limits: *limits, ..active })
        }
        (S::Active(active), E::DiscoveryScheduled { every_s }) => {
            // The first one is now; those that follow count from the one before, whoever asked for it.
            S::Active(Active {
                discover_every_s: *every_s,
                discover_next: every_s.map(|_| at),
                ..active
            })
        }
        (S::Active(active), E::CredentialsReplaced { settings, credentials }) => {
            S::Active(Active {
                settings: settings.clone(),
                credentials: Some(*credentials),
                ..active
            })
        }
        (S::Active(active), E::Discovered { .. } | E::DiscoveryFailed { .. }) => {
            let next = active.discover_every_s.map(|every| at.plus_seconds(i64::from(every)));
            S::Active(Active { discover_next: next, ..active })
        }
        (S::Active(active), E::Removed {}) => S::Removed(Removed { name: active.name, at }),
        (
            state,
            E::Created { .. }
            | E::Renamed { .. }
            | E::Relabelled { .. }
            | E::Limited { .. }
            | E::DiscoveryScheduled { .. }
            | E::CredentialsReplaced { .. }
            | E::Removed {}
            | E::Tested { .. }
            | E::Discovered { .. }
            | E::DiscoveryFailed { .. }
            | E::CredentialsOpened { .. },
        ) => state,
    }
}
