//! State and event to state.

use std::collections::BTreeMap;

use crate::host::event::HostEvent;
use crate::host::state::{Enrolment, HostState, Locked, Offline, Online, Revoked};
use crate::time::Timestamp;

/// Total. What no decision could have produced, such as a revoked host that comes online, changes
/// nothing.
pub fn evolve(state: HostState, event: &HostEvent, at: Timestamp) -> HostState {
    use HostEvent as E;
    use HostState as S;

    match (state, event) {
        (S::Absent, E::Enrolled { hostname, agent_version, policy_hash, certificate }) => {
            let enrolment = Enrolment {
                hostname: hostname.clone(),
                agent_version: agent_version.clone(),
                policy_hash: policy_hash.clone(),
                certificate: certificate.clone(),
                distrusted: BTreeMap::new(),
            };
            S::Offline(Offline { enrolment, since: at })
        }
        (S::Offline(Offline { enrolment, .. }), E::CameOnline {}) => {
            S::Online(Online { enrolment, since: at })
        }
        (S::Online(Online { enrolment, .. }), E::WentOffline { .. }) => {
            S::Offline(Offline { enrolment, since: at })
        }
        (
            S::Offline(Offline { enrolment, .. }) | S::Online(Online { enrolment, .. }),
            E::Locked { reason },
        ) => S::Locked(Locked { enrolment, reason: reason.clone(), since: at }),
        (
            S::Offline(Offline { enrolment, .. })
            | S::Online(Online { enrolment, .. })
            | S::Locked(Locked { enrolment, .. }),
            E::Revoked { reason },
        ) => {
            let Enrolment { hostname, certificate, .. } = enrolment;
            S::Revoked(Revoked { hostname, certificate, reason: reason.clone(), since: at })
        }
        (mut state, E::Renewed { certificate }) => {
            if let Some(enrolment) = enrolment_of(&mut state) {
                enrolment.certificate = certificate.clone();
            }
            state
        }
        (mut state, E::PolicyChanged { policy_hash }) => {
            if let Some(enrolment) = enrolment_of(&mut state) {
                enrolment.policy_hash.clone_from(policy_hash);
            }
            state
        }
        (mut state, E::AgentChanged { agent_version }) => {
            if let Some(enrolment) = enrolment_of(&mut state) {
                enrolment.agent_version.clone_from(agent_version);
            }
            state
        }
        (mut state, E::OrderDistrusted { code, total, .. }) => {
            let enrolment = if let HostState::Locked(locked) = &mut state {
                Some(&mut locked.enrolment)
            } else {
                enrolment_of(&mut state)
            };
            if let Some(enrolment) = enrolment {
                let known = enrolment.distrusted.entry(*code).or_default();
                *known = (*known).max(*total);
            }
            state
        }
        (
            state,
            E::Enrolled { .. }
            | E::CameOnline {}
            | E::WentOffline { .. }
            | E::Locked { .. }
            | E::Revoked { .. }
            | E::Refused { .. }
            | E::OrderRefused { .. },
        ) => state,
    }
}

/// The enrolment, while certificate and policy can still change.
const fn enrolment_of(state: &mut HostState) -> Option<&mut Enrolment> {
    match state {
        HostState::Absent | HostState::Locked(_) | HostState::Revoked(_) => None,
        HostState::Offline(phase) => Some(&mut phase.enrolment),
        HostState::Online(phase) => Some(&mut phase.enrolment),
    }
}
