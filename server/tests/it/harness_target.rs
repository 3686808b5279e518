//! Real targets: `nexplane-agent` as a process on a directory, and a PostgreSQL server.

use std::path::{Path, PathBuf};

use nexplane_store::testing::TargetServer;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::harness::{Client, Server, eventually, items, text};

/// An agent as a process, on a root directory of its own.
pub struct Agent {
    /// Killed when dropped.
    child: Child,
    /// Of its host.
    pub asset: Value,
    root: TempDir,
    config: TempDir,
}

impl Agent {
    /// Enrols an agent, and waits until the server has its host in the inventory.
    pub async fn start(server: &Server) -> Self {
        Self::start_by(server, &server.gateway).await
    }

    /// The same with another way to the gateway.
    pub async fn start_by(server: &Server, gateway: &str) -> Self {
        Self::start_as(server, gateway, "30d").await
    }

    /// The same of a host whose owner keeps before-states for another time.
    pub async fn start_keeping(server: &Server, snapshots: &str) -> Self {
        Self::start_as(server, &server.gateway, snapshots).await
    }

    async fn start_as(server: &Server, gateway: &str, snapshots: &str) -> Self {
        let body = json!({ "ttl_s": 600 });
        let invited = server.admin.post("/hosts/enrollment-tokens", body).await.is(201);
        let name = format!("web-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let (root, config) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let child = Self::command(&config, &root)
            .args(["--keep-snapshots", snapshots])
            .args(["--control-plane", gateway, "--name", &name, "--ca"])
            .arg(&server.ca)
            .env("NEXPLANE_TOKEN", invited["token"].as_str().unwrap())
            .spawn()
            .unwrap();
        let asset = eventually("the host is online and its asset is there", async || {
            let hosts = server.admin.get("/hosts").await.is(200);
            let host = items(&hosts).into_iter().find(|host| host["hostname"] == name.as_str())?;
            let found = server
                .admin
                .get(&format!("/assets?type=host&connection={}", text(&host["connection_id"])))
                .await
                .is(200);
            items(&found).pop().filter(|_| host["status"] == "online")
        })
        .await;
        Self { child, asset, root, config }
    }

    fn command(config: &TempDir, root: &TempDir) -> Command {
        // Another system's agent, such as `agent/cross windows-journey` gives.
        let program = std::env::var_os("NEXPLANE_TEST_AGENT").map_or_else(
            || Path::new(env!("CARGO_BIN_EXE_nexplane")).with_file_name("nexplane-agent"),
            PathBuf::from,
        );
        assert!(
            program.exists(),
            "there is no {}: run 'just test', or 'cargo build --workspace' first",
            program.display()
        );
        let mut command = Command::new(program);
        command.arg("run").arg("--config-dir").arg(config.path()).arg("--root").arg(root.path());
        command.kill_on_drop(true);
        command
    }

    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again with what it has on disk.
    pub fn up(&mut self) {
        self.child = Self::command(&self.config, &self.root).spawn().unwrap();
    }

    /// Its journal, as far as it is written.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.config.path().join("journal")).unwrap_or_default()
    }

    /// Everything that it keeps for itself.
    pub fn kept(&self) -> String {
        let read = |file: std::path::PathBuf| {
            String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()
        };
        let folders = [self.config.path().to_owned(), self.config.path().join("snapshots")];
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(read).collect()
    }

    /// Of the running process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Its private key.
    pub fn key_pem(&self) -> String {
        let identity = std::fs::read(self.config.path().join("identity.json")).unwrap();
        text(&serde_json::from_slice::<Value>(&identity).unwrap()["key_pem"])
    }

    /// A path as orders name it, where it really is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// The body of a request for a change of this host.
    pub fn request(&self, operation: &str, parameters: Value) -> Value {
        json!({
            "title": format!("{operation} on {}", self.asset["name"]),
            "reason": "The notice is out of date.",
            "change_type": operation,
            "connection_id": self.asset["connection_id"],
            "targets": [self.asset["id"]],
            "parameters": parameters,
        })
    }
}

/// A PostgreSQL server that is managed through a connection.
pub struct Shop {
    pub target: TargetServer,
    pub connection: String,
}

impl Shop {
    /// Adds a connection to a target server, with its certificate verified.
    pub async fn connect(server: &Server, environment: &str) -> Self {
        Self::connect_by(server, environment, TargetServer::new().await, json!({})).await
    }

    /// The same with other credentials than a direct connection needs, as far as they are given.
    pub async fn connect_by(
        server: &Server,
        environment: &str,
        target: TargetServer,
        other: Value,
    ) -> Self {
        let name = format!("shop-{}", target.database().trim_start_matches("t_"));
        let mut shop = Self { target, connection: String::new() };
        let mut credentials = shop.credentials();
        for (field, value) in other.as_object().unwrap() {
            credentials[field] = value.clone();
        }
        let body = json!({
            "name": name,
            "type": "postgres",
            "environment": environment,
            "credentials": credentials,
        });
        let added = server.admin.post("/connections", body).await.is(201);
        shop.connection = text(&added["id"]);
        shop
    }

    /// What a connection to it needs.
    pub fn credentials(&self) -> Value {
        json!({
            "host": self.target.host(),
            "port": self.target.port(),
            "database": self.target.database(),
            "username": self.target.username(),
            "password": self.target.password(),
            "ssl_mode": "verify-full",
            "ca_certificate": self.target.ca_pem(),
        })
    }

    /// Makes roles that log in with their name as password, and finds them.
    pub async fn roles(&self, server: &Server, names: &[&str]) -> Vec<String> {
        let roles: Vec<_> = names.iter().map(|name| self.target.role(name)).collect();
        for role in &roles {
            self.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{role}'")).await;
        }
        let path = format!("/connections/{}/discover", self.connection);
        server.admin.post(&path, json!({})).await.is(200);
        roles
    }

    pub async fn role(&self, server: &Server, name: &str) -> String {
        self.roles(server, &[name]).await.remove(0)
    }

    /// What somebody does to the target behind our back.
    pub async fn sql(&self, statement: &str) {
        let mut admin = self.target.admin().await;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut admin).await.unwrap();
    }

    /// Whether the role gets in with this password, over the network with TLS.
    pub async fn lets_in(&self, role: &str, password: &str) -> bool {
        let options = self.target.options().username(role).password(password);
        let connected: Result<PgConnection, _> = options.connect().await;
        match connected {
            Ok(connection) => {
                connection.close().await.unwrap();
                true
            }
            // 28000: "is not permitted to log in"; 28P01: wrong password.
            Err(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default().into_owned();
                assert!(code == "28000" || code == "28P01", "{code}: {error}");
                false
            }
            Err(error) => panic!("the target cannot be reached: {error}"),
        }
    }

    /// The asset of a role.
    pub async fn asset(&self, client: &Client, role: &str) -> Value {
        let path = format!("/assets?connection={}&q={role}&type=postgres_role", self.connection);
        let mut found = items(&client.get(&path).await.is(200));
        assert_eq!(found.len(), 1, "{role}: {found:#?}");
        found.remove(0)
    }

    /// The body of a request for a change of a role, named by its key.
    pub async fn request(&self, client: &Client, action: &str, role: &str) -> Value {
        let asset = self.asset(client, role).await;
        json!({
            "title": format!("{action} of {role}"),
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [asset["key"]],
            "parameters": {},
        })
    }
}
