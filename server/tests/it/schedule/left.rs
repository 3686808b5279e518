//! Changes that a schedule left half-made: after a crash they are gone on with from what they are, and what
//! can not go on is in the way of no further tick.

use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::Principal;
use nexplane_core::change::{Change, ChangeCommand, ChangeState, Drafting};
use nexplane_core::id::{ChangeId, PersonId, ScheduleId};
use nexplane_core::plan::{Plan, PlanHeader};
use nexplane_core::schedule::{Schedule, ScheduleCommand, ScheduleState};
use nexplane_server::open::Opened;
use nexplane_server::stream::{self, Request};
use serde_json::json;
use uuid::Uuid;

use super::{every_minute, made, schedule, within_a_tick};
use crate::harness::{Client, Server, Shop, id, items};

const LOCK: &str = "postgres.lock_user";

/// How far a schedule had come when its server was killed.
struct Left {
    schedule: String,
    change: ChangeId,
    /// Seconds before the crash that it was planned, and the version of the policy then.
    planned: Option<(i64, u32)>,
}

/// What a server that is killed at some moment has written, and nothing that it has not.
struct Beside {
    opened: Opened,
    owner: PersonId,
}

impl Beside {
    async fn new(server: &Server, owner: &Client) -> Self {
        let owner = PersonId(owner.id.parse().unwrap());
        Self { opened: server.opened().await, owner }
    }

    fn by(&self, actor: Actor) -> Request {
        Request::once(Principal { actor, roles: vec![Role::Operator] }, stream::now())
    }

    /// Up to where the plan is in the log, which is one that was made of the same target.
    async fn write(&self, left: &Left, like: &str) {
        let log = &self.opened.log;
        let Left { schedule, change, planned } = left;
        let schedule = ScheduleId(schedule.parse().unwrap());
        let system = Request::once(Principal::SYSTEM, stream::now());
        let owner = self.by(Actor::user(self.owner)).by;
        let tick = ScheduleCommand::Tick { owner, change: *change, open: None };
        let done = stream::execute::<Schedule>(log, schedule.into(), &system, tick).await.unwrap();
        assert_eq!(done.events.len(), 1, "the tick has come: {:?}", done.events);
        let ScheduleState::Standing(standing) = done.state else { panic!("{:?}", done.state) };
        let program = self.by(Actor::machine(self.owner));
        let (draft, editors) = (standing.template.draft(), Vec::new());
        let draft = ChangeCommand::DraftForSchedule { draft, schedule, editors };
        stream::execute::<Change>(log, (*change).into(), &program, draft).await.unwrap();
        let Some((ago, policy_version)) = planned else { return };
        let like = ChangeId(like.parse().unwrap());
        let loaded = stream::load::<Change>(log, like.into()).await.unwrap();
        let ChangeState::Draft(Drafting { plan: Some(plan), .. }) = loaded.state else {
            panic!("{:?}", loaded.state)
        };
        let header =
            PlanHeader { change: *change, policy_version: *policy_version, ..plan.header.clone() };
        let at = stream::now().plus_seconds(-ago);
        let plan = Box::new(Plan::new(header, plan.steps.clone(), plan.checks.clone(), at));
        let program = program.also("plan");
        let record = ChangeCommand::RecordPlan { plan };
        stream::execute::<Change>(log, (*change).into(), &program, record).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_gone_on_with_from_what_it_is() {
    let mut server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let owner = server.operator().await;
    let rules = json!([{ "then": { "ask": { "approvals": 1 } } }]);
    let policy = json!({ "document": { "rules": rules }, "note": "x", "based_on": 1 });
    server.admin.post("/policies", policy).await.is(201);
    let roles = shop.roles(&server, &["bare", "fresh", "old", "outdated"]).await;
    let stages = [None, Some((0, 2)), Some((2 * 3600, 2)), Some((0, 1))];
    let mut like = Vec::new();
    for role in &roles {
        let request = shop.request(&owner, LOCK, role).await;
        let change = id(&owner.post("/change-requests", request).await.is(201));
        owner.act(&change, "plan").await.is(200);
        like.push(change);
    }
    // The server has to be gone before the tick comes.
    while jiff::Timestamp::now().as_second() % 60 > 45 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let mut left = Vec::new();
    for (role, planned) in roles.iter().zip(stages) {
        let schedule = every_minute(&shop, &owner, LOCK, role).await;
        left.push(Left { schedule, change: ChangeId(Uuid::now_v7()), planned });
    }
    server.kill9().await;
    let minute = jiff::Timestamp::now().as_second() / 60;
    while jiff::Timestamp::now().as_second() / 60 == minute {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let beside = Beside::new(&server, &owner).await;
    for (left, like) in left.iter().zip(&like) {
        beside.write(left, like).await;
    }
    beside.opened.close().await.unwrap();
    server.up().await;

    for (Left { schedule: of, change, planned }, role) in left.iter().zip(&roles) {
        let change = change.0.to_string();
        within_a_tick(role, async || {
            (owner.change(&change).await["state"] == "submitted").then_some(())
        })
        .await;
        let history = owner.history(&change).await;
        let plans = history.iter().filter(|event| *event == "change.planned").count();
        let outdated = planned.is_some_and(|planned| planned != (0, 2));
        assert_eq!(plans, if outdated { 2 } else { 1 }, "{role}: {history:?}");
        let view = schedule(&owner, of).await;
        assert!(view["last_change"]["problem"].is_null(), "{role}: {view:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_go_on_ends_and_the_next_tick_makes_another() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let owner = server.operator().await;
    let roles = shop.roles(&server, &["refused", "gone"]).await;
    let of_refused = every_minute(&shop, &owner, "postgres.drop_user", &roles[0]).await;
    let of_gone = every_minute(&shop, &owner, LOCK, &roles[1]).await;
    let rules = json!([
        {
            "when": { "change_type": ["postgres.drop_user"], "rollback": false },
            "then": { "refuse": { "reason": "roles are locked, not dropped" } },
        },
        { "then": { "ask": { "approvals": 1 } } },
    ]);
    let policy = json!({ "document": { "rules": rules }, "note": "x", "based_on": 1 });
    server.admin.post("/policies", policy).await.is(201);
    shop.sql(&format!("DROP ROLE {}", roles[1])).await;

    for (of, why) in [(&of_refused, "locked, not dropped"), (&of_gone, roles[1].as_str())] {
        let first = made(&owner, of, &json!({ "id": null }), "cancelled").await;
        let problem = within_a_tick("the schedule says why", async || {
            schedule(&owner, of).await["last_change"]["problem"].as_str().map(str::to_owned)
        })
        .await;
        assert!(problem.contains(why), "{problem}");
        let change = id(&first["last_change"]);
        let events = owner.get(&format!("/change-requests/{change}/events?limit=50")).await.is(200);
        let ended = items(&events).into_iter().find(|event| event["type"] == "change.cancelled");
        assert!(ended.unwrap()["data"]["reason"].as_str().unwrap().contains(why), "{events:#}");
        let second = made(&owner, of, &first["last_change"], "cancelled").await;
        assert_eq!(second["skipped_in_all"], 0, "{second:#}");
    }
}
