//! `host.set_file_content`

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Meta, Operation, check, field_diff, line};
use crate::host::{Access, CONTENT_LIMIT, FileView, Host, HostError, HostPath, Ids, Mode, account};

/// Longest content that a diff shows; a longer one appears as size and hash.
const SHOWN_LIMIT: usize = 64 * 1024;

/// Writes a whole text file, in one step for every reader.
///
/// An existing file keeps its owner, group, extended attributes and, unless `mode` is given, its
/// mode. A new file belongs to the agent's user. Links, files with several names, and files that
/// are set-user-ID, set-group-ID or carry capabilities are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFileContent {
    /// Absolute path of the file. Its directory must exist; no part of it may be a symbolic link.
    #[schemars(example = "/etc/motd")]
    pub path: HostPath,
    /// The whole new content, at most 1 MiB. Not for secrets: it is part of the change's record.
    #[schemars(length(max = 1_048_576), extend("x-multiline" = true))]
    pub content: String,
    /// Permission bits as four octal digits, such as 0644. Without it an existing file keeps its
    /// mode, and a new one gets 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// The file before or after; `None` when there is none.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct State(Option<Captured>);

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Captured {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    content: Vec<u8>,
    /// None on a host that has no owners and modes.
    #[serde(flatten)]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Permission {
    mode: Mode,
    ids: Ids,
    owner: String,
    group: String,
}

impl Operation for SetFileContent {
    const META: Meta = Meta {
        id: "host.set_file_content",
        title: "Set file content",
        description: "Writes a whole file on the host, at most 1 MiB. Undone by putting the earlier \
                      content, mode and owner back, or by removing a file that was not there.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        permissions: &["write access to the file and its directory for the agent's user"],
    };

    type State = State;

    fn example() -> Self {
        Self {
            path: "/etc/motd".parse().expect("the path is normal and absolute"),
            content: "This machine is managed. Changes go through Nexplane.\n".to_owned(),
            mode: Some(Mode::from_bits(0o644)),
        }
    }

    fn paths(&self) -> Vec<&HostPath> {
        vec![&self.path]
    }

    fn may_cut_line(&self) -> bool {
        line::hangs_on_file(&self.path)
    }

    fn summary(&self, target: &str) -> String {
        format!("Writes {} bytes to {} on {target}.", self.content.len(), self.path)
    }

    fn rollback(&self) -> String {
        format!(
            "Puts the earlier content, mode and owner of {} back, or removes it if it was new.",
            self.path
        )
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        vec![
            check("path_allowed", self.path_allowed(host)),
            check("directory_exists", self.directory_exists(host)),
            check("file_replaceable", self.file_replaceable(host)),
            check("content_size", self.content_size()),
            check("mode_plain", self.mode_plain(host)),
        ]
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        host.may_touch(&self.path, Access::Content)?;
        let Some(FileView { meta, content }) = host.read(&self.path, CONTENT_LIMIT)? else {
            return Ok(State(None));
        };
        let permission = Permission::of(host, meta.mode, meta.ids)?;
        Ok(State(Some(Captured { content, permission })))
    }

    fn intended(&self, host: &dyn Host, before: &State) -> Result<State, HostError> {
        let content = self.content.clone().into_bytes();
        let captured = if let Some(old) = &before.0 {
            let mode = |old: Permission| Permission { mode: self.mode.unwrap_or(old.mode), ..old };
            Captured { content, permission: old.permission.clone().map(mode) }
        } else {
            let mode = self.mode.unwrap_or(Mode::from_bits(0o644));
            Captured { content, permission: Permission::of(host, mode, host.own_ids())? }
        };
        Ok(State(Some(captured)))
    }

    fn fields(state: &State) -> Vec<Field> {
        let Some(file) = &state.0 else {
            return vec![Field::new("exists", false)];
        };
        let mut fields = vec![
            Field::new("exists", true),
            Field::new("size", file.content.len()),
            Field::new("sha256", hex::encode(Sha256::digest(&file.content))),
        ];
        if let Some(Permission { mode, owner, group, .. }) = &file.permission {
            fields.extend([
                Field::new("mode", mode.to_string()),
                Field::new("owner", owner.clone()),
                Field::new("group", group.clone()),
            ]);
        }
        fields
    }

    fn diff(target: &str, before: &State, after: &State) -> Vec<DiffLine> {
        let mut lines = field_diff(target, &Self::fields(before), &Self::fields(after));
        let [old, new] = [before, after].map(|state| state.0.as_ref().map(|file| &file.content));
        if old != new {
            lines.push(DiffLine {
                target: target.to_owned(),
                field: "content".to_owned(),
                before: before.shown(),
                after: after.0.as_ref().map_or(Value::Null, |file| text(&file.content)),
            });
        }
        lines
    }

