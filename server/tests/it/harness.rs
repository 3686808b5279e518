//! The real `nexplane` and `nexplane-agent` as processes, and people who talk to them over HTTP.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use nexplane_server::auth::Claims;
use nexplane_server::config::Options;
use nexplane_server::open::{Opened, open};
use nexplane_store::testing::TestDatabase;
use reqwest::Method;
use reqwest::header::HeaderMap;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

pub use crate::harness_target::{Agent, Shop};

/// The longest that anything a test waits for may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds without a sign of life after which another worker takes a run over: the least there is.
const LEASE_S: u32 = 2;
const ADMIN: &str = "admin@example.org";

/// What comes over `/live`.
pub type Live = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server with a database and a data directory of its own; stops when dropped.
pub struct Server {
    child: Option<Child>,
    pub base: Base,
    pub gateway: String,
    pub ca: PathBuf,
    pub admin: Client,
    /// Further arguments of the next start.
    pub arguments: Vec<String>,
    /// Further variables of the next start.
    pub variables: Vec<(&'static str, &'static str)>,
    /// Of the next start.
    pub lease_s: u32,
    /// Where agents are listened to from the next start on.
    gateway_listen: String,
    /// Another way to the database, from the next start on.
    pub database_url: Option<String>,
    /// Errors that the test brings about: parts of what the server then logs.
    pub expected_errors: Vec<&'static str>,
    data: TempDir,
    database: TestDatabase,
}

/// Where the server is; after a restart it is somewhere else.
pub type Base = Arc<Mutex<String>>;

impl Server {
    /// Starts a server in which there is one person, an admin.
    pub async fn start() -> Self {
        // Every connection to come is plain HTTP, and reqwest asks for a provider all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Base::default();
        let mut server = Self {
            child: None,
            base: base.clone(),
            gateway: String::new(),
            ca: PathBuf::new(),
            admin: Client::new(base, None),
            arguments: Vec::new(),
            variables: Vec::new(),
            lease_s: LEASE_S,
            gateway_listen: "127.0.0.1:0".to_owned(),
            database_url: None,
            expected_errors: Vec::new(),
            data: tempfile::tempdir().unwrap(),
            database: TestDatabase::new().await,
        };
        let password = password();
        server.add_admin(&password).await;
        server.up().await;
        server.admin = server.sign_in(ADMIN, &password).await;
        server
    }

