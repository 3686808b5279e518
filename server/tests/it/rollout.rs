//! Changes on many targets: batches, brakes, a crash, and the way back, on a real PostgreSQL.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash_stage::{Count, shop_by, socket};
use crate::fault_proxy::{Proxy, Upstream};
use crate::harness::{Client, Server, Shop, eventually, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approver: Client,
    roles: Vec<String>,
}

impl Stage {
    async fn new(count: usize) -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        let names: Vec<_> = (0..count).map(|no| format!("app{no:03}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let roles = shop.roles(&server, &names).await;
        Self { server, shop, operator, approver, roles }
    }

    async fn request(&self, strategy: Value) -> Value {
        let mut request =
            self.shop.request(&self.operator, "postgres.lock_user", &self.roles[0]).await;
        let first = text(&request["targets"][0]);
        let (connection, _) = first.split_once('/').unwrap();
        let keys: Vec<_> =
            self.roles.iter().map(|role| format!("{connection}/role/{role}")).collect();
        request["targets"] = json!(keys);
        if !strategy.is_null() {
            request["rollout"] = strategy;
        }
        request
    }

    /// An approved change on all roles.
    async fn approved(&self, strategy: Value) -> String {
        let submitted = self.operator.submitted(self.request(strategy).await).await;
        self.approve(&submitted).await;
        id(&submitted)
    }

    async fn approve(&self, submitted: &Value) {
        let needed = submitted["approvals_needed"].as_u64().unwrap();
        let names = ["paul", "petra"];
        for name in names.iter().take(usize::try_from(needed).unwrap()) {
            let approver = match *name {
                "paul" => self.approver.clone(),
                name => self.server.person(name, &["approver", "admin"]).await,
            };
            approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }

    async fn until(&self, change: &str, state: &str) -> Value {
        eventually("the rollout is there", async || {
            let view = self.operator.change(change).await;
            (view["rollout"]["progress"]["state"] == state).then_some(view)
        })
        .await
    }

    async fn targets(&self, change: &str, state: &str) -> Vec<Value> {
        let path = format!("/change-requests/{change}/targets?limit=200&state={state}");
        items(&self.operator.get(&path).await.is(200))
    }

    /// How many of the roles may log in.
    async fn open(&self) -> i64 {
        let mut admin = self.shop.target.admin().await;
        sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname = ANY($1) AND rolcanlogin")
            .bind(&self.roles)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    }

    async fn is_sound(&self) {
        let dsn = self.server.database().url();
        let key = self.server.data_dir().join("log.vkey");
        let shown = self.server.command(&["keys", "show", "log"]).output().await.unwrap();
        std::fs::write(&key, shown.stdout).unwrap();
        let key = key.to_str().unwrap().to_owned();
        let verify = ["audit", "verify", "--dsn", &dsn, "--key", &key, "--json"];
        let mut verifier = Command::new(env!("CARGO_BIN_EXE_nexplane"));
        let output = verifier.args(verify).env_remove("DATABASE_URL").output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said} {output:?}");
    }
}

fn strategy(canary: u32, batch: u32) -> Value {
    json!({ "canary": canary, "batch": batch, "parallel": 4 })
}

fn tally(view: &Value) -> [u64; 4] {
    let progress = &view["rollout"]["progress"];
    ["complete", "failed", "unknown", "not_started"].map(|name| progress[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_batch_by_batch_and_all_of_it_is_undone() {
    let stage = Stage::new(24).await;
    let operator = &stage.operator;
    let change = stage.approved(strategy(2, 10)).await;
    let plan = operator.change(&change).await["plan"].clone();
    assert_eq!(
        (plan["step_count"].as_u64(), plan["steps"].as_array().unwrap().len()),
        (Some(24), 20)
    );
    assert_eq!(stage.targets(&change, "waiting").await.len(), 24);

    let view = operator.executed(&change).await;
    assert_eq!(view["state"], "complete", "{view:#}");
    assert_eq!(tally(&view), [24, 0, 0, 0]);
    assert_eq!(view["rollout"]["progress"]["batches"], 4);
    assert_eq!(stage.open().await, 0);
    let targets = stage.targets(&change, "complete").await;
    assert_eq!(targets.len(), 24);
    assert!(targets.iter().zip(&stage.roles).all(|(target, role)| target["name"] == **role));

    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    let rollback = operator.executed(&id(&rollback)).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert_eq!(operator.undone(&change).await["state"], "rolled_back");
    assert_eq!(stage.open().await, 24);
    stage.is_sound().await;
}

/// How far the targets are comes from a read model of its own, and is no older than the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_over_has_no_target_under_way_in_the_same_answer() {
    let stage = Stage::new(2).await;
    let change = stage.approved(strategy(1, 1)).await;
    let mut held = stage.server.database().pool().begin().await.unwrap();
    let lock = "LOCK TABLE nexplane.rm_rollouts IN SHARE MODE";
    sqlx::query(lock).execute(&mut *held).await.unwrap();
    stage.operator.act(&change, "execute").await.is(200);
    eventually("the target has it", async || (stage.open().await == 0).then_some(())).await;
    let list = async || {
        let get = stage
            .operator
            .request(reqwest::Method::GET, "/change-requests")
            .header("x-min-position", 0);
        items(&stage.operator.send(get).await.is(200)).swap_remove(0)
    };
    eventually("the change is over", async || (list().await["state"] == "complete").then_some(()))
        .await;
    let path = format!("/change-requests/{change}");
    let get = stage.operator.request(reqwest::Method::GET, &path).header("x-min-position", 0);
    let (view, ()) = tokio::join!(stage.operator.send(get), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        held.rollback().await.unwrap();
    });
    let view = view.is(200);
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [2, 0, 0, 0]), "{view:#}");
}

