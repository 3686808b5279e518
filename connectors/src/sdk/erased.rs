//! What the server calls: connectors, sessions and actions without their types.
//!
//! The typed traits ([`super::Connector`], [`super::Action`]) are for those who write connectors; the
//! ones here are object-safe, and [`super::Registry`] hands them out by id. Every call goes through
//! one layer: time limit, tracing span, removal of secrets from what comes out, and errors that name
//! connector, action and target.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nexplane_core::catalog::{ActionSpec, ConnectorSpec};
use nexplane_core::id::{ChangeId, ConnectionId, JobId, PersonId, RunId};
use nexplane_core::plan::{
    Check, DiffLine, Field, Fingerprint, PlanDigest, PlanProof, Step, TargetRef,
};
use nexplane_core::time::Timestamp;
use serde_json::Value;

use super::egress::Egress;
use super::error::{ConnectorError, FieldError};
use super::progress::Progress;
use super::secret::{DigestKey, SecretBytes, SecretJson, SecretText};
use crate::host::HostPort;

/// How long a call to a target may take unless the caller says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One kind of target, such as `postgres`.
#[async_trait]
pub trait AnyConnector: Send + Sync {
    fn spec(&self) -> &ConnectorSpec;

    /// Every action, in the order of the catalog (alphabetical).
    fn actions(&self) -> &[Box<dyn AnyAction>];

    /// Checks credentials against their schema without using them. All faults, not only the first.
    fn validate_credentials(&self, credentials: &Value) -> Result<(), Vec<FieldError>>;

    /// JSON pointers of the credential fields that are secret, such as `/password`.
    fn secret_pointers(&self) -> &[String];

    /// Opens a session. Errors: `Invalid` (credentials do not fit the schema), `Refused` (egress),
    /// `Unauthorised`, `Unreachable`, `Timeout`.
    async fn open(
        &self,
        credentials: SecretJson,
        cx: &OpenContext,
    ) -> Result<Box<dyn AnySession>, ConnectorError>;
}

/// An open, authenticated way to one target system. Short-lived: open, use, drop.
#[async_trait]
pub trait AnySession: Send + Sync {
    /// One line per permission; what to do about it where one is missing.
    async fn test(&self) -> Vec<Check>;

    /// Everything that can be a target. Complete or an error, never a part of it: what is not in
    /// the answer counts as gone.
    async fn discover(&self) -> Result<Discovery, ConnectorError>;

    /// For the actions of the same connector.
    fn as_any(&self) -> &dyn Any;
}

/// One thing that a connector can do to a target.
#[async_trait]
pub trait AnyAction: Send + Sync {
    fn spec(&self) -> &ActionSpec;

    /// Checks parameters without a target. All faults, not only the first.
    fn validate(&self, parameters: &Value) -> Result<(), Vec<FieldError>>;

    /// Prechecks, before-state and diff. Changes nothing. When a check is not ok the step must not
    /// run; the rest of the answer is then what could still be read.
    async fn inspect(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
    ) -> Result<Inspection, ConnectorError>;

    /// The state of the target now, for before / after / now. Changes nothing. Its `sealed` is of no
    /// use for `execute` or `rollback`. With `undoes` it is what that effect covered, where a fresh look
    /// would cover more today, or less: so it can be compared with what the effect found and left.
    async fn read(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        undoes: Option<&EarlierEffect>,
    ) -> Result<Snapshot, ConnectorError>;

    /// Does it. `before` is the snapshot of an `inspect` made right before and stored durably: what a
    /// crash must not lose (a new password) is already in it, so calling twice with one `before`
    /// is the same as once. Refuses with `Conflict` when the target is neither as `before` says nor
    /// as the effect would leave it.
    async fn execute(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
    ) -> Result<Executed, ConnectorError>;

