//! Changes that meet: one run at a target at a time, in the order of asking, and everybody is told.

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

    /// An approved change of one or more roles.
    async fn approved(&self, action: &str, roles: &[&str]) -> String {
        let mut request = self.shop.request(&self.operator, action, roles[0]).await;
        for role in &roles[1..] {
            let asset = self.shop.asset(&self.operator, role).await;
            request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
        }
        let submitted = self.operator.submitted(request).await;
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

    async fn until_intended(&self, change: &str) {
        eventually("a step is intended", async || self.intended(change).await.then_some(())).await;
    }

    async fn intended(&self, change: &str) -> bool {
        self.operator.history(change).await.iter().any(|kind| kind == "run.step_intended")
    }

    async fn until_waiting(&self, change: &str) -> Value {
        eventually("it waits for its turn", async || {
            let view = self.operator.change(change).await;
            assert_eq!(view["state"], "executing", "{view:#}");
            text(&view["waiting_for"]).starts_with("Waits for its turn").then_some(view)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_until_no_other_is_at_its_target() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver } = &stage;
    let names: Vec<_> = (0..MANY).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).chain(["elsewhere"]).collect();
    let roles = shop.roles(server, &names).await;
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let first = stage.approved("postgres.lock_user", &roles[..MANY]).await;
    let second = stage.approved("postgres.rotate_user_password", &roles[..1]).await;
    let elsewhere = stage.approved("postgres.lock_user", &roles[MANY..]).await;

    // Requester and approver are told before anything runs.
    for (change, other) in [(&first, &second), (&second, &first)] {
        let view = operator.change(change).await;
        let conflicts = view["conflicts"].as_array().unwrap();
        assert_eq!(conflicts.len(), 1, "{view:#}");
        assert_eq!(
            (id(&conflicts[0]), &conflicts[0]["state"]),
            (other.clone(), &json!("approved"))
        );
        assert_eq!(conflicts[0]["targets"], operator.change(&second).await["targets"]);
    }
    assert!(operator.change(&elsewhere).await["conflicts"].is_null());
    let request = shop.request(operator, "postgres.lock_user", roles[0]).await;
    let third = operator.submitted(request).await;
    let inbox = items(&approver.get("/approvals/inbox").await.is(200));
    let row = inbox.iter().find(|item| item["change"]["id"] == third["id"]).unwrap();
    assert_eq!(row["change"]["conflicts"].as_array().unwrap().len(), 2, "{row:#}");

    operator.act(&first, "execute").await.is(200);
    stage.until_intended(&first).await;
    operator.act(&second, "execute").await.is(200);
    let waiting = stage.until_waiting(&second).await;
    let number = operator.change(&first).await["number"].clone();
    assert!(text(&waiting["waiting_for"]).contains(&format!("change #{number} ")), "{waiting:#}");
    // What is at other targets does not wait.
    let elsewhere = operator.executed(&elsewhere).await;
    let first = operator.settled(&first).await;
    assert_eq!(first["state"], "complete");
    let ended = |view: &Value| text(&view["run"]["finished_at"]);
    assert!(ended(&elsewhere) < ended(&first));
    let second = operator.settled(&second).await;
    assert_eq!(second["state"], "complete", "{second:#}");
    assert!(text(&second["run"]["steps"][0]["started_at"]) > ended(&first), "{second:#}");
    assert!(operator.change(&id(&first)).await["conflicts"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_come_in_the_order_of_asking_and_outlive_a_crash() {
    let mut stage = Stage::new().await;
    let names: Vec<_> = (0..MANY).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).chain(["b", "c"]).collect();
    let roles = stage.shop.roles(&stage.server, &names).await;
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let (many, b, c) = (&roles[..MANY], roles[MANY], roles[MANY + 1]);
    // Each has a target in common with the one before. The first comes to it last, so that it is unmoved
    // when the second asks.
    let first = stage.approved("postgres.lock_user", many).await;
    let second = stage.approved("postgres.lock_user", &[b, many[MANY - 1]]).await;
    let third = stage.approved("postgres.lock_user", &[c, b]).await;
    stage.operator.act(&first, "execute").await.is(200);
    for change in [&second, &third] {
        stage.operator.act(change, "execute").await.is(200);
        stage.until_waiting(change).await;
    }
    // The third waits for the second, although nobody is at either of its targets.
    assert!(!stage.intended(&third).await);
    stage.server.kill9().await;
    stage.server.up().await;
    let first = stage.operator.settled(&first).await;
    assert_eq!(first["state"], "complete", "{first:#}");
    let second = stage.operator.settled(&second).await;
    let third = stage.operator.settled(&third).await;
    let ended = |view: &Value| text(&view["run"]["finished_at"]);
    assert!(ended(&first) < ended(&second) && ended(&second) < ended(&third));
    // Nobody waits any more.
    let again = stage.approved("postgres.unlock_user", &[many[0]]).await;
    assert_eq!(stage.operator.executed(&again).await["state"], "complete");
}
