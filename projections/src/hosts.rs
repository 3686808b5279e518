//! Machines with an agent.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::api::{HostCounts, HostView, Page};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::host::event::HostEvent;
use nexplane_core::host::version;
use nexplane_core::id::{AssetId, Category, ConnectionId, HostId, PersonId};
use nexplane_core::time::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::checkpoint::signed;
use crate::page::{self, QueryError};
use crate::projection::{ApplyError, Notice, Projection};
use crate::table::{self, Generation, Table, column, optional};

const HOSTS: Table = Table {
    name: "rm_hosts",
    columns: &[
        column("id", "uuid"),
        column("hostname", "text"),
        column("status", "text"),
        column("agent_version", "text"),
        optional("policy_hash", "text"),
        optional("policy_changed_us", "bigint"),
        column("certificate_key_hash", "text"),
        column("certificate_issued_us", "bigint"),
        column("certificate_expires_us", "bigint"),
        column("enrolled_us", "bigint"),
        column("status_since_us", "bigint"),
        optional("reason", "text"),
        optional("revoked_by", "uuid"),
        column("version", "bigint"),
        column("position", "bigint"),
    ],
    key: &["id"],
    indexes: &[
        "(enrolled_us, id)",
        "(status, enrolled_us, id)",
        "(agent_version, hostname) INCLUDE (status)",
    ],
};

/// The projection `hosts`.
#[derive(Clone, Copy, Debug)]
pub struct Hosts;

#[derive(Serialize, FromRow)]
struct Row {
    id: Uuid,
    hostname: String,
    status: String,
    agent_version: String,
    policy_hash: Option<String>,
    policy_changed_us: Option<i64>,
    certificate_key_hash: String,
    certificate_issued_us: i64,
    certificate_expires_us: i64,
    enrolled_us: i64,
    status_since_us: i64,
    reason: Option<String>,
    revoked_by: Option<Uuid>,
    version: i64,
    position: i64,
}

const OFFLINE: &str = "offline";
const ONLINE: &str = "online";
const LOCKED: &str = "locked";
const REVOKED: &str = "revoked";

#[async_trait]
impl Projection for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn version(&self) -> u32 {
        3
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Host]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&HOSTS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT * FROM {} WHERE id = ANY($1)",
            at.of(&HOSTS)
        )))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut rows: BTreeMap<Uuid, Row> = rows.into_iter().map(|row| (row.id, row)).collect();
        for recorded in events {
            let Event::Host(event) = &recorded.event else { continue };
            let id = recorded.header.stream.id;
            if let Some(row) = fold(rows.remove(&id), event, recorded) {
                rows.insert(id, row);
            }
        }
        let rows: Vec<_> = rows.into_values().collect();
        table::upsert(db, at, &HOSTS, &rows).await?;
        Ok(())
    }

    async fn notices(
        &self,
        db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let rows: Vec<(Uuid, String, String, i64)> = sqlx::query_as(
            "SELECT id, hostname, status, position FROM nexplane.rm_hosts \
             WHERE id = ANY($1) ORDER BY position",
        )
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, hostname, status, position)| Notice {
                topic: "hosts".to_owned(),
                position: position.unsigned_abs(),
                changed: json!({ "id": id, "hostname": hostname, "status": status }),
            })
            .collect())
    }
}