/// What is not there any more, or cannot be read, is told as not undone, and keeps nothing else from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_any_more_keeps_no_other_from_it() {
    let stage = Stage::new(8).await;
    let operator = &stage.operator;
    // Two more behind a line that will be cut.
    let line = Proxy::to(Upstream::Postgres(socket(stage.server.database()))).await;
    let far = shop_by(&stage.server, &line).await;
    let lost = far.roles(&stage.server, &["far0", "far1"]).await;
    let mut request = stage.request(strategy(2, 4)).await;
    for role in &lost {
        let key = far.asset(operator, role).await["key"].clone();
        request["targets"].as_array_mut().unwrap().insert(0, key);
    }
    let submitted = operator.submitted(request).await;
    stage.approve(&submitted).await;
    let change = id(&submitted);
    let view = operator.executed(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [10, 0, 0, 0]), "{view:#}");

    // The newest comes first on the way back, and is gone; another one goes after the plan was made.
    stage.shop.sql(&format!("DROP ROLE {}", stage.roles[7])).await;
    line.down();
    let rollback = operator.act(&change, "rollback").await.is(201);
    assert_eq!(rollback["plan"]["step_count"], 10, "{rollback:#}");
    let checks = rollback["plan"]["checks"].to_string();
    assert!(checks.contains("2 could not be"), "{checks}");
    stage.approve(&rollback).await;
    stage.shop.sql(&format!("DROP ROLE {}", stage.roles[3])).await;
    let rollback = operator.executed(&id(&rollback)).await;
    assert_eq!(tally(&rollback), [6, 4, 0, 0], "{rollback:#}");
    assert_eq!(operator.undone(&change).await["state"], "rollback_partial");
    assert_eq!(stage.open().await, 6);

    // What can be reached again is undone then; what is done already stays so.
    line.mend();
    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    let rollback = operator.executed(&id(&rollback)).await;
    assert_eq!(tally(&rollback), [8, 2, 0, 0], "{rollback:#}");
    assert!(far.lets_in(&lost[0], &lost[0]).await && far.lets_in(&lost[1], &lost[1]).await);
    stage.is_sound().await;
}

/// Somebody took the first of them away after the plan was made: the next ones are the canary.
#[tokio::test(flavor = "multi_thread")]
async fn what_moved_since_the_plan_is_not_the_canary_of_the_way_back() {
    let stage = Stage::new(8).await;
    let operator = &stage.operator;
    let change = stage.approved(strategy(1, 4)).await;
    let view = operator.executed(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [8, 0, 0, 0]), "{view:#}");
    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    // The newest comes first on the way back.
    for role in &stage.roles[6..] {
        stage.shop.sql(&format!("DROP ROLE {role}")).await;
    }
    let rollback = operator.executed(&id(&rollback)).await;
    assert_eq!(tally(&rollback), [6, 2, 0, 0], "{rollback:#}");
    // One each, of which the third was undone, then four and the last.
    assert_eq!(rollback["rollout"]["progress"]["batches"], 5, "{rollback:#}");
    assert_eq!(operator.undone(&change).await["state"], "rollback_partial");
    assert_eq!(stage.open().await, 6);
    let moved = stage.targets(&id(&rollback), "failed").await;
    assert!(text(&moved[0]["reason"]).contains("was moved since the change"), "{moved:#?}");
    stage.is_sound().await;
}

