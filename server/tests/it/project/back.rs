//! A project goes back as a whole: newest first, each member by a rollback of its own that somebody approves,
//! until nothing of it stands or one has stopped.

use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::Principal;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::change::{Change, ChangeCommand};
use nexplane_core::event::Event;
use nexplane_core::id::{ChangeId, PersonId, ProjectId};
use nexplane_core::plan::{Plan, PlanHeader};
use nexplane_server::stream::{self, Request};
use nexplane_store::log::Log;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{Stage, items_of};
use crate::harness::{eventually, id, items, text};

impl Stage {
    async fn ask_back(&self, project: &str) -> Value {
        let body = json!({ "reason": "The reports are wrong." });
        self.operator.post(&format!("/projects/{project}/rollback"), body).await.is(200)
    }

    /// Changes of roles, one after the other, that were carried out as a project.
    async fn carried_out(&self, changes: &[Value]) -> String {
        let project = self.project("Leavers").await;
        for (place, change) in changes.iter().enumerate() {
            self.approve(change).await;
            let after: Vec<_> =
                place.checked_sub(1).map(|before| &changes[before]).into_iter().collect();
            self.add(&project, change, &after).await;
        }
        self.ask(&project).await;
        self.until(&project, "complete").await;
        project
    }

    /// The rollback of a member that waits for its approval, other than this one.
    async fn rollback_of(&self, project: &str, member: &Value, not: Option<&Value>) -> Value {
        eventually("its rollback waits for an approval", async || {
            let view = self.show(project).await;
            assert_eq!(view["state"], "going_back", "{view:#}");
            let member = items_of(&view).iter().find(|m| m["change"] == member["id"]).cloned()?;
            let rollback = self.operator.change(member["rollback"].as_str()?).await;
            let is_new = not.is_none_or(|not| rollback["id"] != not["id"]);
            (rollback["state"] == "submitted" && is_new).then_some(rollback)
        })
        .await
    }

    async fn state_of(&self, change: &Value) -> Value {
        self.operator.change(&id(change)).await["state"].clone()
    }

