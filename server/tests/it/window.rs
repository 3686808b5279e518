//! Windows: what is asked for outside of them is scheduled, and starts by itself when they open, if
//! everything would still let it.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{Client, Server, Shop, eventually, id, items, text};

/// Opens for a minute a year; no test runs in it.
const YEARLY: &str = "0 0 29 2 *";
/// Is always open.
const ALWAYS: &str = "* * * * *";

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approver: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        Self { server, shop, operator, approver }
    }

    async fn approved(&self, request: Value) -> String {
        let submitted = self.operator.submitted(request).await;
        self.approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
        id(&submitted)
    }

    async fn lock(&self, role: &str) -> String {
        let request = self.shop.request(&self.operator, "postgres.lock_user", role).await;
        self.approved(request).await
    }

    async fn define(&self, name: &str, cron: &str) -> String {
        let body = json!({
            "name": name,
            "scope": { "kind": "environment", "environment": "staging" },
            "cron": cron,
            "zone": "Europe/Vienna",
            "duration_s": 60,
        });
        id(&self.server.admin.post("/maintenance-windows", body).await.is(201))
    }

    async fn remove(&self, window: &str) {
        let path = format!("/maintenance-windows/{window}/remove");
        let removed = self.server.admin.post(&path, json!({ "reason": "over" })).await.is(200);
        assert_eq!(removed["state"], "removed", "{removed:#}");
    }

    /// Asks for the execution, which has to wait.
    async fn scheduled(&self, change: &str) -> Value {
        let view = self.operator.act(change, "execute").await.is(200);
        assert_eq!(view["state"], "scheduled", "{view:#}");
        assert_eq!(view["scheduled"]["by"], json!(self.operator.id));
        assert!(view["run"].is_null(), "{view:#}");
        view
    }

    async fn until(&self, change: &str, state: &str) -> Value {
        eventually(state, async || {
            let view = self.operator.change(change).await;
            (view["state"] == state).then_some(view)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_outside_of_a_window_starts_by_itself_when_one_opens() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let role = shop.role(server, "app").await;
    let change = stage.lock(&role).await;
    stage.define("Leap day", YEARLY).await;
    let refused = operator.act(&change, "execute").await.refused(409, "change.opens_too_late");
    assert!(text(&refused["detail"]).contains("approvals run out"), "{refused:#}");

    // One that opens soon enough: at the next full hour, two hours from now.
    let hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2))
        .to_zoned(jiff::tz::TimeZone::get("Europe/Vienna").unwrap())
        .hour();
    let soon = stage.define("Soon", &format!("0 {hour} * * *")).await;
    let view = stage.scheduled(&change).await;
    let waits = text(&view["waiting_for"]);
    assert!(waits.contains("starts by itself at 20"), "{waits}");
    assert!(shop.lets_in(&role, &role).await, "nothing was done");
    // Asking again is no news.
    let again = operator.act(&change, "execute").await.is(200);
    assert_eq!(again["version"], view["version"]);

    // The calendar becomes another one, and what may run now runs.
    stage.define("Always", ALWAYS).await;
    stage.remove(&soon).await;
    let done = stage.until(&change, "complete").await;
    assert!(done["scheduled"].is_null(), "{done:#}");
    assert!(!shop.lets_in(&role, &role).await);
    let events = items(&operator.get(&format!("/change-requests/{change}/events")).await.is(200));
    let who = |kind: &str| {
        let event = events.iter().find(|event| event["type"] == kind).unwrap();
        text(&event["actor"]["kind"])
    };
    assert_eq!(who("change.scheduled"), "user");
    assert_eq!(who("change.execution_started"), "system");
    // Its rollback is a change and waits for windows like any other; this one is open.
    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approver.approve(&id(&rollback), &rollback["plan"]["digest"]).await.is(200);
    operator.act(&id(&rollback), "execute").await.is(200);
    stage.until(&change, "rolled_back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_starts_when_its_own_window_opens_and_after_a_restart_too() {
    let mut stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let mut changes = Vec::new();
    for (role, seconds) in roles.iter().zip([4, 8]) {
        let mut request = stage.shop.request(&stage.operator, "postgres.lock_user", role).await;
        let now = jiff::Timestamp::now();
        let [start, end] = [seconds, 600].map(|s| now + jiff::SignedDuration::from_secs(s));
        request["window"] = json!({ "start": format!("{start:.6}"), "end": format!("{end:.6}") });
        let change = stage.approved(request).await;
        let view = stage.scheduled(&change).await;
        assert_eq!(view["scheduled"]["opens"], format!("{start:.6}"));
        changes.push((change, format!("{start:.6}")));
    }
    let (first, opens) = &changes[0];
    let done = stage.until(first, "complete").await;
    assert!(text(&done["run"]["started_at"]) >= *opens, "{done:#}");
    stage.server.kill9().await;
    stage.server.up().await;
    let (second, opens) = &changes[1];
    let done = stage.until(second, "complete").await;
    assert!(text(&done["run"]["started_at"]) >= *opens, "{done:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_asked_again_when_it_opens() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["moved", "revoked", "frozen"]).await;
    let hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2))
        .to_zoned(jiff::tz::TimeZone::get("Europe/Vienna").unwrap())
        .hour();
    let window = stage.define("Soon", &format!("0 {hour} * * *")).await;

    // Somebody does something to the target meanwhile.
    let moved = stage.lock(&roles[0]).await;
    stage.scheduled(&moved).await;
    shop.sql(&format!("ALTER ROLE {} CREATEDB NOLOGIN", roles[0])).await;
    stage.remove(&window).await;
    let view = stage.until(&moved, "approved").await;
    assert!(text(&view["waiting_for"]).contains("not what it was"), "{view:#}");
    operator.act(&moved, "execute").await.refused(409, "change.plan_moved");

    // A freeze is in the way: it waits for the end of that, too.
    let window = stage.define("Again", &format!("0 {hour} * * *")).await;
    let frozen = stage.lock(&roles[2]).await;
    stage.scheduled(&frozen).await;
    let times = [-1, 10].map(|hours| {
        format!("{:.6}", jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours))
    });
    let body = json!({
        "scope": { "kind": "all" }, "start": times[0], "end": times[1], "reason": "year-end close",
    });
    let freeze = server.admin.post("/freeze-windows", body).await.is(201);
    stage.remove(&window).await;
    eventually("it is moved", async || {
        let view = operator.change(&frozen).await;
        (view["scheduled"]["opens"] == freeze["end"]).then_some(())
    })
    .await;
    assert!(text(&operator.change(&frozen).await["waiting_for"]).starts_with("Frozen until"));
    let path = format!("/freeze-windows/{}/end", id(&freeze));
    server.admin.post(&path, json!({ "reason": "done" })).await.is(200);
    stage.until(&frozen, "complete").await;

    // Who asked may not ask any more.
    let window = stage.define("Thrice", &format!("0 {hour} * * *")).await;
    let revoked = stage.lock(&roles[1]).await;
    stage.scheduled(&revoked).await;
    let path = format!("/users/{}", operator.id);
    server.admin.patch(&path, json!({ "roles": ["viewer"] })).await.is(200);
    stage.remove(&window).await;
    let view = eventually("it is not started", async || {
        let view = server.admin.change(&revoked).await;
        (view["state"] == "approved").then_some(view)
    })
    .await;
    assert!(text(&view["waiting_for"]).contains("operator role"), "{view:#}");
    assert!(shop.lets_in(&roles[1], &roles[1]).await, "nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_its_step_and_starts_no_other_when_the_window_closes() {
    let mut stage = Stage::new().await;
    // A step waits for a lock at the target for a part of the lease, and then fails.
    stage.server.lease_s = 60;
    stage.server.restart().await;
    let Stage { server, shop, operator, approver } = &stage;
    let roles = shop.roles(server, &["a", "b", "c"]).await;
    let mut request = shop.request(operator, "postgres.lock_user", &roles[0]).await;
    for role in &roles[1..] {
        let asset = shop.asset(operator, role).await;
        request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
    }
    let change = stage.approved(request).await;
    let mut held = shop.target.admin().await;
    let alter = format!("BEGIN; ALTER ROLE {} CONNECTION LIMIT 7", roles[0]);
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
    operator.act(&change, "execute").await.is(200);
    eventually("the first step is intended", async || {
        let history = operator.history(&change).await;
        history.contains(&"run.step_intended".to_owned()).then_some(())
    })
    .await;
    let window = stage.define("Leap day", YEARLY).await;
    drop(held);

    let stopped = operator.settled(&change).await;
    assert_eq!(stopped["state"], "failed", "{stopped:#}");
    assert!(text(&stopped["closing_reason"]).contains("“Leap day” opens at"), "{stopped:#}");
    let steps = stopped["run"]["steps"].as_array().unwrap();
    let states: Vec<_> = steps.iter().map(|step| text(&step["state"])).collect();
    assert_eq!(states, ["verified", "blocked", "planned"], "{stopped:#}");

    // In an emergency a responder lets its rollback run at once; somebody else looks back at that.
    let rollback = operator.act(&change, "rollback").await.is(201);
    approver.approve(&id(&rollback), &rollback["plan"]["digest"]).await.is(200);
    operator.act(&id(&rollback), "execute").await.refused(409, "change.opens_too_late");
    let responder = server.person("rita", &["responder"]).await;
    let path = format!("/change-requests/{}/override-window", id(&rollback));
    let body = json!({ "justification": "Half of the accounts are locked." });
    operator.post(&path, body.clone()).await.refused(403, "change.own_override");
    approver.post(&path, body.clone()).await.refused(403, "access.denied");
    let passed = responder.post(&path, body.clone()).await.is(200);
    assert_eq!(passed["review_required"], true, "{passed:#}");
    assert!(passed["overrides"][0]["freeze"].is_null(), "{passed:#}");
    operator.act(&id(&rollback), "execute").await.is(200);
    stage.until(&change, "rolled_back").await;
    for role in &roles {
        assert!(shop.lets_in(role, role).await, "{role}");
    }
    // Nothing holds it up any more.
    stage.remove(&window).await;
    let other = stage.lock(&roles[1]).await;
    let path = format!("/change-requests/{other}/override-window");
    responder.post(&path, body).await.refused(409, "change.no_window");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_cannot_be_evaluated_is_refused_and_others_say_when_they_open() {
    let stage = Stage::new().await;
    let admin = &stage.server.admin;
    let define = async |field: &str, value: Value| {
        let mut body = json!({
            "name": "Nightly", "scope": { "kind": "all" }, "cron": "0 22 * * mon-fri",
            "zone": "Europe/Vienna", "duration_s": 14400,
        });
        body[field] = value;
        admin.post("/maintenance-windows", body).await
    };
    for (field, value) in [
        ("cron", json!("0 22 * *")),
        ("cron", json!("0 0 30 2 *")),
        ("cron", json!("nightly")),
        ("zone", json!("Vienna")),
        ("duration_s", json!(59)),
        ("duration_s", json!(604_801)),
        ("name", json!("  ")),
    ] {
        let refused = define(field, value).await.refused(422, "validation.failed");
        assert!(text(&refused["detail"]).starts_with(field), "{refused:#}");
    }
    let view = define("name", json!("Nightly")).await.is(201);
    assert_eq!(view["next"].as_array().unwrap().len(), 3, "{view:#}");
    assert!(text(&view["description"]).contains("22:00"), "{view:#}");
    assert_eq!(view["slots"]["duration_s"], 14400);
    define("name", json!("Nightly")).await.refused(409, "calendar.name_taken");
    stage.remove(&id(&view)).await;
    let again = define("name", json!("Nightly")).await.is(201);
    let page = admin.get("/maintenance-windows?limit=1").await.is(200);
    assert_eq!(id(&items(&page)[0]), id(&again));
    let path = format!("/maintenance-windows?cursor={}", text(&page["next_cursor"]));
    assert_eq!(items(&admin.get(&path).await.is(200))[0]["state"], "removed");
}
