//! Whether an order may be carried out: every question, in the fixed order, before anything is
//! promised.

use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{
    Authority, Envelope, Job, Order, Prepared, Receipt, RefusalCode, SignedReceipt,
};
use nexplane_core::plan::{Field, Step};
use nexplane_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Runner, RunnerError};
use crate::host::{Host, HostError};
use crate::journal::payload_hash;
use crate::key::order_is_authentic;
use crate::operation::{self, Bound, Observation, TARGET_TYPE};
use crate::policy::Policy;
use crate::snapshot::{Saved, SnapshotError};

/// Longest reason of a refusal, in characters: a part of it may be what an order says.
const DETAIL_LIMIT: usize = 2000;

/// Why the agent will not.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: RefusalCode,
    pub detail: String,
    pub observed: Vec<Field>,
}

impl Refusal {
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_LIMIT) {
            detail.truncate(end);
        }
        Self { code, detail, observed: Vec::new() }
    }

    pub fn drift(detail: impl Into<String>, observed: Vec<Field>) -> Self {
        Self { code: RefusalCode::Drift, detail: detail.into(), observed }
    }
}

/// What to do with an order.
pub(super) enum Admission {
    /// A result is in the journal.
    Answered {
        receipt: SignedReceipt,
        /// The control plane has it, so it has no reason to ask again.
        reported: bool,
    },
    /// Not to be answered: there is no telling which job it is.
    Unreadable,
    /// Not to be answered yet: it is being worked on.
    Ignore,
    Refuse {
        id: JobId,
        seq: u64,
        /// False when not even the signature is right: then its id means nothing.
        trusted: bool,
        refusal: Refusal,
    },
    Run {
        job: Box<Job>,
        work: Work,
    },
}

/// An order that passed every check, ready to run.
pub(super) enum Work {
    CollectFacts,
    Inspect {
        bound: Box<dyn Bound>,
        target: String,
        held: Option<String>,
    },
    Verify {
        bound: Box<dyn Bound>,
        undoes: Option<Earlier>,
    },
    Apply {
        bound: Box<dyn Bound>,
        step: Box<Step>,
        authority: Box<Authority>,
        not_after: Timestamp,
    },
    Revert {
        bound: Box<dyn Bound>,
        step: Box<Step>,
        authority: Box<Authority>,
        not_after: Timestamp,
        saved: Box<Saved>,
    },
}

/// What an earlier effect found and left.
pub(super) struct Earlier {
    pub before: Observation,
    /// Fingerprint of what it left.
    pub left: String,
}

impl Earlier {
    /// What it covered, as it is now.
    ///
    /// # Errors
    /// The host cannot be looked at in any way that finds what it left or found.
    pub fn look(&self, bound: &dyn Bound, host: &dyn Host) -> Result<Observation, HostError> {
        seen(bound, host, &self.before, &[&self.left, &self.before.fingerprint])
    }
}

/// The part of a job that every version of the control plane writes.
#[derive(Deserialize)]
struct Header {
    id: JobId,
    host: HostId,
    seq: u64,
}

