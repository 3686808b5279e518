//! Secrets that only the session has: the key and the token of a role.

use std::sync::{Arc, Mutex};

use nexplane_peers::spelling::spellings;
use serde_json::json;

use super::bench::moved;
use super::between::{Act, Between, Request};
use super::ec2::text;
use super::identity::{Identity, user_target};
use crate::fixture::{action, context, open};
use crate::suite::{Account, Peer};

/// What answers says what it was told, as proxies and debug builds do.
#[tokio::test]
async fn contract_the_secrets_of_an_assumed_role_are_not_repeated() {
    let identity = Identity::start().await;
    let login = identity.login(Account::Full).await;
    let role = format!("{}-role", identity.bench.prefix);
    let arn = format!("arn:aws:iam::000000000000:user/{}", login.name);
    let trust = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": arn }, "Action": "sts:AssumeRole" },
    ] });
    let iam = &identity.bench.iam;
    let made = iam.create_role().role_name(&role).assume_role_policy_document(trust.to_string());
    let made = made.send().await.expect("create_role").role.unwrap();
    let all = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "*", "Resource": "*" },
    ] });
    let put = iam.put_role_policy().role_name(&role).policy_name("all");
    put.policy_document(all.to_string()).send().await.expect("put_role_policy");

    // Which call of the role's is answered with all its secrets.
    for call in ["GetUser", "GetCallerIdentity"] {
        let secrets: Arc<Mutex<Vec<String>>> = Arc::default();
        let known = Arc::clone(&secrets);
        let echo = move |request: &Request, heard: &[String]| {
            let role = heard.iter().find(|answer| answer.contains("<SessionToken>"));
            let Some(role) = role.filter(|_| request.is(call)) else { return Act::Pass };
            let parts = ["SecretAccessKey", "SessionToken"].map(|name| text(role, name));
            let said = parts.join(" and ");
            known.lock().unwrap().extend(parts);
            let body = format!(
                "<ErrorResponse><Error><Code>ServiceFailure</Code><Message>{said}</Message></Error></ErrorResponse>"
            );
            Act::Say(400, body)
        };
        let between = Between::at(identity.bench.aws.port, echo).await;
        let mut credentials = moved(login.credentials.clone(), between.port);
        credentials["role_arn"] = json!(made.arn);
        let user = identity.bench.user(&format!("app-{call}")).await;
        let error = match open("aws", credentials, &context()).await {
            Err(error) => error,
            Ok(session) => {
                let target = user_target(&user);
                let (action, parameters) = (action("aws.lock_iam_user"), json!({}));
                let read = action.read(&*session, &target, &parameters, None).await;
                read.expect_err("it is answered with an error")
            }
        };
        let said = format!("{error} {error:?}");
        assert!(said.contains("[redacted] and [redacted]"), "{call}: {said}");
        let secrets = secrets.lock().unwrap().clone();
        assert!(secrets.len() >= 2, "{call}: nothing was echoed");
        for secret in secrets.iter().flat_map(|secret| spellings(secret)) {
            assert!(!said.contains(&secret), "{call}: {said}");
        }
    }
}
