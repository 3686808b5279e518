//! The story of one change, from draft to undone, on a real PostgreSQL.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, id, items, text};
use crate::leak::nothing_leaked;

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

    /// A submitted change of a role.
    async fn submitted(&self, action: &str, role: &str) -> Value {
        let request = self.shop.request(&self.operator, action, role).await;
        self.operator.submitted(request).await
    }

    /// An approved one.
    async fn approved(&self, action: &str, role: &str) -> String {
        let submitted = self.submitted(action, role).await;
        let change = id(&submitted);
        let digest = &submitted["plan"]["digest"];
        let approved = self.approver.approve(&change, digest).await.is(200);
        assert_eq!(approved["state"], "approved");
        change
    }

    /// One that was executed, and went well.
    async fn complete(&self, action: &str, role: &str) -> Value {
        let change = self.approved(action, role).await;
        let done = self.operator.executed(&change).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    /// Rolls back with an approval; the rollback change once it is settled.
    async fn rolled_back(&self, change: &str) -> Value {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        let digest = &rollback["plan"]["digest"];
        self.approver.approve(&id(&rollback), digest).await.is(200);
        let settled = self.operator.executed(&id(&rollback)).await;
        self.operator.undone(change).await;
        settled
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_locked_with_an_approval_and_unlocked_by_the_rollback() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver } = &stage;
    let tested = server
        .admin
        .post(&format!("/connections/{}/test", shop.connection), json!({}))
        .await
        .is(200);
    assert_eq!(tested["ok"], true, "{tested:#}");
    let role = shop.role(server, "app").await;
    assert!(shop.lets_in(&role, &role).await);

    let request = shop.request(operator, "postgres.lock_user", &role).await;
    let drafted = operator.post("/change-requests", request).await;
    assert_eq!(
        drafted.header("location"),
        format!("/api/v1/change-requests/{}", id(&drafted.json))
    );
    let drafted = drafted.is(201);
    assert_eq!(drafted["state"], "draft");
    let change = id(&drafted);
    operator.act(&change, "submit").await.refused(409, "change.plan_missing");

    let planned = operator.act(&change, "plan").await.is(200);
    let diff = &planned["plan"]["diff"];
    assert_eq!(diff.as_array().unwrap().len(), 1, "{diff}");
    let line = json!({ "target": role, "field": "login", "before": "LOGIN", "after": "NOLOGIN" });
    assert_eq!(diff[0], line);
    assert_eq!(planned["plan"]["reversible"], true);
    assert_eq!(planned["plan"]["steps"].as_array().unwrap().len(), 1);
    assert!(shop.lets_in(&role, &role).await, "a plan changes nothing");

    let submitted = operator.act(&change, "submit").await.is(200);
    assert_eq!(submitted["state"], "submitted");
    assert_eq!(submitted["approvals_needed"], 1);
    assert!(submitted["risk"]["score"].as_u64().unwrap() >= 4);
    assert!(!text(&submitted["waiting_for"]).is_empty());
    let digest = &submitted["plan"]["digest"];
    operator.act(&change, "execute").await.refused(409, "change.quorum_missing");
    operator.approve(&change, digest).await.refused(403, "change.own_approval");
    approver.approve(&change, &json!("00")).await.refused(409, "change.stale_digest");
    let inbox = items(&approver.get("/approvals/inbox").await.is(200));
    assert_eq!(inbox[0]["change"]["id"], change);
    assert_eq!(inbox[0]["may_approve"], true);
    let own = items(&operator.get("/approvals/inbox").await.is(200));
    assert_eq!(own[0]["code"], "change.own_approval");

    let approved = approver.approve(&change, digest).await.is(200);
    assert_eq!(approved["state"], "approved");
    assert_eq!(approved["approvals"][0]["by"], approver.id);
    assert_eq!(approved["approvals"][0]["digest"], *digest);
    approver.act(&change, "execute").await.refused(403, "access.denied");

    let complete = operator.executed(&change).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert_eq!(complete["run"]["steps"][0]["state"], "verified");
    assert!(!shop.lets_in(&role, &role).await);

    let rollback = stage.rolled_back(&change).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert_eq!(rollback["rollback_of"], change);
    let undone = operator.change(&change).await;
    assert_eq!(undone["state"], "rolled_back");
    assert_eq!(undone["rolled_back_by"], rollback["id"]);
    assert!(shop.lets_in(&role, &role).await);

    every_transition_is_in_the_audit_view(&stage, &change).await;
}