impl Runner {
    /// For me? Authentic? New? Understood? In time, approved, allowed, unmoved?
    pub(super) fn admit(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Admission, RunnerError> {
        let Ok(Header { id, host, seq }) = serde_json::from_str(&envelope.payload) else {
            return Ok(Admission::Unreadable);
        };
        let refuse = |trusted, code, detail: String| {
            Ok(Admission::Refuse { id, seq, trusted, refusal: Refusal::new(code, detail) })
        };
        if host != self.who.host {
            let detail = format!("the order is for host {host}, this is {}", self.who.host);
            return refuse(false, RefusalCode::WrongHost, detail);
        }
        if !order_is_authentic(envelope, &self.who.dispatchers) {
            let detail = format!("the signature by key '{}' is not valid", envelope.key_id);
            return refuse(false, RefusalCode::BadSignature, detail);
        }
        let known = self.journal.job(&id);
        if let Some(entry) = known {
            if entry.payload_hash != payload_hash(&envelope.payload) {
                // The id has its result; this order gets none of its own.
                let detail = "another order with this id was accepted before".to_owned();
                return refuse(false, RefusalCode::Replayed, detail);
            }
            return Ok(match self.journal.receipt(&id)? {
                Some(receipt) => Admission::Answered { receipt, reported: entry.reported },
                None => Admission::Ignore,
            });
        }
        if seq <= self.journal.high_water() {
            let reached = self.journal.high_water();
            let detail = format!("sequence number {seq} is not above {reached}");
            return refuse(false, RefusalCode::Replayed, detail);
        }
        let job: Job = match serde_json::from_str(&envelope.payload) {
            Ok(job) => job,
            Err(error) => {
                let detail = format!("this agent does not understand the order: {error}");
                return refuse(true, RefusalCode::UnknownOperation, detail);
            }
        };
        match self.examine(&job, now) {
            Ok(work) => Ok(Admission::Run { job: Box::new(job), work }),
            Err(refusal) => Ok(Admission::Refuse { id, seq, trusted: true, refusal }),
        }
    }

    /// In time, approved, understood, allowed, unmoved?
    pub(super) fn examine(&self, job: &Job, now: Timestamp) -> Result<Work, Refusal> {
        if now < job.not_before {
            let detail = format!("it is {now} here, before {}", job.not_before);
            return Err(Refusal::new(RefusalCode::NotYetValid, detail));
        }
        if now >= job.not_after {
            let detail = format!("it is {now} here, the order ended at {}", job.not_after);
            return Err(Refusal::new(RefusalCode::Expired, detail));
        }
        match &job.order {
            Order::CollectFacts => {
                self.policy()?;
                Ok(Work::CollectFacts)
            }
            Order::Inspect { operation, target, parameters } => {
                let bound = bind(operation, parameters, None)?;
                let policy = self.allowed(operation, bound.as_ref())?;
                let held = policy.hold.then(|| "the host's owner holds all changes".to_owned());
                Ok(Work::Inspect { bound, target: target.clone(), held })
            }
            Order::Verify { operation, target: _, parameters, prepared, undoes } => {
                let bound = bind(operation, parameters, prepared.as_ref())?;
                self.allowed(operation, bound.as_ref())?;
                let undoes = undoes.and_then(|job| self.earlier(&job, operation, parameters));
                Ok(Work::Verify { bound, undoes })
            }
            Order::Apply { step, authority, prepared } => {
                self.check_plan(step, authority)?;
                let mut bound = bind(&step.action, &step.parameters, prepared.as_ref())?;
                bound
                    .take_step(step)
                    .map_err(|detail| Refusal::new(RefusalCode::PlanMismatch, detail))?;
                self.check_policy(step, authority, bound.as_ref())?;
                self.check_unmoved(bound.as_ref(), &authority.precondition)?;
                let (step, authority) = (step.clone(), authority.clone());
                Ok(Work::Apply { bound, step, authority, not_after: job.not_after })
            }
            Order::Revert { step, undoes, authority } => {
                self.check_plan(step, authority)?;
                let (saved, after) = self.undoable(step, undoes)?;
                let bound = bind(&saved.operation, &saved.parameters, None)?;
                self.check_policy(step, authority, bound.as_ref())?;
                let earlier = Earlier { before: saved.before.clone(), left: after };
                self.check_as_left(bound.as_ref(), &earlier, &authority.precondition)?;
                let saved = Box::new(saved);
                let (step, authority) = (step.clone(), authority.clone());
                Ok(Work::Revert { bound, step, authority, not_after: job.not_after, saved })
            }
        }
    }

    /// The step belongs to the approved plan, and its target is this host.
    fn check_plan(&self, step: &Step, authority: &Authority) -> Result<(), Refusal> {
        let mismatch = |detail: String| Err(Refusal::new(RefusalCode::PlanMismatch, detail));
        if !authority.proof.covers(step, &authority.plan_digest) {
            return mismatch(format!("step {} is not part of the approved plan", step.no));
        }
        let key = &step.target.external_key;
        let is_me = *key == self.who.host.to_string() || *key == self.who.name;
        if step.target.kind != TARGET_TYPE || !is_me {
            let kind = &step.target.kind;
            return mismatch(format!("step {} was approved for {kind} '{key}'", step.no));
        }
        Ok(())
    }

    /// What was saved before the job that is to be undone, and the fingerprint that it left.
    fn undoable(&self, step: &Step, undoes: &JobId) -> Result<(Saved, String), Refusal> {
        let gone = |detail: String| Refusal::new(RefusalCode::NoSnapshot, detail);
        let after = self
            .journal
            .job(undoes)
            .and_then(|entry| entry.after.clone())
            .ok_or_else(|| gone(format!("the journal has no effect of job {undoes}")))?;
        let saved =
            self.snapshots.load(undoes).map_err(|error| gone(self.sentence(undoes, error)))?;
        let same_step =
            step.undoes.is_some_and(|undone| undone.run == saved.run && undone.step == saved.step);
        if !same_step || step.action != saved.operation || step.parameters != saved.parameters {
            let detail = format!("the approved step does not undo what job {undoes} did");
            return Err(Refusal::new(RefusalCode::PlanMismatch, detail));
        }
        Ok((saved, after))
    }

    /// What a job found and left that did the same with the same parameters, as far as that is kept.
    fn earlier(&self, job: &JobId, operation: &str, parameters: &Value) -> Option<Earlier> {
        let left = self.journal.job(job)?.after.clone()?;
        let saved = self.snapshots.load(job).ok()?;
        let is_same = saved.operation == operation && saved.parameters == *parameters;
        is_same.then_some(Earlier { before: saved.before, left })
    }

    /// Why there is no before-state, with the time for which it was promised.
    fn sentence(&self, job: &JobId, error: SnapshotError) -> String {
        let promised = || {
            let receipt = self.journal.receipt(job).ok()??;
            serde_json::from_str::<Receipt>(&receipt.payload).ok()?.undo_until
        };
        let error = match error {
            SnapshotError::Missing { path, until } => {
                SnapshotError::Missing { path, until: until.or_else(promised) }
            }
            other @ (SnapshotError::Io { .. }
            | SnapshotError::Full { .. }
            | SnapshotError::Damaged { .. }) => other,
        };
        error.to_string()
    }

    fn policy(&self) -> Result<Policy, Refusal> {
        self.policy
            .load()
            .map_err(|error| Refusal::new(RefusalCode::LocalPolicy, error.to_string()))
    }

    fn allowed(&self, operation: &str, bound: &dyn Bound) -> Result<Policy, Refusal> {
        let policy = self.policy()?;
        policy
            .check_reach(operation, &bound.paths())
            .map_err(|detail| Refusal::new(RefusalCode::LocalPolicy, detail))?;
        Ok(policy)
    }

    fn check_policy(
        &self,
        step: &Step,
        authority: &Authority,
        bound: &dyn Bound,
    ) -> Result<(), Refusal> {
        self.allowed(&step.action, bound)?
            .check_effect(&authority.approvals)
            .map_err(|detail| Refusal::new(RefusalCode::LocalPolicy, detail))
    }

    /// The target still has the fingerprint that the order names.
    fn check_unmoved(&self, bound: &dyn Bound, expected: &str) -> Result<(), Refusal> {
        let now = bound.snapshot(self.host.as_ref()).map_err(unreadable)?;
        unmoved(now, expected)
    }

    /// The target is still as the job left it that is to be undone, or as it found it, and the order says so.
    fn check_as_left(
        &self,
        bound: &dyn Bound,
        earlier: &Earlier,
        expected: &str,
    ) -> Result<(), Refusal> {
        let now = earlier.look(bound, self.host.as_ref()).map_err(unreadable)?;
        if now.fingerprint == earlier.before.fingerprint {
            return unmoved(now, expected);
        }
        unmoved(now.clone(), &earlier.left)?;
        unmoved(now, expected)
    }
}

/// The target with the eyes of an effect that began at `before`: what there is to be seen besides, or not any
/// more, may be another today. Of the ways to look it is the one that finds something `known`, if any does.
pub(super) fn seen(
    bound: &dyn Bound,
    host: &dyn Host,
    before: &Observation,
    known: &[&str],
) -> Result<Observation, HostError> {
    let is_known = |found: &Observation| known.contains(&found.fingerprint.as_str());
    let afresh = bound.snapshot(host)?;
    if is_known(&afresh) {
        return Ok(afresh);
    }
    // What it went to tells how far it went, unless that cannot be found out any more. What it was not to leave,
    // and somebody has left since, is not passed over.
    let as_far = bound.intended(host, before).and_then(|to| bound.reread(host, &to)).ok();
    let as_far = as_far.filter(|found| agree(found, &afresh));
    if let Some(as_far) = as_far.clone().filter(is_known) {
        return Ok(as_far);
    }
    let as_begun = bound.reread(host, before).ok();
    Ok(as_begun.filter(is_known).or(as_far).unwrap_or(afresh))
}

/// Whether two looks say the same of whatever both see.
fn agree(one: &Observation, other: &Observation) -> bool {
    let seen = |field: &Field| other.fields.iter().find(|seen| seen.name == field.name);
    one.fields.iter().all(|field| seen(field).is_none_or(|seen| seen.value == field.value))
}

fn unmoved(now: Observation, expected: &str) -> Result<(), Refusal> {
    if now.fingerprint == expected {
        Ok(())
    } else {
        Err(Refusal::drift("the target is not as it was when the plan was made", now.fields))
    }
}

/// A before-state that cannot be captured; for a file that should be there, that is drift.
pub(super) fn unreadable(error: HostError) -> Refusal {
    match error {
        HostError::Missing { .. } => Refusal::drift(error.sentence(), Vec::new()),
        HostError::Denied { .. }
        | HostError::Unsafe { .. }
        | HostError::TooLarge { .. }
        | HostError::Moved { .. }
        | HostError::UnknownName { .. }
        | HostError::Io { .. }
        | HostError::Package { .. }
        | HostError::Unplanned { .. }
        | HostError::Service { .. }
        | HostError::Item { .. }
        | HostError::Unsupported { .. }
        | HostError::BadState(..) => Refusal::new(RefusalCode::NoSnapshot, error.sentence()),
    }
}

fn bind(
    operation: &str,
    parameters: &Value,
    prepared: Option<&Prepared>,
) -> Result<Box<dyn Bound>, Refusal> {
    let Some(entry) = operation::find(operation) else {
        let detail = format!("this agent has no operation '{operation}'");
        return Err(Refusal::new(RefusalCode::UnknownOperation, detail));
    };
    entry
        .bind_prepared(parameters, prepared)
        .map_err(|error| Refusal::new(RefusalCode::InvalidParameters, error.to_string()))
}
