//! The log behind the trait of the eventually-rs family.

use eventually::store::{AppendError as _, EventStore as _, Expected, Select};
use eventually::versioning::Versioned;
use futures_util::TryStreamExt as _;
use nexplane_core::id::CommandId;
use nexplane_store::eventually_store::{CommandContext, EventuallyStore, EventuallyStoreError};
use uuid::Uuid;

use crate::log_fixture::{Fixture, append, event, stream};

fn store(fixture: &Fixture) -> EventuallyStore {
    let append = append(stream(0), 0, 0);
    EventuallyStore::new(
        fixture.log.clone(),
        CommandContext {
            command: CommandId(Uuid::now_v7()),
            request_hash: append.request_hash,
            guards: append.guards,
            actor: append.actor,
            at: append.at,
            correlation: append.correlation,
            causation: append.causation,
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_back_as_they_went_in() {
    let fixture = Fixture::new().await;
    let events = vec![event("test.happened", r#"{"n":1.0}"#), event("test.ended", "{}")];
    let version =
        store(&fixture).append(stream(1), Expected::Exact(0), events.clone()).await.unwrap();
    assert_eq!(version, 2);
    let version = store(&fixture).append(stream(1), Expected::Any, events).await.unwrap();
    assert_eq!(version, 4);
    store(&fixture).append(stream(2), Expected::Any, vec![event("a.b", "{}")]).await.unwrap();

    let store = store(&fixture);
    let some = store.stream(stream(1), Select::From(3)).await.unwrap();
    let some: Vec<_> = some.try_collect().await.unwrap();
    assert_eq!(some.iter().map(Versioned::version).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(some[0].sequence_number(), 2);
    assert_eq!((some[0].kind.as_str(), some[0].data.get()), ("test.happened", r#"{"n":1.0}"#));

    let all: Vec<_> = store.stream_all(Select::All).await.unwrap().try_collect().await.unwrap();
    assert_eq!(all.len(), 5);
    let some: Vec<_> =
        store.stream_all(Select::From(4)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(*some[0].source_id(), stream(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_one_and_a_repetition_is_not() {
    let fixture = Fixture::new().await;
    let first = store(&fixture);
    let events = vec![event("test.happened", "{}")];
    first.clone().append(stream(1), Expected::Exact(0), events.clone()).await.unwrap();
    let error =
        store(&fixture).append(stream(1), Expected::Exact(0), events.clone()).await.unwrap_err();
    assert!(error.is_conflict_error(), "{error:?}");

    // The same command again, after another one: its own version.
    store(&fixture).append(stream(1), Expected::Exact(1), events.clone()).await.unwrap();
    let mut again = first;
    let version = again.append(stream(1), Expected::Exact(0), events.clone()).await.unwrap();
    assert_eq!(version, 1);
    let error = again.append(stream(1), Expected::Exact(2), events).await.unwrap_err();
    assert!(matches!(error, EventuallyStoreError::SecondAppend));
    let error = again.remove(stream(1)).await.unwrap_err();
    assert!(matches!(error, EventuallyStoreError::AppendOnly));
    assert_eq!(fixture.all().await.len(), 2);
}
