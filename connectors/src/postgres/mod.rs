//! Connector `postgres`: roles and privileges of one PostgreSQL server, version 12 and later.
//!
//! It manages who may log in and what they may do. It deliberately does not touch data, schemas'
//! contents, `pg_hba.conf` or server settings. Every effect is one transaction on a connection of
//! its own, compares the state it finds with the one that was approved, and changes nothing when they
//! differ. The connection's own role, the bootstrap superuser and the predefined roles are never
//! targets.

mod acl;
mod create_read_only_user;
mod credentials;
mod definition;
mod discover;
mod drop_user;
mod error;
mod greeting;
mod lock_user;
mod login;
mod password;
mod revoke_all_privileges;
mod role;
mod rotate_user_password;
mod scram;
mod session;
mod set_connection_limit;
mod set_role_setting;
mod sql;
mod test;
mod tls;
mod unlock_user;

use nexplane_core::plan::Check;

pub use credentials::{Credentials, SslMode};
pub use session::Session;

use crate::sdk::{Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext};

/// The connector.
#[derive(Debug)]
pub struct Postgres;

impl Connector for Postgres {
    const META: ConnectorMeta = ConnectorMeta {
        id: "postgres",
        title: "PostgreSQL",
        description: "Roles and privileges of one PostgreSQL server, version 12 and later.",
        managed: true,
        asset_types: &[role::DATABASE, role::ROLE],
    };
    const LEAST_PRIVILEGE: &'static str = include_str!("least_privilege.sql");
    type Credentials = Credentials;
    type Session = Session;

    async fn connect(
        credentials: Credentials,
        cx: &OpenContext,
    ) -> Result<Session, ConnectorError> {
        Session::open(credentials, cx).await
    }

    async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
        test::test(session).await
    }

    async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
        discover::discover(session).await
    }

    fn actions() -> Actions<Self> {
        Actions::new()
            .reversible::<create_read_only_user::CreateReadOnlyUser>()
            .reversible::<drop_user::DropUser>()
            .reversible::<lock_user::LockUser>()
            .reversible::<revoke_all_privileges::RevokeAllPrivileges>()
            .reversible::<rotate_user_password::RotateUserPassword>()
            .reversible::<set_connection_limit::SetConnectionLimit>()
            .reversible::<set_role_setting::SetRoleSetting>()
            .reversible::<unlock_user::UnlockUser>()
    }
}
