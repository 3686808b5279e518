//! How risky a change is, and in which environment: what a submission says of itself.

use std::collections::BTreeMap;

use nexplane_core::change::Subject;
use nexplane_core::id::AssetId;
use nexplane_core::risk::{self, Dependant, Environment, Risk, RiskInputs};
use nexplane_projections::{QueryError, changes, inventory};
use sqlx::PgPool;

use super::targets::{OpenError, Targets};

#[derive(Debug, thiserror::Error)]
pub enum AssessError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// What the environment is, and how risky the planned change.
pub async fn assess(
    targets: &Targets,
    pool: &PgPool,
    subject: &Subject,
) -> Result<(Environment, Risk), AssessError> {
    let draft = &subject.draft;
    let spec = targets.action(&draft.change_type)?.spec();
    let mut environment = targets.connection(draft.connection).await?.environment;
    let mut dependants: BTreeMap<AssetId, Dependant> = BTreeMap::new();
    for asset in &draft.targets {
        if let Ok((_, located)) = targets.target(*asset).await {
            environment = most_serious(environment, located.environment);
            if located.critical {
                dependants.insert(*asset, Dependant { depth: 1, critical: true });
            }
        }
        for found in inventory::blast_radius(pool, *asset).await?.dependants {
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
