//! Whether a connection can do what its actions need: one line per program.

use nexplane_agent::host::package::Wish;
use nexplane_agent::host::shadow::AccountName;
use nexplane_agent::host::{HostPath, Ids, Mode, PackageName, UnitName};
use nexplane_core::plan::Check;

use super::account::permission_checks;
use super::command::{Apt, Command, Expiry, How, Switch};
use super::session::Session;
use crate::sdk::{ConnectorError, SecretText, check};

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let (name, uid) = (&session.username, session.uid);
    let logged_in = check("the account logs in", true, format!("{name} has the number {uid}"));
    let mut checks = vec![logged_in];
    let well_formed = |why: String| ConnectorError::invalid(why);
    // Names that rules of sudo are asked about; nothing is done to them.
    let user =
        AccountName::try_from("nobody".to_owned()).map_err(|why| well_formed(why.to_string()))?;
    let path: HostPath = "/etc/motd".parse().map_err(|why| well_formed(format!("{why}")))?;
    let unit: UnitName = "cron.service".parse().map_err(|why| well_formed(format!("{why}")))?;
    let package: PackageName = "rsync".parse().map_err(|why| well_formed(format!("{why}")))?;
    let wish = Wish { install: [(package.clone(), None)].into(), ..Wish::default() };
    let apt = Apt::new(&wish, How::CarryOut).map_err(|why| well_formed(why.to_string()))?;
    let packages = [package];
    let (files, private) = ([path.clone()], Mode::from_bits(0o600));
    let (paths, hash) = ([path.to_string()], SecretText::new(String::new()));
    let ids = Ids { uid: 0, gid: 0 };
    let mut needed = vec![
        Command::Shadow(&user),
        Command::Look(&paths),
        Command::Capabilities(&path),
        Command::Read(&files),
        Command::SshdAccepts(&["MaxAuthTries 4"]),
        Command::Create { path: &path, mode: private, ids },
        Command::Copy { from: &path, to: &path },
        Command::Fill { path: &path, content: &[] },
        Command::Rename { from: &path, to: &path, replace: true },
        Command::Unlink(&path),
        Command::SetMode { path: &path, mode: Mode::from_bits(0o644) },
        Command::SetOwner { path: &path, from: ids, to: ids },
        Command::SetAccess { user: &user, lock: Some(true), expires: Some(Expiry::Day(1)) },
        Command::SetHash { user: &user, hash: &hash },
        Command::SetChanged { user: &user, day: None },
        Command::Switch { unit: &unit, to: Switch::Enable },
        Command::SetAutomatic { packages: &packages, automatic: true },
    ];
    needed.extend(apt.as_ref().map(Command::Apt));
    needed.push(Command::Remove(&packages));
    checks.extend(permission_checks(session, &needed).await?);
    Ok(checks)
}
