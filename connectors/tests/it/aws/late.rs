//! Reads that are late: what AWS calls eventual consistency.

use std::time::{Duration, Instant};

use nexplane_connectors::sdk::{AnySession, ErrorKind, OpenContext};
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{Bench, moved};
use super::between::{Act, Between, Request};
use super::identity::{self, Identity, bucket_policy, bucket_target, user_target};
use super::machine::{self, Machine, group_target, instance_target};
use crate::fixture::{action, context, open, step};
use crate::suite::{Account, Peer};

/// How often a read is answered with what was before.
const LATE: u32 = 3;

async fn session(bench: &Bench, between: &Between, cx: &OpenContext) -> Box<dyn AnySession> {
    let login = bench.login(Account::Full).await;
    open("aws", moved(login.credentials, between.port), cx).await.expect("open")
}

fn rule() -> Value {
    json!({
        "operation": "add", "direction": "ingress", "protocol": "tcp",
        "from_port": 443, "to_port": 443, "peer": "10.0.0.0/8", "description": "ours",
    })
}

/// Done, seen by who reads right afterwards, undone, and seen again.
async fn there_and_back(
    session: &dyn AnySession,
    between: &Between,
    id: &str,
    target: &TargetRef,
    parameters: &Value,
) {
    let action = action(id);
    between.lags(0);
    // Every question was asked before.
    action.read(session, target, parameters, None).await.expect("read");
    let before = action.inspect(session, target, parameters).await.expect("inspect").before;
    let cx = step(action, target, parameters, &before.fingerprint);
    between.lags(LATE);
    let done = action.execute(session, &cx, &before).await.expect("execute");
    assert!(done.changed, "{id}");
    let seen = action.read(session, target, parameters, None).await.expect("read").fingerprint;
    assert_ne!(seen, before.fingerprint, "{id}: the state of before is read after the effect");
    let outcome = Some(&done.outcome);
    let verified = action.verify(session, target, parameters, &before, outcome).await.unwrap();
    assert!(verified.satisfied, "{id}");
    let undone = action.rollback(session, &cx, &before, outcome).await.expect("rollback");
    assert!(undone.changed, "{id}");
    let back = action.read(session, target, parameters, None).await.expect("read").fingerprint;
    assert_eq!(back, before.fingerprint, "{id}: the effect is read after the undo");
}

#[tokio::test]
async fn contract_effects_on_machines_are_waited_for_until_reads_show_them() {
    let machine = Machine::start().await;
    let between = Between::at(machine.bench.aws.port, |_, _| Act::Pass).await;
    let session = session(&machine.bench, &between, &context()).await;
    let (group, id) = (group_target(&machine.group().await), machine.instance().await);
    let id = instance_target(&id);
    let go = there_and_back;
    go(&*session, &between, "aws.modify_security_group_rule", &group, &rule()).await;
    go(&*session, &between, "aws.snapshot_instance", &id, &json!({})).await;
    go(&*session, &between, "aws.stop_instance", &id, &json!({})).await;
}

#[tokio::test]
async fn contract_effects_on_users_and_buckets_are_waited_for_until_reads_show_them() {
    let identity = Identity::start().await;
    let between = Between::at(identity.bench.aws.port, |_, _| Act::Pass).await;
    let session = session(&identity.bench, &between, &context()).await;
    let user = identity.watched("app").await;
    identity.bench.key(&user).await;
    let bucket = identity.bucket("data").await;
    identity.set_public_access(&bucket, false).await;
    let policy = json!({ "policy": bucket_policy(&bucket, "s3:GetObject") });
    let (user, bucket) = (user_target(&user), bucket_target(&bucket));
    let go = there_and_back;
    go(&*session, &between, "aws.lock_iam_user", &user, &json!({})).await;
    go(&*session, &between, "aws.rotate_iam_key", &user, &json!({})).await;
    go(&*session, &between, "aws.update_bucket_policy", &bucket, &policy).await;
    go(&*session, &between, "aws.block_public_access", &bucket, &json!({})).await;
}

