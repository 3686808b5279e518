//! Looking into the event table, for tests of other crates: only the store names it.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool};

/// How many events the log has.
pub async fn event_count(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM nexplane.log_events").fetch_one(pool).await
}

/// The text of every record, in order.
pub async fn event_records(db: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT record FROM nexplane.log_events ORDER BY position")
        .fetch_all(db)
        .await
}

/// The text of every record that has this in it, in order.
pub async fn event_records_with(
    db: impl PgExecutor<'_>,
    text: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT record FROM nexplane.log_events WHERE strpos(record, $1) > 0 ORDER BY position",
    )
    .bind(text)
    .fetch_all(db)
    .await
}

/// The text of every record from a position on, in order.
pub async fn event_records_from(pool: &PgPool, from: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT record FROM nexplane.log_events WHERE position >= $1 ORDER BY position",
    )
    .bind(from)
    .fetch_all(pool)
    .await
}

/// The text of every record of a type, in order.
pub async fn records_of(db: &mut PgConnection, kind: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT record FROM nexplane.log_events WHERE type = $1 ORDER BY position")
        .bind(kind)
        .fetch_all(db)
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

/// Does to the log what only a superuser can do: switches its protection off, runs the statements,
/// and switches it on again, as somebody would who does not want to be noticed. `{events}` in them
/// stands for the event table.
pub async fn tamper(pool: &PgPool, statements: &str) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let switch = |how: &str| {
        format!(
            "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class \
             WHERE relnamespace = 'nexplane'::regnamespace AND relkind = 'r' \
               AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid \
                   AND tgname = 'refuse_change') \
             LOOP EXECUTE format('ALTER TABLE %s {how} TRIGGER refuse_change, {how} TRIGGER \
             refuse_truncate', t); END LOOP; END $$"
        )
    };
    let statements = statements.replace("{events}", "nexplane.log_events");
    for sql in [switch("DISABLE"), statements, switch("ENABLE ALWAYS")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
