//! Orders to host agents, and their receipts: the wire shapes of `/agent/v1`.
//!
//! Signing and verifying is done by the two ends; here are the exact bytes that are signed. An
//! envelope carries its payload as text, so that nobody has to serialise it again to check it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::id::{ChangeId, HostId, JobId, PersonId, RunId};
use crate::plan::{Check, DiffLine, Field, Fingerprint, PlanDigest, PlanProof, Step};
use crate::time::Timestamp;

/// What an agent is asked to do.
///
/// `operation` is an action id, such as `host.set_file_content`; `target` is the host's name as
/// people know it and only appears in sentences and diffs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Read only: checks, before-state and diff of an operation. Needs no approval.
    Inspect { operation: String, target: String, parameters: Value },
    /// Read only: is the operation's result there?
    Verify {
        operation: String,
        target: String,
        parameters: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prepared: Option<Prepared>,
        /// The job that is to be undone: what it changed is read, also where a fresh look would cover
        /// more today, or less. An agent that does not have its before-state any more looks afresh.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<JobId>,
    },
    /// Read only: facts of the host.
    CollectFacts,
    /// Do the step. `snapshot`, `apply` and `verify` happen in one job.
    Apply {
        step: Box<Step>,
        authority: Box<Authority>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prepared: Option<Prepared>,
    },
    /// Undo what job `undoes` did, from the snapshot that the agent kept; refused when the target
    /// is no longer in the state which that job left.
    Revert { step: Box<Step>, undoes: JobId, authority: Box<Authority> },
}

impl Order {
    /// Whether carrying it out may change the host.
    pub const fn has_effect(&self) -> bool {
        match self {
            Self::Inspect { .. } | Self::Verify { .. } | Self::CollectFacts => false,
            Self::Apply { .. } | Self::Revert { .. } => true,
        }
    }

    /// What it brings beside the parameters.
    pub const fn prepared(&self) -> Option<&Prepared> {
        match self {
            Self::Verify { prepared, .. } | Self::Apply { prepared, .. } => prepared.as_ref(),
            Self::Inspect { .. } | Self::CollectFacts | Self::Revert { .. } => None,
        }
    }
}

/// What the control plane made up for a step right before it, as far as the host needs it: never the
/// secret itself. It is part of what is signed, and not of the plan, which is older.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Prepared {
    /// A new password of a local account, as `/etc/shadow` will have it.
    Password {
        /// In the form of `crypt(5)`.
        hash: String,
        /// The day of the change, in days since 1970.
        day: u32,
    },
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { day, .. } => {
                f.debug_struct("Password").field("day", day).finish_non_exhaustive()
            }
        }
    }
}

/// Why an agent may believe that a step was approved.
///
/// The step must be covered by `proof`, its target must be of type `host`, and the target's external
/// key must be the agent's host id or the name under which it was enrolled: an approval for one
/// host is none for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub change: ChangeId,
    pub run: RunId,
    /// Lease epoch of the run.
    pub epoch: u32,
    pub plan_digest: PlanDigest,
    pub proof: PlanProof,
    /// Fingerprint that the target must have right before the effect.
    pub precondition: Fingerprint,
    pub approvals: Vec<PersonId>,
}

/// The payload of a job; signed as the exact text of [`Envelope::payload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub host: HostId,
    /// Rises with every job of this host, from 1.
    pub seq: u64,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub order: Order,
}

/// A signed job. `signature` is Ed25519 over `"nexplane job v1" || 0x00 || payload`, base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub payload: String,
    pub key_id: String,
    pub signature: String,
}

/// Prefix of the bytes that a dispatcher signs.
pub const JOB_CONTEXT: &[u8] = b"nexplane job v1\0";
/// Prefix of the bytes that an agent signs.
pub const RECEIPT_CONTEXT: &[u8] = b"nexplane receipt v1\0";

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum JobResult {
    Inspected {
        checks: Vec<Check>,
        before: Vec<Field>,
        fingerprint: Fingerprint,
        diff: Vec<DiffLine>,
        /// One sentence: what will happen.
        summary: String,
        /// One sentence: how it is undone.
        rollback: String,
    },
    /// `satisfied` is what the agent found by reading, not what it was told.
    Verified {
        satisfied: bool,
        observed: Vec<Field>,
        fingerprint: Fingerprint,
    },
    Facts {
        facts: Box<HostFacts>,
    },
    /// Applied and verified on the host. `changed` is false when it was so already.
    Applied {
        changed: bool,
        before: Vec<Field>,
        before_fingerprint: Fingerprint,
        observed: Vec<Field>,
        after_fingerprint: Fingerprint,
    },
    Reverted {
        observed: Vec<Field>,
        after_fingerprint: Fingerprint,
    },
    /// The agent will not: nothing was changed.
    Refused {
        code: RefusalCode,
        detail: String,
        observed: Vec<Field>,
    },
    /// It was tried and the host said no; what was begun was put back.
    Failed {
        detail: String,
    },
    /// The agent stopped in the middle and cannot tell.
    Unknown {
        detail: String,
    },
}

impl JobResult {
    /// Whether the order was carried out.
    pub const fn is_success(&self) -> bool {
        match self {
            Self::Inspected { .. }
            | Self::Verified { .. }
            | Self::Facts { .. }
            | Self::Applied { .. }
            | Self::Reverted { .. } => true,
            Self::Refused { .. } | Self::Failed { .. } | Self::Unknown { .. } => false,
        }
    }
}

/// Why an agent will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// It does not even say which job it is, and for whom. Such an order has no receipt.
    Unreadable,
    WrongHost,
    BadSignature,
    Replayed,
    NotYetValid,
    Expired,
    PlanMismatch,
    LocalPolicy,
    /// The target no longer has the fingerprint the order names.
    Drift,
    UnknownOperation,
    InvalidParameters,
    /// A check of the operation did not pass; `detail` says which and what to do.
    CheckFailed,
    /// The before-state could not be captured, or is gone.
    NoSnapshot,
}