    async fn backs(&self, project: &str) -> Vec<Value> {
        let view = self.show(project).await;
        items_of(&view).iter().map(|member| member["back"].clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_first_and_each_with_an_approval_of_its_own() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c", "d"]).await;
    let mut changes = stage.locks(&roles).await;
    let waiting = changes.pop().unwrap();
    let project = stage.carried_out(&changes).await;
    stage.add(&project, &waiting, &[&changes[2]]).await;

    let base = stage.server.base.lock().unwrap().clone();
    let asked = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .args(["project", "rollback", &project, "--reason", "The reports are wrong"])
        .env("NEXPLANE_SERVER", base)
        .env("NEXPLANE_TOKEN", stage.operator.token.as_deref().unwrap())
        .output()
        .await
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let mut rollbacks = Vec::new();
    for member in changes.iter().rev() {
        let rollback = stage.rollback_of(&project, member, None).await;
        assert_eq!(rollback["rollback_of"], member["id"], "{rollback:#}");
        assert_eq!(rollback["requester"], json!(stage.operator.id));
        let sentence = text(&stage.show(&project).await["waiting_for"]);
        assert!(sentence.contains(&format!("#{}", rollback["number"])), "{sentence}");
        // Nobody approves what they asked for, in a project either.
        let own = stage.operator.approve(&id(&rollback), &rollback["plan"]["digest"]).await;
        own.refused(403, "change.own_approval");
        stage.approve(&rollback).await;
        rollbacks.push(rollback);
    }
    let view = stage.until(&project, "went_back").await;
    assert_eq!(
        stage.backs(&project).await,
        [json!("undone"), json!("undone"), json!("undone"), json!("nothing")],
        "{view:#}"
    );
    for (role, member) in roles.iter().zip(&changes) {
        assert!(stage.shop.lets_in(role, role).await, "{role}");
        assert_eq!(stage.state_of(member).await, "rolled_back");
    }
    // The next one is proposed once the newer one is undone, and not before.
    for (place, member) in changes.iter().rev().enumerate().take(2) {
        let undone = stage.position(member, "change.rolled_back").await;
        assert!(undone < stage.position(&rollbacks[place + 1], "change.drafted").await);
    }
    let again = json!({ "reason": "Once more." });
    let path = format!("/projects/{project}/rollback");
    stage.operator.post(&path, again).await.refused(409, "project.not_in_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_where_a_rollback_does_and_goes_on_when_somebody_asks_again() {
    let stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let mut changes = Vec::new();
    for (action, role) in ["postgres.lock_user", "postgres.rotate_user_password"].iter().zip(&roles)
    {
        let request = stage.shop.request(&stage.operator, action, role).await;
        changes.push(stage.operator.submitted(request).await);
    }
    let [a, b] = &changes[..] else { unreachable!() };
    let project = stage.carried_out(&changes).await;

    // Somebody says no.
    stage.ask_back(&project).await;
    let rejected = stage.rollback_of(&project, b, None).await;
    let path = format!("/change-requests/{}/reject", id(&rejected));
    stage.approver.post(&path, json!({ "reason": "They are right." })).await.is(200);
    let blocked = stage.until(&project, "back_blocked").await;
    assert_eq!(blocked["back"]["blocked"]["change"], b["id"], "{blocked:#}");
    let sentence = text(&blocked["waiting_for"]);
    assert!(sentence.contains("rejected: They are right."), "{sentence}");
    assert_eq!(stage.backs(&project).await, [json!("not_attempted"), json!("stopped")]);
    assert!(!stage.shop.lets_in(&roles[0], &roles[0]).await, "what is older is not touched");

    // Asked again, with a rollback of its own. Then somebody else changes the target.
    stage.ask_back(&project).await;
    let moved = stage.rollback_of(&project, b, Some(&rejected)).await;
    let verifier = verifier(&stage, &roles[1]).await;
    stage.shop.sql(&format!("ALTER ROLE {} PASSWORD 'of somebody else'", roles[1])).await;
    stage.approve(&moved).await;
    let blocked = stage.until(&project, "back_blocked").await;
    assert_eq!(blocked["back"]["blocked"]["change"], b["id"], "{blocked:#}");
    assert_eq!(stage.state_of(b).await, "rollback_blocked");
    assert_eq!(stage.state_of(a).await, "complete");

    // Put right, it goes on; until whoever asked may no longer.
    stage.shop.sql(&format!("ALTER ROLE {} PASSWORD '{verifier}'", roles[1])).await;
    stage.ask_back(&project).await;
    let third = stage.rollback_of(&project, b, Some(&moved)).await;
    stage.approve(&third).await;
    let last = stage.rollback_of(&project, a, None).await;
    assert!(stage.shop.lets_in(&roles[1], &roles[1]).await, "its old password is back");
    let user = format!("/users/{}", stage.operator.id);
    stage.server.admin.patch(&user, json!({ "roles": ["viewer"] })).await.is(200);
    stage.approve(&last).await;
    let blocked = stage.until(&project, "back_blocked").await;
    assert!(text(&blocked["waiting_for"]).contains("operator role"), "{blocked:#}");
    assert!(!stage.shop.lets_in(&roles[0], &roles[0]).await);
    stage.server.admin.patch(&user, json!({ "roles": ["operator"] })).await.is(200);
    // What was approved is not approved again.
    stage.ask_back(&project).await;
    stage.until(&project, "went_back").await;
    assert_eq!(stage.state_of(&last).await, "complete");
    assert!(stage.shop.lets_in(&roles[0], &roles[0]).await);
}

/// A crash left the rollback planned and not submitted, and the policy changed since.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_was_left_is_planned_under_the_newest_policy() {
    let mut stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a"]).await;
    let changes = stage.locks(&roles).await;
    let project = stage.carried_out(&changes).await;
    let like = id(&stage.operator.act(&id(&changes[0]), "rollback").await.is(201));
    let path = format!("/change-requests/{like}/cancel");
    stage.operator.post(&path, json!({ "reason": "All of it." })).await.is(200);
    let rules = json!([{ "then": { "ask": { "approvals": 1 } } }]);
    let policy = json!({ "document": { "rules": rules }, "note": "x", "based_on": 1 });
    stage.server.admin.post("/policies", policy).await.is(201);
    stage.server.kill9().await;
    let opened = stage.server.opened().await;
    leave(&opened.log, &project, &changes[0], &like, &stage.operator.id).await;
    opened.close().await.unwrap();
    stage.server.up().await;

    stage.ask_back(&project).await;
    let rollback = stage.rollback_of(&project, &changes[0], None).await;
    let history = stage.operator.history(&id(&rollback)).await;
    let plans = history.iter().filter(|event| *event == "change.planned").count();
    assert_eq!(plans, 2, "{history:?}");
    stage.approve(&rollback).await;
    stage.until(&project, "went_back").await;
    assert!(stage.shop.lets_in(&roles[0], &roles[0]).await);
}

/// Writes the rollback that the first asking makes, up to a plan like the one of this change.
async fn leave(log: &Log, project: &str, member: &Value, like: &str, operator: &str) {
    let project = ProjectId(project.parse().unwrap());
    let member = ChangeId(id(member).parse().unwrap());
    let like = ChangeId(like.parse().unwrap());
    let loaded = stream::load::<Change>(log, like.into()).await.unwrap();
    let events = stream::history(log, like.into(), None).await.unwrap();
    let plan = events.into_iter().find_map(|recorded| match recorded.event {
        Event::Change(ChangeEvent::Planned { plan }) => Some(plan),
        _ => None,
    });
    let plan = plan.unwrap();
    let change = ChangeId(Uuid::new_v5(&project.0, format!("go back 1 {member}").as_bytes()));
    let actor = Actor::machine(PersonId(operator.parse().unwrap()));
    let program = Principal { actor, roles: vec![Role::Operator] };
    let request = Request::once(program, stream::now());
    let draft = loaded.state.subject().unwrap().draft.clone();
    let drafted = ChangeCommand::DraftForProject { draft, rollback_of: member, project };
    let header = PlanHeader { change, ..plan.header.clone() };
    let plan = Plan::new(header, plan.steps.clone(), plan.checks.clone(), stream::now());
    let planned = ChangeCommand::RecordPlan { plan: Box::new(plan) };
    for (purpose, command) in [("draft", drafted), ("plan", planned)] {
        let asked = request.also(purpose);
        stream::execute::<Change>(log, change.into(), &asked, command).await.unwrap();
    }
}

/// What the target compares a password with.
async fn verifier(stage: &Stage, role: &str) -> String {
    let mut admin = stage.shop.target.admin().await;
    let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
    sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_on_the_way_back_undoes_each_member_once() {
    let mut stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c"]).await;
    let changes = stage.locks(&roles).await;
    let project = stage.carried_out(&changes).await;
    stage.ask_back(&project).await;
    for member in changes.iter().rev() {
        // Once before the rollback is made, and once when it may run or does.
        stage.server.kill9().await;
        stage.server.up().await;
        let rollback = stage.rollback_of(&project, member, None).await;
        stage.approve(&rollback).await;
        stage.server.kill9().await;
        stage.server.up().await;
        eventually("it is undone", async || {
            (stage.state_of(member).await == "rolled_back").then_some(())
        })
        .await;
    }
    stage.until(&project, "went_back").await;
    let all = items(&stage.operator.get("/change-requests?limit=200").await.is(200));
    let mut undone = Vec::new();
    for (role, member) in roles.iter().zip(&changes) {
        assert!(stage.shop.lets_in(role, role).await, "{role}");
        let own: Vec<_> = all.iter().filter(|other| other["rollback_of"] == member["id"]).collect();
        assert_eq!(own.len(), 1, "{own:#?}");
        let times = |history: &[String], kind: &str| history.iter().filter(|k| *k == kind).count();
        let history = stage.operator.history(&id(member)).await;
        assert_eq!(times(&history, "change.rolled_back"), 1, "{history:?}");
        let history = stage.operator.history(&id(own[0])).await;
        assert_eq!(times(&history, "run.step_intended"), 1, "{history:?}");
        undone.push(stage.position(member, "change.rolled_back").await);
    }
    assert!(undone.is_sorted_by(|older, newer| older > newer), "{undone:?}");
}
