//! Events that nobody decided, written into the log: lies for an auditor to find, and what a test can not wait
//! for, such as approvals that run out.

use nexplane_core::actor::Actor;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::Event;
use nexplane_core::id::{ChangeId, CommandId, PersonId, StreamId};
use nexplane_core::time::Timestamp;
use nexplane_store::database::Role;
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{Client, Server, id, text};

pub fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}

pub async fn log_of(server: &Server) -> Log {
    let database = server.database();
    let connect = Role::Append.at(database.options());
    Log::open(database.pool().clone(), connect, LogOptions::default()).await.unwrap()
}

/// Appends them after the `expected` events that the stream has.
pub async fn plant(log: &Log, stream: StreamId, expected: u64, by: Actor, events: Vec<Event>) {
    let encoded = events.iter().map(Event::encode);
    let events = encoded.map(|encoded| NewEvent {
        id: Uuid::now_v7(),
        kind: encoded.kind,
        schema: encoded.schema,
        data: encoded.data,
    });
    let command = Uuid::now_v7();
    log.append(Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream,
        expected_version: expected,
        guards: Vec::new(),
        events: events.collect(),
        actor: by,
        at: now(),
        correlation: command,
        causation: command,
    })
    .await
    .unwrap();
}

/// The approval that a submitted change needs, by this person, valid until then.
pub async fn approval(log: &Log, submitted: &Value, by: &Client, until: Timestamp) {
    assert_eq!(submitted["state"], "submitted", "{submitted:#}");
    let digest = text(&submitted["plan"]["digest"]);
    let given = ChangeEvent::ApprovalGiven {
        digest: digest.clone(),
        comment: None,
        as_admin: false,
        delegator: None,
    };
    quorum(log, submitted, by, given, until).await;
}

/// This event of a review that completes its quorum, valid until then.
pub async fn quorum(
    log: &Log,
    submitted: &Value,
    by: &Client,
    given: ChangeEvent,
    until: Timestamp,
) {
    let digest = text(&submitted["plan"]["digest"]);
    let approved = ChangeEvent::Approved { digest, not_before: now(), until };
    of_change(log, submitted, by, vec![given, approved]).await;
}

/// Appends to a change, as it is now.
pub async fn of_change(log: &Log, change: &Value, by: &Client, events: Vec<ChangeEvent>) {
    let stream = StreamId::from(ChangeId(id(change).parse().unwrap()));
    let expected = log.version(stream).await.unwrap();
    let by = Actor::user(PersonId(by.id.parse().unwrap()));
    plant(log, stream, expected, by, events.into_iter().map(Event::from).collect()).await;
}