impl RefusalCode {
    /// Whether the order was not taken for one of this control plane to this host at this time.
    pub const fn is_distrust(self) -> bool {
        match self {
            Self::Unreadable | Self::WrongHost | Self::BadSignature | Self::Replayed => true,
            Self::NotYetValid
            | Self::Expired
            | Self::PlanMismatch
            | Self::LocalPolicy
            | Self::Drift
            | Self::UnknownOperation
            | Self::InvalidParameters
            | Self::CheckFailed
            | Self::NoSnapshot => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::WrongHost => "wrong_host",
            Self::BadSignature => "bad_signature",
            Self::Replayed => "replayed",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::PlanMismatch => "plan_mismatch",
            Self::LocalPolicy => "local_policy",
            Self::Drift => "drift",
            Self::UnknownOperation => "unknown_operation",
            Self::InvalidParameters => "invalid_parameters",
            Self::CheckFailed => "check_failed",
            Self::NoSnapshot => "no_snapshot",
        }
    }
}

/// Orders that an agent did not take for this control plane's, of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distrusted {
    /// One for which [`RefusalCode::is_distrust`] holds.
    pub code: RefusalCode,
    /// All since it enrolled. It is never reset, so whoever swallows a report hides nothing.
    pub total: u64,
    /// When the last one came, by the host's clock.
    pub last_at: Timestamp,
}

/// What an agent knows of its machine. Names of accounts, packages and units only: no personal data
/// and no file contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub hostname: String,
    /// `ID` of os-release, such as `debian`; empty when unknown.
    pub os: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    pub os_version: String,
    pub kernel: String,
    /// Machine architecture as the kernel names it, such as `x86_64`.
    pub architecture: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub uptime_s: u64,
    pub agent_version: String,
    pub accounts: Vec<AccountFact>,
    /// Installed packages; at most 10,000.
    pub packages: Vec<PackageFact>,
    /// Service units; at most 10,000.
    pub services: Vec<ServiceFact>,
}

/// One local account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFact {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFact {
    pub name: String,
    pub version: String,
    pub architecture: String,
}

/// One service unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFact {
    /// Such as `ssh.service`.
    pub unit: String,
    /// Whether a target wants it at start.
    pub enabled: bool,
}

/// The payload of a receipt; signed by the agent's own key and chained to its previous one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub job: JobId,
    pub host: HostId,
    /// Number of this receipt, from 1.
    pub number: u64,
    /// SHA-256 of the previous receipt's payload, hexadecimal; 64 zeros for the first.
    pub previous: String,
    pub at: Timestamp,
    pub result: JobResult,
    /// Of an order with an effect: until when its before-state is kept, at least. Earlier agents kept them for
    /// good, and said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_until: Option<Timestamp>,
}

/// A signed receipt. `signature` is by the agent's certificate key over
/// `"nexplane receipt v1" || 0x00 || payload` (ECDSA P-256 SHA-256, ASN.1), base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    pub payload: String,
    pub signature: String,
}

/// `POST /agent/v1/enroll`, over TLS without a client certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    pub token: String,
    /// PEM certificate signing request; only its public key is used.
    pub csr_pem: String,
    pub hostname: String,
    pub agent_version: String,
    /// Hash of the host owner's policy file, or none.
    pub policy_hash: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollResponse {
    pub host: HostId,
    /// The host's name in the control plane: the external key of its asset.
    pub name: String,
    /// Name of this installation, as in the certificate's `spiffe://<installation>/agent/<id>`.
    pub installation: String,
    pub certificate_pem: String,
    /// Ed25519 public keys of dispatchers by key id, base64.
    pub dispatchers: Vec<DispatcherKey>,
    pub renew_after: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatcherKey {
    pub key_id: String,
    pub public_key: String,
}

/// `POST /agent/v1/renew`: a fresh key, over the connection of the old certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    pub csr_pem: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewResponse {
    pub certificate_pem: String,
    /// All dispatcher keys that are valid now; they replace the ones the agent had.
    pub dispatchers: Vec<DispatcherKey>,
    pub renew_after: Timestamp,
}

/// `POST /agent/v1/poll`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRequest {
    /// At most 50.
    pub wait_s: u32,
    /// Highest job sequence number that the agent has journalled.
    pub have: u64,
    /// Made at random when the agent's process starts. Together with `number` it shows when two live
    /// agents use one key: an instance that was replaced never comes back, and its number rises.
    pub instance: Uuid,
    /// Number of this poll of this instance, from 1.
    pub number: u64,
    /// Hash of the host owner's policy file, or none.
    #[serde(default)]
    pub policy_hash: Option<String>,
    /// At most one of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distrusted: Vec<Distrusted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PollResponse {
    /// In the order of their sequence numbers.
    pub jobs: Vec<Envelope>,
    /// How long to wait before the next poll.
    pub next_delay_ms: u64,
}

/// `POST /agent/v1/jobs/{id}/events`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobEvent {
    Received { at: Timestamp },
    Intent { at: Timestamp },
    Result { receipt: SignedReceipt },
}

/// `GET /agent/v1/releases/{version}/{target}`: what the control plane offers, as whoever released it wrote it. Only
/// the agent's own check of the signatures says anything about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseOffer {
    /// The exact text that is signed.
    pub manifest: String,
    /// `KEY-ID SIGNATURE` in each line.
    pub signatures: String,
}

/// `GET /agent/v1/time`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TimeResponse {
    pub now: Timestamp,
}
