//! State and event to state.

use crate::asset::event::AssetEvent;
use crate::asset::state::{Annotations, AssetState, Gone, Identity, Present};
use crate::time::Timestamp;

/// Total. What no decision could have produced, such as a second `discovered`, changes nothing.
pub fn evolve(state: AssetState, event: &AssetEvent, at: Timestamp) -> AssetState {
    use AssetEvent as E;
    use AssetState as S;

    match (state, event) {
        (S::Absent, E::Discovered { connection, asset_type, external_key, environment, facts }) => {
            S::Present(Present {
                identity: Identity {
                    connection: *connection,
                    asset_type: asset_type.clone(),
                    external_key: external_key.clone(),
                    environment: *environment,
                },
                facts: facts.clone(),
                annotations: Annotations::default(),
            })
        }
        (S::Present(present), E::Drifted { facts, .. }) => {
            S::Present(Present { facts: facts.clone(), ..present })
        }
        (S::Present(Present { identity, facts, annotations }), E::Gone {}) => {
            S::Gone(Gone { identity, last_facts: facts, annotations, since: at })
        }
        (S::Gone(Gone { identity, annotations, .. }), E::Returned { facts }) => {
            S::Present(Present { identity, facts: facts.clone(), annotations })
        }
        (S::Present(present), E::Annotated { owner, tags, critical, environment }) => {
            let annotations = Annotations {
                owner: owner.clone(),
                tags: tags.clone(),
                critical: *critical,
                environment: *environment,
            };
            S::Present(Present { annotations, ..present })
        }
        (S::Gone(gone), E::Annotated { owner, tags, critical, environment }) => {
            let annotations = Annotations {
                owner: owner.clone(),
                tags: tags.clone(),
                critical: *critical,
                environment: *environment,
            };
            S::Gone(Gone { annotations, ..gone })
        }
        (
            state,
            E::Discovered { .. }
            | E::Drifted { .. }
            | E::Gone {}
            | E::Returned { .. }
            | E::Annotated { .. },
        ) => state,
    }
}
