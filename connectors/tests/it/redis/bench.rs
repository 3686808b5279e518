//! A Redis target for one test: sessions of the connector on one side, the server's own client on the other.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nexplane_connectors::sdk::{AnySession, ConnectorError};
use nexplane_core::plan::TargetRef;
use nexplane_peers::redis::{RedisServer, Setup};
use serde_json::{Value, json};

use super::cases;
use crate::fixture::{context, open, registry, target};
use crate::suite::{Account, Case, Login, Peer};

/// Password of every user that a test makes.
pub const PASSWORD: &str = "correct-horse-battery";

/// What the connector's own words give an account: the rules, without name and password.
pub fn named_rights() -> String {
    let text = &registry().connector("redis").unwrap().spec().least_privilege;
    let line = text.lines().next().unwrap();
    line.strip_prefix("ACL SETUSER nexplane on >PASSWORD ").expect("it begins so").to_owned()
}

pub struct Bench {
    pub server: RedisServer,
}

impl Bench {
    /// With an ACL file, and TLS.
    pub async fn new() -> Self {
        Self::with(Setup::AclFile).await
    }

    pub async fn with(setup: Setup) -> Self {
        Self::of(RedisServer::start(setup).await.expect("redis-server is installed"))
    }

    pub fn of(server: RedisServer) -> Self {
        let bench = Self { server };
        bench.save();
        bench
    }

    /// Credentials of the administrator.
    pub fn credentials(&self) -> Value {
        self.credentials_of(RedisServer::ADMIN, &self.server.password)
    }

    pub fn credentials_of(&self, username: &str, password: &str) -> Value {
        let mut credentials = json!({
            "host": "127.0.0.1",
            "port": self.server.port,
            "username": username,
            "password": password,
        });
        match &self.server.ca_pem {
            Some(pem) => credentials["ca_certificate"] = json!(pem),
            None => credentials["tls"] = json!(false),
        }
        credentials
    }

    pub async fn open(&self, credentials: Value) -> Result<Box<dyn AnySession>, ConnectorError> {
        open("redis", credentials, &context()).await
    }

    pub async fn session(&self) -> Box<dyn AnySession> {
        self.open(self.credentials()).await.expect("the administrator can connect")
    }

    pub async fn session_of(&self, user: &str) -> Box<dyn AnySession> {
        self.open(self.credentials_of(user, PASSWORD)).await.expect("the user can connect")
    }

    /// A command of the administrator, behind the connector's back.
    pub fn run(&self, words: &str) -> String {
        let words: Vec<_> = words.split(' ').collect();
        self.server.cli(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Saves the users where the server keeps them, so that a witness sees only what came later.
    pub fn save(&self) {
        match (&self.server.ca_pem, self.server.kept().is_empty()) {
            (Some(_), _) => drop(self.run("ACL SAVE")),
            (None, false) => drop(self.run("CONFIG REWRITE")),
            (None, true) => {}
        }
    }

    /// A user that can log in with [`PASSWORD`] and read the keys of an application.
    pub fn user(&self, name: &str) -> String {
        self.run(&format!(
            "ACL SETUSER {name} on >{PASSWORD} ~app:* resetchannels &* +get +set +subscribe"
        ));
        self.save();
        name.to_owned()
    }

    /// A user that may do exactly what the actions say they need.
    pub fn manager(&self) -> String {
        self.run(&format!("ACL SETUSER manager on >{PASSWORD} {}", named_rights()));
        self.save();
        "manager".to_owned()
    }

    /// A user that can log in, and nothing else.
    pub fn weak(&self) -> String {
        self.run(&format!("ACL SETUSER weak on >{PASSWORD} -@all"));
        self.save();
        "weak".to_owned()
    }

    /// Whether the server lets the user in, asked with its own client.
    pub fn lets_in(&self, user: &str, password: &str) -> bool {
        // Whoever is in is told that there is no such key, or that it may not ask.
        match self.server.cli_as(user, password, &["GET", "app:none"]) {
            Ok(_) => true,
            Err(error) if error.contains("WRONGPASS") || error.contains("NOAUTH") => false,
            Err(error) if error.contains("NOPERM") => true,
            Err(error) => panic!("{error}"),
        }
    }

    /// A session of the user that stays open.
    pub fn inside(&self, user: &str, password: &str) -> Inside {
        let mut command = self.server.client();
        command.env("REDISCLI_AUTH", password).args(["--user", user, "SUBSCRIBE", "channel"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut first).unwrap();
        assert_eq!(first.trim(), "subscribe", "{user} is not in");
        Inside { child, _lines: lines }
    }

    /// Everything that an action could move, read without the connector.
    pub fn witness(&self) -> String {
        let mut users: Vec<_> = self.run("ACL LIST").lines().map(str::to_owned).collect();
        users.sort();
        let mut keys: Vec<_> = self.run("KEYS *").lines().map(str::to_owned).collect();
        keys.sort();
        let config = self.run("CONFIG GET *");
        // CONFIG REWRITE adds an empty line each time.
        let kept = self.server.kept();
        let kept: Vec<_> = kept.lines().filter(|line| !line.is_empty()).collect();
        format!("{users:#?}\n{keys:#?}\n{config}\n{kept:#?}")
    }
}

/// A session of the server's own client.
pub struct Inside {
    child: Child,
    _lines: BufReader<std::process::ChildStdout>,
}

impl Inside {
    /// Whether the server has ended it, within moments.
    pub fn is_over(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Whether it is still open.
    pub fn is_open(&mut self) -> bool {
        std::thread::sleep(Duration::from_millis(100));
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer for Bench {
    const CONNECTOR: &'static str = "redis";
    const WHAT_TO_DO: &'static str = "as an administrator run: ACL SETUSER weak +";

    async fn start() -> Self {
        Self::new().await
    }

    async fn login(&self, account: Account) -> Login {
        let (name, password) = match account {
            Account::Full => (RedisServer::ADMIN.to_owned(), self.server.password.as_str()),
            Account::Manager => (self.manager(), PASSWORD),
            Account::Weak => (self.weak(), PASSWORD),
        };
        let credentials = self.credentials_of(&name, password);
        Login { account, name, credentials }
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.server.port)
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        credentials["password"] = json!("wrong-password");
        credentials
    }

    async fn prepare(&self, action: &str, _: &Login) -> Case {
        cases::prepare(self, action)
    }

    async fn disturb(&self, case: &Case) {
        for line in case.disturbance.lines() {
            self.run(line);
        }
        self.save();
    }

    async fn witness(&self) -> String {
        Self::witness(self)
    }

    fn secrets(&self) -> Vec<String> {
        let requirepass = self.server.requirepass.clone();
        [self.server.password.clone(), PASSWORD.to_owned()].into_iter().chain(requirepass).collect()
    }
}

pub fn user_target(name: &str) -> TargetRef {
    target("redis_user", &format!("user/{name}"), name)
}

pub fn database_target(number: u32) -> TargetRef {
    target("redis_database", &format!("database/{number}"), &format!("db{number}"))
}

pub fn instance_target() -> TargetRef {
    target("redis_instance", "instance", "the server")
}
