//! Every event is found: by page, time, actor, type, resource, change and words.

use std::collections::BTreeSet;

use nexplane_core::actor::ActorKind;
use nexplane_core::api::EventView;
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use nexplane_projections::QueryError;
use nexplane_projections::audit::{self, AuditFilter, AuditOrder};
use nexplane_store::log::Stored;

use crate::history::History;
use crate::support::{LONG, World};

async fn all(world: &World, filter: &AuditFilter, order: AuditOrder, limit: u32) -> Vec<EventView> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = audit::list(world.pool(), filter, order, cursor.as_deref(), Some(limit)).await;
        let page = page.unwrap();
        assert!(page.items.len() <= limit as usize);
        found.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

async fn log(world: &World) -> Vec<Stored> {
    let mut stored = Vec::new();
    loop {
        let page = world.log.read(stored.len() as u64, 1000).await.unwrap();
        if page.is_empty() {
            return stored;
        }
        stored.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_are_paged_through_once_each() {
    let world = World::new().await;
    let live = world.start().await;
    let mut history = History::new(50);
    let last = world.append(history.more(10_000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let nothing = AuditFilter::default();

    // New events arrive while pages are read.
    let first = audit::list(world.pool(), &nothing, AuditOrder::NewestFirst, None, Some(200));
    let first = first.await.unwrap();
    live.wait_for(world.append(history.more(100)).await, LONG).await.unwrap();
    let mut positions: Vec<u64> = first.items.iter().map(|event| event.position).collect();
    let mut cursor = first.next_cursor;
    while let Some(next) = cursor {
        let page =
            audit::list(world.pool(), &nothing, AuditOrder::NewestFirst, Some(&next), Some(200));
        let page = page.await.unwrap();
        positions.extend(page.items.iter().map(|event| event.position));
        cursor = page.next_cursor;
    }
    let expected: Vec<u64> = (0..=last).rev().collect();
    assert_eq!(positions, expected);

    let forward = all(&world, &nothing, AuditOrder::OldestFirst, 200).await;
    let stored = log(&world).await;
    assert_eq!(forward.len(), stored.len());
    for (event, stored) in forward.iter().zip(&stored) {
        let record = stored.decode().unwrap();
        assert_eq!(event.position, stored.position);
        assert_eq!(event.id, record.header.id);
        assert_eq!(event.kind, record.header.kind);
        assert_eq!(event.at, record.header.at);
        assert_eq!(event.actor, record.header.actor);
        assert_eq!(event.stream, record.header.stream.to_string());
        assert_eq!(event.version, record.header.version);
        assert_eq!(event.data, record.data);
        assert!(event.summary.ends_with('.') && event.summary.len() > 5, "{}", event.summary);
        assert!(!event.summary.contains("O'Neil") && !event.summary.contains("ümlaut"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_exactly_what_they_say() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(51).more(3000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let everything = all(&world, &AuditFilter::default(), AuditOrder::NewestFirst, 200).await;
    let check = async |filter: AuditFilter, holds: &dyn Fn(&EventView) -> bool| {
        let found = all(&world, &filter, AuditOrder::NewestFirst, 37).await;
        let expected: Vec<_> = everything.iter().filter(|event| holds(event)).collect();
        assert!(!found.is_empty(), "{filter:?}");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        let mut oldest_first = all(&world, &filter, AuditOrder::OldestFirst, 37).await;
        oldest_first.reverse();
        assert_eq!(oldest_first, found, "{filter:?}");
    };
    let nothing = AuditFilter::default;

    let (from, to) = (everything[2000].at, everything[500].at);
    check(AuditFilter { from: Some(from), to: Some(to), ..nothing() }, &|e| {
        e.at >= from && e.at < to
    })
    .await;
    // Further from either end than the lines that are looked at one by one.
    let (from, to) = (everything[2600].at, everything[2200].at);
    let far = AuditFilter { from: Some(from), to: Some(to), ..nothing() };
    check(far, &|e| e.at >= from && e.at < to).await;
    let first = everything.last().unwrap().stream.rsplit('-').next().unwrap().to_owned();
    let own = AuditFilter { q: audit::terms(&first), ..nothing() };
    check(own, &|e| {
        e.stream.ends_with(&first)
            || serde_json::to_string(&e.data).unwrap().contains(&first)
            || e.change_request_id.is_some_and(|change| change.to_string().ends_with(&first))
    })
    .await;
    let person = everything.iter().find(|e| e.actor.kind == ActorKind::User).unwrap().actor.id;
    check(AuditFilter { actor: Some(person), ..nothing() }, &|e| e.actor.id == person).await;
    // Words for which somebody is called so, with others for which nobody is.
    let mut q = audit::terms("somebody change.submitted");
    q[0].people.push(person);
    check(AuditFilter { q, ..nothing() }, &|e| {
        e.kind == "change.submitted" && e.actor.id == person
    })
    .await;
    check(AuditFilter { kind: Some("run.step_verified".to_owned()), ..nothing() }, &|e| {
        e.kind == "run.step_verified"
    })
    .await;
    check(AuditFilter { kind: Some("asset".to_owned()), ..nothing() }, &|e| {
        e.kind.starts_with("asset.")
    })
    .await;

    let change = everything
        .iter()
        .filter(|e| e.kind == "change.completed")
        .find_map(|event| event.change_request_id)
        .unwrap();
    check(AuditFilter { change: Some(change), ..nothing() }, &|e| {
        e.change_request_id == Some(change)
    })
    .await;
    let events = audit::of_change(world.pool(), change, false, None, Some(200)).await.unwrap();
    assert!(events.items.is_sorted_by_key(|event| event.position));
    assert_eq!(events.items[0].kind, "change.drafted");
    let kinds: BTreeSet<_> = events.items.iter().map(|event| event.kind.as_str()).collect();
    for kind in ["run.started", "run.step_intended", "run.step_verified", "run.finished"] {
        assert!(kinds.contains(kind), "the change's runs are part of it: {kinds:?}");
    }

    // A resource is found in its own stream and wherever it is named.
    let drafted = everything.iter().find(|event| event.kind == "change.drafted").unwrap();
    let target: uuid::Uuid =
        serde_json::from_value(drafted.data["draft"]["targets"][0].clone()).unwrap();
    let about = AuditFilter { resource: Some(target), ..nothing() };
    let found = all(&world, &about, AuditOrder::NewestFirst, 200).await;
    assert!(found.iter().any(|event| event.position == drafted.position));
    assert!(found.iter().any(|event| event.kind == "asset.discovered"));
    assert!(found.len() < everything.len());

    // Together.
    let both = AuditFilter {
        resource: Some(target),
        kind: Some("change.drafted".to_owned()),
        ..nothing()
    };
    check(both, &|e| e.kind == "change.drafted" && found.iter().any(|f| f.position == e.position))
        .await;
    let none = AuditFilter { to: Some(Timestamp::from_micros(0)), ..nothing() };
    assert!(all(&world, &none, AuditOrder::NewestFirst, 200).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_wherever_they_stand() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(52).more(1500)).await;
    live.wait_for(last, LONG).await.unwrap();
    let search = async |q: &str| {
        let filter = AuditFilter { q: audit::terms(q), ..AuditFilter::default() };
        all(&world, &filter, AuditOrder::NewestFirst, 200).await
    };

    for q in
        ["LEAVER process", "o'neil", "Ümlaut", "change.drafted", "postgres.lock_u", "drafted  leav"]
    {
        let found = search(q).await;
        assert!(found.iter().any(|event| event.kind == "change.drafted"), "{q}");
    }
    let drafted = search("change.drafted").await;
    assert!(drafted.iter().all(|event| event.kind.starts_with("change.")), "{:?}", drafted[0]);
    // Ids and digests, whole or by their beginnings.
    let submitted = search("submitted for").await;
    let digest = submitted[0].data["digest"].as_str().unwrap();
    assert!(search(digest).await.iter().any(|event| event.position == submitted[0].position));
    assert!(
        search(&digest[..12]).await.iter().any(|event| event.position == submitted[0].position)
    );
    let change = submitted[0].change_request_id.unwrap();
    assert!(search(&change.to_string()).await.len() > 2);
    // Signs are not words, and nothing of a search is SQL or a query language.
    for q in ["'", "' | 'x", ":*", "!", "\\"] {
        assert!(search(q).await.is_empty() || q == "' | 'x", "{q}");
    }
    assert_eq!(search("  ").await.len(), usize::try_from(last + 1).unwrap());
    assert!(search("nothinglikethis").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn single_events_and_bad_cursors() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(53).more(50)).await;
    live.wait_for(last, LONG).await.unwrap();
    assert_eq!(audit::find(world.pool(), 3).await.unwrap().unwrap().position, 3);
    assert!(audit::find(world.pool(), 1_000_000).await.unwrap().is_none());
    let some = audit::at_positions(world.pool(), &[1, 7, 4]).await.unwrap();
    assert_eq!(some.iter().map(|event| event.position).collect::<Vec<_>>(), [7, 4, 1]);
    for cursor in ["", "x", "1;2", "99999999999999999999"] {
        let refused = audit::list(
            world.pool(),
            &AuditFilter::default(),
            AuditOrder::NewestFirst,
            Some(cursor),
            None,
        )
        .await;
        assert!(matches!(refused, Err(QueryError::Cursor)), "{cursor}");
    }
    let nobody =
        audit::of_change(world.pool(), ChangeId(uuid::Uuid::nil()), false, None, None).await;
    assert!(nobody.unwrap().items.is_empty());
}
