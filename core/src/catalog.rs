//! What connectors and actions say of themselves, in the words of the API and the dashboard.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the target offers against doing something twice; fixes what may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Remembers an idempotency key longer than our retry horizon.
    Keyed,
    /// Writes only while a version or epoch is unchanged.
    Fenced,
    /// Lets the effect be read back.
    Verifiable,
    /// Nothing: an unknown outcome is a person's to settle.
    Unprotected,
}

/// Whether the before-state can come back. Computed from what an action implements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reversibility {
    /// Restores exactly what was captured.
    Reversible,
    /// Brings back a working state, but not the same one.
    CompensateOnly { why: String },
    /// Cannot be undone.
    OneWay { why: String },
}

impl Reversibility {
    pub const fn is_reversible(&self) -> bool {
        matches!(self, Self::Reversible | Self::CompensateOnly { .. })
    }
}

/// One action of a connector, as the catalog shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActionSpec {
    /// `<connector>.<action>`
    pub id: String,
    pub title: String,
    pub description: String,
    pub effect_class: EffectClass,
    /// 1–9, before environment and blast radius.
    pub base_risk: u8,
    pub reversibility: Reversibility,
    /// Asset types that can be its target.
    pub target_types: Vec<String>,
    /// What the connection's account must be allowed to do, in the target's own words.
    pub permissions: Vec<String>,
    /// JSON Schema of the parameters. `x-secret: true` marks secret fields, `x-multiline` long text.
    pub parameters: Value,
    /// Parameters that are valid.
    pub example: Value,
    /// Names of secrets that it produces and that are handed over once.
    pub produces: Vec<String>,
}

/// One connector, as the catalog shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectorSpec {
    pub id: String,
    pub title: String,
    pub description: String,
    /// JSON Schema of the credentials; `x-secret: true` marks fields that are write-only.
    pub credentials: Value,
    /// Whether people make its connections, rather than agents bringing theirs.
    pub managed: bool,
    pub asset_types: Vec<String>,
    /// How an account with exactly the permissions of its actions is made: text to paste, in the target's own
    /// words. Empty for connectors whose connections nobody makes.
    pub least_privilege: String,
    pub actions: Vec<ActionSpec>,
}

/// The answer of `GET /catalog`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Catalog {
    pub connectors: Vec<ConnectorSpec>,
}

impl Catalog {
    pub fn action(&self, id: &str) -> Option<&ActionSpec> {
        self.connectors.iter().flat_map(|connector| &connector.actions).find(|a| a.id == id)
    }

    pub fn connector(&self, id: &str) -> Option<&ConnectorSpec> {
        self.connectors.iter().find(|connector| connector.id == id)
    }
}
