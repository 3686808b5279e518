//! One line per permission that discovery or an action needs.

use nexplane_core::plan::Check;

use super::Session;
use crate::sdk::{ConnectorError, check};

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let account = &session.account;
    let (name, own) = (&account.name, account.name.sql());
    let (major, minor) = (account.version / 10_000, account.version % 10_000);
    let row = session
        .reader()
        .row(
            "SELECT pg_is_in_recovery(), pg_has_role(datdba, 'USAGE'), \
                    quote_ident(pg_get_userbyid(datdba)::text), (SELECT count(*) FROM pg_roles) \
             FROM pg_database WHERE datname = current_database()",
            &[],
        )
        .await?;
    let (standby, owner): (bool, bool) = (row.get(0)?, row.get(1)?);
    let (owner_name, roles): (String, i64) = (row.get(2)?, row.get(3)?);
    let answer = |question: &str, ok: bool, yes: String, no: String| {
        check(question, ok, if ok { yes } else { no })
    };
    let rights = format!("{name} has the rights");
    Ok(vec![
        check(
            "connect",
            true,
            format!("{name} in database {}, PostgreSQL {major}.{minor}", account.database),
        ),
        answer(
            "the version is supported",
            account.version >= 120_000,
            "12 or later".to_owned(),
            "upgrade the server to PostgreSQL 12 or later".to_owned(),
        ),
        answer(
            "the server can be written to",
            !standby,
            "it is not a standby".to_owned(),
            "it is a standby: connect to the primary".to_owned(),
        ),
        check("read the catalogs (discovery)", true, format!("{roles} roles are visible")),
        answer(
            "make and change roles (CREATEROLE or superuser)",
            account.superuser || account.create_role,
            rights.clone(),
            format!("as a superuser run: ALTER ROLE {own} CREATEROLE"),
        ),
        answer(
            "read stored password verifiers (rotate_user_password, drop_user)",
            account.reads_passwords,
            "pg_authid is readable".to_owned(),
            format!(
                "as a superuser run: GRANT SELECT (rolname, rolpassword) ON pg_authid TO {own}"
            ),
        ),
        answer(
            "end sessions (lock_user)",
            account.superuser || account.signals_backends,
            rights.clone(),
            format!("as a superuser run: GRANT pg_signal_backend TO {own}"),
        ),
        answer(
            "grant on the database (create_read_only_user)",
            owner || account.superuser,
            rights,
            format!("as a superuser run: GRANT {owner_name} TO {own}"),
        ),
    ])
}
