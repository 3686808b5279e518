//! Freezes: what they stop, who may pass, and what a run does that one begins under.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::harness::{Answer, Client, Server, Shop, eventually, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approver: Client,
    responder: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        let responder = server.person("rita", &["responder"]).await;
        Self { server, shop, operator, approver, responder }
    }

    /// A step waits for a lock at the target for a part of the lease, and then fails.
    async fn with_lease(lease_s: u32) -> Self {
        let mut stage = Self::new().await;
        stage.server.lease_s = lease_s;
        stage.server.restart().await;
        stage
    }

    async fn submitted(&self, role: &str) -> Value {
        let request = self.shop.request(&self.operator, "postgres.lock_user", role).await;
        self.operator.submitted(request).await
    }

    async fn approved(&self, role: &str) -> String {
        let submitted = self.submitted(role).await;
        self.approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
        id(&submitted)
    }

    /// A freeze that has begun.
    async fn freeze(&self, scope: Value) -> String {
        let time = [in_days(-1), in_days(300)];
        let time = [time[0].as_str(), time[1].as_str()];
        id(&declare(&self.server.admin, scope, time, "year-end close").await)
    }

    async fn end(&self, freeze: &str) {
        let path = format!("/freeze-windows/{freeze}/end");
        let ended = self.server.admin.post(&path, json!({ "reason": "done early" })).await.is(200);
        assert_eq!(ended["state"], "ended", "{ended:#}");
    }

    async fn overrides(&self, by: &Client, change: &str, freeze: &str) -> Answer {
        let body = json!({ "freeze": freeze, "justification": "The key has leaked." });
        by.post(&format!("/change-requests/{change}/override-freeze"), body).await
    }
}

async fn declare(admin: &Client, scope: Value, [start, end]: [&str; 2], reason: &str) -> Value {
    let body = json!({ "scope": scope, "start": start, "end": end, "reason": reason });
    admin.post("/freeze-windows", body).await.is(201)
}

/// Long after any test.
const CENTURY: [&str; 2] = ["2098-01-01T00:00:00Z", "2098-06-01T00:00:00Z"];

fn in_days(days: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    format!("{now:.6}")
}

fn all() -> Value {
    json!({ "kind": "all" })
}

