//! How risky a change is, and what environment it is in: of what the inventory and the past say now.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use nexplane_core::change::event::Draft;
use nexplane_core::id::AssetId;
use nexplane_core::risk::{self, Dependant, Environment, Risk, RiskInputs};
use nexplane_projections::{QueryError, changes, inventory};
use sqlx::PgPool;

use super::targets::{OpenError, Targets};

/// Targets that are looked at, at the same time.
const AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum AssessError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the inventory cannot be read")]
    Query(#[from] QueryError),
}

/// What the environment is, and how risky the draft.
pub async fn assess(
    targets: &Targets,
    pool: &PgPool,
    draft: &Draft,
) -> Result<(Environment, Risk), AssessError> {
    let spec = targets.action(&draft.change_type)?.spec();
    let mut environment = targets.connection(draft.connection).await?.environment;
    let mut dependants: BTreeMap<AssetId, Dependant> = BTreeMap::new();
    let mut connections = BTreeSet::from([draft.connection]);
    let mut looked = futures_util::stream::iter(draft.targets.iter().copied())
        .map(|asset: AssetId| async move {
            let located = targets.target(asset).await.ok().map(|(_, located)| located);
            let radius = inventory::blast_radius(pool, asset).await?;
            Ok::<_, AssessError>((asset, located, radius))
        })
        .buffered(AT_ONCE);
    while let Some(target) = looked.next().await {
        let (asset, located, radius) = target?;
        if let Some(located) = located {
            environment = most_serious(environment, located.environment);
            // Those of a rollout may be on many.
            if connections.insert(located.connection) {
                let connection = targets.connection(located.connection).await?;
                environment = most_serious(environment, Some(connection.environment));
            }
            if located.critical {
                dependants.insert(asset, Dependant { depth: 1, critical: true });
            }
        }
        for found in radius.dependants {
            let dependant = Dependant { depth: found.depth, critical: found.critical };
            dependants
                .entry(found.id)
                .and_modify(|known| known.depth = known.depth.min(dependant.depth))
                .or_insert(dependant);
        }
    }
    let dependants: Vec<_> = dependants.into_values().collect();
    let history = changes::history(pool, &draft.change_type).await?;
    let risk = risk::score(&RiskInputs {
        base: spec.base_risk,
        environment,
        dependants: &dependants,
        reversibility: &spec.reversibility,
        history,
    });
    Ok((environment, risk))
}

/// An operator may label an asset more serious than its connection; the more serious one counts.
fn most_serious(a: Environment, b: Option<Environment>) -> Environment {
    match (a, b) {
        (Environment::Prod, _) | (_, Some(Environment::Prod)) => Environment::Prod,
        (Environment::Staging, _) | (_, Some(Environment::Staging)) => Environment::Staging,
        (Environment::Dev, Some(Environment::Dev) | None) => Environment::Dev,
    }
}
