//! Connector `ldap`: users and groups of one directory, OpenLDAP or Active Directory.
//!
//! It manages who can log in and who belongs to what. It deliberately does not make, rename or delete entries,
//! and does not touch schemas, policies, access rules or the directory's configuration. Referrals are not
//! followed, aliases not dereferenced, and nothing is ever said without TLS. Every effect is one modification
//! that the directory refuses when what was read has moved: with the assertion control (RFC 4528) in OpenLDAP, by
//! deleting the old value and adding the new one in Active Directory.

mod add_group_member;
mod credentials;
mod discover;
mod entry;
mod error;
mod expire_password;
mod line;
mod lock;
mod lock_user;
mod membership;
mod name;
mod policy;
mod remove_group_member;
mod reset_ad_password;
mod reset_password;
mod session;
mod target;
mod test;
mod unlock_user;

use nexplane_core::plan::Check;

pub use credentials::{Credentials, Protection};
pub use session::Session;

use crate::sdk::{Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext};

/// The connector.
#[derive(Debug)]
pub struct Directory;

impl Connector for Directory {
    const META: ConnectorMeta = ConnectorMeta {
        id: "ldap",
        title: "LDAP directory",
        description: "Users and groups of one directory: OpenLDAP, or Active Directory (Samba is one).",
        managed: true,
        asset_types: &[target::GROUP, target::UNIT, target::USER],
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
            .reversible::<add_group_member::AddGroupMember>()
            .reversible::<expire_password::ExpirePassword>()
            .reversible::<lock_user::LockUser>()
            .reversible::<remove_group_member::RemoveGroupMember>()
            .one_way::<reset_ad_password::ResetAdPassword>(
                "Active Directory never gives a stored password back, so the old one cannot be restored.",
            )
            .reversible::<reset_password::ResetPassword>()
            .reversible::<unlock_user::UnlockUser>()
    }
}
