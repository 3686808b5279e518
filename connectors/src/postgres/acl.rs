//! Privileges that a role holds directly: reading them exactly, taking them, giving them back.
//!
//! Read from the access control lists in the catalogs, so every entry comes with its grantor and its
//! grant option. Not in it, because it belongs to nobody in particular: what the role may do through
//! `PUBLIC`, through membership in other roles, and as an owner.
//! <https://www.postgresql.org/docs/current/ddl-priv.html>

use serde::{Deserialize, Serialize};

use super::session::{Reader, Session, Work};
use super::sql::{Name, ident};
use crate::sdk::{ConnectorError, check};
use nexplane_core::plan::{Check, Field};

/// What a privilege is on, as `GRANT … ON` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Database,
    ForeignDataWrapper,
    ForeignServer,
    Language,
    LargeObject,
    Parameter,
    Routine,
    Schema,
    Sequence,
    Table,
    Tablespace,
    Type,
    /// Default privileges, for what the owner will create.
    DefaultRoutines,
    DefaultSchemas,
    DefaultSequences,
    DefaultTables,
    DefaultTypes,
}

impl Kind {
    const ALL: [Self; 17] = [
        Self::Database,
        Self::ForeignDataWrapper,
        Self::ForeignServer,
        Self::Language,
        Self::LargeObject,
        Self::Parameter,
        Self::Routine,
        Self::Schema,
        Self::Sequence,
        Self::Table,
        Self::Tablespace,
        Self::Type,
        Self::DefaultRoutines,
        Self::DefaultSchemas,
        Self::DefaultSequences,
        Self::DefaultTables,
        Self::DefaultTypes,
    ];

    /// The word in `GRANT … ON <word>`; the queries below use the same words.
    const fn word(self) -> &'static str {
        match self {
            Self::Database => "DATABASE",
            Self::ForeignDataWrapper => "FOREIGN DATA WRAPPER",
            Self::ForeignServer => "FOREIGN SERVER",
            Self::Language => "LANGUAGE",
            Self::LargeObject => "LARGE OBJECT",
            Self::Parameter => "PARAMETER",
            Self::Routine => "ROUTINE",
            Self::Schema => "SCHEMA",
            Self::Sequence => "SEQUENCE",
            Self::Table => "TABLE",
            Self::Tablespace => "TABLESPACE",
            Self::Type => "TYPE",
            Self::DefaultRoutines => "ROUTINES",
            Self::DefaultSchemas => "SCHEMAS",
            Self::DefaultSequences => "SEQUENCES",
            Self::DefaultTables => "TABLES",
            Self::DefaultTypes => "TYPES",
        }
    }

    const fn is_default(self) -> bool {
        matches!(
            self,
            Self::DefaultRoutines
                | Self::DefaultSchemas
                | Self::DefaultSequences
                | Self::DefaultTables
                | Self::DefaultTypes
        )
    }
}

/// Privileges on one object (or one column) from one grantor, all with or all without grant option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub kind: Kind,
    /// As PostgreSQL itself quotes and qualifies it; a routine with its argument types. Of default
    /// privileges the schema, or empty for all schemas.
    pub object: String,
    /// Quoted column, for privileges on a column.
    pub column: Option<String>,
    pub owner: String,
    pub grantor: String,
    pub grantable: bool,
    /// Sorted; as `aclexplode` names them.
    pub privileges: Vec<String>,
}

impl Grant {
    /// For people.
    pub fn field_name(&self) -> String {
        let on = match (self.kind.is_default(), self.object.is_empty()) {
            (false, _) => format!("{} {}", self.kind.word().to_lowercase(), self.object),
            (true, true) => format!("future {} of {}", self.kind.word().to_lowercase(), self.owner),
            (true, false) => {
                let what = self.kind.word().to_lowercase();
                format!("future {what} of {} in schema {}", self.owner, self.object)
            }
        };
        match &self.column {
            Some(column) => format!("privileges on column {column} of {on}"),
            None => format!("privileges on {on}"),
        }
    }

