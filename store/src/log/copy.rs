//! A log written down again from its records, in a database of one's own.
//!
//! What is promised: the same bytes at the same positions under the same incarnation, in a database
//! that had no log, and that nothing can be appended to it once it is finished. What is not: that the
//! records are the log's. Whoever copies compares [`Copy::add`]'s hashes with a signed root.
//!
//! Deliberately absent: the answers to repeated commands; nobody gives commands to a copy.

use nexplane_core::record::{self, BadRecord, LeafHash};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

/// Partitions that are made ahead of the records.
const PARTITIONS_AHEAD: i32 = 1;

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is a log in the database already")]
    NotEmpty,
    #[error("there is no record at position {position}")]
    Record {
        position: u64,
        #[source]
        source: BadRecord,
    },
    #[error("could not write the copy")]
    Database(#[from] sqlx::Error),
}

/// A copy that is being made.
#[derive(Debug)]
pub struct Copy {
    connection: PgConnection,
    next: u64,
}

#[derive(Default)]
struct Columns {
    positions: Vec<i64>,
    streams: Vec<String>,
    categories: Vec<&'static str>,
    versions: Vec<i64>,
    types: Vec<String>,
    recorded: Vec<String>,
    hashes: Vec<LeafHash>,
}

impl Copy {
    /// Begins in a migrated database, whose superuser `target` is.
    pub async fn begin(target: PgConnectOptions, incarnation: Uuid) -> Result<Self, CopyError> {
        let mut connection = target.application_name("nexplane-copy").connect().await?;
        let done =
            sqlx::query("UPDATE nexplane.log_head SET incarnation = $1 WHERE next_position = 0")
                .bind(incarnation)
                .execute(&mut connection)
                .await?;
        if done.rows_affected() == 0 {
            return Err(CopyError::NotEmpty);
        }
        Ok(Self { connection, next: 0 })
    }

    /// Adds the records that follow, and gives their hashes.
    pub async fn add(&mut self, records: &[String]) -> Result<Vec<LeafHash>, CopyError> {
        let mut columns = Columns::default();
        for (record, position) in records.iter().zip(self.next..) {
            let header = record::decode(record)
                .map_err(|source| CopyError::Record { position, source })?
                .header;
            columns.positions.push(bigint(position));
            columns.streams.push(header.stream.to_string());
            columns.categories.push(header.stream.category.as_str());
            columns.versions.push(bigint(header.version));
            columns.types.push(header.kind);
            columns.recorded.push(header.at.to_string());
            columns.hashes.push(record::leaf_hash(record));
        }
        let next = self.next + records.len() as u64;
        let mut transaction = self.connection.begin().await?;
        sqlx::query(
            "INSERT INTO nexplane.log_events \
                 (position, stream_id, category, version, type, recorded_at, record, leaf_hash) \
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], \
                 $6::timestamptz[], $7::text[], $8::bytea[])",
        )
        .bind(&columns.positions)
        .bind(&columns.streams)
        .bind(&columns.categories)
        .bind(&columns.versions)
        .bind(&columns.types)
        .bind(&columns.recorded)
        .bind(records)
        .bind(columns.hashes.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO nexplane.log_streams (stream_id, version) \
             SELECT stream, max(version) FROM unnest($1::text[], $2::bigint[]) s (stream, version) \
             GROUP BY stream ON CONFLICT (stream_id) DO UPDATE SET version = EXCLUDED.version",
        )
        .bind(&columns.streams)
        .bind(&columns.versions)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE nexplane.log_head SET next_position = $1")
            .bind(bigint(next))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("SELECT nexplane.ensure_log_partitions($1)")
            .bind(PARTITIONS_AHEAD)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.next = next;
        Ok(columns.hashes)
    }

    /// Takes everybody's right to append.
    pub async fn finish(mut self) -> Result<(), CopyError> {
        sqlx::raw_sql(
            "REVOKE EXECUTE ON FUNCTION nexplane.append_batch(uuid[], bytea[], text[], bigint[], \
                 timestamptz[], integer[], text[], bigint[], integer[], text[], text[], bytea[]) \
             FROM nexplane_append",
        )
        .execute(&mut self.connection)
        .await?;
        Ok(self.connection.close().await?)
    }
}

/// No position is beyond what PostgreSQL can count.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
