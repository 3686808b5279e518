//! `host.set_file_permission`

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Meta, Operation, check, line};
use crate::host::{Access, Host, HostError, HostPath, Ids, Mode, account};

/// Sets mode and, if asked, owner and group of a file.
///
/// Links, directories and files with several names are refused. A file with capabilities keeps its
/// owner, because the kernel would drop them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFilePermission {
    /// Absolute path of the file. No part of it may be a symbolic link.
    #[schemars(example = "/etc/motd")]
    pub path: HostPath,
    /// Permission bits as four octal digits, such as 0640.
    #[schemars(example = "0640")]
    pub mode: Mode,
    /// New owner: a local account's name, or a number. Without it the owner stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub owner: Option<String>,
    /// New group: a local group's name, or a number. Without it the group stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub group: Option<String>,
}

/// Mode and owner of the file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    mode: Mode,
    ids: Ids,
    owner: String,
    group: String,
}

/// Where files have none, there is nothing that this operation could set.
fn has_modes(host: &dyn Host) -> Result<(), HostError> {
    if host.has_modes() {
        return Ok(());
    }
    Err(HostError::Unsupported { what: "owner, group and mode of a file" })
}

impl Operation for SetFilePermission {
    const META: Meta = Meta {
        id: "host.set_file_permission",
        title: "Set file permission",
        description: "Sets mode, and if asked owner and group, of one file on the host. Undone by \
                      setting them as they were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        permissions: &[
            "ownership of the file for the agent's user, or root",
            "root to give the file to another owner",
        ],
    };

    type State = State;

    fn example() -> Self {
        Self {
            path: "/etc/motd".parse().expect("the path is normal and absolute"),
            mode: Mode::from_bits(0o640),
            owner: None,
            group: None,
        }
    }

    fn paths(&self) -> Vec<&HostPath> {
        vec![&self.path]
    }

    fn may_cut_line(&self) -> bool {
        line::hangs_on_file(&self.path)
    }

    fn summary(&self, target: &str) -> String {
        let and = |what: &str, name: &Option<String>| {
            name.as_ref().map(|name| format!(", its {what} to {name}")).unwrap_or_default()
        };
        let Self { path, mode, owner, group } = self;
        let (owner, group) = (and("owner", owner), and("group", group));
        format!("Sets the mode of {path} on {target} to {mode}{owner}{group}.")
    }

    fn rollback(&self) -> String {
        format!("Sets mode, owner and group of {} as they were.", self.path)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        vec![
            check("path_allowed", self.path_allowed(host)),
            check("file_exists", self.file_exists(host)),
            check("owner_known", self.owner_known(host)),
        ]
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        host.may_touch(&self.path, Access::Permission)?;
        has_modes(host)?;
        let meta =
            host.stat(&self.path)?.ok_or_else(|| HostError::Missing { path: self.path.clone() })?;
        let (owner, group) = account::names(host, meta.ids)?;
        Ok(State { mode: meta.mode, ids: meta.ids, owner, group })
    }

    fn intended(&self, host: &dyn Host, before: &State) -> Result<State, HostError> {
        let ids = self.wanted(host, before.ids)?;
        let (owner, group) = account::names(host, ids)?;
        Ok(State { mode: self.mode, ids, owner, group })
    }

    fn fields(state: &State) -> Vec<Field> {
        vec![
            Field::new("mode", state.mode.to_string()),
            Field::new("owner", state.owner.clone()),
            Field::new("group", state.group.clone()),
        ]
    }

    fn bring(&self, host: &dyn Host, from: Option<&State>, to: &State) -> Result<(), HostError> {
        host.may_touch(&self.path, Access::Permission)?;
        let meta =
            host.stat(&self.path)?.ok_or_else(|| HostError::Missing { path: self.path.clone() })?;
        let same = |state: &State| state.mode == meta.mode && state.ids == meta.ids;
        if !from.is_none_or(same) {
            return Err(HostError::Moved { path: self.path.clone() });
        }
        if same(to) {
            return Ok(());
        }
        host.set_permission(&self.path, &meta, to.mode, to.ids)
    }
}

impl SetFilePermission {
    fn wanted(&self, host: &dyn Host, now: Ids) -> Result<Ids, HostError> {
        Ok(Ids {
            uid: self.owner.as_deref().map_or(Ok(now.uid), |name| account::uid(host, name))?,
            gid: self.group.as_deref().map_or(Ok(now.gid), |name| account::gid(host, name))?,
        })
    }

    fn path_allowed(&self, host: &dyn Host) -> Result<String, String> {
        host.may_touch(&self.path, Access::Permission)
            .map(|()| format!("{} may be changed by the agent", self.path))
            .map_err(|error| error.sentence())
    }

    fn file_exists(&self, host: &dyn Host) -> Result<String, String> {
        has_modes(host).map_err(|error| error.sentence())?;
        match host.stat(&self.path) {
            Ok(None) => Err(format!("{} does not exist", self.path)),
            Ok(Some(meta)) => match self.wanted(host, meta.ids) {
                Ok(ids) if ids != meta.ids && meta.has_capabilities => Err(format!(
                    "{} carries capabilities, which a new owner would take away for good",
                    self.path
                )),
                Ok(_) | Err(_) => Ok(format!("{} is a regular file", self.path)),
            },
            Err(error) => Err(error.sentence()),
        }
    }

    fn owner_known(&self, host: &dyn Host) -> Result<String, String> {
        self.wanted(host, Ids { uid: 0, gid: 0 })
            .map(|_| "owner and group are known on the host".to_owned())
            .map_err(|error| error.sentence())
    }
}
