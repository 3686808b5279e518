//! `ssh.set_file_ownership`: owner and group of one file.

use nexplane_agent::host::{HostPath, Ids};
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Outcome;
use super::account::permission_checks;
use super::command::Command;
use super::file::{self, File, Place, moved, place_checks};
use super::host::{HOST, host_check};
use super::owner_name::{Kind, OwnerName};
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Advice, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Reversible, StepContext, TargetState, check, line,
};

/// Somebody may execute it.
const EXECUTABLE: u32 = 0o111;

/// Gives a file another owner, another group, or both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFileOwnership {
    /// Absolute path of a regular file. No part of it may be a symbolic link, and every directory above it
    /// belongs to root and may be written to by nobody else.
    pub path: HostPath,
    /// New owner: a local account's name, or a number. Without it the owner stays.
    #[serde(default)]
    pub owner: Option<OwnerName>,
    /// New group: a local group's name, or a number. Without it the group stays.
    #[serde(default)]
    pub group: Option<OwnerName>,
}

/// What is there, and what the names of the request mean on the host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    place: Place,
    /// Absent when there is no such account.
    owner: Option<u32>,
    /// Absent when there is no such group.
    group: Option<u32>,
    /// The file has capabilities (`capabilities(7)`), or nobody can tell; only asked of programs.
    capabilities: Option<String>,
}

impl State {
    fn wanted(&self) -> Option<Ids> {
        Some(Ids { uid: self.owner?, gid: self.group? })
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        match &self.place {
            Place::Elsewhere => Vec::new(),
            Place::Refused(why) => vec![Field::new("refused", why.as_str())],
            Place::File(file) => vec![
                Field::new("owner", file.names.as_str()),
                Field::new("ids", format!("{}:{}", file.ids.uid, file.ids.gid)),
            ],
        }
    }

    /// The mode is neither changed nor compared.
    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match &self.place {
            Place::Elsewhere => json!({ "host": false }),
            Place::Refused(_) => json!({ "file": false }),
            Place::File(file) => json!({ "file": true, "uid": file.ids.uid, "gid": file.ids.gid }),
        }
    }
}

impl SetFileOwnership {
    async fn look(&self, session: &Session, target: &TargetRef) -> Result<State, ConnectorError> {
        let place = file::look(session, target, &self.path).await?;
        let Place::File(file) = &place else {
            return Ok(State { place, owner: None, group: None, capabilities: None });
        };
        let owner = match &self.owner {
            None => Some(file.ids.uid),
            Some(name) => name.number(session, Kind::Account).await?,
        };
        let group = match &self.group {
            None => Some(file.ids.gid),
            Some(name) => name.number(session, Kind::Group).await?,
        };
        let capabilities = self.capabilities(session, file).await?;
        Ok(State { place, owner, group, capabilities })
    }

    /// The kernel takes capabilities away with the owner, and nothing here could put them back.
    async fn capabilities(
        &self,
        session: &Session,
        file: &File,
    ) -> Result<Option<String>, ConnectorError> {
        let command = Command::Capabilities(&self.path);
        let answer = session.ask(&command).await?;
        let is_program = file.mode.bits() & EXECUTABLE != 0;
        Ok(match (answer.ok(), answer.output.is_empty()) {
            (true, true) => None,
            // It is hardly ever done, and not worth a program that is missing.
            (false, _) if !is_program => None,
            (true, false) => {
                Some("it has capabilities, which a new owner would take away".to_owned())
            }
            (false, _) => Some(format!(
                "it is a program, and whether it has capabilities cannot be told: on the host there must be \
                 {} (Debian: libcap2-bin), and the connection must be allowed to run it",
                command.program()
            )),
        })
    }

    async fn bring(
        &self,
        session: &Session,
        cx: &StepContext,
        from: Ids,
        to: Ids,
    ) -> Result<bool, ConnectorError> {
        let place = file::look(session, &cx.step.target, &self.path).await?;
        let now = file::file(&place)?;
        if now.ids == to {
            return Ok(false);
        }
        if now.ids != from {
            return Err(moved(&self.path));
        }
        if let Some(why) = losses(now).or(self.capabilities(session, now).await?) {
            return Err(ConnectorError::conflict(format!("{why}; nothing was changed")));
        }
        let set = Command::SetOwner { path: &self.path, from, to };
        session.change(&set, cx.deadline).await?;
        // `chown --from` says nothing when the owner was another one already.
        let place = file::look(session, &cx.step.target, &self.path).await.map_err(afterwards)?;
        match &place {
            Place::File(file) if file.ids == to => Ok(true),
            Place::File(_) | Place::Refused(_) | Place::Elsewhere => {
                let message = format!("somebody else was at {} at the same time", self.path);
                let kind = ErrorKind::Conflict;
                Err(ConnectorError::new(kind, Advice::OutcomeUnknown, message))
            }
        }
    }
}

