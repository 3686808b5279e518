//! IAM and S3, against both stand-ins: they are wrong in different places.

use std::sync::Mutex;

use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration,
};
use nexplane_connectors::sdk::ConnectorError;
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{self, Bench};
use crate::fixture::target;
use crate::suite::{Account, Case, Login, Peer};

pub const ACTIONS: [&str; 6] = [
    "aws.block_public_access",
    "aws.delete_iam_key",
    "aws.lock_iam_user",
    "aws.rotate_iam_key",
    "aws.unlock_iam_user",
    "aws.update_bucket_policy",
];

pub type Identity = IdentityOf<false>;
pub type IdentityOfMoto = IdentityOf<true>;

pub struct IdentityOf<const MOTO: bool> {
    pub bench: Bench,
    users: Mutex<Vec<String>>,
    buckets: Mutex<Vec<String>>,
}

pub fn user_target(name: &str) -> TargetRef {
    target("aws_iam_user", &format!("user/{name}"), name)
}

pub fn key_target(user: &str, id: &str) -> TargetRef {
    target("aws_access_key", &format!("access_key/{user}/{id}"), id)
}

pub fn bucket_target(name: &str) -> TargetRef {
    target("aws_s3_bucket", &format!("bucket/{name}"), name)
}

/// A policy for the bucket that says something about one call.
pub fn bucket_policy(bucket: &str, call: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": call,
            "Resource": format!("arn:aws:s3:::{bucket}/*"),
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        }],
    })
    .to_string()
}

impl<const MOTO: bool> IdentityOf<MOTO> {
    /// A user that the witness watches.
    pub async fn watched(&self, name: &str) -> String {
        let user = self.bench.user(name).await;
        self.users.lock().unwrap().push(user.clone());
        user
    }

    pub async fn bucket(&self, name: &str) -> String {
        let bucket = format!("{}-{name}", self.bench.prefix);
        let place = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::EuWest1)
            .build();
        let request = self.bench.s3.create_bucket().bucket(&bucket);
        request.create_bucket_configuration(place).send().await.expect("create_bucket");
        self.buckets.lock().unwrap().push(bucket.clone());
        bucket
    }

    pub async fn lock(&self, user: &str, call: &str) {
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Sid": "NexplaneLock", "Effect": "Deny", "Action": call, "Resource": "*" }],
        });
        let put = self.bench.iam.put_user_policy().user_name(user).policy_name("nexplane-lock");
        put.policy_document(document.to_string()).send().await.expect("put_user_policy");
    }

    async fn set_key(&self, user: &str, id: &str, status: &str) {
        let request = self.bench.iam.update_access_key().user_name(user).access_key_id(id);
        request.status(status.into()).send().await.expect("update_access_key");
    }

    pub async fn set_policy(&self, bucket: &str, text: &str) {
        let request = self.bench.s3.put_bucket_policy().bucket(bucket).policy(text);
        request.send().await.expect("put_bucket_policy");
    }

    pub async fn set_public_access(&self, bucket: &str, policy: bool) {
        let settings = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(false)
            .block_public_policy(policy)
            .restrict_public_buckets(false)
            .build();
        let request = self.bench.s3.put_public_access_block().bucket(bucket);
        let request = request.public_access_block_configuration(settings);
        request.send().await.expect("put_public_access_block");
    }

    async fn case(&self, action: &str) -> Case {
        let case = |target: TargetRef, parameters: Value, disturbance: String| Case {
            target,
            parameters,
            disturbance,
            never: Vec::new(),
            in_parts: false,
        };
        match action {
            "aws.block_public_access" => {
                let bucket = self.bucket("data").await;
                self.set_public_access(&bucket, false).await;
                case(bucket_target(&bucket), json!({}), format!("access {bucket}"))
            }
            "aws.update_bucket_policy" => {
                let bucket = self.bucket("data").await;
                // Spaces, so that a policy that came back was not written anew.
                let before = bucket_policy(&bucket, "s3:PutObject").replace(':', ": ");
                let before = before.replace("arn: aws: s3: : : ", "arn:aws:s3:::");
                let before = before.replace("s3: PutObject", "s3:PutObject");
                self.set_policy(&bucket, &before.replace("aws: Sec", "aws:Sec")).await;
                let parameters = json!({ "policy": bucket_policy(&bucket, "s3:GetObject") });
                case(bucket_target(&bucket), parameters, format!("policy {bucket}"))
            }
            "aws.delete_iam_key" => {
                let user = self.watched("app").await;
                let (id, _) = self.bench.key(&user).await;
                self.set_key(&user, &id, "Inactive").await;
                case(key_target(&user, &id), json!({}), format!("activate {user} {id}"))
            }
            "aws.rotate_iam_key" => {
                let user = self.watched("app").await;
                let (id, _) = self.bench.key(&user).await;
                let case = case(key_target(&user, &id), json!({}), format!("key {user}"));
                Case { in_parts: true, ..case }
            }
            "aws.lock_iam_user" => {
                let user = self.watched("app").await;
                case(user_target(&user), json!({}), format!("lock {user}"))
            }
            "aws.unlock_iam_user" => {
                let user = self.watched("app").await;
                self.lock(&user, "*").await;
                case(user_target(&user), json!({}), format!("lock {user}"))
            }
            other => panic!("{other} has no case: every action must have one"),
        }
    }
}

