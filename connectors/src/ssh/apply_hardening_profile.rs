//! `ssh.apply_hardening_profile`: the agent's hardening profiles on a host without the agent.
//!
//! Items and rules are the agent's ([`RunHardeningProfile`]); only how the host is read and written is our own
//! ([`super::remote`]).

use std::collections::BTreeSet;

use nexplane_agent::host::{Host, HostError, HostPath, Ids, Mode, UnitName};
use nexplane_agent::operation::Operation;
use nexplane_agent::operation::hardening::{self, RunHardeningProfile};
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::Outcome;
use super::account::permission_checks;
use super::command::{Command, Switch};
use super::host::{HOST, host_check, is_host};
use super::remote::{self, Remote};
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Reversible, StepContext, TargetState, check,
};

/// Brings a host to a hardening profile, item by item.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ApplyHardeningProfile(RunHardeningProfile);

/// What is there of the profile.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// The target is not the host of the connection.
    Elsewhere,
    /// Why the profile cannot be looked at.
    Refused(String),
    Known(Box<Known>),
}

/// The items that apply.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    now: hardening::State,
    /// As they shall be.
    intended: hardening::State,
    diff: Vec<DiffLine>,
    /// What came of each item.
    checks: Vec<Check>,
}

fn fields(state: &hardening::State) -> Vec<Field> {
    RunHardeningProfile::fields(state)
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Elsewhere => Vec::new(),
            Self::Refused(why) => vec![Field::new("refused", why.as_str())],
            Self::Known(known) => fields(&known.now),
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Elsewhere => json!({ "host": false }),
            Self::Refused(_) => json!({ "profile": false }),
            Self::Known(known) => {
                let fields = fields(&known.now).into_iter();
                Value::Object(fields.map(|field| (field.name, field.value)).collect::<Map<_, _>>())
            }
        }
    }
}

/// What an operation on the host comes to: a state, or why there is none.
type Looked = Result<Box<Known>, String>;

impl ApplyHardeningProfile {
    /// Reads ahead what the items, and the questions before them, are about.
    fn prepare_host(&self, host: &Remote) -> Result<(), HostError> {
        let paths = |list: &[&str]| -> Vec<HostPath> {
            list.iter().filter_map(|path| path.parse().ok()).collect()
        };
        let mut contents: BTreeSet<HostPath> = self.0.contents().cloned().collect();
        contents.extend(paths(&["/etc/group", "/etc/passwd", "/usr/lib/os-release"]));
        let mut looked_at: BTreeSet<HostPath> = self.0.paths().into_iter().cloned().collect();
        looked_at.extend(paths(&["/etc/ssh/sshd_config.d", "/etc/sysctl.d", "/run/dbus"]));
        host.prepare(looked_at, &contents, &self.0.settings().cloned().collect::<Vec<_>>())
    }

    fn look(&self, host: &Remote, target: &str) -> Result<Looked, HostError> {
        self.prepare_host(host)?;
        let checks = self.0.validate(host);
        // Which items there are, and whether the profile is for this system.
        if let Some(wrong) = checks.iter().take(2).find(|check| !check.ok) {
            return Ok(Err(wrong.detail.clone()));
        }
        let now = self.0.snapshot(host)?;
        let intended = self.0.intended(host, &now)?;
        let diff = RunHardeningProfile::diff(target, &now, &intended);
        Ok(Ok(Box::new(Known { now, intended, diff, checks })))
    }

    /// Brings the items from one state to another, whichever of the two each of them is in.
    fn bring(
        &self,
        host: &Remote,
        from: &hardening::State,
        to: &hardening::State,
        is_undo: bool,
    ) -> Result<bool, HostError> {
        self.prepare_host(host)?;
        let now = self.0.reread(host, to)?;
        let changed = now != *to;
        if changed && !RunHardeningProfile::is_between(&now, from, to) {
            let why = "somebody changed it since it was read; plan again".to_owned();
            return Err(HostError::Item { item: "an item of the profile".to_owned(), why });
        }
        // What an interruption left.
        self.0.contents().try_for_each(|path| host.discard_leftovers(path))?;
        if changed {
            // Forwards the first item that does not come out is the last one; on the way back every one is tried.
            self.0.bring(host, (!is_undo).then_some(&now), to)?;
        }
        Ok(changed)
    }