/// What fails after the effect.
fn afterwards(mut error: ConnectorError) -> ConnectorError {
    error.advice = Advice::OutcomeUnknown;
    error.message = format!("the owner was changed, but then: {}", error.message);
    error
}

/// What the file would lose for good.
fn losses(file: &File) -> Option<String> {
    // Set-group-ID without the group's right to execute is another thing (mandatory locks), and stays.
    let bits = file.mode.bits();
    let has_set_id = bits & 0o4000 != 0 || bits & 0o2010 == 0o2010;
    has_set_id.then(|| {
        "it has set-user-ID or set-group-ID, which a new owner would take away: take the bits \
         away first, by set_file_permission"
            .to_owned()
    })
}

impl Action for SetFileOwnership {
    type Connector = Ssh;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "set_file_ownership",
        title: "Set owner and group of a file",
        description: "Gives one regular file another owner, another group, or both. Its mode and content \
                      stay; programs with set-user-ID, set-group-ID or capabilities are refused, because \
                      the kernel would take those away.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[HOST],
        permissions: &["root, or sudo for /usr/bin/stat, /usr/sbin/getcap and /usr/bin/chown"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "path": "/etc/motd", "owner": "root", "group": "adm" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        self.look(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let mut checks = vec![host_check(target)?];
        checks.extend(place_checks(&state.place));
        if let Place::File(file) = &state.place {
            for (what, name, found) in
                [("account", &self.owner, state.owner), ("group", &self.group, state.group)]
            {
                if let Some(name) = name {
                    let detail = match found {
                        Some(number) => format!("{name} has the number {number}"),
                        None => format!("there is no local {what} {name} on the host"),
                    };
                    checks.push(check(format!("the new {what} exists"), found.is_some(), detail));
                }
            }
            let loss = losses(file).or_else(|| state.capabilities.clone());
            let detail = loss.clone().unwrap_or_else(|| "nothing goes with the owner".to_owned());
            checks.push(check("the file keeps everything else", loss.is_none(), detail));
        }
        let is_asked = self.owner.is_some() || self.group.is_some();
        let detail = if is_asked { "it does" } else { "give an owner, a group, or both" };
        checks.push(check("the request names an owner or a group", is_asked, detail));
        let (path, ids) = ([self.path.to_string()], Ids { uid: 0, gid: 0 });
        let set = Command::SetOwner { path: &self.path, from: ids, to: ids };
        checks.extend(permission_checks(session, &[Command::Look(&path), set]).await?);
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let shown = |ids: &Ids| format!("{}:{}", ids.uid, ids.gid);
        let mut diff = Vec::new();
        if let (Place::File(file), Some(wanted)) = (&state.place, state.wanted())
            && file.ids != wanted
        {
            diff.push(line(target, "ids", shown(&file.ids), shown(&wanted)));
        }
        let named = |what: &str, name: &Option<OwnerName>| {
            name.as_ref().map(|name| format!("the {what} {name}"))
        };
        let to: Vec<_> = [named("owner", &self.owner), named("group", &self.group)]
            .into_iter()
            .flatten()
            .collect();
        Description {
            diff,
            summary: format!("{} on {} gets {}.", self.path, target.name, to.join(" and ")),
            rollback: format!("{} gets the owner and the group back that it had.", self.path),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let from = file::file(&before.state.place)?;
        let to = before.state.wanted().ok_or_else(unknown)?;
        let changed = self.bring(session, cx, from.ids, to).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        matches!(&now.place, Place::File(file) if Some(file.ids) == before.state.wanted())
    }
}

impl Reversible for SetFileOwnership {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let to = file::file(&before.state.place)?;
        let from = before.state.wanted().ok_or_else(unknown)?;
        self.bring(session, cx, from, to.ids).await
    }
}

fn unknown() -> ConnectorError {
    ConnectorError::invalid("the new owner or group is not known on the host; nothing was changed")
}