/// The host after one more event. A host that enrolled is offline until its agent polls.
fn fold(row: Option<Row>, event: &HostEvent, recorded: &Recorded) -> Option<Row> {
    use HostEvent as E;

    let at = recorded.header.at.as_micros();
    let (version, position) = (signed(recorded.header.version), signed(recorded.position));
    let Some(mut row) = row else {
        let E::Enrolled { hostname, agent_version, policy_hash, certificate } = event else {
            return None;
        };
        return Some(Row {
            id: recorded.header.stream.id,
            hostname: hostname.clone(),
            status: OFFLINE.to_owned(),
            agent_version: agent_version.clone(),
            policy_hash: policy_hash.clone(),
            policy_changed_us: None,
            certificate_key_hash: certificate.key_hash.clone(),
            certificate_issued_us: at,
            certificate_expires_us: certificate.not_after.as_micros(),
            enrolled_us: at,
            status_since_us: at,
            reason: None,
            revoked_by: None,
            version,
            position,
        });
    };
    (row.version, row.position) = (version, position);
    let (status, reason) = match event {
        E::Enrolled { .. }
        | E::Refused { .. }
        | E::OrderRefused { .. }
        | E::OrderDistrusted { .. } => return Some(row),
        E::Renewed { certificate } => {
            row.certificate_key_hash.clone_from(&certificate.key_hash);
            row.certificate_issued_us = at;
            row.certificate_expires_us = certificate.not_after.as_micros();
            return Some(row);
        }
        E::PolicyChanged { policy_hash } => {
            row.policy_hash.clone_from(policy_hash);
            row.policy_changed_us = Some(at);
            return Some(row);
        }
        E::AgentChanged { agent_version } => {
            row.agent_version.clone_from(agent_version);
            return Some(row);
        }
        E::CameOnline {} => (ONLINE, None),
        E::WentOffline { reason } => (OFFLINE, Some(reason)),
        E::Locked { reason } => (LOCKED, Some(reason)),
        E::Revoked { reason } => (REVOKED, Some(reason)),
    };
    // Nothing leads out of revoked, and only revoked leads out of locked.
    let follows = match row.status.as_str() {
        REVOKED => false,
        LOCKED => status == REVOKED,
        _ => true,
    };
    if follows {
        status.clone_into(&mut row.status);
        row.reason = reason.cloned();
        row.status_since_us = at;
        if status == REVOKED {
            row.revoked_by = recorded.header.actor.person().map(|person| person.0);
        }
    }
    Some(row)
}

/// The asset of a host is what discovery of its built-in connection finds; that connection has the
/// host's id.
const SELECT: &str = "SELECT h.*, a.id AS asset FROM nexplane.rm_hosts h LEFT JOIN LATERAL (\
    SELECT id FROM nexplane.rm_assets \
    WHERE connection = h.id AND asset_type = 'host' ORDER BY id LIMIT 1) a ON true";

#[derive(FromRow)]
struct Shown {
    #[sqlx(flatten)]
    host: Row,
    asset: Option<Uuid>,
}

impl Shown {
    fn view(self) -> HostView {
        let Self { host, asset } = self;
        let agent_version = host.agent_version;
        HostView {
            id: HostId(host.id),
            hostname: host.hostname,
            status: host.status,
            agent_is_behind: version::is_older(&agent_version, env!("CARGO_PKG_VERSION")),
            agent_version,
            policy_hash: host.policy_hash,
            policy_changed_at: host.policy_changed_us.map(Timestamp::from_micros),
            certificate_key_hash: host.certificate_key_hash,
            certificate_issued_at: Timestamp::from_micros(host.certificate_issued_us),
            certificate_expires_at: Some(Timestamp::from_micros(host.certificate_expires_us)),
            connection_id: ConnectionId(host.id),
            asset_id: asset.map(AssetId),
            enrolled_at: Timestamp::from_micros(host.enrolled_us),
            status_since: Timestamp::from_micros(host.status_since_us),
            reason: host.reason,
            revoked_by: host.revoked_by.map(PersonId),
            revoked_by_name: None,
            version: host.version.unsigned_abs(),
        }
    }
}

/// Which hosts a list has; what is `None` does not restrict it.
#[derive(Clone, Debug, Default)]
pub struct HostFilter {
    /// `online`, `offline`, `locked` or `revoked`.
    pub status: Option<String>,
    /// A part of the host name; or eight or more characters of the host's id, as people see it cut short.
    pub q: Option<String>,
}

/// Characters of an id that make it likely that no host name is meant.
const SHORT_ID: usize = 8;

