//! One struct per phase: a field that makes no sense in a phase does not exist there.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::actor::Role;
use crate::person::delegation::Delegation;
use crate::person::event::TokenKind;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PersonState {
    #[default]
    Absent,
    Active(Active),
    Disabled(Disabled),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Sorted, without repetition, not empty.
    pub roles: Vec<Role>,
    pub tokens: BTreeMap<Uuid, Token>,
    /// Signed in and not signed out. A session that has run out is among them.
    pub sessions: BTreeSet<Uuid>,
    /// Not ended. One that has run out may be among them.
    pub delegations: BTreeMap<Uuid, Delegation>,
}

/// Has no sessions: disabling ended them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Sorted, without repetition, not empty. They count again once the person is enabled.
    pub roles: Vec<Role>,
    /// None of them works until the person is enabled.
    pub tokens: BTreeMap<Uuid, Token>,
    pub since: Timestamp,
}

/// An API token; its value is nowhere, its hash is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
}
