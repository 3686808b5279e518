//! What has to hold when the first effect of an execution is about to be sent, and until when a step may begin.
//!
//! An execution was started under an approval, a window and a project. Between that and its first intent it
//! may wait: for its turn at a target, for a worker, for the database. What has run out by then does not
//! begin. What has begun is not held up by that any more: it began in time, and half of it is the worse
//! half. Freezes and maintenance windows are asked at every intent, and so is the time that the plan gives
//! the run in total.

use crate::change::Execution;
use crate::freeze::{Dependency, names};
use crate::id::ChangeId;
use crate::project::ProjectState;
use crate::run::rejection::RunRejection;
use crate::run::state::{Running, StepPhase};
use crate::time::Timestamp;

/// What an execution of which nothing was sent was started under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When the approvals run out.
    pub(super) until: Timestamp,
    /// The end of the window of the change itself.
    pub(super) window_end: Option<Timestamp>,
    /// What became of its project after it was started, such as `going back`.
    pub(super) project: Option<&'static str>,
    /// What it comes after in its project, and is not complete.
    pub(super) waits_for: Vec<Dependency>,
}

/// Why an execution does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbegun {
    #[error("its approvals ran out at {until}")]
    ApprovalExpired { until: Timestamp },
    #[error("its window ended at {end}")]
    WindowOver { end: Timestamp },
    #[error("its project is {now}")]
    ProjectStopped { now: &'static str },
    #[error("it comes after {missing}", missing = names(waits_for))]
    DependencyMissing { waits_for: Vec<Dependency> },
}

impl Unbegun {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ApprovalExpired { .. } => "run.approval_expired",
            Self::WindowOver { .. } => "run.window_over",
            Self::ProjectStopped { .. } => "run.project_stopped",
            Self::DependencyMissing { .. } => "run.dependency_missing",
        }
    }
}

impl Terms {
    /// Of a change that executes; the project is the one that it joined last.
    pub fn of(
        change: ChangeId,
        execution: &Execution,
        project: Option<&ProjectState>,
        waits_for: Vec<Dependency>,
    ) -> Self {
        let stopped = |project: &ProjectState| project.stopped_since(change, execution.started);
        Self {
            until: execution.approved_until,
            window_end: execution.subject.draft.window.map(|window| window.end),
            project: project.and_then(stopped),
            waits_for,
        }
    }

    /// Why it does not begin at this moment; it will not at a later one, either.
    fn broken(&self, at: Timestamp) -> Option<Unbegun> {
        let Self { until, window_end, project, waits_for } = self;
        if at >= *until {
            return Some(Unbegun::ApprovalExpired { until: *until });
        }
        if let Some(end) = window_end.filter(|end| at >= *end) {
            return Some(Unbegun::WindowOver { end });
        }
        if let Some(now) = *project {
            return Some(Unbegun::ProjectStopped { now });
        }
        if !waits_for.is_empty() {
            return Some(Unbegun::DependencyMissing { waits_for: waits_for.clone() });
        }
        None
    }
}

impl Running {
    /// When its time in total is over.
    pub fn ends_by(&self) -> Option<Timestamp> {
        let limit = self.plan.header.limit_s?;
        Some(self.started.plus_seconds(i64::from(limit)))
    }

    /// Whether a step may begin at this moment. `terms` are those of an execution of which nothing was sent:
    /// of a part, none once another part has begun.
    pub fn may_begin(&self, at: Timestamp, terms: Option<&Terms>) -> Result<(), RunRejection> {
        if let Some(end) = self.ends_by().filter(|end| at >= *end) {
            let (done, of) = self.progress();
            return Err(RunRejection::TimeOver { end, done, of });
        }
        match terms.filter(|_| !self.has_begun).and_then(|terms| terms.broken(at)) {
            Some(why) => Err(RunRejection::NotBegun { why }),
            None => Ok(()),
        }
    }

    /// How many of its steps are done.
    pub(super) fn progress(&self) -> (usize, usize) {
        let done = self.steps.iter().filter(|s| matches!(s, StepPhase::Verified(_))).count();
        (done, self.steps.len())
    }
}
