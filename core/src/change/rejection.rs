//! Every "no" of a change.

use crate::aggregate::Reject;
use crate::freeze::{Dependency, Frozen, Meeting, meetings, names, phrase};
use crate::id::{ChangeId, ProjectId};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRejection {
    #[error("This change exists already.")]
    Exists,
    #[error("There is no such change.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The change is {state}; {wanted}.")]
    NotInState { state: &'static str, wanted: &'static str },
    #[error("The change has no plan. Plan it first, so that approvers see what will happen.")]
    PlanMissing,
    #[error("The plan is more than an hour old. Plan again, so that it shows the target of now.")]
    PlanOutdated,
    #[error(
        "The plan was made under policy version {planned}, and version {current} is in force. Plan again, and the change is judged by what is asked now."
    )]
    PlanOfOtherPolicy { planned: u32, current: u32 },
    #[error("Policy version {version} does not let it be submitted: {rule}.")]
    RefusedByPolicy { version: u32, rule: String },
    #[error("The plan's checks failed: {checks}. Put that right and plan again.")]
    PlanNotReady { checks: String },
    #[error(
        "The target is not what it was when the plan was made ({moved}). Plan again and have the new plan approved."
    )]
    PlanMoved { moved: String },
    #[error(
        "This approval names another plan than the one that was submitted. Reload the change, read the plan, and approve that."
    )]
    StaleDigest,
    #[error(
        "Author and editors of a change never approve it. Somebody else with the approver role has to."
    )]
    OwnApproval,
    #[error(
        "They have not delegated approving to you, or not for this moment, or may not approve any more. Ask them, or an admin, for a delegation."
    )]
    NotDelegated,
    #[error(
        "This approval is counted already: nobody counts twice in a quorum, neither as who gives an approval nor as who it is given for."
    )]
    ApprovedAlready,
    #[error(
        "The approvals that are still missing have to be of those whom the policy names: {rule}."
    )]
    NotNamed { rule: String },
    #[error("Nobody could approve it as the policy asks ({rule}): {problem}.")]
    NoApprover { rule: String, problem: String },
    #[error(
        "{given} of {needed} approvals are given{admin}. It can run once the quorum is complete."
    )]
    QuorumMissing { given: u32, needed: u32, admin: &'static str },
    #[error("The approvals ran out at {until}. Plan and submit again.")]
    ApprovalExpired { until: Timestamp },
    #[error("It may not run before {not_before}: {why}.")]
    TooEarly { not_before: Timestamp, why: &'static str },
    #[error("Its window ended at {end}. Edit the window and have the change approved again.")]
    WindowOver { end: Timestamp },
    #[error(
        "It is frozen: {in_the_way} forbids to approve or execute it. Wait for the end, or ask a responder to override each freeze for this change.",
        in_the_way = phrase(frozen)
    )]
    Frozen { frozen: Vec<Frozen> },
    #[error(
        "The maintenance window “{window}” covers it and never opens again. Ask an admin to define another one, or a responder to override the windows for this change."
    )]
    NeverOpens { window: String },
    #[error(
        "Its window opens at {opens}, and by {end} it can no longer start: its own window ends then, or its approvals run out. Edit its window, or have it approved again closer to the time."
    )]
    OpensTooLate { opens: Timestamp, end: Timestamp },
    #[error(
        "It comes after {missing}. It can be executed once all of that is complete.",
        missing = names(waits_for)
    )]
    DependencyMissing { waits_for: Vec<Dependency> },
    #[error(
        "Another change that it meets comes first, and the policy has the second one wait outside: {first} Have it executed once that has ended.",
        first = meetings(meets)
    )]
    Conflict { meets: Vec<Meeting> },
    #[error(
        "The change is a member of another project that is open. Remove it there, or close that project."
    )]
    InOtherProject { project: ProjectId },
    #[error("No maintenance window holds the change up, so there is nothing to override.")]
    NoWindow,
    #[error("This freeze does not cover the change, so there is nothing to override.")]
    NotCovered,
    #[error(
        "Author and editors of a change never override a freeze or a window, nor break glass, for it. Another responder has to."
    )]
    OwnOverride,
    #[error("Nothing that responders did for this change waits for a review.")]
    NoReviewDue,
    #[error(
        "Author and editors of a change, and whoever overrode a freeze or a window or broke glass for it, do not review it. Somebody else has to."
    )]
    OwnReview,
    #[error(
        "The rule that it was submitted under does not let glass be broken: {rule}. It needs what the rule asks for."
    )]
    GlassNotAllowed { rule: String },
    #[error(
        "You broke glass before, and nobody has reviewed that in time. Have somebody else review it first."
    )]
    ReviewOverdue { overdue: Vec<ChangeId> },
    #[error(
        "Author and editors of a change never settle what became of it. Another operator or admin has to look at the target."
    )]
    OwnSettlement,
    #[error(
        "The target can be read again, and says the opposite. Look at it once more before you settle what became of the change."
    )]
    FindingContradicted,
    #[error("Later changes to the same asset have to be rolled back first, newest first.")]
    OutOfOrderRollback { blocking: Vec<ChangeId> },
    #[error("This change cannot be undone: {why}.")]
    OneWay { why: String },
    #[error(
        "It can no longer be undone: what it was before was kept until {until}. Make a new change that sets what is wanted."
    )]
    TooLateToUndo { until: Timestamp },
    #[error("This change produced no such secret.")]
    NoSuchSecret,
    #[error("This secret was handed over before; it is shown once. Rotate it to get a new one.")]
    AlreadyRevealed,
}

