//! S3 buckets: policy and public access settings, read and changed one call at a time.

use std::collections::BTreeSet;

use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Session;
use super::error::Failure;
use crate::sdk::ConnectorError;

/// What a bucket says; none when there is no such bucket.
pub type OfBucket<T> = Option<Option<T>>;

fn answered<T>(answer: Result<T, Failure>) -> Result<OfBucket<T>, ConnectorError> {
    match answer {
        Ok(found) => Ok(Some(Some(found))),
        Err(failure) => match failure.code() {
            Some("NoSuchBucketPolicy" | "NoSuchPublicAccessBlockConfiguration") => Ok(Some(None)),
            Some("NoSuchBucket") => Ok(None),
            _ => Err(failure.read()),
        },
    }
}

/// The text of the policy.
pub async fn policy(session: &Session, name: &str) -> Result<OfBucket<String>, ConnectorError> {
    let answer = session.s3.get_bucket_policy().bucket(name).send().await;
    let answer = answer.map_err(|error| Failure::of("s3:GetBucketPolicy", error));
    Ok(answered(answer)?.map(|found| found.and_then(|found| found.policy)))
}

pub async fn set_policy(
    session: &Session,
    name: &str,
    policy: Option<&str>,
) -> Result<(), ConnectorError> {
    match policy {
        Some(text) => {
            let request = session.s3_effect.put_bucket_policy().bucket(name).policy(text);
            let answer = request.send().await;
            answer.map(drop).map_err(|error| Failure::of("s3:PutBucketPolicy", error).effect())
        }
        None => {
            let answer = session.s3_effect.delete_bucket_policy().bucket(name).send().await;
            answer.map(drop).map_err(|error| Failure::of("s3:DeleteBucketPolicy", error).effect())
        }
    }
}

