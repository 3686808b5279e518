//! A search for secrets in everything that is kept and shown.
//!
//! The memory of the server is not searched: what it works with is in it while it does.

use nexplane_peers::spelling::spellings;
use sqlx::AssertSqlSafe;

use crate::harness::{Server, said, text};

/// Every row of every table, as text; what is stored as bytes, in hexadecimal.
async fn database(server: &Server) -> String {
    let pool = server.database().pool();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    let mut all = String::new();
    for table in tables {
        let rows = format!("SELECT coalesce(string_agg(t::text, chr(10)), '') FROM {table} t");
        all += &sqlx::query_scalar::<_, String>(AssertSqlSafe(rows)).fetch_one(pool).await.unwrap();
    }
    all
}

/// None of these secrets is, in whatever spelling, in the database, in the server's log, in what an auditor
/// exports, or in any answer of the API that this test heard, but for those that hand one over.
pub async fn nothing_leaked(server: &Server, secrets: &[&str]) {
    let exporter = server.person("exporter", &["auditor"]).await;
    let export = text(&exporter.get("/audit/export").await.is(200));
    for (place, content) in [
        ("the database", database(server).await),
        ("the log", server.log_text()),
        ("the export", export),
        ("the answers", said()),
    ] {
        assert!(content.len() > 50, "there is nothing in {place}: {content}");
        for secret in secrets {
            for spelling in spellings(secret) {
                let found = content.find(&spelling);
                let around = found.and_then(|at| content.get(at.saturating_sub(200)..at));
                assert_eq!(found, None, "{place} has {spelling} of {secret} after {around:?}");
            }
        }
    }
}
