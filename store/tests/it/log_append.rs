//! What one append does, and what it refuses.

use nexplane_core::id::CommandId;
use nexplane_core::record;
use nexplane_store::log::{AppendError, Appended, Guard, InvalidAppend, LogOptions};
use uuid::Uuid;

use crate::log_fixture::{Fixture, append, at, event, queue, records, stream};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_stored_as_the_bytes_that_are_hashed() {
    let fixture = Fixture::new().await;
    let mut command = append(stream(1), 0, 0);
    command.at = at(7);
    command.events = vec![
        event("change.drafted", r#"{"z":1.50,"a":"ö\"\\u0000 😀"}"#),
        event("change.submitted", "{}"),
    ];
    let appended = fixture.log.append(command.clone()).await.unwrap();
    assert_eq!(appended, Appended { first_position: 0, last_position: 1, duplicate: false });

    let events = fixture.log.read(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [0, 1]);
    let first = records(&events)[0].header.clone();
    assert_eq!(first.id, command.events[0].id);
    assert_eq!((first.stream, first.version, first.schema), (stream(1), 1, 1));
    assert_eq!(
        (first.kind.as_str(), first.at, first.actor),
        ("change.drafted", at(7), command.actor)
    );
    assert_eq!((first.command, first.correlation), (command.command.0, command.correlation));
    assert_eq!(first.causation, command.causation);
    let text = record::encode(&first, &command.events[0].data).unwrap();
    assert_eq!(&*events[0].record, text);
    assert_eq!(events[0].leaf_hash, record::leaf_hash(&text));

    // The columns say what the record says, and PostgreSQL computes the same hash.
    let agreeing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM nexplane.log_events WHERE stream_id = record::json->>'stream' \
         AND category = 'change' AND version = (record::json->>'version')::bigint \
         AND type = record::json->>'type' AND recorded_at = (record::json->>'at')::timestamptz \
         AND leaf_hash = sha256('\\x00' || convert_to(record, 'UTF8'))",
    )
    .fetch_one(fixture.pool())
    .await
    .unwrap();
    assert_eq!(agreeing, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_has_no_second_effect() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(9), 0, 1)).await.unwrap();
    let command = append(stream(1), 0, 3);
    let first = fixture.log.append(command.clone()).await.unwrap();
    assert_eq!(first, Appended { first_position: 1, last_position: 3, duplicate: false });
    // The stream has moved on; the answer has not.
    fixture.log.append(append(stream(1), 3, 1)).await.unwrap();

    let again = fixture.log.append(command.clone()).await.unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first });
    let other_server = fixture.second_log().await;
    assert_eq!(other_server.append(command).await.unwrap(), again);
    assert_eq!(fixture.all().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_given_many_times_at_once_writes_once() {
    let fixture = Fixture::new().await;
    let other_server = fixture.second_log().await;
    for round in 0..20 {
        let command = append(stream(round), 0, 2);
        let answers = futures_util::future::join_all((0..16).map(|n| {
            let log = if n % 2 == 0 { &fixture.log } else { &other_server };
            log.append(command.clone())
        }))
        .await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
        assert!(answers.iter().all(|answer| answer.first_position == answers[0].first_position));
    }
    assert_eq!(fixture.all().await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_id_belongs_to_one_request() {
    let fixture = Fixture::new().await;
    let command = append(stream(1), 0, 1);
    fixture.log.append(command.clone()).await.unwrap();
    let mut other = append(stream(2), 0, 1);
    other.command = command.command;
    other.request_hash = [2; 32];
    assert!(matches!(fixture.log.append(other.clone()).await, Err(AppendError::KeyReused)));
    assert_eq!(fixture.log.version(stream(2)).await.unwrap(), 0);
    // The id is what is taken, not the request.
    other.command = CommandId(Uuid::now_v7());
    fixture.log.append(other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_says_where_the_stream_is_and_is_forgotten() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 2)).await.unwrap();
    for wrong in [0, 1, 3] {
        let error = fixture.log.append(append(stream(1), wrong, 1)).await.unwrap_err();
        let AppendError::Conflict { stream: at, expected, actual } = error else {
            panic!("{error:?}")
        };
        assert_eq!((at, expected, actual), (stream(1), wrong, 2));
    }
    let mut early = append(stream(2), 1, 1);
    let error = fixture.log.append(early.clone()).await.unwrap_err();
    assert!(matches!(error, AppendError::Conflict { actual: 0, .. }));
    fixture.log.append(append(stream(2), 0, 1)).await.unwrap();
    early.expected_version = 1;
    assert!(!fixture.log.append(early).await.unwrap().duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_holds_or_the_command_fails() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 2)).await.unwrap();
    fixture.log.append(append(stream(2), 0, 1)).await.unwrap();

    let mut guarded = append(stream(3), 0, 1);
    guarded.guards = vec![
        Guard { stream: stream(2), version: 1 },
        Guard { stream: stream(1), version: 1 },
        Guard { stream: stream(4), version: 5 },
    ];
    let error = fixture.log.append(guarded.clone()).await.unwrap_err();
    let AppendError::GuardFailed { stream: at, expected, actual } = error else {
        panic!("{error:?}")
    };
    assert_eq!((at, expected, actual), (stream(1), 1, 2), "the first guard that does not hold");
    assert_eq!(fixture.log.version(stream(3)).await.unwrap(), 0);

    guarded.guards[1].version = 2;
    guarded.guards[2].version = 0;
    assert!(!fixture.log.append(guarded).await.unwrap().duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_for_a_stream_are_tried_in_the_order_they_were_given() {
    let fixture = Fixture::new().await;
    let commands: Vec<_> = (0..100).map(|version| append(stream(1), version, 1)).collect();
    let answers =
        futures_util::future::join_all(commands.into_iter().map(|c| fixture.log.append(c))).await;
    for (answer, position) in answers.into_iter().zip(0..) {
        assert_eq!(answer.unwrap().first_position, position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_is_invalid() {
    let fixture = Fixture::new().await;
    let mut command = append(stream(1), 0, 1);
    command.events[0] = event("test.happened", r#"{"text":"\u0000"}"#);
    let error = fixture.log.append(command).await.unwrap_err();
    assert!(matches!(error, AppendError::Invalid(InvalidAppend::NulCharacter)), "{error:?}");
    let error = fixture.log.append(append(stream(1), 0, 0)).await.unwrap_err();
    assert!(matches!(error, AppendError::Invalid(InvalidAppend::NoEvents)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_keeps_what_it_has() {
    let fixture = Fixture::with(LogOptions { queue: 8, ..LogOptions::default() }).await;
    let holder = fixture.hold_head().await;
    let waiting: Vec<_> =
        (0..8).map(|number| queue(&fixture.log, append(stream(number), 0, 1))).collect();
    for number in 8..20 {
        let refused = fixture.log.append(append(stream(number), 0, 1)).await;
        assert!(matches!(refused, Err(AppendError::Overloaded)));
    }
    holder.rollback().await.unwrap();
    for answer in futures_util::future::join_all(waiting).await {
        answer.unwrap();
    }
    fixture.log.append(append(stream(8), 0, 1)).await.unwrap();
    assert_eq!(fixture.all().await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_pass_from_partition_to_partition() {
    let fixture = Fixture::new().await;
    let partitions = || async {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'nexplane.log_events'::regclass",
        )
        .fetch_one(fixture.pool())
        .await
        .unwrap();
        count
    };
    let move_head = |to: i64| {
        sqlx::query("UPDATE nexplane.log_head SET next_position = $1")
            .bind(to)
            .execute(fixture.pool())
    };
    assert_eq!(partitions().await, 3);

    move_head(999_998).await.unwrap();
    let appended = fixture.log.append(append(stream(1), 0, 4)).await.unwrap();
    assert_eq!((appended.first_position, appended.last_position), (999_998, 1_000_001));
    assert_eq!(fixture.log.read(999_998, 10).await.unwrap().len(), 4);
    assert_eq!(fixture.log.read_stream(stream(1), 1, None).await.unwrap().len(), 4);
    fixture.log.append(append(stream(1), 4, 1)).await.unwrap();
    assert_eq!(partitions().await, 4, "the appender keeps two ahead");

    // Even without a partition to go to, an append is not lost.
    move_head(7_000_000).await.unwrap();
    let appended = fixture.log.append(append(stream(1), 5, 1)).await.unwrap();
    assert_eq!(appended.first_position, 7_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_append_function_refuses_a_snapshot_that_does_not_move() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.pool().begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let error = sqlx::query(CALL).bind([stream(1).to_string()]).execute(&mut *transaction).await;
    let code = error.unwrap_err().into_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code, "25000");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_append_function_refuses_a_batch_whose_order_matters() {
    let fixture = Fixture::new().await;
    let refused = |streams: Vec<String>| async {
        let result = sqlx::query(CALL).bind(streams).execute(fixture.pool()).await;
        let error = result.unwrap_err().into_database_error().unwrap();
        error.code().unwrap().into_owned()
    };
    assert_eq!(refused(vec![stream(1).to_string(), stream(1).to_string()]).await, "22023");
    assert_eq!(refused(vec![stream(1).to_string(), stream(7).to_string()]).await, "22023");
}

/// Calls the function for two commands, of which the first guards stream 7.
const CALL: &str = "SELECT nexplane.append_batch(\
    ARRAY[gen_random_uuid(), gen_random_uuid()], \
    ARRAY[sha256(''), sha256('')], $1, ARRAY[0, 0]::bigint[], ARRAY[now(), now()], \
    ARRAY[1], ARRAY['change-00000000-0000-0000-0000-000000000007'], ARRAY[0]::bigint[], \
    ARRAY[1, 2], ARRAY['a', 'b'], ARRAY['{}', '{}'], ARRAY[sha256(''), sha256('')])";
