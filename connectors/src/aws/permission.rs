//! Whether the connection may make a call, asked without making it.
//!
//! IAM and S3 have no dry run: IAM's policy simulator answers for them. It knows policies of users,
//! groups and roles, permissions boundaries and service control policies, not policies of resources.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>. EC2 has one.

use std::collections::BTreeMap;

use aws_sdk_iam::types::PolicyEvaluationDecisionType as Decision;
use nexplane_core::plan::Check;

use super::Session;
use super::ec2::{DryRun, Form};
use super::list::gather;
use crate::sdk::{ConnectorError, check};

const SIMULATE: &str = "iam:SimulatePrincipalPolicy";

/// One line per call: whether it may be made on `resource`, an ARN.
pub async fn simulated(
    session: &Session,
    calls: &[&str],
    resource: &str,
) -> Result<Vec<Check>, ConnectorError> {
    let Some(principal) = &session.principal else {
        let detail =
            "the root user has no policies that could be checked: use an IAM user or a role";
        return Ok(vec![check("the connection has policies", false, detail)]);
    };
    let asked = session
        .iam
        .simulate_principal_policy()
        .policy_source_arn(principal)
        .set_action_names(Some(calls.iter().map(|&call| call.to_owned()).collect()))
        .resource_arns(resource)
        .into_paginator();
    let results = match gather!(SIMULATE, asked) {
        Ok(results) => results,
        Err(failure) if failure.is_denied() => return Ok(vec![missing(session, SIMULATE, "*")]),
        Err(failure) => return Err(failure.read()),
    };
    let allowed: BTreeMap<_, _> = results
        .into_iter()
        .map(|result| (result.eval_action_name, result.eval_decision == Decision::Allowed))
        .collect();
    // What was not answered is not allowed.
    let is_allowed = |call: &str| allowed.get(call).copied().unwrap_or(false);
    Ok(calls
        .iter()
        .map(|call| if is_allowed(call) { granted(call) } else { missing(session, call, resource) })
        .collect())
}

/// One line: whether a call to EC2 may be made.
pub async fn dry_run(
    session: &Session,
    call: &'static str,
    form: &Form,
) -> Result<Check, ConnectorError> {
    Ok(match session.ec2.dry_run(call, form).await? {
        DryRun::WouldSucceed => granted(call),
        DryRun::Denied => missing(session, call, "the target"),
        DryRun::WouldFail(why) => check(format!("EC2 would do {call}"), false, why),
    })
}

fn granted(call: &str) -> Check {
    check(format!("the connection may do {call}"), true, "its policies allow it")
}

fn missing(session: &Session, call: &str, resource: &str) -> Check {
    let who = session.principal.as_deref().unwrap_or(&session.identity.arn);
    let detail = format!("add {call} on {resource} to the policy of {who}");
    check(format!("the connection may do {call}"), false, detail)
}

/// The check of a target that must exist, and must not be the connection's own.
pub fn is_there(what: &str, there: bool) -> Check {
    let detail = if there { "it is there" } else { "AWS does not know it: discover again" };
    check(format!("{what} exists"), there, detail)
}

pub fn is_not_own(session: &Session, user: &str, key: Option<&str>) -> Check {
    let own = session.is_own_user(user) || key.is_some_and(|key| session.is_own_key(key));
    check(
        "the connection does not depend on it",
        !own,
        if own {
            "it is what this connection signs with: use another connection for it"
        } else {
            "it belongs to another user"
        },
    )
}

/// The same for an effect.
pub fn refuse_own(session: &Session, user: &str) -> Result<(), ConnectorError> {
    if session.is_own_user(user) {
        let message =
            format!("{user} is the user of this connection: use another connection for it");
        return Err(ConnectorError::invalid(message));
    }
    Ok(())
}
