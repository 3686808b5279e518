//! The crash matrix at the server's own database: every append of an execution is lost, or stored and
//! not answered, and the server goes on or is killed; the database is away or read-only while an effect
//! is under way; and a worker is stopped for longer than its lease.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::crash_stage::{LOCK, Stage, Story, UNLOCK, execute};
use crate::fault_proxy::{Hold, Trap};
use crate::harness::{Client, eventually};

/// What an execution appends, in its order.
const APPENDS: [&str; 8] = [
    "change.execution_started",
    "run.started",
    "run.claimed",
    "run.step_intended",
    "run.step_succeeded",
    "run.step_verified",
    "run.finished",
    "change.completed",
];

/// Time in which an effect that was sent would be at the target.
const MOMENT: Duration = Duration::from_millis(150);

/// One append, and how far it gets.
struct Lane {
    kind: &'static str,
    hold: Hold,
    role: String,
    change: String,
    trap: Arc<Trap>,
}

async fn lanes(stage: &Stage, kinds: &[&'static str]) -> Vec<Lane> {
    let cases: Vec<_> = kinds
        .iter()
        .flat_map(|kind| [Hold::Request, Hold::Answer].map(|hold| (*kind, hold)))
        .collect();
    let names: Vec<_> = (0..cases.len()).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut lanes = Vec::new();
    for ((kind, hold), role) in cases.into_iter().zip(stage.shop.roles(&stage.server, &names).await)
    {
        let change = stage.approved(LOCK, std::slice::from_ref(&role)).await;
        let trap = stage.trap_append(hold, &change, kind);
        lanes.push(Lane { kind, hold, role, change, trap });
    }
    lanes
}

/// Whether the effect may be at the target while this append has no answer.
fn is_after_effect(kind: &str) -> bool {
    let at = |kind: &str| APPENDS.iter().position(|append| *append == kind).unwrap();
    at(kind) > at("run.step_intended")
}

/// Executes until the append is held, and looks at the target meanwhile.
async fn until_held(
    stage: &Stage,
    lane: &Lane,
) -> tokio::task::JoinHandle<Option<crate::harness::Answer>> {
    let asked = stage.execute(&lane.change);
    lane.trap.sprung().await;
    if lane.kind == "run.step_intended" {
        tokio::time::sleep(MOMENT).await;
    }
    let done = stage.count.alterations(&lane.role).await;
    assert_eq!(done, i64::from(is_after_effect(lane.kind)), "{} {:?}", lane.kind, lane.hold);
    asked
}

async fn check(stage: &Stage, lane: &Lane, is_killed: bool) {
    let Lane { kind, hold, role, change, .. } = lane;
    let story = stage.ended(change).await;
    let done = stage.count.alterations(role).await;
    eprintln!("{kind} {hold:?} {}: {}", if is_killed { "killed" } else { "cut" }, story.told());
    story.is_sound();
    assert_eq!((story.end(), done), (Some("change.completed"), 1), "{kind} {hold:?}");
    for once in APPENDS {
        let times = story.count(once);
        // A worker that takes over claims once more, and what nobody saw is found out, not guessed.
        let fits = match once {
            "run.claimed" => times == 1 || is_killed,
            "run.step_intended" | "run.step_succeeded" if is_killed => times <= 2,
            _ => times == 1,
        };
        assert!(fits, "{times} times {once}: {kind} {hold:?}: {}", story.told());
    }
    // Nothing is unknown to a server that lives.
    assert!(is_killed || story.findings().is_empty(), "{kind} {hold:?}: {}", story.told());
}

async fn cut(kinds: &[&'static str]) {
    let stage = Stage::new(2).await;
    for lane in &lanes(&stage, kinds).await {
        let asked = until_held(&stage, lane).await;
        lane.trap.cut();
        // The person hears that it was done, once, whatever the line did.
        asked.await.unwrap().unwrap().is(200);
        check(&stage, lane, false).await;
    }
}

async fn kill(kinds: &[&'static str]) {
    let mut stage = Stage::new(2).await;
    let lanes = lanes(&stage, kinds).await;
    for lane in &lanes {
        let asked = until_held(&stage, lane).await;
        stage.server.kill9().await;
        lane.trap.cut();
        asked.await.unwrap();
        stage.server.up().await;
        // What was never stored never happened, and the person asks again.
        if lane.kind == "change.execution_started" && lane.hold == Hold::Request {
            assert!(!Story::of(&stage.server, &lane.change).await.has(lane.kind));
            stage.execute(&lane.change).await.unwrap().unwrap().is(200);
        }
    }
    for lane in &lanes {
        check(&stage, lane, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_line_to_the_log_at_every_append() {
    cut(&APPENDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_server_at_every_append() {
    let (first, second) = APPENDS.split_at(4);
    tokio::join!(kill(first), kill(second));
}

/// Takes the database away from the server while an effect is at the target, and gives it back.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Away,
    ReadOnly,
}

async fn outage(kind: Outage) {
    let mut stage = Stage::new(4).await;
    stage.server.expected_errors.push("the event log's database is not available; gave up");
    let roles = stage.shop.roles(&stage.server, &["one", "two"]).await;
    let change = stage.approved(LOCK, &roles).await;
    let traps = [0, 1].map(|no| stage.trap_effect(Hold::Answer, &roles[no], "COMMIT"));
    let asked = stage.execute(&change);
    let first = eventually("the first effect is at the target", async || {
        traps.iter().position(|trap| trap.is_held())
    })
    .await;
    asked.await.unwrap().unwrap().is(200);
    let set = async |is_read_only: bool| {
        let name = stage.server.database().name();
        let set =
            format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {is_read_only}");
        let mut admin = stage.shop.target.admin().await;
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut admin).await.unwrap();
        // Sessions keep what they began with.
        stage.log.cut();
    };
    match kind {
        Outage::Away => stage.log.down(),
        Outage::ReadOnly => set(true).await,
    }
    traps.iter().for_each(|trap| trap.release());
    // Longer than the lease: nobody has the run when the database is back.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.count.alterations(&roles[first]).await, 1);
    assert_eq!(stage.count.alterations(&roles[1 - first]).await, 0, "no intent, and yet an effect");
    let story = Story::of(&stage.server, &change).await;
    assert_eq!(story.count("run.step_succeeded"), 0, "{kind:?}: {}", story.told());
    match kind {
        Outage::Away => stage.log.mend(),
        Outage::ReadOnly => set(false).await,
    }
    let story = stage.ended(&change).await;
    eprintln!("{kind:?}: {}", story.told());
    story.is_sound();
    assert_eq!(story.end(), Some("change.completed"), "{kind:?}: {}", story.told());
    // The outcome that was there all the time arrived; nothing had to be guessed.
    assert_eq!(story.count("run.step_succeeded"), 2, "{kind:?}: {}", story.told());
    assert!(!story.has("run.step_unknown"), "{kind:?}: {}", story.told());
    for role in &roles {
        assert_eq!(stage.count.alterations(role).await, 1, "{kind:?} {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_database_during_an_effect_delays_its_outcome() {
    tokio::join!(outage(Outage::Away), outage(Outage::ReadOnly));
}

/// Two servers; the first is stopped for longer than its lease, the second takes over, and another
/// change is made before the first wakes up and tells of it in `late` events.
async fn stopped(
    late: usize,
    trap: impl AsyncFnOnce(&Stage, &str, &str) -> Arc<Trap>,
) -> (Stage, Story, String, Story) {
    let mut stage = Stage::new(2).await;
    let role = stage.shop.role(&stage.server, "app").await;
    // The other has lines of its own.
    stage.server.database_url = None;
    let replica = stage.server.replica().await;
    let change = stage.approved(LOCK, std::slice::from_ref(&role)).await;
    let trap = trap(&stage, &change, &role).await;
    let asked = stage.execute(&change);
    trap.sprung().await;
    stage.server.signal(Signal::STOP);
    // Its line to the target is quick again, for the other.
    let story = stage.ended(&change).await;
    eprintln!("taken over: {}", story.told());
    story.is_sound();
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    assert_eq!(stage.count.alterations(&role).await, 1);

    let there = |client: &Client| client.at(&replica.base);
    let mut other = Stage { operator: there(&stage.operator), ..stage };
    other.approvers = [there(&other.approvers[0]), there(&other.approvers[1])];
    let unlock = other.approved(UNLOCK, std::slice::from_ref(&role)).await;
    execute(&other.operator, &unlock).await.unwrap().unwrap().is(200);
    assert_eq!(other.ended(&unlock).await.end(), Some("change.completed"));
    assert_eq!(other.count.alterations(&role).await, 2);

    other.server.signal(Signal::CONT);
    trap.release();
    asked.await.unwrap();
    // It says that it leaves the run alone.
    eventually("the first server has seen that it is too late", async || {
        other.server.log_text().contains("left a run for later").then_some(())
    })
    .await;
    eventually("the first server has told what it knows", async || {
        let now = Story::of(&other.server, &change).await;
        (now.events.len() >= story.events.len() + late).then_some(())
    })
    .await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(other.count.alterations(&role).await, 2, "an effect of a worker without a lease");
    assert!(other.shop.lets_in(&role, &role).await);
    let after = Story::of(&other.server, &change).await;
    let (before, late) = after.events.split_at(story.events.len());
    assert_eq!(before, story.events);
    (other, Story { events: late.to_vec() }, change, story)
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_lease_before_the_effect_sends_nothing() {
    let trap = async |stage: &Stage, change: &str, _: &str| {
        stage.trap_append(Hold::Answer, change, "run.step_intended")
    };
    let (_stage, late, _, story) = stopped(0, trap).await;
    assert_eq!(story.findings(), ["not_applied"], "{}", story.told());
    assert_eq!(late.events, [], "nothing was sent, so there is nothing to tell");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_lease_after_the_effect_is_evidence_only() {
    let trap =
        async |stage: &Stage, _: &str, role: &str| stage.trap_effect(Hold::Answer, role, "COMMIT");
    let (stage, late, change, story) = stopped(1, trap).await;
    assert_eq!(story.findings(), ["applied"], "{}", story.told());
    let [(kind, report)] = &*late.events else { panic!("{}", late.told()) };
    assert_eq!(kind, "run.late_reported");
    assert_eq!((&report["step"], &report["epoch"]), (&json!(0), &json!(1)), "{report:#}");
    // Its deadline went by while it slept; whichever it saw first when it woke up is what it says.
    let what = report["report"]["what"].as_str().unwrap();
    assert!(["succeeded", "unknown"].contains(&what), "{report:#}");
    // The other server is gone with its story.
    let operator = stage.operator.at(&stage.server.base);
    // People see it; the state is what the reading of the target made it.
    let told = eventually("the change says it", async || {
        let now = operator.change(&change).await;
        let late = now["run"]["steps"][0]["late"].as_array().cloned().unwrap_or_default();
        (!late.is_empty()).then_some(now)
    })
    .await;
    assert_eq!((&told["state"], &told["run"]["state"]), (&json!("complete"), &json!("complete")));
    assert_eq!(told["run"]["steps"][0]["state"], "verified", "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_course_of_cancel_against_intent_has_one_winner() {
    let stage = Stage::new(2).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two", "three"]).await;
    let reason = json!({ "reason": "not today" });

    // The intent is on its way: too late to cancel, and it is said.
    for (role, hold) in roles.iter().zip([Hold::Request, Hold::Answer]) {
        let change = stage.approved(LOCK, std::slice::from_ref(role)).await;
        let trap = stage.trap_append(hold, &change, "run.step_intended");
        let asked = stage.execute(&change);
        trap.sprung().await;
        let cancelling = tokio::spawn({
            let (operator, reason) = (stage.operator.clone(), reason.clone());
            let path = format!("/change-requests/{change}/cancel");
            async move { operator.post(&path, reason).await }
        });
        tokio::time::sleep(MOMENT).await;
        trap.release();
        cancelling.await.unwrap().refused(409, "run.too_late");
        asked.await.unwrap().unwrap().is(200);
        let story = stage.ended(&change).await;
        story.is_sound();
        assert_eq!((story.end(), story.count("run.cancel_asked")), (Some("change.completed"), 0));
        assert_eq!(stage.count.alterations(role).await, 1, "{hold:?}");
    }

    // The start is on its way when another server cancels: nothing is ever intended.
    let mut stage = stage;
    stage.server.database_url = None;
    let replica = stage.server.replica().await;
    let change = stage.approved(LOCK, &roles[2..]).await;
    let trap = stage.trap_append(Hold::Request, &change, "change.execution_started");
    let asked = stage.execute(&change);
    trap.sprung().await;
    let elsewhere = stage.operator.at(&replica.base);
    elsewhere.post(&format!("/change-requests/{change}/cancel"), reason).await.is(200);
    trap.release();
    asked.await.unwrap().unwrap().refused(409, "change.not_in_state");
    tokio::time::sleep(MOMENT).await;
    let story = Story::of(&stage.server, &change).await;
    let started = ["change.execution_started", "run.started", "run.step_intended"];
    assert!(started.iter().all(|kind| !story.has(kind)), "{}", story.told());
    assert_eq!((story.count("change.cancelled"), stage.count.alterations(&roles[2]).await), (1, 0));
}
