//! Every way to an execution, and every gate on it: each pair is tried on a change that nothing but
//! that gate holds up, has to be refused with the gate's code, and leaves the target as it was.
//!
//! A new way to execute is a variant of [`Way`], with an arm in [`Stage::attempt`], and a test at the
//! end; a new gate is one of [`Gate`], with an arm in [`Stage::set_up`]. The compiler asks for the rest.
//!
//! That approvals have run out is written into the log, since nobody waits an hour for it here. Not here: that
//! critical changes wait, which is shown of the decisions (`core/src/change/tests/gates.rs`) that every way here
//! asks; and what closes while a run waits for its turn (`server: begin`). The WebSocket takes no commands (`server: authorisation`).

mod conflict;
mod delegated;
mod emergency;
mod retreat;
mod scheduled;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use nexplane_core::change::event::ChangeEvent;
use nexplane_core::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};

use crate::harness::{Answer, Client, Server, Shop, id, text};
use crate::planted;

use self::table::{GATES, Gate, Way};

/// Somebody, signed in, and as they come on the way that is tried.
struct Person {
    session: Client,
    comes: Client,
}

enum Ask {
    Execute,
    /// With an idempotency key.
    ExecuteAs(&'static str),
    Approve(Value),
    /// For somebody.
    ApproveFor(Value, String),
    RollBack,
    /// It was asked for, and is scheduled: the window opens.
    Wait,
}

/// A change, and who asks what of it.
struct Case {
    change: String,
    role: String,
    ask: Ask,
    by: Client,
    /// Freezes to be ended when it is over.
    freezes: Vec<String>,
}

struct Stage {
    way: Way,
    server: Server,
    shop: Shop,
    author: Person,
    editor: Person,
    approver: Person,
    executor: Person,
    responder: Client,
    /// The one that is overridden, on that way.
    freeze: Option<String>,
    /// The maintenance window that is closed, where one is.
    window: Mutex<Option<String>>,
    /// What schedules made, on that way, by role.
    made: BTreeMap<String, String>,
}

impl Stage {
    async fn new(way: Way) -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        // Whoever writes has every role, so that it is never for want of one that they are refused.
        let every = ["operator", "approver", "responder", "admin"];
        let author = person(&server, way, "ann", &every).await;
        let editor = person(&server, way, "dan", &every).await;
        let approver = person(&server, way, "bob", way.approves()).await;
        let executor = person(&server, way, "eve", &["operator"]).await;
        let responder = server.person("rita", &["responder"]).await;
        let mut stage = Self {
            way,
            server,
            shop,
            author,
            editor,
            approver,
            executor,
            responder,
            freeze: None,
            made: BTreeMap::new(),
            window: Mutex::default(),
        };
        if way == Way::Override {
            stage.freeze = Some(stage.freeze("year-end close").await);
        }
        stage
    }

    async fn freeze(&self, reason: &str) -> String {
        let now = jiff::Timestamp::now();
        let [start, end] = [-1, 1].map(|hours| now + jiff::SignedDuration::from_hours(hours));
        let body = json!({
            "scope": { "kind": "all" },
            "start": format!("{start:.6}"),
            "end": format!("{end:.6}"),
            "reason": reason,
        });
        id(&self.server.admin.post("/freeze-windows", body).await.is(201))
    }

    async fn end(&self, freeze: &str) {
        let path = format!("/freeze-windows/{freeze}/end");
        self.server.admin.post(&path, json!({ "reason": "done" })).await.is(200);
    }

    /// On the way of an override, every plan that is submitted is let pass the one freeze.
    async fn let_pass(&self, change: &str) {
        if let Some(freeze) = &self.freeze {
            let body = json!({ "freeze": freeze, "justification": "The key has leaked." });
            let path = format!("/change-requests/{change}/override-freeze");
            self.responder.post(&path, body).await.is(200);
        }
    }

    async fn submit(&self, change: &str) -> Value {
        self.author.session.act(change, "plan").await.is(200);
        let submitted = self.author.session.act(change, "submit").await.is(200);
        assert_eq!(submitted["approvals_needed"], 1, "{submitted:#}");
        self.let_pass(change).await;
        submitted
    }

