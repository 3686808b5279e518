//! Connector `ssh`: one Unix host, reached as an administrator reaches it.
//!
//! For hosts on which no agent can run. Where an agent can run it is the better way (connector `host`): it
//! changes files through descriptors, changes a state only if nobody else did since, and undoes by itself
//! what cut the line. Here a state is compared and changed by two commands: somebody else who changes the same
//! thing within the milliseconds in between is not noticed before `verify`.
//!
//! Deliberately absent: a shell command of anybody's, trust on first use of a host key,
//! port forwarding, file transfer, accounts of directories, and hosts without GNU programs in `/usr/bin` and
//! `/usr/sbin` (macOS, BSD, Alpine).

mod access;
mod account;
mod apply_hardening_profile;
mod command;
mod complaints;
mod credentials;
mod disable_service;
mod discover;
mod enable_service;
mod end;
mod error;
mod file;
mod host;
mod host_key;
mod install_package;
mod lock_local_user;
mod owner_name;
mod package;
mod package_check;
mod package_lock;
mod remote;
mod remove_package;
mod rotate_local_password;
mod session;
mod set_file_ownership;
mod set_file_permission;
mod sudo;
mod switch;
mod test;
mod unit;
mod unlock_local_user;

use nexplane_core::plan::Check;

pub use credentials::{Credentials, Sudo};
pub use session::Session;

use crate::sdk::{Actions, Connector, ConnectorError, ConnectorMeta, Discovery, OpenContext};

/// The connector.
#[derive(Debug)]
pub struct Ssh;

impl Connector for Ssh {
    const META: ConnectorMeta = ConnectorMeta {
        id: "ssh",
        title: "SSH",
        description: "Accounts, files, packages and services of one Linux host, over SSH.",
        managed: true,
        asset_types: &[account::ACCOUNT, host::HOST, unit::SERVICE],
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
            .reversible::<apply_hardening_profile::ApplyHardeningProfile>()
            .reversible::<disable_service::DisableService>()
            .reversible::<enable_service::EnableService>()
            .reversible::<install_package::InstallPackage>()
            .reversible::<lock_local_user::LockLocalUser>()
            .reversible::<remove_package::RemovePackage>()
            .reversible::<rotate_local_password::RotateLocalPassword>()
            .reversible::<set_file_ownership::SetFileOwnership>()
            .reversible::<set_file_permission::SetFilePermission>()
            .reversible::<unlock_local_user::UnlockLocalUser>()
    }
}
