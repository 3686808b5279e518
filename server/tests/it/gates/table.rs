//! The ways and the gates, which of them meet, and what is said then.

/// How somebody comes to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Signed in.
    Session,
    /// `nexplane change …`
    CommandLine,
    /// An API token that acts as its owner.
    PersonToken,
    /// An API token that proposes.
    MachineToken,
    /// The change is one that undoes another.
    Rollback,
    /// A responder let it pass a freeze.
    Override,
    /// A responder breaks glass for it, and nobody approves it.
    Emergency,
    /// The timer starts it, for whoever had asked while the maintenance window was closed.
    Scheduled,
    /// A schedule made the change.
    Schedule,
    /// A project starts it as soon as it may, once somebody has had the project executed.
    Project,
}

/// What holds a change up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    QuorumMissing,
    OwnApprovalOfAuthor,
    OwnApprovalOfEditor,
    /// The approver approves for the author.
    OwnApprovalThroughDelegate,
    /// The approver approves for an editor.
    EditorsApprovalThroughDelegate,
    /// The approval names a plan that was superseded.
    StaleDigest,
    /// The approvals ran out.
    Expired,
    /// The approvals were of a plan that was superseded.
    Superseded,
    TargetMoved,
    Withdrawn,
    Rejected,
    Cancelled,
    FrozenApproval,
    FrozenExecution,
    /// It opens only after the approvals have run out; one that opens earlier is waited for.
    WindowNotOpen,
    WindowOver,
    /// Whoever executes is no operator any more.
    OperatorRevoked,
    /// Whoever approves is no approver any more.
    ApproverRevoked,
    /// Nor is whoever had delegated approving.
    DelegatorRevoked,
    Suspended,
    /// A later change of the same target stands.
    OutOfOrder,
    /// The idempotency key was used for something else.
    KeyReused,
    /// It comes after a change that is not complete.
    DependencyMissing,
    /// A change of the same target was approved before, and the policy has the second one refused.
    Conflict,
}

pub(super) const GATES: [Gate; 24] = [
    Gate::QuorumMissing,
    Gate::OwnApprovalOfAuthor,
    Gate::OwnApprovalOfEditor,
    Gate::OwnApprovalThroughDelegate,
    Gate::EditorsApprovalThroughDelegate,
    Gate::StaleDigest,
    Gate::Expired,
    Gate::Superseded,
    Gate::TargetMoved,
    Gate::Withdrawn,
    Gate::Rejected,
    Gate::Cancelled,
    Gate::FrozenApproval,
    Gate::FrozenExecution,
    Gate::WindowNotOpen,
    Gate::WindowOver,
    Gate::OperatorRevoked,
    Gate::ApproverRevoked,
    Gate::DelegatorRevoked,
    Gate::Suspended,
    Gate::OutOfOrder,
    Gate::KeyReused,
    Gate::DependencyMissing,
    Gate::Conflict,
];

impl Gate {
    /// Why this gate is not on this way.
    pub(super) fn absent(self, way: Way) -> Option<&'static str> {
        use Gate as G;
        match (way, self) {
            (
                Way::Rollback,
                G::OwnApprovalOfEditor | G::EditorsApprovalThroughDelegate | G::Superseded,
            ) => Some("a rollback is not edited, and its plan comes from the captured state"),
            (Way::Rollback, G::WindowNotOpen | G::WindowOver) => Some("a rollback has no window"),
            (Way::Schedule, G::WindowNotOpen | G::WindowOver) => {
                Some("what a schedule makes has no window")
            }
            (Way::CommandLine, G::KeyReused) => Some("it makes a key of its own for each command"),
            (Way::Scheduled, G::KeyReused) => Some("the timer has no key"),
            (
                Way::Session
                | Way::CommandLine
                | Way::PersonToken
                | Way::MachineToken
                | Way::Rollback
                | Way::Override
                | Way::Emergency
                | Way::Schedule
                | Way::Project
                | Way::Scheduled,
                _,
            ) => None,
        }
    }

    /// What the refusal says.
    pub(super) fn code(self, way: Way) -> (u16, &'static str) {
        use Gate as G;
        match self {
            // The session ends with the account; a token stays, and nobody is behind it.
            G::Suspended if matches!(way, Way::PersonToken | Way::MachineToken) => {
                (401, "auth.invalid")
            }
            G::Suspended => (401, "auth.expired"),
            // A project says no to nobody: it waits, or stops and says why.
            G::QuorumMissing | G::Superseded | G::Withdrawn | G::DependencyMissing
                if way == Way::Project =>
            {
                (0, "waits")
            }
            G::Expired
            | G::TargetMoved
            | G::FrozenExecution
            | G::WindowNotOpen
            | G::WindowOver
            | G::Conflict
                if way == Way::Project =>
            {
                (0, "blocked")
            }
            G::KeyReused => (409, "idempotency.key_reused"),
            // Machines may propose to undo; whatever else they ask for is not theirs to ask.
            G::OutOfOrder => (409, "change.out_of_order_rollback"),
            _ if way == Way::MachineToken => (403, "access.denied"),
            G::OwnApprovalOfAuthor | G::OwnApprovalOfEditor if way == Way::Emergency => {
                (403, "change.own_override")
            }
            G::OwnApprovalOfAuthor
            | G::OwnApprovalOfEditor
            | G::OwnApprovalThroughDelegate
            | G::EditorsApprovalThroughDelegate => (403, "change.own_approval"),
            G::DelegatorRevoked => (403, "change.not_delegated"),
            G::OperatorRevoked | G::ApproverRevoked => (403, "access.denied"),
            G::QuorumMissing | G::Superseded => (409, "change.quorum_missing"),
            G::StaleDigest => (409, "change.stale_digest"),
            G::Expired => (409, "change.approval_expired"),
            G::TargetMoved => (409, "change.plan_moved"),
            G::Withdrawn | G::Rejected | G::Cancelled => (409, "change.not_in_state"),
            G::FrozenApproval | G::FrozenExecution => (423, "change.frozen"),
            G::WindowNotOpen => (409, "change.opens_too_late"),
            G::WindowOver => (409, "change.window_over"),
            G::DependencyMissing => (409, "change.dependency_missing"),
            G::Conflict => (409, "change.conflict"),
        }
    }
}
