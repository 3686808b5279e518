//! Pages and streams; holes are errors.

use nexplane_store::log::{READ_LIMIT, ReadError};
use nexplane_store::testing::tamper;
use uuid::Uuid;

use crate::log_fixture::{Fixture, append, at, records, stream};

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.log.head().await.unwrap().next_position, 0);
    assert!(fixture.log.read(0, 10).await.unwrap().is_empty());
    fixture.log.append(append(stream(1), 0, 900)).await.unwrap();
    fixture.log.append(append(stream(2), 0, 300)).await.unwrap();
    assert_eq!(fixture.log.head().await.unwrap().next_position, 1200);

    let positions = |from, limit| {
        let log = &fixture.log;
        async move {
            let page = log.read(from, limit).await.unwrap();
            page.first().zip(page.last()).map(|(first, last)| (first.position, last.position))
        }
    };
    assert_eq!(positions(0, 10).await, Some((0, 9)));
    assert_eq!(positions(1195, 10).await, Some((1195, 1199)));
    assert_eq!(positions(0, usize::MAX).await, Some((0, READ_LIMIT as u64 - 1)));
    assert_eq!(positions(0, 0).await, None);
    assert_eq!(positions(1200, 10).await, None);
    assert_eq!(positions(u64::MAX, 10).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_from_a_version_and_as_of_a_position() {
    let fixture = Fixture::new().await;
    for version in 0..5 {
        fixture.log.append(append(stream(1), version, 1)).await.unwrap();
        fixture.log.append(append(stream(2), version, 1)).await.unwrap();
    }
    let versions = |number, from, until| {
        let log = &fixture.log;
        async move {
            let events = log.read_stream(stream(number), from, until).await.unwrap();
            let records = records(&events);
            assert!(records.iter().all(|record| record.header.stream == stream(number)));
            records.into_iter().map(|record| record.header.version).collect::<Vec<_>>()
        }
    };
    assert_eq!(versions(1, 0, None).await, [1, 2, 3, 4, 5]);
    assert_eq!(versions(2, 4, None).await, [4, 5]);
    assert!(versions(2, 6, None).await.is_empty());
    assert!(versions(3, 1, None).await.is_empty());
    // Stream 1 has the even positions.
    assert_eq!(versions(1, 1, Some(4)).await, [1, 2, 3]);
    assert_eq!(versions(1, 1, Some(3)).await, [1, 2]);
    assert_eq!(versions(1, 2, Some(u64::MAX)).await, [2, 3, 4, 5]);
    let several = fixture.log.read_streams(&[stream(3), stream(2), stream(1)]).await.unwrap();
    assert_eq!(several.len(), 2);
    for number in [1, 2] {
        let alone = fixture.log.read_stream(stream(number), 1, None).await.unwrap();
        assert_eq!(several[&stream(number)], alone);
    }
    assert_eq!(fixture.log.version(stream(2)).await.unwrap(), 5);
    assert_eq!(fixture.log.version(stream(3)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_commands_have_positions() {
    let fixture = Fixture::new().await;
    let first = append(stream(1), 0, 3);
    let command = first.command.0;
    fixture.log.append(first).await.unwrap();
    fixture.log.append(append(stream(2), 0, 1)).await.unwrap();
    fixture.log.append(append(stream(1), 3, 1)).await.unwrap();
    let positions = fixture.log.positions(stream(1), &[0, 2, 4, 5, u64::MAX]).await.unwrap();
    assert_eq!(positions, [(2, 1), (4, 4)].into());
    let spans = fixture.log.spans(&[command, Uuid::nil()]).await.unwrap();
    assert_eq!(spans, [(command, (0, 2))].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_has_a_position() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.log.position_at(at(0)).await.unwrap(), None);
    for (seconds, version) in [(10, 0), (20, 1), (20, 2), (30, 3)] {
        let mut command = append(stream(1), version, 1);
        command.at = at(seconds);
        fixture.log.append(command).await.unwrap();
    }
    let at_seconds = |seconds| fixture.log.position_at(at(seconds));
    assert_eq!(at_seconds(9).await.unwrap(), None);
    assert_eq!(at_seconds(10).await.unwrap(), Some(0));
    assert_eq!(at_seconds(20).await.unwrap(), Some(2));
    assert_eq!(at_seconds(29).await.unwrap(), Some(2));
    assert_eq!(at_seconds(99).await.unwrap(), Some(3));
}

/// Ten events; then a superuser removes those at `positions`.
async fn with_holes(positions: &[i64]) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 10)).await.unwrap();
    let list = positions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let delete = format!("DELETE FROM nexplane.log_events WHERE position IN ({list})");
    tamper(fixture.pool(), &delete).await.unwrap();
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_an_error_wherever_it_is() {
    for (removed, from, hole) in [
        (&[4_i64][..], 0, 4),
        (&[4], 4, 4),
        (&[0], 0, 0),
        (&[9], 9, 9),
        (&[7, 8, 9], 7, 7),
        (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 3, 3),
    ] {
        let fixture = with_holes(removed).await;
        let error = fixture.log.read(from, 10).await.unwrap_err();
        let ReadError::Hole { position } = error else { panic!("{error:?}") };
        assert_eq!(position, hole, "removed {removed:?}, read from {from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_meets_the_hole_and_does_not_wait() {
    for (removed, hole) in [(3_i64, 3_u64), (9, 9)] {
        let fixture = with_holes(&[removed]).await;
        let mut subscription = fixture.log.subscribe(fixture.start().await);
        let error = loop {
            let next = subscription.next();
            match tokio::time::timeout(std::time::Duration::from_secs(5), next).await.unwrap() {
                Ok(events) => assert!(events.iter().all(|event| event.position < hole)),
                Err(error) => break error,
            }
        };
        let ReadError::Hole { position } = error else { panic!("{error:?}") };
        assert_eq!(position, hole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_a_stream_is_an_error() {
    for (removed, version) in [(0, 1), (5, 6), (9, 10)] {
        let fixture = with_holes(&[removed]).await;
        let error = fixture.log.read_stream(stream(1), 1, None).await.unwrap_err();
        let ReadError::StreamHole { version: hole, .. } = error else { panic!("{error:?}") };
        assert_eq!(hole, version);
        let error = fixture.log.read_streams(&[stream(2), stream(1)]).await.unwrap_err();
        let ReadError::StreamHole { version: hole, .. } = error else { panic!("{error:?}") };
        assert_eq!(hole, version);
    }
}
