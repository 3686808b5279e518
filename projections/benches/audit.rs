//! How long a page of the audit view takes when it has a million lines. Prints the first page and
//! the thousandth of every filter; "far back" is what happened only at the log's beginning.
//!
//! `NEXPLANE_BENCH_EVENTS` sets the number of lines; 1,000,000 when it is not given.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing else to say")]

use std::time::{Duration, Instant};

use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use nexplane_projections::audit::{AuditFilter, AuditOrder, list, terms};
use nexplane_projections::{Options, Projections};
use nexplane_store::database::{Database, DatabaseOptions};
use nexplane_store::embedded::{Cluster, ClusterOptions};
use nexplane_store::log::{Log, LogOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, query_as, query_scalar, raw_sql};
use uuid::Uuid;

/// 2026-11-23T12:00:00Z, when the log begins; there is an event in every second.
const START: i64 = 1_795_435_200_000_000;
const SECOND: i64 = 1_000_000;
const TIMES: usize = 5;
const PAGE: usize = 50;
const FAR_PAGE: usize = 1000;

/// Lines as the projection writes them, of about the same size and number of words: four parts of
/// an id, a dozen words of the summary and the payload, of which some are in every line, some in
/// every tenth, some in a few.
const FILL: &str = "
    INSERT INTO {table}
    SELECT n, md5('event' || n)::uuid, {start} + n * {second}, 'user', actor, type,
        split_part(type, '.', 1), stream, n % 20 + 1,
        ARRAY[stream, connection, asset] || coalesce(ARRAY[change], '{}'), change,
        'Step ' || n % 9 || ' of ' || type || ' on asset-' || n % 20000 || ' succeeded.',
        jsonb_build_object('data', jsonb_build_object('run', stream, 'step', n % 9, 'asset', asset,
            'digest', md5('plan' || n / 20) || md5('digest' || n / 20), 'connection', connection,
            'reason', 'Rotate the password of account ' || n % 5000 || ' before the audit')),
        array_to_tsvector(array_cat(
            ARRAY['step', 'of', 'on', 'asset', 'succeeded', 'rotate', 'the', 'password', 'account',
                'before', 'audit', (n % 9)::text, (n % 20000)::text, (n % 5000 + 20000)::text,
                'tenth' || n % 10, 'rare' || n % 50000, split_part(type, '.', 1),
                split_part(type, '.', 2), md5('plan' || n / 20) || md5('digest' || n / 20),
                CASE WHEN n < {count} / 20 THEN 'early' ELSE 'later' END],
            string_to_array(concat_ws('-', stream, connection, asset), '-')))
    FROM generate_series(0::bigint, {count} - 1) n,
    LATERAL (SELECT
        CASE WHEN n % 10 = 0 THEN {actor} ELSE md5('actor' || n % 499)::uuid END AS actor,
        CASE WHEN n % 4 = 0 THEN 'run.step_succeeded' WHEN n % 50000 = 1 THEN 'host.revoked'
            ELSE (ARRAY['change.submitted', 'change.approved', 'run.step_verified',
                'asset.drifted', 'connection.tested', 'person.signed_in'])[n % 6 + 1] END AS type,
        md5('stream' || n / 20)::uuid AS stream,
        CASE WHEN n < {count} / 20 THEN {early} ELSE md5('connection' || n % 10)::uuid END
            AS connection,
        md5('asset' || n % 20000)::uuid AS asset,
        CASE WHEN n % 12 = 5 THEN {change} WHEN n % 3 > 0 THEN md5('change' || n / 20)::uuid END
            AS change) of";

fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let lines = std::env::var("NEXPLANE_BENCH_EVENTS");
    let lines = lines.ok().and_then(|lines| lines.parse().ok()).unwrap_or(1_000_000);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(lines));
}

async fn run(lines: i64) {
    let directory = tempfile::tempdir().unwrap();
    let cluster =
        Cluster::open(ClusterOptions::new(directory.path().join("cluster"))).await.unwrap();
    cluster.create_database("audit").await.unwrap();
    let connect = cluster.connect_options("audit");
    let options = DatabaseOptions::default();
    let database = Database::connect_with(connect.clone(), &options).await.unwrap();
    database.migrate().await.unwrap();
    let pool = database.pool();
    let log = Log::open(pool.clone(), connect, LogOptions::default()).await.unwrap();
    let all = nexplane_projections::all();
    Projections::open(pool.clone(), log.clone(), all, Options::default()).await.unwrap();

    let began = Instant::now();
    fill(pool, lines).await;
    println!("{lines} lines made in {:.0} s", began.elapsed().as_secs_f64());
    println!("{:<28} {:>18} {:>18}", "median of 5 (slowest)", "first page", "page 1000");
    for (name, filter, condition) in filters(pool, lines).await {
        let first = page(pool, &filter, None).await;
        let far = match far_cursor(pool, &condition).await {
            Some(cursor) => page(pool, &filter, Some(&cursor)).await,
            None => "-".to_owned(),
        };
        println!("{name:<28} {first:>18} {far:>18}");
    }
    log.close().await;
    database.close().await;
    cluster.stop().await.unwrap();
}

/// Ids that many lines have in common.
const ACTOR: Uuid = Uuid::from_u128(1);
const CHANGE: Uuid = Uuid::from_u128(2);
const EARLY: Uuid = Uuid::from_u128(3);

