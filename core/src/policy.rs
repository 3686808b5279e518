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

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS_72: u32 = 259_200;
    const CRITICAL: &str =
        "critical risk needs two approvers, one of them an admin, and 15 minutes";

    #[test]
    fn the_table_of_the_module_documentation() {
        use Environment::{Dev, Prod, Staging};
        use RiskLevel::{Critical, High, Low, Medium};
        // Level, environment; approvals, an admin's among them, delay in seconds.
        let table = [
            (Low, Prod, 1, false, 0, "low risk in prod needs one approver"),
            (Low, Staging, 0, false, 0, "low risk in staging needs no approver"),
            (Low, Dev, 0, false, 0, "low risk in dev needs no approver"),
            (Medium, Prod, 1, false, 0, "medium risk needs one approver"),
            (Medium, Staging, 1, false, 0, "medium risk needs one approver"),
            (Medium, Dev, 1, false, 0, "medium risk needs one approver"),
            (High, Prod, 2, false, 0, "high risk needs two approvers"),
            (High, Staging, 2, false, 0, "high risk needs two approvers"),
            (High, Dev, 2, false, 0, "high risk needs two approvers"),
            (Critical, Prod, 2, true, 900, CRITICAL),
            (Critical, Staging, 2, true, 900, CRITICAL),
            (Critical, Dev, 2, true, 900, CRITICAL),
        ];
        for (level, environment, approvals, admin, delay_s, rule) in table {
            let rule = rule.to_owned();
            let valid_s = HOURS_72;
            let expected = Quorum { policy_version: 1, rule, approvals, admin, delay_s, valid_s };
            assert_eq!(quorum(level, environment, false), expected);
            let fast = Quorum {
                rule: "a rollback needs one approver".to_owned(),
                approvals: 1,
                admin: false,
                delay_s: 0,
                ..expected
            };
            assert_eq!(quorum(level, environment, true), fast);
        }
    }
}
