//! `ssh.remove_package`: a package that no other one needs.

use nexplane_agent::host::PackageName;
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Outcome;
use super::host::HOST;
use super::package::{self, Goal, State};
use super::package_check;
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext,
};

/// Removes a package that no other one needs. Its configuration files stay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePackage {
    /// Name of the package that goes.
    pub name: PackageName,
}

impl RemovePackage {
    const fn goal() -> Goal<'static> {
        Goal::Removed
    }
}

impl Action for RemovePackage {
    type Connector = Ssh;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "remove_package",
        title: "Remove a package",
        description: "Removes a package that no other installed one needs, with apt; its configuration files stay. What \
                      keeps the host going, and what people reach it through, is refused.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[HOST],
        permissions: &[
            "root, or sudo for /usr/bin/apt-get, /usr/bin/apt-mark and /usr/bin/dpkg --remove",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "name": "telnet" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        package::snapshot(session, target, &self.name, Self::goal()).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        package_check::precheck(session, target, state, Self::goal()).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let diff = match state {
            State::Known(known) => known.diff(target, Self::goal()),
            State::Elsewhere | State::Refused(_) => Vec::new(),
        };
        let (name, host) = (&self.name, &target.name);
        Description {
            diff,
            summary: format!("Removes {name} from {host}; its configuration files stay."),
            rollback: format!("Installs the version of {name} that was there."),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = package::go(session, cx, &before.state, Self::goal()).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        before: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        package::observe(session, target, &self.name, Self::goal(), &before.state).await
    }

    async fn look_back(
        &self,
        session: &Session,
        target: &TargetRef,
        before: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        package::look_back(session, target, &self.name, Self::goal(), &before.state).await
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        package::is_done(now, &before.state, Self::goal())
    }
}

impl Reversible for RemovePackage {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        package::back(session, cx, &before.state).await
    }
}
