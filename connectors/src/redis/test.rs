//! One line per permission that discovery or an action needs.

use nexplane_core::plan::Check;

use super::Session;
use super::flush_volatile_keys::ON_ANY_KEY;
use super::login::saving_rights;
use super::rights::{
    CHANGE_USERS, END_SESSIONS, GET_CONFIG, INFO, KNOW_FILES, LIST_USERS, SEARCH_KEYS, SET_CONFIG,
    rights_check,
};
use super::saving::{Files, What};
use super::target::Seen;
use super::user::User;
use crate::sdk::{ConnectorError, check};

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let (own, greeting) = (session.own(), &session.line.greeting);
    let connected =
        format!("{own} on {} {} ({})", greeting.server, greeting.version, greeting.mode);
    let primary = greeting.is_primary();
    let files = Files::read(session).await?;
    let mut saving = KNOW_FILES.to_vec();
    saving.extend(saving_rights(&files, What::Users));
    let ask = async |name, rights| rights_check(session, name, rights, &[]).await;
    let mut checks = vec![
        check("connect", true, connected),
        own_password(session).await?,
        check(
            "the server can be written to (keys)",
            primary,
            if primary { "it is a primary" } else { "it is a replica: connect to the primary" },
        ),
        ask("read users and settings (discovery)", &[LIST_USERS, GET_CONFIG, INFO]).await?,
        ask("change users (lock_user, rotate_auth_password)", &CHANGE_USERS).await?,
        ask("end sessions (lock_user, rotate_auth_password)", &END_SESSIONS).await?,
        ask("save users, so that they survive a restart", &saving).await?,
        ask("set requirepass (rotate_auth_password of the instance)", &[SET_CONFIG]).await?,
        ask("search databases (flush_volatile_keys, delete_key_pattern)", &SEARCH_KEYS).await?,
    ];
    let name = "delete keys (flush_volatile_keys, delete_key_pattern)";
    checks.push(rights_check(session, name, &[], &ON_ANY_KEY).await?);
    Ok(checks)
}

/// A user that needs no password lets in everybody else, too.
async fn own_password(session: &Session) -> Result<Check, ConnectorError> {
    let own = session.own();
    let name = "the connection's user has a password";
    Ok(match User::read(session, own).await? {
        Seen::There(user) if user.passwords.nopass => {
            let detail = format!("anybody gets in as {own} (nopass): give {own} a password");
            check(name, false, detail)
        }
        Seen::There(_) => check(name, true, "it has"),
        Seen::Absent | Seen::Unreadable => {
            let detail = format!("as an administrator run: ACL SETUSER {own} +acl|getuser");
            check(name, false, detail)
        }
    })
}
