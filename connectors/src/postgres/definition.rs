//! Everything that makes a role what it is, so that a dropped one can be made again.
//!
//! Attributes, password, comment, memberships, settings and the privileges it holds directly. Not in
//! it: its object id, which nobody can choose, and what it owns, because only roles that own nothing
//! are dropped.

use nexplane_core::plan::Field;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::acl::{self, Grant};
use super::login::gone;
use super::password::Password;
use super::role::Role;
use super::session::{Reader, Session, Work};
use super::sql::{Name, ident, literal};
use crate::sdk::{ConnectorError, DigestKey};

/// The attributes of `CREATE ROLE`.
/// <https://www.postgresql.org/docs/current/sql-createrole.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "PostgreSQL keeps each as a separate boolean column"
)]
pub struct Attributes {
    pub login: bool,
    pub superuser: bool,
    pub create_db: bool,
    pub create_role: bool,
    pub inherit: bool,
    pub replication: bool,
    pub bypass_rls: bool,
    /// −1 is no limit.
    pub connection_limit: i32,
    /// UTC, ISO; absent is for ever.
    pub valid_until: Option<String>,
}

impl Attributes {
    /// What `CREATE ROLE … LOGIN` gives when nothing else is said.
    pub const PLAIN_LOGIN: Self = Self {
        login: true,
        superuser: false,
        create_db: false,
        create_role: false,
        inherit: true,
        replication: false,
        bypass_rls: false,
        connection_limit: -1,
        valid_until: None,
    };

    /// For `CREATE ROLE`.
    pub fn clause(&self) -> String {
        let word = |on: bool, word: &str| if on { word.to_owned() } else { format!("NO{word}") };
        let mut words = vec![
            word(self.login, "LOGIN"),
            word(self.superuser, "SUPERUSER"),
            word(self.create_db, "CREATEDB"),
            word(self.create_role, "CREATEROLE"),
            word(self.inherit, "INHERIT"),
            word(self.replication, "REPLICATION"),
            word(self.bypass_rls, "BYPASSRLS"),
            format!("CONNECTION LIMIT {}", self.connection_limit),
        ];
        if let Some(until) = &self.valid_until {
            words.push(format!("VALID UNTIL {}", literal(until)));
        }
        words.join(" ")
    }
}

/// One entry of `pg_auth_members`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    pub group: String,
    pub member: String,
    /// Absent when the grantor is gone, as servers before version 16 allow.
    pub grantor: Option<String>,
    pub admin: bool,
    /// Version 16 and later.
    pub inherit: Option<bool>,
    /// Version 16 and later.
    pub set: Option<bool>,
}

impl Membership {
    fn words(&self) -> String {
        let mut words = format!("{} in {}", self.member, self.group);
        if self.admin {
            words.push_str(" with admin option");
        }
        words
    }

    fn grant(&self) -> String {
        let options = match (self.inherit, self.set) {
            (Some(inherit), Some(set)) => {
                format!(" WITH ADMIN {}, INHERIT {inherit}, SET {set}", self.admin)
            }
            _ if self.admin => " WITH ADMIN OPTION".to_owned(),
            _ => String::new(),
        };
        let by = self.grantor.as_ref().map(|by| format!(" GRANTED BY {}", ident(by)));
        let (group, member) = (ident(&self.group), ident(&self.member));
        format!("GRANT {group} TO {member}{options}{}", by.unwrap_or_default())
    }
}

/// One setting of the role, for all databases or for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub database: Option<String>,
    pub name: String,
    pub value: String,
}

impl Setting {
    pub fn statement(&self, role: &Name) -> String {
        let database = self
            .database
            .as_ref()
            .map(|d| format!(" IN DATABASE {}", ident(d)))
            .unwrap_or_default();
        let name = option(&self.name);
        let value = if LISTS.contains(&&*self.name.to_lowercase()) {
            let items: Vec<_> = list_items(&self.value).iter().map(|i| literal(i)).collect();
            // An empty list is one empty string.
            if items.is_empty() { "''".to_owned() } else { items.join(", ") }
        } else {
            literal(&self.value)
        };
        format!("ALTER ROLE {}{database} SET {name} TO {value}", role.sql())
    }
}

