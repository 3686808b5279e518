//! What the read models know of how the installation is: where changes stand and since when, agents by
//! version, and discoveries that failed.

use nexplane_core::api::{
    AgentVersionView, ChangeState, FailedDiscoveryView, QueueKind, QueueView, Subject,
};
use nexplane_core::host::version;
use nexplane_core::id::{ChangeId, ConnectionId, HostId, RunId};
use nexplane_core::time::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use crate::page::QueryError;

/// The states in which a change waits for something.
const WAITING: [(ChangeState, QueueKind); 5] = [
    (ChangeState::Submitted, QueueKind::Approval),
    (ChangeState::Approved, QueueKind::Execution),
    (ChangeState::Scheduled, QueueKind::Scheduled),
    (ChangeState::Executing, QueueKind::Executing),
    (ChangeState::OutcomeUnknown, QueueKind::Settlement),
];

/// A change as a link to it.
fn subject(id: Uuid, number: i64, title: String) -> Subject {
    Subject::Change { id: ChangeId(id), number: number.unsigned_abs(), title }
}

/// How many changes wait for what, and the one that has not moved for longest.
pub async fn changes(pool: &PgPool) -> Result<Vec<QueueView>, QueryError> {
    let mut queues = Vec::new();
    for (state, kind) in WAITING {
        // Those in these states are few: found by their state, and not on the way through all positions.
        let row: Option<(i64, Uuid, i64, String, String)> = sqlx::query_as(
            "WITH those AS MATERIALIZED \
                 (SELECT id, position FROM nexplane.rm_changes WHERE state = $1), \
             oldest AS (SELECT id FROM those ORDER BY position LIMIT 1) \
             SELECT (SELECT count(*) FROM those), id, number, view->>'title', view->>'updated_at' \
             FROM oldest JOIN nexplane.rm_changes USING (id)",
        )
        .bind(state.as_str())
        .persistent(false)
        .fetch_optional(pool)
        .await?;
        let Some((waiting, id, number, title, at)) = row else {
            queues.push(QueueView { kind, waiting: 0, oldest: None, subject: None });
            continue;
        };
        queues.push(QueueView {
            kind,
            waiting: waiting.unsigned_abs(),
            oldest: at.parse().ok(),
            subject: Some(subject(id, number, title)),
        });
    }
    Ok(queues)
}

/// A change in one state.
#[derive(Clone, Debug)]
pub struct Standing {
    pub subject: Subject,
    /// Of its last event.
    pub since: Timestamp,
    /// That is being carried out; absent when there is none, or there are many.
    pub run: Option<RunId>,
    /// In one sentence.
    pub waits: Option<String>,
}

/// Changes in a state, the one that has not moved for longest first; at most 100.
pub async fn standing(pool: &PgPool, state: ChangeState) -> Result<Vec<Standing>, QueryError> {
    type Found = (Uuid, i64, String, String, Option<String>, Option<String>);
    let rows: Vec<Found> = sqlx::query_as(
        "WITH those AS MATERIALIZED \
             (SELECT id, position FROM nexplane.rm_changes WHERE state = $1), \
         oldest AS (SELECT id FROM those ORDER BY position LIMIT 100) \
         SELECT id, number, view->>'title', view->>'updated_at', run->>'id', view->>'waiting_for' \
         FROM oldest JOIN nexplane.rm_changes USING (id) ORDER BY position",
    )
    .bind(state.as_str())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let standing = |(id, number, title, at, run, waits): (_, _, _, String, Option<String>, _)| {
        Some(Standing {
            subject: subject(id, number, title),
            since: at.parse().ok()?,
            run: run.and_then(|run| run.parse().ok()),
            waits,
        })
    };
    Ok(rows.into_iter().filter_map(standing).collect())
}

