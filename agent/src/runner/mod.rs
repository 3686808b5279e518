//! Carries out orders.
//!
//! ```text
//! check -> received -> validate -> snapshot (saved) -> [armed] -> intent -> apply -> verify
//!       -> [the line is tried -> confirmed] -> result
//! ```
//!
//! What stands in brackets is for what may cut the agent's own line to the control plane: without a
//! confirmation in time it is taken back, see [`crate::deadman`].
//!
//! Every arrow is durable in the journal before the next begins. A failure puts back what was begun;
//! what cannot be known is reported as unknown, never as failed. Orders run one at a time. Nothing
//! here touches the network but for the question whether the line is there: all else is the long-poll's
//! part.

mod check;
mod confirm;
mod distrust;
mod effect;
mod hand_over;
mod recover;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{
    DispatcherKey, Envelope, Job, JobEvent, JobResult, Order, Receipt, RefusalCode, SignedReceipt,
};
use nexplane_core::plan::{Check, Fingerprint, fingerprint};
use nexplane_core::time::Timestamp;
use serde_json::json;

use crate::deadman::{DeadMan, Line};
use crate::host::{Host, HostError};
use crate::journal::{self, Journal, JournalError, Record, payload_hash};
use crate::key::{AgentKey, KeyError};
use crate::operation::{Bound, collect_facts};
use crate::policy;
use crate::snapshot::Snapshots;
use crate::vital::Vital;

use check::{Admission, Earlier, Refusal, Work};
use distrust::Distrust;
pub use recover::Early;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Hears of a job's progress while it runs. Losing it loses nothing: the result is in the journal.
pub type Progress<'a> = &'a mut dyn FnMut(JobId, JobEvent);

/// The agent cannot go on. Everything that was begun is settled at the next start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another program of the agent is in place: this process has to end, and the next one goes on.
    #[error("another program of the agent is in place, and goes on where this one ended")]
    HandedOver,
    #[error("could not mark that an effect is armed")]
    Marker(#[source] std::io::Error),
}

/// Who the agent is, and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub host: HostId,
    /// The host's name in the control plane.
    pub name: String,
    pub dispatchers: Vec<DispatcherKey>,
}

/// Carries out orders on one host, one at a time.
pub struct Runner {
    pub(crate) who: Who,
    pub(crate) key: AgentKey,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) journal: Journal,
    pub(crate) snapshots: Snapshots,
    /// The host owner's say.
    pub(crate) policy: policy::Source,
    pub(crate) clock: Clock,
    pub(crate) dead_man: DeadMan,
    pub(crate) vital: Vital,
    distrust: Distrust,
}