    async fn approve(&self, submitted: &Value) {
        let approver = &self.approver.session;
        let digest = &submitted["plan"]["digest"];
        let approved = match self.way {
            Way::Emergency => approver.break_glass(&id(submitted), digest).await.is(200),
            _ => approver.approve(&id(submitted), digest).await.is(200),
        };
        assert_eq!(approved["state"], "approved", "{approved:#}");
    }

    /// Makes it possible to execute the change, as the log has it, until then.
    async fn approve_until(&self, submitted: &Value, until: Timestamp) {
        let log = planted::log_of(&self.server).await;
        let by = &self.approver.session;
        match self.way {
            Way::Emergency => {
                let justification = "The key has leaked.".to_owned();
                let digest = text(&submitted["plan"]["digest"]);
                let broken = ChangeEvent::GlassBroken { digest, justification };
                planted::quorum(&log, submitted, by, broken, until).await;
            }
            _ => planted::approval(&log, submitted, by, until).await,
        }
    }

    /// A change of the role by the author, submitted.
    async fn forward(&self, action: &str, role: &str, window: Option<[i64; 2]>) -> Value {
        if self.way == Way::Schedule && action == "postgres.lock_user" {
            // Planned again: the target may have changed since the tick.
            let change = &self.made[role];
            self.author.session.act(change, "withdraw").await.is(200);
            return self.submit(change).await;
        }
        let mut request = self.shop.request(&self.author.session, action, role).await;
        if let Some(hours) = window {
            let now = jiff::Timestamp::now();
            let [start, end] = hours.map(|hours| now + jiff::SignedDuration::from_hours(hours));
            request["window"] =
                json!({ "start": format!("{start:.6}"), "end": format!("{end:.6}") });
        }
        let change = id(&self.author.session.post("/change-requests", request).await.is(201));
        self.submit(&change).await
    }

    /// Schedules of the author, which make a change for each role at their next tick, and no more.
    async fn make(&mut self, roles: &[String]) {
        let author = &self.author.session;
        let mut schedules = BTreeMap::new();
        for role in roles {
            let mut request = self.shop.request(author, "postgres.lock_user", role).await;
            request["cron"] = json!("* * * * *");
            request["zone"] = json!("Etc/UTC");
            schedules.insert(role, id(&author.post("/schedules", request).await.is(201)));
        }
        for (role, schedule) in schedules {
            let path = format!("/schedules/{schedule}");
            let mut patience = 600;
            let made = loop {
                let view = author.get(&path).await.is(200);
                if view["last_change"]["state"] == "submitted" {
                    break id(&view["last_change"]);
                }
                patience -= 1;
                assert!(patience > 0, "no tick has made a change: {view:#}");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            };
            author.post(&format!("{path}/delete"), json!({ "reason": "once" })).await.is(200);
            self.made.insert(role.clone(), made);
        }
    }

    /// A change of the role that was carried out.
    async fn applied(&self, action: &str, role: &str) -> String {
        let submitted = self.forward(action, role, None).await;
        self.approve(&submitted).await;
        let done = self.executor.session.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        id(&done)
    }

    /// The change that is tried, submitted.
    async fn submitted(&self, role: &str) -> Value {
        self.submitted_in(role, None).await
    }

    async fn submitted_in(&self, role: &str, window: Option<[i64; 2]>) -> Value {
        if self.way == Way::Rollback {
            let done = self.applied("postgres.rotate_user_password", role).await;
            self.author.session.act(&done, "rollback").await.is(201)
        } else {
            self.forward("postgres.lock_user", role, window).await
        }
    }

    async fn approved(&self, role: &str) -> Value {
        self.approved_for(&self.executor, role).await
    }

    /// Where the timer starts it, this is who had asked for it.
    async fn approved_for(&self, executor: &Person, role: &str) -> Value {
        let submitted = self.submitted(role).await;
        self.approve(&submitted).await;
        if self.way == Way::Scheduled {
            self.schedule(&id(&submitted), &executor.comes).await;
        }
        submitted
    }

