//! `aws.rotate_iam_key`: a new access key, handed over once; the old one no longer works.
//!
//! IAM allows two keys per user, so a rotation begins with one. It has four parts, in an order in which
//! any of them can be the last one before a crash: mark the user ([`super::handover`]), make the key, leave its
//! secret in the mark, take the old key out of use after the new one was seen to work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{after_a_part, gone, moved};
use super::handover::{Mark, Rotation, TAG};
use super::target::{ACCESS_KEY, USER, access_key_of, name_of};
use super::user::{self, ACTIVE, INACTIVE};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Advice, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Produced, Redactor, Reversible, SecretText, StepContext, TargetState, check, line,
};

/// Keys of one user, at most: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.
const MOST_KEYS: usize = 2;
/// Tags of one user, at most (same page).
const MOST_TAGS: usize = 50;
/// A new key works everywhere after some seconds. How long it is waited for, at most, and how often it is tried.
const WORKS_WITHIN: Duration = Duration::from_mins(1);
const TRY_EVERY: Duration = Duration::from_millis(750);
/// Time of the deadline that is kept for what comes after the wait.
const RESERVE: Duration = Duration::from_secs(4);

/// Gives the user a new access key and takes its old one out of use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateIamKey {}

/// The keys of a user, and our mark on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Status by id.
    keys: BTreeMap<String, String>,
    mark: Option<String>,
}

/// None when there is no such user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    user: Option<Keys>,
    /// Of others than us: not written, so not in the fingerprint.
    other_tags: usize,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let Some(user) = &self.user else { return vec![Field::new("exists", false)] };
        vec![
            Field::new("exists", true),
            Field::new("access_keys", json!(user.keys)),
            Field::new("rotation", user.mark.as_deref().map_or(Value::Null, word)),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!(self.user)
    }
}

/// The mark without what only a machine can read.
fn word(mark: &str) -> Value {
    let mut parts = mark.splitn(3, ':');
    let (id, state) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    json!(format!("{id}:{state}"))
}

/// The new key, and its secret as nobody but the holder of the before-state can read it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    access_key_id: String,
    mark: String,
}

/// How far a rotation is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    NotBegun,
    /// Our mark is there, and nothing else.
    Marked,
    /// A key was made after our mark: by us, and then its secret was lost, or by somebody else. IAM does not say,
    /// so it is never deleted here.
    Orphan {
        key: String,
    },
    /// The new key is there and the old one as before.
    Made {
        key: String,
    },
    Done {
        key: String,
    },
    /// Our mark is there with a key that is gone: a rollback was cut off.
    Deleted,
}

/// The progress of the rotation from `was` that the user's keys show; none when somebody else was at work.
fn progress(now: &Keys, was: &Keys, rotation: &Rotation) -> Option<Progress> {
    if now == was {
        return Some(Progress::NotBegun);
    }
    let mark = rotation.mark(now.mark.as_deref()?)?;
    let mut new = now.keys.iter().filter(|(id, _)| !was.keys.contains_key(*id));
    let (new, more) = (new.next(), new.next());
    let old_is = |wanted: Option<&str>| {
        was.keys
            .iter()
            .all(|(id, status)| now.keys.get(id) == Some(&wanted.unwrap_or(status).to_owned()))
    };
    let (as_before, retired) = (old_is(None), old_is(Some(INACTIVE)));
    match (mark, new) {
        _ if more.is_some() => None,
        (Mark::Begun, None) if as_before => Some(Progress::Marked),
        (Mark::Begun, Some((key, _))) if as_before => Some(Progress::Orphan { key: key.clone() }),
        (Mark::Made { .. }, None) if as_before => Some(Progress::Deleted),
        (Mark::Made { key }, Some((found, status))) if key == *found && status == ACTIVE => {
            // An old key that was inactive before has nothing to be done to it.
            if retired {
                Some(Progress::Done { key })
            } else if as_before {
                Some(Progress::Made { key })
            } else {
                None
            }
        }
        (Mark::Begun | Mark::Made { .. }, _) => None,
    }
}

fn user_of(target: &TargetRef) -> Result<(String, Option<String>), ConnectorError> {
    if target.kind == ACCESS_KEY {
        let (user, key) = access_key_of(target)?;
        Ok((user, Some(key)))
    } else {
        Ok((name_of(target, "user/")?, None))
    }
}

async fn read(session: &Session, name: &str) -> Result<State, ConnectorError> {
    let nobody = State { user: None, other_tags: 0 };
    let Some(keys) = user::keys(session, name).await? else { return Ok(nobody) };
    let Some(mut tags) = user::tags(session, name).await? else { return Ok(nobody) };
    let mark = tags.remove(TAG);
    Ok(State { user: Some(Keys { keys, mark }), other_tags: tags.len() })
}

