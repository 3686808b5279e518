//! Who is here, who was sent away, and who came twice.

use std::time::{Duration, Instant};

use nexplane_agent::client::ClientError;
use nexplane_core::job::{Order, PollRequest};
use nexplane_server::gateway::Standing;
use serde_json::json;
use uuid::Uuid;

use crate::gateway_rig::{Rig, SILENCE, until};

fn poll(instance: u128, number: u64, wait_s: u32) -> PollRequest {
    let instance = Uuid::from_u128(instance);
    PollRequest { wait_s, have: 0, instance, number, policy_hash: None, distrusted: Vec::new() }
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().code().unwrap_or("no code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_is_told_once() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    for number in 1..=3 {
        client.poll(&poll(1, number, 0)).await.unwrap();
    }
    tokio::time::sleep(SILENCE * 2).await;
    rig.registry.until_told(identity.host, "offline").await;
    client.poll(&poll(1, 4, 0)).await.unwrap();
    let told = rig.registry.told(identity.host);
    let short: Vec<&str> = told.iter().map(|what| what.split(':').next().unwrap()).collect();
    assert_eq!(short, ["enrolled", "online", "policy None", "offline", "online"]);
}

/// How many of the gateway's connections asked the database something while this was done; the least
/// of three times, since the gateway's own heartbeat may fall into one.
async fn asked(rig: &Rig, mut act: impl AsyncFnMut()) -> i64 {
    let mut least = i64::MAX;
    for _ in 0..3 {
        let since: String = sqlx::query_scalar("SELECT clock_timestamp()::text")
            .fetch_one(rig.database.pool())
            .await
            .unwrap();
        act().await;
        let busy = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND query_start > $1::timestamptz",
        )
        .bind(since)
        .fetch_one(rig.database.pool())
        .await
        .unwrap();
        least = least.min(busy);
        if least == 0 {
            break;
        }
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_follows_another_asks_the_database_nothing() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    client.poll(&poll(1, 1, 0)).await.unwrap();
    // The gateway's listener may have woken everybody when it began.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut number = 1;
    let mut polls = async || {
        for _ in 0..5 {
            number += 1;
            client.poll(&poll(1, number, 0)).await.unwrap();
        }
    };
    polls().await;
    assert_eq!(asked(&rig, polls).await, 0);

    // It does once there is an order, wherever that comes from.
    let elsewhere = rig.another().await;
    let order = Order::Verify {
        operation: "host.set_file_content".to_owned(),
        target: "web-1".to_owned(),
        parameters: json!({ "path": "/etc/motd", "content": "x" }),
        prepared: None,
        undoes: None,
    };
    let dispatcher = elsewhere.dispatcher();
    let host = identity.host;
    let ordered = tokio::spawn(async move {
        dispatcher.run(host, order, Duration::from_secs(20), "key").await.map(drop)
    });
    let mut number = 1_000;
    let jobs = loop {
        number += 1;
        let answer = client.poll(&poll(1, number, 1)).await.unwrap();
        if !answer.jobs.is_empty() {
            break answer.jobs;
        }
        assert!(number < 1_020, "the order does not come");
    };
    // An answer that was lost is given again.
    let again = client.poll(&poll(1, number + 1, 0)).await.unwrap();
    assert_eq!((jobs.len(), again.jobs), (1, jobs));
    ordered.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_poll_counts_as_online_and_costs_the_database_nothing() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let held = tokio::spawn(async move { client.poll(&poll(1, 1, 30)).await });
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let busy = asked(&rig, async || tokio::time::sleep(SILENCE * 3).await).await;
    assert_eq!(busy, 0, "connections that asked something while a poll was held");
    assert!(rig.gateway.is_online(identity.host) && !held.is_finished());
    held.abort();
    assert!(!rig.registry.told(identity.host).iter().any(|told| told.starts_with("offline")));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_ends_the_poll_at_once() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let held = tokio::spawn(async move { client.poll(&poll(1, 1, 50)).await });
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    let start = Instant::now();
    rig.registry.set(identity.host, Standing::Revoked);
    rig.gateway.revoke(identity.host).await;
    assert_eq!(code(held.await.unwrap()), "host.revoked");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(code(rig.client(&identity).time().await), "host.revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_learns_of_it_later_ends_the_poll_within_five_seconds() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let held = tokio::spawn(async move { client.poll(&poll(1, 1, 50)).await });
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    let start = Instant::now();
    rig.registry.set(identity.host, Standing::Revoked);
    assert_eq!(code(held.await.unwrap()), "host.revoked");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_heard_by_other_gateways() {
    let rig = Rig::new().await;
    let other = rig.another().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let held = tokio::spawn(async move { client.poll(&poll(1, 1, 50)).await });
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    // Give the listener of the first gateway time to be there.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    other.revoke(identity.host).await;
    assert_eq!(code(held.await.unwrap()), "host.locked");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_poll_of_the_same_agent_takes_the_place_of_the_first() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let first = tokio::spawn(async move { client.poll(&poll(1, 1, 50)).await });
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    let client = rig.client(&identity);
    let second = tokio::spawn(async move { client.poll(&poll(1, 2, 1)).await });
    assert!(first.await.unwrap().unwrap().jobs.is_empty());
    assert!(second.await.unwrap().unwrap().jobs.is_empty());
    assert_eq!(rig.registry.told(identity.host).len(), 3, "nobody was locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_users_of_one_key_are_locked() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    // A restart: another instance takes over. Then the first one is back: it lives.
    let client = rig.client(&identity);
    client.poll(&poll(1, 1, 0)).await.unwrap();
    client.poll(&poll(2, 1, 0)).await.unwrap();
    assert_eq!(code(client.poll(&poll(1, 2, 0)).await), "host.locked");
    assert_eq!(code(client.poll(&poll(2, 2, 0)).await), "host.locked");
    rig.registry.until_told(identity.host, "locked").await;
    // A copy of a running machine: the same instance with a number that was used.
    let (_config, identity) = rig.enroll("web-2").await;
    let client = rig.client(&identity);
    client.poll(&poll(1, 7, 0)).await.unwrap();
    assert_eq!(code(client.poll(&poll(1, 7, 0)).await), "host.locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_is_told() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    for (number, hash) in [(1, None), (2, Some("a")), (3, Some("a")), (4, None)] {
        let policy_hash = hash.map(str::to_owned);
        client.poll(&PollRequest { policy_hash, ..poll(1, number, 0) }).await.unwrap();
    }
    let told = rig.registry.told(identity.host);
    let policies: Vec<_> = told.iter().filter(|told| told.starts_with("policy")).collect();
    assert_eq!(policies, ["policy None", "policy Some(\"a\")", "policy None"]);
    // Three polls, and one version all the time.
    assert_eq!(rig.registry.versions(identity.host), [nexplane_agent::release::VERSION]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_moves_to_another_gateway_is_not_offline() {
    let rig = Rig::new().await;
    let other = rig.another().await;
    let (_config, identity) = rig.enroll("web-1").await;
    rig.client(&identity).poll(&poll(1, 1, 0)).await.unwrap();
    let nexplane_agent::identity::Identity { ca_pem, certificate_pem, key_pem, .. } = &identity;
    let there = nexplane_agent::client::Client::new(&other.url(), ca_pem, certificate_pem, key_pem)
        .unwrap();
    let held = tokio::spawn(async move { there.poll(&poll(1, 2, 3)).await });
    tokio::time::sleep(SILENCE * 3).await;
    held.await.unwrap().unwrap();
    let told = rig.registry.told(identity.host);
    assert!(!told.iter().any(|told| told.starts_with("offline")), "{told:?}");
    other.shutdown().await;
}
