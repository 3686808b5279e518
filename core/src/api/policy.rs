//! The approval policy as the API shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::PersonId;
use crate::policy::{Analysis, PolicyDocument, Simulation};
use crate::time::Timestamp;

/// One row of `GET /policies`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyView {
    pub version: u32,
    /// Whether it is the one in force.
    pub current: bool,
    pub document: PolicyDocument,
    /// One sentence per rule, made from the rule.
    pub text: Vec<String>,
    pub analysis: Analysis,
    /// Why it was published.
    #[serde(default)]
    pub note: Option<String>,
    /// Nobody published version 1: it is built in.
    #[serde(default)]
    pub published_by: Option<PersonId>,
    #[serde(default)]
    pub published_at: Option<Timestamp>,
    /// Names of the people that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// `POST /policies`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishPolicyRequest {
    pub document: PolicyDocument,
    /// Why, in 1–500 characters.
    pub note: String,
    /// The version that it was written on; refused when another is in force by now.
    pub based_on: u32,
}

/// `POST /policies/simulate`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SimulatePolicyRequest {
    pub document: PolicyDocument,
}

/// The answer of `POST /policies/simulate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimulationView {
    #[serde(flatten)]
    pub simulation: Simulation,
    /// There are older changes, which were not compared.
    pub cut: bool,
    /// One sentence per rule of the draft.
    pub text: Vec<String>,
    /// Compared with the version in force.
    pub analysis: Analysis,
}
