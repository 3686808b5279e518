//! Plans: what exactly will happen, and the digest that approvals bind to.
//!
//! The digest is `SHA-256("nexplane plan v1" || 0x00 || canonical JSON)` of the header's hash and the
//! hashes of all steps in order. So an agent that is given one step, the other steps' hashes and the
//! header's hash can check that its order belongs to the approved plan without seeing the rest.
//!
//! A plan for many targets has [`Parts`] in place of steps: each target's step is a plan of its own
//! ([`Plan::part`]) with a digest of its own, and `SHA-256("nexplane plan of parts v1" || 0x00 || …)` is of
//! the header's hash, the number of parts, a hash over all of their digests in order, and the
//! hashes of the sample that people see. So an agent checks its part as it checks any plan, and who has the
//! manifest can check that the part belongs to what was approved.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical;
use crate::catalog::{EffectClass, Reversibility};
use crate::id::{AssetId, ChangeId, ConnectionId, ManifestId, PersonId, RunId};
use crate::rollout::event::Strategy;
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
    /// How the targets are gone through, when there is a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Strategy>,
    /// Whether what it did is undone when its run fails: who approves the plan approves that as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
    /// How long (seconds) the run may take in total, from its start: no step begins after that. A rollout has
    /// no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_s: Option<u32>,
}

/// What a plan for many targets has in place of steps: those are in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Parts {
    pub manifest: ManifestId,
    /// How many there are, at least one.
    pub count: u32,
    /// Lower-case hexadecimal SHA-256 over the digests of all parts, in order.
    pub root: String,
    /// The steps of the first parts, to look at.
    pub sample: Vec<Step>,
}

