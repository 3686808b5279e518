//! One struct per phase: a field that makes no sense in a phase does not exist there.

use std::collections::BTreeSet;

use crate::change::event::{Beforehand, Draft, Produced, Quorum};
use crate::id::{ChangeId, FreezeId, PersonId, ProjectId, RunId, ScheduleId, SecretId};
use crate::plan::{Plan, PlanHeader};
use crate::risk::Environment;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default)]
pub enum ChangeState {
    #[default]
    Absent,
    Draft(Drafting),
    Submitted(Submission),
    Approved(Approval),
    Executing(Execution),
    Finished(Finish),
    Closed(Closing),
}

/// What a change is about, in every phase.
#[derive(Clone, Debug)]
pub struct Subject {
    pub author: PersonId,
    pub editors: BTreeSet<PersonId>,
    pub draft: Draft,
    pub rollback_of: Option<ChangeId>,
    /// The one that made it.
    pub schedule: Option<ScheduleId>,
    /// The one that it joined last. It is a member of it only if the project says so.
    pub project: Option<ProjectId>,
    pub overrides: Overrides,
}

/// What responders did so that it may pass freezes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Freezes that the plan in review, or in execution, passes. A reopened review voids them.
    pub standing: BTreeSet<FreezeId>,
    /// It need not wait for maintenance windows. A reopened review voids that, too.
    pub windows: bool,
    /// Who ever overrode something or broke glass, until somebody has reviewed it.
    pub unreviewed: BTreeSet<PersonId>,
}

impl Overrides {
    /// The plan in review is another one now.
    pub(super) fn void(&mut self) {
        self.standing.clear();
        self.windows = false;
    }
}

impl Subject {
    /// Author or editor: one who may not approve.
    pub fn is_own(&self, person: PersonId) -> bool {
        self.author == person || self.editors.contains(&person)
    }

    /// Whether a plan with this header is one of the change as it is now. Reading the target takes a
    /// while, in which somebody may edit; then the digest would cover neither what they wrote nor
    /// that they did.
    pub fn is_planned_by(&self, header: &PlanHeader) -> bool {
        header.change_type == self.draft.change_type
            && header.connection == self.draft.connection
            && header.targets == self.draft.targets
            && header.parameters == self.draft.parameters
            && header.auto_rollback == self.draft.auto_rollback
            && header.author == self.author
            && header.editors.iter().eq(&self.editors)
            && header.rollback_of == self.rollback_of
            && header.rollout == self.draft.rollout
    }
}

#[derive(Clone, Debug)]
pub struct Drafting {
    pub subject: Subject,
    pub plan: Option<Box<Plan>>,
}

#[derive(Clone, Debug)]
pub struct Submission {
    pub subject: Subject,
    pub plan: Box<Plan>,
    pub environment: Environment,
    /// Of its targets, when it was submitted.
    pub tags: BTreeSet<String>,
    pub quorum: Quorum,
    /// In the order in which they were given; the oldest of them may have run out.
    pub approvals: Vec<Given>,
    /// Who broke glass for this plan, and stands for the quorum.
    pub glass: Option<PersonId>,
    /// Set on a rollback that was approved together with the change that it undoes.
    pub beforehand: Option<Beforehand>,
}

/// One approval of the submitted plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub by: PersonId,
    pub at: Timestamp,
    pub as_admin: bool,
    /// Whose it is, when that is not who gave it.
    pub delegator: Option<PersonId>,
}

#[derive(Clone, Debug)]
pub struct Approval {
    pub submission: Submission,
    /// When the quorum was complete.
    pub since: Timestamp,
    pub not_before: Timestamp,
    pub until: Timestamp,
    pub scheduled: Option<Scheduled>,
}

/// Somebody asked for the execution, which waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub by: PersonId,
    pub opens: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Execution {
    pub subject: Subject,
    pub plan: Box<Plan>,
    pub environment: Environment,
    /// Of its targets, when it was submitted.
    pub tags: BTreeSet<String>,
    pub approvers: Vec<PersonId>,
    pub run: RunId,
    /// Until when all that it did can be undone, once it has ended; no limit is known when absent.
    pub undo_until: Option<Timestamp>,
    pub started: Timestamp,
    /// When what approved it runs out: nothing of it begins after that.
    pub approved_until: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Finish {
    pub execution: Execution,
    pub how: Outcome,
    pub secrets: Vec<Produced>,
    pub revealed: BTreeSet<SecretId>,
}

/// How an execution ended, and what became of undoing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Complete,
    Failed,
    Unknown,
    RollingBack { rollback: ChangeId, run: RunId },
    RolledBack,
    RollbackPartial,
    RollbackBlocked,
}

