//! The story of a leaked secret and a stolen token, on a real OpenBao.

use serde_json::{Value, json};

use crate::harness::{Client, Server, id, text};
use crate::harness_vault::Safe;
use crate::leak::nothing_leaked;

const OLD: &str = "of-old-correct-horse";

struct Stage {
    server: Server,
    safe: Safe,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let safe = Safe::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { server, safe, operator, approvers }
    }

    /// Approves, by as many as the risk needs, and executes; the change when it is over.
    async fn done(&self, submitted: &Value) -> Value {
        let mut now = submitted.clone();
        for approver in &self.approvers {
            if now["state"] == "submitted" {
                let digest = &submitted["plan"]["digest"];
                now = approver.approve(&id(submitted), digest).await.is(200);
            }
        }
        self.operator.executed(&id(submitted)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_secret_is_rotated_handed_over_once_and_put_back() {
    let stage = Stage::new().await;
    let Stage { server, safe, operator, .. } = &stage;
    safe.put("app/db", json!({ "password": OLD, "user": "app" })).await;
    // The policy of the page is about a database secrets engine, too.
    safe.call("POST", "sys/mounts/database", &json!({ "type": "database" })).await;
    let path = format!("/connections/{}/test", safe.connection);
    let tested = server.admin.post(&path, json!({})).await.is(200);
    assert_eq!(tested["ok"], true, "{tested:#}");
    safe.discover(server).await;

    let secret = ("vault_kv_path", "secret/app/db");
    let keys = json!({ "keys": ["password"] });
    let request = safe.request(operator, "vault.rotate_kv_secret", secret, keys).await;
    let submitted = operator.submitted(request).await;
    assert_eq!(submitted["plan"]["reversible"], true);
    assert_eq!(submitted["plan"]["diff"][0]["field"], "password", "{submitted:#}");
    assert_eq!(
        safe.get("secret/data/app/db").await["data"]["password"],
        OLD,
        "a plan does nothing"
    );
    let complete = stage.done(&submitted).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");

    let handed = &complete["secrets"][0];
    let reveal = format!("/secrets/{}/reveal", id(handed));
    server.admin.post(&reveal, json!({})).await.refused(403, "access.denied");
    let revealed = text(&operator.post(&reveal, json!({})).await.is(200)["value"]);
    operator.post(&reveal, json!({})).await.refused(409, "secret.already_revealed");
    let values: Value = serde_json::from_str(&revealed).unwrap();
    let new = text(&values["password"]);
    let now = safe.get("secret/data/app/db").await;
    assert_eq!(now["data"], json!({ "password": new, "user": "app" }));
    assert_eq!(now["metadata"]["version"], 2);

    let rollback = operator.act(&id(&complete), "rollback").await.is(201);
    let back = stage.done(&rollback).await;
    assert_eq!(back["state"], "complete", "{back:#}");
    assert_eq!(operator.undone(&id(&complete)).await["state"], "rolled_back");
    let now = safe.get("secret/data/app/db").await;
    assert_eq!(now["data"], json!({ "password": OLD, "user": "app" }));
    assert_eq!(now["metadata"]["version"], 3);

    // Neither value, nor what the connection logs in with, is in anything that is kept or shown.
    nothing_leaked(server, &[OLD, &new, &safe.secret_id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_moved_is_left_alone() {
    let stage = Stage::new().await;
    let Stage { server, safe, operator, approvers } = &stage;
    safe.put("app/db", json!({ "password": OLD })).await;
    safe.discover(server).await;
    let secret = ("vault_kv_path", "secret/app/db");
    let keys = json!({ "keys": ["password"] });
    let request = safe.request(operator, "vault.rotate_kv_secret", secret, keys).await;
    let submitted = operator.submitted(request).await;
    for approver in approvers {
        if operator.change(&id(&submitted)).await["state"] == "submitted" {
            approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }
    safe.put("app/db", json!({ "password": "of somebody else" })).await;
    operator.act(&id(&submitted), "execute").await.refused(409, "change.plan_moved");
    let now = safe.get("secret/data/app/db").await;
    assert_eq!(now["data"]["password"], "of somebody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_revoked_for_good() {
    let stage = Stage::new().await;
    let Stage { server, safe, operator, .. } = &stage;
    let body = json!({ "policies": ["default"], "ttl": "1h", "display_name": "app" });
    let made = safe.call("POST", "auth/token/create", &body).await;
    let stolen = text(&made["auth"]["client_token"]);
    let lives = async || {
        safe.bao.api_as(&stolen, "GET", "auth/token/lookup-self", None).await.unwrap().0 == 200
    };
    safe.discover(server).await;
    let parameters = json!({ "accessor": made["auth"]["accessor"] });
    let method = ("vault_auth_method", "token");
    let request = safe.request(operator, "vault.revoke_token", method, parameters).await;
    let submitted = operator.submitted(request).await;
    assert_eq!(submitted["plan"]["reversible"], false, "{submitted:#}");
    assert!(lives().await);
    let complete = stage.done(&submitted).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert!(!lives().await);
    operator.act(&id(&complete), "rollback").await.refused(422, "change.one_way");
}
