//! Secrets of a connection that are kept elsewhere, in a file and in a real OpenBao: read at each use, used at one place
//! only, and nowhere else to be found.

use std::fs;
use std::path::PathBuf;

use nexplane_store::testing::TargetServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::crash_stage::approve;
use crate::harness::{Client, Server, Shop, id, items, text};
use crate::harness_vault::Safe;
use crate::leak::nothing_leaked;

/// A server, and a PostgreSQL server that it manages as a role of its own.
struct Stage {
    server: Server,
    operator: Client,
    approvers: [Client; 2],
    shop: Shop,
    /// Who the server is there.
    own: String,
    /// What is put into the folder of secrets is not the server's.
    folder: TempDir,
}

impl Stage {
    /// `place` says where the password is.
    async fn new(place: impl AsyncFnOnce(&Server) -> Value) -> Self {
        let mut server = Server::start().await;
        let folder = tempfile::tempdir().unwrap();
        let no_folder = json!({
            "name": "early", "type": "redis", "environment": "dev",
            "credentials": { "host": "localhost", "password": file("x") },
        });
        let refused = server.admin.post("/connections", no_folder).await;
        let refused = refused.refused(422, "validation.failed");
        assert_eq!(refused["errors"][0]["pointer"], "/credentials/password", "{refused:#}");
        assert!(text(&refused["detail"]).contains("--secrets-dir"), "{refused:#}");
        let nothing = json!({ "files": false, "vaults": [] });
        assert_eq!(server.admin.get("/secret-sources").await.is(200), nothing);

        server.arguments = vec!["--secrets-dir".to_owned(), folder.path().display().to_string()];
        server.restart().await;
        // Of an answer that says that Vault is away.
        server.expected_errors = vec!["code=\"target.un"];
        let place = place(&server).await;
        let target = TargetServer::new().await;
        let own = target.role("nexplane");
        let other = json!({ "username": own, "password": place });
        let shop = Shop::connect_by(&server, "staging", target, other).await;
        shop.sql(&format!("CREATE ROLE {own} SUPERUSER LOGIN")).await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { server, operator, approvers, shop, own, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the target is.
    fn address(&self) -> String {
        format!("{}:{}", self.shop.target.host(), self.shop.target.port())
    }

    /// At the target, as its administrator would.
    async fn change_password(&self) -> String {
        let password = format!("of-nexplane-{}", Uuid::new_v4().simple());
        self.shop.sql(&format!("ALTER ROLE {} PASSWORD '{password}'", self.own)).await;
        password
    }

    async fn test(&self) -> Value {
        let path = format!("/connections/{}/test", self.shop.connection);
        self.server.admin.post(&path, json!({})).await.is(200)
    }

    async fn works(&self) {
        let tested = self.test().await;
        assert_eq!(tested["ok"], true, "{tested:#}");
    }

    /// What the test says is wrong.
    async fn fails(&self) -> String {
        let tested = self.test().await;
        assert_eq!(
            (&tested["ok"], &tested["checks"][0]["name"]),
            (&json!(false), &json!("connect"))
        );
        text(&tested["checks"][0]["detail"])
    }

    async fn is_wrong_with(&self, said: &str) {
        let detail = self.fails().await;
        assert!(detail.contains(said), "{detail}");
    }

    async fn refer(&self, place: Value) {
        let mut credentials = self.shop.credentials();
        credentials["username"] = json!(self.own);
        credentials["password"] = place;
        let path = format!("/connections/{}", self.shop.connection);
        self.server.admin.patch(&path, json!({ "credentials": credentials })).await.is(200);
    }

    async fn shown(&self) -> Value {
        let path = format!("/connections/{}", self.shop.connection);
        self.server.admin.get(&path).await.is(200)["settings"].clone()
    }

    async fn approved(&self, action: &str, role: &str) -> String {
        let request = self.shop.request(&self.operator, action, role).await;
        let submitted = self.operator.submitted(request).await;
        approve(&self.approvers, &submitted).await;
        id(&submitted)
    }

    async fn completes(&self, change: &str) {
        let done = self.operator.executed(change).await;
        assert_eq!(done["state"], "complete", "{done:#}");
    }
}

fn file(name: &str) -> Value {
    json!({ "secret_ref": { "file": name } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_file_is_read_at_each_use_and_used_at_one_place() {
    let stage = Stage::new(async |_| file("shop/password")).await;
    let Stage { server, shop, operator, .. } = &stage;
    let settings = stage.shown().await;
    assert_eq!(settings["password"], file("shop/password"));
    assert_eq!(settings["username"], json!(stage.own));

    // Deny by default: it has to be there, and to be said where it may be used.
    stage.is_wrong_with("password (file shop/password): there is no such file").await;
    let first = stage.change_password().await;
    fs::create_dir(stage.path("shop")).unwrap();
    fs::write(stage.path("shop/password"), format!("{first}\n")).unwrap();
    stage.is_wrong_with("beside it has to be shop/password.hosts").await;
    // Somebody who may set credentials would have it sent to a place of theirs.
    fs::write(stage.path("shop/password.hosts"), stage.address()).unwrap();
    let theirs = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut credentials = shop.credentials();
    credentials["port"] = json!(theirs.local_addr().unwrap().port());
    credentials["password"] = file("shop/password");
    let path = format!("/connections/{}", shop.connection);
    server.admin.patch(&path, json!({ "credentials": credentials })).await.is(200);
    stage.is_wrong_with("password (file shop/password) may not be used at ").await;
    theirs.set_nonblocking(true).unwrap();
    assert_eq!(theirs.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    stage.refer(file("shop/password")).await;
    stage.works().await;
    let roles = shop.roles(server, &["a", "b"]).await;
    let change = stage.approved("postgres.lock_user", &roles[0]).await;
    stage.completes(&change).await;

    // Whoever changes it where it is kept has changed it.
    let second = stage.change_password().await;
    let refused = stage.fails().await;
    assert!(!refused.contains(&first) && !refused.contains("file"), "{refused}");
    fs::write(stage.path("next"), &second).unwrap();
    fs::rename(stage.path("next"), stage.path("shop/password")).unwrap();
    stage.works().await;

    // Without it nothing begins, and nothing is lost.
    let change = stage.approved("postgres.lock_user", &roles[1]).await;
    fs::remove_file(stage.path("shop/password")).unwrap();
    let failed = operator.act(&change, "execute").await.refused(422, "validation.failed");
    assert!(
        text(&failed["detail"]).contains("(file shop/password): there is no such file"),
        "{failed:#}"
    );
    assert_eq!(operator.change(&change).await["state"], "approved");
    assert!(shop.lets_in(&roles[1], &roles[1]).await);
    let path = format!("/connections/{}/discover", shop.connection);
    server.admin.post(&path, json!({})).await.refused(422, "validation.failed");
    fs::write(stage.path("shop/password"), &second).unwrap();
    stage.completes(&change).await;
    assert!(!shop.lets_in(&roles[1], &roles[1]).await);

    for (place, pointer) in [
        (file("../shop/password"), "/credentials/password/secret_ref/file"),
        (file("/etc/shadow"), "/credentials/password/secret_ref/file"),
        (json!({ "secret_ref": first }), "/credentials/password"),
        (json!({ "secret_ref": { "file": "a" }, "text": first }), "/credentials/password"),
    ] {
        let mut credentials = shop.credentials();
        credentials["password"] = place;
        let path = format!("/connections/{}", shop.connection);
        let refused = server.admin.patch(&path, json!({ "credentials": credentials })).await;
        assert_eq!(refused.refused(422, "validation.failed")["errors"][0]["pointer"], pointer);
    }
    let mut credentials = shop.credentials();
    credentials["database"] = file("shop/password");
    let path = format!("/connections/{}", shop.connection);
    let refused = server.admin.patch(&path, json!({ "credentials": credentials })).await;
    refused.refused(422, "validation.failed");
    nothing_leaked(server, &[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_vault_is_read_at_each_use_by_a_connection_of_its_own() {
    let mut safe = None;
    let stage = Stage::new(async |server| {
        safe = Some(Safe::connect(server, "staging").await);
        vault("safe", |_| ())
    })
    .await;
    let safe = safe.unwrap();
    let Stage { server, shop, .. } = &stage;
    let sources = server.admin.get("/secret-sources").await.is(200);
    let vaults = json!([{ "id": safe.connection, "name": "safe" }]);
    assert_eq!(sources, json!({ "files": true, "vaults": vaults }));
    // A name can come to mean another connection, an id cannot.
    assert_eq!(stage.shown().await["password"], vault(&safe.connection, |_| ()));

    stage
        .is_wrong_with("password (password of secret/app/db in Vault): there is no secret at")
        .await;
    let first = stage.change_password().await;
    safe.put("app/db", json!({ "password": first, "port": 5432 })).await;
    stage.is_wrong_with("nexplane_hosts has to name the host:port").await;
    let allow = async |hosts: &str| {
        let metadata = json!({ "custom_metadata": { "nexplane_hosts": hosts } });
        safe.call("POST", "secret/metadata/app/db", &metadata).await;
    };
    allow("db.example.org:5432").await;
    stage.is_wrong_with("may not be used at ").await;
    allow(&stage.address()).await;
    stage.works().await;
    let role = shop.role(server, "a").await;
    let change = stage.approved("postgres.lock_user", &role).await;
    stage.completes(&change).await;

    // Each reading is of the connection that reads, and says for which.
    let path = format!(
        "/audit?type=connection.credentials_opened&resource={}&change_request_id={change}",
        safe.connection
    );
    let read = items(&server.admin.get(&path).await.is(200));
    assert!(!read.is_empty());
    for event in &read {
        assert_eq!(event["data"]["reads_for"], shop.connection, "{event:#}");
    }

    let second = stage.change_password().await;
    stage.fails().await;
    safe.put("app/db", json!({ "password": second, "port": 5432 })).await;
    stage.works().await;
    for (change, said) in [
        (("version", json!(1)), "password"),
        (("version", json!(9)), "there is no version 9"),
        (("field", json!("pin")), "secret/app/db has no field 'pin'"),
        (("field", json!("port")), "'port' of secret/app/db is not a text"),
        (("path", json!("app/other")), "there is no secret at secret/app/other"),
        (("mount", json!("other")), "may not read other/app/db"),
    ] {
        let (field, value) = change;
        stage.refer(vault("safe", |vault| vault[field] = value)).await;
        stage.is_wrong_with(said).await;
    }
    stage.refer(vault("safe", |_| ())).await;
    stage.works().await;

    // No chains, and nothing that cannot read.
    let chained = json!({ "credentials": {
        "address": "https://localhost:8200", "token": vault("safe", |_| ()),
    } });
    let path = format!("/connections/{}", safe.connection);
    server.admin.patch(&path, chained).await.refused(422, "validation.failed");
    let mut credentials = shop.credentials();
    let shop_path = format!("/connections/{}", shop.connection);
    for none in [&*shop.connection, "nobody"] {
        credentials["password"] = vault(none, |_| ());
        let body = json!({ "credentials": credentials });
        let refused = server.admin.patch(&shop_path, body).await.refused(422, "validation.failed");
        let pointer = "/credentials/password/secret_ref/vault/connection";
        assert_eq!(refused["errors"][0]["pointer"], pointer);
    }

    // It is away: that is no fault of the target, and another time may do.
    let shop = shop.connection.clone();
    let Safe { bao, connection, secret_id } = safe;
    drop(bao);
    stage.is_wrong_with("password (password of secret/app/db in Vault): ").await;
    let path = format!("/connections/{shop}/discover");
    server.admin.post(&path, json!({})).await.refused(503, "target.unreachable");
    let path = format!("/connections/{connection}");
    let removed = server.admin.send(server.admin.request(reqwest::Method::DELETE, &path)).await;
    removed.is(204);
    stage.is_wrong_with("the connection that reads it was removed").await;
    nothing_leaked(server, &[&first, &second, &secret_id]).await;
}

fn vault(connection: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut vault = json!({
        "connection": connection, "mount": "secret", "path": "app/db", "field": "password",
    });
    change(&mut vault);
    json!({ "secret_ref": { "vault": vault } })
}
