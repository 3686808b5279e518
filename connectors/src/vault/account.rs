//! Who we are at the server.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::session::{Answered, refusal};
use crate::sdk::http::{Http, Request};
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// Our own token, as the server sees it.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    /// A batch token has none.
    pub accessor: Option<String>,
    /// All policies that our rights come from.
    pub policies: BTreeSet<String>,
    /// No other token's end is ours.
    pub orphan: bool,
}

impl Account {
    /// Asks the server, which every valid token with policy `default` may. Errors: `Unauthorised` for a token
    /// that is not valid, or not any more.
    pub async fn of(http: &Http) -> Result<Self, ConnectorError> {
        #[derive(Deserialize)]
        struct Token {
            display_name: String,
            #[serde(default)]
            accessor: String,
            #[serde(default)]
            policies: Option<BTreeSet<String>>,
            #[serde(default)]
            identity_policies: Option<BTreeSet<String>>,
            #[serde(default)]
            orphan: bool,
        }
        let reply = http.send(Request::get(["v1", "auth", "token", "lookup-self"])).await?;
        match reply.status {
            200..300 => {
                let token = reply.json::<Answered<Token>>()?.data;
                let policies = [token.policies, token.identity_policies];
                Ok(Self {
                    name: token.display_name,
                    accessor: Some(token.accessor).filter(|accessor| !accessor.is_empty()),
                    policies: policies.into_iter().flatten().flatten().collect(),
                    orphan: token.orphan,
                })
            }
            400 | 401 | 403 => {
                let message = "the server does not accept the token: it is wrong, has expired, was \
                               revoked, or lacks the policy default";
                Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message))
            }
            _ => Err(refusal(&reply)),
        }
    }
}