/// The whole went back by itself, but for what could not be read: that is told as such.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_by_itself_is_not_undone_before_all_of_it_is() {
    let stage = Stage::new(3).await;
    let operator = &stage.operator;
    let line = Proxy::to(Upstream::Postgres(socket(stage.server.database()))).await;
    let far = shop_by(&stage.server, &line).await;
    let lost = far.role(&stage.server, "far").await;
    let mut request = stage.request(strategy(1, 1)).await;
    let key = far.asset(operator, &lost).await["key"].clone();
    request["targets"].as_array_mut().unwrap().insert(0, key);
    request["rollout"]["pause_s"] = json!(3);
    request["auto_rollback"] = json!(true);
    let submitted = operator.submitted(request).await;
    stage.approve(&submitted).await;
    let change = id(&submitted);
    stage.shop.sql(&format!("ALTER ROLE {} NOLOGIN", stage.roles[1])).await;
    operator.act(&change, "execute").await.is(200);
    eventually("the first is complete", async || {
        (tally(&operator.change(&change).await)[0] > 0).then_some(())
    })
    .await;
    line.down();
    let view = eventually("it has gone back", async || {
        let view = operator.change(&change).await;
        let state = text(&view["state"]);
        state.starts_with("roll").then_some(view).filter(|_| state != "rolling_back")
    })
    .await;
    assert_eq!(view["state"], "rollback_partial", "{view:#}");
    assert_eq!(stage.open().await, 2, "the first is undone, the second was locked by somebody");
    stage.is_sound().await;
}

/// Batches, strategy and pages of the manifest when nobody says anything of them.
#[tokio::test(flavor = "multi_thread")]
async fn more_targets_than_one_run_has_are_gone_through_with_care() {
    let stage = Stage::new(120).await;
    let change = stage.approved(Value::Null).await;
    let view = stage.operator.change(&change).await;
    let expected = json!({
        "canary": 1, "batch": 12, "parallel": 50, "pause_s": 0, "max_failed": 0,
        "hold_after_canary": false,
    });
    assert_eq!(view["rollout"]["strategy"], expected);
    assert_eq!(
        (view["rollout"]["targets"].as_u64(), view["targets"].as_array().unwrap().len()),
        (Some(120), 100)
    );
    let view = stage.operator.executed(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [120, 0, 0, 0]));
    assert_eq!(stage.open().await, 0);
    stage.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_stops_it_and_the_rest_is_not_touched() {
    let stage = Stage::new(12).await;
    // One after the other: what is not begun when the second fails stays as it is, also in the canary.
    let mut one_by_one = strategy(2, 10);
    one_by_one["parallel"] = json!(1);
    let change = stage.approved(one_by_one).await;
    // Somebody was faster: not what was planned.
    stage.shop.sql(&format!("ALTER ROLE {} NOLOGIN", stage.roles[1])).await;
    let view = stage.operator.executed(&change).await;
    assert_eq!(view["state"], "failed", "{view:#}");
    assert_eq!(tally(&view), [1, 1, 0, 10]);
    assert!(text(&view["closing_reason"]).contains("10 were not started"), "{view:#}");
    let failed = stage.targets(&change, "failed").await;
    assert_eq!(failed[0]["name"], *stage.roles[1]);
    assert!(text(&failed[0]["reason"]).contains("is not what it was"), "{failed:#?}");
    assert_eq!(stage.targets(&change, "not_started,waiting").await.len(), 10);
    assert_eq!(stage.open().await, 10);

    // What was done is undone, and nothing else.
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    assert_eq!(rollback["plan"]["step_count"], 1);
    stage.approve(&rollback).await;
    let rollback = stage.operator.executed(&id(&rollback)).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert_eq!(stage.open().await, 11);
    stage.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_up_to_what_was_agreed_do_not_stop_it() {
    let stage = Stage::new(12).await;
    let mut strategy = strategy(2, 5);
    strategy["max_failed"] = json!(1);
    let change = stage.approved(strategy).await;
    stage.shop.sql(&format!("ALTER ROLE {} NOLOGIN", stage.roles[4])).await;
    let view = stage.operator.executed(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [11, 1, 0, 0]));
    assert_eq!(stage.open().await, 0);
    stage.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_person_after_the_canary_and_can_be_stopped() {
    let stage = Stage::new(12).await;
    let Stage { operator, approver, .. } = &stage;
    let mut held = strategy(2, 5);
    held["hold_after_canary"] = json!(true);
    held["pause_s"] = json!(3600);
    let change = stage.approved(held).await;
    let path = |verb: &str| format!("/change-requests/{change}/{verb}");
    let why = json!({ "reason": "the disks are full" });
    // Not before it runs.
    operator.post(&path("pause"), why.clone()).await.refused(404, "not_found");
    operator.act(&change, "execute").await.is(200);
    let view = stage.until(&change, "paused").await;
    assert_eq!(tally(&view), [2, 0, 0, 0], "{view:#}");
    let may = |view: &Value, action: &str| {
        let all = view["allowed"].as_array().unwrap();
        all.iter().find(|allowed| allowed["action"] == action).map(|allowed| allowed["ok"].clone())
    };
    assert_eq!(may(&view, "resume"), Some(json!(true)));
    assert_eq!(may(&approver.change(&change).await, "resume"), Some(json!(false)));
    for verb in ["pause", "resume", "stop"] {
        approver.post(&path(verb), why.clone()).await.refused(403, "access.denied");
    }
    assert_eq!(stage.open().await, 10);

    // It goes on, but not before the pause between two batches is over.
    let view = operator.act(&change, "resume").await.is(200);
    assert_eq!(view["rollout"]["progress"]["state"], "running", "{view:#}");
    operator.act(&change, "resume").await.refused(409, "rollout.not_paused");
    operator.post(&path("pause"), why.clone()).await.is(200);
    operator.post(&path("stop"), why).await.is(200);
    let view = operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [2, 0, 0, 10]), "{view:#}");
    assert!(text(&view["closing_reason"]).contains("the disks are full"), "{view:#}");
    assert_eq!(stage.open().await, 10);
    stage.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_of_one_target_stops_that_target() {
    let stage = Stage::new(8).await;
    let mut strategy = strategy(1, 7);
    strategy["max_failed"] = json!(1);
    strategy["pause_s"] = json!(3);
    let change = stage.approved(strategy).await;
    let asset = stage.shop.asset(&stage.operator, &stage.roles[5]).await;
    stage
        .operator
        .patch(&format!("/assets/{}", text(&asset["id"])), json!({ "tags": ["till"] }))
        .await
        .is(200);
    stage.operator.act(&change, "execute").await.is(200);
    eventually("the canary is over", async || {
        let view = stage.operator.change(&change).await;
        (tally(&view)[0] == 1).then_some(())
    })
    .await;
    let now = nexplane_core::time::Timestamp::new(jiff::Timestamp::now());
    let freeze = json!({
        "scope": { "kind": "tag", "tag": "till" },
        "start": now.to_string(), "end": now.plus_seconds(3600).to_string(),
        "reason": "Christmas shopping",
    });
    stage.server.admin.post("/freeze-windows", freeze).await.is(201);
    let view = stage.operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [7, 1, 0, 0]), "{view:#}");
    let failed = stage.targets(&change, "failed").await;
    assert_eq!(failed[0]["name"], *stage.roles[5]);
    assert!(text(&failed[0]["reason"]).contains("Christmas shopping"), "{failed:#?}");
    assert_eq!(stage.open().await, 1);
    stage.is_sound().await;
}

