//! The story of changes on a real Redis: connect, test, discover, change, look with its own client, undo.

use std::time::Duration;

use futures_util::StreamExt as _;
use nexplane_peers::redis::{RedisServer, Setup};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Client, Server, id, items, text};
use crate::leak::nothing_leaked;

/// A Redis server that is managed through a connection.
pub struct Cache {
    pub server: RedisServer,
    pub connection: String,
}

impl Cache {
    /// Adds a connection to it, with its certificate verified where it has one.
    pub async fn connect(server: &Server, name: &str, environment: &str, setup: Setup) -> Self {
        let redis = RedisServer::start(setup).await.expect("redis-server is installed");
        let mut credentials = json!({
            "host": "127.0.0.1",
            "port": redis.port,
            "username": RedisServer::ADMIN,
            "password": redis.password,
        });
        match &redis.ca_pem {
            Some(pem) => credentials["ca_certificate"] = json!(pem),
            None => credentials["tls"] = json!(false),
        }
        let body = json!({
            "name": name,
            "type": "redis",
            "environment": environment,
            "credentials": credentials,
        });
        let added = server.admin.post("/connections", body).await.is(201);
        Self { server: redis, connection: text(&added["id"]) }
    }

    /// A user who logs in with its name as password.
    pub fn user(&self, name: &str) {
        self.run(&format!("ACL SETUSER {name} on >{name} ~app:* +get +set"));
    }

