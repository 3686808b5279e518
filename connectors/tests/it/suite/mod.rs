//! The same demands on every action of every connector, against its real peer: with an account that may do
//! everything, with one that has no more than the rights that the catalog names, and with one that has
//! none; when somebody else moves the target, when the effect is cut off, and when the line is.
//!
//! A connector's tests implement [`Peer`] and list their actions in [`conform!`]; a registered action
//! without a case fails.

mod bad_peers;
mod cut;
mod meddle;
mod peer;
mod trial;

use crate::fixture::registry;

pub use bad_peers::{another_ca, bad_peers};
pub use cut::{crash, severed};
pub use meddle::meddle;
pub use peer::{Account, Case, Login, Peer};
pub use trial::{drift, rights, trial};

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
