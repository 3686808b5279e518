//! How long the server takes for the first rows of every list that the dashboard asks for, on a year of a
//! large installation. Prints; judges nothing but the time.
//!
//! `cargo bench --workspace --bench lists -- [changes] [--data-dir DIR] [--only TEXT] [--serve]`
//!
//! 2,500 changes, with twice as many assets and twenty times as many events, are made when nothing is said; the
//! full size is 50,000. With a data directory they are kept there and used again the next time. With `--serve`
//! the server stays until Ctrl-C, for looking at its pages.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "printing is what it is for, and a measurement that cannot go on has no result"
)]

#[allow(dead_code, reason = "it says more of what it made than this asks for")]
#[path = "../tests/it/large.rs"]
mod large;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use large::asked::{self, Asked};
use large::{ADMIN, APPROVER, Made, OPERATOR, PASSWORD, Size};
use nexplane_core::audit::Auditor;
use nexplane_projections::{Options as ProjectionOptions, Projections};
use nexplane_server::config::{Options, ServerOptions};
use nexplane_server::open::{Opened, open};
use nexplane_server::{serve, stream};
use nexplane_store::log::Log;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

/// What a list may take.
const AIM: Duration = Duration::from_millis(300);
/// How often each is asked for, after the first time.
const CALLS: usize = 7;

#[derive(Default)]
struct Arguments {
    changes: Option<usize>,
    data_dir: Option<PathBuf>,
    only: Option<String>,
    serve: bool,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::default();
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--data-dir" => arguments.data_dir = given.next().map(PathBuf::from),
                "--only" => arguments.only = given.next(),
                "--serve" => arguments.serve = true,
                "--bench" => {}
                number => arguments.changes = Some(number.parse().expect("a number of changes")),
            }
        }
        arguments
    }
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::read();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir().unwrap();
    // PostgreSQL runs as a user of its own, who has to get through.
    std::fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let dir = arguments.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let base = Options { data_dir: Some(dir.clone()), database_url: None, config: None };
    let made = prepared(&base, &dir, Size::of(arguments.changes.unwrap_or(2_500))).await;

    let any = Some("127.0.0.1:0".parse().unwrap());
    // A run that is under way waits for its agent all the time.
    let (lease_s, patience_s) = (30, 86_400);
    let options = ServerOptions {
        base,
        listen: any,
        gateway_listen: any,
        lease_s,
        patience_s,
        ..ServerOptions::default()
    };
    let running = serve::start(&options).await.unwrap();
    let api = running.ready.api.clone();
    let mut clients = BTreeMap::new();
    for email in [ADMIN, OPERATOR, APPROVER] {
        clients.insert(email, Client::sign_in(&api, email).await);
    }
    let mut lists = asked::lists(&made);
    lists.retain(|asked| arguments.only.as_ref().is_none_or(|text| asked.what.contains(text)));
    measure("nothing is frozen", &lists, &clients).await;
    lists.retain(|asked| asked.what.starts_with("change") || asked.what == "inbox");
    if !lists.is_empty() {
        let freeze = clients[ADMIN].freeze().await;
        measure("changes of a tag are frozen", &lists, &clients).await;
        clients[ADMIN].thaw(&freeze).await;
    }
    if arguments.serve {
        println!(
            "{api} as {ADMIN}, {OPERATOR} or {APPROVER}, password “{PASSWORD}”; Ctrl-C ends it"
        );
        tokio::signal::ctrl_c().await.unwrap();
    }
    running.stop().await.unwrap();
}

/// Makes the installation, or finds the one that was made before.
async fn prepared(base: &Options, dir: &Path, size: Size) -> Made {
    let opened = open(base).await.unwrap();
    let kept = dir.join("made.json");
    let made = match std::fs::read(&kept) {
        Ok(json) => serde_json::from_slice(&json).unwrap(),
        Err(_) => {
            let start = Instant::now();
            let made = large::make(&opened.log, &opened.directory, size).await;
            println!("{size:?}");
            rate("made", made.events, start.elapsed());
            judge(&opened.log).await;
            std::fs::write(&kept, serde_json::to_vec(&made).unwrap()).unwrap();
            made
        }
    };
    build(&opened, made.events).await;
    sizes(&opened).await;
    opened.close().await.unwrap();
    made
}