/// Fills the live table, without its indexes, and makes these again.
async fn fill(pool: &PgPool, lines: i64) {
    let mut db = pool.acquire().await.unwrap();
    let table: String = query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'nexplane' \
         AND tablename ~ '^rm_audit_v'",
    )
    .fetch_one(&mut *db)
    .await
    .unwrap();
    let indexes: Vec<(String, String)> = query_as(
        "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'nexplane' \
         AND tablename = $1 AND indexname !~ '_pkey$'",
    )
    .bind(&table)
    .fetch_all(&mut *db)
    .await
    .unwrap();
    for (name, _) in &indexes {
        run_sql(&mut db, format!("DROP INDEX nexplane.{name}")).await;
    }
    let quoted = |id: Uuid| format!("'{id}'::uuid");
    let sql = FILL
        .replace("{table}", &format!("nexplane.{table}"))
        .replace("{start}", &START.to_string())
        .replace("{second}", &SECOND.to_string())
        .replace("{count}", &lines.to_string())
        .replace("{actor}", &quoted(ACTOR))
        .replace("{change}", &quoted(CHANGE))
        .replace("{early}", &quoted(EARLY));
    run_sql(&mut db, sql).await;
    run_sql(&mut db, "SET maintenance_work_mem = '512MB'".to_owned()).await;
    for (_, definition) in indexes {
        run_sql(&mut db, definition).await;
    }
    run_sql(&mut db, format!("VACUUM ANALYZE nexplane.{table}")).await;
}

async fn run_sql(db: &mut PgConnection, sql: String) {
    raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap();
}

fn md5(text: &str) -> String {
    format!("md5('{text}')::uuid")
}

/// What is looked for, and the same as a condition, for finding the cursor of a page far behind.
async fn filters(pool: &PgPool, lines: i64) -> Vec<(&'static str, AuditFilter, String)> {
    let all = AuditFilter::default;
    let id = async |text: String| -> Uuid {
        let sql = format!("SELECT {}", md5(&text));
        query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
    };
    let at = |line: i64| Some(Timestamp::from_micros(START + line * SECOND));
    let actor = |actor| AuditFilter { actor: Some(actor), ..all() };
    let kind = |kind: &str| AuditFilter { kind: Some(kind.to_owned()), ..all() };
    let resource = |resource| AuditFilter { resource: Some(resource), ..all() };
    let change = |change| AuditFilter { change: Some(ChangeId(change)), ..all() };
    let words = |q: &str| AuditFilter { q: terms(q), ..all() };
    let time = |from, to| AuditFilter { from: at(from), to: at(to), ..all() };
    let (quarter, hour) = (lines / 4, lines / 3);
    let between = |from: i64, to: i64| format!("position >= {from} AND position < {to}");
    let text = |word: &str| format!("words @@ '{word}'::tsquery");
    vec![
        ("no filter", all(), "true".to_owned()),
        ("actor, every tenth", actor(ACTOR), format!("actor = '{ACTOR}'")),
        ("actor, every 500th", actor(id("actor7".into()).await), "false".to_owned()),
        ("type, every fourth", kind("run.step_succeeded"), "type = 'run.step_succeeded'".into()),
        ("type, twenty", kind("host.revoked"), "false".to_owned()),
        ("category, a third", kind("run"), "category = 'run'".to_owned()),
        (
            "resource, every tenth",
            resource(id("connection3".into()).await),
            format!("resources @> ARRAY[{}]", md5("connection3")),
        ),
        ("resource, fifty", resource(id("asset77".into()).await), "false".to_owned()),
        (
            "resource, 5 % far back",
            resource(EARLY),
            format!("resources @> ARRAY['{EARLY}'::uuid] AND position < {}", lines / 20),
        ),
        ("change, every twelfth", change(CHANGE), format!("change = '{CHANGE}'")),
        ("change, twelve", change(id("change900".into()).await), "false".to_owned()),
        ("words in every line", words("rotate password"), text("rotate & password")),
        ("word, every tenth", words("tenth3"), text("tenth3")),
        ("beginning, every line", words("acc"), text("acc:*")),
        ("beginning of ids", words("a"), text("a:*")),
        ("word, two hundred", words("20123"), "false".to_owned()),
        ("word, twenty", words("rare123"), "false".to_owned()),
        ("word, 5 % far back", words("early"), text("early")),
        ("two words, never together", words("tenth3 tenth4"), "false".to_owned()),
        ("time, a middle half", time(quarter, 3 * quarter), between(quarter, 3 * quarter)),
        ("time, one hour", time(hour, hour + 3600), "false".to_owned()),
        ("time, the first tenth", time(0, lines / 10), between(0, lines / 10)),
    ]
}

/// The cursor that leads to page 1000; `None` when there are not so many lines.
async fn far_cursor(pool: &PgPool, condition: &str) -> Option<String> {
    let sql = format!(
        "SELECT position FROM nexplane.rm_audit WHERE {condition} ORDER BY position DESC \
         OFFSET {} LIMIT 1",
        PAGE * (FAR_PAGE - 1) - 1
    );
    let last: Option<i64> = query_scalar(AssertSqlSafe(sql)).fetch_optional(pool).await.unwrap();
    last.map(|position| position.to_string())
}

async fn page(pool: &PgPool, filter: &AuditFilter, cursor: Option<&str>) -> String {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        list(pool, filter, AuditOrder::NewestFirst, cursor, None).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let ms = |time: Option<&Duration>| 1000.0 * time.map_or(0.0, Duration::as_secs_f64);
    format!("{:.1} ms ({:.0})", ms(times.get(TIMES / 2)), ms(times.last()))
}