/// Takes a setting for all databases away.
pub fn reset_setting(role: &Name, name: &str) -> String {
    format!("ALTER ROLE {} RESET {}", role.sql(), option(name))
}

/// A customised option is `<extension>.<name>`: each part is an identifier.
fn option(name: &str) -> String {
    name.split('.').map(ident).collect::<Vec<_>>().join(".")
}

/// Settings whose value is a list of quoted names (`GUC_LIST_QUOTE`), as `pg_dump` knows them.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The items of such a value: separated by commas, quoted where necessary, two quotes inside quotes
/// for one.
fn list_items(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = value.chars().peekable();
    while let Some(first) = rest.find(|c| *c != ',' && !c.is_whitespace()) {
        let mut item = String::new();
        if first == '"' {
            while let Some(c) = rest.next() {
                if c == '"' && rest.next_if_eq(&'"').is_none() {
                    break;
                }
                item.push(c);
            }
        } else {
            item.push(first);
            while let Some(c) = rest.next_if(|c| *c != ',') {
                item.push(c);
            }
            item.truncate(item.trim_end().len());
        }
        items.push(item);
    }
    items
}

/// A whole role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub attributes: Attributes,
    pub password: Password,
    pub comment: Option<String>,
    pub memberships: Vec<Membership>,
    pub settings: Vec<Setting>,
    /// In the connection's database and on what all databases share.
    pub grants: Vec<Grant>,
}

impl Definition {
    /// Reads a role; `role` must have been read on the same connection.
    pub async fn read(
        session: &Session,
        reader: &Reader,
        role: &Role,
    ) -> Result<Self, ConnectorError> {
        let row = reader
            .row(
                "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, \
                        rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil::text, \
                        shobj_description(oid, 'pg_authid') \
                 FROM pg_roles WHERE oid = $1",
                &[&role.oid],
            )
            .await?;
        Ok(Self {
            attributes: Attributes {
                login: row.get(0)?,
                superuser: row.get(1)?,
                create_db: row.get(2)?,
                create_role: row.get(3)?,
                inherit: row.get(4)?,
                replication: row.get(5)?,
                bypass_rls: row.get(6)?,
                connection_limit: row.get(7)?,
                valid_until: row.get(8)?,
            },
            comment: row.get(9)?,
            password: Password::read(reader, &role.name).await?,
            memberships: memberships(session, reader, role.oid).await?,
            settings: settings(reader, role.oid).await?,
            grants: acl::held(session, reader, role.oid, None).await?,
        })
    }

    /// Makes the role again, without its privileges on objects, which [`acl::give`] gives.
    pub async fn create(
        &self,
        session: &Session,
        work: &Work,
        name: &Name,
    ) -> Result<Role, ConnectorError> {
        let password = self.password.clause().unwrap_or_default();
        let role = name.sql();
        let create = format!("CREATE ROLE {role} {} {password}", self.attributes.clause());
        work.reader().batch(&create).await?;
        let made = Role::find(work.reader(), name).await?.ok_or_else(|| gone(name))?;
        // From version 16 on, who makes a role becomes its member by that.
        let implied = memberships(session, work.reader(), made.oid).await?;
        let mut sql = Vec::new();
        sql.extend(
            self.comment.as_ref().map(|c| format!("COMMENT ON ROLE {role} IS {}", literal(c))),
        );
        let explicit = self.memberships.iter().filter(|m| !implied.contains(m)).collect();
        sql.extend(in_order(explicit).into_iter().map(Membership::grant));
        sql.extend(self.settings.iter().map(|setting| setting.statement(name)));
        work.reader().batch(&sql.join("; ")).await?;
        Ok(made)
    }

