//! What a connector's tests say of its peer: accounts, and a case for every action. The server's tests run the same
//! cases over the API.

use nexplane_connectors::sdk::ConnectorError;
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

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
