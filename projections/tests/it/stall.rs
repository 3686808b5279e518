//! An event that cannot be applied stops its projection, visibly, and no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use nexplane_core::actor::Actor;
use nexplane_core::event::Recorded;
use nexplane_core::id::{Category, HostId};
use nexplane_core::time::Timestamp;
use nexplane_projections::projection::ApplyError;
use nexplane_projections::runner::RebuildError;
use nexplane_projections::table::{Generation, Table, column};
use nexplane_projections::{Projection, Role};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::history::{History, START};
use crate::support::{LONG, World, assert_same, eventually, quick};

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_event_stalls_those_who_read_it() {
    let world = World::new().await;
    let live = world.start().await;
    let mut history = History::new(20);
    world.append(history.more(100)).await;
    let host = HostId(Uuid::from_u128(99));
    let data = RawValue::from_string(r#"{"nonsense":true}"#.to_owned()).unwrap();
    let at = Timestamp::from_micros(START);
    let poisoned = world
        .append_raw(host.into(), 0, Actor::SYSTEM, at, vec![("host.enrolled".to_owned(), data)])
        .await;
    let last = world.append(history.more(300)).await;

    let all = nexplane_projections::all();
    let names = all.iter().map(|one| one.name());
    let others: Vec<_> = names.filter(|name| !["audit", "hosts"].contains(name)).collect();
    live.wait_for_some(&others, last, LONG).await.unwrap();
    for name in ["audit", "hosts"] {
        let not_yet = live.wait_for_some(&[name], last, LONG).await.unwrap_err();
        assert!(not_yet.stalled, "{not_yet:?}");
        assert_eq!((not_yet.projection, not_yet.position), (name, poisoned));
        // What came before is there and can be waited for.
        live.wait_for_some(&[name], poisoned - 1, LONG).await.unwrap();
    }
    for view in live.status().await.unwrap() {
        if view.name == "audit" || view.name == "hosts" {
            assert_eq!((view.state.as_str(), view.position), ("stalled", poisoned));
            assert_eq!(view.lag, last + 1 - poisoned);
            let error = view.error.unwrap();
            assert!(
                error.starts_with(&format!("at position {poisoned}: event host.enrolled")),
                "{error}"
            );
            assert!(error.contains("missing field"), "{error}");
        } else {
            assert_eq!((view.state.as_str(), view.lag, view.error), ("live", 0, None));
        }
    }

    // Trying again, and rebuilding, find the same.
    assert!(live.retry("hosts").await.unwrap());
    assert!(!live.retry("changes").await.unwrap());
    let rebuilt = live.rebuild("hosts", |_| {}).await;
    assert!(
        matches!(&rebuilt, Err(RebuildError::Stalled { position, .. }) if *position == poisoned),
        "{rebuilt:?}"
    );
    assert!(live.wait_for_some(&["hosts"], last, LONG).await.unwrap_err().stalled);

    // So does the next process; and another one, to which it is not the worker, sees it too.
    live.stop().await;
    let next = world.start().await;
    let other = world.open().await;
    eventually("the next process stalls", || async {
        let status = next.status().await.unwrap();
        status.iter().filter(|view| view.state == "stalled").count() == 2
    })
    .await;
    let not_yet = other.wait_for(last, LONG).await.unwrap_err();
    assert!(not_yet.stalled, "{not_yet:?}");
}

/// Refuses one position as long as it is told to.
struct Fussy {
    refused: u64,
    refuses: Arc<AtomicBool>,
}

const SEEN: Table = Table {
    name: "rm_fussy",
    columns: &[column("position", "bigint")],
    key: &["position"],
    indexes: &[],
};

#[async_trait]
impl Projection for Fussy {
    fn name(&self) -> &'static str {
        "fussy"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Asset, Category::Change, Category::Run]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&SEEN]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let refuses = recorded.position == self.refused && self.refuses.load(Ordering::SeqCst);
            let value = if refuses { "'not a number'" } else { "$1" };
            let sql = format!("INSERT INTO {} VALUES ({value}::bigint)", at.of(&SEEN));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            if !refuses {
                query = query.bind(i64::try_from(recorded.position).unwrap());
            }
            query.execute(&mut *db).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_projection_goes_on_where_it_stopped_once_it_can() {
    let world = World::new().await;
    let mut history = History::new(21);
    let last = world.append(history.more(900)).await;
    let stored = world.log.read(300, 500).await.unwrap();
    let refused =
        stored.iter().find(|e| e.record.contains("\"stream\":\"change-")).unwrap().position;

    let refuses = Arc::new(AtomicBool::new(true));
    let fussy = || -> Vec<Arc<dyn Projection>> {
        vec![Arc::new(Fussy { refused, refuses: Arc::clone(&refuses) })]
    };
    let live = world.open_with(fussy(), quick()).await;
    live.start(Role::Worker);
    let mut notices = live.notices();
    let not_yet = live.wait_for(last, LONG).await.unwrap_err();
    assert_eq!((not_yet.stalled, not_yet.position), (true, refused));
    let before: Vec<i64> = positions(&world).await;
    assert!(before.iter().all(|position| position.unsigned_abs() < refused));
    loop {
        let notice = notices.recv().await.unwrap();
        if notice.topic == "projections" && notice.changed["state"] == "stalled" {
            assert_eq!(notice.changed["name"], "fussy");
            break;
        }
    }
    // It stays so, with its lease kept: no other process steals the work.
    tokio::time::sleep(quick().lease * 2).await;
    assert_eq!(live.status().await.unwrap()[0].state, "stalled");

    // Asked from another process, after the cause is gone.
    refuses.store(false, Ordering::SeqCst);
    let other = world.open_with(fussy(), quick()).await;
    assert!(other.retry("fussy").await.unwrap());
    eventually("it goes on", || async { live.wait_for(last, LONG).await.is_ok() }).await;
    let status = live.status().await.unwrap();
    assert_eq!((status[0].state.as_str(), status[0].error.as_deref()), ("live", None));

    let after = world.dump_of(&fussy()).await;
    live.stop().await;
    other.rebuild("fussy", |_| {}).await.unwrap();
    assert_same(&after, &world.dump_of(&fussy()).await);
}

async fn positions(world: &World) -> Vec<i64> {
    sqlx::query_scalar("SELECT position FROM nexplane.rm_fussy ORDER BY 1")
        .fetch_all(world.pool())
        .await
        .unwrap()
}
