//! What reaches beyond a change: what depends on its targets, what undoing it would do, how assets differed, and
//! what was known of them before.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approvers: [Client; 2],
    role: String,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let role = shop.role(&server, "leaver").await;
        Self { server, shop, operator, approvers, role }
    }

    async fn asset(&self) -> Value {
        self.shop.asset(&self.operator, &self.role).await
    }

    async fn locked(&self) -> Value {
        let request = self.shop.request(&self.operator, "postgres.lock_user", &self.role).await;
        let submitted = self.operator.submitted(request).await;
        self.approve(&submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    /// With as many as the policy wants.
    async fn approve(&self, submitted: &Value) {
        let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
        for approver in self.approvers.iter().take(needed) {
            approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }

    async fn discover(&self) {
        let path = format!("/connections/{}/discover", self.shop.connection);
        self.server.admin.post(&path, json!({})).await.is(200);
    }

    async fn undo(&self, change: &str) -> Value {
        self.operator.get(&format!("/change-requests/{change}/undo")).await.is(200)
    }

    async fn drift(&self, query: &str) -> Value {
        let path = format!("/assets/{}/drift{query}", id(&self.asset().await));
        self.operator.get(&path).await.is(200)
    }
}

fn field(undo: &Value, name: &str) -> Value {
    let fields = undo["steps"][0]["fields"].as_array().unwrap();
    fields.iter().find(|field| field["name"] == name).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_undoing_would_do_is_known_as_far_as_it_was_read() {
    let stage = Stage::new().await;
    let done = stage.locked().await;
    let change = id(&done);

    // Nobody has looked since, and that is said.
    let undo = stage.undo(&change).await;
    assert!(text(&undo["says"]).starts_with("Nobody has read the targets since"), "{undo:#}");
    assert_eq!(undo["read_at"], Value::Null);
    let login = field(&undo, "login");
    assert_eq!((&login["before"], &login["made"]), (&json!("LOGIN"), &json!("NOLOGIN")));
    assert_eq!((&login["now"], &login["sets"]), (&Value::Null, &json!("LOGIN")));
    assert_eq!(undo["steps"][0]["undone"], true);
    assert_eq!(login["moved"], false);

    // The rollback has read it: it is as the change left it.
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    let undo = stage.undo(&change).await;
    assert_eq!(undo["rollback"], rollback["id"]);
    assert_eq!(undo["read_at"], rollback["plan"]["computed_at"]);
    let login = field(&undo, "login");
    assert_eq!((&login["now"], &login["moved"]), (&json!("NOLOGIN"), &json!(false)));

    // Somebody moved it, and the rollback is planned again.
    stage.shop.sql(&format!("ALTER ROLE \"{}\" LOGIN", stage.role)).await;
    stage.operator.act(&id(&rollback), "withdraw").await.is(200);
    stage.operator.act(&id(&rollback), "plan").await.is(200);
    let login = field(&stage.undo(&change).await, "login");
    assert_eq!((&login["now"], &login["moved"]), (&json!("LOGIN"), &json!(true)));

    // What depends on it: nothing that is known.
    let path = format!("/change-requests/{change}/blast-radius");
    let radius = stage.operator.get(&path).await.is(200);
    assert_eq!(radius["targets"][0]["id"], done["targets"][0]);
    assert_eq!((&radius["target_count"], &radius["count"]), (&json!(1), &json!(0)));
    stage.operator.get(&format!("{path}?limit=201")).await.refused(422, "validation.failed");
    let refused = stage.operator.get(&format!("{path}?cursor=x")).await;
    refused.is_problem();

    // A draft has nothing to undo.
    let request = stage.shop.request(&stage.operator, "postgres.lock_user", &stage.role).await;
    let draft = stage.operator.post("/change-requests", request).await.is(201);
    assert_eq!(stage.undo(&id(&draft)).await["steps"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_says_what_differed_and_what_was_known_of_it() {
    let stage = Stage::new().await;
    let found = stage.asset().await;
    let path = format!("/assets/{}", id(&found));

    // As it was before an operator said something of it, and before its connection was renamed.
    stage.operator.patch(&path, json!({ "owner": "payments" })).await.is(200);
    let connection = format!("/connections/{}", stage.shop.connection);
    let renamed = json!({ "name": "renamed", "environment": "prod" });
    stage.server.admin.patch(&connection, renamed).await.is(200);
    let now = stage.operator.get(&path).await.is(200);
    assert_eq!((&now["owner"], &now["environment"]), (&json!("payments"), &json!("prod")));
    let then = stage.operator.get(&format!("{path}?at={}", found["position"])).await.is(200);
    assert_eq!((&then["owner"], &then["environment"]), (&Value::Null, &json!("staging")));
    assert_eq!((&then["key"], &then["version"]), (&found["key"], &json!(1)));
    assert_ne!(then["key"], now["key"]);
    let moment = format!("{:.6}", jiff::Timestamp::now());
    let same = stage.operator.get(&format!("{path}?at={moment}")).await.is(200);
    assert_eq!((&same["owner"], &same["key"]), (&now["owner"], &now["key"]));
    stage.operator.get(&format!("{path}?at=0")).await.refused(404, "not_found");
    let past = "2020-01-01T00:00:00Z";
    stage.operator.get(&format!("{path}?at={past}")).await.refused(404, "not_found");
    stage.operator.get(&format!("{path}?at=monday")).await.refused(422, "validation.failed");

    // What we did is explained by it.
    assert_eq!(stage.drift("").await["items"], json!([]));
    let change = stage.locked().await;
    stage.discover().await;
    let [ours] = items(&stage.drift("").await).try_into().unwrap();
    assert_eq!((&ours["verdict"], &ours["kind"]), (&json!("explained"), &json!("differs")));
    assert_eq!(ours["change"]["id"], change["id"]);
    let fact = json!({ "name": "can_login", "before": true, "after": false, "verified": true });
    assert_eq!(ours["facts"], json!([fact]));

    // What somebody else did is not, and not by what we did before.
    stage.shop.sql(&format!("ALTER ROLE \"{}\" CREATEDB", stage.role)).await;
    stage.discover().await;
    let page = stage.drift("?limit=1").await;
    let [theirs] = items(&page).try_into().unwrap();
    assert_eq!((&theirs["verdict"], &theirs["change"]), (&json!("unexplained"), &Value::Null));
    assert_eq!(theirs["facts"][0]["name"], "create_db");
    assert!(text(&theirs["because"]).starts_with("No change was carried out"), "{theirs:#}");
    let rest = stage.drift(&format!("?limit=1&cursor={}", text(&page["next_cursor"]))).await;
    assert_eq!((items(&rest), &rest["next_cursor"]), (vec![ours], &Value::Null));

    // It is gone, which is nobody's doing here.
    stage.shop.sql(&format!("DROP ROLE \"{}\"", stage.role)).await;
    stage.discover().await;
    let gone = items(&stage.operator.get(&format!("{path}/drift")).await.is(200)).remove(0);
    assert_eq!((&gone["kind"], &gone["verdict"]), (&json!("gone"), &json!("unexplained")));
    stage.operator.get(&format!("{path}/drift?cursor=x")).await.is_problem();
    let nothing = "/assets/0199b0c2-7d00-7a31-8f00-1234deadbeef/drift";
    stage.operator.get(nothing).await.refused(404, "not_found");
}
