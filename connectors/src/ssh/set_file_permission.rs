//! `ssh.set_file_permission`: the mode of one file.

use nexplane_agent::host::{HostPath, Mode};
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Outcome;
use super::account::permission_checks;
use super::command::Command;
use super::file::{self, Place, moved, place_checks};
use super::host::{HOST, host_check};
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Reversible, StepContext, TargetState, check, line,
};

/// Sets the mode of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFilePermission {
    /// Absolute path of a regular file. No part of it may be a symbolic link, and every directory above it
    /// belongs to root and may be written to by nobody else.
    pub path: HostPath,
    /// Permission bits as four octal digits, such as 0640.
    pub mode: Mode,
}

/// What is there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    place: Place,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        match &self.place {
            Place::Elsewhere => Vec::new(),
            Place::Refused(why) => vec![Field::new("refused", why.as_str())],
            Place::File(file) => {
                vec![
                    Field::new("mode", file.mode.to_string()),
                    Field::new("owner", file.names.as_str()),
                ]
            }
        }
    }

    /// The owner is shown but neither changed nor compared.
    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match &self.place {
            Place::Elsewhere => json!({ "host": false }),
            Place::Refused(_) => json!({ "file": false }),
            Place::File(file) => json!({ "file": true, "mode": file.mode }),
        }
    }
}

impl SetFilePermission {
    async fn bring(
        &self,
        session: &Session,
        cx: &StepContext,
        from: Mode,
        to: Mode,
    ) -> Result<bool, ConnectorError> {
        let place = file::look(session, &cx.step.target, &self.path).await?;
        let now = file::file(&place)?;
        if now.mode == to {
            return Ok(false);
        }
        if now.mode != from {
            return Err(moved(&self.path));
        }
        if !session.is_root() && now.ids.uid != session.uid {
            let message = format!(
                "{} belongs to {}, not to the connection's account; nothing was changed",
                self.path, now.names
            );
            let advice = crate::sdk::Advice::Never;
            return Err(ConnectorError::new(ErrorKind::Forbidden, advice, message));
        }
        session.change(&Command::SetMode { path: &self.path, mode: to }, cx.deadline).await?;
        Ok(true)
    }
}

impl Action for SetFilePermission {
    type Connector = Ssh;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "set_file_permission",
        title: "Set the mode of a file",
        description: "Sets the permission bits of one regular file. Its owner, its content and its access \
                      control list's entries stay.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        target_types: &[HOST],
        permissions: &["the file's owner, or root, or sudo for /usr/bin/stat and /usr/bin/chmod"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "path": "/etc/motd", "mode": "0640" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(State { place: file::look(session, target, &self.path).await? })
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let mut checks = vec![host_check(target)?];
        checks.extend(place_checks(&state.place));
        let set = Command::SetMode { path: &self.path, mode: self.mode };
        let owns = match &state.place {
            Place::File(file) => !session.sudo && file.ids.uid == session.uid,
            Place::Elsewhere | Place::Refused(_) => false,
        };
        if owns {
            checks.push(check("the connection may change the file", true, "the file is its own"));
        } else {
            let path = [self.path.to_string()];
            checks.extend(permission_checks(session, &[Command::Look(&path), set]).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let diff = match &state.place {
            Place::File(file) if file.mode != self.mode => {
                vec![line(target, "mode", file.mode.to_string(), self.mode.to_string())]
            }
            Place::File(_) | Place::Elsewhere | Place::Refused(_) => Vec::new(),
        };
        let (path, mode) = (&self.path, self.mode);
        Description {
            diff,
            summary: format!("{path} on {} gets the mode {mode}.", target.name),
            rollback: format!("{path} gets the mode back that it had."),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let from = file::file(&before.state.place)?;
        let changed = self.bring(session, cx, from.mode, self.mode).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        matches!(&now.place, Place::File(file) if file.mode == self.mode)
    }
}

impl Reversible for SetFilePermission {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let to = file::file(&before.state.place)?;
        self.bring(session, cx, self.mode, to.mode).await
    }
}