impl Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner over what is on disk. [`Runner::recover`] comes first.
    pub fn new(
        who: Who,
        key: AgentKey,
        host: Arc<dyn Host>,
        journal: Journal,
        snapshots: Snapshots,
        policy: impl Into<policy::Source>,
        clock: Clock,
    ) -> Self {
        let policy = policy.into();
        let (dead_man, vital) = (DeadMan::default(), Vital::default());
        let distrust = Distrust::default();
        Self { who, key, host, journal, snapshots, policy, clock, dead_man, vital, distrust }
    }

    /// The same, with a line over which an effect that may cut it is confirmed.
    #[must_use]
    pub fn with_dead_man(mut self, dead_man: DeadMan) -> Self {
        self.dead_man = dead_man;
        self
    }

    /// The same, with a service manager that hears that it goes on while something takes long.
    #[must_use]
    pub fn with_vital(mut self, vital: Vital) -> Self {
        self.vital = vital;
        self
    }

    /// From now on effects are confirmed over this line.
    pub fn set_line(&mut self, line: Arc<dyn Line>) {
        self.dead_man.line = Some(line);
    }

    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Hash of the host owner's policy file as it is now; none without a file.
    pub fn policy_hash(&self) -> Option<String> {
        self.policy.hash()
    }

    /// From now on signs with this key and believes these dispatchers.
    pub fn renew(&mut self, key: AgentKey, dispatchers: Vec<DispatcherKey>) {
        self.key = key;
        self.who.dispatchers = dispatchers;
    }

    /// Answers an order: checks it, carries it out, records and signs the result. An order that was
    /// answered before gets the same answer again. One that says not even which job it is gets none, and neither
    /// do those that are not the control plane's when there are too many; they are [counted](Runner::distrusted).
    ///
    /// # Errors
    /// Only when the journal cannot be written or nothing can be signed, or when another program of the agent goes
    /// on; then the process must end.
    pub fn handle(
        &mut self,
        envelope: &Envelope,
        progress: Progress<'_>,
    ) -> Result<Option<(JobId, SignedReceipt)>, RunnerError> {
        match self.admit(envelope, (self.clock)())? {
            Admission::Ignore => Ok(None),
            Admission::Unreadable => {
                self.distrust.count(RefusalCode::Unreadable, (self.clock)());
                Ok(None)
            }
            Admission::Answered { receipt, reported } => {
                if reported {
                    self.distrust.count(RefusalCode::Replayed, (self.clock)());
                }
                let job = serde_json::from_str::<Receipt>(&receipt.payload).map(|r| r.job);
                Ok(job.ok().map(|job| (job, receipt)))
            }
            Admission::Refuse { trusted: false, refusal, .. }
                if !self.distrust.may_sign((self.clock)()) =>
            {
                self.distrust.count(refusal.code, (self.clock)());
                Ok(None)
            }
            Admission::Refuse { id, seq, trusted, refusal } => {
                tracing::warn!(job.id = %id, code = ?refusal.code, "Order refused: {}", refusal.detail);
                let hash = payload_hash(&envelope.payload);
                let receipt = self.conclude(id, seq, hash, trusted, refusal.into())?;
                Ok(Some((id, receipt)))
            }
            Admission::Run { job, work } => {
                let result = self.work(&job, work, envelope, progress)?;
                let hash = payload_hash(&envelope.payload);
                let receipt = self.conclude(job.id, job.seq, hash, true, result)?;
                Ok(Some((job.id, receipt)))
            }
        }
    }

    /// Notes that the control plane has a receipt.
    pub fn reported(&mut self, job: JobId, number: u64) -> Result<(), RunnerError> {
        Ok(self.journal.append(&Record::Reported { job, number })?)
    }

    /// Makes the journal small again when it is large and nothing is open.
    pub fn compact(&mut self) -> Result<bool, RunnerError> {
        let Self { journal, snapshots, .. } = self;
        Ok(journal.compact(journal::COMPACT_ABOVE, |job| snapshots.exists(job))?)
    }

    /// Deletes the before-states whose time is over, with the packages that are kept for them, but for those that
    /// an order needs that has not ended: its own, and the one that it goes back to.
    fn expire(&mut self) {
        let Self { host, journal, snapshots, clock, .. } = self;
        let mut needed = BTreeSet::new();
        for (id, envelope) in journal.unfinished() {
            needed.insert(id);
            match serde_json::from_str::<Job>(&envelope.payload).map(|job| job.order) {
                Ok(Order::Revert { undoes, .. }) => {
                    needed.insert(undoes);
                }
                Ok(
                    Order::Apply { .. }
                    | Order::Inspect { .. }
                    | Order::Verify { .. }
                    | Order::CollectFacts,
                ) => {}
                // There is no telling what it needs.
                Err(_) => return,
            }
        }
        let expired = snapshots.expire(clock(), |job| needed.contains(job));
        if let Ok(manager) = host.package_manager() {
            let is_needed = |job: &JobId| needed.contains(job) || snapshots.exists(job);
            if let Err(error) = manager.forget(&is_needed) {
                tracing::warn!("Packages of expired snapshots stay: {}", error.sentence());
            }
        }
        match expired {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "Deleted snapshots whose time is over"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "Snapshots could not be looked at");
            }
        }
    }

    fn work(
        &mut self,
        job: &Job,
        work: Work,
        envelope: &Envelope,
        progress: Progress<'_>,
    ) -> Result<JobResult, RunnerError> {
        match work {
            Work::CollectFacts => Ok(match collect_facts::collect(self.host.as_ref()) {
                Ok(facts) => JobResult::Facts { facts: Box::new(facts) },
                Err(error) => JobResult::Failed { detail: error.sentence() },
            }),
            Work::Inspect { bound, target, held } => {
                Ok(self.inspect(bound.as_ref(), &target, held))
            }
            Work::Verify { bound, undoes } => Ok(self.verify(bound.as_ref(), undoes.as_ref())),
            Work::Apply { .. } | Work::Revert { .. } => {
                let at = (self.clock)();
                let envelope = envelope.clone();
                self.journal.append(&Record::Received {
                    job: job.id,
                    seq: job.seq,
                    at,
                    envelope,
                })?;
                progress(job.id, JobEvent::Received { at });
                self.effect(job.id, work, progress)
            }
        }
    }

    fn inspect(&self, bound: &dyn Bound, target: &str, held: Option<String>) -> JobResult {
        let host = self.host.as_ref();
        let mut checks = self.checks(bound);
        if let Some(detail) = held {
            checks.push(Check { name: "local_policy".to_owned(), ok: false, detail });
        }
        let read = bound
            .snapshot(host)
            .and_then(|before| Ok((bound.diff(host, target, &before)?, before)));
        let (diff, before, fingerprint) = match read {
            Ok((diff, before)) => (diff, before.fields, before.fingerprint),
            Err(error) => {
                // Usually a check has said so already, in better words.
                if checks.iter().all(|check| check.ok) {
                    let detail = error.sentence();
                    checks.push(Check { name: "readable".to_owned(), ok: false, detail });
                }
                (Vec::new(), Vec::new(), nothing())
            }
        };
        let (summary, rollback) = (bound.summary(target), bound.rollback());
        JobResult::Inspected { checks, before, fingerprint, diff, summary, rollback }
    }

    fn verify(&self, bound: &dyn Bound, undoes: Option<&Earlier>) -> JobResult {
        let host = self.host.as_ref();
        let read = match undoes {
            None => bound.verify(host).map(|(is_so, now)| (is_so && !self.is_on_trial(bound), now)),
            Some(earlier) => {
                earlier.look(bound, host).map(|now| (now.fingerprint == earlier.left, now))
            }
        };
        match read {
            Ok((satisfied, now)) => JobResult::Verified {
                satisfied,
                observed: now.fields,
                fingerprint: now.fingerprint,
            },
            Err(HostError::Missing { .. }) => JobResult::Verified {
                satisfied: false,
                observed: Vec::new(),
                fingerprint: nothing(),
            },
            Err(error) => JobResult::Failed { detail: error.sentence() },
        }
    }

    /// Signs the result and makes it durable.
    fn conclude(
        &mut self,
        job: JobId,
        seq: u64,
        payload_hash: String,
        trusted: bool,
        result: JobResult,
    ) -> Result<SignedReceipt, RunnerError> {
        let after = after(&result);
        // What can be undone is what left a state.
        let saved = after.as_ref().and_then(|_| self.snapshots.load(&job).ok());
        let undo_until = saved.and_then(|saved| saved.until);
        let (number, previous) = self.journal.receipt_head();
        let receipt = self.key.sign(&Receipt {
            job,
            host: self.who.host,
            number: number + 1,
            previous: previous.to_owned(),
            at: (self.clock)(),
            result,
            undo_until,
        })?;
        let record =
            Record::Result { job, seq, trusted, payload_hash, after, receipt: receipt.clone() };
        self.journal.append(&record)?;
        self.disarm();
        self.end_trial();
        Ok(receipt)
    }
}

/// The state that an effect left.
fn after(result: &JobResult) -> Option<Fingerprint> {
    match result {
        JobResult::Applied { after_fingerprint, .. }
        | JobResult::Reverted { after_fingerprint, .. } => Some(after_fingerprint.clone()),
        JobResult::Inspected { .. }
        | JobResult::Verified { .. }
        | JobResult::Facts { .. }
        | JobResult::Refused { .. }
        | JobResult::Failed { .. }
        | JobResult::Unknown { .. } => None,
    }
}

/// The fingerprint of a target that cannot be read.
fn nothing() -> Fingerprint {
    fingerprint(&json!({}))
}

impl From<Refusal> for JobResult {
    fn from(Refusal { code, detail, observed }: Refusal) -> Self {
        Self::Refused { code, detail, observed }
    }
}

/// The checks that did not pass, as one refusal.
fn failed_checks(checks: &[Check]) -> Option<Refusal> {
    let failed: Vec<&str> =
        checks.iter().filter(|check| !check.ok).map(|check| check.detail.as_str()).collect();
    (!failed.is_empty()).then(|| Refusal::new(RefusalCode::CheckFailed, failed.join("; ")))
}
