//! Projects: their order is a gate, they go on by themselves, and they stop where a member does.

mod back;

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, eventually, id, items, text};

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

    /// A submitted change of each role.
    async fn locks(&self, roles: &[String]) -> Vec<Value> {
        let mut changes = Vec::new();
        for role in roles {
            let request = self.shop.request(&self.operator, "postgres.lock_user", role).await;
            changes.push(self.operator.submitted(request).await);
        }
        changes
    }

    async fn approve(&self, change: &Value) {
        self.approver.approve(&id(change), &change["plan"]["digest"]).await.is(200);
    }

    async fn project(&self, name: &str) -> String {
        let body = json!({ "name": name, "description": "In order." });
        id(&self.operator.post("/projects", body).await.is(201))
    }

    async fn add(&self, project: &str, change: &Value, after: &[&Value]) -> Value {
        let after: Vec<_> = after.iter().map(|change| id(change)).collect();
        let body = json!({ "change": change["id"], "after": after });
        self.operator.post(&format!("/projects/{project}/members"), body).await.is(200)
    }

    async fn ask(&self, project: &str) -> Value {
        self.operator.post(&format!("/projects/{project}/execute"), json!({})).await.is(200)
    }

    async fn show(&self, project: &str) -> Value {
        self.operator.get(&format!("/projects/{project}")).await.is(200)
    }

    async fn until(&self, project: &str, state: &str) -> Value {
        eventually(state, async || {
            let view = self.show(project).await;
            (view["state"] == state).then_some(view)
        })
        .await
    }

    /// Where in the log this happened to the change.
    async fn position(&self, change: &Value, kind: &str) -> u64 {
        let path = format!("/change-requests/{}/events?limit=200", id(change));
        let events = items(&self.operator.get(&path).await.is(200));
        let event = events.iter().find(|event| event["type"] == kind);
        event.unwrap_or_else(|| panic!("{kind}: {events:#?}"))["position"].as_u64().unwrap()
    }
}

fn number(change: &Value) -> String {
    format!("#{}", change["number"])
}

#[tokio::test(flavor = "multi_thread")]
async fn members_run_in_their_order_whoever_asks_and_go_on_by_themselves() {
    let mut stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c", "d"]).await;
    let changes = stage.locks(&roles).await;
    let [a, b, c, d] = &changes[..] else { unreachable!() };
    let project = stage.project("Leavers").await;
    stage.add(&project, a, &[]).await;
    stage.add(&project, b, &[a]).await;
    stage.add(&project, c, &[a]).await;
    let view = stage.add(&project, d, &[b, c]).await;
    assert_eq!((view["state"].as_str(), items_of(&view).len()), (Some("open"), 4), "{view:#}");

    // The order has no circle, and no change two orders.
    let path = |verb: &str| format!("/projects/{project}/{verb}");
    let circle = json!({ "change": a["id"], "after": [d["id"]] });
    let refused = stage.operator.post(&path("dependencies"), circle).await;
    let refused = refused.refused(409, "project.cycle");
    let detail = text(&refused["detail"]);
    assert!(detail.contains(&number(a)) && detail.contains(&number(d)), "{detail}");
    let other = stage.project("Others").await;
    let body = json!({ "change": a["id"] });
    let taken = stage.operator.post(&format!("/projects/{other}/members"), body.clone()).await;
    taken.refused(409, "change.in_other_project");
    let needed = stage.operator.post(&path("remove-member"), body.clone()).await;
    needed.refused(409, "project.member_needed");

    // All but the last are approved. Nobody starts one before the other.
    for change in [a, b, c] {
        stage.approve(change).await;
    }
    let refused = stage.operator.act(&id(b), "execute").await;
    let refused = refused.refused(409, "change.dependency_missing");
    assert!(text(&refused["detail"]).contains(&number(a)), "{refused:#}");
    assert_eq!(refused["blocking"], json!([a["id"]]));
    let waiting = stage.operator.change(&id(b)).await;
    assert!(text(&waiting["waiting_for"]).contains(&number(a)), "{waiting:#}");
    assert_eq!(waiting["project"], json!(project));

    let view = stage.ask(&project).await;
    assert_eq!((&view["state"], &view["asked_by"]), (&json!("running"), &json!(stage.operator.id)));
    let add = json!({ "change": d["id"] });
    stage.operator.post(&path("remove-member"), add).await.refused(409, "project.not_in_state");
    let waits = eventually("three are complete", async || {
        let view = stage.show(&project).await;
        let done = items_of(&view).iter().filter(|m| m["state"] == "complete").count();
        (done == 3).then_some(view)
    })
    .await;
    assert_eq!(waits["state"], "running");
    let sentence = text(&waits["waiting_for"]);
    assert!(sentence.contains(&format!("{} (submitted)", number(d))), "{sentence}");

    // It is not forgotten, and goes on when somebody approves.
    stage.server.restart().await;
    stage.approve(d).await;
    stage.until(&project, "complete").await;
    let started = async |change| stage.position(change, "change.execution_started").await;
    let completed = async |change| stage.position(change, "change.completed").await;
    for (before, after) in [(a, b), (a, c), (b, d), (c, d)] {
        assert!(completed(before).await < started(after).await);
    }
    for role in &roles {
        assert!(!stage.shop.lets_in(role, role).await, "{role}");
    }
    stage.operator.post(&path("execute"), json!({})).await.refused(409, "project.not_in_state");

    // Once it is closed its members may be of another one.
    let close = json!({ "reason": "They have left." });
    stage.operator.post(&path("close"), close).await.is(200);
    let joined = stage.operator.post(&format!("/projects/{other}/members"), body).await.is(200);
    assert_eq!(items_of(&joined).len(), 1, "{joined:#}");
    let page = stage.operator.get("/projects?state=closed").await.is(200);
    assert_eq!(items(&page).len(), 1, "{page:#}");
}

