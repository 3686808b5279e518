//! What an undo must not lose, and what cannot be undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexplane_connectors::sdk::{Advice, ErrorKind};
use serde_json::json;

use super::bench::{done, faults, moved};
use super::between::{Act, Between, Request};
use super::ec2::text;
use super::identity::{Identity, bucket_target};
use super::machine::{Machine, group_target, instance_target};
use crate::fixture::{action, context, open, step};
use crate::suite::{Account, Peer};

#[tokio::test]
async fn contract_a_rule_comes_back_with_its_tags_and_its_description() {
    let machine = Machine::start().await;
    let group = machine.group().await;
    let form = format!(
        "Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22\
         &IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8&IpPermissions.1.IpRanges.1.Description=admins\
         &TagSpecification.1.ResourceType=security-group-rule\
         &TagSpecification.1.Tag.1.Key=owner&TagSpecification.1.Tag.1.Value=network+team\
         &TagSpecification.1.Tag.2.Key=ticket&TagSpecification.1.Tag.2.Value={}",
        machine.bench.prefix
    );
    let made = machine.ec2(&form).await;
    let initially = machine.witness().await;
    assert!(initially.contains("network team"), "{initially}");
    let login = machine.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let (id, target) = ("aws.modify_security_group_rule", group_target(&group));
    let rule = |operation: &str| {
        json!({
            "operation": operation, "direction": "ingress", "protocol": "tcp",
            "from_port": 22, "to_port": 22, "peer": "10.0.0.0/8", "description": "admins",
        })
    };
    // It is there: there is nothing to add, and no tag to lose.
    let again = action(id).inspect(&*session, &target, &rule("add")).await.unwrap();
    assert!(again.is_ready() && again.diff.is_empty(), "{again:#?}");

    let parameters = rule("remove");
    let (before, executed) = done(&*session, id, &target, &parameters).await;
    assert_ne!(machine.witness().await, initially);
    let cx = step(action(id), &target, &parameters, &before.fingerprint);
    let outcome = Some(&executed.outcome);
    assert!(action(id).rollback(&*session, &cx, &before, outcome).await.unwrap().changed);
    assert_eq!(machine.witness().await, initially);

    // A tag that somebody adds is drift.
    let found = machine
        .ec2(&format!(
            "Action=DescribeSecurityGroupRules&Filter.1.Name=tag%3Aticket&Filter.1.Value.1={}",
            machine.bench.prefix
        ))
        .await;
    let rule_id = text(&found, "securityGroupRuleId");
    assert_ne!(rule_id, text(&made, "securityGroupRuleId"));
    machine
        .ec2(&format!("Action=CreateTags&ResourceId.1={rule_id}&Tag.1.Key=more&Tag.1.Value=x"))
        .await;
    let error = action(id).execute(&*session, &cx, &before).await.expect_err("drift");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
}

/// Neither running nor stopped: whoever sends it there is not disturbed.
#[tokio::test]
async fn contract_an_instance_that_is_on_its_way_is_left_alone() {
    let machine = Machine::start().await;
    let id = machine.instance().await;
    let (begun, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_begun, is_sent) = (Arc::clone(&begun), Arc::clone(&sent));
    let elsewhere = move |request: &Request, heard: &[String]| {
        if !is_begun.load(Ordering::SeqCst) {
            return Act::Pass;
        }
        if !request.is("DescribeInstances") {
            is_sent.store(true, Ordering::SeqCst);
            return Act::Pass;
        }
        let seen =
            heard.iter().rfind(|answer| answer.contains("<DescribeInstancesResponse")).unwrap();
        let (_, body) = seen.split_once("\r\n\r\n").unwrap();
        Act::Say(200, body.replace("<name>running</name>", "<name>shutting-down</name>"))
    };
    let between = Between::at(machine.bench.aws.port, elsewhere).await;
    let login = machine.login(Account::Full).await;
    let credentials = moved(login.credentials, between.port);
    let session = open("aws", credentials, &context()).await.unwrap();
    let (target, parameters) = (instance_target(&id), json!({}));
    let stop = action("aws.stop_instance");
    let before = stop.inspect(&*session, &target, &parameters).await.unwrap().before;
    begun.store(true, Ordering::SeqCst);
    for id in ["aws.stop_instance", "aws.start_instance"] {
        let cx = step(action(id), &target, &parameters, &before.fingerprint);
        let execute = action(id).execute(&*session, &cx, &before).await.map(drop);
        let rollback = action(id).rollback(&*session, &cx, &before, None).await.map(drop);
        for answer in [execute, rollback] {
            let error = answer.expect_err("it is shutting down");
            assert_eq!(
                (error.kind, error.advice),
                (ErrorKind::Conflict, Advice::Never),
                "{error:?}"
            );
        }
    }
    assert!(!sent.load(Ordering::SeqCst), "something was sent");
}

#[tokio::test]
async fn contract_a_policy_that_names_deleted_principals_is_known_to_be_lost() {
    let identity = Identity::start().await;
    let bucket = identity.bucket("data").await;
    let deleted = "AROAKSCDLFT9R5DQP782U";
    let policy = |principal: &str| {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "s3:GetObject",
                "Resource": format!("arn:aws:s3:::{bucket}/*"),
            }],
        })
        .to_string()
    };
    identity.set_policy(&bucket, &policy(deleted)).await;
    let login = identity.login(Account::Full).await;
    let session = open("aws", login.credentials, &context()).await.unwrap();
    let (id, target) = ("aws.update_bucket_policy", bucket_target(&bucket));
    let new = policy("arn:aws:iam::000000000000:root");
    let fault = faults(&*session, id, &target, &json!({ "policy": new })).await;
    assert!(fault.contains(deleted) && fault.contains("even_if_one_way"), "{fault}");

    let parameters = json!({ "policy": new, "even_if_one_way": true });
    let inspection = action(id).inspect(&*session, &target, &parameters).await.unwrap();
    let rollback = &inspection.rollback;
    assert!(rollback.contains(deleted) && rollback.contains("cannot"), "{rollback}");
    let (before, _) = done(&*session, id, &target, &parameters).await;
    let replaced = identity.witness().await;
    let cx = step(action(id), &target, &parameters, &before.fingerprint);
    let error = action(id).rollback(&*session, &cx, &before, None).await.expect_err("lost");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(!error.is_outcome_unknown() && error.message.contains(deleted), "{error:?}");
    assert_eq!(identity.witness().await, replaced);
}
