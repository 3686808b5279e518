//! A fleet against a real server: it enrols, is discovered, takes orders, and comes back by itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Server, id, text};
use crate::simulated::{Conduct, Fleet};

const AGENTS: usize = 200;

/// A change of one host's file, approved as often as the policy wants.
async fn approved(operator: &Client, approvers: &[Client], asset: &Value, content: &str) -> String {
    let submitted = operator
        .submitted(json!({
            "title": "The message of the day",
            "reason": "The notice is out of date.",
            "change_type": "host.set_file_content",
            "connection_id": asset["connection_id"],
            "targets": [asset["id"]],
            "parameters": { "path": "/etc/motd", "content": content },
        }))
        .await;
    let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
    for approver in &approvers[..needed] {
        approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
    }
    id(&submitted)
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_agents_enrol_take_orders_and_all_come_back() {
    let mut server = Server::start().await;
    server.pin_gateway().await;
    let fleet = Fleet::enrol(&server, AGENTS).await;
    let start = Instant::now();
    fleet.until_online(&server).await;
    let online = start.elapsed();
    // Nobody asks for it.
    let assets = fleet.assets(&server).await;
    eprintln!(
        "enrolled in {:.1?}, online {online:.1?} later, discovered {:.1?} later",
        fleet.enrolled_in,
        start.elapsed()
    );
    assert_eq!(assets.len(), AGENTS);
    let facts = &assets["sim-00123"]["metadata"];
    assert_eq!((&facts["hostname"], &facts["os"]), (&json!("sim-00123"), &json!("simulated")));

    let operator = server.operator().await;
    let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
    let change = approved(&operator, &approvers, &assets["sim-00123"], "first\n").await;
    assert!(fleet.all_effects().values().all(|effects| *effects == 0), "a plan changes nothing");
    let complete = operator.executed(&change).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert_eq!(fleet.read("sim-00123", "/etc/motd").as_deref(), Some("first\n"));
    assert_eq!((fleet.effects("sim-00123"), fleet.all_effects().values().sum()), (1, 1_u64));

    // The server dies while an order is with its agent, which cannot say what came of it.
    fleet.set_latency(Duration::from_millis(700));
    let change = approved(&operator, &approvers, &assets["sim-00007"], "second\n").await;
    operator.act(&change, "execute").await.is(200);
    tokio::time::sleep(Duration::from_millis(350)).await;
    server.kill9().await;
    let killed = Instant::now();
    server.up().await;
    let up = killed.elapsed();
    fleet.until_connected(&server).await;
    eprintln!("up {up:.1?} after the kill, all connected after {:.1?}", killed.elapsed());
    let complete = operator.settled(&change).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert_eq!((fleet.effects("sim-00007"), fleet.all_effects().values().sum()), (1, 2_u64));
    fleet.set_latency(Duration::ZERO);

    // What a host does not take is the end of its change, and of nothing else.
    for (host, conduct, failed) in [
        ("sim-00020", Conduct::Refuses, true),
        ("sim-00021", Conduct::Fails, true),
        ("sim-00022", Conduct::Obeys, false),
    ] {
        fleet.put(host, "/etc/motd", "by hand\n");
        let change = approved(&operator, &approvers, &assets[host], "third\n").await;
        fleet.conduct(host, conduct);
        let ended = operator.executed(&change).await;
        assert_eq!(ended["state"], if failed { "failed" } else { "complete" }, "{ended:#}");
        assert_eq!(fleet.effects(host), u64::from(!failed), "{host}");
        let content = if failed { "by hand\n" } else { "third\n" };
        assert_eq!(fleet.read(host, "/etc/motd").as_deref(), Some(content));
    }
    let hosts = server.admin.get("/hosts?status=online&limit=200").await.is(200);
    assert_eq!(hosts["items"].as_array().map(Vec::len), Some(AGENTS));
    assert!(text(&hosts["items"][0]["hostname"]).starts_with("sim-"));
    fleet.stop().await;
}