    /// What somebody does to the server behind our back.
    pub fn run(&self, words: &str) -> String {
        let words: Vec<_> = words.split(' ').collect();
        self.server.cli(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub fn lets_in(&self, user: &str, password: &str) -> bool {
        match self.server.cli_as(user, password, &["GET", "app:none"]) {
            Ok(_) => true,
            Err(error) => {
                assert!(error.contains("WRONGPASS") || error.contains("NOAUTH"), "{error}");
                false
            }
        }
    }

    pub async fn discover(&self, server: &Server) {
        let path = format!("/connections/{}/discover", self.connection);
        server.admin.post(&path, json!({})).await.is(200);
    }

    /// The asset with this name.
    pub async fn asset(&self, client: &Client, kind: &str, name: &str) -> Value {
        let path = format!("/assets?connection={}&type={kind}&limit=200", self.connection);
        let found = items(&client.get(&path).await.is(200));
        let named = found.iter().find(|asset| asset["name"] == name);
        named.unwrap_or_else(|| panic!("no {kind} {name}: {found:#?}")).clone()
    }

    /// The body of a request for a change of an asset.
    pub fn request(&self, action: &str, asset: &Value, parameters: Value) -> Value {
        json!({
            "title": format!("{action} of {}", text(&asset["name"])),
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [id(asset)],
            "parameters": parameters,
        })
    }
}

struct Stage {
    server: Server,
    cache: Cache,
    operator: Client,
    approver: Client,
    second: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let cache = Cache::connect(&server, "cache", "staging", Setup::AclFile).await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        let second = server.person("arno", &["approver"]).await;
        Self { server, cache, operator, approver, second }
    }

    /// Submitted, approved by as many as its risk needs, executed and complete.
    async fn complete(&self, request: Value) -> Value {
        self.complete_submitted(&self.operator.submitted(request).await).await
    }

    async fn complete_submitted(&self, submitted: &Value) -> Value {
        let (change, digest) = (id(submitted), &submitted["plan"]["digest"]);
        self.approver.approve(&change, digest).await.is(200);
        if submitted["approvals_needed"] == 2 {
            self.second.approve(&change, digest).await.is(200);
        }
        let done = self.operator.executed(&change).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    /// Rolled back with an approval, and complete.
    async fn roll_back(&self, change: &str) {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        let digest = &rollback["plan"]["digest"];
        self.approver.approve(&id(&rollback), digest).await.is(200);
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        assert_eq!(self.operator.undone(change).await["state"], "rolled_back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_keys_of_a_redis_are_changed_with_approvals_and_come_back() {
    let stage = Stage::new().await;
    let Stage { server, cache, operator, .. } = &stage;
    let path = format!("/connections/{}/test", cache.connection);
    let tested = server.admin.post(&path, json!({})).await.is(200);
    assert_eq!(tested["ok"], true, "{tested:#}");
    cache.user("app");
    cache.discover(server).await;
    let user = cache.asset(operator, "redis_user", "app").await;
    cache.asset(operator, "redis_instance", &format!("127.0.0.1:{}", cache.server.port)).await;

    // Locked and unlocked by the rollback, in its file, too.
    let locked = stage.complete(cache.request("redis.lock_user", &user, json!({}))).await;
    assert!(!cache.lets_in("app", "app"));
    assert!(cache.server.kept().contains("user app off"));
    stage.roll_back(&id(&locked)).await;
    assert!(cache.lets_in("app", "app") && cache.server.kept().contains("user app on"));

    // A new password is handed over once, and the rollback brings the old one back.
    let request = cache.request("redis.rotate_auth_password", &user, json!({}));
    let rotated = stage.complete(request).await;
    assert!(!cache.lets_in("app", "app"), "the old password is void");
    let secret = format!("/secrets/{}/reveal", id(&rotated["secrets"][0]));
    let value = text(&operator.post(&secret, json!({})).await.is(200)["value"]);
    assert!(cache.lets_in("app", &value));
    operator.post(&secret, json!({})).await.refused(409, "secret.already_revealed");
    operator.change(&id(&rotated)).await;
    nothing_leaked(server, &[&value, &cache.server.password]).await;
    stage.roll_back(&id(&rotated)).await;
    assert!(cache.lets_in("app", "app") && !cache.lets_in("app", &value));

    // Keys go, and there is no way back.
    cache.run("MSET app:session:1 a app:session:2 b app:kept c");
    let fill = "for i = 1, 5000 do redis.call('SET', 'app:session:' .. i, i) end";
    cache.server.cli(&["EVAL", fill, "0"]).unwrap();
    let database = cache.asset(operator, "redis_database", "db0").await;
    let parameters = json!({ "pattern": "app:session:*", "limit": 6000 });
    let request = cache.request("redis.delete_key_pattern", &database, parameters);
    let submitted = operator.submitted(request).await;
    let mut live = operator.follow(&[format!("change:{}", id(&submitted))]).await;
    let deleted = stage.complete_submitted(&submitted).await;
    assert_eq!(deleted["plan"]["reversible"], false, "{deleted:#}");
    assert_eq!(cache.run("KEYS *"), "app:kept");

    // Whoever looked on was told how far it was, and of no key.
    let progress = loop {
        let next = tokio::time::timeout(Duration::from_secs(20), live.next()).await;
        let Message::Text(text) = next.unwrap().unwrap().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["progress"].is_object() {
            break message["progress"].clone();
        }
    };
    let done = progress["done"].as_u64().unwrap();
    assert!((1..=5000).contains(&done), "{progress}");
    assert_eq!(progress, json!({ "step": 0, "done": done, "most": 5000, "unit": "keys" }));
}

/// Somebody else's password is neither overwritten by a change nor by a rollback.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_moved_after_its_rotation_is_left_alone() {
    let stage = Stage::new().await;
    let Stage { server, cache, operator, approver, .. } = &stage;
    cache.user("app");
    cache.discover(server).await;
    let user = cache.asset(operator, "redis_user", "app").await;
    let request = cache.request("redis.rotate_auth_password", &user, json!({}));
    let change = id(&stage.complete(request).await);
    cache.run("ACL SETUSER app resetpass >of-somebody-else");
    let rollback = operator.act(&change, "rollback").await.is(201);
    approver.approve(&id(&rollback), &rollback["plan"]["digest"]).await.is(200);
    let blocked = operator.executed(&id(&rollback)).await;
    assert_eq!(blocked["state"], "rollback_blocked", "{blocked:#}");
    assert!(cache.lets_in("app", "of-somebody-else"), "nothing was sent");
}

/// What is wrong with credentials is said without them, wherever it is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_it() {
    let stage = Stage::new().await;
    let Stage { server, cache, .. } = &stage;
    let path = format!("/connections/{}", cache.connection);
    let wrong = "w\"rong/corr+ect-horse";
    let credentials = json!({
        "host": "127.0.0.1", "port": cache.server.port, "username": "admin", "password": wrong,
        "ca_certificate": cache.server.ca_pem,
    });
    server.admin.patch(&path, json!({ "credentials": credentials })).await.is(200);
    let tested = server.admin.post(&format!("{path}/test"), json!({})).await.is(200);
    assert_eq!(tested["ok"], false, "{tested:#}");
    server
        .admin
        .post(&format!("{path}/discover"), json!({}))
        .await
        .is_refused_with(&[401, 422, 502, 503]);
    let mut unknown = credentials;
    unknown["pasword"] = json!(wrong);
    let body = json!({ "credentials": unknown });
    server.admin.patch(&path, body).await.refused(422, "validation.failed");
    nothing_leaked(server, &[wrong, &cache.server.password]).await;
}