    pub fn words(&self) -> String {
        let mut words = self.privileges.join(", ");
        if self.grantable {
            words.push_str(" with grant option");
        }
        if self.grantor != self.owner {
            words.push_str(" from ");
            words.push_str(&self.grantor);
        }
        words
    }

    /// As whom the statement must run so that the server records the same grantor: nobody special
    /// when the owner granted it, whom superusers and members of the owner act for.
    fn acting(&self) -> Option<&str> {
        (!self.kind.is_default() && self.grantor != self.owner).then_some(&*self.grantor)
    }

    fn give(&self, role: &Name) -> String {
        let option = if self.grantable { " WITH GRANT OPTION" } else { "" };
        format!("{}GRANT {} TO {}{option}", self.prefix(), self.on(), role.sql())
    }

    fn take(&self, role: &Name) -> String {
        format!("{}REVOKE {} FROM {}", self.prefix(), self.on(), role.sql())
    }

    fn prefix(&self) -> String {
        match (self.kind.is_default(), self.object.is_empty()) {
            (false, _) => String::new(),
            (true, true) => format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} ", ident(&self.owner)),
            (true, false) => format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} ",
                ident(&self.owner),
                self.object
            ),
        }
    }

    fn on(&self) -> String {
        let column = self.column.as_ref().map(|c| format!(" ({c})")).unwrap_or_default();
        let words: Vec<_> = self.privileges.iter().map(|p| format!("{p}{column}")).collect();
        let object = if self.kind.is_default() { "" } else { &self.object };
        format!("{} ON {} {object}", words.join(", "), self.kind.word())
    }
}

/// The fields that people see of a list of privileges.
pub fn fields(grants: &[Grant]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for grant in grants {
        let name = grant.field_name();
        match fields.last_mut() {
            Some(last) if last.name == name => {
                let before = last.value.as_str().unwrap_or_default();
                last.value = format!("{before}; {}", grant.words()).into();
            }
            _ => fields.push(Field::new(name, grant.words())),
        }
    }
    fields
}

/// Which entries of the access control lists to read.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// Those that give something to the role.
    Grantee,
    /// Those by which the role gives something to somebody else.
    Grantor,
}

/// What the role holds directly: in one schema of this database (its default privileges included), or
/// in this database and among the objects that all databases share.
pub async fn held(
    session: &Session,
    reader: &Reader,
    oid: u32,
    schema: Option<&Name>,
) -> Result<Vec<Grant>, ConnectorError> {
    Ok(entries(session, reader, oid, schema, Who::Grantee)
        .await?
        .into_iter()
        .map(|e| e.1)
        .collect())
}

/// To whom the role passed privileges on that it got with grant option, in words. Default privileges
/// are not passed on: whoever creates objects grants them in its own right.
pub async fn passed_on(
    session: &Session,
    reader: &Reader,
    oid: u32,
    schema: Option<&Name>,
) -> Result<Vec<String>, ConnectorError> {
    let entries = entries(session, reader, oid, schema, Who::Grantor).await?;
    Ok(entries
        .into_iter()
        .filter(|(_, grant)| !grant.kind.is_default())
        .map(|(grantee, grant)| format!("{} to {grantee}", grant.field_name()))
        .collect())
}

