//! Connector `vault`: secrets, policies and tokens of one HashiCorp Vault or OpenBao server.
//!
//! It manages secrets of KV version 2, ACL policies, tokens by their accessor, and passwords that a database
//! secrets engine keeps in static roles. Every effect reads what it changes right before, and changes nothing
//! when that is not as approved; where the server has a check-and-set, the write itself depends on it.
//!
//! What is deliberately absent: KV version 1 (it has no versions, so nothing could be restored), destroying
//! versions, sealing, mounting and unmounting, policies and auth methods that are made or deleted, and
//! `rotate-root` of a database connection (nothing that the server shows says afterwards whether it happened).
//! A token is neither renewed nor revoked when a session ends: an AppRole with batch tokens leaves nothing behind.
//!
//! Sources: <https://developer.hashicorp.com/vault/api-docs>, <https://openbao.org/docs/api/>.

mod account;
mod credentials;
mod delete_kv_version;
mod discover;
mod kv;
mod policy;
mod revoke_token;
mod rights;
mod rotate_database_credentials;
mod rotate_kv_secret;
pub mod secret;
mod session;
mod target;
mod test;
mod update_policy;

use nexplane_core::plan::Check;

pub use credentials::Credentials;
pub use session::Session;

use crate::sdk::{
    Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext, SecretText,
};

/// The connector.
#[derive(Debug)]
pub struct Vault;

impl Connector for Vault {
    const META: ConnectorMeta = ConnectorMeta {
        id: "vault",
        title: "Vault and OpenBao",
        description: "Secrets of KV version 2, ACL policies, tokens and static database roles of one \
                      HashiCorp Vault or OpenBao server.",
        managed: true,
        asset_types: &[
            target::AUTH_METHOD,
            target::DATABASE_MOUNT,
            target::DATABASE_ROLE,
            target::KV_MOUNT,
            target::POLICY,
            target::SECRET,
        ],
    };
    const LEAST_PRIVILEGE: &'static str = include_str!("least_privilege.hcl");
    type Credentials = Credentials;
    type Session = Session;

    async fn connect(
        credentials: Credentials,
        cx: &OpenContext,
    ) -> Result<Session, ConnectorError> {
        Session::open(credentials, cx).await
    }

    fn secrets(session: &Session) -> Vec<SecretText> {
        vec![session.token.clone()]
    }

    async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
        test::test(session).await
    }

    async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
        discover::discover(session).await
    }

    fn actions() -> Actions<Self> {
        Actions::new()
            .reversible::<delete_kv_version::DeleteKvVersion>()
            .one_way::<revoke_token::RevokeToken>(
                "A revoked token, the tokens that it made and the leases of all of them are gone: \
                 their holders have to log in again",
            )
            .one_way::<rotate_database_credentials::RotateDatabaseCredentials>(
                "The server keeps only the newest password of a static role, and the database knows \
                 no other",
            )
            .reversible::<rotate_kv_secret::RotateKvSecret>()
            .reversible::<update_policy::UpdatePolicy>()
    }
}