/// The four settings of a bucket that keep strangers out.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "S3 has four switches of these names")]
pub struct PublicAccess {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl PublicAccess {
    /// Everything is blocked.
    pub const BLOCKED: Self = Self {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    };
}

pub async fn public_access(
    session: &Session,
    name: &str,
) -> Result<OfBucket<PublicAccess>, ConnectorError> {
    let answer = session.s3.get_public_access_block().bucket(name).send().await;
    let answer = answer.map_err(|error| Failure::of("s3:GetBucketPublicAccessBlock", error));
    let settings = |found: PublicAccessBlockConfiguration| PublicAccess {
        block_public_acls: found.block_public_acls.unwrap_or(false),
        ignore_public_acls: found.ignore_public_acls.unwrap_or(false),
        block_public_policy: found.block_public_policy.unwrap_or(false),
        restrict_public_buckets: found.restrict_public_buckets.unwrap_or(false),
    };
    Ok(answered(answer)?
        .map(|found| found.and_then(|found| found.public_access_block_configuration).map(settings)))
}

pub async fn set_public_access(
    session: &Session,
    name: &str,
    settings: Option<PublicAccess>,
) -> Result<(), ConnectorError> {
    let call = "s3:PutBucketPublicAccessBlock";
    match settings {
        Some(settings) => {
            let configuration = PublicAccessBlockConfiguration::builder()
                .block_public_acls(settings.block_public_acls)
                .ignore_public_acls(settings.ignore_public_acls)
                .block_public_policy(settings.block_public_policy)
                .restrict_public_buckets(settings.restrict_public_buckets)
                .build();
            let request = session.s3_effect.put_public_access_block().bucket(name);
            let request = request.public_access_block_configuration(configuration);
            request.send().await.map(drop).map_err(|error| Failure::of(call, error).effect())
        }
        None => {
            let answer = session.s3_effect.delete_public_access_block().bucket(name).send().await;
            answer.map(drop).map_err(|error| Failure::of(call, error).effect())
        }
    }
}

/// Whether two policies say the same, as S3 itself rewrites them: it orders lists, and a list of one is its element.
pub fn same_policy(a: &str, b: &str) -> bool {
    let read = |text: &str| serde_json::from_str(text).ok().map(normal);
    a == b || read(a).is_some_and(|value| Some(value) == read(b))
}

/// Users and roles that a policy names and that were deleted since: S3 then answers their unique ids instead of their
/// ARNs, and takes no policy that names one of them.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>,
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>
pub fn deleted_principals(policy: &str) -> BTreeSet<String> {
    fn each(value: &Value) -> &[Value] {
        match value {
            Value::Array(items) => items,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => std::slice::from_ref(value),
        }
    }
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = policy.get("Statement").map(each).unwrap_or_default();
    let principals = statements.iter().flat_map(|statement| {
        let named = ["Principal", "NotPrincipal"].map(|name| statement.get(name)?.get("AWS"));
        named.into_iter().flatten().flat_map(each).filter_map(Value::as_str)
    });
    let is_unique_id = |id: &&str| {
        id.len() >= 16
            && ["AIDA", "AROA"].iter().any(|kind| id.starts_with(kind))
            && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    principals.filter(is_unique_id).map(str::to_owned).collect()
}

fn normal(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(normal).collect();
            if items.iter().all(Value::is_string) {
                items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                items.dedup();
            }
            match <[Value; 1]>::try_from(items) {
                Ok([only]) => only,
                Err(items) => Value::Array(items),
            }
        }
        Value::Object(map) => {
            let normal = |(key, value): (String, Value)| {
                let value = normal(if key == "AWS" { accounts(value) } else { value });
                (key, value)
            };
            map.into_iter().map(normal).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Principals, where S3 answers `arn:aws:iam::111122223333:root` for the account `111122223333`.
fn accounts(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(accounts).collect(),
        Value::String(text) => {
            let account = text.strip_suffix(":root").and_then(|arn| arn.rsplit_once(":iam::"));
            Value::String(account.map_or(text.clone(), |(_, account)| account.to_owned()))
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_that_were_deleted_are_found_in_every_place() {
        let (user, role) = ("AIDAJQABLZS4A3QDU576Q", "AROAKSCDLFT9R5DQP782U");
        let policy = serde_json::json!({ "Statement": [
            { "Principal": { "AWS": [user, "arn:aws:iam::1:role/AROAROLE"] }, "Sid": "AIDAABCDEFGHIJKLM" },
            { "NotPrincipal": { "AWS": role }, "Principal": "*" },
            { "Principal": { "Service": "AIDAABCDEFGHIJKLMNOP" } },
        ] });
        let found = deleted_principals(&policy.to_string());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [user, role]);
        let single = serde_json::json!({ "Statement": { "Principal": { "AWS": user } } });
        assert_eq!(deleted_principals(&single.to_string()).len(), 1);
        assert!(deleted_principals("not json").is_empty());
        assert!(
            deleted_principals(r#"{"Statement":{"Principal":{"AWS":"111122223333"}}}"#).is_empty()
        );
    }

    #[test]
    fn policies_are_compared_by_what_they_say() {
        let same = |a: &str, b: &str| same_policy(a, b);
        assert!(same(r#"{"A": ["s3:b", "s3:a"], "B": 1}"#, r#"{"B":1,"A":["s3:a","s3:b"]}"#));
        assert!(same(r#"{"A":["x"]}"#, r#"{"A":"x"}"#));
        assert!(!same(r#"{"A":["x","y"]}"#, r#"{"A":"x"}"#));
        assert!(!same(r#"{"S":[{"E":"Deny"},{"E":"Allow"}]}"#, r#"{"S":[{"E":"Deny"}]}"#));
        let root =
            r#"{"Principal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::1:role/x"]}}"#;
        assert!(same(r#"{"Principal":{"AWS":["111122223333","arn:aws:iam::1:role/x"]}}"#, root));
        assert!(!same(r#"{"Principal":{"AWS":["111122223334","arn:aws:iam::1:role/x"]}}"#, root));
        assert!(same("not json", "not json") && !same("not json", "other"));
    }
}
