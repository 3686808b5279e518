//! An OpenBao server for one test: the connector on one side, root's own look at the server on the other, by
//! another client and without TLS.

use nexplane_connectors::sdk::AnySession;
use nexplane_core::plan::TargetRef;
use nexplane_peers::openbao::OpenBao;
use nexplane_store::testing::TargetServer;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::fixture::{context, open, registry, target};
use crate::suite::{Account, Case, Login, Peer};

/// In the secret of every case; must never be said.
pub const OLD: &str = "of-old-correct-horse";
const SECRET_ID: &str = "the-secret-id-of-the-account";
pub const POLICY: &str =
    "\n  # as somebody wrote it\npath \"secret/data/app/*\" { capabilities = [\"read\"] }\n\n";

pub struct Bench {
    pub bao: OpenBao,
    /// The database of static roles, where a test has one.
    pub database: OnceCell<TargetServer>,
    /// Of the case, where it is about a token.
    accessor: OnceCell<String>,
    weak: String,
}

/// The policy that the page of the connector gives, word for word.
pub fn documented_policy() -> &'static str {
    let page = include_str!("../../../../docs/connectors/vault.md");
    let policy = &registry().connector("vault").unwrap().spec().least_privilege;
    assert!(page.contains(policy), "the page has another policy than the catalog");
    policy
}

impl Bench {
    pub async fn new() -> Self {
        let bao = OpenBao::start().await.expect("OpenBao: run ./setup");
        let weak = bao.token(&["default"], "1h").await.unwrap();
        Self { bao, database: OnceCell::new(), accessor: OnceCell::new(), weak }
    }

    /// Credentials of root.
    pub fn credentials(&self) -> Value {
        self.credentials_of(self.bao.root_token())
    }

    pub fn credentials_of(&self, token: &str) -> Value {
        json!({
            "address": format!("https://{}:{}", self.bao.host(), self.bao.port()),
            "token": token,
            "ca_certificate": self.bao.ca_pem(),
        })
    }

    /// Credentials of an AppRole with the documented policy and batch tokens.
    pub async fn app_role(&self) -> Value {
        let policy = json!({ "policy": documented_policy() });
        self.call("POST", "sys/policies/acl/nexplane", &policy).await;
        let role =
            json!({ "token_policies": "nexplane", "token_type": "batch", "token_ttl": "15m" });
        self.call("POST", "auth/approle/role/nexplane", &role).await;
        let role = self.get("auth/approle/role/nexplane/role-id").await;
        let secret = json!({ "secret_id": SECRET_ID });
        self.call("POST", "auth/approle/role/nexplane/custom-secret-id", &secret).await;
        json!({
            "address": format!("https://{}:{}", self.bao.host(), self.bao.port()),
            "role_id": role["data"]["role_id"],
            "secret_id": SECRET_ID,
            "ca_certificate": self.bao.ca_pem(),
        })
    }

    pub async fn session(&self) -> Box<dyn AnySession> {
        open("vault", self.credentials(), &context()).await.expect("root can connect")
    }

