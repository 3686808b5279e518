//! Connector `template`: named values on a value server. `just new-connector` makes a copy of it, to be changed
//! part by part into one for another kind of target; its tests run with those of all others.
//!
//! What is absent on purpose: users, groups, everything that a value server does not have.

mod credentials;
mod session;
mod set_value;

use nexplane_connectors::sdk::{
    Actions, Connector, ConnectorError, ConnectorMeta, DiscoveredAsset, Discovery, OpenContext,
    check,
};
use nexplane_core::plan::Check;
use serde_json::json;

pub use credentials::Credentials;
pub use session::Session;
pub use set_value::SetValue;

/// Asset type of values; external key `value/<name>`.
pub const VALUE: &str = "template_value";

/// The connector.
#[derive(Debug)]
pub struct Template;

impl Connector for Template {
    const META: ConnectorMeta = ConnectorMeta {
        id: "template",
        title: "Template",
        description: "Named values on one value server.",
        managed: true,
        asset_types: &[VALUE],
    };
    const LEAST_PRIVILEGE: &'static str = include_str!("least_privilege.txt");
    type Credentials = Credentials;
    type Session = Session;

    async fn connect(
        credentials: Credentials,
        cx: &OpenContext,
    ) -> Result<Session, ConnectorError> {
        Session::open(credentials, cx).await
    }

    /// One line for each permission, and what to do where it is missing.
    async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
        let may_write = session.may_write().await?;
        let how =
            if may_write { "the token may write" } else { "give the token the right to write" };
        Ok(vec![
            check("connect", true, "the server answers and takes the token"),
            check("write values (set_value)", may_write, how),
        ])
    }

    /// All of it, or an error: what is missing in the answer counts as gone.
    async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
        let names = session.names().await?;
        let asset = |name: String| DiscoveredAsset {
            kind: VALUE.to_owned(),
            external_key: format!("value/{name}"),
            name,
            metadata: json!({}),
            relations: Vec::new(),
        };
        Ok(Discovery { assets: names.into_iter().map(asset).collect() })
    }

    fn actions() -> Actions<Self> {
        Actions::new().reversible::<SetValue>()
    }
}
