//! Several processes, one writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nexplane_core::event::Recorded;
use nexplane_core::id::Category;
use nexplane_projections::projection::{ApplyError, Notice};
use nexplane_projections::table::{Generation, Table, column};
use nexplane_projections::{Options, Projection, Role};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::{Mutex, Notify};

use crate::history::History;
use crate::support::{LONG, World, eventually, quick};

/// Writes each event once, with who wrote it; twice would break the primary key.
struct Signed {
    by: &'static str,
    /// Held: `apply` waits in the middle of its transaction.
    gate: Arc<Mutex<()>>,
    entered: Arc<Notify>,
}

impl Signed {
    fn new(by: &'static str) -> Self {
        Self { by, gate: Arc::default(), entered: Arc::default() }
    }
}

const SIGNED: Table = Table {
    name: "rm_signed",
    columns: &[column("position", "bigint"), column("by", "text")],
    key: &["position"],
    indexes: &[],
};

#[async_trait]
impl Projection for Signed {
    fn name(&self) -> &'static str {
        "signed"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[
            Category::Asset,
            Category::Change,
            Category::Connection,
            Category::Gateway,
            Category::Project,
            Category::Run,
            Category::Schedule,
        ]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&SIGNED]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        self.entered.notify_one();
        drop(self.gate.lock().await);
        for recorded in events {
            let sql = format!("INSERT INTO {} VALUES ($1, $2)", at.of(&SIGNED));
            sqlx::query(AssertSqlSafe(sql))
                .bind(i64::try_from(recorded.position).unwrap())
                .bind(self.by)
                .execute(&mut *db)
                .await?;
        }
        Ok(())
    }

    async fn notices(
        &self,
        _db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let notice = |recorded: &Recorded| Notice {
            topic: "signed".to_owned(),
            position: recorded.position,
            changed: json!({}),
        };
        Ok(events.iter().map(notice).collect())
    }
}

/// Leases that no busy machine makes anybody lose.
fn steady() -> Options {
    Options { lease: Duration::from_secs(20), ..quick() }
}

async fn written(world: &World) -> BTreeMap<i64, String> {
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT position, by FROM nexplane.rm_signed")
        .fetch_all(world.pool())
        .await
        .unwrap();
    rows.into_iter().collect()
}

/// How many events of a log are for [`Signed`].
async fn expected(world: &World) -> usize {
    let mut count = 0;
    let mut from = 0;
    loop {
        let stored = world.log.read(from, 1000).await.unwrap();
        let Some(last) = stored.last() else { return count };
        from = last.position + 1;
        let others = ["\"stream\":\"host-", "\"stream\":\"person-"];
        count += stored.iter().filter(|e| !others.iter().any(|o| e.record.contains(o))).count();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_apply_each_event_once() {
    let world = World::new().await;
    let mut history = History::new(30);
    let a = world.open_with(vec![Arc::new(Signed::new("a"))], steady()).await;
    let b = world.open_with(vec![Arc::new(Signed::new("b"))], steady()).await;
    a.start(Role::Worker);
    a.wait_for(world.append(history.more(200)).await, LONG).await.unwrap();
    b.start(Role::Worker);
    let last = world.append(history.more(500)).await;
    a.wait_for(last, LONG).await.unwrap();
    b.wait_for(last, LONG).await.unwrap();
    assert!(written(&world).await.values().all(|by| by == "a"), "a keeps its lease");

    // One goes, the other takes over at once: the lease was given back.
    a.stop().await;
    let last = world.append(history.more(500)).await;
    b.wait_for(last, LONG).await.unwrap();
    assert!(written(&world).await.values().any(|by| by == "b"));

    // Both again, and the one with the lease crashes while events arrive.
    let c = world.open_with(vec![Arc::new(Signed::new("c"))], quick()).await;
    c.start(Role::Worker);
    for round in 0..20 {
        world.append(history.more(30)).await;
        if round == 10 {
            b.stop().await;
        }
    }
    let last = world.append(history.more(30)).await;
    c.wait_for(last, LONG).await.unwrap();
    assert_eq!(written(&world).await.len(), expected(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_epoch_cannot_commit() {
    let world = World::new().await;
    let mut history = History::new(31);
    // It sleeps through its lease: as a process that was suspended does.
    let sleepy = Options { heartbeat: Duration::from_secs(3600), ..quick() };
    let a = world.open_with(vec![Arc::new(Signed::new("a"))], sleepy).await;
    a.start(Role::Worker);
    let first = world.append(history.more(50)).await;
    a.wait_for(first, LONG).await.unwrap();

    let b = world.open_with(vec![Arc::new(Signed::new("b"))], steady()).await;
    b.start(Role::Worker);
    eventually("b has the lease", || async {
        let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM nexplane.projection_checkpoints")
            .fetch_one(world.pool())
            .await
            .unwrap();
        epoch == 2
    })
    .await;
    // Both are woken by these; a still believes that it may.
    let last = world.append(history.more(400)).await;
    b.wait_for(last, LONG).await.unwrap();
    a.wait_for(last, LONG).await.unwrap();
    let written = written(&world).await;
    assert_eq!(written.len(), expected(&world).await);
    assert!(written.iter().all(|(position, by)| (by == "a") == (position.unsigned_abs() <= first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_still_in_a_transaction_holds_nobody_up_for_longer_than_its_lease() {
    let world = World::new().await;
    let mut history = History::new(32);
    let slow = Signed::new("a");
    let (gate, entered) = (Arc::clone(&slow.gate), Arc::clone(&slow.entered));
    let a = world.open_with(vec![Arc::new(slow)], quick()).await;
    let closed = gate.lock().await;
    a.start(Role::Worker);
    let last = world.append(history.more(100)).await;
    entered.notified().await;

    let b = world.open_with(vec![Arc::new(Signed::new("b"))], quick()).await;
    b.start(Role::Worker);
    b.wait_for(last, LONG).await.unwrap();
    assert_eq!(written(&world).await.len(), expected(&world).await);
    // What it goes on with is nobody's any more.
    drop(closed);
    a.wait_for(last, LONG).await.unwrap();
    let last = world.append(history.more(100)).await;
    b.wait_for(last, LONG).await.unwrap();
    let written = written(&world).await;
    assert_eq!(written.len(), expected(&world).await);
    assert!(written.values().all(|by| by == "b"), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_of_what_others_apply() {
    let world = World::new().await;
    let mut history = History::new(33);
    let a = world.open_with(vec![Arc::new(Signed::new("a"))], quick()).await;
    a.start(Role::Worker);
    let follower = world.open_with(vec![Arc::new(Signed::new("f"))], quick()).await;
    follower.start(Role::Follower);
    let mut notices = follower.notices();
    let last = world.append(history.more(300)).await;
    a.wait_for(last, LONG).await.unwrap();
    let mut heard = Vec::new();
    let all = expected(&world).await;
    while heard.len() < all {
        let notice = tokio::time::timeout(LONG, notices.recv()).await.unwrap().unwrap();
        if notice.topic == "signed" {
            heard.push(notice.position);
        }
    }
    assert!(heard.is_sorted());
    heard.dedup();
    assert_eq!(heard.len(), all, "each once");

    // It never takes the lease, not even when nobody has it.
    a.stop().await;
    let late = world.append(history.more(10)).await;
    tokio::time::sleep(quick().lease * 2).await;
    assert!(follower.wait_for(late, Duration::from_millis(100)).await.is_err());
}
