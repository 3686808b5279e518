//! An open way to one Redis server.

use nexplane_core::plan::TargetRef;

use super::connection::{Connection, Way};
use super::credentials::Credentials;
use super::target::{INSTANCE, UserName, database_of};
use crate::sdk::{ConnectorError, OpenContext};

/// A session: one connection for users and settings, and more of them for databases and for trying logins.
pub struct Session {
    pub(super) way: Way,
    pub(super) line: Connection,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("user", self.own()).finish_non_exhaustive()
    }
}

impl Session {
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let way = Way::try_new(credentials, cx)?;
        let line = way.connect().await?;
        Ok(Self { way, line })
    }

    /// The connection's own user, who is never a target.
    pub(super) const fn own(&self) -> &UserName {
        &self.way.credentials.username
    }

    /// The number of the database that a target is; of the instance, the connection's own.
    pub(super) fn database_of(&self, target: &TargetRef) -> Result<u32, ConnectorError> {
        if target.kind == INSTANCE {
            Ok(self.way.credentials.database)
        } else {
            database_of(target)
        }
    }

    /// A connection of its own in one of the server's databases. Errors of `SELECT` itself have its code.
    pub(super) async fn database(&self, number: u32) -> Result<Connection, ConnectorError> {
        let connection = self.way.connect().await?;
        connection.ask::<()>(&["SELECT", &number.to_string()]).await?;
        Ok(connection)
    }
}