/// The changes of these runs, as far as they are known.
pub async fn changes_of_runs(
    pool: &PgPool,
    runs: &[Uuid],
) -> Result<Vec<(RunId, Subject)>, QueryError> {
    let rows: Vec<(Uuid, Uuid, i64, String)> = sqlx::query_as(
        "SELECT r.run, c.id, c.number, c.view->>'title' FROM nexplane.rm_change_runs r \
         JOIN nexplane.rm_changes c ON c.id = r.change WHERE r.run = ANY($1)",
    )
    .bind(runs)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let of = |(run, id, number, title)| (RunId(run), subject(id, number, title));
    Ok(rows.into_iter().map(of).collect())
}

/// One change as a link, with its last event.
pub async fn change(
    pool: &PgPool,
    id: Uuid,
) -> Result<Option<(Subject, Option<Timestamp>)>, QueryError> {
    let row: Option<(i64, String, String)> = sqlx::query_as(
        "SELECT number, view->>'title', view->>'updated_at' FROM nexplane.rm_changes WHERE id = $1",
    )
    .bind(id)
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(number, title, at)| (subject(id, number, title), at.parse().ok())))
}

/// A host with its name and status, and since when it has that.
#[derive(Clone, Debug)]
pub struct Known {
    pub subject: Subject,
    pub is_online: bool,
    pub status: String,
    pub since: Timestamp,
}

/// These hosts, as far as they are known.
pub async fn hosts(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<(HostId, Known)>, QueryError> {
    let rows: Vec<(Uuid, String, String, i64)> = sqlx::query_as(
        "SELECT id, hostname, status, status_since_us FROM nexplane.rm_hosts WHERE id = ANY($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let known = |(id, hostname, status, since): (Uuid, String, String, i64)| {
        let known = Known {
            subject: Subject::Host { id: HostId(id), hostname },
            is_online: status == "online",
            since: Timestamp::from_micros(since),
            status,
        };
        (HostId(id), known)
    };
    Ok(rows.into_iter().map(known).collect())
}

/// Hosts by the version of their agent, the most first; without those that were revoked.
pub async fn agents(pool: &PgPool, current: &str) -> Result<Vec<AgentVersionView>, QueryError> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT agent_version, count(*), count(*) FILTER (WHERE status = 'online') \
         FROM nexplane.rm_hosts WHERE status <> 'revoked' GROUP BY agent_version ORDER BY 2 DESC, 1",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let view = |(name, hosts, online): (String, i64, i64)| AgentVersionView {
        behind: version::is_older(&name, current),
        version: name,
        hosts: hosts.unsigned_abs(),
        online: online.unsigned_abs(),
    };
    Ok(rows.into_iter().map(view).collect())
}

/// Hosts whose agents have one of these versions, by name; at most 50. Without those that were revoked.
pub async fn hosts_with(pool: &PgPool, versions: &[&str]) -> Result<Vec<Subject>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, hostname FROM nexplane.rm_hosts \
         WHERE agent_version = ANY($1) AND status <> 'revoked' ORDER BY hostname LIMIT 50",
    )
    .bind(versions)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let view = |(id, hostname)| Subject::Host { id: HostId(id), hostname };
    Ok(rows.into_iter().map(view).collect())
}

/// Connections whose last discovery failed, by name, and how many there are in all; at most 100.
pub async fn failed_discoveries(
    pool: &PgPool,
) -> Result<(Vec<FailedDiscoveryView>, u64), QueryError> {
    type Found = (Uuid, String, String, Option<i64>, Option<i64>);
    let in_all: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM nexplane.rm_connections \
         WHERE discovery_error IS NOT NULL AND NOT is_removed",
    )
    .persistent(false)
    .fetch_one(pool)
    .await?;
    let rows: Vec<Found> = sqlx::query_as(
        "SELECT id, name, discovery_error, discovered_us, discover_next_us \
         FROM nexplane.rm_connections WHERE discovery_error IS NOT NULL AND NOT is_removed \
         ORDER BY name LIMIT 100",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let view = |(id, name, error, discovered, next): (_, _, _, Option<i64>, Option<i64>)| {
        FailedDiscoveryView {
            connection: ConnectionId(id),
            name,
            error,
            discovered_at: discovered.map(Timestamp::from_micros),
            next_at: next.map(Timestamp::from_micros),
        }
    };
    Ok((rows.into_iter().map(view).collect(), in_all.unsigned_abs()))
}