/// Killed again and again: no target twice, none lost, none left open.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_loses_no_target_and_repeats_none() {
    let mut stage = Stage::new(60).await;
    let count = Count::of(&stage.shop).await;
    let change = stage.approved(json!({ "canary": 5, "batch": 20, "parallel": 8 })).await;
    stage.operator.act(&change, "execute").await.is(200);
    for _ in 0..3 {
        let before = tally(&stage.operator.change(&change).await)[0];
        eventually("some more are complete", async || {
            let view = stage.operator.change(&change).await;
            (view["state"] != "executing" || tally(&view)[0] > before).then_some(())
        })
        .await;
        stage.server.kill9().await;
        stage.server.up().await;
    }
    let view = stage.operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [60, 0, 0, 0]), "{view:#}");
    for role in &stage.roles {
        assert_eq!(count.alterations(role).await, 1, "{role}");
    }
    stage.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_strategy_is_said() {
    let stage = Stage::new(2).await;
    let refused = async |strategy: Value| {
        let request = stage.request(strategy).await;
        stage.operator.post("/change-requests", request).await
    };
    refused(strategy(0, 10)).await.refused(422, "validation.failed");
    refused(strategy(1, 1001)).await.refused(422, "validation.failed");
    refused(json!({ "canary": 1 })).await.is_refused_with(&[422]);
    refused(json!({ "canary": 1, "batch": 1, "parallel": 1, "speed": 2 }))
        .await
        .is_refused_with(&[422]);
    // A secret for every target has nobody who takes it.
    let mut request = stage.request(strategy(1, 1)).await;
    request["change_type"] = json!("postgres.rotate_user_password");
    stage.operator.post("/change-requests", request).await.refused(422, "validation.failed");
    let mut request = stage.request(Value::Null).await;
    request["targets"] = (0..10_001).map(|no| format!("x/role/{no}")).collect();
    let refused = stage.operator.post("/change-requests", request).await;
    refused.refused(422, "validation.failed");
}
