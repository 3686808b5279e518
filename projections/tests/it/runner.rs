//! Waiting and notices.

use std::time::{Duration, Instant};

use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::Event;
use nexplane_projections::Role;

use crate::history::History;
use crate::support::{LONG, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_reads_what_was_written() {
    let world = World::new().await;
    let here = world.start().await;
    let elsewhere = world.open().await;
    let mut history = History::new(40);
    for _ in 0..30 {
        let last = world.append(history.more(20)).await;
        here.wait_for(last, LONG).await.unwrap();
        let newest: i64 = sqlx::query_scalar("SELECT max(position) FROM nexplane.rm_audit")
            .fetch_one(world.pool())
            .await
            .unwrap();
        assert_eq!(newest.unsigned_abs(), last);
        // A process without workers looks at the checkpoints.
        elsewhere.wait_for(last, LONG).await.unwrap();
    }
    // What is not there yet is not there after the time is up, and not before.
    let began = Instant::now();
    let not_yet = here.wait_for(1_000_000, Duration::from_millis(150)).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(!not_yet.stalled);
    assert_eq!(not_yet.wanted, 1_000_000);
    // Nobody waits for what it does not read.
    here.wait_for_some(&[], 1_000_000, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_tell_what_changed_after_it_can_be_read() {
    let world = World::new().await;
    let live = world.open().await;
    let mut notices = live.notices();
    live.start(Role::Worker);
    let commands = History::new(41).more(400);
    let drafted: Vec<_> = commands
        .iter()
        .filter(|c| {
            c.events.iter().any(|e| matches!(e, Event::Change(ChangeEvent::Drafted { .. })))
        })
        .map(|command| command.stream.id)
        .collect();
    let last = world.append(commands).await;
    live.wait_for(last, LONG).await.unwrap();

    let mut topics = std::collections::BTreeMap::<String, Vec<serde_json::Value>>::new();
    // The last notices of the slowest projection come after its checkpoint.
    let mut quiet = 0;
    while quiet < 20 {
        match tokio::time::timeout(Duration::from_millis(50), notices.recv()).await {
            Ok(notice) => {
                let notice = notice.unwrap();
                assert!(notice.position <= last);
                topics.entry(notice.topic).or_default().push(notice.changed);
            }
            Err(_) => quiet += 1,
        }
    }
    for topic in ["assets", "changes", "connections", "projections"] {
        assert!(topics.contains_key(topic), "{topic}: {:?}", topics.keys());
    }
    for change in drafted {
        let told = &topics[&format!("change:{change}")];
        let row = nexplane_projections::changes::find(world.pool(), change.into()).await.unwrap();
        let row = row.unwrap();
        let last = told.last().unwrap();
        assert_eq!(last["id"], serde_json::json!(change));
        assert_eq!(last["state"], row.state.as_str());
        assert_eq!(last["number"], row.number);
        assert_eq!(last["waiting_for"], serde_json::json!(row.waiting_for));
    }
    let projections = &topics["projections"];
    assert!(projections.iter().any(|p| p["name"] == "audit" && p["position"] == last + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_back_when_their_connections_are_cut() {
    let world = World::new().await;
    let live = world.start().await;
    let mut history = History::new(42);
    for _ in 0..5 {
        let last = world.append(history.more(100)).await;
        live.wait_for(last, LONG).await.unwrap();
        // All but the appender's, which is the log's to repair, and this one.
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid() \
               AND query LIKE '%projection_checkpoints%'",
        )
        .execute(world.pool())
        .await
        .unwrap();
    }
    let last = world.append(history.more(100)).await;
    eventually("all caught up", || async { live.wait_for(last, LONG).await.is_ok() }).await;
    let after = world.dump().await;
    live.stop().await;
    crate::support::assert_same(&after, &world.rebuilt().await);
}