    /// Somebody edits the submitted change, and the author submits it again.
    async fn edited(&self, change: &str) -> Value {
        let path = format!("/change-requests/{change}");
        let edit = json!({ "reason": "Its owner has left, and the audit asks for it." });
        self.editor.session.patch(&path, edit).await.is(200);
        self.submit(change).await
    }

    /// A change that is held up by this gate alone.
    async fn set_up(&self, gate: Gate, role: &str) -> Case {
        let (mut freezes, mut by) = (Vec::new(), self.executor.comes.clone());
        let mut ask = Ask::Execute;
        let change = match gate {
            Gate::QuorumMissing => self.submitted(role).await,
            Gate::OwnApprovalOfAuthor => {
                let submitted = self.submitted(role).await;
                ask = Ask::Approve(submitted["plan"]["digest"].clone());
                by = self.author.comes.clone();
                submitted
            }
            Gate::OwnApprovalOfEditor => {
                let submitted = self.submitted(role).await;
                let edited = self.edited(&id(&submitted)).await;
                ask = Ask::Approve(edited["plan"]["digest"].clone());
                by = self.editor.comes.clone();
                edited
            }
            Gate::OwnApprovalThroughDelegate
            | Gate::EditorsApprovalThroughDelegate
            | Gate::DelegatorRevoked => {
                let submitted;
                (submitted, ask, by) = self.delegated(gate, role).await;
                submitted
            }
            Gate::StaleDigest => {
                let submitted = self.submitted(role).await;
                by = self.approver.comes.clone();
                if self.way == Way::Rollback {
                    ask = Ask::Approve("0".repeat(64).into());
                    submitted
                } else {
                    ask = Ask::Approve(submitted["plan"]["digest"].clone());
                    self.edited(&id(&submitted)).await
                }
            }
            Gate::Expired => {
                let submitted = self.submitted(role).await;
                self.approve_until(&submitted, planted::now().plus_seconds(-1)).await;
                submitted
            }
            Gate::Superseded => {
                let approved = self.approved(role).await;
                self.edited(&id(&approved)).await
            }
            Gate::TargetMoved => {
                let approved = self.approved(role).await;
                let sql = format!("ALTER ROLE {role} NOLOGIN PASSWORD 'of somebody else'");
                self.shop.sql(&sql).await;
                approved
            }
            Gate::Withdrawn => {
                let approved = self.approved(role).await;
                self.author.session.act(&id(&approved), "withdraw").await.is(200)
            }
            Gate::Rejected | Gate::Cancelled => {
                let approved = self.approved(role).await;
                let (by, verb) = match gate {
                    Gate::Rejected => (&self.approver.session, "reject"),
                    _ => (&self.author.session, "cancel"),
                };
                let path = format!("/change-requests/{}/{verb}", id(&approved));
                by.post(&path, json!({ "reason": "not today" })).await.is(200)
            }
            Gate::FrozenApproval => {
                let submitted = self.submitted(role).await;
                freezes.push(self.freeze("inventory").await);
                ask = Ask::Approve(submitted["plan"]["digest"].clone());
                by = self.approver.comes.clone();
                submitted
            }
            Gate::FrozenExecution => {
                let approved = self.approved(role).await;
                freezes.push(self.freeze("inventory").await);
                approved
            }
            Gate::WindowNotOpen | Gate::WindowOver => {
                let window = if gate == Gate::WindowOver { [-2, -1] } else { [100, 101] };
                let submitted = self.submitted_in(role, Some(window)).await;
                self.approve(&submitted).await;
                submitted
            }
            Gate::OperatorRevoked | Gate::Suspended => {
                let name = format!("{gate:?}").to_lowercase();
                let leaver = person(&self.server, self.way, &name, &["operator"]).await;
                let approved = self.approved_for(&leaver, role).await;
                self.dismiss(&leaver, gate).await;
                by = leaver.comes;
                approved
            }
            Gate::ApproverRevoked => {
                let leaver = person(&self.server, self.way, "leaver", self.way.approves()).await;
                let submitted = self.submitted(role).await;
                self.dismiss(&leaver, gate).await;
                ask = Ask::Approve(submitted["plan"]["digest"].clone());
                by = leaver.comes;
                submitted
            }
            Gate::OutOfOrder if self.way == Way::Scheduled => self.out_of_order(role).await,
            Gate::OutOfOrder => {
                // A rollback may be approved already when the later change comes.
                let change = if self.way == Way::Rollback {
                    self.approved(role).await
                } else {
                    ask = Ask::RollBack;
                    json!({ "id": self.applied("postgres.rotate_user_password", role).await })
                };
                self.applied("postgres.lock_user", role).await;
                change
            }
            Gate::DependencyMissing => {
                let approved = self.approved(role).await;
                let author = &self.author.session;
                let request =
                    self.shop.request(author, "postgres.rotate_user_password", role).await;
                let other = id(&author.post("/change-requests", request).await.is(201));
                let project = author.post("/projects", json!({ "name": role })).await.is(201);
                let path = format!("/projects/{}/members", id(&project));
                author.post(&path, json!({ "change": other })).await.is(200);
                let after = json!({ "change": approved["id"], "after": [other] });
                author.post(&path, after).await.is(200);
                approved
            }
            Gate::Conflict => self.met(role).await,
            Gate::KeyReused => {
                let approved = self.approved(role).await;
                // Refused, and remembered.
                let path = format!("/change-requests/{}/submit", id(&approved));
                let post = by.request(Method::POST, &path).header("idempotency-key", "once");
                by.send(post.json(&json!({}))).await;
                ask = Ask::ExecuteAs("once");
                approved
            }
        };
        if self.way == Way::Scheduled && gate.comes_after_scheduling() {
            ask = Ask::Wait;
        }
        Case { change: id(&change), role: role.to_owned(), ask, by, freezes }
    }

