//! State and command to events, or the exact reason why not.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::host::is_hostname;
use crate::id::{Category, PersonId};
use crate::person::command::PersonCommand;
use crate::person::delegation::{Delegation, delegate, end_delegation, permitted_delegate};
use crate::person::event::{PersonEvent, TokenKind};
use crate::person::evolve::evolve;
use crate::person::rejection::PersonRejection as No;
use crate::person::state::{Active, Disabled, PersonState, Token};
use crate::time::Timestamp;

/// Longest life of an invitation for an agent, in seconds.
pub const MAX_INVITATION_S: i64 = 86_400;

const ADMIN: &str = "the admin role, as a person who is signed in";
const ONESELF: &str = "to be this person, signed in";
const ONESELF_OR_ADMIN: &str = "to be this person, or the admin role, signed in";

/// The person aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Person;

impl Decider for Person {
    const CATEGORY: Category = Category::Person;
    type State = PersonState;
    type Command = PersonCommand;
    type Event = PersonEvent;
    type Rejection = No;

    fn decide(state: &PersonState, asked: Asked<PersonCommand>) -> Result<Vec<PersonEvent>, No> {
        let Asked { by, at, command } = asked;
        permitted(&by, &command)?;
        match state {
            PersonState::Absent => add(command),
            PersonState::Active(active) => act(active, &by, at, command),
            PersonState::Disabled(disabled) => act_disabled(disabled, &by, command),
        }
    }

    fn evolve(state: PersonState, event: &PersonEvent, _by: Actor, at: Timestamp) -> PersonState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&PersonEvent> {
        if let Event::Person(event) = event { Some(event) } else { None }
    }
}

impl From<PersonEvent> for Event {
    fn from(event: PersonEvent) -> Self {
        Self::Person(event)
    }
}

/// Who may ask for what, whatever the state.
fn permitted(by: &Principal, command: &PersonCommand) -> Result<(), No> {
    use PersonCommand as C;

    let is_system = by.actor.kind == ActorKind::System;
    let is_admin = by.actor.kind == ActorKind::User && by.has(Role::Admin);
    let (may, needed) = match command {
        C::Add { .. } | C::ChangeRoles { .. } | C::Disable { .. } | C::Enable => {
            (is_admin || is_system, ADMIN)
        }
        // Its secret is handed to whoever asks, and lets them do what the person may.
        C::CreateToken { person, kind: TokenKind::User, .. } => {
            (is_oneself(by, *person) || is_system, ONESELF)
        }
        C::SetPassword { person }
        | C::CreateToken { person, kind: TokenKind::Machine, .. }
        | C::RevokeToken { person, .. } => {
            (is_oneself(by, *person) || is_admin || is_system, ONESELF_OR_ADMIN)
        }
        C::SignIn { person, .. } | C::SignOut { person, .. } => {
            (is_oneself(by, *person) || is_system, ONESELF)
        }
        C::InviteAgent { person, .. } => (is_oneself(by, *person) && is_admin, ADMIN),
        // Nexplane itself hands on nobody's approving.
        C::Delegate { person, .. } | C::EndDelegation { person, .. } => {
            (is_oneself(by, *person) || is_admin, ONESELF_OR_ADMIN)
        }
    };
    if may { Ok(()) } else { Err(No::Denied { needed }) }
}

/// The person, signed in. A machine token carries the person's id too, and is refused.
fn is_oneself(by: &Principal, person: PersonId) -> bool {
    by.actor == Actor::user(person)
}

fn add(command: PersonCommand) -> Result<Vec<PersonEvent>, No> {
    let PersonCommand::Add { roles } = command else {
        return Err(No::NotFound);
    };
    Ok(vec![PersonEvent::Added { roles: checked_roles(roles)? }])
}

