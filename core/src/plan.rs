//! Plans: what exactly will happen, and the digest that approvals bind to.
//!
//! The digest is `SHA-256("nexplane plan v1" || 0x00 || canonical JSON)` of the header's hash and the
//! hashes of all steps in order. So an agent that is given one step, the other steps' hashes and the
//! header's hash can check that its order belongs to the approved plan without seeing the rest.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical;
use crate::catalog::{EffectClass, Reversibility};
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId};
use crate::time::Timestamp;

/// Lower-case hexadecimal SHA-256 of a plan.
pub type PlanDigest = String;

/// Lower-case hexadecimal SHA-256 over exactly the fields that an action reads and writes.
pub type Fingerprint = String;

/// One named value of a target. A redacted field shows that there is a value, never the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Field {
    pub name: String,
    pub value: Value,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

impl Field {
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), redacted: false }
    }

    /// A secret value: only a short description of it, such as `SCRAM-SHA-256 verifier`.
    pub fn redacted(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), value: Value::String(description.into()), redacted: true }
    }
}

/// One line of the diff: what a field is and what it will be. `Null` means absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiffLine {
    /// Name of the target, as people know it.
    pub target: String,
    pub field: String,
    pub before: Value,
    pub after: Value,
}

/// The asset that a step acts on, as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TargetRef {
    pub asset: AssetId,
    /// Asset type, such as `postgres_role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Stable key within its connection.
    pub external_key: String,
    pub name: String,
}

/// One question asked of the target before planning, with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// What was found; when not ok, what to do about it.
    pub detail: String,
}

/// One action on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Step {
    /// From 0.
    pub no: u32,
    /// Action id.
    pub action: String,
    pub connection: ConnectionId,
    pub target: TargetRef,
    pub parameters: Value,
    pub effect_class: EffectClass,
    pub reversibility: Reversibility,
    /// Of the target's state when the plan was made.
    pub before_fingerprint: Fingerprint,
    /// One sentence: what will happen.
    pub summary: String,
    /// One sentence: how it is undone, or why it cannot be.
    pub rollback: String,
    pub diff: Vec<DiffLine>,
    /// On a rollback: the step of the earlier run that this one undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Undoes>,
}

/// The step of an earlier run that a rollback step undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Undoes {
    pub run: RunId,
    pub step: u32,
}

/// What the digest covers besides the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanHeader {
    pub change: ChangeId,
    pub change_type: String,
    pub connection: ConnectionId,
    pub targets: Vec<AssetId>,
    pub parameters: Value,
    pub policy_version: u32,
    pub author: PersonId,
    /// Everybody who edited it, sorted.
    pub editors: Vec<PersonId>,
    pub rollback_of: Option<ChangeId>,
}

/// A plan as stored in `change.planned` and shown in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    pub digest: PlanDigest,
    pub header: PlanHeader,
    pub steps: Vec<Step>,
    pub checks: Vec<Check>,
    /// When the target was read. Not part of the digest.
    pub computed_at: Timestamp,
}

impl Plan {
    pub fn new(
        header: PlanHeader,
        steps: Vec<Step>,
        checks: Vec<Check>,
        computed_at: Timestamp,
    ) -> Self {
        let hashes: Vec<_> = steps.iter().map(step_hash).collect();
        let digest = digest(&header_hash(&header), &hashes);
        Self { digest, header, steps, checks, computed_at }
    }

    /// Whether the digest is the one that the content has.
    pub fn is_intact(&self) -> bool {
        let hashes: Vec<_> = self.steps.iter().map(step_hash).collect();
        digest(&header_hash(&self.header), &hashes) == self.digest
    }

    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// What an agent needs to check that a step belongs to this plan.
    pub fn proof(&self) -> PlanProof {
        PlanProof {
            header_hash: header_hash(&self.header),
            step_hashes: self.steps.iter().map(step_hash).collect(),
        }
    }
}

/// Proof that a step is part of a plan with a given digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanProof {
    pub header_hash: String,
    pub step_hashes: Vec<String>,
}

impl PlanProof {
    /// True when `step` is the plan's step of that number and the plan has this digest.
    pub fn covers(&self, step: &Step, plan_digest: &str) -> bool {
        let index = usize::try_from(step.no).unwrap_or(usize::MAX);
        self.step_hashes.get(index) == Some(&step_hash(step))
            && digest(&self.header_hash, &self.step_hashes) == plan_digest
    }
}

/// The hash of one step.
pub fn step_hash(step: &Step) -> String {
    canonical::digest("nexplane step v1", &to_value(step))
}

fn header_hash(header: &PlanHeader) -> String {
    canonical::digest("nexplane plan header v1", &to_value(header))
}

fn digest(header_hash: &str, step_hashes: &[String]) -> PlanDigest {
    canonical::digest("nexplane plan v1", &json!({ "header": header_hash, "steps": step_hashes }))
}

/// The fingerprint of a set of fields: `SHA-256("nexplane fingerprint v1" || 0x00 || canonical JSON)`.
pub fn fingerprint(fields: &Value) -> Fingerprint {
    canonical::digest("nexplane fingerprint v1", fields)
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("plans are structs of JSON values with string keys")
}
