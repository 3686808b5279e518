//! How a password is replaced so that both are valid in between: the new one is added, tried by a real login,
//! and only then the old ones go. Whatever fails on the way is put back as it was.

use super::error::{after_change, moved};
use super::requirepass::{self, Requirepass};
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
        let done = match self.old_setting {
            Some(_) => requirepass::replace(self.session, user, self.new).await?,
            None => {
                let gone: Vec<_> = self.old.hashes.iter().map(Hash::removed).collect();
                user.alter(self.session, &gone).await?
            }
        };
        if done.before.passwords.same_as(&both) && done.after.passwords.is_only(&self.hash) {
            return Ok(());
        }
        if let Some(old) = self.old_setting {
            // Setting it took away what somebody added in between: they have it back, and ours goes.
            let mut passwords = done.before.passwords;
            passwords.hashes.retain(|hash| *hash != self.hash);
            requirepass::restore(self.session, user, old, &passwords).await?;
        }
        Err(moved(&self.name))
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
        match self.retreat().await {
            Ok(()) => {
                if error.is_outcome_unknown() {
                    error.advice = Advice::Later;
                }
                error.message.push_str("; the user is as it was before");
                error
            }
            Err(again) => {
                tracing::debug!(%again, "a rotation could not be backed out of");
                after_change(error)
            }
        }
    }

    /// Takes the new password away and gives back the old ones, and leaves what others have added.
    async fn retreat(&self) -> Result<(), ConnectorError> {
        let user = User::found(self.session, &self.name).await?;
        let has = |hash: &Hash| user.passwords.hashes.contains(hash);
        if let Some(old) = self.old_setting {
            let setting = Requirepass::read(self.session).await?;
            if setting == Requirepass::Set(self.new.clone()) {
                return requirepass::restore(self.session, &user, old, self.old).await;
            }
        }
        let mut rules: Vec<_> =
            self.old.hashes.iter().filter(|hash| !has(hash)).map(Hash::added).collect();
        if has(&self.hash) {
            rules.push(self.hash.removed());
        }
        if !rules.is_empty() {
            user.alter(self.session, &rules).await?;
        }
        Ok(())
    }

    /// From the new password to the old ones, from wherever it stands. Answers whether anything had to change.
    pub async fn back(&self) -> Result<bool, ConnectorError> {
        let (user, stage) = self.look().await?;
        match (stage, self.old_setting) {
            (Stage::Before, _) => return Ok(false),
            (Stage::After, Some(old)) => {
                requirepass::restore(self.session, &user, old, self.old).await?;
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
