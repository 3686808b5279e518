//! The way on which a responder breaks glass, where others approve.

use serde_json::{Value, json};

use super::Way;
use crate::harness::{Answer, Client};

impl Way {
    /// The roles of whoever makes it possible to execute a change. The role of approvers is there to reject.
    pub(super) const fn approves(self) -> &'static [&'static str] {
        match self {
            Self::Emergency => &["responder", "approver"],
            Self::Session
            | Self::CommandLine
            | Self::PersonToken
            | Self::MachineToken
            | Self::Rollback
            | Self::Override
            | Self::Scheduled
            | Self::Schedule
            | Self::Project => &["approver"],
        }
    }
}

impl Client {
    pub(super) async fn break_glass(&self, change: &str, digest: &Value) -> Answer {
        let body = json!({ "plan_digest": digest, "justification": "The key has leaked." });
        self.post(&format!("/change-requests/{change}/break-glass"), body).await
    }
}