    /// Calls the API as root, behind the connector's back.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.bao.api(method, path, Some(body)).await.unwrap()
    }

    /// What is there, deleted or not.
    pub async fn get(&self, path: &str) -> Value {
        self.bao.api_as(self.bao.root_token(), "GET", path, None).await.unwrap().1
    }

    pub async fn list(&self, path: &str) -> Vec<String> {
        let found = self.bao.api_as(self.bao.root_token(), "LIST", path, None).await.unwrap().1;
        let keys = found["data"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// What the current version of a secret holds.
    pub async fn witness_data(&self, path: &str) -> Value {
        self.get(&format!("secret/data/{path}")).await["data"]["data"].clone()
    }

    /// A new version of a secret; its number.
    pub async fn put(&self, path: &str, data: Value) -> u64 {
        let path = format!("secret/data/{}", path.replace(' ', "%20"));
        let written = self.call("POST", &path, &json!({ "data": data })).await;
        written["data"]["version"].as_u64().unwrap()
    }

    /// A token of an ordinary user, and its accessor.
    pub async fn user_token(&self) -> (String, String) {
        let body = json!({ "policies": ["default"], "ttl": "1h", "display_name": "app" });
        let made = self.call("POST", "auth/token/create", &body).await;
        let text = |name: &str| made["auth"][name].as_str().unwrap().to_owned();
        (text("client_token"), text("accessor"))
    }

    /// A static role of a real PostgreSQL, at `database/app`.
    pub async fn static_role(&self) -> TargetServer {
        let server = TargetServer::new().await;
        let user = server.role("app");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE ROLE {user} LOGIN PASSWORD '{OLD}'")))
            .execute(&mut server.admin().await)
            .await
            .unwrap();
        let ca = self.bao.folder().join("postgres-ca.pem");
        std::fs::write(&ca, server.ca_pem()).unwrap();
        self.call("POST", "sys/mounts/database", &json!({ "type": "database" })).await;
        let url = format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@{}:{}/{}?sslmode=verify-full&sslrootcert={}",
            server.host(),
            server.port(),
            server.database(),
            ca.display()
        );
        let config = json!({
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "*",
            "connection_url": url,
            "username": server.username(),
            "password": server.password(),
        });
        self.call("POST", "database/config/shop", &config).await;
        let role = json!({ "db_name": "shop", "username": user, "rotation_period": "24h" });
        self.call("POST", "database/static-roles/app", &role).await;
        server
    }
}

pub fn secret_target(path: &str) -> TargetRef {
    target("vault_kv_path", &format!("secret/secret/{path}"), &format!("secret/{path}"))
}

pub fn policy_target(name: &str) -> TargetRef {
    target("vault_policy", &format!("policy/{name}"), name)
}

pub fn auth_target(path: &str) -> TargetRef {
    target("vault_auth_method", &format!("auth/{path}"), path)
}

fn case(target: TargetRef, parameters: Value, disturbance: &str, never: Vec<TargetRef>) -> Case {
    let disturbance = disturbance.to_owned();
    Case { target, parameters, disturbance, never, in_parts: false }
}

impl Peer for Bench {
    const CONNECTOR: &'static str = "vault";
    const WHAT_TO_DO: &'static str = "add to the connection's policy: path \"";

    async fn start() -> Self {
        Self::new().await
    }

    async fn login(&self, account: Account) -> Login {
        let credentials = match account {
            Account::Full => self.credentials(),
            Account::Manager => self.app_role().await,
            Account::Weak => self.credentials_of(&self.weak),
        };
        Login { account, name: format!("{account:?}"), credentials }
    }

    fn address(&self) -> (String, u16) {
        (self.bao.host().to_owned(), self.bao.port())
    }

    fn moved(&self, mut credentials: Value, port: u16) -> Value {
        credentials["address"] = json!(format!("https://127.0.0.1:{port}"));
        credentials
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        credentials["token"] = json!("s.nobodyhasthistokenatall");
        credentials
    }

