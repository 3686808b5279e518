//! A read model is a function of the log: however it came about, its rows are the same.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nexplane_core::event::Recorded;
use nexplane_core::id::Category;
use nexplane_projections::projection::ApplyError;
use nexplane_projections::runner::{RebuildError, RebuildProgress};
use nexplane_projections::table::{Generation, Table, column};
use nexplane_projections::{Options, Projection, Role};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::history::{History, Random};
use crate::rollouts;
use crate::support::{LONG, World, assert_same, eventually, quick};

/// Every type of event that this build knows.
const TYPES: usize = 89;

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_every_type_of_event() {
    let mut types = std::collections::BTreeSet::new();
    for seed in 0..4 {
        for command in History::new(seed).more(4000) {
            types.extend(command.events.iter().map(|event| event.encode().kind));
        }
    }
    assert_eq!(types.len(), TYPES, "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_rows_of_the_live_read_models() {
    let world = World::new().await;
    let mut history = History::new(7);
    // Cut into small batches of changing length, as it is in production.
    let live = world.open_with(nexplane_projections::all(), Options { batch: 13, ..quick() }).await;
    live.start(Role::Worker);
    let mut last = 0;
    for n in 1..60 {
        last = world.append(history.more(n)).await;
    }
    let last = last.max(world.append(rollouts::story()).await);
    live.wait_for(last, LONG).await.unwrap();
    let before = world.dump().await;
    assert!(
        before.iter().filter(|(name, rows)| rows.is_empty() && name != "rm_hosts").count() == 0
    );

    for name in live.names() {
        let mut seen: Vec<RebuildProgress> = Vec::new();
        let rebuilt = live.rebuild(name, |progress| seen.push(progress)).await.unwrap();
        assert_eq!(rebuilt.position, last + 1);
        let own = nexplane_projections::all().into_iter().find(|own| own.name() == name);
        let version = own.unwrap().version();
        assert_eq!(rebuilt.generation, Generation { version, number: 2 });
        assert!(seen.is_sorted_by_key(|progress| progress.position));
        assert_eq!(seen.last().unwrap().position, last + 1);
        assert_eq!(seen.first().unwrap(), &RebuildProgress { position: 0, head: last + 1 });
    }
    assert_same(&before, &world.dump().await);
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'nexplane' AND tablename LIKE 'rm\\_%\\_g1'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(left, 0, "the replaced tables are gone");

    // The workers go on with the new tables.
    let last = world.append(history.more(200)).await;
    live.wait_for(last, LONG).await.unwrap();
    for view in live.status().await.unwrap() {
        assert_eq!(
            (view.position, view.lag, view.state.as_str()),
            (last + 1, 0, "live"),
            "{view:?}"
        );
    }
    let after = world.dump().await;
    live.stop().await;
    assert_same(&after, &world.rebuilt().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_a_busy_log_never_shows_less_than_before() {
    let world = Arc::new(World::new().await);
    let live = world.start().await;
    let mut history = History::new(8);
    world.append(history.more(2000)).await;

    let writer = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut last = 0;
            for _ in 0..150 {
                last = world.append(history.more(10)).await;
            }
            last
        })
    };
    let reader = {
        let (pool, writer) = (world.pool().clone(), writer.abort_handle());
        tokio::spawn(async move {
            let mut most = 0;
            while !writer.is_finished() {
                let count: i64 = sqlx::query_scalar("SELECT count(*) FROM nexplane.rm_audit")
                    .fetch_one(&pool)
                    .await
                    .unwrap();
                assert!(count >= most, "{count} after {most}");
                most = count;
            }
        })
    };
    for name in ["audit", "changes", "audit", "inventory"] {
        live.rebuild(name, |_| {}).await.unwrap();
    }
    let last = writer.await.unwrap();
    reader.await.unwrap();
    live.wait_for(last, LONG).await.unwrap();
    let after = world.dump().await;
    live.stop().await;
    assert_same(&after, &world.rebuilt().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_anywhere_changes_nothing() {
    let world = World::new().await;
    let last = world.append(History::new(9).more(4000)).await;
    let mut random = Random::new(9);
    let mut crashes = 0;
    loop {
        let options = Options { batch: 50 + random.below(200), ..quick() };
        let live = world.open_with(nexplane_projections::all(), options).await;
        live.start(Role::Worker);
        let grace = Duration::from_millis(400 + random.next() % 400);
        if live.wait_for(last, grace).await.is_ok() {
            break;
        }
        // As a crash: the tasks end at whatever they wait for, leases stay taken.
        drop(live);
        crashes += 1;
        assert!(crashes < 100, "it has to come to an end");
    }
    let after = world.dump().await;
    assert_same(&after, &world.rebuilt().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_rebuild_leaves_nothing_behind() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(10).more(3000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let before = world.dump().await;

    let started = Arc::new(tokio::sync::Notify::new());
    let lease = Duration::from_secs(2);
    let slow = Options { batch: 10, lease, ..quick() };
    let other = world.open_with(nexplane_projections::all(), slow).await;
    let rebuild = {
        let started = Arc::clone(&started);
        tokio::spawn(async move {
            other
                .rebuild("audit", |progress| {
                    if progress.position > 0 {
                        started.notify_one();
                    }
                })
                .await
        })
    };
    started.notified().await;
    let running = live.rebuild("audit", |_| {}).await;
    assert!(matches!(running, Err(RebuildError::Running { name: "audit" })), "{running:?}");
    let building = live.status().await.unwrap();
    assert_eq!(building.iter().filter(|view| view.state == "rebuilding").count(), 1);
    rebuild.abort();
    assert!(rebuild.await.unwrap_err().is_cancelled());

    // Once its lease has ended, the next start removes it.
    tokio::time::sleep(lease).await;
    let next = world.open().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'nexplane' AND tablename LIKE 'rm\\_audit\\_v%'",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(tables, ["rm_audit_v1_g1"]);
    assert_eq!(next.status().await.unwrap().len(), nexplane_projections::all().len());
    next.rebuild("audit", |_| {}).await.unwrap();
    assert_same(&before, &world.dump().await);
}

/// A read model whose tables differ between versions. The third cannot apply anything.
struct Numbered(u32);

const FIRST: Table = Table {
    name: "rm_numbered",
    columns: &[column("position", "bigint")],
    key: &["position"],
    indexes: &[],
};
const SECOND: Table = Table {
    name: "rm_numbered",
    columns: &[column("place", "bigint"), column("kind", "text")],
    key: &["place"],
    indexes: &["(kind)"],
};

#[async_trait]
impl Projection for Numbered {
    fn name(&self) -> &'static str {
        "numbered"
    }

    fn version(&self) -> u32 {
        self.0
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Person]
    }

    fn tables(&self) -> &'static [&'static Table] {
        if self.0 == 1 { &[&FIRST] } else { &[&SECOND] }
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let position = i64::try_from(recorded.position).unwrap();
            if self.0 == 3 {
                let stream = recorded.header.stream;
                return Err(ApplyError::UnknownRun { stream });
            }
            let query = if self.0 == 1 {
                sqlx::query(AssertSqlSafe(format!("INSERT INTO {} VALUES ($1)", at.of(&FIRST))))
                    .bind(position)
            } else {
                sqlx::query(AssertSqlSafe(format!(
                    "INSERT INTO {} VALUES ($1, $2)",
                    at.of(&SECOND)
                )))
                .bind(position)
                .bind(&recorded.header.kind)
            };
            query.execute(&mut *db).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_program_builds_its_version_and_an_older_one_steps_back() {
    let world = World::new().await;
    let mut history = History::new(11);
    let old = world.open_with(vec![Arc::new(Numbered(1))], quick()).await;
    old.start(Role::Worker);
    let last = world.append(history.more(500)).await;
    old.wait_for(last, LONG).await.unwrap();

    let new = world.open_with(vec![Arc::new(Numbered(2))], quick()).await;
    new.start(Role::Worker);
    eventually("version 2 is live", || async {
        let status = new.status().await.unwrap();
        status.len() == 1 && status[0].version == 2 && status[0].state == "live"
    })
    .await;
    let last = world.append(history.more(500)).await;
    new.wait_for(last, LONG).await.unwrap();
    // The old program still serves requests: it follows.
    old.wait_for(last, LONG).await.unwrap();
    let refused = old.rebuild("numbered", |_| {}).await;
    assert!(matches!(refused, Err(RebuildError::Newer { version: 2, .. })), "{refused:?}");

    let (rows, distinct): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT place) FROM nexplane.rm_numbered")
            .fetch_one(world.pool())
            .await
            .unwrap();
    let persons: Vec<_> = world
        .log
        .read(0, 1000)
        .await
        .unwrap()
        .into_iter()
        .chain(world.log.read(1000, 1000).await.unwrap())
        .collect();
    let persons = persons.iter().filter(|e| e.record.contains("\"stream\":\"person-")).count();
    assert_eq!(rows, i64::try_from(persons).unwrap());
    assert_eq!(rows, distinct);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_built_is_told_and_the_old_one_stays() {
    let world = World::new().await;
    let mut history = History::new(12);
    let old = world.open_with(vec![Arc::new(Numbered(2))], quick()).await;
    old.start(Role::Worker);
    let last = world.append(history.more(300)).await;
    old.wait_for(last, LONG).await.unwrap();

    let new = world.open_with(vec![Arc::new(Numbered(3))], quick()).await;
    new.start(Role::Worker);
    let is_stalled = async || {
        let status = new.status().await.unwrap();
        status.len() == 1 && status[0].version == 2 && status[0].state == "stalled"
    };
    eventually("it is told", &is_stalled).await;
    let error = new.status().await.unwrap().remove(0).error.unwrap();
    assert!(error.contains("while building a new version"), "{error}");
    // The old program goes on with what it has.
    let last = world.append(history.more(300)).await;
    eventually("the old one goes on", async || old.status().await.unwrap()[0].position == last + 1)
        .await;
    assert!(is_stalled().await);
    assert!(new.retry("numbered").await.unwrap());
    eventually("it has tried again", &is_stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_rebuild_of_what_does_not_exist() {
    let world = World::new().await;
    let projections = world.open().await;
    let refused = projections.rebuild("weather", |_| {}).await;
    assert!(matches!(refused, Err(RebuildError::Unknown(name)) if name == "weather"));
    // An empty log is no special case.
    let rebuilt = projections.rebuild("changes", |_| {}).await.unwrap();
    assert_eq!(rebuilt.position, 0);
}