#[derive(Clone, Debug)]
pub struct Closing {
    pub subject: Subject,
    pub how: Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Rejected,
    Cancelled,
    Expired,
}

impl ChangeState {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Draft(_) => "a draft",
            Self::Submitted(_) => "submitted",
            Self::Approved(Approval { scheduled: Some(_), .. }) => "scheduled",
            Self::Approved(_) => "approved",
            Self::Executing(_) => "executing",
            Self::Finished(finish) => match finish.how {
                Outcome::Complete => "complete",
                Outcome::Failed => "failed",
                Outcome::Unknown => "of unknown outcome",
                Outcome::RollingBack { .. } => "being rolled back",
                Outcome::RolledBack => "rolled back",
                Outcome::RollbackPartial => "partly rolled back",
                Outcome::RollbackBlocked => "blocked in its rollback",
            },
            Self::Closed(closing) => match closing.how {
                Closed::Rejected => "rejected",
                Closed::Cancelled => "cancelled",
                Closed::Expired => "expired",
            },
        }
    }

    pub(super) const fn subject_mut(&mut self) -> Option<&mut Subject> {
        match self {
            Self::Absent => None,
            Self::Draft(phase) => Some(&mut phase.subject),
            Self::Submitted(phase) => Some(&mut phase.subject),
            Self::Approved(phase) => Some(&mut phase.submission.subject),
            Self::Executing(phase) => Some(&mut phase.subject),
            Self::Finished(phase) => Some(&mut phase.execution.subject),
            Self::Closed(phase) => Some(&mut phase.subject),
        }
    }

    pub const fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Absent => None,
            Self::Draft(phase) => Some(&phase.subject),
            Self::Submitted(phase) => Some(&phase.subject),
            Self::Approved(phase) => Some(&phase.submission.subject),
            Self::Executing(phase) => Some(&phase.subject),
            Self::Finished(phase) => Some(&phase.execution.subject),
            Self::Closed(phase) => Some(&phase.subject),
        }
    }

    /// The environment that it was submitted for, from then on.
    pub const fn environment(&self) -> Option<Environment> {
        match self {
            Self::Absent | Self::Draft(_) | Self::Closed(_) => None,
            Self::Submitted(phase) => Some(phase.environment),
            Self::Approved(phase) => Some(phase.submission.environment),
            Self::Executing(phase) => Some(phase.environment),
            Self::Finished(phase) => Some(phase.execution.environment),
        }
    }

    /// The tags that its targets had when it was submitted, from then on.
    pub const fn tags(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Absent | Self::Draft(_) | Self::Closed(_) => None,
            Self::Submitted(phase) => Some(&phase.tags),
            Self::Approved(phase) => Some(&phase.submission.tags),
            Self::Executing(phase) => Some(&phase.tags),
            Self::Finished(phase) => Some(&phase.execution.tags),
        }
    }

    /// The current plan.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Absent | Self::Closed(_) => None,
            Self::Draft(phase) => phase.plan.as_deref(),
            Self::Submitted(phase) => Some(&phase.plan),
            Self::Approved(phase) => Some(&phase.submission.plan),
            Self::Executing(phase) => Some(&phase.plan),
            Self::Finished(phase) => Some(&phase.execution.plan),
        }
    }
}

impl Submission {
    /// The approvals that have not run out.
    pub fn standing(&self, at: Timestamp) -> impl Iterator<Item = &Given> {
        let valid_s = i64::from(self.quorum.valid_s);
        self.approvals.iter().filter(move |given| at < given.at.plus_seconds(valid_s))
    }

    /// Adds an approval; those that have run out by then no longer count.
    pub(super) fn add(&mut self, given: Given) {
        self.approvals = self.standing(given.at).copied().chain([given]).collect();
    }

    /// Whether the quorum is complete.
    pub fn is_complete(&self) -> bool {
        let given = u32::try_from(self.approvals.len()).unwrap_or(u32::MAX);
        given >= self.quorum.approvals
            && (!self.quorum.admin || self.approvals.iter().any(|given| given.as_admin))
            && self.seats_lack() == 0
    }
}
