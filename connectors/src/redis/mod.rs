//! Connector `redis`: users, passwords and keys of one Redis server (7.0 and later) or Valkey server.
//!
//! It manages who may log in, and removes keys that were named by a pattern or that expire anyway. What it
//! deliberately does not do: it never reads or writes a value, never names a key in a plan (keys are often
//! tokens), changes no rule of a user but `on`, `off` and its passwords, and speaks to one server only: the
//! other nodes of a cluster, replicas (users are not replicated) and Sentinels are connections of their own.
//!
//! What Redis can promise is less than a transaction. Users are not covered by `WATCH`, and `ACL` may not be
//! called from a script, so a change of a user is one `MULTI` of a look, one `ACL SETUSER` and another look.
//! `ACL SETUSER` is all or nothing, and fails when a password that it shall remove is not there: that is what
//! makes it conditional. What it cannot exclude by itself (a password that somebody added at the same moment)
//! the two looks show, and then it is put right and reported.
//! <https://redis.io/docs/latest/commands/acl-setuser/>

mod connection;
mod credentials;
mod delete_key_pattern;
mod discover;
mod error;
mod flush_volatile_keys;
mod keys;
mod lock_user;
mod login;
mod pattern;
mod requirepass;
mod rights;
mod rotate_auth_password;
mod rotation;
mod saving;
mod session;
mod sessions;
mod target;
mod test;
mod unlock_user;
mod user;

use nexplane_core::plan::Check;

pub use credentials::Credentials;
pub use session::Session;

use crate::sdk::{Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext};

/// The connector.
#[derive(Debug)]
pub struct Redis;

impl Connector for Redis {
    const META: ConnectorMeta = ConnectorMeta {
        id: "redis",
        title: "Redis",
        description: "Users, passwords and keys of one Redis server, version 7.0 and later, or \
                      Valkey server.",
        managed: true,
        asset_types: &[target::DATABASE, target::INSTANCE, target::USER],
    };
    const LEAST_PRIVILEGE: &'static str = include_str!("least_privilege.txt");
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
            .one_way::<delete_key_pattern::DeleteKeyPattern>(
                "Keys are deleted with their values, of which no copy is made.",
            )
            .one_way::<flush_volatile_keys::FlushVolatileKeys>(
                "Keys are deleted with their values, of which no copy is made.",
            )
            .reversible::<lock_user::LockUser>()
            .reversible::<rotate_auth_password::RotateAuthPassword>()
            .reversible::<unlock_user::UnlockUser>()
    }
}