    /// Takes the roles, or the account.
    async fn dismiss(&self, person: &Person, gate: Gate) {
        let edit = match gate {
            Gate::Suspended => json!({ "disabled": true }),
            _ => json!({ "roles": ["viewer"] }),
        };
        let path = format!("/users/{}", person.session.id);
        self.server.admin.patch(&path, edit).await.is(200);
    }

    /// Asks, and says what the refusal was; nothing when there was none.
    async fn attempt(&self, change: &str, ask: &Ask, by: &Client) -> Option<(u16, String)> {
        let path = |verb: &str| format!("/change-requests/{change}/{verb}");
        let answer = match (self.way, ask) {
            (Way::CommandLine, ask) => return command_line(&self.server, change, ask, by).await,
            (Way::Scheduled, Ask::Execute) => self.ask_while_closed(change, by).await,
            (Way::Project, Ask::Execute) => return self.by_project(change, None, by).await,
            (Way::Project, Ask::ExecuteAs(key)) => {
                return self.by_project(change, Some(key), by).await;
            }
            (_, Ask::Execute) => by.act(change, "execute").await,
            (_, Ask::ExecuteAs(key)) => {
                let post = by.request(Method::POST, &path("execute"));
                by.send(post.header("idempotency-key", *key).json(&json!({}))).await
            }
            (Way::Emergency, Ask::Approve(digest)) => by.break_glass(change, digest).await,
            (_, Ask::Approve(digest)) => {
                by.post(&path("approve"), json!({ "plan_digest": digest })).await
            }
            (_, Ask::ApproveFor(digest, delegator)) => {
                let body = json!({ "plan_digest": digest, "for": delegator });
                by.post(&path("approve"), body).await
            }
            (_, Ask::RollBack) => by.act(change, "rollback").await,
            (_, Ask::Wait) => panic!("nobody asks"),
        };
        let Answer { status, json, .. } = &answer;
        if *status < 300 {
            return None;
        }
        answer.is_problem();
        Some((*status, text(&json["code"])))
    }

