//! The crash matrix where the log takes nothing: an outcome that the server knows is on disk until the log
//! has it, also when the server is killed meanwhile.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::crash_stage::{LOCK, Stage, Story};
use crate::fault_proxy::{Hold, Trap};
use crate::harness::{eventually, text};

const ROTATE: &str = "postgres.rotate_user_password";

/// The outcomes that wait, or were set aside.
pub fn waiting(data_dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data_dir.join("outcomes")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// Executes until the effect of one of its steps is held. The number of that step.
pub async fn until_held(stage: &Stage, change: &str, roles: &[String]) -> (usize, Vec<Arc<Trap>>) {
    let traps: Vec<_> =
        roles.iter().map(|role| stage.trap_effect(Hold::Answer, role, "COMMIT")).collect();
    let asked = stage.execute(change);
    let first = eventually("an effect is at the target", async || {
        traps.iter().position(|trap| trap.is_held())
    })
    .await;
    asked.await.unwrap().unwrap().is(200);
    (first, traps)
}

async fn read_only(stage: &Stage, is_so: bool) {
    let name = stage.server.database().name();
    let set = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {is_so}");
    let mut admin = stage.shop.target.admin().await;
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut admin).await.unwrap();
    // Sessions keep what they began with.
    stage.log.cut();
}

/// The effect of its first step has returned, the log took nothing, and the server is killed.
async fn killed_with_an_outcome(
    stage: &mut Stage,
    action: &str,
    roles: &[String],
) -> (String, usize, PathBuf) {
    stage.server.expected_errors.push("the event log's database is not available; gave up");
    let change = stage.approved(action, roles).await;
    let (first, traps) = until_held(stage, &change, roles).await;
    read_only(stage, true).await;
    traps.iter().for_each(|trap| trap.release());
    let file = eventually("the outcome is on disk", async || {
        waiting(stage.server.data_dir(), "outcome").pop()
    })
    .await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let story = Story::of(&stage.server, &change).await;
    assert!(!story.has("run.step_succeeded"), "{}", story.told());
    stage.server.kill9().await;
    read_only(stage, false).await;
    (change, first, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_server_while_the_log_is_read_only_loses_no_outcome() {
    let mut stage = Stage::new(10).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two"]).await;
    let (change, first, _) = killed_with_an_outcome(&mut stage, LOCK, &roles).await;
    assert_eq!(stage.count.alterations(&roles[1 - first]).await, 0, "no intent, and yet an effect");
    stage.server.up().await;
    let story = stage.ended(&change).await;
    eprintln!("{}", story.told());
    story.is_sound();
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    // What it had known counts: nothing had to be read, let alone guessed.
    assert_eq!(story.count("run.step_succeeded"), 2, "{}", story.told());
    assert!(!story.has("run.step_unknown"), "{}", story.told());
    assert!(!story.has("run.late_reported"), "{}", story.told());
    for role in &roles {
        assert_eq!(stage.count.alterations(role).await, 1, "{role}");
    }
    eventually("nothing waits any more", async || {
        waiting(stage.server.data_dir(), "outcome").is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_while_a_secret_waits_keeps_it_sealed_and_hands_it_over() {
    let mut stage = Stage::new(10).await;
    let role = stage.shop.role(&stage.server, "app").await;
    let roles = std::slice::from_ref(&role);
    let (change, _, file) = killed_with_an_outcome(&mut stage, ROTATE, roles).await;
    let on_disk = std::fs::read_to_string(file).unwrap();
    stage.server.up().await;
    let story = stage.ended(&change).await;
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    assert!(!story.has("run.step_unknown"), "{}", story.told());
    let ended = stage.operator.settled(&change).await;
    let secret = text(&ended["secrets"][0]["id"]);
    let path = format!("/secrets/{secret}/reveal");
    let shown = stage.operator.post(&path, json!({})).await.is(200);
    let password = text(&shown["value"]);
    assert!(stage.shop.lets_in(&role, &password).await, "it is the one that the target has");
    assert!(on_disk.contains(&secret) && !on_disk.contains(&password));
    assert_eq!(stage.count.alterations(&role).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_with_an_outcome_of_an_older_epoch_is_evidence_only() {
    let mut stage = Stage::new(10).await;
    let role = stage.shop.role(&stage.server, "app").await;
    let roles = std::slice::from_ref(&role);
    let (change, _, file) = killed_with_an_outcome(&mut stage, ROTATE, roles).await;
    // It is not there when the next takes the run over.
    let elsewhere = stage.server.data_dir().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    stage.server.up().await;
    let before = stage.ended(&change).await;
    eprintln!("{}", before.told());
    assert_eq!(before.findings().len(), 1, "{}", before.told());
    stage.server.stop().await;
    std::fs::rename(&elsewhere, &file).unwrap();
    stage.server.up().await;
    let told = eventually("the change says what came late", async || {
        let now = stage.operator.change(&change).await;
        let late = now["run"]["steps"][0]["late"].as_array().cloned().unwrap_or_default();
        (!late.is_empty()).then_some(now)
    })
    .await;
    let after = Story::of(&stage.server, &change).await;
    let (same, late) = after.events.split_at(before.events.len());
    assert_eq!(same, before.events);
    let [(kind, report)] = late else { panic!("{}", after.told()) };
    assert_eq!((&**kind, &report["epoch"]), ("run.late_reported", &json!(1)), "{report:#}");
    assert_eq!(after.end(), before.end());
    eventually("nothing waits any more", async || {
        waiting(stage.server.data_dir(), "outcome").is_empty().then_some(())
    })
    .await;
    // What the target has is not lost with that.
    let secrets = told["secrets"].as_array().unwrap();
    let path = format!("/secrets/{}/reveal", text(&secrets.last().unwrap()["id"]));
    let shown = stage.operator.post(&path, json!({})).await.is(200);
    assert!(stage.shop.lets_in(&role, &text(&shown["value"])).await, "{told:#}");
    assert_eq!(stage.count.alterations(&role).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_that_damages_an_outcome_on_disk_is_reported_and_settled_at_the_target() {
    let mut stage = Stage::new(10).await;
    let role = stage.shop.role(&stage.server, "app").await;
    let roles = std::slice::from_ref(&role);
    let (change, _, file) = killed_with_an_outcome(&mut stage, LOCK, roles).await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    stage.server.expected_errors.push("an outcome on disk is damaged");
    stage.server.up().await;
    let story = stage.ended(&change).await;
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    assert_eq!(story.findings(), ["applied"], "{}", story.told());
    assert_eq!(stage.count.alterations(&role).await, 1);
    let aside = waiting(stage.server.data_dir(), "damaged");
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(&aside[0]).unwrap(), &whole[..whole.len() / 2]);
    assert!(stage.server.log_text().contains("an outcome on disk is damaged"));
}
