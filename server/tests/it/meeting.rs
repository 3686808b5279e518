//! Changes that meet without a common target: they are related, everybody is told how, and they run one after
//! the other or, where the policy says so, not before the first has ended.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, eventually, id, items, text};

/// Targets of a run that takes a while.
const MANY: usize = 40;

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

    async fn discover(&self) {
        let path = format!("/connections/{}/discover", self.shop.connection);
        self.server.admin.post(&path, json!({})).await.is(200);
    }

    async fn submitted(&self, action: &str, roles: &[&str]) -> Value {
        let mut request = self.shop.request(&self.operator, action, roles[0]).await;
        for role in &roles[1..] {
            let asset = self.shop.asset(&self.operator, role).await;
            request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
        }
        self.operator.submitted(request).await
    }

    async fn approved(&self, action: &str, roles: &[&str]) -> String {
        let submitted = self.submitted(action, roles).await;
        for name in ["paul", "petra"] {
            if self.operator.change(&id(&submitted)).await["state"] == "submitted" {
                let approver = match name {
                    "paul" => self.approver.clone(),
                    name => self.server.person(name, &["approver", "admin"]).await,
                };
                approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
            }
        }
        id(&submitted)
    }
}

fn only(view: &Value) -> Value {
    let conflicts = view["conflicts"].as_array().unwrap_or_else(|| panic!("{view:#}"));
    assert_eq!(conflicts.len(), 1, "{view:#}");
    conflicts[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_related_meets_and_runs_one_after_the_other() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver } = &stage;
    let names: Vec<_> = (0..MANY).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).chain(["member", "stranger"]).collect();
    let roles = shop.roles(server, &names).await;
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let (group, member, stranger) = (roles[MANY - 1], roles[MANY], roles[MANY + 1]);
    shop.sql(&format!("GRANT {group} TO {member}, {}", roles[0])).await;
    stage.discover().await;

    let first = stage.approved("postgres.lock_user", &roles[1..MANY]).await;
    let second = stage.submitted("postgres.lock_user", &[member]).await;
    let elsewhere = stage.approved("postgres.lock_user", &[stranger]).await;
    // Both sides are told, each in its own words, and so is who approves.
    let number = |view: &Value| format!("#{}", view["number"]);
    let seen = only(&operator.change(&id(&second)).await);
    assert_eq!((id(&seen), seen["kind"].as_str()), (first.clone(), Some("related")), "{seen:#}");
    assert_eq!(seen["targets"], json!([]), "{seen:#}");
    assert_eq!(seen["via"][0]["kind"], "member_of", "{seen:#}");
    let first_view = operator.change(&first).await;
    let how =
        format!("{member} is a member of {group}, which change {} changes.", number(&first_view));
    assert_eq!(text(&seen["how"]), how);
    let back = only(&first_view);
    let how = format!("Change {} changes {member}, which is a member of {group}.", number(&second));
    assert_eq!((id(&back), text(&back["how"])), (id(&second), how));
    let inbox = items(&approver.get("/approvals/inbox").await.is(200));
    let row = inbox.iter().find(|item| item["change"]["id"] == second["id"]).unwrap();
    assert_eq!(only(&row["change"])["id"], json!(first), "{row:#}");
    assert!(operator.change(&elsewhere).await["conflicts"].is_null());
    let base = server.base.lock().unwrap().clone();
    let shown = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .args(["change", "show", &id(&second)])
        .env("NEXPLANE_SERVER", base)
        .env("NEXPLANE_TOKEN", operator.token.as_deref().unwrap())
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("is a member of"), "{shown}");

    approver.approve(&id(&second), &second["plan"]["digest"]).await.is(200);
    operator.act(&first, "execute").await.is(200);
    eventually("a step is intended", async || {
        operator.history(&first).await.iter().any(|kind| kind == "run.step_intended").then_some(())
    })
    .await;
    operator.act(&id(&second), "execute").await.is(200);
    eventually("it waits for its turn", async || {
        let view = operator.change(&id(&second)).await;
        let waits = text(&view["waiting_for"]);
        (waits.starts_with("Waits for its turn") && waits.contains(&number(&first_view)))
            .then_some(())
    })
    .await;
    let elsewhere = operator.executed(&elsewhere).await;
    let first = operator.settled(&first).await;
    let second = operator.settled(&id(&second)).await;
    for done in [&elsewhere, &first, &second] {
        assert_eq!(done["state"], "complete", "{done:#}");
    }
    let ended = text(&first["run"]["finished_at"]);
    assert!(text(&elsewhere["run"]["finished_at"]) < ended, "what is not related does not wait");
    assert!(text(&second["run"]["steps"][0]["started_at"]) > ended, "{second:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_has_the_second_one_refused() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["owner", "other"]).await;
    let [owner, other] = &roles[..] else { unreachable!() };
    shop.sql(&format!("ALTER DATABASE {} OWNER TO {owner}", shop.target.database())).await;
    stage.discover().await;
    let mut document = server.admin.get("/policies").await.is(200)["items"][0]["document"].clone();
    document["on_conflict"] = json!("refuse");
    let body = json!({ "document": document, "note": "One at a time.", "based_on": 1 });
    let published = server.admin.post("/policies", body).await.is(201);
    assert!(published["text"].to_string().contains("the second is refused"), "{published:#}");

    let first = stage.approved("postgres.lock_user", &[owner]).await;
    // On the database that the first one's target owns.
    let path = format!("/assets?connection={}&type=postgres_database", shop.connection);
    let found = items(&operator.get(&path).await.is(200));
    let database = found.iter().find(|asset| asset["name"] == shop.target.database()).unwrap();
    let mut request = shop.request(operator, "postgres.create_read_only_user", other).await;
    request["targets"] = json!([database["key"]]);
    request["parameters"] = json!({ "user": shop.target.role("reader"), "schema": "public" });
    let second = operator.submitted(request).await;
    if second["state"] == "submitted" {
        stage.approver.approve(&id(&second), &second["plan"]["digest"]).await.is(200);
    }
    let seen = only(&operator.change(&id(&second)).await);
    assert_eq!(
        (seen["kind"].as_str(), seen["via"][0]["kind"].as_str()),
        (Some("related"), Some("owns"))
    );

    let refused = operator.act(&id(&second), "execute").await.refused(409, "change.conflict");
    assert_eq!(refused["blocking"], json!([first]), "{refused:#}");
    assert!(text(&refused["detail"]).contains("owns"), "{refused:#}");
    let waiting = operator.change(&id(&second)).await;
    assert!(text(&waiting["waiting_for"]).contains("owns"), "{waiting:#}");
    let allowed = items(&json!({ "items": waiting["allowed"] }));
    let execute = allowed.iter().find(|allowed| allowed["action"] == "execute").unwrap();
    assert_eq!(execute["code"], "change.conflict", "{execute:#}");

    // The first is not held up by the second.
    assert_eq!(operator.executed(&first).await["state"], "complete");
    assert_eq!(operator.executed(&id(&second)).await["state"], "complete");
}
