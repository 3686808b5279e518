//! What can be asked of a person's account.
//!
//! A state does not know whose it is: where a command may be one's own, `person` names the person
//! of this stream. "Oneself" is that person signed in, never a machine token of theirs.

use uuid::Uuid;

use crate::actor::Role;
use crate::id::PersonId;
use crate::person::event::TokenKind;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonCommand {
    /// By an admin, or by Nexplane (first run and command line).
    Add {
        /// At least one; a set, sorted and deduplicated here.
        roles: Vec<Role>,
    },
    /// By an admin or Nexplane: all roles, those that stay included. Nothing happens when they are
    /// so already.
    ChangeRoles {
        /// As in [`PersonCommand::Add`].
        roles: Vec<Role>,
        /// How many other enabled people are admins, counted and guarded by the caller.
        other_admins: u32,
    },
    /// By an admin or Nexplane. Ends all sessions; tokens stop working until the person is enabled.
    /// Nothing happens when the person is disabled already.
    Disable {
        /// As in [`PersonCommand::ChangeRoles`].
        other_admins: u32,
    },
    /// By an admin or Nexplane. Nothing happens when the person is not disabled.
    Enable,
    /// By oneself, an admin or Nexplane. Recorded every time: each password is a new one.
    SetPassword { person: PersonId },
    /// By oneself or Nexplane. Nothing happens when the session is open already.
    SignIn { person: PersonId, session: Uuid },
    /// By oneself or Nexplane. Nothing happens when no such session is open.
    SignOut { person: PersonId, session: Uuid },
    /// By oneself, an admin or Nexplane. Nothing happens when just this token exists already.
    CreateToken {
        person: PersonId,
        token: Uuid,
        kind: TokenKind,
        /// In the future; a token without an end lives until it is revoked.
        expires_at: Option<Timestamp>,
    },
    /// By oneself, an admin or Nexplane. Nothing happens when it is revoked already.
    RevokeToken { person: PersonId, token: Uuid },
    /// By oneself, as an admin: an invitation is in the stream of the admin who makes it. Recorded
    /// every time.
    InviteAgent {
        person: PersonId,
        /// The only host that may use it; any when absent.
        hostname: Option<String>,
        /// In the future, at most a day ahead.
        expires_at: Timestamp,
    },
    /// By oneself, or by an admin for somebody who is away. Nothing happens when just this delegation
    /// stands already.
    Delegate {
        person: PersonId,
        delegation: Uuid,
        to: PersonId,
        /// Whether that person's account is enabled, looked up by the caller.
        to_is_enabled: bool,
        from: Timestamp,
        /// In the future, at most 30 days after `from`.
        until: Timestamp,
        /// 1–500 characters.
        reason: String,
    },
    /// By oneself or an admin.
    EndDelegation { person: PersonId, delegation: Uuid },
}
