//! Looking into the event table, for tests of other crates: only the store names it.

use sqlx::PgPool;

/// How many events the log has.
pub async fn event_count(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM nexplane.log_events").fetch_one(pool).await
}

/// The text of every record, in order.
pub async fn event_records(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT record FROM nexplane.log_events ORDER BY position")
        .fetch_all(pool)
        .await
}

/// Whether there is an event of this type at a position or after it.
pub async fn has_event(pool: &PgPool, from: i64, kind: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM nexplane.log_events WHERE position >= $1 AND type = $2)",
    )
    .bind(from)
    .bind(kind)
    .fetch_one(pool)
    .await
}