    /// Why this connection could not make the role again just so; empty when it can.
    pub async fn obstacles(
        &self,
        session: &Session,
        reader: &Reader,
    ) -> Result<Vec<String>, ConnectorError> {
        let account = &session.account;
        let mut obstacles = Vec::new();
        let orphans = self.memberships.iter().filter(|m| m.grantor.is_none());
        obstacles.extend(orphans.map(|m| format!("the grantor of {} is gone", m.words())));
        if account.superuser {
            return Ok(obstacles);
        }
        let modern = account.version >= 160_000;
        if self.attributes.bypass_rls && !(modern && account.bypass_rls) {
            obstacles.push("only a superuser may give it BYPASSRLS".to_owned());
        }
        if self.attributes.create_db && modern && !account.create_db {
            obstacles.push("only who has CREATEDB may give it CREATEDB".to_owned());
        }
        let others = self.memberships.iter().filter(|m| {
            let implied = modern && m.member == account.name.as_str();
            m.grantor.as_deref().is_some_and(|by| by != account.name.as_str()) && !implied
        });
        obstacles.extend(others.map(|m| {
            let by = m.grantor.as_deref().unwrap_or_default();
            format!("only a superuser may grant {} in the name of {by}", m.words())
        }));
        let names = self.settings.iter().map(|setting| setting.name.as_str());
        let beyond = beyond(reader, names).await?;
        obstacles
            .extend(beyond.iter().map(|name| format!("only a superuser may set {name} for it")));
        Ok(obstacles)
    }

    pub fn fields(&self) -> Vec<Field> {
        let a = &self.attributes;
        let mut fields = vec![
            Field::new("login", a.login),
            Field::new("superuser", a.superuser),
            Field::new("create_db", a.create_db),
            Field::new("create_role", a.create_role),
            Field::new("inherit", a.inherit),
            Field::new("replication", a.replication),
            Field::new("bypass_rls", a.bypass_rls),
            Field::new("connection_limit", a.connection_limit),
            Field::new("valid_until", a.valid_until.clone().map_or(Value::Null, Value::String)),
            self.password.field(),
        ];
        if let Some(comment) = &self.comment {
            fields.push(Field::new("comment", comment.clone()));
        }
        if !self.memberships.is_empty() {
            let words: Vec<_> = self.memberships.iter().map(Membership::words).collect();
            fields.push(Field::new("memberships", words));
        }
        fields.extend(self.settings.iter().map(|setting| {
            let place = match &setting.database {
                Some(database) => format!("setting {} in {database}", setting.name),
                None => format!("setting {}", setting.name),
            };
            Field::new(place, setting.value.clone())
        }));
        fields.extend(acl::fields(&self.grants));
        fields
    }

    pub fn fingerprinted(&self, key: &DigestKey) -> Value {
        json!({
            "attributes": self.attributes,
            "password": self.password.fingerprinted(key),
            "comment": self.comment,
            "memberships": self.memberships,
            "settings": self.settings,
            "grants": self.grants,
        })
    }
}

/// Who grants a membership must be an administrator of the group first.
fn in_order(mut pending: Vec<&Membership>) -> Vec<&Membership> {
    let mut ordered = Vec::new();
    while !pending.is_empty() {
        let makes_grantor = |admin: &Membership, m: &Membership| {
            admin.admin && admin.group == m.group && m.grantor.as_ref() == Some(&admin.member)
        };
        let waits =
            |m: &&Membership| pending.iter().any(|other| other != m && makes_grantor(other, m));
        let (later, now): (Vec<_>, Vec<_>) = pending.iter().copied().partition(|m| waits(m));
        if now.is_empty() {
            // Two that made each other administrators: the server will say what it thinks of it.
            ordered.extend(later);
            break;
        }
        ordered.extend(now);
        pending = later;
    }
    ordered
}

