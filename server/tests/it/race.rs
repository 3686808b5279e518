//! Two replicas on one database, and two people who want different things of one change at the same
//! moment. Exactly one of them wins, both hear the truth, and nothing is stuck.
//!
//! `NEXPLANE_RACE_ROUNDS` says how many rounds of each, 20 when it is not set.

use std::time::Duration;

use nexplane_core::calendar::event::CalendarEvent;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::Event;
use nexplane_core::record;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, Shop, eventually, id, text};

struct Stage {
    shop: Shop,
    role: String,
    asset: String,
    /// Each at a replica of their own.
    operators: [Client; 2],
    approvers: [Client; 2],
    /// At the second replica.
    admin: Client,
    server: Server,
    /// Keeps it running.
    _replica: crate::harness::Replica,
}

impl Stage {
    async fn new(environment: &str) -> Self {
        let server = Server::start().await;
        let replica = server.replica().await;
        let shop = Shop::connect(&server, environment).await;
        let role = shop.role(&server, "app").await;
        let operator = server.operator().await;
        let asset = id(&shop.asset(&operator, &role).await);
        let other = operator.at(&replica.base);
        let approvers =
            [server.approver().await, server.person("arno", &["approver"]).await.at(&replica.base)];
        let operators = [operator, other];
        let admin = server.admin.at(&replica.base);
        Self { shop, role, asset, operators, approvers, admin, server, _replica: replica }
    }

    /// A submitted change that locks the role, which can log in.
    async fn submitted(&self) -> (String, Value) {
        self.shop.sql(&format!("ALTER ROLE {} LOGIN", self.role)).await;
        let request = json!({
            "title": "Lock it",
            "reason": "Its owner has left the company.",
            "change_type": "postgres.lock_user",
            "connection_id": self.shop.connection,
            "targets": [self.asset],
            "parameters": {},
        });
        let submitted = self.operators[0].submitted(request).await;
        (id(&submitted), submitted["plan"]["digest"].clone())
    }

    /// The same with as many approvals as it needs.
    async fn approved(&self) -> String {
        let (change, digest) = self.submitted().await;
        for approver in &self.approvers {
            if self.state(&change).await == "submitted" {
                approver.approve(&change, &digest).await.is(200);
            }
        }
        change
    }

    async fn state(&self, change: &str) -> String {
        text(&self.operators[0].change(change).await["state"])
    }

    /// The types of its events, once there is one of this type: read models are a moment behind what
    /// the other replica wrote.
    async fn history_with(&self, change: &str, kind: &str) -> Vec<String> {
        eventually(kind, async || {
            let history = self.operators[0].history(change).await;
            history.iter().any(|event| event == kind).then_some(history)
        })
        .await
    }

    async fn is_locked(&self) -> bool {
        !self.shop.lets_in(&self.role, &self.role).await
    }
}

fn rounds() -> usize {
    std::env::var("NEXPLANE_RACE_ROUNDS").map_or(20, |count| count.parse().expect("a number"))
}

fn count(history: &[String], kind: &str) -> usize {
    history.iter().filter(|event| *event == kind).count()
}

