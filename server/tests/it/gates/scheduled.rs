//! The way of the timer: somebody asks for an execution while the maintenance window is closed, something
//! comes in between, and the window opens. Nobody is there to hear a refusal; the change says it.

use serde_json::{Value, json};

use super::{Case, Gate, Stage};
use crate::harness::{Answer, Client, eventually, id, text};

impl Gate {
    /// What can come up once a change is scheduled. All else is refused to who asks.
    pub(super) fn comes_after_scheduling(self) -> bool {
        use Gate as G;
        match self {
            G::Superseded
            | G::TargetMoved
            | G::Withdrawn
            | G::Rejected
            | G::Cancelled
            | G::FrozenExecution
            | G::OperatorRevoked
            | G::Suspended
            | G::OutOfOrder => true,
            G::QuorumMissing
            | G::OwnApprovalOfAuthor
            | G::OwnApprovalOfEditor
            | G::OwnApprovalThroughDelegate
            | G::EditorsApprovalThroughDelegate
            | G::DelegatorRevoked
            | G::StaleDigest
            | G::Expired
            | G::FrozenApproval
            | G::WindowNotOpen
            | G::WindowOver
            | G::ApproverRevoked
            | G::KeyReused
            | G::DependencyMissing
            | G::Conflict => false,
        }
    }

    /// What a scheduled change is when the window has opened, and what its page says.
    fn leaves(self) -> (&'static str, &'static str) {
        use Gate as G;
        match self {
            G::Superseded => ("submitted", ""),
            G::Withdrawn => ("draft", ""),
            G::Rejected => ("rejected", ""),
            G::Cancelled => ("cancelled", ""),
            G::FrozenExecution => ("scheduled", "Frozen until"),
            G::TargetMoved => ("approved", "not what it was"),
            G::OperatorRevoked | G::Suspended => ("approved", "operator role"),
            G::OutOfOrder => ("failed", "Later changes"),
            G::QuorumMissing
            | G::OwnApprovalOfAuthor
            | G::OwnApprovalOfEditor
            | G::OwnApprovalThroughDelegate
            | G::EditorsApprovalThroughDelegate
            | G::DelegatorRevoked
            | G::StaleDigest
            | G::Expired
            | G::FrozenApproval
            | G::WindowNotOpen
            | G::WindowOver
            | G::ApproverRevoked
            | G::KeyReused
            | G::DependencyMissing
            | G::Conflict => panic!("{self:?} is before it is scheduled"),
        }
    }
}

impl Stage {
    /// A maintenance window that opens at a full hour, one to two hours from now.
    async fn close(&self) {
        if self.window.lock().unwrap().is_some() {
            return;
        }
        let hour = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2))
            .to_zoned(jiff::tz::TimeZone::UTC)
            .hour();
        let body = json!({
            "name": format!("Night {}", self.server.events().await),
            "scope": { "kind": "all" },
            "cron": format!("0 {hour} * * *"),
            "zone": "UTC",
            "duration_s": 60,
        });
        let window = id(&self.server.admin.post("/maintenance-windows", body).await.is(201));
        *self.window.lock().unwrap() = Some(window);
    }

    /// Nothing has to wait for a window any more.
    async fn open(&self) {
        let window = self.window.lock().unwrap().take();
        if let Some(window) = window {
            let path = format!("/maintenance-windows/{window}/remove");
            self.server.admin.post(&path, json!({ "reason": "over" })).await.is(200);
        }
    }

    pub(super) async fn schedule(&self, change: &str, by: &Client) {
        self.close().await;
        let view = by.act(change, "execute").await.is(200);
        assert_eq!(view["state"], "scheduled", "{view:#}");
    }

    pub(super) async fn ask_while_closed(&self, change: &str, by: &Client) -> Answer {
        self.close().await;
        let answer = by.act(change, "execute").await;
        self.open().await;
        answer
    }

    /// A rollback that is scheduled, and a later change of the same target, which a responder let run.
    pub(super) async fn out_of_order(&self, role: &str) -> Value {
        let done = self.applied("postgres.rotate_user_password", role).await;
        let rollback = self.author.session.act(&done, "rollback").await.is(201);
        self.approve(&rollback).await;
        self.schedule(&id(&rollback), &self.executor.comes).await;
        let later = self.forward("postgres.lock_user", role, None).await;
        self.approve(&later).await;
        let path = format!("/change-requests/{}/override-window", id(&later));
        let body = json!({ "justification": "The account is being abused." });
        self.responder.post(&path, body).await.is(200);
        let done = self.executor.session.executed(&id(&later)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        rollback
    }

    /// The window opens, and the change does not run.
    pub(super) async fn held_up(&self, gate: Gate, case: &Case, before: &Value) {
        let (state, words) = gate.leaves();
        let what = format!("{:?}, {gate:?}", self.way);
        let reader = &self.author.session;
        // What is scheduled no more says nothing when the window opens. Another one does that waits for
        // it, and is found together with whatever the timer starts.
        let (beside, frozen) = if words.is_empty() {
            let role = self.shop.role(&self.server, &format!("beside_{state}")).await;
            (Some(id(&self.approved(&role).await)), false)
        } else {
            (None, gate == Gate::FrozenExecution)
        };
        let asked = reader.change(&case.change).await;
        self.open().await;
        if let Some(beside) = &beside {
            let done = reader.settled(beside).await;
            assert_eq!(done["state"], "complete", "{what}: {done:#}");
        }
        let view = eventually(&what, async || {
            let view = reader.change(&case.change).await;
            let is_moved = !frozen || view["scheduled"]["opens"] != asked["scheduled"]["opens"];
            (view["state"] == state && is_moved).then_some(view)
        })
        .await;
        let said = if state == "failed" { &view["closing_reason"] } else { &view["waiting_for"] };
        assert!(words.is_empty() || text(said).contains(words), "{what}: {view:#}");
        let history = reader.history(&case.change).await;
        // A rollback is asked once more when it has begun, by the change that it undoes.
        if gate != Gate::OutOfOrder {
            assert!(!history.contains(&"change.execution_started".to_owned()), "{what}");
        }
        assert!(!history.contains(&"run.step_intended".to_owned()), "{what}: {history:?}");
        assert_eq!(self.row(&case.role).await, *before, "{what}: the target was touched");
        if frozen {
            // It would run when the freeze ends, as it should.
            let path = format!("/change-requests/{}/cancel", case.change);
            reader.post(&path, json!({ "reason": "over" })).await.is(200);
        }
        for freeze in &case.freezes {
            self.end(freeze).await;
        }
    }
}
