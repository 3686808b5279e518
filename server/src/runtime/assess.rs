//! How risky a change is, and what environment it is in: of what the inventory and the past say now.

use nexplane_core::change::event::Draft;
use nexplane_core::risk::{self, Dependant, Environment, Risk, RiskInputs};
use nexplane_projections::{QueryError, changes, inventory};
use sqlx::PgPool;

use super::targets::{OpenError, Targets};

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
    let mut critical = Vec::new();
    for located in targets.locate(&draft.targets).await?.into_iter().flatten() {
        environment = most_serious(environment, located.environment);
        // Those of a rollout may be on many.
        environment = most_serious(environment, Some(located.home.environment));
        if located.critical {
            critical.push(located.target.asset);
        }
    }
    let mut dependants = inventory::dependants(pool, &draft.targets).await?;
    // A critical target is in its own way, even when nothing depends on it.
    for target in critical {
        dependants.insert(target, Dependant { depth: 1, critical: true });
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
