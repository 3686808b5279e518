//! How a password is replaced so that both are valid in between: the new one is added, tried by a real login,
//! and only then the old ones go. Whatever fails on the way is put back as it was.

use super::error::{after_change, moved};
use super::requirepass::{self, Pair, Requirepass};
use super::session::Session;
use super::target::UserName;
use super::user::{Hash, Passwords, User};
use crate::sdk::{Advice, ConnectorError, ErrorKind, SecretText};

/// What is rotated, from what, to what.
pub struct Rotation<'a> {
    pub session: &'a Session,
    pub name: UserName,
    /// The passwords that were there.
    pub old: &'a Passwords,
    /// The setting that was there: for the instance; none for a user.
    pub old_setting: Option<&'a SecretText>,
    pub new: &'a SecretText,
    pub hash: Hash,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    /// The new password is added to the old ones.
    Both,
    After,
}

impl Rotation<'_> {
    async fn look(&self) -> Result<(User, Stage), ConnectorError> {
        let user = User::found(self.session, &self.name).await?;
        let setting = match self.old_setting {
            Some(_) => Requirepass::read(self.session).await?,
            None => Requirepass::Unset,
        };
        let setting_is = |expected: &SecretText| match self.old_setting {
            Some(_) => setting == Requirepass::Set(expected.clone()),
            None => true,
        };
        let setting_is_old = self.old_setting.is_none_or(setting_is);
        let now = &user.passwords;
        let stage = if now.same_as(self.old) && setting_is_old {
            Stage::Before
        } else if now.same_as(&self.old.and(&self.hash)) && setting_is_old {
            Stage::Both
        } else if now.is_only(&self.hash) && setting_is(self.new) {
            Stage::After
        } else {
            return Err(moved(&self.name));
        };
        Ok((user, stage))
    }

    /// From the old passwords to the new one, from wherever it stands. Answers whether anything had to change.
    pub async fn forward(&self) -> Result<bool, ConnectorError> {
        let (user, stage) = self.look().await?;
        let user = match stage {
            Stage::After => return Ok(false),
            Stage::Both => user,
            Stage::Before => {
                let done = user.alter(self.session, &[self.hash.added()]).await?;
                if !done.before.passwords.same_as(self.old) {
                    return Err(self.back_out(moved(&self.name)).await);
                }
                done.after
            }
        };
        match self.go_on(&user).await {
            Ok(()) => Ok(true),
            Err(error) => Err(self.back_out(error).await),
        }
    }

    /// With both passwords valid: tries the new one, and takes the old ones away.
    async fn go_on(&self, user: &User) -> Result<(), ConnectorError> {
        // Nobody can log in as a user that is off, with whatever password.
        if user.enabled {
            self.try_login().await?;
        }
        let both = self.old.and(&self.hash);
        if let Some(old) = self.old_setting {
            let from = Pair { setting: old.clone(), passwords: both };
            return requirepass::change(self.session, &self.name, &from, &self.after(), true).await;
        }
        let gone: Vec<_> = self.old.hashes.iter().map(Hash::removed).collect();
        let done = user.alter(self.session, &gone).await?;
        if done.before.passwords.same_as(&both) && done.after.passwords.is_only(&self.hash) {
            return Ok(());
        }
        // Somebody has added one in between. What we took away was there until now, so it comes back.
        let back: Vec<_> = self.old.hashes.iter().map(Hash::added).collect();
        done.after.alter(self.session, &back).await.map_err(after_change)?;
        Err(moved(&self.name))
    }

    /// What is there when it is done, of the instance.
    fn after(&self) -> Pair {
        let passwords = Passwords { nopass: false, hashes: vec![self.hash.clone()] };
        Pair { setting: self.new.clone(), passwords }
    }

    async fn try_login(&self) -> Result<(), ConnectorError> {
        match self.session.way.log_in(&self.name, self.new).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::Unauthorised => Err(ConnectorError::new(
                ErrorKind::Unexpected,
                Advice::Never,
                "the server did not take the new password in a first login",
            )
            .because(error)),
            Err(error) => Err(error),
        }
    }

    /// Puts back what was there after something failed. The error then says truly that nothing was changed, or
    /// that nobody knows.
    pub async fn back_out(&self, mut error: ConnectorError) -> ConnectorError {
        if let Err(again) = self.retreat().await {
            tracing::debug!(%again, "a rotation could not be backed out of");
            return after_change(error);
        }
        if matches!(self.look().await, Ok((_, Stage::Before))) {
            if error.is_outcome_unknown() {
                error.advice = Advice::Later;
            }
            error.message.push_str("; the user is as it was before");
        }
        error
    }

    /// Takes the new password away. The old ones are given back only where nothing but the new one is left: where
    /// somebody else has set the passwords meanwhile, the old ones are void by their will.
    async fn retreat(&self) -> Result<(), ConnectorError> {
        let user = User::found(self.session, &self.name).await?;
        let is_done = user.passwords.is_only(&self.hash);
        if let Some(old) = self.old_setting {
            let setting = Requirepass::read(self.session).await?;
            if is_done && setting == Requirepass::Set(self.new.clone()) {
                return self.restore(old).await;
            }
        }
        let mut rules = Vec::new();
        if is_done {
            rules.extend(self.old.hashes.iter().map(Hash::added));
        }
        if user.passwords.hashes.contains(&self.hash) {
            rules.push(self.hash.removed());
        }
        if !rules.is_empty() {
            user.alter(self.session, &rules).await?;
        }
        Ok(())
    }

    /// Of the instance: from the new password to the old ones.
    async fn restore(&self, old: &SecretText) -> Result<(), ConnectorError> {
        let to = Pair { setting: old.clone(), passwords: self.old.clone() };
        requirepass::change(self.session, &self.name, &self.after(), &to, false).await
    }

    /// From the new password to the old ones, from wherever it stands. Answers whether anything had to change.
    pub async fn back(&self) -> Result<bool, ConnectorError> {
        let (user, stage) = self.look().await?;
        match (stage, self.old_setting) {
            (Stage::Before, _) => return Ok(false),
            (Stage::After, Some(old)) => {
                self.restore(old).await?;
            }
            (Stage::After | Stage::Both, _) => {
                let mut rules = Vec::new();
                if stage == Stage::After {
                    rules.extend(self.old.hashes.iter().map(Hash::added));
                }
                rules.push(self.hash.removed());
                let done = user.alter(self.session, &rules).await?;
                if !done.after.passwords.same_as(self.old) {
                    return Err(after_change(moved(&self.name)));
                }
            }
        }
        Ok(true)
    }
}
