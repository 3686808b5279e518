//! Two keys are all that a user may have, and AWS does not say who made one: nobody's is taken for ours.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexplane_connectors::sdk::{
    Advice, AnyAction, AnySession, ConnectorError, ErrorKind, Snapshot, StepContext,
};
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::bench::moved;
use super::between::{Act, Between, Request};
use super::identity::{Identity, user_target};
use crate::fixture::{action, context, open, step};
use crate::suite::{Account, Peer};

const ID: &str = "aws.rotate_iam_key";

/// A rotation that is about to begin, with something between it and IAM.
struct Scene {
    identity: Identity,
    user: String,
    old: String,
    session: Box<dyn AnySession>,
    target: TargetRef,
    before: Snapshot,
    cx: StepContext,
}

impl Scene {
    async fn of(rule: impl Fn(&Request, &[String]) -> Act + Send + Sync + 'static) -> Self {
        let identity = Identity::start().await;
        let user = identity.watched("app").await;
        let (old, _) = identity.bench.key(&user).await;
        let between = Between::at(identity.bench.aws.port, rule).await;
        let login = identity.login(Account::Full).await;
        let mut cx = context();
        cx.call_timeout = Duration::from_secs(4);
        let session = open("aws", moved(login.credentials, between.port), &cx).await.expect("open");
        let target = user_target(&user);
        let before = rotate().inspect(&*session, &target, &json!({})).await.expect("inspect");
        assert!(before.is_ready(), "{:#?}", before.checks);
        let before = before.before;
        let cx = step(rotate(), &target, &json!({}), &before.fingerprint);
        Self { identity, user, old, session, target, before, cx }
    }

    async fn execute(&self) -> Result<Value, ConnectorError> {
        let done = rotate().execute(&*self.session, &self.cx, &self.before).await;
        done.map(|done| done.outcome)
    }

    async fn rollback(&self) -> Result<bool, ConnectorError> {
        let undone = rotate().rollback(&*self.session, &self.cx, &self.before, None).await;
        undone.map(|undone| undone.changed)
    }

    async fn satisfied(&self) -> bool {
        let (session, target) = (&*self.session, &self.target);
        let verified = rotate().verify(session, target, &json!({}), &self.before, None).await;
        verified.expect("verify").satisfied
    }

    /// Id and status of every key of the user.
    async fn keys(&self) -> Vec<(String, String)> {
        let iam = &self.identity.bench.iam;
        let found = iam.list_access_keys().user_name(&self.user).send().await.unwrap();
        let keys = found.access_key_metadata.into_iter();
        keys.map(|k| (k.access_key_id.unwrap(), k.status.unwrap().as_str().to_owned())).collect()
    }

    async fn others(&self) -> Vec<String> {
        let keys = self.keys().await;
        keys.into_iter().map(|(id, _)| id).filter(|id| *id != self.old).collect()
    }

    async fn delete(&self, key: &str) {
        let request = self.identity.bench.iam.delete_access_key().user_name(&self.user);
        request.access_key_id(key).send().await.expect("delete_access_key");
    }
}

fn rotate() -> &'static dyn AnyAction {
    action(ID)
}

/// Somebody else makes the second key in the very moment: IAM refuses ours, and theirs stays theirs.
#[tokio::test]
async fn contract_a_key_that_somebody_made_in_the_same_moment_is_never_deleted() {
    let refuse = |request: &Request, _: &[String]| {
        if !request.is("CreateAccessKey") {
            return Act::Pass;
        }
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>LimitExceeded</Code>\
                    <Message>Cannot exceed quota for AccessKeysPerUser: 2</Message></Error></ErrorResponse>";
        Act::Say(409, body.to_owned())
    };
    let scene = Scene::of(refuse).await;
    let initially = scene.identity.witness().await;
    let error = scene.execute().await.expect_err("there is no room");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
    assert_eq!(scene.identity.witness().await, initially, "a refused rotation left a trace");
    assert!(!scene.rollback().await.expect("nothing to undo"));

    let (theirs, _) = scene.identity.bench.key(&scene.user).await;
    let error = scene.execute().await.expect_err("somebody else's key");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
    let error = scene.rollback().await.expect_err("somebody else's key");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert_eq!(scene.others().await, [theirs]);
    assert!(!scene.satisfied().await);
}

/// The key was made and the answer is lost: it may be ours, or anybody's. A person says which.
#[tokio::test]
async fn contract_a_key_whose_maker_nobody_knows_is_left_to_a_person() {
    let lose = |request: &Request, _: &[String]| {
        if request.is("CreateAccessKey") { Act::Lose } else { Act::Pass }
    };
    let scene = Scene::of(lose).await;
    let initially = scene.identity.witness().await;
    let error = scene.execute().await.expect_err("the answer is lost");
    assert!(error.is_outcome_unknown(), "{error:?}");
    let [key] = <[String; 1]>::try_from(scene.others().await).expect("one new key");
    assert!(!scene.satisfied().await);

    for (error, advice) in [
        (scene.execute().await.expect_err("whose is it?"), Advice::OutcomeUnknown),
        (scene.rollback().await.expect_err("whose is it?"), Advice::Never),
    ] {
        assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, advice), "{error:?}");
        for word in [&*key, "aws.delete_iam_key", "nexplane-rotation"] {
            assert!(error.message.contains(word), "no {word}: {error}");
        }
        assert_eq!(scene.others().await, [&*key], "it was deleted");
    }
    // Nobody else's: what the message says works, in both directions.
    scene.delete(&key).await;
    assert!(scene.rollback().await.expect("rollback"));
    assert_eq!(scene.identity.witness().await, initially);
}

/// While the new key is tried out, somebody makes another: the old one goes on working, and a person decides.
#[tokio::test]
async fn contract_a_key_that_comes_while_ours_is_tried_out_keeps_the_old_one_working() {
    let (tried, made) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (now, there) = (Arc::clone(&tried), Arc::clone(&made));
    let connection = Mutex::new(None);
    let watch = move |request: &Request, _: &[String]| {
        if !request.is("GetCallerIdentity") {
            return Act::Pass;
        }
        // The first who asks who it is is the connection, and then the new key.
        let first =
            connection.lock().unwrap().get_or_insert_with(|| request.signer.clone()).clone();
        if first == request.signer || there.load(Ordering::SeqCst) {
            return Act::Pass;
        }
        now.notify_one();
        let not_yet =
            "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>";
        Act::Say(403, not_yet.to_owned())
    };
    let scene = Scene::of(watch).await;
    let (iam, user) = (scene.identity.bench.iam.clone(), scene.user.clone());
    tokio::spawn(async move {
        tried.notified().await;
        iam.create_access_key().user_name(&user).send().await.expect("create_access_key");
        made.store(true, Ordering::SeqCst);
    });
    let error = scene.execute().await.expect_err("a third key");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(error.is_outcome_unknown(), "{error:?}");
    let keys = scene.keys().await;
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|(_, status)| status == "Active"), "{keys:?}");
    assert!(error.message.contains("aws.delete_iam_key"), "{error}");
}