async fn entries(
    session: &Session,
    reader: &Reader,
    oid: u32,
    schema: Option<&Name>,
    who: Who,
) -> Result<Vec<(String, Grant)>, ConnectorError> {
    let filter = match who {
        Who::Grantee => "a.grantee = $1",
        Who::Grantor => "a.grantor = $1 AND a.grantee <> $1",
    };
    let mut parts = vec![IN_SCHEMAS];
    if schema.is_none() {
        parts.push(ELSEWHERE);
        if session.account.version >= 150_000 {
            parts.push(PARAMETERS);
        }
    }
    let sql = format!(
        "SELECT a.kind, a.object, a.col, pg_get_userbyid(a.owner)::text, \
                pg_get_userbyid(a.grantor)::text, a.is_grantable, \
                array_agg(a.privilege_type::text), \
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END \
         FROM ({}) a WHERE {filter} AND ($2::text IS NULL OR a.schema = $2) \
         GROUP BY a.kind, a.object, a.col, a.owner, a.grantor, a.grantee, a.is_grantable",
        parts.join(" UNION ALL ")
    );
    let mut found = Vec::new();
    for row in reader.rows(&sql, &[&oid, &schema.map(Name::as_str)]).await? {
        let word: String = row.get(0)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
            ConnectorError::invalid(format!("privileges on {word} are not known here"))
        })?;
        let mut privileges: Vec<String> = row.get(6)?;
        privileges.sort();
        let grant = Grant {
            kind,
            object: row.get(1)?,
            column: row.get(2)?,
            owner: row.get(3)?,
            grantor: row.get(4)?,
            grantable: row.get(5)?,
            privileges,
        };
        found.push((row.get(7)?, grant));
    }
    found.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    Ok(found)
}

/// Objects that live in schemas, and default privileges (of which those for all schemas have none).
const IN_SCHEMAS: &str = "
    SELECT 'SCHEMA' AS kind, quote_ident(n.nspname) AS object, NULL::text AS col,
           n.nspname::text AS schema, n.nspowner AS owner, x.*
    FROM pg_namespace n, aclexplode(n.nspacl) x
  UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
           format('%I.%I', n.nspname, c.relname), NULL, n.nspname, c.relowner, x.*
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) x
  UNION ALL
    SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), quote_ident(t.attname), n.nspname,
           c.relowner, x.*
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) x
    WHERE NOT t.attisdropped
  UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, NULL, n.nspname, p.proowner, x.*
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) x
  UNION ALL
    SELECT 'TYPE', format('%I.%I', n.nspname, t.typname), NULL, n.nspname, t.typowner, x.*
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(t.typacl) x
  UNION ALL
    SELECT CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
             WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS'
             ELSE 'future objects of kind ' || d.defaclobjtype::text END,
           coalesce(quote_ident(n.nspname), ''), NULL, n.nspname, d.defaclrole, x.*
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace,
         aclexplode(d.defaclacl) x";

const ELSEWHERE: &str = "
    SELECT 'DATABASE', quote_ident(d.datname), NULL, NULL, d.datdba, x.*
    FROM pg_database d, aclexplode(d.datacl) x
  UNION ALL
    SELECT 'TABLESPACE', quote_ident(t.spcname), NULL, NULL, t.spcowner, x.*
    FROM pg_tablespace t, aclexplode(t.spcacl) x
  UNION ALL
    SELECT 'LANGUAGE', quote_ident(l.lanname), NULL, NULL, l.lanowner, x.*
    FROM pg_language l, aclexplode(l.lanacl) x
  UNION ALL
    SELECT 'FOREIGN DATA WRAPPER', quote_ident(w.fdwname), NULL, NULL, w.fdwowner, x.*
    FROM pg_foreign_data_wrapper w, aclexplode(w.fdwacl) x
  UNION ALL
    SELECT 'FOREIGN SERVER', quote_ident(s.srvname), NULL, NULL, s.srvowner, x.*
    FROM pg_foreign_server s, aclexplode(s.srvacl) x
  UNION ALL
    SELECT 'LARGE OBJECT', l.oid::text, NULL, NULL, l.lomowner, x.*
    FROM pg_largeobject_metadata l, aclexplode(l.lomacl) x";

/// PostgreSQL 15 and later. Parameters belong to the bootstrap superuser (object id 10).
const PARAMETERS: &str = "
    SELECT 'PARAMETER', quote_ident(p.parname), NULL, NULL, 10::oid, x.*
    FROM pg_parameter_acl p, aclexplode(p.paracl) x";

/// Gives the role what it held. The owners' grants first: those of others can rest on them.
pub async fn give(work: &Work, role: &Name, grants: &[Grant]) -> Result<(), ConnectorError> {
    for grant in in_order(grants) {
        work.batch_as(grant.acting(), &grant.give(role)).await?;
    }
    Ok(())
}