impl<const MOTO: bool> Peer for IdentityOf<MOTO> {
    const CONNECTOR: &'static str = "aws";
    const WHAT_TO_DO: &'static str = "to the policy of";
    const SHOWS_LATE: bool = true;

    async fn start() -> Self {
        let aws = if MOTO {
            nexplane_peers::aws::moto().await.expect("moto")
        } else {
            nexplane_peers::aws::ministack().await.expect("ministack")
        };
        Self { bench: Bench::new(aws), users: Mutex::default(), buckets: Mutex::default() }
    }

    async fn login(&self, account: Account) -> Login {
        self.bench.login(account).await
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.bench.aws.port)
    }

    fn moved(&self, credentials: Value, port: u16) -> Value {
        bench::moved(credentials, port)
    }

    fn with_wrong_secret(&self, credentials: Value) -> Value {
        bench::with_wrong_secret(credentials)
    }

    async fn prepare(&self, action: &str, login: &Login) -> Case {
        self.bench.name_rights(action, login).await;
        let case = self.case(action).await;
        let own_key = login.credentials["access_key_id"].as_str().unwrap();
        let nobody = format!("{}-nobody", self.bench.prefix);
        let never = match case.target.kind.as_str() {
            "aws_iam_user" => vec![user_target(&nobody), user_target(&login.name)],
            "aws_access_key" => vec![
                key_target(&nobody, "AKIAIOSFODNN7EXAMPLE"),
                key_target(&login.name, own_key),
                key_target(&self.users.lock().unwrap()[0], "AKIAIOSFODNN7EXAMPLE"),
            ],
            _ => vec![bucket_target(&nobody)],
        };
        Case { never, ..case }
    }

    async fn disturb(&self, case: &Case) {
        let words: Vec<_> = case.disturbance.split(' ').collect();
        match words[..] {
            ["key", user] => drop(self.bench.key(user).await),
            ["activate", user, id] => self.set_key(user, id, "Active").await,
            ["lock", user] => self.lock(user, "s3:*").await,
            ["policy", bucket] => {
                self.set_policy(bucket, &bucket_policy(bucket, "s3:DeleteObject")).await;
            }
            ["access", bucket] => self.set_public_access(bucket, true).await,
            _ => panic!("{}", case.disturbance),
        }
    }

    /// A key that was made and whose secret was lost: whose it is is for a person to know.
    async fn follow(&self, case: &Case, error: &ConnectorError) -> bool {
        let Some((_, rest)) = error.message.split_once("has the key ") else { return false };
        let user = case.target.external_key.split('/').nth(1).unwrap();
        let key = rest.split(' ').next().unwrap();
        let request = self.bench.iam.delete_access_key().user_name(user).access_key_id(key);
        request.send().await.expect("delete_access_key");
        true
    }

    async fn witness(&self) -> String {
        let (iam, s3) = (&self.bench.iam, &self.bench.s3);
        let mut seen = Vec::new();
        let users = self.users.lock().unwrap().clone();
        for user in users {
            let keys = iam.list_access_keys().user_name(&user).send().await.unwrap();
            for key in keys.access_key_metadata {
                seen.push(format!("{user} {:?} {:?}", key.access_key_id, key.status));
            }
            let tags = iam.list_user_tags().user_name(&user).send().await.unwrap().tags;
            seen.extend(tags.iter().map(|tag| format!("{user} {tag:?}")));
            let policies = iam.list_user_policies().user_name(&user).send().await.unwrap();
            for name in policies.policy_names {
                let found = iam.get_user_policy().user_name(&user).policy_name(name).send().await;
                seen.push(format!("{user} {}", found.unwrap().policy_document));
            }
        }
        let buckets = self.buckets.lock().unwrap().clone();
        for bucket in buckets {
            let policy = s3.get_bucket_policy().bucket(&bucket).send().await.ok();
            let access = s3.get_public_access_block().bucket(&bucket).send().await.ok();
            let access = access.and_then(|access| access.public_access_block_configuration);
            seen.push(format!("{bucket} {:?} {access:?}", policy.and_then(|policy| policy.policy)));
        }
        seen.sort();
        seen.join("\n")
    }

    fn secrets(&self) -> Vec<String> {
        self.bench.secrets()
    }
}