    async fn prepare(&self, action: &str, _: &Login) -> Case {
        match action {
            "vault.delete_kv_version" => {
                for value in [OLD, "later"] {
                    self.put("app/db 1", json!({ "password": value })).await;
                }
                let never = vec![secret_target("app/nothing")];
                let parameters = json!({ "version": 1 });
                case(secret_target("app/db 1"), parameters, "secret/destroy/app/db%201", never)
            }
            "vault.revoke_token" => {
                let (_, accessor) = self.user_token().await;
                let parameters = json!({ "accessor": accessor });
                self.accessor.set(accessor).unwrap();
                let never = ["nothing", "approle", "tok"].map(auth_target).to_vec();
                case(auth_target("token"), parameters, "auth/token/revoke-accessor", never)
            }
            "vault.rotate_database_credentials" => {
                assert!(self.database.set(self.static_role().await).is_ok());
                let role = |name: &str| {
                    target("vault_database_role", &format!("database/database/{name}"), name)
                };
                let never = vec![role("nothing")];
                case(role("app"), json!({}), "database/rotate-role/app", never)
            }
            "vault.rotate_kv_secret" => {
                let data = json!({
                    "password": OLD, "api key": OLD, "user": "of-old-user", "n": 270182.5, "big": 1e25,
                    "deep": { "b": [1, null, "<x>"], "a": OLD }, "odd": "of-old \"<&>é\u{2028}",
                });
                self.put("app/db", data).await;
                self.put("gone", json!({ "password": OLD })).await;
                self.call("POST", "secret/delete/gone", &json!({ "versions": [1] })).await;
                self.put("other keys", json!({ "user": "app" })).await;
                let parameters = json!({ "keys": ["password", "api key"] });
                let never = ["nothing", "gone", "other keys"].map(secret_target).to_vec();
                case(secret_target("app/db"), parameters, "secret/data/app/db", never)
            }
            "vault.update_policy" => {
                let body = json!({ "policy": POLICY, "cas_required": true, "cas": -1 });
                self.call("POST", "sys/policies/acl/app", &body).await;
                let parameters = json!({
                    "policy": "path \"secret/data/app/*\" { capabilities = [\"read\", \"list\"] }"
                });
                let never = ["nothing", "default", "root"].map(policy_target).to_vec();
                case(policy_target("app"), parameters, "sys/policies/acl/app", never)
            }
            other => panic!("{other} has no case: every action must have one"),
        }
    }

    async fn disturb(&self, case: &Case) {
        let body = match case.disturbance.as_str() {
            "auth/token/revoke-accessor" => case.parameters.clone(),
            "database/rotate-role/app" => json!({}),
            "secret/data/app/db" => json!({ "data": { "password": "of somebody else" } }),
            "secret/destroy/app/db%201" => json!({ "versions": [1] }),
            "sys/policies/acl/app" => {
                let version = self.get("sys/policies/acl/app").await["data"]["version"].clone();
                json!({ "policy": "path \"x\" { capabilities = [\"deny\"] }", "cas": version })
            }
            other => panic!("{other} is no disturbance"),
        };
        self.call("POST", &case.disturbance, &body).await;
    }

    /// Data, states of versions, policies, tokens and static passwords: all but what counts writes, and times.
    async fn witness(&self) -> String {
        let mut seen = Map::new();
        for path in ["app/db", "app/db%201", "gone", "other%20keys"] {
            let current = self.get(&format!("secret/data/{path}")).await;
            seen.insert(format!("data {path}"), current["data"]["data"].clone());
        }
        // Of this one no version falls off, as there are few writes.
        let metadata = self.get("secret/metadata/app/db%201").await["data"].clone();
        let first = &metadata["versions"]["1"];
        let deleted = first["deletion_time"].as_str().is_some_and(|time| !time.is_empty());
        seen.insert("first version".to_owned(), json!([deleted, first["destroyed"]]));
        for name in self.list("sys/policies/acl").await {
            let mut policy = self.get(&format!("sys/policies/acl/{name}")).await["data"].clone();
            for moving in ["version", "modified"] {
                policy.as_object_mut().map(|policy| policy.remove(moving));
            }
            seen.insert(format!("policy {name}"), policy);
        }
        if let Some(accessor) = self.accessor.get() {
            let body = json!({ "accessor": accessor });
            let root = self.bao.root_token();
            let path = "auth/token/lookup-accessor";
            let found = self.bao.api_as(root, "POST", path, Some(&body)).await.unwrap();
            seen.insert("token".to_owned(), json!(found.0));
        }
        if self.database.get().is_some() {
            let role = self.get("database/static-creds/app").await["data"].clone();
            seen.insert(
                "static".to_owned(),
                json!([role["password"], role["last_vault_rotation"]]),
            );
        }
        serde_json::to_string_pretty(&seen).unwrap()
    }

    fn secrets(&self) -> Vec<String> {
        let tokens = [self.bao.root_token().to_owned(), self.weak.clone()];
        tokens.into_iter().chain([OLD, SECRET_ID].map(str::to_owned)).collect()
    }
}
