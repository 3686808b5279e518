//! What can be asked of a run. All of it is the runtime's, but for the wish to cancel it.

use serde_json::Value;
use uuid::Uuid;

use crate::change::event::Produced;
use crate::freeze::InTheWay;
use crate::id::{ChangeId, PersonId, RunId};
use crate::plan::{Field, Fingerprint, Plan};
use crate::rollout::event::Part;
use crate::run::begin::Terms;
use crate::run::event::{Captured, Finding, LateReport, Reason};
use crate::time::Timestamp;

/// Why a rollout begins nothing further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Until somebody lets it go on.
    Paused,
    /// For good.
    Stopped { reason: String },
}

#[derive(Clone, Debug)]
pub enum RunCommand {
    Start {
        change: ChangeId,
        plan: Box<Plan>,
        approvals: Vec<PersonId>,
        undoes: Option<RunId>,
        /// Of a rollout.
        part: Option<Part>,
    },
    /// Takes over; `after` is the epoch that the worker saw.
    Claim {
        worker: Uuid,
        after: u32,
    },
    /// The only gate in front of an effect.
    Intend {
        step: u32,
        epoch: u32,
        key: String,
        before: Captured,
        in_the_way: InTheWay,
        /// The rollout that it is a part of is not to begin anything.
        held: Option<Held>,
        /// Of an execution of which nothing was sent.
        terms: Option<Terms>,
    },
    Succeed {
        step: u32,
        epoch: u32,
        outcome: Value,
        produced: Vec<Produced>,
        /// Until when the target says that it can be undone, if it does.
        undo_until: Option<Timestamp>,
    },
    Fail {
        step: u32,
        epoch: u32,
        reason: Reason,
    },
    /// Nobody can know what became of the intent.
    LoseSight {
        step: u32,
        epoch: u32,
        reason: Reason,
    },
    Reconcile {
        step: u32,
        epoch: u32,
        finding: Finding,
        evidence: String,
        observed: Vec<Field>,
        produced: Vec<Produced>,
    },
    Verify {
        step: u32,
        epoch: u32,
        observed: Vec<Field>,
        fingerprint: Fingerprint,
    },
    Unverify {
        step: u32,
        epoch: u32,
        observed: Vec<Field>,
        reason: Reason,
    },
    Block {
        step: u32,
        epoch: u32,
        before: Vec<Field>,
        after: Vec<Field>,
        now: Vec<Field>,
        reason: Reason,
    },
    /// By an operator or a responder: no further step is to begin.
    AskCancel {
        /// 1–2,000 characters.
        reason: String,
    },
    /// What came of an effect, by the epoch that had sent it and is fenced off since.
    ReportLate {
        step: u32,
        epoch: u32,
        report: LateReport,
    },
    /// Ends the run if its steps say that it has ended.
    Finish {
        epoch: u32,
    },
}
