//! The same demands on every action of every connector, against its real peer: with an account that may do
//! everything, with one that has no more than the rights that the catalog names, and with one that has
//! none; when somebody else moves the target, when the effect is cut off, and when the line is.
//!
//! A connector's tests implement [`Peer`] and list their actions in [`conform!`]; a registered action
//! without a case fails.

mod bad_peers;
mod cut;
mod meddle;
mod trial;

use nexplane_connectors::sdk::ConnectorError;
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use crate::fixture::registry;

pub use bad_peers::{another_ca, bad_peers};
pub use cut::{crash, severed};
pub use meddle::meddle;
pub use trial::{drift, rights, trial};

/// Who the connection is at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// May do everything there.
    Full,
    /// Has exactly the permissions that the catalog names.
    Manager,
    /// Can log in, and nothing else.
    Weak,
}

/// An account of the peer.
#[derive(Clone, Debug)]
pub struct Login {
    pub account: Account,
    pub name: String,
    pub credentials: Value,
}

/// A target that an action fits, made for one test.
#[derive(Debug)]
pub struct Case {
    pub target: TargetRef,
    pub parameters: Value,
    /// How somebody else changes what the action reads and writes, in words of the peer.
    pub disturbance: String,
    /// Targets of the same kind that it must not accept: one that is not there, the connection's own account …
    pub never: Vec<TargetRef>,
    /// Whether its effect has several parts, so that a cut may leave some of them.
    pub in_parts: bool,
}

/// A server that a connector talks to, for one test.
pub trait Peer: Sized {
    /// Connector id.
    const CONNECTOR: &'static str;
    /// How a failed check of an account without rights begins to say what to do.
    const WHAT_TO_DO: &'static str;

    /// Actions of the connector that this kind of peer cannot have; they must have a case at another kind.
    const ELSEWHERE: &'static [&'static str] = &[];

    /// Whether reads may show an effect late, so that `verify` waits for one that it was told of.
    const SHOWS_LATE: bool = false;

    async fn start() -> Self;

    async fn login(&self, account: Account) -> Login;

    /// Where it listens; its certificate is for 127.0.0.1, too.
    fn address(&self) -> (String, u16);

    /// The same credentials for what listens on another port of 127.0.0.1.
    fn moved(&self, mut credentials: Value, port: u16) -> Value {
        credentials["host"] = json!("127.0.0.1");
        credentials["port"] = json!(port);
        credentials
    }

    /// The same credentials, with a secret that is wrong.
    fn with_wrong_secret(&self, credentials: Value) -> Value;

    /// A target for the action; `login` is the account of the connection.
    async fn prepare(&self, action: &str, login: &Login) -> Case;

    async fn disturb(&self, case: &Case);

    /// Does what the error of an effect that was cut off asks a person to do; false when it asks for nothing.
    async fn follow(&self, _case: &Case, _error: &ConnectorError) -> bool {
        false
    }

    /// Everything of this test's targets that an action could move, read without the connector.
    async fn witness(&self) -> String;

    /// Secrets that must never be said.
    fn secrets(&self) -> Vec<String>;
}

/// Tests of every action of one connector: `conform! { Bench: lock_user => "postgres.lock_user", … }`. Against a
/// stand-in `conform! { contract Bench: … }`, which may be some of the actions: `covers` is then for the caller.
macro_rules! conform {
    (contract $peer:ty: $($name:ident => $action:literal),* $(,)?) => {
        crate::suite::conform! {
            @tests contract_with_full_rights contract_with_named_rights contract_drift contract_crash
            contract_rights contract_bad_peers_are_told_apart; $peer: $($name => $action),*
        }
    };
    (@tests $full:ident $named:ident $drift:ident $crash:ident $rights:ident $bad_peers:ident;
        $peer:ty: $($name:ident => $action:literal),*) => {
        mod $full {
            use super::*;
            $(#[tokio::test] async fn $name() {
                crate::suite::trial::<$peer>($action, crate::suite::Account::Full).await;
            })*
        }
        mod $named {
            use super::*;
            $(#[tokio::test] async fn $name() {
                crate::suite::trial::<$peer>($action, crate::suite::Account::Manager).await;
            })*
        }
        mod $drift {
            use super::*;
            $(#[tokio::test] async fn $name() { crate::suite::drift::<$peer>($action).await; })*
        }
        mod $crash {
            use super::*;
            $(#[tokio::test] async fn $name() { crate::suite::crash::<$peer>($action).await; })*
        }
        mod $rights {
            use super::*;
            $(#[tokio::test] async fn $name() { crate::suite::rights::<$peer>($action).await; })*
        }
        #[tokio::test]
        async fn $bad_peers() {
            crate::suite::bad_peers::<$peer>().await;
        }
    };
    ($peer:ty: $($name:ident => $action:literal),* $(,)?) => {
        #[test]
        fn every_registered_action_has_a_case() {
            crate::suite::covers::<$peer>(&[$($action),*]);
        }
        crate::suite::conform! {
            @tests real_with_full_rights real_with_named_rights real_drift real_crash real_rights
            real_bad_peers_are_told_apart; $peer: $($name => $action),*
        }
    };
}
pub(crate) use conform;

pub fn covers<P: Peer>(actions: &[&str]) {
    let connector = registry().connector(P::CONNECTOR).expect("the connector is registered");
    let registered: Vec<_> = connector
        .actions()
        .iter()
        .map(|action| action.spec().id.as_str())
        .filter(|id| !P::ELSEWHERE.contains(id))
        .collect();
    assert_eq!(registered, actions, "every registered action must have a case");
}
