//! `ssh.disable_service`: a unit does not run, and does not start with the host.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Outcome;
use super::switch::{self, Service};
use super::unit::SERVICE;
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext,
};

const GOAL: switch::Goal = false;

/// Stops a unit of systemd, and keeps it from starting with the host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableService {}

impl Action for DisableService {
    type Connector = Ssh;
    type State = Service;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "disable_service",
        title: "Disable a service",
        description: "Stops a service, socket, timer or path of systemd, and keeps it from starting with the host. \
                      Refused is what would stop others with it, because that could not be undone \
                      exactly.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[SERVICE],
        permissions: &["root, or sudo for /usr/bin/systemctl"],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Service, ConnectorError> {
        switch::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Service,
    ) -> Result<Vec<Check>, ConnectorError> {
        switch::precheck(session, target, GOAL).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Service) -> Description {
        Description {
            diff: switch::diff(target, state, GOAL),
            summary: format!("{} stops, and no longer starts with the host.", target.name),
            rollback: format!("{} runs, and starts with the host, as it did before.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = switch::go(session, cx, &before.state, GOAL).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &Service, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        switch::is_there(now, GOAL)
    }
}

impl Reversible for DisableService {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        switch::back(session, cx, &before.state, GOAL).await
    }
}