    /// Reads the target and says whether the effect is there. `outcome` may be absent after a crash.
    async fn verify(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> Result<Verification, ConnectorError>;

    /// Puts the before-state back; twice is the same as once. The caller has compared the target's
    /// fingerprint with the one after the effect, and afterwards compares `read` with `before`.
    /// A one-way action answers `Invalid`.
    async fn rollback(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> Result<RolledBack, ConnectorError>;
}

/// What a session needs besides credentials.
#[derive(Clone, Debug)]
pub struct OpenContext {
    pub connection: ConnectionId,
    /// Which addresses may be connected to.
    pub egress: Arc<Egress>,
    /// Key of the installation for secrets in fingerprints.
    pub digest_key: DigestKey,
    /// Limit of every call that only reads, and of opening.
    pub call_timeout: Duration,
    /// The agent behind a `host` connection; absent for all others.
    pub host: Option<HostPort>,
}

/// Which step of which approved plan is being done or undone.
#[derive(Clone, Debug)]
pub struct StepContext {
    pub change: ChangeId,
    pub run: RunId,
    pub step: Step,
    /// Lease epoch of the run.
    pub epoch: u32,
    /// The same for every attempt at this step of this run.
    pub idempotency_key: String,
    pub plan_digest: PlanDigest,
    pub proof: PlanProof,
    pub approvals: Vec<PersonId>,
    /// Time left for the effect. When it is over the outcome is unknown.
    pub deadline: Duration,
    /// Fingerprint of what was read right before, which the target must still have.
    pub precondition: Fingerprint,
    /// On a rollback: what is undone.
    pub undoes: Option<EarlierEffect>,
    /// For effects that last: who looks on hears how far it is.
    pub progress: Progress,
}

/// The effect that a rollback undoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierEffect {
    /// Of a host operation: the job that had it.
    pub job: Option<JobId>,
    /// Its idempotency key. It is known when the answer to the effect, and with it the job, was lost in
    /// a crash.
    pub key: String,
    /// What was sealed before it, where that is at hand: what is read to see whether the target is as it was
    /// then may need it.
    pub before: Option<SecretBytes>,
}

/// The state of a target at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// For people; secrets are redacted.
    pub fields: Vec<Field>,
    /// Of exactly the fields that the action reads and writes. Two snapshots of one target have
    /// the same one if and only if nothing of that moved, whichever call made them.
    pub fingerprint: Fingerprint,
    /// The whole before-state as JSON, secrets included: store it encrypted, give it back unchanged.
    pub sealed: SecretBytes,
}

/// What `inspect` found.
#[derive(Clone, Debug)]
pub struct Inspection {
    pub checks: Vec<Check>,
    pub before: Snapshot,
    pub diff: Vec<DiffLine>,
    /// One sentence: what will happen.
    pub summary: String,
    /// One sentence: how it is undone, or why it cannot be.
    pub rollback: String,
}

impl Inspection {
    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// What `execute` did.
#[derive(Clone, Debug)]
pub struct Executed {
    /// False when the effect was there already.
    pub changed: bool,
    /// For `verify` and `rollback`, and for people: no secrets.
    pub outcome: Value,
    /// Secrets to hand over once.
    pub produced: Vec<Produced>,
    /// Until when the target keeps what the effect can be undone from: no rollback is begun from then on. Absent
    /// when all that it takes is in the snapshot.
    pub undo_until: Option<Timestamp>,
}

/// A secret that an action made.
#[derive(Clone, Debug)]
pub struct Produced {
    /// As announced in the catalog, such as `password`.
    pub name: String,
    pub value: SecretText,
}

/// What `verify` read.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Whether the target is as the action should have left it.
    pub satisfied: bool,
    pub observed: Vec<Field>,
    /// Of the target now.
    pub fingerprint: Fingerprint,
    /// When satisfied: the same secrets as [`Executed::produced`], for a caller that lost them in a
    /// crash.
    pub produced: Vec<Produced>,
}

/// What `rollback` did.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// False when the before-state was there already.
    pub changed: bool,
    /// For people: no secrets.
    pub outcome: Value,
}

/// Everything that a session sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    pub assets: Vec<DiscoveredAsset>,
}

/// One thing that can be a target.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveredAsset {
    /// Asset type, such as `postgres_role`.
    pub kind: String,
    /// Stable within the connection, such as `role/app`.
    pub external_key: String,
    /// As people know it.
    pub name: String,
    pub metadata: Value,
    pub relations: Vec<Relation>,
}

/// A directed relation to another asset of the same connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relation {
    /// Such as `member_of`, `owns`, `has_access_to`.
    pub kind: String,
    pub to_kind: String,
    pub to_external_key: String,
}
