//! The real server as a process: empty (`nexplane up`), or with people, targets and changes
//! (`nexplane demo`).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nexplane_store::testing::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Two PostgreSQL clusters are made and a host is enrolled.
const START: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(30);

const DEMO: [&str; 3] = ["demo", "--listen", "127.0.0.1:0"];
/// What is under way waits for its target, however long a test takes.
const UP: [&str; 7] =
    ["up", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0", "--patience-s", "86400"];

/// The folder of secrets that are kept in files.
const SECRETS: &str = "secrets";

pub struct Sandbox {
    child: Child,
    pub base: String,
    /// `/first-run#token=…` of an empty server, `/login#…` of a replay.
    pub link: Option<String>,
    people: Vec<Value>,
    dir: tempfile::TempDir,
}

impl Sandbox {
    /// People, a database, a directory, a cache, a host and changes in several states.
    pub async fn demo() -> Self {
        Self::start(&DEMO, None, None).await
    }

    /// The same where only PostgreSQL is installed: nothing is on the `PATH`.
    pub async fn small_demo() -> Self {
        Self::start(&DEMO, None, Some("/nonexistent")).await
    }

    /// A new installation, without anybody.
    pub async fn empty() -> Self {
        Self::start(&UP, None, None).await
    }

    /// The same in a database that the test can get at, too.
    pub async fn on(database: &TestDatabase) -> Self {
        Self::start(&UP, Some(database.url()), None).await
    }

    /// The same, of what is made with its database and data directory before.
    pub async fn of<M>(
        database: &TestDatabase,
        make: impl AsyncFnOnce(String, PathBuf) -> M,
    ) -> (Self, M) {
        let dir = Self::place();
        let made = make(database.url(), dir.path().join("data")).await;
        (Self::start_in(dir, &UP, Some(database.url()), None).await, made)
    }

    /// What was in the database of another one up to an event.
    pub async fn replay(database: &TestDatabase, until: u64) -> Self {
        let until = until.to_string();
        let arguments = ["replay", "--until", &until, "--serve", "--listen", "127.0.0.1:0"];
        Self::start(&arguments, Some(database.url()), None).await
    }

    fn place() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(SECRETS)).unwrap();
        // PostgreSQL runs as a user of its own, who has to get through.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        dir
    }

    async fn start(arguments: &[&str], database_url: Option<String>, path: Option<&str>) -> Self {
        Self::start_in(Self::place(), arguments, database_url, path).await
    }

    async fn start_in(
        dir: tempfile::TempDir,
        arguments: &[&str],
        database_url: Option<String>,
        path: Option<&str>,
    ) -> Self {
        let data = dir.path().join("data");
        let (child, ready) = Self::launch(&dir, arguments, &data, database_url, path).await;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            child,
            base: text(&ready["api"]).unwrap(),
            link: text(&ready["first_run"])
                .map(|link| format!("/first-run{}", &link[link.find('#').unwrap()..]))
                .or_else(|| Some(text(&ready["link"])?.replace(ready["api"].as_str()?, ""))),
            people: ready["people"].as_array().cloned().unwrap_or_default(),
            dir,
        }
    }

    /// Starts the server of a demo again after it was killed: at the same address, with what it had on disk, and
    /// without the servers to practise on.
    pub async fn up_again(&mut self) {
        let address = self.base.trim_start_matches("http://").to_owned();
        let arguments = ["up", "--listen", &address, "--gateway-listen", "127.0.0.1:0"];
        let data = self.dir.path().join("data/server");
        let (child, ready) = Self::launch(&self.dir, &arguments, &data, None, None).await;
        assert_eq!(ready["api"], self.base);
        self.child = child;
    }

    /// Starts a server, and answers what it says of itself once it is there.
    async fn launch(
        dir: &tempfile::TempDir,
        arguments: &[&str],
        data: &Path,
        database_url: Option<String>,
        path: Option<&str>,
    ) -> (Child, Value) {
        let log = dir.path().join("server.log");
        let mut child = Command::new(executable("nexplane"))
            .args(arguments)
            .arg("--ready-json")
            .arg("--data-dir")
            .arg(data)
            .env("NO_COLOR", "1")
            .env_remove("DATABASE_URL")
            .envs(database_url.map(|url| ("DATABASE_URL", url)))
            .envs(path.map(|path| ("PATH", path)))
            .envs(
                (arguments[0] == "up").then(|| ("NEXPLANE_SECRETS_DIR", dir.path().join(SECRETS))),
            )
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(START, async {
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str::<Value>(&line) {
                    Ok(ready) if ready["ready"] == true => return Some(ready),
                    Ok(_) | Err(_) => {}
                }
            }
            None
        });
        let Ok(Some(ready)) = ready.await else {
            panic!("the server did not start:\n{}", std::fs::read_to_string(&log).unwrap());
        };
        // A full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, ready)
    }

    /// E-mail address and password of somebody of the demo, by the start of the address.
    pub fn person(&self, name: &str) -> (String, String) {
        let person = self
            .people
            .iter()
            .find(|person| person["email"].as_str().is_some_and(|email| email.starts_with(name)))
            .unwrap_or_else(|| panic!("nobody in the demo is called {name}"));
        let text = |key: &str| person[key].as_str().unwrap().to_owned();
        (text("email"), text("password"))
    }

    /// A file on the demo's host.
    pub fn host_file(&self, path: &str) -> PathBuf {
        self.dir.path().join("data/host").join(path.trim_start_matches('/'))
    }

    /// Keeps something in a file that connections of `up` may refer to.
    pub fn keep(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(SECRETS).join(name), text).unwrap();
    }

    /// What it has told people so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap()
    }

    /// The programs that it has started, by process id: `slapd`, `postgres`, …
    pub fn programs(&self) -> Vec<(Pid, String)> {
        let us = self.child.id().expect("it runs").to_string();
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
        let ours = processes.filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let (name, _, parent) = status(pid)?;
            (parent == us).then_some((pid, name))
        });
        ours.collect()
    }

    /// Ends it with this signal and waits for that. Answers whether it ended well.
    pub async fn end(&mut self, signal: Signal) -> bool {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).unwrap();
        tokio::time::timeout(STOP, self.child.wait()).await.expect("it ends").unwrap().success()
    }
}

/// Name, state and parent of a process, when there is one.
fn status(pid: Pid) -> Option<(String, String, String)> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let value = |key: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_start_matches(':').trim()))
    };
    Some((value("Name")?.to_owned(), value("State")?.to_owned(), value("PPid")?.to_owned()))
}

/// Whether this process is over; nobody may have waited for it.
pub fn is_over(pid: Pid) -> bool {
    status(pid).is_none_or(|(_, state, _)| state.starts_with('Z'))
}

impl Drop for Sandbox {
    /// Ends it as an administrator would, so that its databases and its agent end too.
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// An executable of the same build as this test: `target/<profile>/<name>`.
pub fn executable(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let program = profile.join(name);
    assert!(
        program.exists(),
        "{} is missing: cargo build -p nexplane-server -p nexplane-agent && frontend/build",
        program.display()
    );
    program
}
