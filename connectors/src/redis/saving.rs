//! Where a change of a user is kept, so that it is still there after a restart.
//!
//! With an ACL file it is `ACL SAVE`, without one `CONFIG REWRITE`; a server that was started without either
//! keeps nothing. Both write everything that the server has in memory, not only our change.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/#use-an-external-acl-file>

use nexplane_core::plan::{Check, Field};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::connection::command;
use super::error::{is_forbidden, unreadable};
use super::session::Session;
use super::target::Seen;
use crate::sdk::{ConnectorError, check};

/// The files that a server keeps its users and settings in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// `aclfile` is set.
    pub acl: bool,
    /// The server was started with a configuration file.
    pub config: bool,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Users.
    Users,
    /// The setting `requirepass` and the user `default`.
    Requirepass,
}

impl Files {
    pub async fn read(session: &Session) -> Result<Seen<Self>, ConnectorError> {
        match Self::try_read(session).await {
            Ok(files) => Ok(Seen::There(files)),
            Err(error) if is_forbidden(&error) => Ok(Seen::Unreadable),
            Err(error) => Err(error),
        }
    }

    async fn try_read(session: &Session) -> Result<Self, ConnectorError> {
        let acl = setting(session, "aclfile").await?.is_some();
        let info: String = session.line.ask(&["INFO", "server"]).await?;
        let config = info.lines().find_map(|line| line.strip_prefix("config_file:"));
        Ok(Self { acl, config: config.is_some_and(|path| !path.trim().is_empty()) })
    }

    /// The commands that keep it.
    pub const fn commands(self, what: What) -> &'static [&'static [&'static str]] {
        match (what, self.acl, self.config) {
            (What::Users, true, _) | (What::Requirepass, true, false) => &[&["ACL", "SAVE"]],
            (What::Users | What::Requirepass, false, true) => &[&["CONFIG", "REWRITE"]],
            (What::Requirepass, true, true) => &[&["CONFIG", "REWRITE"], &["ACL", "SAVE"]],
            (_, false, false) => &[],
        }
    }

    /// Whether it is still there after a restart.
    pub const fn survives(self, what: What) -> bool {
        match what {
            What::Users => self.acl || self.config,
            What::Requirepass => self.config,
        }
    }

    /// One sentence for a plan: what becomes of the change at a restart.
    pub fn sentence(self, what: What) -> &'static str {
        match (self.survives(what), self.commands(what)) {
            (false, _) => {
                "It will NOT survive a restart of the server, which has no file that keeps it."
            }
            (true, [["CONFIG", "REWRITE"], ..]) => {
                "It is saved with CONFIG REWRITE, which also saves every other setting that was \
                 changed since the server started."
            }
            (true, _) => {
                "It is saved with ACL SAVE, which also saves every other user that was changed \
                 since the file was loaded."
            }
        }
    }
}

/// As a plan shows it.
pub fn field(files: &Seen<Files>, what: What) -> Field {
    let value = match files {
        Seen::There(files) => Json::from(files.survives(what)),
        Seen::Absent | Seen::Unreadable => Json::Null,
    };
    Field::new("survives_restart", value)
}

/// The end of a plan's sentence.
pub fn sentence(files: &Seen<Files>, what: What) -> &'static str {
    files.there().map_or("", |files| files.sentence(what))
}

/// Whether it is known where the change is kept.
pub fn file_check(session: &Session, files: &Seen<Files>, what: What) -> Check {
    let name = "it is known whether the change survives a restart";
    match files {
        Seen::There(files) => check(name, true, files.sentence(what)),
        Seen::Absent | Seen::Unreadable => {
            let own = session.own();
            let detail = format!("as an administrator run: ACL SETUSER {own} +config|get +info");
            check(name, false, detail)
        }
    }
}

/// Saves it. Answers whether it is kept now. An error promises that nothing was saved, when the server itself
/// said no to the first command.
pub async fn save(session: &Session, what: What) -> Result<bool, ConnectorError> {
    let Seen::There(files) = Files::read(session).await? else {
        return Err(unreadable("where the server keeps its users"));
    };
    let mut saved = false;
    for words in files.commands(what) {
        let done = session.line.change::<()>(&command(words)).await;
        done.map_err(|error| if saved { super::error::after_change(error) } else { error })?;
        saved = true;
    }
    Ok(files.survives(what))
}

/// A setting of the server that is not empty.
pub async fn setting(session: &Session, name: &str) -> Result<Option<String>, ConnectorError> {
    let pair: Vec<String> = session.line.ask(&["CONFIG", "GET", name]).await?;
    Ok(pair.into_iter().nth(1).filter(|value| !value.is_empty()))
}