fn items_of(view: &Value) -> &Vec<Value> {
    view["members"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_stops_where_a_member_does_and_goes_on_when_somebody_asks_again() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["a", "b", "c"]).await;
    let changes = stage.locks(&roles).await;
    let [a, b, c] = &changes[..] else { unreachable!() };
    for change in [a, b] {
        stage.approve(change).await;
    }
    let project = stage.project("Leavers").await;
    stage.add(&project, a, &[]).await;
    stage.add(&project, b, &[a]).await;

    // Somebody else changes the first target.
    shop.sql(&format!("ALTER ROLE {} NOLOGIN", roles[0])).await;
    stage.ask(&project).await;
    let blocked = stage.until(&project, "blocked").await;
    assert_eq!(blocked["blocked"]["change"], a["id"], "{blocked:#}");
    let sentence = text(&blocked["waiting_for"]);
    assert!(sentence.contains(&number(a)) && sentence.contains("not what it was"), "{sentence}");
    assert!(shop.lets_in(&roles[1], &roles[1]).await, "what comes after it is not touched");
    operator.act(&id(b), "execute").await.refused(409, "change.dependency_missing");

    // Put back as it was approved, it goes on; until the next one is frozen.
    shop.sql(&format!("ALTER ROLE {} LOGIN", roles[0])).await;
    let now = jiff::Timestamp::now();
    let tags = json!({ "tags": ["quiet"] });
    let asset = shop.asset(operator, &roles[1]).await;
    operator.patch(&format!("/assets/{}", id(&asset)), tags).await.is(200);
    let freeze = json!({
        "scope": { "kind": "tag", "tag": "quiet" },
        "start": format!("{now:.6}"),
        "end": format!("{:.6}", now + jiff::SignedDuration::from_hours(1)),
        "reason": "stocktaking",
    });
    let freeze = id(&server.admin.post("/freeze-windows", freeze).await.is(201));
    stage.ask(&project).await;
    let frozen = stage.until(&project, "blocked").await;
    assert_eq!(frozen["blocked"]["change"], b["id"], "{frozen:#}");
    assert!(text(&frozen["blocked"]["reason"]).contains("stocktaking"), "{frozen:#}");
    let path = format!("/freeze-windows/{freeze}/end");
    server.admin.post(&path, json!({ "reason": "done" })).await.is(200);
    stage.ask(&project).await;
    stage.until(&project, "complete").await;

    // In the name of somebody who may not any more, nothing starts.
    let eve = server.person("eve", &["operator"]).await;
    stage.add(&project, c, &[a, b]).await;
    let running = eve.post(&format!("/projects/{project}/execute"), json!({})).await.is(200);
    assert_eq!(running["asked_by"], json!(eve.id));
    let edit = json!({ "roles": ["viewer", "approver"] });
    server.admin.patch(&format!("/users/{}", eve.id), edit).await.is(200);
    stage.approve(c).await;
    let denied = stage.until(&project, "blocked").await;
    assert!(text(&denied["blocked"]["reason"]).contains("operator role"), "{denied:#}");
    assert!(shop.lets_in(&roles[2], &roles[2]).await);
    // A member that was given up stops it, too; without it there is nothing left to do.
    operator
        .post(&format!("/change-requests/{}/cancel", id(c)), json!({ "reason": "No." }))
        .await
        .is(200);
    stage.ask(&project).await;
    let stopped = stage.until(&project, "blocked").await;
    assert!(text(&stopped["blocked"]["reason"]).contains("cancelled"), "{stopped:#}");
    let remove = json!({ "change": c["id"] });
    let path = format!("/projects/{project}/remove-member");
    let removed = operator.post(&path, remove).await.is(200);
    assert_eq!(removed["state"], "open", "{removed:#}");
    stage.ask(&project).await;
    stage.until(&project, "complete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_who_are_signed_in_order_changes() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["a"]).await;
    let changes = stage.locks(&roles).await;
    let project = stage.project("Leavers").await;
    let token = operator.post("/tokens", json!({ "name": "ci", "kind": "machine" })).await.is(201);
    let machine = operator.with_token(&text(&token["token"]));
    let viewer = server.person("vera", &["viewer", "approver", "admin"]).await;
    for client in [&machine, &viewer] {
        let name = json!({ "name": "Mine" });
        client.post("/projects", name).await.refused(403, "access.denied");
        let path = |verb: &str| format!("/projects/{project}/{verb}");
        let body = json!({ "change": changes[0]["id"] });
        client.post(&path("members"), body).await.refused(403, "access.denied");
        client.post(&path("execute"), json!({})).await.refused(403, "access.denied");
        let body = json!({ "reason": "No." });
        client.post(&path("close"), body).await.refused(403, "access.denied");
    }
    // Refused before the change joined anything.
    assert!(operator.change(&id(&changes[0])).await["project"].is_null());
    let empty = operator.post(&format!("/projects/{project}/execute"), json!({})).await;
    empty.refused(409, "project.empty");
    let unknown = json!({ "change": project });
    let path = format!("/projects/{project}/members");
    operator.post(&path, unknown).await.refused(404, "not_found");
    operator.post("/projects", json!({ "name": " " })).await.refused(422, "validation.failed");
}

/// The start of an execution is guarded by the project, and joining by the other project.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_the_same_moment_one_comes_first() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let other = server.person("otto", &["operator"]).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let roles = shop.roles(server, &names).await;
    let changes = stage.locks(&roles).await;
    for (round, pair) in changes.chunks(2).enumerate() {
        let [first, second] = pair else { unreachable!() };
        stage.approve(second).await;
        let project = stage.project(&format!("Round {round}")).await;
        let rival = stage.project(&format!("Rival {round}")).await;
        // Both want the second as a member.
        let body = json!({ "change": second["id"] });
        let (one, two) =
            (format!("/projects/{project}/members"), format!("/projects/{rival}/members"));
        let (one, two) = tokio::join!(operator.post(&one, body.clone()), other.post(&two, body));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
        let owner = if one.status == 200 { &project } else { &rival };
        eventually("the change says which one it joined last", async || {
            let view = operator.change(&id(second)).await;
            (view["project"] == json!(owner)).then_some(())
        })
        .await;
        stage.add(owner, first, &[]).await;

        // One starts it while the other says that it comes after the first.
        let order = json!({ "change": second["id"], "after": [first["id"]] });
        let path = format!("/projects/{owner}/dependencies");
        let change = id(second);
        let (ordered, started) =
            tokio::join!(other.post(&path, order), operator.act(&change, "execute"));
        let ordered: u64 = {
            let position = ordered.header("x-position").parse().unwrap();
            ordered.is(200);
            position
        };
        if started.status == 200 {
            operator.settled(&change).await;
            assert!(stage.position(second, "change.execution_started").await < ordered);
        } else {
            started.refused(409, "change.dependency_missing");
            let role = &roles[2 * round + 1];
            assert!(shop.lets_in(role, role).await);
        }
    }
}