    /// As an administrator would before the first start: with the command line.
    async fn add_admin(&self, password: &str) {
        let mut child = self
            .command(&["user", "add", "--email", ADMIN, "--roles", "admin", "--password-stdin"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{password}\n").as_bytes()).await.unwrap();
        drop(stdin);
        let done = child.wait_with_output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexplane"));
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data.path())
            .env("DATABASE_URL", self.database_url.clone().unwrap_or_else(|| self.database.url()))
            .env("NO_COLOR", "1")
            .env_remove("NEXPLANE_KEK")
            .envs(self.variables.iter().copied())
            .kill_on_drop(true);
        command
    }

    /// Starts the process and waits until it is ready.
    pub async fn up(&mut self) {
        let (child, ready) = self.spawn().await;
        ready["api"].as_str().unwrap().clone_into(&mut self.base.lock().unwrap());
        ready["gateway"].as_str().unwrap().clone_into(&mut self.gateway);
        self.ca = PathBuf::from(ready["ca"].as_str().unwrap());
        self.child = Some(child);
    }

    /// Another process on the same database and keys.
    pub async fn replica(&self) -> Replica {
        let (child, ready) = self.spawn().await;
        Replica { _child: child, base: Arc::new(Mutex::new(text(&ready["api"]))) }
    }

    /// A process that is ready, and what it says of itself.
    async fn spawn(&self) -> (Child, Value) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut child = self
            .command(&["up", "--listen", "127.0.0.1:0", "--gateway-listen", &self.gateway_listen])
            .args(["--ready-json", "--lease-s", &self.lease_s.to_string()])
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            panic!("the server did not start:\n{}", self.log_text());
        };
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true);
        (child, ready)
    }

    /// As a power failure would, and no warning.
    pub async fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// SIGTERM; the server has to say that all went well.
    pub async fn stop(&mut self) {
        let status = self.ended_by(Signal::TERM).await;
        assert!(status.success(), "{status}:\n{}", self.log_text());
    }

    /// How it ends by a signal that it does not survive.
    pub async fn ended_by(&mut self, signal: Signal) -> std::process::ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().unwrap();
        tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.up().await;
    }

    /// Restarts with a gateway that stays at its address, so that agents find the next server.
    pub async fn pin_gateway(&mut self) {
        // Below the ports of outgoing connections: of many agents that try it while nobody listens,
        // one would sooner or later be given it as its own end.
        let start = 20_000 + u16::from(Uuid::new_v4().as_bytes()[0]) * 40;
        let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (start..30_900).find(is_free).unwrap();
        self.gateway_listen = format!("127.0.0.1:{port}");
        self.restart().await;
    }

    fn log(&self) -> PathBuf {
        self.data.path().join("test.log")
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Where the server keeps its files.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Of the running process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap()
    }

    /// For what only the database can tell.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Somebody who is not signed in.
    pub fn nobody(&self) -> Client {
        Client { seen: self.admin.seen.clone(), ..Client::new(self.base.clone(), None) }
    }

    /// Adds a person with these roles and signs them in.
    pub async fn person(&self, name: &str, roles: &[&str]) -> Client {
        let email = format!("{name}@example.org");
        let body = json!({ "email": email, "name": name, "roles": roles });
        let added = self.admin.post("/users", body).await.is(201);
        self.sign_in(&email, added["password"].as_str().unwrap()).await
    }

    pub async fn operator(&self) -> Client {
        self.person("olga", &["operator"]).await
    }

    pub async fn approver(&self) -> Client {
        self.person("anna", &["approver"]).await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Client {
        let body = json!({ "email": email, "password": password });
        hand(&body);
        let signed_in = self.nobody().post("/auth/login", body.clone()).await.is(200);
        let token = signed_in["access_token"].as_str().unwrap().to_owned();
        let mut client = Client { token: Some(token.clone()), ..self.nobody() };
        client.session = Some(Arc::new(Session {
            login: body,
            begun: Instant::now(),
            token: Mutex::new(token),
        }));
        client.id = text(&client.get("/auth/me").await.is(200)["id"]);
        client
    }

    /// A session token that this installation signed, for what no clock of a test can wait for.
    pub async fn sign(&self, claims: &Claims) -> String {
        let opened = self.opened().await;
        let token = opened.people.jwt().sign(claims);
        opened.close().await.unwrap();
        token
    }

    /// Its log and what belongs to it, beside the process: for what only a crash leaves behind.
    pub async fn opened(&self) -> Opened {
        let options = Options {
            data_dir: Some(self.data.path().to_owned()),
            database_url: Some(self.database.url()),
            config: None,
        };
        open(&options).await.unwrap()
    }

    /// How many events the log has.
    pub async fn events(&self) -> i64 {
        nexplane_store::testing::event_count(self.database.pool()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let log = self.log_text();
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{log}");
            return;
        }
        let is_expected = |line: &str| self.expected_errors.iter().any(|part| line.contains(part));
        let errors: Vec<_> =
            log.lines().filter(|line| line.contains(" ERROR ") && !is_expected(line)).collect();
        assert!(errors.is_empty(), "the server logged errors:\n{}", errors.join("\n"));
    }
}

/// Killed when dropped.
pub struct Replica {
    _child: Child,
    pub base: Base,
}

fn signal_to(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Somebody who talks to the server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Base,
    pub token: Option<String>,
    /// Of the person.
    pub id: String,
    session: Option<Arc<Session>>,
    /// The latest position that an answer of this server named. Reads ask for an answer that knows
    /// it, as somebody does who has been told of it.
    seen: Arc<AtomicU64>,
}

/// How long a session lasts at least: a minute less than its token, which the server dates before it answers.
/// What ends before was ended by somebody.
const A_SESSION: Duration = Duration::from_mins(14);

/// A session that is begun again when it has run out, for tests that outlast one.
struct Session {
    login: Value,
    begun: Instant,
    token: Mutex<String>,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub asked: String,
    pub status: u16,
    pub json: Value,
    pub headers: HeaderMap,
}

