//! IAM users: keys, tags and inline policies, read and changed one call at a time.

use std::collections::BTreeMap;

use aws_sdk_iam::types::{StatusType, Tag};

use super::Session;
use super::error::{Failure, Why};
use super::list::{MOST_PAGES, gather};
use crate::sdk::{ConnectorError, SecretText};

/// Status of a key that works, as IAM writes it.
pub const ACTIVE: &str = "Active";
/// Status of a key that does not.
pub const INACTIVE: &str = "Inactive";

/// The answer of a read; none when AWS says that the thing is not there.
pub fn optional<T>(answer: Result<T, Failure>) -> Result<Option<T>, ConnectorError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_absent() => Ok(None),
        Err(failure) => Err(failure.read()),
    }
}

pub async fn exists(session: &Session, user: &str) -> Result<bool, ConnectorError> {
    let answer = session.iam.get_user().user_name(user).send().await;
    Ok(optional(answer.map_err(|error| Failure::of("iam:GetUser", error)))?.is_some())
}

/// ARN of a user, whose path may be part of it. Where that may not be read, as if it had none.
pub async fn arn(session: &Session, user: &str) -> String {
    match session.iam.get_user().user_name(user).send().await {
        Ok(found) if found.user.is_some() => found.user.map(|user| user.arn).unwrap_or_default(),
        Ok(_) | Err(_) => session.arn("iam", &format!("user/{user}")),
    }
}

/// Status of each access key, by id; none when there is no such user.
pub async fn keys(
    session: &Session,
    user: &str,
) -> Result<Option<BTreeMap<String, String>>, ConnectorError> {
    let pages = session.iam.list_access_keys().user_name(user).into_paginator();
    let Some(found) = optional(gather!("iam:ListAccessKeys", pages))? else { return Ok(None) };
    let keys = found.into_iter().map(|key| match (key.access_key_id, key.status) {
        (Some(id), Some(status)) => Ok((id, status.as_str().to_owned())),
        _ => Err(incomplete("iam:ListAccessKeys").read()),
    });
    keys.collect::<Result<_, _>>().map(Some)
}

/// All tags; none when there is no such user.
pub async fn tags(
    session: &Session,
    user: &str,
) -> Result<Option<BTreeMap<String, String>>, ConnectorError> {
    let mut tags = BTreeMap::new();
    let mut marker = None;
    for _ in 0..MOST_PAGES {
        let request = session.iam.list_user_tags().user_name(user).set_marker(marker);
        let answer = request.send().await.map_err(|e| Failure::of("iam:ListUserTags", e));
        let Some(page) = optional(answer)? else { return Ok(None) };
        tags.extend(page.tags.into_iter().map(|tag| (tag.key, tag.value)));
        if !page.is_truncated {
            return Ok(Some(tags));
        }
        let next = page.marker.ok_or_else(|| incomplete("iam:ListUserTags").read())?;
        marker = Some(next);
    }
    Err(Failure::too_long("iam:ListUserTags").read())
}

pub async fn set_tag(
    session: &Session,
    user: &str,
    key: &str,
    value: &str,
) -> Result<(), ConnectorError> {
    let tag = Tag::builder().key(key).value(value).build();
    let tag =
        tag.map_err(|error| ConnectorError::invalid("the tag is incomplete").because(error))?;
    let answer = session.iam_effect.tag_user().user_name(user).tags(tag).send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:TagUser", error).effect())
}

pub async fn remove_tag(session: &Session, user: &str, key: &str) -> Result<(), ConnectorError> {
    let answer = session.iam_effect.untag_user().user_name(user).tag_keys(key).send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:UntagUser", error).effect())
}

/// A new key, active: id and secret.
pub async fn create_key(
    session: &Session,
    user: &str,
) -> Result<(String, SecretText), ConnectorError> {
    let answer = session.iam_effect.create_access_key().user_name(user).send().await;
    let answer = answer.map_err(|error| Failure::of("iam:CreateAccessKey", error).effect())?;
    let key = answer.access_key.ok_or_else(|| incomplete("iam:CreateAccessKey").effect())?;
    Ok((key.access_key_id, SecretText::new(key.secret_access_key)))
}

pub async fn set_key_status(
    session: &Session,
    user: &str,
    id: &str,
    status: &str,
) -> Result<(), ConnectorError> {
    let request = session.iam_effect.update_access_key().user_name(user).access_key_id(id);
    let answer = request.status(StatusType::from(status)).send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:UpdateAccessKey", error).effect())
}

pub async fn delete_key(session: &Session, user: &str, id: &str) -> Result<(), ConnectorError> {
    let request = session.iam_effect.delete_access_key().user_name(user).access_key_id(id);
    let answer = request.send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:DeleteAccessKey", error).effect())
}

/// When a key was used last, as seconds since 1970; none when never, or when there is no such key.
pub async fn last_used(session: &Session, id: &str) -> Result<Option<i64>, ConnectorError> {
    let answer = session.iam.get_access_key_last_used().access_key_id(id).send().await;
    let answer = answer.map_err(|error| Failure::of("iam:GetAccessKeyLastUsed", error).read())?;
    let used = answer.access_key_last_used.and_then(|used| used.last_used_date);
    Ok(used.map(|date| date.secs()))
}

/// Text of an inline policy.
pub async fn policy(
    session: &Session,
    user: &str,
    name: &str,
) -> Result<Option<String>, ConnectorError> {
    let answer = session.iam.get_user_policy().user_name(user).policy_name(name).send().await;
    let Some(found) = optional(answer.map_err(|e| Failure::of("iam:GetUserPolicy", e)))? else {
        return Ok(None);
    };
    // IAM answers documents percent-encoded (RFC 3986).
    let text = unescape(&found.policy_document);
    text.map(Some).ok_or_else(|| incomplete("iam:GetUserPolicy").read())
}

pub async fn put_policy(
    session: &Session,
    user: &str,
    name: &str,
    document: &str,
) -> Result<(), ConnectorError> {
    let request = session.iam_effect.put_user_policy().user_name(user).policy_name(name);
    let answer = request.policy_document(document).send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:PutUserPolicy", error).effect())
}

pub async fn delete_policy(
    session: &Session,
    user: &str,
    name: &str,
) -> Result<(), ConnectorError> {
    let request = session.iam_effect.delete_user_policy().user_name(user).policy_name(name);
    let answer = request.send().await;
    answer.map(drop).map_err(|error| Failure::of("iam:DeleteUserPolicy", error).effect())
}

fn incomplete(call: &'static str) -> Failure {
    Failure { call, why: Why::Unreadable("a part of the answer is missing".into()) }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_as_they_were_written() {
        assert_eq!(unescape("%7B%22a%22%3A+%20%C3%BC%7D").as_deref(), Some("{\"a\":+ ü}"));
        assert_eq!((unescape("%7"), unescape("%zz"), unescape("%FF")), (None, None, None));
    }
}
