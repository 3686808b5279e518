//! What one writes to add a connector: one folder, one registration line.

use std::future::Future;
use std::time::Duration;

use nexplane_core::catalog::{ActionSpec, Reversibility};
use nexplane_core::plan::Check;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::action::{Action, Reversible};
use super::erased::{AnyAction, Discovery, OpenContext};
use super::error::ConnectorError;
use super::secret::SecretText;
use super::typed::TypedAction;

/// What a connector says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ConnectorMeta {
    pub id: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// Whether people make its connections, rather than agents bringing theirs.
    pub managed: bool,
    pub asset_types: &'static [&'static str],
}

/// One kind of target system.
pub trait Connector: Sized + Send + Sync + 'static {
    const META: ConnectorMeta;
    /// How an account is made that may do what the actions need, and no more: text to paste, in the target's own
    /// words.
    const LEAST_PRIVILEGE: &'static str = "";
    /// How long after an effect a read may still answer what was before it, at most. The layer waits that long for
    /// the effect to be seen: at the end of `execute` and `rollback`, and in a `verify` that knows the outcome. Zero
    /// where a read shows every effect before it.
    const SETTLES_WITHIN: Duration = Duration::ZERO;
    /// Typed credentials: `deny_unknown_fields`, secrets as [`SecretText`].
    type Credentials: DeserializeOwned + JsonSchema + Send;
    type Session: Send + Sync + 'static;

    /// Opens a session. Missing or wrong credentials are an error, never a session that can do less.
    fn connect(
        credentials: Self::Credentials,
        cx: &OpenContext,
    ) -> impl Future<Output = Result<Self::Session, ConnectorError>> + Send;

    /// Secrets that came with opening the session, such as the token of a login. Like those of the credentials,
    /// the layer removes them from everything that comes out.
    fn secrets(_session: &Self::Session) -> Vec<SecretText> {
        Vec::new()
    }

    /// One line per permission that some action or discovery needs.
    fn test(
        session: &Self::Session,
    ) -> impl Future<Output = Result<Vec<Check>, ConnectorError>> + Send;

    /// Everything that can be a target, with relations.
    fn discover(
        session: &Self::Session,
    ) -> impl Future<Output = Result<Discovery, ConnectorError>> + Send;

    /// The list of actions, alphabetical, one line each.
    fn actions() -> Actions<Self>;
}

/// The actions of one connector.
pub struct Actions<C> {
    pub(super) list: Vec<Box<dyn AnyAction>>,
    connector: std::marker::PhantomData<C>,
}

impl<C> std::fmt::Debug for Actions<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter().map(|action| &action.spec().id)).finish()
    }
}

impl<C: Connector> Default for Actions<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Connector> Actions<C> {
    pub const fn new() -> Self {
        Self { list: Vec::new(), connector: std::marker::PhantomData }
    }

    /// What the registered actions say of themselves.
    pub fn specs(&self) -> impl Iterator<Item = &ActionSpec> {
        self.list.iter().map(|action| action.spec())
    }

    /// Registers an action with its way back.
    #[must_use]
    pub fn reversible<A: Reversible<Connector = C>>(self) -> Self {
        self.erased(Box::new(TypedAction::<A>::reversible()))
    }

    /// Registers an action without a way back; the reason is shown before approval.
    #[must_use]
    pub fn one_way<A: Action<Connector = C>>(self, why: &str) -> Self {
        let reversibility = Reversibility::OneWay { why: why.to_owned() };
        self.erased(Box::new(TypedAction::<A>::one_way(reversibility)))
    }

    /// Registers an action that is typed elsewhere (the agent's operations).
    #[must_use]
    pub(crate) fn erased(mut self, action: Box<dyn AnyAction>) -> Self {
        self.list.push(action);
        self
    }
}

/// What the layer removes from everything that comes out of a session. A secret that is also the
/// user name or another public field is none, and removing it would blot out ordinary words.
pub(super) fn secrets_of(credentials: &Value, pointers: &[String]) -> Vec<SecretText> {
    let public = |text: &str| {
        credentials.as_object().into_iter().flatten().any(|(name, value)| {
            value == text && !pointers.iter().any(|pointer| pointer.strip_prefix('/') == Some(name))
        })
    };
    pointers
        .iter()
        .filter_map(|pointer| credentials.pointer(pointer)?.as_str())
        .filter(|text| !public(text))
        .map(|text| SecretText::new(text.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_that_is_the_user_name_is_not_removed_from_every_sentence() {
        let of = |password: &str| {
            let credentials = json!({ "username": "postgres", "password": password, "port": 1 });
            secrets_of(&credentials, &["/password".to_owned(), "/token".to_owned()]).len()
        };
        assert_eq!((of("postgres"), of("something else")), (0, 1));
    }
}