async fn every_transition_is_in_the_audit_view(stage: &Stage, change: &str) {
    let auditor = stage.server.person("aude", &["auditor"]).await;
    let path = format!("/audit?change_request_id={change}&limit=200");
    let mut events = items(&auditor.get(&path).await.is(200));
    events.reverse();
    let (operator, approver) = (&stage.operator.id, &stage.approver.id);
    let nil = uuid::Uuid::nil().to_string();
    let expected = [
        ("change.drafted", operator),
        ("change.planned", operator),
        ("change.submitted", operator),
        ("change.approval_given", approver),
        ("change.approved", approver),
        ("change.execution_started", operator),
        ("run.started", &nil),
        ("run.claimed", &nil),
        ("run.step_intended", &nil),
        ("run.step_succeeded", &nil),
        ("run.step_verified", &nil),
        ("run.finished", &nil),
        ("change.completed", &nil),
        ("change.rollback_started", &nil),
        ("change.rolled_back", &nil),
    ];
    let seen: Vec<_> = events.iter().map(|e| (text(&e["type"]), text(&e["actor"]["id"]))).collect();
    let mut rest = seen.iter();
    for (kind, by) in expected {
        let found = rest.any(|(seen_kind, seen_by)| seen_kind == kind && seen_by == by);
        assert!(found, "{kind} by {by} is not there, or not in order: {seen:#?}");
    }
    let mut last = String::new();
    for event in &events {
        let at = text(&event["at"]);
        assert!(at.ends_with('Z') && at.len() == "2026-01-01T00:00:00.000000Z".len(), "{at}");
        assert!(!text(&event["summary"]).is_empty());
        last = at;
    }
    assert!(!last.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_moved_after_the_plan_is_left_alone() {
    let stage = Stage::new().await;
    let role = stage.shop.role(&stage.server, "app").await;
    let change = stage.approved("postgres.lock_user", &role).await;
    stage.shop.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    stage.operator.act(&change, "execute").await.refused(409, "change.plan_moved");
    assert_eq!(stage.operator.change(&change).await["state"], "approved");
    assert!(!stage.operator.history(&change).await.iter().any(|kind| kind.starts_with("run.")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_moved_after_the_change_blocks_its_rollback_and_says_how() {
    let stage = Stage::new().await;
    let role = stage.shop.role(&stage.server, "app").await;
    let complete = stage.complete("postgres.rotate_user_password", &role).await;
    let change = id(&complete);
    stage.shop.sql(&format!("ALTER ROLE {role} PASSWORD 'of somebody else'")).await;

    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    let digest = &rollback["plan"]["digest"];
    stage.approver.approve(&id(&rollback), digest).await.is(200);
    let blocked = stage.operator.executed(&id(&rollback)).await;
    assert_eq!(blocked["state"], "rollback_blocked", "{blocked:#}");
    let step = &blocked["run"]["steps"][0];
    assert_eq!(step["state"], "blocked");
    for side in ["before", "after", "now"] {
        assert!(!step[side].as_array().unwrap().is_empty(), "{side}: {step:#}");
    }
    assert_eq!(stage.operator.undone(&change).await["state"], "rollback_blocked");
    assert!(stage.shop.lets_in(&role, "of somebody else").await, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_handed_over_once_and_to_the_requester_only() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver } = &stage;
    let role = shop.role(server, "app").await;
    let complete = stage.complete("postgres.rotate_user_password", &role).await;
    assert!(!shop.lets_in(&role, &role).await, "the old password is void");
    let secret = &complete["secrets"][0];
    assert_eq!(secret["revealed"], false, "{complete:#}");
    let path = format!("/secrets/{}/reveal", id(secret));
    approver.post(&path, json!({})).await.refused(403, "access.denied");
    server.admin.post(&path, json!({})).await.refused(403, "access.denied");
    let revealed = operator.post(&path, json!({})).await;
    assert!(!revealed.header("x-position").is_empty());
    let value = text(&revealed.is(200)["value"]);
    assert!(shop.lets_in(&role, &value).await);
    operator.post(&path, json!({})).await.refused(409, "secret.already_revealed");
    let history = operator.history(&id(&complete)).await;
    assert_eq!(history.last().unwrap(), "change.secret_revealed");

    operator.change(&id(&complete)).await;
    nothing_leaked(server, &[&value, shop.target.password()]).await;

    let rollback = stage.rolled_back(&id(&complete)).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert!(shop.lets_in(&role, &role).await, "the old password is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_happens_once() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let role = shop.role(server, "app").await;
    let request = shop.request(operator, "postgres.lock_user", &role).await;
    let send = async |body: &Value| {
        let post = operator.request(Method::POST, "/change-requests");
        operator.send(post.header("idempotency-key", "one").json(body)).await
    };
    let first = send(&request).await;
    let again = send(&request).await;
    assert_eq!(first.json, again.json);
    assert_eq!((first.status, again.status), (201, 201));
    for header in ["etag", "x-position", "location"] {
        assert_eq!(first.header(header), again.header(header));
    }
    let mut other = request.clone();
    other["title"] = "Another".into();
    send(&other).await.refused(409, "idempotency.key_reused");
    assert_eq!(items(&operator.get("/change-requests").await.is(200)).len(), 1);

    // At the same moment, too.
    let send_two = async || {
        let post = operator.request(Method::POST, "/change-requests");
        operator.send(post.header("idempotency-key", "two").json(&request)).await.is(201)
    };
    let answers = tokio::join!(send_two(), send_two(), send_two(), send_two());
    let ids = [&answers.0, &answers.1, &answers.2, &answers.3].map(id);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(items(&operator.get("/change-requests").await.is(200)).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_edits_an_old_version_hears_of_it() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let role = shop.role(server, "app").await;
    let request = shop.request(operator, "postgres.lock_user", &role).await;
    let drafted = operator.post("/change-requests", request).await;
    let (etag, change) = (drafted.header("etag").to_owned(), id(&drafted.json));
    let path = format!("/change-requests/{change}");
    let edit = async |title: &str| {
        let patch = operator.request(Method::PATCH, &path).header("if-match", &etag);
        operator.send(patch.json(&json!({ "title": title }))).await
    };
    let edited = edit("First").await;
    assert_eq!(edited.json["title"], "First");
    edit("Second").await.refused(412, "conflict.version");
    assert_eq!(operator.change(&change).await["title"], "First");

    // A read that wants the edit has it, and says of which position it is.
    let position: u64 = edited.header("x-position").parse().unwrap();
    let get = operator.request(Method::GET, &path).header("x-min-position", position);
    let read = operator.send(get).await;
    assert_eq!(read.json["title"], "First");
    assert!(read.header("x-position").parse::<u64>().unwrap() >= position);
    // And as of before the edit, it is as it was then.
    let before = operator.get(&format!("{path}?at={}", position - 1)).await.is(200);
    assert_ne!(before["title"], "First");
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_of_one_plan_and_survive_a_restart() {
    let mut stage = Stage::new().await;
    let role = stage.shop.role(&stage.server, "app").await;
    let submitted = stage.submitted("postgres.lock_user", &role).await;
    let change = id(&submitted);
    let old = &submitted["plan"]["digest"];
    stage.approver.approve(&change, old).await.is(200);
    // Another plan of the same change: the approval does not count for it.
    let path = format!("/change-requests/{change}");
    let body = json!({ "reason": "Its owner has left, and the audit asks for it." });
    stage.operator.patch(&path, body).await.is(200);
    stage.shop.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    stage.operator.act(&change, "plan").await;
    stage.shop.sql(&format!("ALTER ROLE {role} LOGIN")).await;
    stage.operator.act(&change, "plan").await.is(200);
    let again = stage.operator.act(&change, "submit").await;
    assert!(again.status == 200 || again.status == 409, "{:#}", again.json);
    let now = stage.operator.change(&change).await;
    if now["state"] == "submitted" && now["plan"]["digest"] != *old {
        stage.approver.approve(&change, old).await.refused(409, "change.stale_digest");
    }
    if now["state"] == "submitted" {
        stage.approver.approve(&change, &now["plan"]["digest"]).await.is(200);
    }
    stage.server.restart().await;
    let done = stage.operator.executed(&change).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    assert!(!stage.shop.lets_in(&role, &role).await);
}
