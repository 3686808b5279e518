//! The default approval policy, version 1.
//!
//! | Level | Approvals |
//! |---|---|
//! | low | none outside prod, one in prod |
//! | medium | one |
//! | high | two |
//! | critical | two, one of them an admin's, and a delay of 15 minutes |
//!
//! A rollback takes the fast lane: one approval, no delay. Each approval is valid for 72 hours.
//!
//! Deliberately absent: editing policies and evaluating other people's rules; this table is data for
//! one decision function and the only place that knows it.

use crate::change::event::Quorum;
use crate::risk::{Environment, RiskLevel};

/// The version that plans and submissions record.
pub const VERSION: u32 = 1;

const DELAY_OF_CRITICAL_S: u32 = 15 * 60;
const APPROVALS_VALID_S: u32 = 72 * 60 * 60;

/// How many approvals a change needs, and of whom.
pub fn quorum(level: RiskLevel, environment: Environment, is_rollback: bool) -> Quorum {
    let (approvals, admin, delay_s, rule) = if is_rollback {
        (1, false, 0, "a rollback needs one approver".to_owned())
    } else {
        match (level, environment) {
            (RiskLevel::Low, Environment::Prod) => {
                (1, false, 0, "low risk in prod needs one approver".to_owned())
            }
            (RiskLevel::Low, Environment::Staging | Environment::Dev) => {
                (0, false, 0, format!("low risk in {} needs no approver", environment.as_str()))
            }
            (RiskLevel::Medium, _) => (1, false, 0, "medium risk needs one approver".to_owned()),
            (RiskLevel::High, _) => (2, false, 0, "high risk needs two approvers".to_owned()),
            (RiskLevel::Critical, _) => (
                2,
                true,
                DELAY_OF_CRITICAL_S,
                "critical risk needs two approvers, one of them an admin, and 15 minutes"
                    .to_owned(),
            ),
        }
    };
    Quorum { policy_version: VERSION, rule, approvals, admin, delay_s, valid_s: APPROVALS_VALID_S }
}
