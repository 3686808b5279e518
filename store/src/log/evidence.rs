//! The log's tables as evidence: read without believing that they are what an append left.
//!
//! Everything is read in one snapshot, over whatever connection the verifier brings. Nothing is
//! assumed to be contiguous or to agree with anything else; that is for the verifier to find.

use nexplane_core::time::Timestamp;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{protection, read};

/// Disagreements of one kind that are named; more are not looked for.
const NAMED: i64 = 20;

/// What the snapshot is of.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub incarnation: Uuid,
    pub next_position: u64,
    /// Size of the newest checkpoint.
    pub sealed: Option<u64>,
    /// All signed notes with the cosignatures that came in, by size.
    pub checkpoints: Vec<String>,
}

/// A row of the event table as it is.
#[derive(Clone, Debug, FromRow)]
pub struct Record {
    pub position: i64,
    pub stream: String,
    pub category: String,
    pub version: i64,
    pub kind: String,
    pub recorded_at_us: i64,
    pub text: String,
    pub leaf: Vec<u8>,
}

/// Begins a read-only snapshot, which lasts as long as the connection. A statement of it does not
/// outlive a verifier that has gone away.
pub async fn begin(connection: &mut PgConnection) -> Result<Snapshot, sqlx::Error> {
    sqlx::raw_sql(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
         SET LOCAL client_connection_check_interval = '2s'",
    )
    .execute(&mut *connection)
    .await?;
    let (incarnation, next): (Uuid, i64) =
        sqlx::query_as("SELECT incarnation, next_position FROM nexplane.log_head")
            .fetch_one(&mut *connection)
            .await?;
    let notes: Vec<(i64, String)> = sqlx::query_as(
        "SELECT c.size, c.note || coalesce((SELECT string_agg(s.line, '' ORDER BY s.witness) \
             FROM nexplane.log_cosignatures s \
             WHERE s.incarnation = c.incarnation AND s.size = c.size), '') \
         FROM nexplane.log_checkpoints c WHERE c.incarnation = $1 ORDER BY c.size",
    )
    .bind(incarnation)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Snapshot {
        incarnation,
        next_position: next.unsigned_abs(),
        sealed: notes.last().map(|(size, _)| size.unsigned_abs()),
        checkpoints: notes.into_iter().map(|(_, note)| note).collect(),
    })
}

/// The rows of these positions, as many as there are.
pub async fn records(
    connection: &mut PgConnection,
    from: u64,
    to: u64,
) -> Result<Vec<Record>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, stream_id AS stream, category, version, type AS kind, \
             (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us, \
             record AS text, leaf_hash AS leaf \
         FROM nexplane.log_events WHERE position >= $1 AND position < $2 ORDER BY position",
    )
    .bind(i64::try_from(from).unwrap_or(i64::MAX))
    .bind(i64::try_from(to).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(connection)
    .await
}

/// Records at or after a position that are older than this, and so ought to be under a checkpoint.
pub async fn unsealed(
    connection: &mut PgConnection,
    from: u64,
    older_than_s: i64,
) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM nexplane.log_events \
         WHERE position >= $1 AND recorded_at < clock_timestamp() - $2 * interval '1 s'",
    )
    .bind(i64::try_from(from).unwrap_or(i64::MAX))
    .bind(older_than_s)
    .persistent(false)
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

/// What the tables beside the events say that the events do not, and what is missing of the log's
/// protection.
pub async fn disagreements(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    let (next, count, last): (i64, i64, Option<i64>) = sqlx::query_as(
        "SELECT h.next_position, e.count, e.last FROM nexplane.log_head h, \
             (SELECT count(*) AS count, max(position) AS last FROM nexplane.log_events) e",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    if count != next || last.map_or(0, |last| last + 1) != next {
        found.push(format!(
            "log_head says that there are {next} events; there are {count}, the last at {last:?}"
        ));
    }
    let streams: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT stream_id, s.version, e.version FROM nexplane.log_streams s \
         FULL JOIN (SELECT stream_id, max(version) AS version, count(*) AS count \
                    FROM nexplane.log_events GROUP BY stream_id) e USING (stream_id) \
         WHERE s.version IS DISTINCT FROM e.version OR e.version <> e.count LIMIT $1",
    )
    .bind(NAMED)
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    found.extend(streams.into_iter().map(|(stream, says, is)| {
        format!("log_streams says that {stream} is at version {says:?}; its events end at {is:?}")
    }));
    // The header stands before `data` and its strings have no bare quotes, so the first match is the
    // header's own; what is no record has none, and is found by reading it.
    let commands: Vec<String> = sqlx::query_scalar(
        "SELECT coalesce(c.command_id::text, e.command) FROM nexplane.log_commands c \
         FULL JOIN (SELECT substring(record FROM '\"command\":\"([0-9a-f-]{36})\"') AS command, \
                        min(position) AS first, max(position) AS last, count(*) AS count \
                    FROM nexplane.log_events GROUP BY 1) e ON e.command = c.command_id::text \
         WHERE (c.first_position IS DISTINCT FROM e.first \
                OR c.last_position IS DISTINCT FROM e.last \
                OR e.count <> e.last - e.first + 1) \
           AND coalesce(c.command_id::text, e.command) IS NOT NULL LIMIT $1",
    )
    .bind(NAMED)
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    found.extend(commands.into_iter().map(|command| {
        format!("log_commands and the events do not agree about what command {command} wrote")
    }));
    found.extend(protection::findings(&mut *connection).await?);
    Ok(found)
}

/// The event that was recorded last, of those recorded at or before a moment: as
/// [`Log::position_at`](super::Log::position_at), in this snapshot.
pub async fn position_at(
    connection: &mut PgConnection,
    at: Timestamp,
) -> Result<Option<u64>, sqlx::Error> {
    read::position_at(connection, at).await
}
