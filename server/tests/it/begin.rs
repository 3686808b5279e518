//! What was started and waits: what it was started under is asked again when the first effect is about to be
//! sent, and the time of a run in total at every step. The target itself counts what was done to it.
//!
//! Approvals are valid for an hour at least, and runs may take as long. That they run out within seconds
//! here is what is written into the log in place of what would be decided; everything else is real.

use std::sync::Arc;

use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::Event;
use nexplane_core::plan::{Plan, PlanHeader};
use nexplane_core::record;
use nexplane_store::log::Log;
use nexplane_store::testing::{TargetServer, event_records};
use serde_json::{Value, json};

use crate::crash_stage::{Count, approve, socket};
use crate::fault_proxy::{Hold, Proxy, Spot, Trap, Upstream};
use crate::harness::{Client, Server, Shop, eventually, id, text};
use crate::planted::{self, now};

/// How long what was started has to wait until it may not begin any more.
const SOON_S: i64 = 8;

struct Stage {
    server: Server,
    shop: Shop,
    /// From the server to the target.
    line: Proxy,
    operator: Client,
    approvers: [Client; 2],
    count: Count,
    log: Log,
}

impl Stage {
    async fn new() -> Self {
        let mut server = Server::start().await;
        // An effect is waited for as long as a test holds it.
        server.lease_s = 60;
        server.restart().await;
        let line = Proxy::to(Upstream::Postgres(socket(server.database()))).await;
        let by = json!({
            "host": "127.0.0.1",
            "port": line.port(),
            "ssl_mode": "disable",
            "ca_certificate": null,
        });
        let shop = Shop::connect_by(&server, "staging", TargetServer::new().await, by).await;
        let operator = server.operator().await;
        let admin = server.person("petra", &["approver", "admin"]).await;
        let approvers = [admin, server.approver().await];
        let count = Count::of(&shop).await;
        let log = planted::log_of(&server).await;
        Self { server, shop, line, operator, approvers, count, log }
    }

    async fn request(&self, roles: &[&String]) -> Value {
        let mut request = self.shop.request(&self.operator, "postgres.lock_user", roles[0]).await;
        for role in &roles[1..] {
            let asset = self.shop.asset(&self.operator, role).await;
            request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
        }
        request
    }

    async fn approved(&self, request: Value) -> String {
        let submitted = self.operator.submitted(request).await;
        approve(&self.approvers, &submitted).await;
        id(&submitted)
    }

    /// Approved, but not for long.
    async fn approved_for(&self, request: Value, seconds: i64) -> String {
        let submitted = self.operator.submitted(request).await;
        let until = now().plus_seconds(seconds);
        planted::approval(&self.log, &submitted, &self.approvers[0], until).await;
        id(&submitted)
    }

    /// The effect on this role does not arrive while this is held.
    fn hold(&self, role: &str) -> Arc<Trap> {
        let at = vec![format!("ALTER ROLE \"{role}\" ")];
        self.line.trap(Hold::Request, Spot { at, ..Spot::default() })
    }

    /// A change of this role is at it, and has been intended.
    async fn at(&self, role: &String) -> String {
        let change = self.approved(self.request(&[role]).await).await;
        self.operator.act(&change, "execute").await.is(200);
        self.until_intended(&change).await;
        change
    }

    async fn until_intended(&self, change: &str) {
        eventually("a step is intended", async || {
            let history = self.operator.history(change).await;
            history.contains(&"run.step_intended".to_owned()).then_some(())
        })
        .await;
    }

    async fn start_waiting(&self, change: &str) {
        let view = self.operator.act(change, "execute").await.is(200);
        assert_eq!(view["state"], "executing", "{view:#}");
        eventually("it waits for its turn", async || {
            let view = self.operator.change(change).await;
            let waits = view["waiting_for"].as_str().unwrap_or_default();
            waits.starts_with("Waits for its turn").then_some(())
        })
        .await;
    }