/// Whether it was done; a refusal has to be one of the domain's, never a lost race.
fn won(answer: Answer) -> bool {
    if answer.status == 200 {
        return true;
    }
    answer.is_refused_with(&[409, 422]);
    assert_ne!(answer.json["code"], "conflict.version", "{:#}", answer.json);
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn two_approvals_at_once_both_count() {
    let stage = Stage::new("prod").await;
    for _ in 0..rounds() {
        let (change, digest) = stage.submitted().await;
        let [first, second] = &stage.approvers;
        let needed = stage.operators[0].change(&change).await["approvals_needed"].clone();
        let (one, other) =
            tokio::join!(first.approve(&change, &digest), second.approve(&change, &digest));
        let given = usize::from(won(one)) + usize::from(won(other));
        assert_eq!(json!(given.min(2)), needed, "as many as it takes, and no more");
        let history = stage.history_with(&change, "change.approved").await;
        assert_eq!(count(&history, "change.approved"), 1, "{history:?}");
        assert_eq!(count(&history, "change.approval_given"), given, "{history:?}");
        stage.operators[0]
            .post(&format!("/change-requests/{change}/cancel"), json!({ "reason": "over" }))
            .await
            .is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_never_outlives_a_withdrawal() {
    let stage = Stage::new("staging").await;
    for _ in 0..rounds() {
        let (change, digest) = stage.submitted().await;
        let (approved, withdrawn) = tokio::join!(
            stage.approvers[1].approve(&change, &digest),
            stage.operators[0].act(&change, "withdraw")
        );
        let approved = won(approved);
        assert!(won(withdrawn), "nothing keeps an author from withdrawing what does not run");
        let history = stage.history_with(&change, "change.withdrawn").await;
        let at = |kind: &str| history.iter().position(|event| event == kind);
        assert_eq!(at("change.approval_given").is_some(), approved);
        assert!(at("change.approval_given") <= at("change.withdrawn"), "{history:?}");
        stage.operators[0].act(&change, "execute").await.is_refused_with(&[409]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_cancel_and_execute_one_wins_and_the_target_agrees() {
    let stage = Stage::new("staging").await;
    let mut executions = 0;
    for round in 0..rounds() {
        let change = stage.approved().await;
        let path = format!("/change-requests/{change}/cancel");
        // Execution reads the target first: cancel sometimes comes at that moment, sometimes before.
        let cancel = async {
            tokio::time::sleep(std::time::Duration::from_millis(round as u64 % 20 * 3)).await;
            stage.operators[1].post(&path, json!({ "reason": "not today" })).await
        };
        let (executed, cancelled) =
            tokio::join!(stage.operators[0].act(&change, "execute"), cancel);
        let (executed, cancelled) = (won(executed), won(cancelled));
        let state = eventually("it has ended", async || {
            let state = stage.state(&change).await;
            ["complete", "cancelled", "failed"].contains(&state.as_str()).then_some(state)
        })
        .await;
        // Cancelled before its start, or before its only step, or not.
        let expected = match (executed, cancelled) {
            (true, false) => "complete",
            (true, true) => "failed",
            (false, true) => "cancelled",
            (false, false) => panic!("nobody won"),
        };
        assert_eq!(state, expected);
        assert_eq!(stage.is_locked().await, state == "complete");
        executions += usize::from(state == "complete");
    }
    eprintln!("{executions} of {} were executed", rounds());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_executions_there_is_one_run() {
    let stage = Stage::new("staging").await;
    for _ in 0..rounds() {
        let change = stage.approved().await;
        let (one, other) = tokio::join!(
            stage.operators[0].act(&change, "execute"),
            stage.operators[1].act(&change, "execute")
        );
        assert!(won(one) != won(other), "exactly one of them started it");
        let settled = stage.operators[0].settled(&change).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        let history = stage.history_with(&change, "change.completed").await;
        assert_eq!(count(&history, "change.execution_started"), 1, "{history:?}");
        assert!(stage.is_locked().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_a_freeze_one_comes_first() {
    let stage = Stage::new("staging").await;
    let (mut given, mut refused) = (0, 0);
    for round in 0..rounds() {
        let (change, digest) = stage.submitted().await;
        let now = jiff::Timestamp::now();
        let [start, end] = [-1, 1].map(|hours| now + jiff::SignedDuration::from_hours(hours));
        let freeze = json!({
            "scope": { "kind": "all" },
            "start": format!("{start:.6}"),
            "end": format!("{end:.6}"),
            "reason": "closing",
        });
        // Now the one is a little earlier, now the other.
        let wait =
            |turn| Duration::from_millis(if round % 2 == turn { round as u64 % 7 * 2 } else { 0 });
        let approve = async {
            tokio::time::sleep(wait(0)).await;
            stage.approvers[0].approve(&change, &digest).await
        };
        let declare = async {
            tokio::time::sleep(wait(1)).await;
            id(&stage.admin.post("/freeze-windows", freeze).await.is(201))
        };
        let (approved, freeze) = tokio::join!(approve, declare);
        if approved.status == 200 {
            given += 1;
        } else {
            // Never a conflict: that the calendar moved is not the caller's to know.
            approved.refused(423, "change.frozen");
            refused += 1;
        }
        let path = format!("/freeze-windows/{freeze}/end");
        stage.admin.post(&path, json!({ "reason": "over" })).await.is(200);
        // Whoever lost only has to wait for the end of it.
        if stage.state(&change).await == "submitted" {
            stage.approvers[1].approve(&change, &digest).await.is(200);
        }
        let history = stage.history_with(&change, "change.approved").await;
        assert_eq!(count(&history, "change.approval_given"), 1, "{history:?}");
        let path = format!("/change-requests/{change}/cancel");
        stage.operators[0].post(&path, json!({ "reason": "over" })).await.is(200);
    }
    eprintln!("{given} came before the freeze, {refused} after it");
    assert!(given > 0 && refused > 0, "both have to happen for it to be a race");

    let pool = stage.server.database().pool();
    let mut frozen = false;
    let (mut seen, mut freezes) = (0, 0);
    for record in nexplane_store::testing::event_records(pool).await.unwrap() {
        let (header, event) = Event::decode(record::decode(&record).unwrap()).unwrap();
        match event {
            Event::Calendar(CalendarEvent::FreezeDeclared { .. }) => {
                frozen = true;
                freezes += 1;
            }
            Event::Calendar(CalendarEvent::FreezeEnded { .. }) => frozen = false,
            Event::Change(ChangeEvent::ApprovalGiven { .. }) => {
                assert!(!frozen, "an approval inside a freeze: {}", header.id);
                seen += 1;
            }
            _ => {}
        }
    }
    assert_eq!((seen, freezes), (rounds(), rounds()));
}
