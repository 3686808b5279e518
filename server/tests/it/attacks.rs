//! Every attack on a host or its way to the control plane, carried out for real: it is refused, nothing
//! changes on the host, and what happened is an event that an auditor finds, in words.
//!
//! The server is the real one, and so are TLS, keys, agents and their files. An attacker has what the row says:
//! a key that was copied, the database, the gateway's own certificate. A row without its event fails, and so
//! does one whose event says something else.
//!
//! Not here: what is refused of a request to the API (`server: authorisation`), and each rule of the agent on
//! its own (`agent: order`, `agent: linux`).

mod callers;
mod orders;
mod stage;

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use nexplane_core::event::Event;
use nexplane_core::host::event::HostEvent;
use nexplane_core::id::{HostId, StreamId};
use nexplane_core::refusal::Cause;
use nexplane_core::time::Timestamp;
use nexplane_server::stream;
use serde_json::Value;

use crate::attacks::stage::Stage;
use crate::gateway_rig::now;
use crate::harness::{eventually, items, text};

/// One way to attack.
struct Row {
    name: &'static str,
    kind: &'static str,
    cause: &'static str,
    /// A part of what the audit view says of it.
    words: &'static str,
    /// Carries it out, and sees that it is refused and changes nothing; whom it was done to.
    attack: for<'a> fn(&'a Stage, &'a Row) -> LocalBoxFuture<'a, Option<HostId>>,
}

/// The event in the audit view.
async fn traced(stage: &Stage, row: &Row, host: Option<HostId>) -> Value {
    let resource = host.map_or_else(String::new, |host| format!("&resource={host}"));
    let path = format!("/audit?type={}{resource}", row.kind);
    let what = format!("{}: {} {}", row.name, row.kind, row.cause);
    eventually(&what, async || {
        let page = stage.auditor.get(&path).await.is(200);
        items(&page)
            .into_iter()
            .find(|event| event["data"]["cause"] == row.cause || event["data"]["code"] == row.cause)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_and_leaves_its_event() {
    let mut stage = Stage::new().await;
    let mut events = Vec::new();
    for row in callers::ROWS.iter().chain(orders::ROWS) {
        let begun = now();
        let host = (row.attack)(&stage, row).await;
        let event = traced(&stage, row, host).await;
        let summary = event["summary"].as_str().unwrap();
        assert!(summary.contains(row.words), "{}: {summary}", row.name);
        assert!(event["data"]["count"].as_u64().unwrap() >= 1, "{}: {event:#}", row.name);
        let at: Timestamp = text(&event["at"]).parse().unwrap();
        assert!(at >= begun, "{}: {event:#}", row.name);
        assert_eq!(event["actor"]["kind"], "system", "{}: {event:#}", row.name);
        if event["data"].as_object().unwrap().contains_key("source") {
            assert_eq!(event["data"]["source"], "127.0.0.0/24", "{}: {event:#}", row.name);
        }
        println!("{}: {summary}", row.name);
        events.push((text(&event["stream"]), event["position"].as_u64().unwrap(), row));
    }
    stage.shows_in_its_metrics(callers::ROWS.iter().chain(orders::ROWS)).await;
    stage.server.stop().await;

    let opened = stage.server.opened().await;
    for (name, position, row) in events {
        let stream: StreamId = name.parse().unwrap();
        let history = stream::history(&opened.log, stream, None).await.unwrap();
        let recorded = history.iter().find(|recorded| recorded.position == position);
        assert_eq!(recorded.unwrap().header.kind, row.kind, "{}", row.name);
    }
    opened.close().await.unwrap();
}

/// The first is an event at once, all the others are counted and are one when the gateway stops; and who
/// attacks waits for none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_two_events_and_every_refusal_is_counted() {
    let mut stage = Stage::new().await;
    let identity = stage.enrolled("web-1").await.1;
    stage.revoke(identity.host).await;
    let client = stage.client(&identity);
    assert_eq!(stage::code(client.time().await), "host.revoked");
    let revoked = |event: &Value| event["data"]["cause"] == Cause::HostRevoked.as_str();
    let path = format!("/audit?type=host.refused&resource={}", identity.host);
    let listed = async || items(&stage.auditor.get(&path).await.is(200));
    eventually("the first is an event", async || listed().await.into_iter().find(revoked)).await;
    let before = stage.server.events().await;
    let begun = Instant::now();
    for _ in 0..400 {
        assert_eq!(stage::code(client.time().await), "host.revoked");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(stage.server.events().await, before, "the others wait");
    stage.server.stop().await;
    let opened = stage.server.opened().await;
    let history = stream::history(&opened.log, identity.host.into(), None).await.unwrap();
    let counts: Vec<u64> = history
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::Host(HostEvent::Refused { cause: Cause::HostRevoked, count, .. }) => {
                Some(*count)
            }
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 400]);
    opened.close().await.unwrap();
}