/// Has it judged by the rules that an auditor judges a log by.
async fn judge(log: &Log) {
    let (start, mut auditor, mut next) = (Instant::now(), Auditor::default(), 0);
    loop {
        let page = log.read(next, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        next = last.position + 1;
        for stored in &page {
            auditor.observe(&stream::recorded(stored).unwrap());
        }
    }
    let report = auditor.finish();
    assert_eq!((&*report.violations, &*report.incomplete), (&[][..], &[][..]));
    rate("judged, and nothing found", report.events, start.elapsed());
}

/// Builds the read models that are not there, and does what autovacuum would do in the course of the year.
async fn build(opened: &Opened, events: u64) {
    let Opened { pool, log, target, .. } = opened;
    large::is_over(pool, events).await;
    let options = ProjectionOptions::default();
    let all = nexplane_projections::all();
    let versions: BTreeMap<_, _> = all.iter().map(|one| (one.name(), one.version())).collect();
    let projections = Projections::open(pool.clone(), log.clone(), all, options).await.unwrap();
    let late: Vec<_> = projections.status().await.unwrap();
    let late = late.iter().filter(|row| row.lag > 1_000 || row.version != versions[&*row.name]);
    let start = Instant::now();
    let built = futures_util::stream::iter(late).map(|row| async {
        let start = Instant::now();
        projections.rebuild(&row.name, |_| {}).await.unwrap();
        rate(&format!("built: {}", row.name), events, start.elapsed());
    });
    // As many as there are processors.
    let count = built.buffer_unordered(2).count().await;
    if count > 0 {
        rate(&format!("built: {count}, two at a time"), events, start.elapsed());
        let start = Instant::now();
        let mut connection = PgConnection::connect_with(target).await.unwrap();
        sqlx::query("VACUUM (ANALYZE)").execute(&mut connection).await.unwrap();
        println!("vacuumed and analysed in {:.1} s", start.elapsed().as_secs_f64());
    }
}

async fn sizes(opened: &Opened) {
    let tables: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT relname::text, n_live_tup, pg_size_pretty(pg_total_relation_size(relid))
         FROM pg_stat_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 12",
    )
    .fetch_all(&opened.pool)
    .await
    .unwrap();
    for (name, rows, size) in tables {
        println!("  {name:<30} {rows:>9} rows {size:>10}");
    }
}

/// Somebody who is signed in.
struct Client {
    http: reqwest::Client,
    api: String,
    token: String,
}

impl Client {
    async fn sign_in(api: &str, email: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = json!({ "email": email, "password": PASSWORD });
        let login = http.post(format!("{api}/api/v1/auth/login")).json(&body);
        let answer: Value = login.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().expect("the password is right").to_owned();
        Self { http, api: api.to_owned(), token }
    }

    /// The time until the whole answer is here, with its rows and bytes.
    async fn get(&self, path: &str) -> (Duration, String, usize) {
        let request = self.http.get(format!("{}/api/v1{path}", self.api)).bearer_auth(&self.token);
        let start = Instant::now();
        let response = request.send().await.unwrap();
        let (status, bytes) = (response.status(), response.bytes().await.unwrap());
        let took = start.elapsed();
        assert!(status.is_success(), "{path}: {}", String::from_utf8_lossy(&bytes));
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let rows = json["items"].as_array().map_or(String::new(), |items| items.len().to_string());
        (took, rows, bytes.len())
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}/api/v1{path}", self.api)).bearer_auth(&self.token);
        let response = request.json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    async fn freeze(&self) -> String {
        let now = jiff::Timestamp::now();
        let end = now + jiff::SignedDuration::from_hours(1);
        let scope = json!({ "kind": "tag", "tag": "payments" });
        let reason = "The quarter is closed.";
        let body = json!({ "scope": scope, "start": now, "end": end, "reason": reason });
        self.post("/freeze-windows", body).await["id"].as_str().unwrap().to_owned()
    }

    async fn thaw(&self, freeze: &str) {
        let body = json!({ "reason": "The quarter is closed." });
        self.post(&format!("/freeze-windows/{freeze}/end"), body).await;
    }
}

async fn measure(when: &str, lists: &[Asked], clients: &BTreeMap<&str, Client>) {
    println!("\n{when}; ms");
    println!(
        "{:<36} {:>6} {:>7} {:>7} {:>5} {:>9}",
        "list", "median", "slowest", "first", "rows", "bytes"
    );
    let mut missed = 0;
    for Asked { what, who, path } in lists {
        let (first, rows, bytes) = clients[who].get(path).await;
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            times.push(clients[who].get(path).await.0);
        }
        times.sort_unstable();
        let (median, slowest) = (times[CALLS / 2], times[CALLS - 1]);
        let verdict = if median > AIM {
            missed += 1;
            "MISSED"
        } else if slowest.max(first) > AIM {
            "missed once"
        } else {
            ""
        };
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        println!(
            "{what:<36} {:>6.1} {:>7.1} {:>7.1} {rows:>5} {bytes:>9} {verdict}",
            ms(median),
            ms(slowest),
            ms(first)
        );
    }
    println!("{} of {} within {} ms", lists.len() - missed, lists.len(), AIM.as_millis());
}

fn rate(what: &str, events: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{what:<30} {:>9.0} events/s  ({seconds:.1} s)", events as f64 / seconds);
}