/// Only who has waited says that it is not as wanted; and who waits comes to an end.
#[tokio::test]
async fn contract_an_effect_that_is_never_seen_is_not_verified() {
    let machine = Machine::start().await;
    let between = Between::at(machine.bench.aws.port, |_, _| Act::Pass).await;
    let mut cx = context();
    cx.call_timeout = Duration::from_secs(6);
    let session = session(&machine.bench, &between, &cx).await;
    let target = group_target(&machine.group().await);
    let (action, parameters) = (action("aws.modify_security_group_rule"), rule());
    let before = action.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(action, &target, &parameters, &before.fingerprint);
    between.lags(u32::MAX);
    let started = Instant::now();
    let done = action.execute(&*session, &cx, &before).await.expect("EC2 answered");
    let outcome = Some(&done.outcome);
    let verified =
        action.verify(&*session, &target, &parameters, &before, outcome).await.expect("verify");
    let waited = started.elapsed();
    assert!(!verified.satisfied && verified.fingerprint == before.fingerprint);
    assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(30), "{waited:?}");
    // After a crash, nobody waits: time has passed.
    let started = Instant::now();
    let verified = action.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(!verified.satisfied && started.elapsed() < Duration::from_secs(3));
}

/// Nobody knows whether it was done. Who looks next must not be told that nothing was, because reads are late.
#[tokio::test]
async fn contract_an_effect_in_doubt_is_waited_for_too() {
    let machine = Machine::start().await;
    let lose = |request: &Request, _: &[String]| {
        let is = request.is("AuthorizeSecurityGroupIngress");
        if is && !request.question.contains("DryRun") { Act::Lose } else { Act::Pass }
    };
    let between = Between::at(machine.bench.aws.port, lose).await;
    let session = session(&machine.bench, &between, &context()).await;
    let target = group_target(&machine.group().await);
    let (action, parameters) = (action("aws.modify_security_group_rule"), rule());
    let before = action.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(action, &target, &parameters, &before.fingerprint);
    between.lags(LATE);
    let error = action.execute(&*session, &cx, &before).await.expect_err("the answer is lost");
    assert!(error.is_outcome_unknown() && error.kind == ErrorKind::Unreachable, "{error:?}");
    let verified = action.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    assert!(verified.satisfied, "it was done, and nobody saw it");
}

/// Every effect whose answer is lost is in doubt, and whoever reads the target then finds it.
async fn lost<P: Peer>(ids: &[&str]) {
    for id in ids {
        let peer = P::start().await;
        let login = peer.login(Account::Full).await;
        let case = peer.prepare(id, &login).await;
        let lose = |request: &Request, _: &[String]| {
            if request.reads() { Act::Pass } else { Act::Lose }
        };
        let between = Between::at(peer.address().1, lose).await;
        let credentials = peer.moved(login.credentials, between.port);
        let mut cx = context();
        // What has several parts is never seen whole.
        cx.call_timeout = Duration::from_secs(5);
        let session = open(P::CONNECTOR, credentials, &cx).await.expect("open");
        let (action, target, parameters) = (action(id), &case.target, &case.parameters);
        let before = action.inspect(&*session, target, parameters).await.unwrap().before;
        let cx = step(action, target, parameters, &before.fingerprint);
        let error = action.execute(&*session, &cx, &before).await.expect_err("it is lost");
        assert!(error.is_outcome_unknown() && error.kind == ErrorKind::Unreachable, "{error:?}");
        let verified = action.verify(&*session, target, parameters, &before, None).await.unwrap();
        assert_ne!(verified.fingerprint, before.fingerprint, "{id}");
        assert_eq!(verified.satisfied, !case.in_parts, "{id}");
    }
}

#[tokio::test]
async fn contract_an_effect_whose_answer_is_lost_is_in_doubt() {
    tokio::join!(lost::<Identity>(&identity::ACTIONS), lost::<Machine>(&machine::ACTIONS));
}