impl Client {
    pub fn new(base: Base, token: Option<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { http, base, token, id: String::new(), session: None, seen: Arc::default() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), session: None, ..self.clone() }
    }

    /// A WebSocket that follows these topics, as a browser's does.
    pub async fn follow(&self, topics: &[String]) -> Live {
        let base = self.base.lock().unwrap().replacen("http", "ws", 1);
        let mut request = format!("{base}/api/v1/live").into_client_request().unwrap();
        let token = self.token.as_ref().expect("somebody with a token");
        let protocol = format!("bearer,{token}").parse().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let (mut socket, _) = connect_async(request).await.unwrap();
        let topics = json!({ "subscribe": topics }).to_string();
        socket.send(Message::Text(topics.into())).await.unwrap();
        socket
    }

    /// The same person at another server.
    pub fn at(&self, base: &Base) -> Self {
        Self { base: base.clone(), ..self.clone() }
    }

    /// A request that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let base = self.base.lock().unwrap().clone();
        let request = self.http.request(method, format!("{base}/api/v1{path}"));
        match (&self.session, &self.token) {
            (Some(session), _) => request.bearer_auth(session.token.lock().unwrap()),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }

    /// Sends, and reads the answer. An error means that the server is not there.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let again = request.try_clone();
        let answer = self.try_once(request).await?;
        match (&self.session, again) {
            (Some(session), Some(mut again))
                if answer.json["code"] == "auth.expired" && session.begun.elapsed() > A_SESSION =>
            {
                let nobody = Self { token: None, session: None, ..self.clone() };
                let login = nobody.request(Method::POST, "/auth/login");
                let login = self.try_once(login.json(&session.login).build()?).await?;
                let Some(token) = login.json["access_token"].as_str() else { return Ok(answer) };
                token.clone_into(&mut session.token.lock().unwrap());
                again
                    .headers_mut()
                    .insert("authorization", format!("Bearer {token}").parse().unwrap());
                self.try_once(again).await
            }
            _ => Ok(answer),
        }
    }

    async fn try_once(&self, mut request: reqwest::Request) -> reqwest::Result<Answer> {
        if request.method() == Method::GET {
            let seen = self.seen.load(Ordering::Relaxed);
            request.headers_mut().entry("x-min-position").or_insert(seen.into());
        }
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        match headers.get("x-position") {
            Some(position) => {
                let position = position.to_str().unwrap().parse().unwrap();
                self.seen.fetch_max(position, Ordering::Relaxed);
            }
            None => assert!(status != 201, "{asked} does not say where it is in the log"),
        }
        let bytes = response.bytes().await?;
        let json = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
        };
        if HANDS_OVER.iter().any(|end| asked.starts_with("POST") && asked.ends_with(end)) {
            hand(&json);
        } else {
            let mut said = SAID.lock().unwrap();
            if said.len() < MOST_SAID {
                said.push_str(&String::from_utf8_lossy(&bytes));
                said.push('\n');
            }
        }
        Ok(Answer { asked, status, json, headers })
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Something one does to a change: `plan`, `submit` …
    pub async fn act(&self, change: &str, action: &str) -> Answer {
        self.post(&format!("/change-requests/{change}/{action}"), json!({})).await
    }

    pub async fn approve(&self, change: &str, digest: &Value) -> Answer {
        let body = json!({ "plan_digest": digest, "comment": "looked at" });
        self.post(&format!("/change-requests/{change}/approve"), body).await
    }

    pub async fn change(&self, change: &str) -> Value {
        self.get(&format!("/change-requests/{change}")).await.is(200)
    }

    /// Drafts, plans and submits; the submitted change.
    pub async fn submitted(&self, request: Value) -> Value {
        let key = uuid::Uuid::now_v7().to_string();
        let draft = async || {
            let post =
                self.request(Method::POST, "/change-requests").header("idempotency-key", &key);
            self.send(post.json(&request)).await
        };
        let mut drafted = draft().await;
        // After a crash the read models have another worker, which may take longer than an answer waits.
        for _ in 0..5 {
            if drafted.status == 503 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drafted = draft().await;
            }
        }
        let change = id(&drafted.is(201));
        self.act(&change, "plan").await.is(200);
        self.act(&change, "submit").await.is(200)
    }

    /// Executes, and waits for the end.
    pub async fn executed(&self, change: &str) -> Value {
        self.act(change, "execute").await.is(200);
        self.settled(change).await
    }

    /// An executed change, once its run is over.
    pub async fn settled(&self, change: &str) -> Value {
        // The read model may still show what it was before the execution.
        let before_end = ["draft", "submitted", "approved", "scheduled", "executing"];
        self.moved_on(change, &before_end).await
    }

    /// A change of which a rollback was executed, once that is over.
    pub async fn undone(&self, change: &str) -> Value {
        self.moved_on(change, &["complete", "failed", "rolling_back"]).await
    }

    async fn moved_on(&self, change: &str, from: &[&str]) -> Value {
        eventually("the change moves on", async || {
            let now = self.change(change).await;
            (!from.contains(&now["state"].as_str().unwrap())).then_some(now)
        })
        .await
    }

    /// The types of a change's events, oldest first.
    pub async fn history(&self, change: &str) -> Vec<String> {
        let page = self.get(&format!("/change-requests/{change}/events?limit=200")).await.is(200);
        items(&page).iter().map(|event| text(&event["type"])).collect()
    }
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {:#}", self.asked, self.json);
        self.json
    }

    /// The problem, if the status and the code are these.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        self.is_problem();
        assert_eq!(
            (self.status, self.json["code"].as_str()),
            (status, Some(code)),
            "{}: {:#}",
            self.asked,
            self.json
        );
        self.json
    }

    /// A problem with one of these statuses.
    #[track_caller]
    pub fn is_refused_with(&self, statuses: &[u16]) {
        self.is_problem();
        assert!(statuses.contains(&self.status), "{}: {:#}", self.asked, self.json);
    }

    /// A whole problem document: RFC 9457, and what we add to it.
    #[track_caller]
    pub fn is_problem(&self) {
        let Self { asked, json, .. } = self;
        assert_eq!(self.header("content-type"), "application/problem+json", "{asked}: {json}");
        assert_eq!(json["status"], self.status, "{asked}: {json}");
        for field in ["type", "title", "detail", "code"] {
            assert!(json[field].as_str().is_some_and(|t| !t.is_empty()), "{asked} {field}: {json}");
        }
        let path = asked.split(' ').nth(1).unwrap();
        assert_eq!(json["instance"], path, "{asked}: {json}");
        assert!(text(&json["trace_id"]).parse::<Uuid>().is_ok(), "{asked}: {json}");
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What is answered by handing a secret over.
const HANDS_OVER: [&str; 7] = [
    "/auth/first-run",
    "/auth/login",
    "/auth/refresh",
    "/hosts/enrollment-tokens",
    "/reveal",
    "/tokens",
    "/users",
];
/// Passwords, tokens and secrets that were handed over in this process.
static HANDED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what an answer hands over; of a text that is JSON, what is in it.
fn hand(answer: &Value) {
    for name in ["access_token", "password", "token", "value"] {
        let Some(secret) = answer[name].as_str() else { continue };
        let parts = serde_json::from_str::<Value>(secret).ok();
        let parts = parts.iter().filter_map(Value::as_object).flat_map(|parts| parts.values());
        let parts = parts.filter_map(Value::as_str).map(str::to_owned);
        HANDED.lock().unwrap().extend(parts.chain([secret.to_owned()]));
    }
}

pub fn handed() -> Vec<String> {
    HANDED.lock().unwrap().clone()
}

/// Answers of the API in this process, but for those that hand a secret over.
static SAID: Mutex<String> = Mutex::new(String::new());
const MOST_SAID: usize = 64 * 1024 * 1024;

pub fn said() -> String {
    SAID.lock().unwrap().clone()
}

/// Asks again until there is an answer; a test that waits too long has failed.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

pub fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().clone()
}

#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[track_caller]
pub fn id(value: &Value) -> String {
    text(&value["id"])
}

fn password() -> String {
    Uuid::new_v4().simple().to_string()
}