    /// Has the project executed that the change is a member of; one of its own, when it is of none.
    async fn by_project(
        &self,
        change: &str,
        key: Option<&str>,
        by: &Client,
    ) -> Option<(u16, String)> {
        let said = |answer: Answer| {
            answer.is_problem();
            Some((answer.status, text(&answer.json["code"])))
        };
        let author = &self.author.session;
        let project = match author.change(change).await["project"].as_str() {
            Some(project) => project.to_owned(),
            None => {
                let created = author.post("/projects", json!({ "name": change })).await.is(201);
                let path = format!("/projects/{}/members", id(&created));
                let added = author.post(&path, json!({ "change": change })).await;
                if added.status >= 300 {
                    return said(added);
                }
                id(&created)
            }
        };
        let mut post = by.request(Method::POST, &format!("/projects/{project}/execute"));
        if let Some(key) = key {
            post = post.header("idempotency-key", key);
        }
        let answer = by.send(post.json(&json!({}))).await;
        if answer.status >= 300 {
            return said(answer);
        }
        for _ in 0..40 {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let path = format!("/projects/{project}");
            if author.get(&path).await.is(200)["state"] == "blocked" {
                return Some((0, "blocked".to_owned()));
            }
            let now = author.change(change).await;
            if ["executing", "complete", "failed"].contains(&now["state"].as_str().unwrap()) {
                return None;
            }
        }
        Some((0, "waits".to_owned()))
    }

    /// The whole row of the role, as the target says.
    async fn row(&self, role: &str) -> Value {
        let mut admin = self.shop.target.admin().await;
        let sql = format!("SELECT to_jsonb(a) FROM pg_authid a WHERE rolname = '{role}'");
        sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap().get(0)
    }

    async fn seen_since(&self, start: i64, kind: &str) -> bool {
        let pool = self.server.database().pool();
        nexplane_store::testing::has_event(pool, start, kind).await.unwrap()
    }
}

async fn person(server: &Server, way: Way, name: &str, roles: &[&str]) -> Person {
    let session = server.person(name, roles).await;
    let kind = match way {
        Way::PersonToken => "user",
        Way::MachineToken => "machine",
        Way::Session
        | Way::CommandLine
        | Way::Rollback
        | Way::Override
        | Way::Emergency
        | Way::Schedule
        | Way::Project
        | Way::Scheduled => {
            return Person { comes: session.clone(), session };
        }
    };
    let body = json!({ "name": "script", "kind": kind });
    let token = session.post("/tokens", body).await.is(201);
    Person { comes: session.with_token(&text(&token["token"])), session }
}

/// The same from a shell.
async fn command_line(
    server: &Server,
    change: &str,
    ask: &Ask,
    by: &Client,
) -> Option<(u16, String)> {
    let mut arguments = match ask {
        Ask::Execute | Ask::ExecuteAs(_) => vec!["execute".to_owned()],
        Ask::Approve(digest) => vec!["approve".to_owned(), "--digest".to_owned(), text(digest)],
        Ask::ApproveFor(digest, delegator) => {
            let arguments = ["approve", "--digest", digest.as_str().unwrap(), "--for", delegator];
            arguments.map(str::to_owned).to_vec()
        }
        Ask::RollBack => vec!["rollback".to_owned()],
        Ask::Wait => panic!("nobody asks"),
    };
    arguments.push(change.to_owned());
    let base = server.base.lock().unwrap().clone();
    let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .arg("change")
        .args(&arguments)
        .env("NEXPLANE_SERVER", base)
        .env("NEXPLANE_TOKEN", by.token.as_deref().unwrap())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.code() {
        Some(0) => None,
        Some(1) => {
            let (_, code) = said.rsplit_once(" (").unwrap();
            Some((0, code.split(',').next().unwrap().to_owned()))
        }
        other => panic!("{other:?}: {said}"),
    }
}

