//! What can be told of a run when what a target answered cannot be stored, such as text that no record can have.
//!
//! A run that could not be told would be left and taken up for ever. The words are ours then; that nothing was
//! sent, that it is not known, or that it is not as intended is said all the same.

use serde_json::Value;

use crate::run::command::RunCommand;
use crate::run::event::{LateReport, Reason};

/// Of such a reason.
pub const UNSTORABLE: &str = "unstorable";

impl RunCommand {
    /// The same without anything that a target said; `None` for what has nothing of that.
    #[must_use]
    pub fn bare(&self) -> Option<Self> {
        use RunCommand as C;
        let reason = || Reason {
            kind: UNSTORABLE.to_owned(),
            message: "What the target answered cannot be stored.".to_owned(),
        };
        let nothing = Vec::new;
        match self {
            // An intent has what was read before it: the step does not begin.
            C::Intend { step, epoch, .. } | C::Block { step, epoch, .. } => Some(C::Block {
                step: *step,
                epoch: *epoch,
                before: nothing(),
                after: nothing(),
                now: nothing(),
                reason: reason(),
            }),
            C::Fail { step, epoch, reason: _ } => {
                Some(C::Fail { step: *step, epoch: *epoch, reason: reason() })
            }
            // Reading the target says whether it was.
            C::Succeed { step, epoch, .. } | C::LoseSight { step, epoch, .. } => {
                Some(C::LoseSight { step: *step, epoch: *epoch, reason: reason() })
            }
            C::Reconcile { step, epoch, finding, produced, evidence: _, observed: _ } => {
                Some(C::Reconcile {
                    step: *step,
                    epoch: *epoch,
                    finding: *finding,
                    evidence: reason().message,
                    observed: nothing(),
                    produced: produced.clone(),
                })
            }
            C::Verify { step, epoch, .. } | C::Unverify { step, epoch, .. } => Some(C::Unverify {
                step: *step,
                epoch: *epoch,
                observed: nothing(),
                reason: reason(),
            }),
            C::ReportLate { step, epoch, report } => {
                let report = match report {
                    LateReport::Succeeded { outcome: _, produced } => {
                        LateReport::Succeeded { outcome: Value::Null, produced: produced.clone() }
                    }
                    LateReport::Failed { reason: _ } => LateReport::Failed { reason: reason() },
                    LateReport::Unknown { reason: _ } => LateReport::Unknown { reason: reason() },
                };
                Some(C::ReportLate { step: *step, epoch: *epoch, report })
            }
            C::Start { .. } | C::Claim { .. } | C::AskCancel { .. } | C::Finish { .. } => None,
        }
    }
}
