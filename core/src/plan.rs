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
    /// Whether what it did is undone when its run fails: who approves the plan approves that as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
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

    /// The reversibility of the step that is worst in this; `None` without steps.
    pub fn worst_reversibility(&self) -> Option<&Reversibility> {
        self.steps.iter().map(|step| &step.reversibility).max_by_key(|kind| match kind {
            Reversibility::Reversible => 0,
            Reversibility::CompensateOnly { .. } => 1,
            Reversibility::OneWay { .. } => 2,
        })
    }

    /// The weakest of the steps' effect classes; `None` without steps.
    pub fn weakest_effect_class(&self) -> Option<EffectClass> {
        self.steps.iter().map(|step| step.effect_class).max_by_key(|class| match class {
            EffectClass::Keyed => 0,
            EffectClass::Fenced => 1,
            EffectClass::Verifiable => 2,
            EffectClass::Unprotected => 3,
        })
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn uuid(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn header() -> PlanHeader {
        PlanHeader {
            change: ChangeId(uuid(1)),
            change_type: "postgres.lock_user".to_owned(),
            connection: ConnectionId(uuid(2)),
            targets: vec![AssetId(uuid(3)), AssetId(uuid(4))],
            parameters: json!({ "cascade": false }),
            policy_version: 1,
            author: PersonId(uuid(5)),
            editors: vec![PersonId(uuid(6))],
            rollback_of: None,
            auto_rollback: false,
        }
    }

    fn step(no: u32) -> Step {
        Step {
            no,
            action: "postgres.lock_user".to_owned(),
            connection: ConnectionId(uuid(2)),
            target: TargetRef {
                asset: AssetId(uuid(3)),
                kind: "postgres_role".to_owned(),
                external_key: "role/leaver".to_owned(),
                name: "leaver".to_owned(),
            },
            parameters: json!({}),
            effect_class: EffectClass::Verifiable,
            reversibility: Reversibility::Reversible,
            before_fingerprint: fingerprint(&json!({ "login": true })),
            summary: "leaver can no longer log in".to_owned(),
            rollback: "leaver can log in again".to_owned(),
            diff: vec![DiffLine {
                target: "leaver".to_owned(),
                field: "login".to_owned(),
                before: json!(true),
                after: json!(false),
            }],
            undoes: None,
        }
    }

    fn plan_of(header: PlanHeader, steps: Vec<Step>) -> Plan {
        Plan::new(header, steps, Vec::new(), Timestamp::from_micros(0))
    }

    fn plan() -> Plan {
        plan_of(header(), vec![step(0), step(1)])
    }

    fn other_headers() -> Vec<PlanHeader> {
        let mut reversed = header().targets;
        reversed.reverse();
        vec![
            PlanHeader { change: ChangeId(uuid(9)), ..header() },
            PlanHeader { change_type: "postgres.drop_user".to_owned(), ..header() },
            PlanHeader { connection: ConnectionId(uuid(9)), ..header() },
            PlanHeader { targets: reversed, ..header() },
            PlanHeader { parameters: json!({ "cascade": true }), ..header() },
            PlanHeader { policy_version: 2, ..header() },
            PlanHeader { author: PersonId(uuid(9)), ..header() },
            PlanHeader { editors: Vec::new(), ..header() },
            PlanHeader { rollback_of: Some(ChangeId(uuid(9))), ..header() },
            PlanHeader { auto_rollback: true, ..header() },
        ]
    }

    fn other_steps() -> Vec<Step> {
        let target = step(0).target;
        let line = step(0).diff.remove(0);
        let why = "so it is".to_owned();
        vec![
            Step { action: "postgres.drop_user".to_owned(), ..step(0) },
            Step { connection: ConnectionId(uuid(9)), ..step(0) },
            Step { target: TargetRef { asset: AssetId(uuid(9)), ..target.clone() }, ..step(0) },
            Step { target: TargetRef { external_key: "role/x".to_owned(), ..target }, ..step(0) },
            Step { parameters: json!({ "cascade": true }), ..step(0) },
            Step { effect_class: EffectClass::Unprotected, ..step(0) },
            Step { reversibility: Reversibility::OneWay { why }, ..step(0) },
            Step { before_fingerprint: fingerprint(&json!({ "login": false })), ..step(0) },
            Step { summary: "nothing happens".to_owned(), ..step(0) },
            Step { rollback: "nothing to undo".to_owned(), ..step(0) },
            Step { diff: vec![DiffLine { after: json!(true), ..line }], ..step(0) },
            Step { undoes: Some(Undoes { run: RunId(uuid(9)), step: 0 }), ..step(0) },
        ]
    }

    /// What an approver has read is what the digest is of.
    #[test]
    fn the_digest_covers_header_and_steps() {
        let mut digests = vec![plan().digest];
        digests
            .extend(other_headers().into_iter().map(|other| plan_of(other, plan().steps).digest));
        digests.extend(
            other_steps().into_iter().map(|other| plan_of(header(), vec![other, step(1)]).digest),
        );
        for steps in [Vec::new(), vec![step(0)], vec![step(1), step(0)]] {
            digests.push(plan_of(header(), steps).digest);
        }
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    /// The same plan of a target that has not moved keeps its approvals.
    #[test]
    fn the_digest_does_not_cover_when_the_target_was_read() {
        let check = Check { name: "role".to_owned(), ok: true, detail: "It exists.".to_owned() };
        let steps = plan().steps;
        let later = Plan::new(header(), steps, vec![check], Timestamp::from_micros(1));
        assert_eq!(later.digest, plan().digest);
    }

    #[test]
    fn a_digest_is_lower_case_hexadecimal() {
        let digest = plan().digest;
        assert_eq!(digest.len(), 64);
        assert!(digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    }

    /// Stored plans were approved under this digest: it must not change with the code.
    #[test]
    fn the_digest_of_a_plan_stays() {
        let digest = "dc87c0b4c585377ab3530705edae6acbf6afaba4361a1cf07ec5a887e17fef3e";
        assert_eq!(plan().digest, digest);
    }

    #[test]
    fn a_proof_covers_the_steps_of_its_plan() {
        let plan = plan();
        let proof = plan.proof();
        assert!(plan.steps.iter().all(|step| proof.covers(step, &plan.digest)));
        assert!(other_steps().iter().all(|other| !proof.covers(other, &plan.digest)));
        for no in [1, 2, u32::MAX] {
            assert!(!proof.covers(&step(0), &plan_of(header(), vec![step(no)]).digest));
            assert!(!proof.covers(&Step { no, ..other_steps().remove(0) }, &plan.digest));
        }
    }

    #[test]
    fn a_proof_is_of_one_plan() {
        let (plan, proof) = (plan(), plan().proof());
        for header in other_headers() {
            let other = plan_of(header, plan.steps.clone());
            assert!(!other.proof().covers(&step(0), &plan.digest));
            assert!(!proof.covers(&step(0), &other.digest));
        }
        let mut forged = proof;
        forged.step_hashes.push(step_hash(&step(2)));
        assert!(!forged.covers(&step(2), &plan.digest));
        assert!(!forged.covers(&step(0), &plan.digest));
    }

    #[test]
    fn a_plan_is_ready_when_every_check_passed() {
        let check = |ok| Check { name: "role".to_owned(), ok, detail: String::new() };
        for (checks, ready) in [
            (vec![check(true), check(true)], true),
            (vec![check(true), check(false)], false),
            (vec![check(false)], false),
        ] {
            assert_eq!(Plan { checks, ..plan() }.is_ready(), ready);
        }
    }

    #[test]
    fn a_fingerprint_is_of_exactly_the_fields() {
        let of = |fields: Value| fingerprint(&fields);
        assert_eq!(of(json!({ "a": 1, "b": 2 })), of(json!({ "b": 2, "a": 1 })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": 1, "b": null })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": "1" })));
    }
}