/// One rotation at work.
struct Work<'a> {
    session: &'a Session,
    name: String,
    was: &'a Keys,
    rotation: &'a Rotation,
    /// Whether something was changed, so that an error leaves the outcome open.
    begun: bool,
}

impl<'a> Work<'a> {
    async fn begin(
        session: &'a Session,
        cx: &StepContext,
        before: &'a Before<RotateIamKey>,
    ) -> Result<(Self, Progress, Keys), ConnectorError> {
        let (name, _) = user_of(&cx.step.target)?;
        permission::refuse_own(session, &name)?;
        let what = format!("the keys of {name}");
        let was = before.state.user.as_ref().ok_or_else(|| gone(&format!("the user {name}")))?;
        let now = read(session, &name).await?.user;
        let now = now.ok_or_else(|| gone(&format!("the user {name}")))?;
        let rotation = &before.prepared;
        let at = progress(&now, was, rotation).ok_or_else(|| moved(&what))?;
        Ok((Self { session, name, was, rotation, begun: false }, at, now))
    }

    /// The answer of one part.
    fn part<T>(&mut self, answer: Result<T, ConnectorError>) -> Result<T, ConnectorError> {
        let answer = if self.begun { answer.map_err(after_a_part) } else { answer };
        self.begun |= answer.is_ok();
        answer
    }

    async fn mark(&mut self, mark: &str) -> Result<(), ConnectorError> {
        let answer = user::set_tag(self.session, &self.name, TAG, mark).await;
        self.part(answer)
    }

    async fn unmark(&mut self) -> Result<(), ConnectorError> {
        let answer = match &self.was.mark {
            Some(mark) => user::set_tag(self.session, &self.name, TAG, mark).await,
            None => user::remove_tag(self.session, &self.name, TAG).await,
        };
        self.part(answer)
    }

    async fn set_old(&mut self, wanted: Option<&str>) -> Result<(), ConnectorError> {
        for (id, status) in &self.was.keys {
            let wanted = wanted.unwrap_or(status);
            let answer = user::set_key_status(self.session, &self.name, id, wanted).await;
            self.part(answer)?;
        }
        Ok(())
    }

    async fn delete(&mut self, key: &str) -> Result<(), ConnectorError> {
        let answer = user::delete_key(self.session, &self.name, key).await;
        self.part(answer)
    }

    /// What a person has to settle: whose the key is.
    fn orphan(&self, key: &str) -> ConnectorError {
        ConnectorError::conflict(format!(
            "{user} has the key {key} since this rotation began, and AWS does not say who made it. Nothing was \
             changed now. If nobody else did, its secret is lost: delete it (aws.delete_iam_key, even_if_active), then \
             do this again. If somebody did: remove the tag {TAG} from {user}, and plan again",
            user = self.name,
        ))
    }

    fn part_of_reading<T>(&self, answer: Result<T, ConnectorError>) -> Result<T, ConnectorError> {
        if self.begun { answer.map_err(after_a_part) } else { answer }
    }

    async fn make(&mut self) -> Result<(String, String), ConnectorError> {
        let answer = user::create_key(self.session, &self.name).await;
        self.seal(answer).await
    }

    /// Leaves the secret of the new key in our mark.
    async fn seal(
        &mut self,
        made: Result<(String, SecretText), ConnectorError>,
    ) -> Result<(String, String), ConnectorError> {
        let (key, secret) = self.part(made)?;
        let mark = self.rotation.made(&key, &secret);
        let mark = self.part_of_reading(mark)?;
        let hidden = |error| Redactor::new(vec![secret.clone()]).error(error);
        self.mark(&mark).await.map_err(hidden)?;
        Ok((key, mark))
    }

    /// The first two parts. When IAM refuses the key, as it does when somebody else made one in this very moment, our
    /// mark is taken away again: it would say of that key that it might be ours.
    async fn mark_and_make(&mut self) -> Result<(String, String), ConnectorError> {
        self.mark(&self.rotation.begun()).await?;
        let answer = user::create_key(self.session, &self.name).await;
        match answer {
            Err(refused) if !refused.is_outcome_unknown() => match self.unmark().await {
                Ok(()) => {
                    let message = format!("{}; nothing is left of this rotation", refused.message);
                    Err(ConnectorError { message, ..refused })
                }
                Err(_) => Err(after_a_part(refused)),
            },
            answer => self.seal(answer).await,
        }
    }