    async fn go(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &State,
        is_undo: bool,
    ) -> Result<bool, ConnectorError> {
        let known = known(before)?;
        if !is_host(&cx.step.target)? {
            return known_elsewhere();
        }
        let (was, then) = (known.now.clone(), known.intended.clone());
        let (from, to) = if is_undo { (then, was) } else { (was, then) };
        let action = self.clone();
        let work = move |host: &Remote| action.bring(host, &from, &to, is_undo);
        remote::with(session, cx.deadline, work).await
    }
}

fn known_elsewhere<T>() -> Result<T, ConnectorError> {
    Err(ConnectorError::invalid(
        "the target is another host than the one of the connection; nothing was changed",
    ))
}

fn known(state: &State) -> Result<&Known, ConnectorError> {
    match state {
        State::Known(known) => Ok(known),
        State::Refused(why) => Err(ConnectorError::conflict(format!("{why}; nothing was changed"))),
        State::Elsewhere => known_elsewhere(),
    }
}

/// Whether the connection may start what items need.
async fn may(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let wrong = |why: String| ConnectorError::invalid(why);
    let path: HostPath = "/etc/motd".parse().map_err(|why| wrong(format!("{why}")))?;
    let unit: UnitName = "rsync.service".parse().map_err(|why| wrong(format!("{why}")))?;
    let (path, names, paths) = (&path, [path.to_string()], [path.clone()]);
    let (ids, mode) = (Ids { uid: 0, gid: 0 }, Mode::from_bits(0o600));
    let needed = [
        Command::Examine(&names),
        Command::Capabilities(path),
        Command::Read(&paths),
        Command::SshdAccepts(&["MaxAuthTries 4"]),
        Command::Create { path, mode, ids },
        Command::Copy { from: path, to: path },
        Command::Fill { path, content: &[] },
        Command::Rename { from: path, to: path, replace: true },
        Command::Unlink(path),
        Command::SetMode { path, mode },
        Command::SetOwner { path, from: ids, to: ids },
        Command::Switch { unit: &unit, to: Switch::Disable },
    ];
    permission_checks(session, &needed).await
}

impl Action for ApplyHardeningProfile {
    type Connector = Ssh;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "apply_hardening_profile",
        title: "Apply a hardening profile",
        description: "Brings a host to a hardening profile, item by item: kernel settings, permissions of files, \
                      directives of the SSH server, modules, services. The profiles are those of the agent. What \
                      cannot be done on the host is told and left out; what only a person should decide is told and \
                      not changed. Undone by putting back each item that was changed. Nothing asks for a restart, \
                      and the SSH server is not reloaded.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[HOST],
        permissions: &[
            "root, or sudo for /usr/bin/stat, cat, cp, install, dd, mv, rm, chmod, chown and systemctl, and for \
             /usr/sbin/getcap and /usr/sbin/sshd -t",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "profile": "cis-debian12-level1", "skip": ["module-usb-storage", "service-rsync"] })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        if !is_host(target)? {
            return Ok(State::Elsewhere);
        }
        if !session.is_root() {
            let why = "a profile needs root, or sudo of the connection set to 'passwordless'";
            return Ok(State::Refused(why.to_owned()));
        }
        let (action, name) = (self.clone(), target.name.clone());
        let work = move |host: &Remote| action.look(host, &name);
        match remote::with(session, session.reading(), work).await {
            Ok(Ok(known)) => Ok(State::Known(known)),
            Ok(Err(why)) => Ok(State::Refused(why)),
            Err(error) if error.kind == ErrorKind::Forbidden => Ok(State::Refused(error.message)),
            Err(error) => Err(error),
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let mut checks = vec![host_check(target)?];
        match state {
            State::Elsewhere => return Ok(checks),
            State::Refused(why) => checks.push(check("the profile fits", false, why.clone())),
            State::Known(known) => checks.extend(known.checks.iter().cloned()),
        }
        checks.extend(may(session).await?);
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let diff = match state {
            State::Known(known) => known.diff.clone(),
            State::Elsewhere | State::Refused(_) => Vec::new(),
        };
        Description {
            diff,
            summary: self.0.summary(&target.name),
            rollback: Operation::rollback(&self.0),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = self.go(session, cx, &before.state, false).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        match (now, &before.state) {
            (State::Known(now), State::Known(before)) => now.now == before.intended,
            (
                State::Known(_) | State::Elsewhere | State::Refused(_),
                State::Known(_) | State::Elsewhere | State::Refused(_),
            ) => false,
        }
    }
}

impl Reversible for ApplyHardeningProfile {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        self.go(session, cx, &before.state, true).await
    }
}