fn tag(tag: &str) -> Value {
    json!({ "kind": "tag", "tag": tag })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_approved_or_executed_until_a_freeze_has_ended() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, .. } = &stage;
    let roles = shop.roles(server, &["a", "b"]).await;
    let waiting = stage.submitted(&roles[0]).await;
    let digest = &waiting["plan"]["digest"];
    let ready = stage.approved(&roles[1]).await;
    let freeze = stage.freeze(all()).await;

    for refused in [
        approver.approve(&id(&waiting), digest).await.refused(423, "change.frozen"),
        operator.act(&ready, "execute").await.refused(423, "change.frozen"),
    ] {
        assert_eq!(refused["freezes"], json!([freeze]), "{refused:#}");
        assert!(text(&refused["detail"]).contains("“year-end close” until 20"), "{refused:#}");
    }
    // Everybody reads why, in the change, in the list and in the inbox.
    for (change, what) in [(id(&waiting), "approved"), (ready.clone(), "executed")] {
        let says = |view: &Value| {
            let waits = text(&view["waiting_for"]);
            assert!(waits.starts_with("Frozen until 20"), "{waits}");
            assert!(waits.contains("year-end close") && waits.contains(what), "{waits}");
        };
        says(&operator.change(&change).await);
        let list = items(&operator.get("/change-requests").await.is(200));
        says(list.iter().find(|view| id(view) == change).unwrap());
    }
    let inbox = items(&approver.get("/approvals/inbox").await.is(200));
    assert_eq!(inbox[0]["code"], "change.frozen", "{inbox:#?}");
    assert_eq!(inbox[0]["may_approve"], false);
    // What is said against a change passes.
    let other = stage.submitted(&roles[0]).await;
    let path = format!("/change-requests/{}/reject", id(&other));
    approver.post(&path, json!({ "reason": "Not now." })).await.is(200);

    stage.end(&freeze).await;
    approver.approve(&id(&waiting), digest).await.is(200);
    for change in [id(&waiting), ready] {
        assert_eq!(operator.executed(&change).await["state"], "complete");
    }
    let seen = operator.history(&id(&waiting)).await;
    assert!(!seen.iter().any(|kind| kind == "change.freeze_overridden"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_covers_what_its_scope_says_and_its_time() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, .. } = &stage;
    let role = shop.role(server, "app").await;
    let submitted = stage.submitted(&role).await;
    let change = id(&submitted);
    let approve = async || approver.approve(&change, &submitted["plan"]["digest"]).await;

    // Neither another environment, nor another tag, nor another time.
    let prod = json!({ "kind": "environment", "environment": "prod" });
    stage.freeze(prod).await;
    let billing = stage.freeze(tag("billing")).await;
    declare(&server.admin, all(), CENTURY, "the next century").await;
    assert!(!text(&operator.change(&change).await["waiting_for"]).contains("Frozen"));
    // The tag is given after the freeze was declared, and counts at once.
    let asset = shop.asset(operator, &role).await;
    let path = format!("/assets/{}", id(&asset));
    operator.patch(&path, json!({ "tags": ["billing"] })).await.is(200);
    let refused = approve().await.refused(423, "change.frozen");
    assert_eq!(refused["freezes"], json!([billing]));
    operator.patch(&path, json!({ "tags": [] })).await.is(200);
    // The label of an asset counts as well.
    let staging = json!({ "kind": "environment", "environment": "staging" });
    let staging = stage.freeze(staging).await;
    approve().await.refused(423, "change.frozen");
    stage.end(&staging).await;
    operator.patch(&path, json!({ "environment": "prod" })).await.is(200);
    approve().await.refused(423, "change.frozen");
    operator.patch(&path, json!({ "environment": "dev" })).await.is(200);
    approve().await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_keep_the_calendar_and_everybody_reads_it() {
    let stage = Stage::new().await;
    let admin = &stage.server.admin;
    let first = stage.freeze(all()).await;
    let later = declare(admin, tag("billing"), CENTURY, "the next century").await;
    assert_eq!(later["state"], "upcoming", "{later:#}");
    let viewer = stage.server.person("vera", &["viewer"]).await;
    let list = viewer.get("/freeze-windows").await.is(200);
    let seen: Vec<_> =
        items(&list).iter().map(|freeze| (id(freeze), text(&freeze["state"]))).collect();
    let expected = [(id(&later), "upcoming".to_owned()), (first.clone(), "in_force".to_owned())];
    assert_eq!(seen, expected);
    assert_eq!(items(&list)[0]["scope"], tag("billing"));
    // A page at a time.
    let page = viewer.get("/freeze-windows?limit=1").await.is(200);
    assert_eq!(id(&items(&page)[0]), id(&later));
    let path = format!("/freeze-windows?limit=1&cursor={}", text(&page["next_cursor"]));
    let page = viewer.get(&path).await.is(200);
    assert_eq!(id(&items(&page)[0]), first);
    assert!(page["next_cursor"].is_null());
    viewer.get("/freeze-windows?cursor=x").await.refused(400, "request.malformed");

    stage.end(&first).await;
    let path = format!("/freeze-windows/{first}/end");
    admin.post(&path, json!({ "reason": "again" })).await.is(200);
    let ended = &items(&viewer.get("/freeze-windows").await.is(200))[1];
    assert_eq!((&ended["state"], &ended["ended_reason"]), (&json!("ended"), &json!("done early")));
    let unknown = format!("/freeze-windows/{}/end", uuid::Uuid::now_v7());
    admin.post(&unknown, json!({ "reason": "x" })).await.refused(404, "not_found");
    for (field, value) in [
        ("end", json!(in_days(-1))),
        ("reason", json!(" ")),
        ("scope", json!({ "kind": "tag", "tag": "" })),
        ("scope", json!({ "kind": "all", "tag": "x" })),
        ("scope", json!({ "kind": "planet" })),
    ] {
        let mut body =
            json!({ "scope": all(), "start": in_days(-2), "end": in_days(2), "reason": "x" });
        body[field] = value;
        admin.post("/freeze-windows", body).await.refused(422, "validation.failed");
    }
    // The same request again is the same freeze.
    let body = json!({ "scope": all(), "start": in_days(1), "end": in_days(2), "reason": "x" });
    let send = async || {
        let post = admin.request(reqwest::Method::POST, "/freeze-windows");
        admin.send(post.header("idempotency-key", "one").json(&body)).await.is(201)
    };
    let made = send().await;
    sqlx::query("UPDATE nexplane.requests SET status = NULL, headers = NULL, body = NULL")
        .execute(stage.server.database().pool())
        .await
        .unwrap();
    assert_eq!(id(&send().await), id(&made));
    assert_eq!(items(&viewer.get("/freeze-windows").await.is(200)).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_lets_one_plan_pass_one_freeze_and_somebody_reviews_it() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, responder } = &stage;
    let role = shop.role(server, "app").await;
    let request = shop.request(operator, "postgres.lock_user", &role).await;
    // A responder's own change, too, is somebody else's to let pass.
    let both = server.person("bodo", &["operator", "responder"]).await;
    let submitted = both.submitted(request).await;
    let (change, digest) = (id(&submitted), &submitted["plan"]["digest"]);
    let freeze = stage.freeze(all()).await;
    let second = stage.freeze(json!({ "kind": "environment", "environment": "staging" })).await;

    stage.overrides(&both, &change, &freeze).await.refused(403, "change.own_override");
    for client in [operator, approver, &server.admin] {
        stage.overrides(client, &change, &freeze).await.refused(403, "access.denied");
    }
    let machine = json!({ "name": "pipeline", "kind": "machine" });
    let machine = responder.post("/tokens", machine).await.is(201);
    let machine = responder.with_token(&text(&machine["token"]));
    stage.overrides(&machine, &change, &freeze).await.refused(403, "access.denied");
    let path = format!("/change-requests/{change}/override-freeze");
    for body in [json!({ "freeze": freeze }), json!({ "freeze": freeze, "justification": " " })] {
        responder.post(&path, body).await.refused(422, "validation.failed");
    }
    let unknown = uuid::Uuid::now_v7().to_string();
    stage.overrides(responder, &change, &unknown).await.refused(404, "not_found");
    let other = stage.freeze(tag("billing")).await;
    stage.overrides(responder, &change, &other).await.refused(409, "change.not_covered");

    // One freeze, and not the other.
    let passed = stage.overrides(responder, &change, &freeze).await.is(200);
    assert_eq!(passed["review_required"], true, "{passed:#}");
    assert_eq!(passed["overrides"][0]["freeze"], freeze, "{passed:#}");
    assert_eq!(passed["overrides"][0]["by"], responder.id);
    let refused = approver.approve(&change, digest).await.refused(423, "change.frozen");
    assert_eq!(refused["freezes"], json!([second]));
    stage.overrides(responder, &change, &second).await.is(200);
    stage.overrides(responder, &change, &second).await.is(200);
    approver.approve(&change, digest).await.is(200);

    // Another plan is another decision: what was let pass was the one in review.
    let path = format!("/change-requests/{change}");
    both.patch(&path, json!({ "reason": "It leaked, and the audit asks for it." })).await.is(200);
    both.act(&change, "plan").await.is(200);
    let again = both.act(&change, "submit").await.is(200);
    assert_eq!(again["overrides"][0]["superseded"], true, "{again:#}");
    let digest = &again["plan"]["digest"];
    approver.approve(&change, digest).await.refused(423, "change.frozen");
    for freeze in [&freeze, &second] {
        stage.overrides(responder, &change, freeze).await.is(200);
    }
    approver.approve(&change, digest).await.is(200);
    let review = async |by: &Client, comment: &str| {
        let path = format!("/change-requests/{change}/review");
        by.post(&path, json!({ "comment": comment })).await
    };
    review(approver, "too early").await.refused(409, "change.not_in_state");
    let done = both.executed(&change).await;
    assert_eq!((&done["state"], &done["review_required"]), (&json!("complete"), &json!(true)));
    assert!(!shop.lets_in(&role, &role).await);

    // Somebody who had no part in it looks at it.
    review(&both, "mine").await.refused(403, "change.own_review");
    review(responder, "mine").await.refused(403, "change.own_review");
    review(operator, "no role").await.refused(403, "access.denied");
    review(approver, " ").await.refused(422, "validation.failed");
    let reviewed = review(approver, "It had to be.").await.is(200);
    assert_eq!(reviewed["review_required"], false);
    assert_eq!(reviewed["review"]["comment"], "It had to be.");
    assert_eq!(reviewed["review"]["by"], approver.id);
    review(&server.admin, "again").await.refused(409, "change.no_review_due");
    let history = operator.history(&change).await;
    assert_eq!(history.iter().filter(|kind| *kind == "change.freeze_overridden").count(), 4);
    assert_eq!(history.last().unwrap(), "change.reviewed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_between_steps_and_its_rollback_waits_for_the_end() {
    let stage = Stage::with_lease(60).await;
    let Stage { server, shop, operator, approver, responder } = &stage;
    let roles = shop.roles(server, &["a", "b", "c"]).await;
    let mut request = shop.request(operator, "postgres.lock_user", &roles[0]).await;
    for role in &roles[1..] {
        let asset = shop.asset(operator, role).await;
        request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
    }
    let submitted = operator.submitted(request).await;
    let change = id(&submitted);
    // A change of several targets may need more than one.
    let second = server.person("amos", &["approver"]).await;
    approver.approve(&change, &submitted["plan"]["digest"]).await.is(200);
    if operator.change(&change).await["state"] == "submitted" {
        second.approve(&change, &submitted["plan"]["digest"]).await.is(200);
    }

    // Another transaction has the first role: its step waits at the target when the freeze begins.
    let mut held = shop.target.admin().await;
    let alter = format!("BEGIN; ALTER ROLE {} CONNECTION LIMIT 7", roles[0]);
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
    operator.act(&change, "execute").await.is(200);
    eventually("the first step is intended", async || {
        let history = operator.history(&change).await;
        history.contains(&"run.step_intended".to_owned()).then_some(())
    })
    .await;
    let freeze = stage.freeze(all()).await;
    held.close().await.unwrap();

    let stopped = operator.settled(&change).await;
    assert_eq!(stopped["state"], "failed", "{stopped:#}");
    assert!(text(&stopped["closing_reason"]).contains("year-end close"), "{stopped:#}");
    let steps = stopped["run"]["steps"].as_array().unwrap();
    let states: Vec<_> = steps.iter().map(|step| text(&step["state"])).collect();
    assert_eq!(states, ["verified", "blocked", "planned"], "{stopped:#}");
    for (role, expected) in roles.iter().zip([false, true, true]) {
        assert_eq!(shop.lets_in(role, role).await, expected, "{role}");
    }
    let history = operator.history(&change).await;
    assert_eq!(history.iter().filter(|kind| *kind == "run.step_intended").count(), 1);

    // What was done is offered for rollback, which is frozen as everything is.
    let back = operator.act(&change, "rollback").await.is(201);
    let digest = &back["plan"]["digest"];
    approver.approve(&id(&back), digest).await.refused(423, "change.frozen");
    stage.overrides(responder, &id(&back), &freeze).await.is(200);
    approver.approve(&id(&back), digest).await.is(200);
    // An override is of one freeze: another one is in the way of the execution.
    let other = stage.freeze(all()).await;
    operator.act(&id(&back), "execute").await.refused(423, "change.frozen");
    assert_eq!(operator.change(&change).await["state"], "failed");
    stage.end(&other).await;
    let undone = operator.executed(&id(&back)).await;
    assert_eq!(undone["state"], "complete", "{undone:#}");
    assert_eq!(operator.undone(&change).await["state"], "rolled_back");
    assert!(shop.lets_in(&roles[0], &roles[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_taken_over_after_a_crash_finds_the_freeze() {
    let mut stage = Stage::with_lease(10).await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let mut request = stage.shop.request(&stage.operator, "postgres.lock_user", &roles[0]).await;
    let asset = stage.shop.asset(&stage.operator, &roles[1]).await;
    request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
    let submitted = stage.operator.submitted(request).await;
    let change = id(&submitted);
    let second = stage.server.person("amos", &["approver"]).await;
    for approver in [&stage.approver, &second] {
        if stage.operator.change(&change).await["state"] == "submitted" {
            approver.approve(&change, &submitted["plan"]["digest"]).await.is(200);
        }
    }
    let mut held = stage.shop.target.admin().await;
    let alter = format!("BEGIN; ALTER ROLE {} CONNECTION LIMIT 7", roles[0]);
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
    stage.operator.act(&change, "execute").await.is(200);
    eventually("the first step is intended", async || {
        let history = stage.operator.history(&change).await;
        history.contains(&"run.step_intended".to_owned()).then_some(())
    })
    .await;
    stage.freeze(all()).await;
    stage.server.kill9().await;
    held.close().await.unwrap();
    stage.server.up().await;

    let stopped = stage.operator.settled(&change).await;
    assert_eq!(stopped["state"], "failed", "{stopped:#}");
    assert!(text(&stopped["closing_reason"]).contains("year-end close"), "{stopped:#}");
    let history = stage.operator.history(&change).await;
    assert_eq!(history.iter().filter(|kind| *kind == "run.step_intended").count(), 1);
    assert!(stage.shop.lets_in(&roles[1], &roles[1]).await, "nothing was sent to the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_a_request_is_no_way_past_a_freeze() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let role = shop.role(server, "app").await;
    let change = stage.approved(&role).await;
    let path = format!("/change-requests/{change}/execute");
    let send = async || {
        let post = operator.request(reqwest::Method::POST, &path);
        operator.send(post.header("idempotency-key", "one").json(&json!({}))).await
    };
    let freeze = stage.freeze(all()).await;
    for _ in 0..2 {
        send().await.refused(423, "change.frozen");
    }
    let history = operator.history(&change).await;
    assert!(!history.contains(&"change.execution_started".to_owned()), "{history:?}");
    // A key has one answer, also after the freeze; another request is another question.
    stage.end(&freeze).await;
    send().await.refused(423, "change.frozen");
    let done = operator.executed(&change).await;
    assert_eq!(done["state"], "complete");
    // What was carried out before the freeze is answered as it was then.
    let role = shop.role(server, "other").await;
    let change = stage.approved(&role).await;
    let path = format!("/change-requests/{change}/execute");
    let send = async || {
        let post = operator.request(reqwest::Method::POST, &path);
        operator.send(post.header("idempotency-key", "two").json(&json!({}))).await
    };
    send().await.is(200);
    operator.settled(&change).await;
    stage.freeze(all()).await;
    sqlx::query("UPDATE nexplane.requests SET status = NULL, headers = NULL, body = NULL")
        .execute(server.database().pool())
        .await
        .unwrap();
    send().await.is(200);
    let history = operator.history(&change).await;
    assert_eq!(history.iter().filter(|kind| *kind == "run.step_intended").count(), 1);
}
