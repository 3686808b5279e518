//! What is on a server: databases, roles, and what connects them.

use std::collections::BTreeMap;

use serde_json::json;

use super::Session;
use super::role::{DATABASE, ROLE, database_key, role_key};
use super::session::Reader;
use crate::sdk::{ConnectorError, DiscoveredAsset, Discovery, Relation};

/// Most roles, and most databases, that one discovery reads.
const MOST: i64 = 50_000;

pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let reader = session.reader();
    let mut relations = relations(reader).await?;
    let mut assets = databases(reader).await?;
    assets.extend(roles(reader).await?);
    for asset in &mut assets {
        asset.relations = relations.remove(&asset.external_key).unwrap_or_default();
    }
    Ok(Discovery { assets })
}

fn bounded<T>(list: Vec<T>, what: &str) -> Result<Vec<T>, ConnectorError> {
    if i64::try_from(list.len()).is_ok_and(|count| count <= MOST) {
        Ok(list)
    } else {
        Err(ConnectorError::invalid(format!("the server has more than {MOST} {what}")))
    }
}

async fn databases(reader: &Reader) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let rows = reader
        .rows(
            "SELECT datname::text, pg_encoding_to_char(encoding)::text, datcollate::text, \
                    datallowconn, datconnlimit, pg_get_userbyid(datdba)::text \
             FROM pg_database WHERE NOT datistemplate ORDER BY datname LIMIT $1",
            &[&(MOST + 1)],
        )
        .await?;
    bounded(rows, "databases")?
        .iter()
        .map(|row| {
            let name: String = row.get(0)?;
            Ok(DiscoveredAsset {
                kind: DATABASE.to_owned(),
                external_key: database_key(&name),
                metadata: json!({
                    "encoding": row.get::<String>(1)?,
                    "collation": row.get::<String>(2)?,
                    "allows_connections": row.get::<bool>(3)?,
                    "connection_limit": row.get::<i32>(4)?,
                    "owner": row.get::<String>(5)?,
                }),
                name,
                relations: Vec::new(),
            })
        })
        .collect()
}

async fn roles(reader: &Reader) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let rows = reader
        .rows(
            "SELECT r.rolname::text, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb, \
                    r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil::text, \
                    r.oid::int8 < 16384, \
                    (SELECT count(*) FROM pg_shdepend s WHERE s.deptype = 'o' \
                       AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid) \
             FROM pg_roles r ORDER BY r.rolname LIMIT $1",
            &[&(MOST + 1)],
        )
        .await?;
    bounded(rows, "roles")?
        .iter()
        .map(|row| {
            let name: String = row.get(0)?;
            Ok(DiscoveredAsset {
                kind: ROLE.to_owned(),
                external_key: role_key(&name),
                metadata: json!({
                    "can_login": row.get::<bool>(1)?,
                    "superuser": row.get::<bool>(2)?,
                    "create_role": row.get::<bool>(3)?,
                    "create_db": row.get::<bool>(4)?,
                    "replication": row.get::<bool>(5)?,
                    "bypass_rls": row.get::<bool>(6)?,
                    "connection_limit": row.get::<i32>(7)?,
                    "valid_until": row.get::<Option<String>>(8)?,
                    "predefined": row.get::<bool>(9)?,
                    "owned_objects": row.get::<i64>(10)?,
                }),
                name,
                relations: Vec::new(),
            })
        })
        .collect()
}

/// Relations by the external key of the asset that they start from. A role has access to a database
/// when it was granted something on it or in it; what `PUBLIC` may do is not a relation.
async fn relations(reader: &Reader) -> Result<BTreeMap<String, Vec<Relation>>, ConnectorError> {
    let rows = reader
        .rows(
            "SELECT 'member_of', m.rolname::text, g.rolname::text, true \
             FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member \
                  JOIN pg_roles g ON g.oid = a.roleid \
           UNION \
             SELECT 'owns', r.rolname::text, d.datname::text, false \
             FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE NOT d.datistemplate \
           UNION \
             SELECT 'has_access_to', r.rolname::text, d.datname::text, false \
             FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid \
                  JOIN pg_database d ON d.oid = CASE s.classid \
                    WHEN 'pg_database'::regclass THEN s.objid ELSE s.dbid END \
             WHERE s.deptype = 'a' AND s.refclassid = 'pg_authid'::regclass \
               AND NOT d.datistemplate AND d.datdba <> r.oid \
             LIMIT $1",
            &[&(4 * MOST + 1)],
        )
        .await?;
    if i64::try_from(rows.len()).is_ok_and(|count| count > 4 * MOST) {
        let message = format!("the server has more than {} relations", 4 * MOST);
        return Err(ConnectorError::invalid(message));
    }
    let mut found: BTreeMap<String, Vec<Relation>> = BTreeMap::new();
    for row in &rows {
        let (from, to): (String, String) = (row.get(1)?, row.get(2)?);
        let (to_kind, to_external_key) =
            if row.get(3)? { (ROLE, role_key(&to)) } else { (DATABASE, database_key(&to)) };
        found.entry(role_key(&from)).or_default().push(Relation {
            kind: row.get(0)?,
            to_kind: to_kind.to_owned(),
            to_external_key,
        });
    }
    Ok(found)
}