/// A plan as stored in `change.planned` and shown in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    pub digest: PlanDigest,
    pub header: PlanHeader,
    /// Empty when there are parts.
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
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
        let digest = content_digest(&header, &steps, None);
        Self { digest, header, steps, parts: None, checks, computed_at }
    }

    /// The same of steps that one run takes, with the time that it may take.
    pub fn of_a_run(
        header: PlanHeader,
        steps: Vec<Step>,
        checks: Vec<Check>,
        computed_at: Timestamp,
    ) -> Self {
        let header = PlanHeader { limit_s: Some(limit_s(steps.len())), ..header };
        Self::new(header, steps, checks, computed_at)
    }

    /// A plan for many targets, whose steps are those of a manifest.
    pub fn of_parts(
        header: PlanHeader,
        manifest: ManifestId,
        steps: &[Step],
        checks: Vec<Check>,
        computed_at: Timestamp,
    ) -> Self {
        let parts = Parts {
            manifest,
            count: u32::try_from(steps.len()).unwrap_or(u32::MAX),
            root: parts_root(&header, steps),
            sample: steps.iter().take(SAMPLE).cloned().collect(),
        };
        let digest = content_digest(&header, &[], Some(&parts));
        Self { digest, header, steps: Vec::new(), parts: Some(parts), checks, computed_at }
    }

    /// The plan of one part: the only step of it is this one, of the manifest.
    #[must_use]
    pub fn part(&self, step: &Step) -> Self {
        let step = Step { no: 0, ..step.clone() };
        Self::new(part_header(&self.header, &step), vec![step], Vec::new(), self.computed_at)
    }

    /// Whether these are all of the manifest's steps, in order, and what it shows is the first of them.
    pub fn is_made_of(&self, steps: &[Step]) -> bool {
        self.parts.as_ref().is_some_and(|parts| {
            usize::try_from(parts.count) == Ok(steps.len())
                && parts.sample.iter().eq(steps.iter().take(SAMPLE))
                && parts.root == parts_root(&self.header, steps)
        })
    }

    /// Its steps, or those of them that it shows.
    pub fn shown(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(self.parts.iter().flat_map(|parts| &parts.sample))
    }

    /// Whether the digest is the one that the content has.
    pub fn is_intact(&self) -> bool {
        content_digest(&self.header, &self.steps, self.parts.as_ref()) == self.digest
    }

    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// The reversibility of the step that is worst in this; `None` without steps.
    pub fn worst_reversibility(&self) -> Option<&Reversibility> {
        self.shown().map(|step| &step.reversibility).max_by_key(|kind| match kind {
            Reversibility::Reversible => 0,
            Reversibility::CompensateOnly { .. } => 1,
            Reversibility::OneWay { .. } => 2,
        })
    }

    /// The weakest of the steps' effect classes; `None` without steps.
    pub fn weakest_effect_class(&self) -> Option<EffectClass> {
        self.shown().map(|step| step.effect_class).max_by_key(|class| match class {
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

/// What the time in total leaves for waiting (seconds): for a turn at the targets, and for a worker.
const LIMIT_WAIT_S: u32 = 60 * 60;
/// What it leaves for a step, with two attempts and the reading of the target after each.
const LIMIT_STEP_S: u32 = 5 * 60;

/// What it is at most.
const LIMIT_MOST_S: u32 = 12 * 60 * 60;

/// How long (seconds) a run of so many steps may take.
fn limit_s(steps: usize) -> u32 {
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    LIMIT_STEP_S.saturating_mul(steps).saturating_add(LIMIT_WAIT_S).min(LIMIT_MOST_S)
}

/// How many steps of a manifest a plan shows.
const SAMPLE: usize = 20;

fn content_digest(header: &PlanHeader, steps: &[Step], parts: Option<&Parts>) -> PlanDigest {
    let header = header_hash(header);
    match parts {
        None => digest(&header, &steps.iter().map(step_hash).collect::<Vec<_>>()),
        Some(Parts { manifest: _, count, root, sample }) => {
            let sample: Vec<_> = sample.iter().map(step_hash).collect();
            let content =
                json!({ "header": header, "count": count, "root": root, "sample": sample });
            canonical::digest("nexplane plan of parts v1", &content)
        }
    }
}

/// Over the digests of all parts.
fn parts_root(header: &PlanHeader, steps: &[Step]) -> String {
    root_of(steps.iter().map(|step| part_digest(header, step)))
}

/// Over the digests of all parts, in order.
pub fn root_of(digests: impl Iterator<Item = PlanDigest>) -> String {
    canonical::digest("nexplane parts v1", &digests.map(Value::String).collect())
}

/// The digest of the plan of one part.
pub fn part_digest(header: &PlanHeader, step: &Step) -> PlanDigest {
    let step = Step { no: 0, ..step.clone() };
    digest(&header_hash(&part_header(header, &step)), &[step_hash(&step)])
}

fn part_header(whole: &PlanHeader, step: &Step) -> PlanHeader {
    PlanHeader {
        change: whole.change,
        change_type: whole.change_type.clone(),
        connection: step.connection,
        targets: vec![step.target.asset],
        parameters: whole.parameters.clone(),
        policy_version: whole.policy_version,
        author: whole.author,
        editors: whole.editors.clone(),
        rollback_of: whole.rollback_of,
        rollout: None,
        // It is the whole that goes back.
        auto_rollback: false,
        limit_s: None,
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
            rollout: None,
            auto_rollback: false,
            limit_s: None,
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
            PlanHeader { limit_s: Some(60), ..header() },
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

    fn many() -> (Plan, Vec<Step>) {
        let steps: Vec<_> = (0..30)
            .map(|no| {
                let target =
                    TargetRef { asset: AssetId(uuid(100 + u128::from(no))), ..step(0).target };
                Step { target, ..step(no) }
            })
            .collect();
        let plan = Plan::of_parts(
            header(),
            ManifestId(uuid(7)),
            &steps,
            Vec::new(),
            Timestamp::from_micros(0),
        );
        (plan, steps)
    }

    /// What an approver of a rollout binds is every single target.
    #[test]
    fn the_digest_of_a_plan_in_parts_covers_every_step() {
        let (plan, steps) = many();
        assert!(plan.is_intact() && plan.is_made_of(&steps));
        assert_eq!(plan.shown().count(), SAMPLE);
        for index in [0, 19, 29] {
            for other in other_steps() {
                let mut altered = steps.clone();
                altered[index] = Step { no: steps[index].no, ..other };
                assert!(!plan.is_made_of(&altered), "{index}");
            }
        }
        assert!(!plan.is_made_of(&steps[..29]));
        let mut swapped = steps.clone();
        swapped.swap(3, 4);
        assert!(!plan.is_made_of(&swapped));
        let mut more = steps.clone();
        more.push(step(30));
        assert!(!plan.is_made_of(&more));
        assert!(!self::plan().is_made_of(&[]));
    }

    /// Nobody approves what they were not shown: a sample of something else is none of this manifest.
    #[test]
    fn what_a_plan_in_parts_shows_are_the_first_of_its_steps() {
        let (plan, steps) = many();
        let shown = plan.parts.clone().unwrap().sample;
        let mut harmless = shown.clone();
        harmless[0].summary = "nothing happens".to_owned();
        let mut reordered = shown.clone();
        reordered.swap(0, 1);
        let fewer = shown[1..].to_vec();
        for sample in [harmless, reordered, fewer, Vec::new()] {
            let mut other = plan.clone();
            other.parts.as_mut().unwrap().sample = sample;
            other.digest = content_digest(&other.header, &[], other.parts.as_ref());
            assert!(other.is_intact() && !other.is_made_of(&steps));
        }
        let few = Plan::of_parts(
            header(),
            ManifestId(uuid(7)),
            &steps[..3],
            Vec::new(),
            Timestamp::from_micros(0),
        );
        assert!(few.is_made_of(&steps[..3]));
    }

    #[test]
    fn what_a_plan_in_parts_says_of_itself_is_in_its_digest() {
        let (plan, _) = many();
        let parts = plan.parts.clone().unwrap();
        let mut sample = parts.sample.clone();
        sample[0].summary = "nothing happens".to_owned();
        for altered in [
            Parts { count: 29, ..parts.clone() },
            Parts { root: "0".repeat(64), ..parts.clone() },
            Parts { sample, ..parts.clone() },
        ] {
            assert!(!Plan { parts: Some(altered), ..plan.clone() }.is_intact());
        }
        assert!(!Plan { parts: None, ..plan.clone() }.is_intact());
        assert!(!Plan { header: other_headers().remove(0), ..plan }.is_intact());
    }

    /// An agent, which sees only its part, checks that as it checks any plan.
    #[test]
    fn a_part_is_a_plan_of_its_own() {
        let (plan, steps) = many();
        let parts: Vec<_> = steps.iter().map(|step| plan.part(step)).collect();
        for (part, step) in parts.iter().zip(&steps) {
            assert!(part.is_intact());
            assert_eq!(part.digest, part_digest(&plan.header, step));
            assert_eq!(part.header.targets, vec![step.target.asset]);
            assert!(part.proof().covers(&part.steps[0], &part.digest));
        }
        let root = root_of(parts.into_iter().map(|part| part.digest));
        assert_eq!(root, plan.parts.unwrap().root);
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

    /// The time of a run grows with its steps, and has an end.
    #[test]
    fn the_plan_of_a_run_says_how_long_it_may_take() {
        let of = |steps: u32| {
            let steps = (0..steps).map(step).collect();
            Plan::of_a_run(header(), steps, Vec::new(), Timestamp::from_micros(0))
        };
        let limit = |steps| of(steps).header.limit_s;
        assert_eq!([1, 2, 100].map(limit), [Some(3900), Some(4200), Some(33_600)]);
        assert_eq!(limit(1000), Some(LIMIT_MOST_S));
        assert!(of(2).is_intact());
        assert_ne!(of(2).digest, plan().digest);
        assert_eq!(many().0.part(&step(0)).header.limit_s, None);
    }

    #[test]
    fn a_fingerprint_is_of_exactly_the_fields() {
        let of = |fields: Value| fingerprint(&fields);
        assert_eq!(of(json!({ "a": 1, "b": 2 })), of(json!({ "b": 2, "a": 1 })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": 1, "b": null })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": "1" })));
    }
}