    /// It ended without a single intent, for this reason, while the one before it was still at the target.
    async fn did_not_begin(&self, change: &str, words: &str, before: &str, roles: &[&String]) {
        let view = self.operator.settled(change).await;
        assert_eq!(view["state"], "failed", "{view:#}");
        let reason = text(&view["closing_reason"]);
        assert!(reason.contains(words) && reason.contains("nothing was sent"), "{reason}");
        let states = states(&view);
        assert_eq!(states[0], "blocked", "{view:#}");
        assert!(states[1..].iter().all(|state| state == "planned"), "{view:#}");
        let history = self.operator.history(change).await;
        assert!(!history.contains(&"run.step_intended".to_owned()), "{history:?}");
        assert_eq!(self.operator.change(before).await["state"], "executing");
        for role in roles {
            assert_eq!(self.count.alterations(role).await, 0, "{role}");
        }
    }

    /// The one that was at the target ends well, and nothing is left in its way or behind it.
    async fn goes_on(&self, held: Arc<Trap>, before: &str, role: &str) {
        held.release();
        let view = self.operator.settled(before).await;
        assert_eq!(view["state"], "complete", "{view:#}");
        assert_eq!(self.count.alterations(role).await, 1);
        let request = self.shop.request(&self.operator, "postgres.unlock_user", role).await;
        let again = self.approved(request).await;
        assert_eq!(self.operator.executed(&again).await["state"], "complete");
        let waiting = "SELECT count(*) FROM nexplane.target_queue";
        let pool = self.server.database().pool();
        let left: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
        assert_eq!(left, 0);
    }
}

fn states(view: &Value) -> Vec<String> {
    let steps = view["run"]["steps"].as_array().unwrap();
    steps.iter().map(|step| text(&step["state"])).collect()
}

