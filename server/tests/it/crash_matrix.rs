//! The crash matrix at a PostgreSQL target: a request that is not sent, half written, on its way, or
//! done and not answered, while the server stays alive and while it dies.
//!
//! What was done is what the target counts. The rows of the server's own database are in
//! `crash_matrix_log`, those of a host in `crash_matrix_host`.

use std::sync::Arc;

use crate::crash_stage::{LOCK, Stage, Story, UNLOCK};
use crate::fault_proxy::{Hold, Trap};
use crate::harness::{eventually, id};

/// What becomes of what is held.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It is lost.
    Cut,
    /// It arrives, when whoever sent it has given up or is dead.
    Late,
}

/// One row: where the line fails, and what the target has to count.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    hold: Hold,
    at: &'static str,
    then: Then,
    /// How the change may end, what may be found about the unknown, and the alterations then.
    ends: &'static [(&'static str, &'static [&'static str], i64)],
}

const DONE_AT_LAST: &[(&str, &[&str], i64)] = &[("change.completed", &["not_applied"], 1)];
const DONE_ONCE: &[(&str, &[&str], i64)] = &[("change.completed", &["applied"], 1)];
const NOT_DONE_OR_AT_LAST: &[(&str, &[&str], i64)] =
    &[("change.failed", &[], 0), ("change.completed", &["not_applied"], 1)];
const NOT_DONE: &[(&str, &[&str], i64)] = &[("change.failed", &[], 0)];

/// The server lives; the line to the target is cut, or too slow.
const CUTS: [Row; 7] = [
    Row { name: "nothing sent", hold: Hold::Request, at: "ALTER", then: Then::Cut, ends: NOT_DONE },
    Row {
        name: "request half written",
        hold: Hold::Half,
        at: "ALTER",
        then: Then::Cut,
        ends: NOT_DONE,
    },
    Row {
        name: "commit lost",
        hold: Hold::Request,
        at: "COMMIT",
        then: Then::Cut,
        ends: DONE_AT_LAST,
    },
    Row {
        name: "commit half written",
        hold: Hold::Half,
        at: "COMMIT",
        then: Then::Cut,
        ends: DONE_AT_LAST,
    },
    Row {
        name: "applied, response lost",
        hold: Hold::Answer,
        at: "COMMIT",
        then: Then::Cut,
        ends: DONE_ONCE,
    },
    Row {
        name: "applied, response late",
        hold: Hold::Answer,
        at: "COMMIT",
        then: Then::Late,
        ends: DONE_ONCE,
    },
    // The target gives up on it first, and says so.
    Row {
        name: "commit late",
        hold: Hold::Request,
        at: "COMMIT",
        then: Then::Late,
        ends: NOT_DONE_OR_AT_LAST,
    },
];

/// The server is killed while all of these are held.
const KILLS: [Row; 5] = [
    Row {
        name: "intent, nothing sent",
        hold: Hold::Request,
        at: "ALTER",
        then: Then::Cut,
        ends: DONE_AT_LAST,
    },
    Row {
        name: "request half written",
        hold: Hold::Half,
        at: "ALTER",
        then: Then::Cut,
        ends: DONE_AT_LAST,
    },
    Row {
        name: "commit half written",
        hold: Hold::Half,
        at: "COMMIT",
        then: Then::Cut,
        ends: DONE_AT_LAST,
    },
    Row {
        name: "in flight, arrives after the crash",
        hold: Hold::Request,
        at: "COMMIT",
        then: Then::Late,
        ends: DONE_ONCE,
    },
    Row {
        name: "applied, response lost",
        hold: Hold::Answer,
        at: "COMMIT",
        then: Then::Cut,
        ends: DONE_ONCE,
    },
];

/// A row that is being played.
struct Lane {
    row: Row,
    role: String,
    change: String,
    trap: Arc<Trap>,
}

async fn lanes(stage: &Stage, rows: &[Row]) -> Vec<Lane> {
    let names: Vec<_> = (0..rows.len()).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let roles = stage.shop.roles(&stage.server, &names).await;
    let mut lanes = Vec::new();
    for (row, role) in rows.iter().zip(roles) {
        let change = stage.approved(LOCK, std::slice::from_ref(&role)).await;
        let trap = stage.trap_effect(row.hold, &role, row.at);
        lanes.push(Lane { row: *row, role, change, trap });
    }
    lanes
}

