//! Is the log still as append-only as the schema made it?
//!
//! Asked at every start, because whoever can switch a trigger off can forget to switch it on again.
//! It finds carelessness, and makes malice leave more traces; a superuser who puts everything back
//! is found by the log's checkpoints, not here.

use sqlx::PgConnection;

/// Who may own the log.
const OWNER: &str = "nexplane_log_owner";

/// Everything that is not as it should be, each in words; nothing when all is well.
pub async fn findings(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut found = triggers(db).await?;
    found.extend(owners(db).await?);
    found.extend(rights(db).await?);
    found.extend(functions(db).await?);
    Ok(found)
}

/// Every table of the log's events, and which of its two triggers is missing, changed or off.
///
/// `tgtype` is a set of bits (PostgreSQL, catalog/pg_trigger.h): 1 row, 2 before, 8 delete,
/// 16 update, 32 truncate. A partition that was detached still has its name.
async fn triggers(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "WITH protected AS (
             SELECT c.oid, c.relname FROM pg_class c
             WHERE c.relnamespace = 'nexplane'::regnamespace AND c.relkind = 'r'
               AND (c.relname ~ '^log_events_p[0-9]+$' OR c.relname IN
                   ('log_commands', 'log_tiles', 'log_checkpoints', 'log_cosignatures',
                    'log_forks'))
         ), expected (name, bits) AS (
             VALUES ('refuse_change', 1 + 2 + 8 + 16), ('refuse_truncate', 2 + 32)
         )
         SELECT protected.relname, expected.name FROM protected CROSS JOIN expected
         WHERE NOT EXISTS (
             SELECT FROM pg_trigger t
             WHERE t.tgrelid = protected.oid AND t.tgname = expected.name
               AND t.tgtype = expected.bits AND t.tgenabled = 'A' AND t.tgqual IS NULL
               AND t.tgfoid = 'nexplane.refuse_change()'::regprocedure)
         ORDER BY 1, 2",
    )
    .fetch_all(&mut *db)
    .await?;
    let lost = rows.into_iter().map(|(table, trigger)| {
        format!("trigger {trigger} of {table} is missing, changed or not enabled always")
    });
    let astray: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'nexplane'::regnamespace AND c.relkind = 'r'
           AND c.relname ~ '^log_events_p[0-9]+$' AND NOT c.relispartition",
    )
    .fetch_all(&mut *db)
    .await?;
    Ok(lost.chain(astray.into_iter().map(|table| format!("{table} is detached"))).collect())
}

async fn owners(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname, pg_get_userbyid(c.relowner)::text FROM pg_class c
         WHERE c.relnamespace = 'nexplane'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relname ~ '^log_' AND pg_get_userbyid(c.relowner) <> $1
         UNION ALL
         SELECT 'append_batch()', pg_get_userbyid(p.proowner)::text FROM pg_proc p
         WHERE p.pronamespace = 'nexplane'::regnamespace AND p.proname = 'append_batch'
           AND pg_get_userbyid(p.proowner) <> $1
         ORDER BY 1",
    )
    .bind(OWNER)
    .fetch_all(&mut *db)
    .await?;
    Ok(rows.into_iter().map(|(what, owner)| format!("{what} belongs to {owner}")).collect())
}

/// Rights on the log's tables that nobody but their owner should have.
async fn rights(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT c.relname, CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END,
             a.privilege_type
         FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.relnamespace = 'nexplane'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relname ~ '^log_' AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT'
           AND NOT (a.privilege_type = 'INSERT' AND a.grantee = 'nexplane_seal'::regrole
                    AND c.relname IN ('log_checkpoints', 'log_cosignatures', 'log_tiles'))
         ORDER BY 1, 2, 3",
    )
    .fetch_all(&mut *db)
    .await?;
    let described = |(table, role, right)| format!("{role} has {right} on {table}");
    Ok(rows.into_iter().map(described).collect())
}

/// The function behind the triggers still refuses.
async fn functions(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let body: Option<String> = sqlx::query_scalar(
        "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure('nexplane.refuse_change()')",
    )
    .fetch_optional(db)
    .await?;
    let schema = include_str!("../../../schema/migrations/0001_log.sql");
    let is_ours = body.is_some_and(|body| schema.contains(&body));
    Ok(if is_ours { Vec::new() } else { vec!["refuse_change() was changed".to_owned()] })
}