    /// Whether the user has a key that was there neither before nor was made by us.
    async fn no_other_key(&self, key: &str) -> Result<(), ConnectorError> {
        let keys = user::keys(self.session, &self.name).await.map_err(after_a_part)?;
        let keys = keys.unwrap_or_default();
        let other = keys.keys().find(|id| *id != key && !self.was.keys.contains_key(*id));
        other.map_or(Ok(()), |other| {
            Err(after_a_part(ConnectorError::conflict(format!(
                "somebody made the key {other} of {} at the same time. The new key {key} works, and the old one was \
                 left as it is: delete the one that is not needed (aws.delete_iam_key), then do this again",
                self.name
            ))))
        })
    }

    /// Waits until the new key works.
    async fn try_out(
        &self,
        key: &str,
        secret: &SecretText,
        limit: Duration,
    ) -> Result<(), ConnectorError> {
        let end = Instant::now() + limit.saturating_sub(RESERVE).min(WORKS_WITHIN);
        loop {
            let answer = self.session.identity_of(key, secret).await;
            let failure = match answer {
                Ok(identity) if identity.user() == Some(&self.name) => return Ok(()),
                Ok(identity) => {
                    let message = format!("the new key {key} is of {}", identity.arn);
                    let advice = Advice::OutcomeUnknown;
                    return Err(ConnectorError::new(ErrorKind::Unexpected, advice, message));
                }
                Err(failure) => failure,
            };
            if Instant::now() >= end {
                return Err(after_a_part(failure.read()));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

impl Action for RotateIamKey {
    type Connector = Aws;
    type State = State;
    type Prepared = Rotation;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_iam_key",
        title: "Rotate a user's access key",
        description: "Makes a new access key, whose secret is handed over once, sees that it works, and makes \
                      the old one inactive: whatever still uses that stops working. The old key is not deleted. \
                      The user carries the tag nexplane-rotation afterwards.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[USER, ACCESS_KEY],
        permissions: &[
            "iam:ListAccessKeys",
            "iam:ListUserTags",
            "iam:TagUser",
            "iam:UntagUser",
            "iam:CreateAccessKey",
            "iam:UpdateAccessKey",
            "iam:DeleteAccessKey",
            "iam:GetAccessKeyLastUsed",
            "iam:SimulatePrincipalPolicy",
        ],
        produces: &["secret_access_key"],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        read(session, &user_of(target)?.0).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let (name, key) = user_of(target)?;
        let mut checks = vec![
            permission::is_there("the user", state.user.is_some()),
            permission::is_not_own(session, &name, key.as_deref()),
        ];
        let Some(user) = &state.user else { return Ok(checks) };
        let (ok, detail) = match user.keys.len() {
            0 => (false, format!("{name} has no access key: there is nothing to rotate")),
            1 => (true, "it has one".to_owned()),
            _ => {
                let why = "IAM allows two: delete the one that is not used (aws.delete_iam_key)";
                (user.keys.len() < MOST_KEYS, format!("{name} has two access keys. {why}"))
            }
        };
        checks.push(check("the user has room for a second key", ok, detail));
        if let Some(key) = key {
            let there = user.keys.contains_key(&key);
            checks.push(permission::is_there("the access key", there));
        }
        let room = user.mark.is_some() || state.other_tags < MOST_TAGS;
        let detail = if room { "it has" } else { "IAM allows 50 tags: remove one" };
        checks.push(check(format!("the user has room for the tag {TAG}"), room, detail));
        let calls = [
            "iam:TagUser",
            "iam:UntagUser",
            "iam:CreateAccessKey",
            "iam:UpdateAccessKey",
            "iam:DeleteAccessKey",
        ];
        let arn = user::arn(session, &name).await;
        checks.extend(permission::simulated(session, &calls, &arn).await?);
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<Rotation, ConnectorError> {
        Rotation::begin()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let mut diff = vec![line(target, "access_key", Value::Null, "a new one, Active")];
        for (id, status) in state.user.iter().flat_map(|user| &user.keys) {
            diff.push(line(target, format!("access_key {id}"), status.as_str(), INACTIVE));
        }
        Description {
            diff,
            summary: format!(
                "{} gets a new access key; the old one stops working as soon as the new one works.",
                target.name
            ),
            rollback: format!(
                "The old access key of {} works again; the new one is deleted.",
                target.name
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let started = Instant::now();
        let (mut work, at, now) = Work::begin(session, cx, before).await?;
        let mark = now.mark.unwrap_or_default();
        let (key, mark) = match at {
            Progress::Done { key } => {
                let outcome = Outcome { access_key_id: key, mark };
                return Ok(Effect { changed: false, outcome });
            }
            Progress::Deleted => return Err(moved(&format!("the keys of {}", work.name))),
            Progress::Made { key } => (key, mark),
            // An earlier attempt left its mark, so that not nothing was done.
            Progress::Orphan { key } => {
                let error = work.orphan(&key);
                return Err(ConnectorError { advice: Advice::OutcomeUnknown, ..error });
            }
            Progress::Marked => work.make().await?,
            Progress::NotBegun => {
                if work.was.keys.len() >= MOST_KEYS || work.was.keys.is_empty() {
                    let why = format!("{} must have exactly one access key", work.name);
                    return Err(ConnectorError::conflict(why));
                }
                work.mark_and_make().await?
            }
        };
        let (_, secret) = before.prepared.open(&mark).ok_or_else(|| {
            let message = format!("the tag {TAG} of {} was changed: undo it", work.name);
            after_a_part(ConnectorError::conflict(message))
        })?;
        work.begun = true;
        let left = cx.deadline.saturating_sub(started.elapsed());
        let hidden = |error| Redactor::new(vec![secret.clone()]).error(error);
        work.try_out(&key, &secret, left).await.map_err(hidden)?;
        work.no_other_key(&key).await?;
        work.set_old(Some(INACTIVE)).await?;
        Ok(Effect { changed: true, outcome: Outcome { access_key_id: key, mark } })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        let (Some(now), Some(was)) = (&now.user, &before.state.user) else { return false };
        let done = matches!(progress(now, was, &before.prepared), Some(Progress::Done { .. }));
        done && now.mark.as_deref().is_some_and(|mark| before.prepared.open(mark).is_some())
    }

    fn handed_over(
        &self,
        before: &Before<Self>,
        now: Option<&State>,
        outcome: Option<&Outcome>,
    ) -> Vec<Produced> {
        let mark = match outcome {
            Some(outcome) => Some(outcome.mark.as_str()),
            None => now.and_then(|now| now.user.as_ref()?.mark.as_deref()),
        };
        let opened = mark.and_then(|mark| before.prepared.open(mark));
        let produced =
            opened.map(|(_, value)| Produced { name: "secret_access_key".to_owned(), value });
        produced.into_iter().collect()
    }
}

impl Reversible for RotateIamKey {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let (mut work, at, _) = Work::begin(session, cx, before).await?;
        match at {
            Progress::NotBegun => return Ok(false),
            Progress::Marked | Progress::Deleted => {}
            Progress::Orphan { key } => return Err(work.orphan(&key)),
            Progress::Made { key } => work.delete(&key).await?,
            Progress::Done { key } => {
                // First what is missed.
                work.set_old(None).await?;
                work.delete(&key).await?;
            }
        }
        work.unmark().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[(&str, &str)], mark: Option<String>) -> Keys {
        let keys = list.iter().map(|&(id, status)| (id.to_owned(), status.to_owned())).collect();
        Keys { keys, mark }
    }

    #[test]
    fn somebody_elses_key_is_never_taken_for_ours() {
        let rotation = Rotation::begin().unwrap();
        let was = keys(&[("OLD", ACTIVE)], None);
        let at = |list: &[(&str, &str)], mark: Option<String>| {
            progress(&keys(list, mark), &was, &rotation)
        };
        let made = |key: &str| rotation.made(key, &SecretText::new("s".to_owned())).ok();
        let orphan = Some(Progress::Orphan { key: "NEW".to_owned() });
        assert_eq!(at(&[("OLD", ACTIVE)], None), Some(Progress::NotBegun));
        assert_eq!(at(&[("OLD", ACTIVE)], Some(rotation.begun())), Some(Progress::Marked));
        assert_eq!(at(&[("OLD", ACTIVE), ("NEW", ACTIVE)], Some(rotation.begun())), orphan);
        assert_eq!(at(&[("OLD", ACTIVE), ("NEW", ACTIVE)], None), None, "without our mark");
        let other = Rotation::begin().unwrap().begun();
        assert_eq!(at(&[("OLD", ACTIVE), ("NEW", ACTIVE)], Some(other)), None);
        assert_eq!(at(&[("OLD", ACTIVE), ("FOREIGN", ACTIVE)], made("NEW")), None);
        assert_eq!(at(&[("NEW", ACTIVE)], made("NEW")), None, "the old one was deleted");
        assert_eq!(at(&[("OLD", INACTIVE), ("NEW", INACTIVE)], made("NEW")), None);
        let done = Some(Progress::Done { key: "NEW".to_owned() });
        assert_eq!(at(&[("OLD", INACTIVE), ("NEW", ACTIVE)], made("NEW")), done);
        assert_eq!(at(&[("OLD", ACTIVE)], made("NEW")), Some(Progress::Deleted));
    }
}
