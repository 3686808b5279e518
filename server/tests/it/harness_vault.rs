//! A real OpenBao server that is managed through a connection.

use nexplane_peers::openbao::OpenBao;
use serde_json::{Value, json};

use crate::harness::{Client, Server, id, items, text};

/// An OpenBao server, connected as an AppRole with the policy that the connector's page gives.
pub struct Safe {
    pub bao: OpenBao,
    pub connection: String,
    pub secret_id: String,
}

impl Safe {
    pub async fn connect(server: &Server, environment: &str) -> Self {
        let bao = OpenBao::start().await.expect("OpenBao: run ./setup");
        let page = include_str!("../../../docs/connectors/vault.md");
        let policy = page.split_once("```hcl\n").unwrap().1.split_once("```").unwrap().0;
        let call = async |method: &str, path: &str, body: Value| {
            bao.api(method, path, Some(&body)).await.unwrap()
        };
        call("POST", "sys/policies/acl/nexplane", json!({ "policy": policy })).await;
        let role =
            json!({ "token_policies": "nexplane", "token_type": "batch", "token_ttl": "15m" });
        call("POST", "auth/approle/role/nexplane", role).await;
        let made = call("POST", "auth/approle/role/nexplane/secret-id", json!({})).await;
        let role = bao.api("GET", "auth/approle/role/nexplane/role-id", None).await.unwrap();
        let secret_id = text(&made["data"]["secret_id"]);
        let body = json!({
            "name": "safe",
            "type": "vault",
            "environment": environment,
            "credentials": {
                "address": format!("https://{}:{}", bao.host(), bao.port()),
                "role_id": role["data"]["role_id"],
                "secret_id": secret_id,
                "ca_certificate": bao.ca_pem(),
            },
        });
        let added = server.admin.post("/connections", body).await.is(201);
        Self { bao, connection: text(&added["id"]), secret_id }
    }

    pub async fn discover(&self, server: &Server) {
        let path = format!("/connections/{}/discover", self.connection);
        server.admin.post(&path, json!({})).await.is(200);
    }

    /// What somebody does to the server behind our back.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.bao.api(method, path, Some(body)).await.unwrap()
    }

    /// What is there, deleted or not.
    pub async fn get(&self, path: &str) -> Value {
        self.bao.api_as(self.bao.root_token(), "GET", path, None).await.unwrap().1["data"].clone()
    }

    pub async fn put(&self, path: &str, data: Value) {
        self.call("POST", &format!("secret/data/{path}"), &json!({ "data": data })).await;
    }

    /// The body of a request for a change of the asset with this name.
    pub async fn request(
        &self,
        client: &Client,
        action: &str,
        (kind, name): (&str, &str),
        parameters: Value,
    ) -> Value {
        let path = format!("/assets?connection={}&type={kind}", self.connection);
        let found = items(&client.get(&path).await.is(200));
        let asset = found.iter().find(|asset| asset["name"] == name);
        json!({
            "title": format!("{action} of {name}"),
            "reason": "It was seen where it should not be.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [id(asset.unwrap_or_else(|| panic!("no {name}: {found:#?}")))],
            "parameters": parameters,
        })
    }
}
