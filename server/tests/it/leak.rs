//! A search for secrets in everything that is kept and shown.
//!
//! The memory of the server is not searched: what it works with is in it while it does. That it stays there says
//! [`crate::core_dump`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nexplane_peers::spelling::spellings;
use sqlx::AssertSqlSafe;

use crate::harness::{Server, handed, said, text};

/// Every row of every table, as JSON; what is stored as bytes, in hexadecimal.
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
        let rows =
            format!("SELECT coalesce(string_agg(to_jsonb(t)::text, chr(10)), '') FROM {table} t");
        all += &sqlx::query_scalar::<_, String>(AssertSqlSafe(rows)).fetch_one(pool).await.unwrap();
    }
    all
}

/// Everything that is written in files.
fn files(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What a process is just writing may be gone.
        all += &if path.is_dir() {
            files(&path)
        } else {
            String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned()
        };
    }
    all
}

/// None of these secrets, and nothing that the API handed over in this test (passwords and tokens of people, tokens
/// of hosts, revealed secrets), is in whatever spelling in the database, in the files of the server (its log and
/// the outcomes that wait, among them), in what an auditor exports, or in any other answer that this test heard.
pub async fn nothing_leaked(server: &Server, secrets: &[&str]) {
    let handed = handed();
    let handed = handed.iter().map(String::as_str).filter(|secret| secret.len() >= 8);
    let secrets = secrets.iter().copied().chain(handed);
    let spellings: BTreeSet<String> = secrets.flat_map(spellings).collect();
    let exporter = server.person("exporter", &["auditor"]).await;
    let mut export = String::new();
    for format in ["jsonl", "csv"] {
        export += &text(&exporter.get(&format!("/audit/export?format={format}")).await.is(200));
    }
    // With what is known to be there: whoever does not find that searches in the wrong place.
    for (place, content, known) in [
        ("the database", database(server).await, "exporter@example.org"),
        ("the log", server.log_text(), "Nexplane is ready"),
        ("the files", files(server.data_dir()), "BEGIN CERTIFICATE"),
        ("the export", export, &*exporter.id),
        ("the answers", said(), &*exporter.id),
    ] {
        assert!(first(&content, &[known.to_owned()].into()).is_some(), "{known} is not in {place}");
        if let Some((at, spelling)) = first(&content, &spellings) {
            let around = content.get(at.saturating_sub(200)..at);
            panic!("{place} has {spelling} after {around:?}");
        }
    }
}

/// The first of these texts in the content, and where it is. One pass: there are thousands of them.
fn first<'a>(content: &str, texts: &'a BTreeSet<String>) -> Option<(usize, &'a str)> {
    let mut begin: BTreeMap<[u8; 2], Vec<&str>> = BTreeMap::new();
    for text in texts {
        begin.entry([text.as_bytes()[0], text.as_bytes()[1]]).or_default().push(text);
    }
    let mut may_begin = vec![false; 1 << 16];
    for pair in begin.keys() {
        may_begin[usize::from(u16::from_be_bytes(*pair))] = true;
    }
    let bytes = content.as_bytes();
    bytes.windows(2).enumerate().find_map(|(at, pair)| {
        let pair = [pair[0], pair[1]];
        if !may_begin[usize::from(u16::from_be_bytes(pair))] {
            return None;
        }
        let is_here = |text: &&&str| bytes[at..].starts_with(text.as_bytes());
        begin[&pair].iter().find(is_here).map(|text| (at, *text))
    })
}

#[test]
fn what_is_searched_for_is_found() {
    let texts = ["of-old", "of-other"].map(str::to_owned).into();
    assert_eq!(first("it is of no use, of-other", &texts), Some((17, "of-other")));
    assert_eq!(first("it is of no use, of-othe", &texts), None);
}