impl HostFilter {
    fn restrict(&self, sql: &mut QueryBuilder<Postgres>) {
        if let Some(status) = &self.status {
            sql.push(" AND h.status = ").push_bind(status.clone());
        }
        if let Some(q) = &self.q {
            let q = q.trim().to_lowercase();
            sql.push(" AND (strpos(lower(h.hostname), ").push_bind(q.clone()).push(") > 0");
            if q.len() >= SHORT_ID && q.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
                sql.push(" OR strpos(h.id::text, ").push_bind(q).push(") > 0");
            }
            sql.push(")");
        }
    }
}

/// How many hosts have each status.
pub async fn count(pool: &PgPool, filter: &HostFilter) -> Result<HostCounts, QueryError> {
    let mut sql: QueryBuilder<Postgres> =
        QueryBuilder::new("SELECT h.status, count(*) FROM nexplane.rm_hosts h WHERE true");
    filter.restrict(&mut sql);
    sql.push(" GROUP BY h.status");
    let rows: Vec<(String, i64)> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    let of = |status: &str| {
        rows.iter().find(|(name, _)| name == status).map_or(0, |(_, count)| count.unsigned_abs())
    };
    Ok(HostCounts {
        online: of(ONLINE),
        offline: of(OFFLINE),
        locked: of(LOCKED),
        revoked: of(REVOKED),
    })
}

/// Hosts, the one that enrolled last first.
pub async fn list(
    pool: &PgPool,
    filter: &HostFilter,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<HostView>, QueryError> {
    let probe = page::probe(limit);
    let before: Option<(i64, Uuid)> = cursor
        .map(|cursor| {
            let (at, id) = cursor.split_once('.').ok_or(QueryError::Cursor)?;
            Ok::<_, QueryError>((
                at.parse().map_err(|_| QueryError::Cursor)?,
                id.parse().map_err(|_| QueryError::Cursor)?,
            ))
        })
        .transpose()?;
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(format!("{SELECT} WHERE true"));
    filter.restrict(&mut sql);
    if let Some((at, id)) = before {
        sql.push(" AND (h.enrolled_us, h.id) < (").push_bind(at).push(", ").push_bind(id).push(")");
    }
    sql.push(" ORDER BY h.enrolled_us DESC, h.id DESC LIMIT ").push_bind(probe);
    let rows: Vec<Shown> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    page::page(
        rows,
        probe,
        |row| format!("{}.{}", row.host.enrolled_us, row.host.id),
        |row| Ok(row.view()),
    )
}

/// One host.
pub async fn find(pool: &PgPool, id: HostId) -> Result<Option<HostView>, QueryError> {
    let row: Option<Shown> = sqlx::query_as(AssertSqlSafe(format!("{SELECT} WHERE h.id = $1")))
        .bind(id.0)
        .persistent(false)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(Shown::view))
}

/// What the agent gateway checks on every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub host: HostId,
    /// SHA-256 of the public key of the certificate that counts, hexadecimal.
    pub key_hash: String,
    pub is_online: bool,
    /// Locked and revoked hosts are refused.
    pub is_locked: bool,
    pub is_revoked: bool,
    /// Of the host owner's policy file; none when there is no file.
    pub policy_hash: Option<String>,
    /// As its agent last said.
    pub agent_version: String,
    /// Of the host's stream.
    pub version: u64,
}

/// The certificates of all hosts that count now.
pub async fn credentials(pool: &PgPool) -> Result<Vec<Credential>, QueryError> {
    let rows: Vec<(Uuid, String, String, Option<String>, String, i64)> = sqlx::query_as(
        "SELECT id, certificate_key_hash, status, policy_hash, agent_version, version \
         FROM nexplane.rm_hosts ORDER BY id",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, key_hash, status, policy_hash, agent_version, version)| Credential {
            host: HostId(id),
            key_hash,
            is_online: status == ONLINE,
            is_locked: status == LOCKED,
            is_revoked: status == REVOKED,
            policy_hash,
            agent_version,
            version: version.unsigned_abs(),
        })
        .collect())
}