fn act(
    active: &Active,
    by: &Principal,
    at: Timestamp,
    command: PersonCommand,
) -> Result<Vec<PersonEvent>, No> {
    use PersonCommand as C;
    use PersonEvent as E;

    let is_admin = active.roles.contains(&Role::Admin);
    Ok(match command {
        C::Add { .. } => return Err(No::Exists),
        C::ChangeRoles { roles, other_admins } => {
            let roles = checked_roles(roles)?;
            if is_admin && other_admins == 0 && !roles.contains(&Role::Admin) {
                return Err(No::LastAdmin);
            }
            change_roles(&active.roles, roles)
        }
        C::Disable { other_admins } => {
            if is_admin && other_admins == 0 {
                return Err(No::LastAdmin);
            }
            vec![E::Disabled {}]
        }
        C::SetPassword { .. } => vec![E::PasswordSet {}],
        C::SignIn { session, .. } if active.sessions.contains(&session) => Vec::new(),
        C::SignIn { session, .. } => vec![E::SignedIn { session }],
        C::SignOut { session, .. } if active.sessions.contains(&session) => {
            vec![E::SignedOut { session }]
        }
        C::Enable | C::SignOut { .. } => Vec::new(),
        C::CreateToken { token, kind, expires_at, .. } => {
            create_token(&active.tokens, at, token, kind, expires_at)?
        }
        C::RevokeToken { token, .. } => revoke_token(&active.tokens, token)?,
        C::InviteAgent { hostname, expires_at, .. } => {
            if hostname.as_ref().is_some_and(|name| !is_hostname(name)) {
                return Err(No::Invalid {
                    field: "hostname",
                    problem: "must be a host name, such as web-1.example".to_owned(),
                });
            }
            if expires_at <= at || expires_at.seconds_since(at) > MAX_INVITATION_S {
                return Err(No::Invalid {
                    field: "expires_at",
                    problem: "must be in the future, at most a day ahead".to_owned(),
                });
            }
            vec![E::AgentInvited { hostname, expires_at }]
        }
        C::Delegate { person, delegation, to, to_is_enabled, from, until, reason } => {
            permitted_delegate(by, person, to, to_is_enabled)?;
            delegate(active, at, delegation, Delegation { to, from, until, reason })?
        }
        C::EndDelegation { delegation, .. } => end_delegation(active, delegation)?,
    })
}

fn act_disabled(
    disabled: &Disabled,
    by: &Principal,
    command: PersonCommand,
) -> Result<Vec<PersonEvent>, No> {
    use PersonCommand as C;
    use PersonEvent as E;

    let is_disabled = || No::Disabled { since: disabled.since };
    match command {
        C::Add { .. } => Err(No::Exists),
        // A disabled admin is none of those who are left: nobody has to be counted.
        C::ChangeRoles { roles, .. } => Ok(change_roles(&disabled.roles, checked_roles(roles)?)),
        C::Enable => Ok(vec![E::Enabled {}]),
        C::SetPassword { person } if is_oneself(by, person) => Err(is_disabled()),
        C::SetPassword { .. } => Ok(vec![E::PasswordSet {}]),
        C::RevokeToken { token, .. } => revoke_token(&disabled.tokens, token),
        C::Disable { .. } | C::SignOut { .. } => Ok(Vec::new()),
        // They ended with the account.
        C::EndDelegation { delegation, .. } => Err(No::NoSuchDelegation { delegation }),
        C::SignIn { .. } | C::CreateToken { .. } | C::InviteAgent { .. } | C::Delegate { .. } => {
            Err(is_disabled())
        }
    }
}

fn change_roles(old: &[Role], roles: Vec<Role>) -> Vec<PersonEvent> {
    if roles == old { Vec::new() } else { vec![PersonEvent::RolesChanged { roles }] }
}

fn create_token(
    tokens: &BTreeMap<Uuid, Token>,
    at: Timestamp,
    token: Uuid,
    kind: TokenKind,
    expires_at: Option<Timestamp>,
) -> Result<Vec<PersonEvent>, No> {
    if let Some(known) = tokens.get(&token) {
        let is_same = *known == Token { kind, expires_at, revoked: false };
        return if is_same { Ok(Vec::new()) } else { Err(No::TokenExists { token }) };
    }
    if expires_at.is_some_and(|end| end <= at) {
        return Err(No::Invalid {
            field: "expires_at",
            problem: "must be in the future".to_owned(),
        });
    }
    Ok(vec![PersonEvent::TokenCreated { token, kind, expires_at }])
}

fn revoke_token(tokens: &BTreeMap<Uuid, Token>, token: Uuid) -> Result<Vec<PersonEvent>, No> {
    match tokens.get(&token) {
        None => Err(No::NoSuchToken { token }),
        Some(Token { revoked: true, .. }) => Ok(Vec::new()),
        Some(Token { revoked: false, .. }) => Ok(vec![PersonEvent::TokenRevoked { token }]),
    }
}

fn checked_roles(mut roles: Vec<Role>) -> Result<Vec<Role>, No> {
    if roles.is_empty() {
        return Err(No::Invalid {
            field: "roles",
            problem: "give at least one; disable people who should have none".to_owned(),
        });
    }
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}
