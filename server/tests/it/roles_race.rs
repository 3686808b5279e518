//! Roles that are taken from people while these make use of them: in the log nobody approves, executes or
//! overrides anything after they lost the role, or their account, and there is an admin at every position.
//!
//! `NEXPLANE_RACE_ROUNDS` says how often (12 when absent).

use std::collections::BTreeMap;
use std::time::Duration;

use nexplane_core::actor::{ActorKind, Role};
use nexplane_core::audit::Auditor;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::person::event::PersonEvent;
use nexplane_core::record;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, Client, Server, Shop, id, text};

/// How long acting takes until it is learnt.
const USUAL: Duration = Duration::from_millis(60);

fn rounds() -> u64 {
    let asked = std::env::var("NEXPLANE_RACE_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

struct Stage {
    server: Server,
    shop: Shop,
    role: String,
    operator: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let role = shop.role(&server, "app").await;
        let operator = server.operator().await;
        Self { server, shop, role, operator }
    }

    /// With an API token, which outlives the sessions of an account that is disabled for a while.
    async fn person(&self, name: &str, roles: &[&str]) -> Client {
        by_token(&self.server.person(name, roles).await).await
    }

    async fn submitted(&self) -> Value {
        self.shop.sql(&format!("ALTER ROLE {} LOGIN", self.role)).await;
        let request = self.shop.request(&self.operator, "postgres.lock_user", &self.role).await;
        self.operator.submitted(request).await
    }

    async fn edit(&self, person: &Client, edit: Value) {
        self.server.admin.patch(&format!("/users/{}", person.id), edit).await.is(200);
    }

    async fn cancel(&self, change: &Value) {
        let path = format!("/change-requests/{}/cancel", id(change));
        self.operator.post(&path, json!({ "reason": "over" })).await.is(200);
    }

    /// Somebody acts while they lose the role, or their account; whether they were first. How long acting
    /// takes is learnt, so that the one comes first as well as the other.
    async fn race(
        &self,
        round: u64,
        usual: &mut Duration,
        (who, roles): (&Client, &[&str]),
        act: impl Future<Output = Answer>,
    ) -> bool {
        let loses = if round.is_multiple_of(2) {
            json!({ "roles": ["viewer"] })
        } else {
            json!({ "disabled": true })
        };
        let wait = *usual * u32::try_from(round % 4).unwrap() / 3;
        let lose = async {
            tokio::time::sleep(wait).await;
            self.edit(who, loses).await;
        };
        let ((), answer) = tokio::join!(lose, act);
        self.edit(who, json!({ "roles": roles, "disabled": false })).await;
        if answer.status == 200 {
            *usual = *usual * 2 / 3;
            return true;
        }
        *usual = *usual * 3 / 2;
        // Never a conflict: that a person's stream moved is not theirs to know.
        answer.is_refused_with(&[401, 403]);
        false
    }
}

async fn by_token(client: &Client) -> Client {
    let body = json!({ "name": "mine", "kind": "user" });
    client.with_token(&text(&client.post("/tokens", body).await.is(201)["token"]))
}

async fn log_of(server: &Server) -> Vec<Recorded> {
    let records = nexplane_store::testing::event_records(server.database().pool()).await.unwrap();
    (0..)
        .zip(&records)
        .map(|(position, text)| {
            let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
            Recorded { position, header, event }
        })
        .collect()
}

/// The roles that people have, of those whose accounts are enabled.
#[derive(Default)]
struct Accounts {
    roles: BTreeMap<Uuid, Vec<Role>>,
    disabled: BTreeMap<Uuid, bool>,
}

impl Accounts {
    fn observe(&mut self, Recorded { header, event, .. }: &Recorded) {
        let Event::Person(event) = event else { return };
        let person = header.stream.id;
        match event {
            PersonEvent::Added { roles } | PersonEvent::RolesChanged { roles } => {
                self.roles.insert(person, roles.clone());
            }
            PersonEvent::Disabled {} => {
                self.disabled.insert(person, true);
            }
            PersonEvent::Enabled {} => {
                self.disabled.insert(person, false);
            }
            _ => {}
        }
    }

    fn have(&self, person: Uuid, role: Role) -> bool {
        self.roles.get(&person).is_some_and(|roles| roles.contains(&role))
            && self.disabled.get(&person) != Some(&true)
    }

    fn admins(&self) -> usize {
        self.roles.keys().filter(|person| self.have(**person, Role::Admin)).count()
    }
}

/// What people did in the log they could do there; how often they did this.
fn held(events: &[Recorded], counted: impl Fn(&ChangeEvent) -> Option<Role>) -> usize {
    let mut accounts = Accounts::default();
    let mut seen = 0;
    for recorded in events {
        if let Event::Change(event) = &recorded.event
            && recorded.header.actor.kind == ActorKind::User
            && let Some(role) = counted(event)
        {
            let by = recorded.header.actor.id;
            assert!(accounts.have(by, role), "{event:?} at {}", recorded.position);
            seen += 1;
        }
        accounts.observe(recorded);
    }
    let mut auditor = Auditor::starting_at(0);
    events.iter().for_each(|event| auditor.observe(event));
    let report = auditor.finish();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_the_end_of_the_role_one_comes_first() {
    let stage = Stage::new().await;
    let approver = stage.person("anna", &["approver"]).await;
    let (mut given, mut usual) = (0, USUAL);
    for round in 0..rounds() {
        let change = stage.submitted().await;
        let change_id = id(&change);
        let act = approver.approve(&change_id, &change["plan"]["digest"]);
        given += usize::from(stage.race(round, &mut usual, (&approver, &["approver"]), act).await);
        stage.cancel(&change).await;
    }
    eprintln!("{given} of {} approvals came first", rounds());
    let events = log_of(&stage.server).await;
    let seen = held(&events, |event| {
        matches!(event, ChangeEvent::ApprovalGiven { .. }).then_some(Role::Approver)
    });
    assert_eq!(seen, given);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_execution_and_the_end_of_the_role_one_comes_first() {
    let stage = Stage::new().await;
    let approver = stage.person("anna", &["approver"]).await;
    let other = stage.person("oscar", &["operator"]).await;
    let (mut started, mut usual) = (0, USUAL);
    for round in 0..rounds() {
        let change = stage.submitted().await;
        approver.approve(&id(&change), &change["plan"]["digest"]).await.is(200);
        let change_id = id(&change);
        let act = other.act(&change_id, "execute");
        if stage.race(round, &mut usual, (&other, &["operator"]), act).await {
            started += 1;
            let done = stage.operator.settled(&change_id).await;
            assert_eq!(done["state"], "complete", "{done:#}");
        } else {
            stage.cancel(&change).await;
        }
    }
    eprintln!("{started} of {} executions came first", rounds());
    let events = log_of(&stage.server).await;
    let seen = held(&events, |event| {
        matches!(event, ChangeEvent::ExecutionStarted { .. }).then_some(Role::Operator)
    });
    assert_eq!(seen, started);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_override_and_the_end_of_the_role_one_comes_first() {
    let stage = Stage::new().await;
    let responder = stage.person("rita", &["responder"]).await;
    let now = jiff::Timestamp::now();
    let freeze = json!({
        "scope": { "kind": "all" },
        "start": format!("{now:.6}"),
        "end": format!("{:.6}", now + jiff::SignedDuration::from_hours(1)),
        "reason": "closing",
    });
    let freeze = id(&stage.server.admin.post("/freeze-windows", freeze).await.is(201));
    let (mut passed, mut usual) = (0, USUAL);
    for round in 0..rounds() {
        let change = stage.submitted().await;
        let path = format!("/change-requests/{}/override-freeze", id(&change));
        let body = json!({ "freeze": freeze, "justification": "It cannot wait for the closing." });
        let act = responder.post(&path, body);
        passed +=
            usize::from(stage.race(round, &mut usual, (&responder, &["responder"]), act).await);
        stage.cancel(&change).await;
    }
    eprintln!("{passed} of {} overrides came first", rounds());
    let events = log_of(&stage.server).await;
    let seen = held(&events, |event| {
        matches!(event, ChangeEvent::FreezeOverridden { .. }).then_some(Role::Responder)
    });
    assert_eq!(seen, passed);
}

/// Whoever makes tokens, or signs in, while they approve hears nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_else_happens_to_a_person_is_in_nobodys_way() {
    let stage = Stage::new().await;
    let approver = stage.person("anna", &["approver"]).await;
    for _ in 0..rounds() {
        let change = stage.submitted().await;
        let others = async {
            for no in 0..8 {
                let body = json!({ "name": format!("program {no}"), "kind": "machine" });
                approver.post("/tokens", body).await.is(201);
            }
        };
        let approve = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            approver.approve(&id(&change), &change["plan"]["digest"]).await
        };
        let ((), approved) = tokio::join!(others, approve);
        approved.is(200);
        stage.cancel(&change).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_who_take_the_role_from_each_other_leave_one() {
    let server = Server::start().await;
    let one = by_token(&server.admin).await;
    let other = by_token(&server.person("ada", &["admin"]).await).await;
    let path = |of: &Client| format!("/users/{}", of.id);
    for round in 0..rounds() {
        let edit = match round % 2 {
            0 => json!({ "roles": ["viewer"] }),
            _ => json!({ "disabled": true }),
        };
        // From each other, or each from themselves.
        let whom = if round % 4 < 2 { [&other, &one] } else { [&one, &other] };
        let paths = whom.map(path);
        let (first, second) =
            tokio::join!(one.patch(&paths[0], edit.clone()), other.patch(&paths[1], edit));
        let done = [first.status == 200, second.status == 200];
        for answer in [first, second] {
            if answer.status != 200 {
                assert!([401, 403, 409].contains(&answer.status), "{answer:?}");
                assert_ne!(answer.json["code"], "conflict.version", "{answer:?}");
            }
        }
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "in round {round}");
        let (lost, left) =
            if whom[usize::from(done[1])].id == one.id { (&one, &other) } else { (&other, &one) };
        let back = json!({ "roles": ["admin"], "disabled": false });
        left.patch(&path(lost), back).await.is(200);
    }
    let mut accounts = Accounts::default();
    for recorded in log_of(&server).await {
        accounts.observe(&recorded);
        assert!(accounts.roles.is_empty() || accounts.admins() > 0, "at {}", recorded.position);
    }
}
