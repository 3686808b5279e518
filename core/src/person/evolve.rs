//! State and event to state.

use std::collections::{BTreeMap, BTreeSet};

use crate::actor::Role;
use crate::person::delegation::Delegation;
use crate::person::event::PersonEvent;
use crate::person::state::{Active, Disabled, PersonState, Token};
use crate::time::Timestamp;

/// Total. What no decision could have produced, such as a second `added`, changes nothing.
pub fn evolve(state: PersonState, event: &PersonEvent, at: Timestamp) -> PersonState {
    use PersonEvent as E;
    use PersonState as S;

    match (state, event) {
        (S::Absent, E::Added { roles }) => S::Active(Active {
            roles: roles.clone(),
            tokens: BTreeMap::new(),
            sessions: BTreeSet::new(),
            delegations: BTreeMap::new(),
        }),
        (S::Active(active), E::RolesChanged { roles }) => {
            let mut active = Active { roles: roles.clone(), ..active };
            // What one has not can be delegated no longer, and does not come back by itself.
            if !roles.contains(&Role::Approver) {
                active.delegations.clear();
            }
            S::Active(active)
        }
        (S::Disabled(disabled), E::RolesChanged { roles }) => {
            S::Disabled(Disabled { roles: roles.clone(), ..disabled })
        }
        (S::Active(Active { roles, tokens, .. }), E::Disabled {}) => {
            S::Disabled(Disabled { roles, tokens, since: at })
        }
        (S::Disabled(Disabled { roles, tokens, .. }), E::Enabled {}) => {
            let (sessions, delegations) = (BTreeSet::new(), BTreeMap::new());
            S::Active(Active { roles, tokens, sessions, delegations })
        }
        (S::Active(mut active), E::SignedIn { session }) => {
            active.sessions.insert(*session);
            S::Active(active)
        }
        (S::Active(mut active), E::SignedOut { session }) => {
            active.sessions.remove(session);
            S::Active(active)
        }
        (S::Active(mut active), E::TokenCreated { token, kind, expires_at }) => {
            let made = Token { kind: *kind, expires_at: *expires_at, revoked: false };
            active.tokens.entry(*token).or_insert(made);
            S::Active(active)
        }
        (S::Active(mut active), E::ApprovalsDelegated { delegation, to, from, until, reason }) => {
            active.delegations.retain(|_, known| at < known.until);
            let given = Delegation { to: *to, from: *from, until: *until, reason: reason.clone() };
            active.delegations.insert(*delegation, given);
            S::Active(active)
        }
        (S::Active(mut active), E::DelegationEnded { delegation }) => {
            active.delegations.remove(delegation);
            S::Active(active)
        }
        (mut state, E::TokenRevoked { token }) => {
            let tokens = match &mut state {
                S::Absent => None,
                S::Active(active) => Some(&mut active.tokens),
                S::Disabled(disabled) => Some(&mut disabled.tokens),
            };
            if let Some(token) = tokens.and_then(|tokens| tokens.get_mut(token)) {
                token.revoked = true;
            }
            state
        }
        (
            state,
            E::Added { .. }
            | E::RolesChanged { .. }
            | E::Disabled {}
            | E::Enabled {}
            | E::PasswordSet {}
            | E::SignedIn { .. }
            | E::SignedOut { .. }
            | E::TokenCreated { .. }
            | E::AgentInvited { .. }
            | E::ApprovalsDelegated { .. }
            | E::DelegationEnded { .. },
        ) => state,
    }
}