fn tally(view: &Value) -> [u64; 4] {
    let progress = &view["rollout"]["progress"];
    ["complete", "failed", "unknown", "not_started"].map(|name| progress[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_does_not_begin_once_its_approval_or_its_window_is_over() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let [a, b] = &roles[..] else { unreachable!() };
    let held = stage.hold(a);
    let before = stage.at(a).await;

    let request = stage.request(&[a, b]).await;
    let approval = stage.approved_for(request, SOON_S).await;
    stage.start_waiting(&approval).await;
    let mut request = stage.request(&[a, b]).await;
    let times = [-60, SOON_S + 6].map(|seconds| now().plus_seconds(seconds).to_string());
    request["window"] = json!({ "start": times[0], "end": times[1] });
    let window = stage.approved(request).await;
    stage.start_waiting(&window).await;

    stage.did_not_begin(&approval, "its approvals ran out at", &before, &[a, b]).await;
    stage.did_not_begin(&window, "its window ended at", &before, &[a, b]).await;
    stage.goes_on(held, &before, a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_does_not_begin_once_its_project_is_stopped() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let [a, b] = &roles[..] else { unreachable!() };
    let held = stage.hold(a);
    let before = stage.at(a).await;
    for (verb, state, words) in
        [("rollback", "rolled_back", "its project is going back"), ("close", "closed", "closed")]
    {
        let body = json!({ "name": format!("Leavers {verb}"), "description": "" });
        let project = id(&stage.operator.post("/projects", body).await.is(201));
        let member = stage.approved(stage.request(&[a, b]).await).await;
        let path = |verb: &str| format!("/projects/{project}/{verb}");
        stage.operator.post(&path("members"), json!({ "change": member })).await.is(200);
        stage.operator.post(&path("execute"), json!({})).await.is(200);
        eventually("its member waits", async || {
            let view = stage.operator.change(&member).await;
            let waits = view["waiting_for"].as_str().unwrap_or_default();
            waits.starts_with("Waits for its turn").then_some(())
        })
        .await;
        stage.operator.post(&path(verb), json!({ "reason": "not today" })).await.is(200);
        stage.did_not_begin(&member, words, &before, &[a, b]).await;
        eventually(state, async || {
            let view = stage.operator.get(&format!("/projects/{project}")).await.is(200);
            (view["state"] != "going_back" && view["state"] != "running").then_some(())
        })
        .await;
    }
    stage.goes_on(held, &before, a).await;
}

/// Nothing of it was sent: it is stopped as a whole. What began in time goes on, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_rollout_the_first_intent_counts() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c", "d", "e", "f"]).await;
    let [a, b, c, d, e, f] = &roles[..] else { unreachable!() };
    let strategy = json!({ "canary": 1, "batch": 2, "parallel": 1 });
    let held = stage.hold(a);
    let before = stage.at(a).await;
    let slow = stage.hold(e);

    let mut request = stage.request(&[d, e, f]).await;
    request["rollout"] = strategy.clone();
    let began = stage.approved_for(request, SOON_S).await;
    stage.operator.act(&began, "execute").await.is(200);
    let mut request = stage.request(&[a, b, c]).await;
    request["rollout"] = strategy;
    let waits = stage.approved_for(request, SOON_S).await;
    stage.operator.act(&waits, "execute").await.is(200);

    let view = stage.operator.settled(&waits).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [0, 0, 0, 3]), "{view:#}");
    let reason = text(&view["closing_reason"]);
    assert!(reason.contains("its approvals ran out at"), "{reason}");
    assert_eq!(stage.operator.change(&before).await["state"], "executing");
    for role in [a, b, c] {
        assert_eq!(stage.count.alterations(role).await, 0, "{role}");
    }

    // Its canary was done in time; of the others one is under way and one has not begun.
    assert_eq!(stage.operator.change(&began).await["state"], "executing");
    assert_eq!(stage.count.alterations(d).await, 1);
    slow.release();
    let view = stage.operator.settled(&began).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [3, 0, 0, 0]), "{view:#}");
    for role in [d, e, f] {
        assert_eq!(stage.count.alterations(role).await, 1, "{role}");
    }
    stage.goes_on(held, &before, a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_its_step_and_starts_no_other_when_its_time_in_total_is_over() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c", "d"]).await;
    let [a, b, c, d] = &roles[..] else { unreachable!() };
    let drafted = stage.operator.post("/change-requests", stage.request(&[a, b, c, d]).await).await;
    let drafted = drafted.is(201);
    let change = id(&drafted);
    let planned = stage.operator.act(&change, "plan").await.is(200);
    assert_eq!(planned["plan"]["limit_s"], 3600 + 4 * 300, "{planned:#}");
    // The same plan with less time.
    let pool = stage.server.database().pool();
    let plan = newest_plan(&event_records(pool).await.unwrap());
    let Plan { header, steps, checks, computed_at, .. } = plan;
    let limit = u32::try_from(SOON_S).unwrap();
    let header = PlanHeader { limit_s: Some(limit), ..header };
    let plan = Box::new(Plan::new(header, steps, checks, computed_at));
    let planned = vec![ChangeEvent::Planned { plan }];
    planted::of_change(&stage.log, &drafted, &stage.operator, planned).await;
    let submitted = stage.operator.act(&change, "submit").await.is(200);
    assert_eq!(submitted["plan"]["limit_s"], limit, "{submitted:#}");
    approve(&stage.approvers, &submitted).await;

    let held = stage.hold(b);
    stage.operator.act(&change, "execute").await.is(200);
    let ends_by = eventually("the second step is under way", async || {
        let view = stage.operator.change(&change).await;
        let is_at = view["run"]["steps"][1]["state"] == "intended";
        is_at.then(|| text(&view["run"]["ends_by"]))
    })
    .await;
    eventually("its time is over", async || (now().to_string() > ends_by).then_some(())).await;
    assert_eq!(stage.operator.change(&change).await["state"], "executing");
    held.release();

    let view = stage.operator.settled(&change).await;
    assert_eq!(view["state"], "failed", "{view:#}");
    assert_eq!(states(&view), ["verified", "verified", "blocked", "planned"], "{view:#}");
    let reason = text(&view["closing_reason"]);
    assert!(reason.starts_with("Total time over"), "{reason}");
    assert!(reason.contains(&ends_by) && reason.contains("2 of 4 steps are done"), "{reason}");
    for (role, count) in [(a, 1), (b, 1), (c, 0), (d, 0)] {
        assert_eq!(stage.count.alterations(role).await, count, "{role}");
    }
    // What was done can be undone, in a run with a time of its own.
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    assert_eq!(rollback["plan"]["limit_s"], 3600 + 2 * 300, "{rollback:#}");
    approve(&stage.approvers, &rollback).await;
    stage.operator.act(&id(&rollback), "execute").await.is(200);
    assert_eq!(stage.operator.undone(&change).await["state"], "rolled_back");
}

fn newest_plan(records: &[String]) -> Plan {
    let plans = records.iter().rev().find_map(|text| {
        let (_, event) = Event::decode(record::decode(text).unwrap()).unwrap();
        match event {
            Event::Change(ChangeEvent::Planned { plan }) => Some(*plan),
            _ => None,
        }
    });
    plans.expect("something was planned")
}
