//! Roles as targets: finding one, and the questions that every action asks about it.

use nexplane_core::plan::{Check, TargetRef};

use super::session::{Reader, Session};
use super::sql::Name;
use crate::sdk::{ConnectorError, check};

/// Asset type of roles; external key `role/<name>`.
pub const ROLE: &str = "postgres_role";
/// Asset type of databases; external key `database/<name>`.
pub const DATABASE: &str = "postgres_database";
/// First object id that is not the server's own (`FirstNormalObjectId`): below it are the bootstrap
/// superuser and the predefined roles.
const FIRST_NORMAL: u32 = 16_384;

pub fn role_key(name: &str) -> String {
    format!("role/{name}")
}

pub fn database_key(name: &str) -> String {
    format!("database/{name}")
}

/// The role that a target is.
pub fn role_of(target: &TargetRef) -> Result<Name, ConnectorError> {
    name_of(target, "role/")
}

/// The database that a target is.
pub fn database_of(target: &TargetRef) -> Result<Name, ConnectorError> {
    name_of(target, "database/")
}

fn name_of(target: &TargetRef, prefix: &str) -> Result<Name, ConnectorError> {
    let name = target.external_key.strip_prefix(prefix).ok_or_else(|| {
        let message = format!("the external key must be {prefix}<name>");
        ConnectorError::invalid(message)
    })?;
    Name::try_new(name).map_err(ConnectorError::invalid)
}

/// A role that is there.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "PostgreSQL keeps each as a separate boolean column"
)]
pub struct Role {
    pub oid: u32,
    pub name: Name,
    pub can_login: bool,
    pub superuser: bool,
    pub replication: bool,
    /// We may hand out membership in it, which PostgreSQL 16 and later ask for before changing it.
    pub admin_option: bool,
    /// We have its rights, by membership.
    pub usable: bool,
}

impl Role {
    pub async fn find(reader: &Reader, name: &Name) -> Result<Option<Self>, ConnectorError> {
        let row = reader
            .optional(
                "SELECT oid, rolname::text, rolcanlogin, rolsuper, rolreplication, \
                        pg_has_role(oid, 'MEMBER WITH ADMIN OPTION'), pg_has_role(oid, 'USAGE') \
                 FROM pg_roles WHERE rolname = $1",
                &[&name.as_str()],
            )
            .await?;
        row.map(|row| {
            Ok(Self {
                oid: row.get(0)?,
                name: row.get(1)?,
                can_login: row.get(2)?,
                superuser: row.get(3)?,
                replication: row.get(4)?,
                admin_option: row.get(5)?,
                usable: row.get(6)?,
            })
        })
        .transpose()
    }

    /// The server's own: the bootstrap superuser and the predefined roles.
    pub const fn is_predefined(&self) -> bool {
        self.oid < FIRST_NORMAL
    }

    /// Whether this session may alter or drop it.
    /// <https://www.postgresql.org/docs/current/sql-alterrole.html>
    fn may_be_altered_by(&self, session: &Session) -> bool {
        let account = &session.account;
        account.superuser
            || (account.create_role
                && !self.superuser
                && !self.replication
                && (account.version < 160_000 || self.admin_option))
    }

    /// Whether this session may end sessions of this role.
    /// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>
    pub fn sessions_may_be_ended_by(&self, session: &Session) -> bool {
        let account = &session.account;
        account.superuser || (!self.superuser && (account.signals_backends || self.usable))
    }
}

/// What must hold of a role before any action touches it. The list stops where asking on makes no
/// sense.
pub fn target_checks(session: &Session, name: &Name, role: Option<&Role>) -> Vec<Check> {
    let Some(role) = role else {
        return vec![check(
            "the role exists",
            false,
            format!("there is no role {name} on the server: run discovery again"),
        )];
    };
    let account = &session.account;
    let own = role.name == account.name;
    let mut checks = vec![
        check("the role exists", true, format!("{name} is there")),
        check(
            "the role is not the connection's own",
            !own,
            if own {
                format!("{name} is the role Nexplane itself uses here: change it by hand")
            } else {
                format!("the connection uses {}", account.name)
            },
        ),
        check(
            "the role is not PostgreSQL's own",
            !role.is_predefined(),
            if role.is_predefined() {
                format!("{name} is predefined or the bootstrap superuser: it is never a target")
            } else {
                format!("{name} was made by its users")
            },
        ),
    ];
    let may = role.may_be_altered_by(session);
    checks.push(check(
        "the connection may change the role",
        may,
        if may {
            format!("{} has the rights", account.name)
        } else if role.superuser || role.replication {
            format!("{name} is a superuser or replication role: only a superuser may change it")
        } else if account.create_role {
            let (who, own) = (name.sql(), account.name.sql());
            format!("as a superuser run: GRANT {who} TO {own} WITH ADMIN OPTION")
        } else {
            format!("as a superuser run: ALTER ROLE {} CREATEROLE", account.name.sql())
        },
    ));
    checks
}

/// Sessions of a role: open ones of clients and of replication.
const SESSIONS: &str = "FROM pg_stat_activity WHERE usesysid = $1 AND pid <> pg_backend_pid() \
     AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')";

/// How many sessions of the role are open.
pub async fn sessions(reader: &Reader, oid: u32) -> Result<i64, ConnectorError> {
    reader.row(&format!("SELECT count(*) {SESSIONS}"), &[&oid]).await?.get(0)
}

/// Ends the role's sessions and waits until they are gone. Answers how many there were.
pub async fn end_sessions(reader: &Reader, oid: u32) -> Result<i64, ConnectorError> {
    let told = format!("SELECT count(pg_terminate_backend(pid)) {SESSIONS}");
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let now: i64 = reader.row(&told, &[&oid]).await?.get(0)?;
        ended = ended.max(now);
        if now == 0 {
            return Ok(ended);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ConnectorError::conflict("some of its sessions did not end when told to"))
}

/// A backend ends at its next interrupt check; there is no event to wait for.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
const ROUNDS: u32 = 100;