async fn memberships(
    session: &Session,
    reader: &Reader,
    oid: u32,
) -> Result<Vec<Membership>, ConnectorError> {
    let options = if session.account.version >= 160_000 {
        "m.inherit_option, m.set_option"
    } else {
        "NULL::bool, NULL::bool"
    };
    let sql = format!(
        "SELECT pg_get_userbyid(m.roleid)::text, pg_get_userbyid(m.member)::text, \
                g.rolname::text, m.admin_option, {options} \
         FROM pg_auth_members m LEFT JOIN pg_roles g ON g.oid = m.grantor \
         WHERE m.roleid = $1 OR m.member = $1"
    );
    let mut found = Vec::new();
    for row in reader.rows(&sql, &[&oid]).await? {
        found.push(Membership {
            group: row.get(0)?,
            member: row.get(1)?,
            grantor: row.get(2)?,
            admin: row.get(3)?,
            inherit: row.get(4)?,
            set: row.get(5)?,
        });
    }
    found.sort();
    Ok(found)
}

/// Of these settings, the ones that only a superuser may set.
pub async fn beyond(
    reader: &Reader,
    names: impl Iterator<Item = &str>,
) -> Result<Vec<String>, ConnectorError> {
    let names: Vec<_> = names.map(str::to_lowercase).collect();
    let rows = reader
        .rows(
            "SELECT DISTINCT n FROM unnest($1::text[]) n WHERE NOT EXISTS \
               (SELECT FROM pg_settings WHERE lower(name) = n AND context = 'user') ORDER BY 1",
            &[&names],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

pub async fn settings(reader: &Reader, oid: u32) -> Result<Vec<Setting>, ConnectorError> {
    // In the order in which the server keeps them, so that they come back in it.
    let sql = "SELECT d.datname::text, c.item \
         FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, \
              unnest(s.setconfig) WITH ORDINALITY AS c (item, no) WHERE s.setrole = $1 \
         ORDER BY d.datname COLLATE \"C\" NULLS FIRST, c.no";
    let mut found = Vec::new();
    for row in reader.rows(sql, &[&oid]).await? {
        let item: String = row.get(1)?;
        let (name, value) = item.split_once('=').unwrap_or((&item, ""));
        found.push(Setting {
            database: row.get(0)?,
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart_as_postgresql_writes_them() {
        let items = |value| list_items(value);
        assert_eq!(items(r#""$user", public"#), ["$user", "public"]);
        assert_eq!(items(r#""a""b,c", d"#), [r#"a"b,c"#, "d"]);
        assert_eq!(items(r#""""""#), ["\""]);
        assert_eq!(items("a"), ["a"]);
        assert_eq!(items(r#""""#), [""]);
        assert_eq!(items(""), Vec::<String>::new());
    }

    #[test]
    fn administrators_come_before_whom_they_admit() {
        let membership = |member: &str, grantor: &str| Membership {
            group: "g".to_owned(),
            member: member.to_owned(),
            grantor: Some(grantor.to_owned()),
            admin: true,
            inherit: None,
            set: None,
        };
        let (a, b, c) = (membership("a", "b"), membership("b", "c"), membership("c", "root"));
        assert_eq!(in_order(vec![&a, &b, &c]), [&c, &b, &a]);
        let circle = [membership("x", "y"), membership("y", "x")];
        assert_eq!(in_order(circle.iter().collect()).len(), 2);
        let itself = membership("z", "z");
        assert_eq!(in_order(vec![&itself]), [&itself]);
    }

    #[test]
    fn settings_are_restored_by_kind() {
        let role = Name::try_new("r").unwrap();
        let setting = |name: &str, value: &str| Setting {
            database: Some("d b".to_owned()),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(
            setting("search_path", r#""$user", public"#).statement(&role),
            r#"ALTER ROLE "r" IN DATABASE "d b" SET "search_path" TO '$user', 'public'"#
        );
        assert_eq!(
            setting("my.option", "it's").statement(&role),
            r#"ALTER ROLE "r" IN DATABASE "d b" SET "my"."option" TO 'it''s'"#
        );
    }
}