/// Takes from the role what it holds. Fails where somebody else's privileges rest on them.
pub async fn take(work: &Work, role: &Name, grants: &[Grant]) -> Result<(), ConnectorError> {
    for grant in in_order(grants) {
        work.batch_as(grant.acting(), &grant.take(role)).await?;
    }
    Ok(())
}

fn in_order(grants: &[Grant]) -> impl Iterator<Item = &Grant> {
    let (owners, others): (Vec<_>, Vec<_>) = grants.iter().partition(|g| g.acting().is_none());
    owners.into_iter().chain(others)
}

/// Whether the connection can act for everybody who granted something.
pub async fn grantor_check(
    session: &Session,
    reader: &Reader,
    grants: &[Grant],
) -> Result<Check, ConnectorError> {
    let name = "the connection may take and give these privileges";
    let account = &session.account;
    if account.superuser {
        return Ok(check(name, true, format!("{} is a superuser", account.name)));
    }
    // Acting for an owner needs its rights, being recorded as a grantor needs SET ROLE.
    let set = if account.version >= 160_000 { "SET" } else { "MEMBER" };
    let owners: Vec<_> =
        grants.iter().filter(|g| g.acting().is_none()).map(|g| g.owner.as_str()).collect();
    let others: Vec<_> = grants.iter().filter_map(Grant::acting).collect();
    let rows = reader
        .rows(
            "SELECT DISTINCT quote_ident(rolname) FROM pg_roles \
             WHERE rolname = ANY ($1::text[]) AND NOT pg_has_role(oid, 'USAGE') \
                OR rolname = ANY ($2::text[]) AND NOT pg_has_role(oid, $3) ORDER BY 1",
            &[&owners, &others, &set],
        )
        .await?;
    let missing = rows.iter().map(|row| row.get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(if missing.is_empty() {
        check(name, true, format!("{} is a member of everybody who granted them", account.name))
    } else {
        let (roles, own) = (missing.join(", "), account.name.sql());
        check(name, false, format!("as a superuser run: GRANT {roles} TO {own}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(kind: Kind, object: &str) -> Grant {
        Grant {
            kind,
            object: object.to_owned(),
            column: None,
            owner: "ow\"ner".to_owned(),
            grantor: "ow\"ner".to_owned(),
            grantable: false,
            privileges: vec!["INSERT".to_owned(), "SELECT".to_owned()],
        }
    }

    #[test]
    fn statements() {
        let role = Name::try_new("a\"b").unwrap();
        let table = grant(Kind::Table, "app.\"T\"");
        assert_eq!(table.take(&role), r#"REVOKE INSERT, SELECT ON TABLE app."T" FROM "a""b""#);
        let column = Grant { column: Some("\"C\"".to_owned()), grantable: true, ..table };
        assert_eq!(
            column.give(&role),
            r#"GRANT INSERT ("C"), SELECT ("C") ON TABLE app."T" TO "a""b" WITH GRANT OPTION"#
        );
        assert_eq!(
            grant(Kind::DefaultTables, "app").give(&role),
            "ALTER DEFAULT PRIVILEGES FOR ROLE \"ow\"\"ner\" IN SCHEMA app \
             GRANT INSERT, SELECT ON TABLES  TO \"a\"\"b\""
        );
        assert_eq!(
            grant(Kind::DefaultSchemas, "").take(&role),
            "ALTER DEFAULT PRIVILEGES FOR ROLE \"ow\"\"ner\" \
             REVOKE INSERT, SELECT ON SCHEMAS  FROM \"a\"\"b\""
        );
    }

    #[test]
    fn only_grants_of_others_need_another_role() {
        let mut other = grant(Kind::Table, "t");
        assert_eq!(other.acting(), None);
        other.grantor = "boss".to_owned();
        assert_eq!(other.acting(), Some("boss"));
    }
}