impl Reject for ChangeRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "change.exists",
            Self::NotFound | Self::NoSuchSecret => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::NotInState { .. } => "change.not_in_state",
            Self::PlanMissing => "change.plan_missing",
            Self::PlanOutdated | Self::PlanOfOtherPolicy { .. } => "change.plan_outdated",
            Self::RefusedByPolicy { .. } => "change.refused_by_policy",
            Self::PlanNotReady { .. } => "change.plan_not_ready",
            Self::PlanMoved { .. } => "change.plan_moved",
            Self::StaleDigest => "change.stale_digest",
            Self::OwnApproval => "change.own_approval",
            Self::NotDelegated => "change.not_delegated",
            Self::ApprovedAlready => "change.approved_already",
            Self::NotNamed { .. } => "change.not_named",
            Self::NoApprover { .. } => "change.no_approver",
            Self::QuorumMissing { .. } => "change.quorum_missing",
            Self::ApprovalExpired { .. } => "change.approval_expired",
            Self::TooEarly { .. } => "change.too_early",
            Self::WindowOver { .. } => "change.window_over",
            Self::Frozen { .. } => "change.frozen",
            Self::NeverOpens { .. } => "change.never_opens",
            Self::OpensTooLate { .. } => "change.opens_too_late",
            Self::DependencyMissing { .. } => "change.dependency_missing",
            Self::Conflict { .. } => "change.conflict",
            Self::InOtherProject { .. } => "change.in_other_project",
            Self::NoWindow => "change.no_window",
            Self::NotCovered => "change.not_covered",
            Self::OwnOverride => "change.own_override",
            Self::NoReviewDue => "change.no_review_due",
            Self::OwnReview => "change.own_review",
            Self::GlassNotAllowed { .. } => "change.glass_not_allowed",
            Self::ReviewOverdue { .. } => "change.review_overdue",
            Self::OwnSettlement => "change.own_settlement",
            Self::FindingContradicted => "change.finding_contradicted",
            Self::OutOfOrderRollback { .. } => "change.out_of_order_rollback",
            Self::OneWay { .. } => "change.one_way",
            Self::TooLateToUndo { .. } => "rollback.too_late",
            Self::AlreadyRevealed => "secret.already_revealed",
        }
    }
}
