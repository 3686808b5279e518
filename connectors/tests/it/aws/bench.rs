//! What the tests have in common: a stand-in, accounts in it, and an administrator's clients that are not
//! the connector's.

use std::sync::Mutex;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use nexplane_connectors::sdk::{AnySession, Executed, Snapshot};
use nexplane_core::plan::TargetRef;
use nexplane_peers::aws::Aws;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{action, registry, step};
use crate::suite::{Account, Login};

pub const REGION: &str = "eu-west-1";

pub struct Bench {
    pub aws: Aws,
    /// In the name of everything that this test makes.
    pub prefix: String,
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
    /// Secrets of all accounts that it made.
    pub secrets: Mutex<Vec<String>>,
}

pub fn config(aws: &Aws) -> SdkConfig {
    let keys = Credentials::from_keys(&aws.access_key_id, &aws.secret_access_key, None);
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(aws.endpoint())
        .build()
}

impl Bench {
    pub fn new(aws: Aws) -> Self {
        let config = config(&aws);
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let random = Uuid::new_v4().simple().to_string();
        Self {
            prefix: format!("t{}", &random[..12]),
            iam: aws_sdk_iam::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            secrets: Mutex::new(vec![aws.secret_access_key.clone()]),
            aws,
        }
    }

    pub fn credentials(&self, id: &str, secret: &str) -> Value {
        json!({
            "access_key_id": id,
            "secret_access_key": secret,
            "region": REGION,
            "endpoint_url": self.aws.endpoint(),
        })
    }

    pub async fn user(&self, name: &str) -> String {
        let user = format!("{}-{name}", self.prefix);
        self.iam.create_user().user_name(&user).send().await.expect("create_user");
        user
    }

    /// Id and secret of a new key.
    pub async fn key(&self, user: &str) -> (String, String) {
        let made = self.iam.create_access_key().user_name(user).send().await;
        let key = made.expect("create_access_key").access_key.unwrap();
        self.secrets.lock().unwrap().push(key.secret_access_key.clone());
        (key.access_key_id, key.secret_access_key)
    }

    pub async fn allow(&self, user: &str, calls: &[&str]) {
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": calls, "Resource": "*" }],
        });
        let put = self.iam.put_user_policy().user_name(user).policy_name("allow");
        put.policy_document(document.to_string()).send().await.expect("put_user_policy");
    }

    /// An account of the suite. What a manager may do is known with the action: [`Bench::name_rights`].
    pub async fn login(&self, account: Account) -> Login {
        let name = match account {
            Account::Full => "full",
            Account::Manager => "manager",
            Account::Weak => "weak",
        };
        let user = self.user(name).await;
        let (id, secret) = self.key(&user).await;
        match account {
            Account::Full => self.allow(&user, &["*"]).await,
            Account::Manager => {}
            Account::Weak => {
                let reading =
                    ["iam:Get*", "iam:List*", "iam:Simulate*", "s3:Get*", "ec2:Describe*"];
                self.allow(&user, &reading).await;
            }
        }
        Login { account, name: user, credentials: self.credentials(&id, &secret) }
    }

    /// The manager may do exactly what the catalog says of the action.
    pub async fn name_rights(&self, action: &str, login: &Login) {
        if login.account == Account::Manager {
            let spec = registry().action(action).unwrap().spec();
            let calls: Vec<_> = spec.permissions.iter().map(String::as_str).collect();
            self.allow(&login.name, &calls).await;
        }
    }

    pub fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap().clone()
    }
}

pub fn moved(mut credentials: Value, port: u16) -> Value {
    credentials["endpoint_url"] = json!(format!("http://127.0.0.1:{port}"));
    credentials
}

pub fn with_wrong_secret(mut credentials: Value) -> Value {
    credentials["secret_access_key"] = json!("wrong-secret-access-key");
    credentials
}

/// Inspects, finds that nothing stands in the way, and does it.
pub async fn done(
    session: &dyn AnySession,
    id: &str,
    target: &TargetRef,
    parameters: &Value,
) -> (Snapshot, Executed) {
    let action = action(id);
    let inspection = action.inspect(session, target, parameters).await.expect("inspect");
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let cx = step(action, target, parameters, &inspection.before.fingerprint);
    let executed = action.execute(session, &cx, &inspection.before).await.expect("execute");
    assert!(executed.changed);
    (inspection.before, executed)
}

/// The details of the checks that fail.
pub async fn faults(
    session: &dyn AnySession,
    id: &str,
    target: &TargetRef,
    parameters: &Value,
) -> String {
    let inspection = action(id).inspect(session, target, parameters).await.expect("inspect");
    let failed = inspection.checks.into_iter().filter(|check| !check.ok);
    failed.map(|check| check.detail).collect::<Vec<_>>().join("\n")
}