async fn check(stage: &Stage, lanes: &[Lane]) {
    for Lane { row, role, change, .. } in lanes {
        let story = stage.ended(change).await;
        let done = stage.count.alterations(role).await;
        let lets_in = stage.shop.lets_in(role, role).await;
        eprintln!("{}: {done} at the target\n  {}", row.name, story.told());
        story.is_sound();
        let as_told = (story.end().unwrap(), &story.findings()[..], done);
        assert!(row.ends.contains(&as_told), "{}: {as_told:?}", row.name);
        assert_eq!(lets_in, done == 0, "{}", row.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_line_to_the_target_at_every_row() {
    let stage = Stage::new(5).await;
    let lanes = lanes(&stage, &CUTS).await;
    let asked: Vec<_> = lanes.iter().map(|lane| stage.execute(&lane.change)).collect();
    for lane in &lanes {
        lane.trap.sprung().await;
    }
    for lane in &lanes {
        match lane.row.then {
            Then::Cut => lane.trap.cut(),
            Then::Late => {
                eventually("the server has given up", async || {
                    let story = Story::of(&stage.server, &lane.change).await;
                    let given_up = ["run.step_unknown", "run.step_failed"];
                    given_up.iter().any(|kind| story.has(kind)).then_some(())
                })
                .await;
                lane.trap.release();
            }
        }
    }
    for asked in asked {
        asked.await.unwrap().unwrap().is(200);
    }
    check(&stage, &lanes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_server_at_every_row() {
    let mut stage = Stage::new(5).await;
    let lanes = lanes(&stage, &KILLS).await;
    let asked: Vec<_> = lanes.iter().map(|lane| stage.execute(&lane.change)).collect();
    for lane in &lanes {
        lane.trap.sprung().await;
    }
    stage.server.kill9().await;
    for lane in &lanes {
        match lane.row.then {
            Then::Cut => lane.trap.cut(),
            Then::Late => lane.trap.release(),
        }
    }
    for asked in asked {
        asked.await.unwrap();
    }
    stage.server.up().await;
    check(&stage, &lanes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_two_steps_and_inside_a_rollback_repeats_nothing() {
    let mut stage = Stage::new(2).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two", "three"]).await;
    let change = stage.approved(LOCK, &roles).await;
    // The steps are in the order of the plan, which need not be ours: the second that is altered.
    let second = stage.trap_append(Hold::Answer, &change, "run.step_verified");
    let asked = stage.execute(&change);
    second.sprung().await;
    stage.crash().await;
    asked.await.unwrap();
    let story = stage.ended(&change).await;
    eprintln!("between two steps: {}", story.told());
    story.is_sound();
    assert_eq!(story.end(), Some("change.completed"));
    assert!(story.findings().is_empty(), "nothing was unknown: {}", story.told());
    assert_eq!(story.count("run.step_intended"), 3, "{}", story.told());
    assert_eq!(story.count("run.claimed"), 2, "{}", story.told());
    for role in &roles {
        assert_eq!(stage.count.alterations(role).await, 1, "{role}");
    }

    // Back again, with three crashes: commit half written, commit on its way, commit not answered.
    eventually("the change can be rolled back", async || {
        (stage.operator.change(&change).await["state"] == "complete").then_some(())
    })
    .await;
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    let rollback = id(&rollback);
    let holds = [Hold::Half, Hold::Request, Hold::Answer];
    let traps: Vec<_> = roles
        .iter()
        .zip(holds)
        .map(|(role, hold)| (hold, stage.trap_effect(hold, role, "COMMIT")))
        .collect();
    let asked = stage.execute(&rollback);
    for _ in &traps {
        let hold = eventually("a step of the rollback is held", async || {
            let held = traps.iter().find(|(_, trap)| trap.is_held());
            held.map(|(hold, trap)| (*hold, Arc::clone(trap)))
        })
        .await;
        stage.server.kill9().await;
        if hold.0 == Hold::Request {
            hold.1.release()
        } else {
            hold.1.cut()
        }
        stage.server.up().await;
    }
    asked.await.unwrap();
    let story = stage.ended(&rollback).await;
    eprintln!("rollback: {}", story.told());
    assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
    assert_eq!(story.findings().len(), 3, "{}", story.told());
    for role in &roles {
        assert_eq!(stage.count.alterations(role).await, 2, "{role}");
        assert!(stage.shop.lets_in(role, role).await, "{role}");
    }
    let undone = stage.operator.undone(&change).await;
    assert_eq!(undone["state"], "rolled_back", "{undone:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_nothing_counts_every_effect() {
    let stage = Stage::new(2).await;
    let role = stage.shop.role(&stage.server, "app").await;
    for (done, action) in (1..).zip([LOCK, UNLOCK, LOCK]) {
        let change = stage.approved(action, std::slice::from_ref(&role)).await;
        stage.execute(&change).await.unwrap().unwrap().is(200);
        assert_eq!(stage.ended(&change).await.end(), Some("change.completed"));
        assert_eq!(stage.count.alterations(&role).await, done);
        eventually("the read models know", async || {
            (stage.operator.change(&change).await["state"] == "complete").then_some(())
        })
        .await;
    }
    // What was rolled back does not count.
    stage.shop.sql(&format!("BEGIN; ALTER ROLE {role} LOGIN; ROLLBACK")).await;
    assert_eq!(stage.count.alterations(&role).await, 3);
}
