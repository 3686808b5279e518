//! State and event to state.

use std::collections::{BTreeMap, BTreeSet};

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
        }),
        (S::Active(active), E::RolesChanged { roles }) => {
            S::Active(Active { roles: roles.clone(), ..active })
        }
        (S::Disabled(disabled), E::RolesChanged { roles }) => {
            S::Disabled(Disabled { roles: roles.clone(), ..disabled })
        }
        (S::Active(Active { roles, tokens, .. }), E::Disabled {}) => {
            S::Disabled(Disabled { roles, tokens, since: at })
        }
        (S::Disabled(Disabled { roles, tokens, .. }), E::Enabled {}) => {
            S::Active(Active { roles, tokens, sessions: BTreeSet::new() })
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
            | E::AgentInvited { .. },
        ) => state,
    }
}
