//! The rules, each with a stable code and the sentence that a log has to keep.

use serde::Serialize;

macro_rules! rules {
    ($($name:ident $code:literal $sentence:literal;)*) => {
        /// One rule that every log keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($name,)*
        }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Stable, for programs: `audit.self_approval`.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// What holds in a log that keeps the rule.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

rules! {
    AfterTheEnd "audit.after_the_end"
        "Nothing follows in the stream of a change or a run that is closed.";
    ApprovalTimes "audit.approval_times"
        "A complete quorum lets a change run only after the delay and within the validity that its policy asks for.";
    ApprovedTwice "audit.approved_twice"
        "Nobody counts twice in the quorum of a plan, neither as who gives an approval nor as who it is given for.";
    BackOutOfOrder "audit.back_out_of_order"
        "A project that goes back undoes its members newest first.";
    BeforehandUnfounded "audit.beforehand_unfounded"
        "Only Nexplane itself submits what was approved beforehand: the rollback of a change that says in its approved plan that it goes back, and whose run failed.";
    BegunLate "audit.begun_late"
        "The first step of an execution is intended while its approvals are valid and inside the window of its change, and not after its project was closed or had to go back.";
    ByProgram "audit.by_program"
        "No program of a person and no agent submits a change, or has it executed.";
    ChangeOutcome "audit.change_outcome"
        "A change ends as its run ended.";
    ClaimOutOfOrder "audit.claim_out_of_order"
        "The claims of a run count up by one.";
    DelegationUnfounded "audit.delegation_unfounded"
        "Whoever approves for somebody else has a delegation of theirs that stands at that moment, and that they did not give to themselves.";
    DependencyIgnored "audit.dependency_ignored"
        "A member of an open project starts, and intends its first step, only when every member that it comes after is complete.";
    ForeignDigest "audit.foreign_digest"
        "What is submitted, approved, executed and run is one plan, by its digest.";
    ForeignType "audit.foreign_type"
        "The type of an event belongs to the category of its stream.";
    Frozen "audit.frozen"
        "No execution starts and no step is intended inside a freeze that covers it, unless the change's own stream overrides that freeze first, for the same plan.";
    GlassUnfounded "audit.glass_unfounded"
        "Glass is broken only where the rule of the submission, and the policy that it was submitted under, let that be.";
    GlassUnreviewed "audit.glass_unreviewed"
        "Nobody breaks glass while the review of an earlier time is overdue.";
    IntentAfterCancel "audit.intent_after_cancel"
        "No step is intended after somebody asked to cancel its run.";
    IntentAfterTime "audit.intent_after_time"
        "No step is intended after the time that its plan gives the run in total.";
    IntentOutOfOrder "audit.intent_out_of_order"
        "Steps are intended in the order of the plan, each after the one before it is verified, and again only when the last attempt is known to have had no effect.";
    IntentUnclaimed "audit.intent_unclaimed"
        "An intent is made under the newest claim of its run.";
    LateReportUnfounded "audit.late_report_unfounded"
        "What is reported late is of an intent of an epoch that was fenced off, on which that epoch had not reported.";
    NotAPerson "audit.not_a_person"
        "Approvals and overrides of freezes and windows are given, glass is broken, that is reviewed, unknown outcomes settled, runs cancelled, and paused rollouts let go on, by people who are signed in.";
    NotApproved "audit.not_approved"
        "Only an approved change starts to execute.";
    OutOfOrder "audit.out_of_order"
        "Every event of a change can follow those before it.";
    OutcomeWithoutIntent "audit.outcome_without_intent"
        "Every intent has one outcome, and every outcome an intent of the epoch that reports it.";
    OutsideApproval "audit.outside_approval"
        "An execution starts while its approvals are valid.";
    OutsideMaintenance "audit.outside_maintenance"
        "What a maintenance window covers starts, and intends each of its steps, while one is open, unless the change's own stream overrides the windows first, for the same plan.";
    OutsideWindow "audit.outside_window"
        "An execution starts inside the window of its change.";
    PlanAltered "audit.plan_altered"
        "The digest of a plan is the one that its content has.";
    PlanOfAnother "audit.plan_of_another"
        "A plan is of this change: its request, its author and its editors as the stream knows them.";
    PolicyBelowFloor "audit.policy_below_floor"
        "Every published policy keeps the floor that no policy may pass.";
    PolicyOutdated "audit.policy_outdated"
        "What is submitted was planned under, and is judged by, the policy version in force.";
    PolicyUnfounded "audit.policy_unfounded"
        "Policy versions follow each other without a gap, each published by a person who is signed in.";
    PositionGap "audit.position_gap"
        "Positions follow each other without a gap.";
    QuorumIncomplete "audit.quorum_incomplete"
        "A change is approved and executed only with as many valid approvals as its policy asks for, or after somebody broke glass for its plan.";
    QuorumWeakened "audit.quorum_weakened"
        "The quorum of a submission asks for no less than its policy version does at that risk.";
    RollbackOfUnknown "audit.rollback_of_unknown"
        "A rollback starts only of a change whose outcome is known.";
    RollbackOutcome "audit.rollback_outcome"
        "A change is rolled back as the run of its rollback ended.";
    RollbackTooLate "audit.rollback_too_late"
        "No rollback starts once something that it has to undo can, as its target said, no longer be undone.";
    RollbackUnnamed "audit.rollback_unnamed"
        "The change that rolls another one back says so from its draft on, and is executing that very run.";
    RolloutHeld "audit.rollout_held"
        "No batch and no target of a rollout begins while it is paused, after it was stopped, after more targets than agreed did not end well, or before the pause and the look after the first batch that were approved.";
    RolloutOutOfOrder "audit.rollout_out_of_order"
        "The batches of a rollout follow each other without a gap, and are no larger than what was approved.";
    RolloutTally "audit.rollout_tally"
        "A rollout accounts for every target, as the runs of its parts say.";
    RunOutcome "audit.run_outcome"
        "A run ends as its steps say.";
    RunUnfounded "audit.run_unfounded"
        "A run belongs to a change that is executing it, and carries the approvals of that change.";
    ScheduleUnfounded "audit.schedule_unfounded"
        "Schedules are made and changed by people who are signed in, and fire by themselves; a change that one made says so, and says what the schedule said, for its owner, with everybody else who edited it.";
    SeatEmpty "audit.seat_empty"
        "A change is approved and executed only with the approvals of those whom its submission names.";
    SelfApproval "audit.self_approval"
        "Author and editors of a change never approve it nor break glass for it, nor does anybody for them, nor they for anybody.";
    SelfOverride "audit.self_override"
        "Author and editors of a change never override a freeze or a window for it.";
    SelfReview "audit.self_review"
        "Author and editors of a change, and whoever overrode something or broke glass for it, never review that.";
    SelfSettlement "audit.self_settlement"
        "Author and editors of a change never settle what became of it.";
    SettledKnown "audit.settled_known"
        "A person settles what became of a change only when that is unknown.";
    StepOutOfOrder "audit.step_out_of_order"
        "What is said of a step can follow what was said of it before.";
    TimeReversed "audit.time_reversed"
        "Times do not go backwards along the log by more than five minutes.";
    Unreadable "audit.unreadable"
        "An event of a known type and schema version can be read.";
    VersionGap "audit.version_gap"
        "The versions of a stream count up from 1 without a gap.";
}

/// A rule for documents and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RuleText {
    pub code: &'static str,
    pub sentence: &'static str,
}

/// All rules, by code.
pub fn rules() -> impl Iterator<Item = RuleText> {
    Rule::ALL.iter().map(|rule| RuleText { code: rule.code(), sentence: rule.sentence() })
}