/// Tries everything on one way.
async fn no_way_past(way: Way) {
    let mut stage = Stage::new(way).await;
    let names: Vec<_> = (0..=GATES.len()).map(|no| format!("r{no}x")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut roles = stage.shop.roles(&stage.server, &names).await;
    if way == Way::Schedule {
        stage.make(&roles).await;
    }
    nothing_in_the_way(&stage, &roles.pop().unwrap()).await;
    let mut tried = 0;
    for (gate, role) in GATES.into_iter().zip(&roles) {
        if let Some(why) = gate.absent(way) {
            eprintln!("{way:?} has no {gate:?}: {why}");
            continue;
        }
        refused(&stage, gate, role).await;
        tried += 1;
    }
    eprintln!("{way:?}: {tried} gates, and none let anything through");
}

/// The same change, and no gate: it is carried out, or the rest would prove nothing.
async fn nothing_in_the_way(stage: &Stage, role: &str) {
    let change = id(&stage.approved(role).await);
    let before = stage.row(role).await;
    let said = stage.attempt(&change, &Ask::Execute, &stage.executor.comes).await;
    if stage.way == Way::MachineToken {
        assert_eq!(said, Some((403, "access.denied".to_owned())));
        // What a machine may do with it, it can.
        let request = stage.shop.request(&stage.author.session, "postgres.lock_user", role).await;
        let drafted = stage.author.comes.post("/change-requests", request).await.is(201);
        stage.author.comes.act(&id(&drafted), "plan").await.is(200);
        assert_eq!(stage.row(role).await, before);
        return;
    }
    assert_eq!(said, None, "{:?}", stage.way);
    let done = stage.executor.session.settled(&change).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    assert_ne!(stage.row(role).await, before);
}

async fn refused(stage: &Stage, gate: Gate, role: &str) {
    let case = stage.set_up(gate, role).await;
    let what = format!("{:?}, {gate:?}", stage.way);
    let (before, start) = (stage.row(&case.role).await, stage.server.events().await);
    if matches!(case.ask, Ask::Wait) {
        stage.held_up(gate, &case, &before).await;
        return;
    }
    let said = stage.attempt(&case.change, &case.ask, &case.by).await;
    if (stage.way, gate) == (Way::Rollback, Gate::TargetMoved) {
        // It compares with what its step left behind, so its run begins; and ends before an intent.
        assert_eq!(said, None, "{what}");
        let blocked = stage.executor.session.settled(&case.change).await;
        assert_eq!(blocked["state"], "rollback_blocked", "{what}: {blocked:#}");
    } else {
        let (status, code) = gate.code(stage.way);
        let status = if stage.way == Way::CommandLine { 0 } else { status };
        let is_closed = said.as_ref().is_some_and(|(_, code)| code == "change.not_in_state");
        if gate == Gate::Expired && is_closed {
            // The timer was there before the asker, and has closed what nobody may run any more.
            let change = stage.author.session.settled(&case.change).await;
            assert_eq!(change["state"], "expired", "{what}: {change:#}");
        } else {
            assert_eq!(said, Some((status, code.to_owned())), "{what}");
        }
        if matches!(case.ask, Ask::Approve(_) | Ask::ApproveFor(..)) {
            // What was not approved does not run either.
            let execute = stage.executor.session.act(&case.change, "execute").await;
            execute.refused(409, "change.quorum_missing");
        }
        let kinds = ["change.approval_given", "change.glass_broken"];
        for kind in kinds.into_iter().chain(["change.execution_started", "run.started"]) {
            assert!(!stage.seen_since(start, kind).await, "{what}: {kind}");
        }
    }
    assert!(!stage.seen_since(start, "run.step_intended").await, "{what}");
    assert_eq!(stage.row(&case.role).await, before, "{what}: the target was touched");
    for freeze in &case.freezes {
        stage.end(freeze).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signed_in_passes_no_gate() {
    no_way_past(Way::Session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_passes_no_gate() {
    no_way_past(Way::CommandLine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_person_passes_no_gate() {
    no_way_past(Way::PersonToken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_machine_passes_no_gate() {
    no_way_past(Way::MachineToken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_passes_no_gate() {
    no_way_past(Way::Rollback).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_passes_one_freeze_and_no_other_gate() {
    no_way_past(Way::Override).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_glass_passes_no_gate_but_the_quorum() {
    no_way_past(Way::Emergency).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_passes_no_gate() {
    no_way_past(Way::Scheduled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_passes_no_gate() {
    no_way_past(Way::Schedule).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_passes_no_gate() {
    no_way_past(Way::Project).await;
}
