//! `ssh.install_package`: a package, and what it needs, from the host's own sources.

use nexplane_agent::host::{PackageName, PackageVersion};
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

/// Installs a package from the host's own sources.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallPackage {
    /// Name of the package, as the host's sources have it.
    pub name: PackageName,
    /// The version that shall be installed. When absent, one that is installed stays, and otherwise apt chooses.
    #[serde(default)]
    pub version: Option<PackageVersion>,
}

impl InstallPackage {
    const fn goal(&self) -> Goal<'_> {
        Goal::Installed(self.version.as_ref())
    }
}

impl Action for InstallPackage {
    type Connector = Ssh;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "install_package",
        title: "Install a package",
        description: "Installs a package, or a version of it, with apt. Every other package that comes or is replaced \
                      because it needs that is in the plan; recommended ones are not installed, none is removed, and \
                      no earlier version replaces a later one.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[HOST],
        permissions: &[
            "root, or sudo for /usr/bin/apt-get, /usr/bin/apt-mark and /usr/bin/dpkg --remove",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "name": "rsync" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        package::snapshot(session, target, &self.name, self.goal()).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        package_check::precheck(session, target, state, self.goal()).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let diff = match state {
            State::Known(known) => known.diff(target, self.goal()),
            State::Elsewhere | State::Refused(_) => Vec::new(),
        };
        let (name, host) = (&self.name, &target.name);
        Description {
            diff,
            summary: match &self.version {
                Some(version) => format!("Installs {name} {version} on {host}."),
                None => format!("Installs {name} on {host}, unless it is there."),
            },
            rollback: format!(
                "Brings {name} and what came with it back to the versions of before. What was not there before is \
                 removed, not purged: its configuration files and its data stay."
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = package::go(session, cx, &before.state, self.goal()).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        before: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        package::observe(session, target, &self.name, self.goal(), &before.state).await
    }

    async fn look_back(
        &self,
        session: &Session,
        target: &TargetRef,
        before: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        package::look_back(session, target, &self.name, self.goal(), &before.state).await
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        package::is_done(now, &before.state, self.goal())
    }
}

impl Reversible for InstallPackage {
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
