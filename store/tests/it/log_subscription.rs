//! Delivery from a cursor: each event once, wake-ups from here and elsewhere, the right log.

use std::time::Duration;

use nexplane_store::log::{Cursor, Log, LogOptions, ReadError};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::log_fixture::{Fixture, append, stream};

#[tokio::test(flavor = "multi_thread")]
async fn delivery_goes_on_where_the_cursor_is() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 700)).await.unwrap();
    let mut first = fixture.log.subscribe(fixture.start().await);
    let delivered = first.next().await.unwrap();
    assert_eq!(delivered.len(), 500, "bounded");
    let cursor = first.cursor();
    assert_eq!(cursor.position, 500);
    assert_eq!(cursor.last_leaf_hash, Some(delivered[499].leaf_hash));

    // Another process with the same cursor gets the rest.
    let mut second = fixture.log.subscribe(cursor);
    let rest = second.next().await.unwrap();
    assert_eq!((rest[0].position, rest.len()), (500, 200));

    // Nothing more, until something happens; a future that is dropped loses nothing.
    assert!(tokio::time::timeout(Duration::from_millis(20), second.next()).await.is_err());
    let appended = fixture.log.append(append(stream(2), 0, 1)).await.unwrap();
    assert_eq!(second.next().await.unwrap()[0].position, appended.first_position);

    let mut third = fixture.log.subscribe(Cursor::end(fixture.log.head().await.unwrap()));
    let appended = fixture.log.append(append(stream(3), 0, 1)).await.unwrap();
    assert_eq!(third.next().await.unwrap()[0].position, appended.first_position);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_append_is_visible_to_the_watch() {
    let fixture = Fixture::new().await;
    let watch = fixture.log.watch();
    for version in 0..50 {
        let appended = fixture.log.append(append(stream(1), version, 1)).await.unwrap();
        assert_eq!(*watch.borrow(), appended.last_position + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_another_server_wake_a_subscription() {
    let fixture = Fixture::new().await;
    let second = fixture.second_log().await;
    let mut subscription = fixture.log.subscribe(fixture.start().await);
    for version in 0..10 {
        let appended = second.append(append(stream(1), version, 1)).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(5), subscription.next());
        let events = next.await.expect("the poll notices").unwrap();
        assert_eq!(events[0].position, appended.first_position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_polled_only_while_somebody_watches() {
    let fixture = Fixture::new().await;
    let connect = fixture.connect().application_name("polling");
    let pool = PgPoolOptions::new().connect_with(connect.clone()).await.unwrap();
    let log = Log::open(pool, connect, LogOptions::default()).await.unwrap();
    let last_query = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let at: String = sqlx::query_scalar(
            "SELECT max(query_start)::text FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'polling'",
        )
        .fetch_one(fixture.pool())
        .await
        .unwrap();
        at
    };
    let idle = last_query().await;
    assert_eq!(last_query().await, idle);
    let watch = log.watch();
    let polled = last_query().await;
    assert_ne!(polled, idle);
    drop(watch);
    let last = last_query().await;
    assert_eq!(last_query().await, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_log_is_refused() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 3)).await.unwrap();
    let mut subscription = fixture.log.subscribe(fixture.start().await);
    subscription.next().await.unwrap();
    let good = subscription.cursor();
    assert!(good.last_leaf_hash.is_some());
    let refused = |cursor| {
        let mut subscription = fixture.log.subscribe(cursor);
        async move { subscription.next().await.unwrap_err() }
    };

    let foreign = Cursor { incarnation: Uuid::from_u128(1), ..good };
    assert!(matches!(refused(foreign).await, ReadError::Incarnation { .. }));
    let beyond = Cursor { position: 4, ..good };
    let error = refused(beyond).await;
    assert!(matches!(error, ReadError::Behind { position: 4, next_position: 3 }), "{error:?}");
    let other_history = Cursor { last_leaf_hash: Some([0; 32]), ..good };
    assert!(matches!(refused(other_history).await, ReadError::Rewritten { position: 2 }));

    // A restored backup, while the subscription runs.
    sqlx::query("UPDATE nexplane.log_head SET incarnation = gen_random_uuid()")
        .execute(fixture.pool())
        .await
        .unwrap();
    fixture.log.append(append(stream(2), 0, 1)).await.unwrap();
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, ReadError::Incarnation { .. }), "{error:?}");
    assert_eq!(subscription.cursor(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_waiting_subscription() {
    let fixture = Fixture::new().await;
    let mut subscription = fixture.log.subscribe(fixture.start().await);
    let (next, ()) = tokio::join!(subscription.next(), fixture.log.close());
    assert!(matches!(next, Err(ReadError::Closed)));
}