    fn bring(&self, host: &dyn Host, from: Option<&State>, to: &State) -> Result<(), HostError> {
        host.may_touch(&self.path, Access::Content)?;
        host.discard_leftovers(&self.path)?;
        let now = host.read(&self.path, CONTENT_LIMIT)?;
        let same = |state: &State| match (&state.0, &now) {
            (None, None) => true,
            (Some(file), Some(view)) => {
                file.content == view.content
                    && file.permission.as_ref().is_none_or(|permission| {
                        (permission.mode, permission.ids) == (view.meta.mode, view.meta.ids)
                    })
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !from.is_none_or(same) {
            return Err(HostError::Moved { path: self.path.clone() });
        }
        if same(to) {
            return Ok(());
        }
        let expected = now.as_ref().map(|view| &view.meta);
        match (&to.0, expected) {
            (Some(file), _) => {
                let (mode, ids) = file.permission.as_ref().map_or_else(
                    || (Mode::from_bits(0o644), host.own_ids()),
                    |permission| (permission.mode, permission.ids),
                );
                host.write(&self.path, expected, &file.content, mode, ids)
            }
            (None, Some(meta)) => host.remove(&self.path, meta),
            (None, None) => Ok(()),
        }
    }
}

impl SetFileContent {
    fn path_allowed(&self, host: &dyn Host) -> Result<String, String> {
        host.may_touch(&self.path, Access::Content)
            .map(|()| format!("{} may be written by the agent", self.path))
            .map_err(|error| error.sentence())
    }

    fn directory_exists(&self, host: &dyn Host) -> Result<String, String> {
        let Some(parent) = self.path.parent() else {
            return Ok("the file lies in the root directory".to_owned());
        };
        match host.is_directory(&parent) {
            Ok(true) => Ok(format!("{parent} is a directory")),
            Ok(false) => Err(format!("{parent} does not exist: create it first")),
            Err(error) => Err(error.sentence()),
        }
    }

    fn file_replaceable(&self, host: &dyn Host) -> Result<String, String> {
        match host.stat(&self.path) {
            Ok(None) => Ok(format!("{} does not exist and will be created", self.path)),
            Ok(Some(meta)) if meta.size > CONTENT_LIMIT => {
                Err(format!("{} is larger than 1 MiB: its content could not be kept", self.path))
            }
            Ok(Some(meta)) if meta.mode.is_special() || meta.has_capabilities => Err(format!(
                "{} is set-user-ID, set-group-ID or carries capabilities: take that away first",
                self.path
            )),
            Ok(Some(meta)) => Ok(format!("{} is a regular file of {} bytes", self.path, meta.size)),
            Err(error) => Err(error.sentence()),
        }
    }

    fn content_size(&self) -> Result<String, String> {
        let size = self.content.len();
        if u64::try_from(size).is_ok_and(|size| size <= CONTENT_LIMIT) {
            Ok(format!("{size} bytes"))
        } else {
            Err(format!("{size} bytes are more than 1 MiB: shorten the content"))
        }
    }

    fn mode_plain(&self, host: &dyn Host) -> Result<String, String> {
        match self.mode {
            Some(_) if !host.has_modes() => {
                Err("not on this kind of host: its files have no mode, so leave it out".to_owned())
            }
            None if !host.has_modes() => Ok("who may use the file stays as it is".to_owned()),
            Some(mode) if mode.is_special() => {
                Err(format!("{mode} has special bits: use set_file_permission for them"))
            }
            Some(mode) => Ok(format!("the mode will be {mode}")),
            None => Ok("the mode stays, or is 0644 for a new file".to_owned()),
        }
    }
}

impl Permission {
    /// None on a host that has no owners and modes.
    fn of(host: &dyn Host, mode: Mode, ids: Ids) -> Result<Option<Self>, HostError> {
        if !host.has_modes() {
            return Ok(None);
        }
        let (owner, group) = account::names(host, ids)?;
        Ok(Some(Self { mode, ids, owner, group }))
    }
}

impl Captured {
    /// As far as it is known.
    fn is_readable_by_everyone(&self) -> bool {
        self.permission.as_ref().is_some_and(|permission| permission.mode.is_readable_by_everyone())
    }
}

impl State {
    /// The content for people. What not everyone on the host may read is not copied off it.
    fn shown(&self) -> Value {
        match &self.0 {
            None => Value::Null,
            Some(file) if file.is_readable_by_everyone() => text(&file.content),
            Some(file) => Value::String(format!(
                "({} bytes, not shown: the file is not readable by everyone)",
                file.content.len()
            )),
        }
    }
}

fn text(content: &[u8]) -> Value {
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= SHOWN_LIMIT => Value::String(text.to_owned()),
        Ok(_) | Err(_) => {
            let hash = hex::encode(Sha256::digest(content));
            Value::String(format!("({} bytes, SHA-256 {hash})", content.len()))
        }
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
