//! What the records say. An event type without an entry does not compile.

use nexplane_core::asset::event::{AssetEvent, Facts, Relation};
use nexplane_core::calendar::event::{CalendarEvent, Scope};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft, Found, Produced, Quorum, Window};
use nexplane_core::connection::event::{ConnectionEvent, Limits, Purpose};
use nexplane_core::event::Event;
use nexplane_core::gateway::event::GatewayEvent;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::id::{
    AssetId, ChangeId, ConnectionId, FreezeId, JobId, ManifestId, ProjectId, RunId, ScheduleId,
    SecretId, WindowId,
};
use nexplane_core::job::RefusalCode;
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::person::event::{PersonEvent, TokenKind};
use nexplane_core::plan::{Check, DiffLine, Field, Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy::event::PolicyEvent;
use nexplane_core::policy::{
    self, Ask, OnConflict, PolicyDocument, ReversibilityKind, Rule, Then, When,
};
use nexplane_core::project::event::ProjectEvent;
use nexplane_core::recurrence::Recurrence;
use nexplane_core::refusal::Cause;
use nexplane_core::risk::{Environment, Factor, Risk, RiskLevel};
use nexplane_core::rollout::event::{RolloutEvent, Strategy, Tally};
use nexplane_core::run::event::{Captured, Finding, LateReport, Reason, RunEvent, RunOutcome};
use nexplane_core::schedule::event::{ScheduleEvent, Skip, Template, Timing};
use serde_json::{Value, json};

use crate::*;

macro_rules! corpus {
    ($($events:ident { $($variant:ident { $($field:ident: $value:expr),* $(,)? })* })*) => {
        pub fn examples() -> Vec<Event> {
            $(
                // Without an entry for every variant this match is not exhaustive.
                const _: fn(&$events) = |event| match event {
                    $($events::$variant { .. } => {})*
                };
            )*
            vec![$($($events::$variant { $($field: $value),* }.into(),)*)*]
        }

        /// The schema of every aggregate's events.
        pub fn schemas() -> Vec<Value> {
            vec![$(schemars::schema_for!($events).to_value(),)*]
        }
    };
}

corpus! {
    AssetEvent {
        Discovered {
            connection: connection(),
            asset_type: "postgres_role".to_owned(),
            external_key: "role/app_orders".to_owned(),
            environment: Environment::Prod,
            facts: facts(),
        }
        Drifted { facts: facts(), explained_by: Some(ChangeId(uuid(20))) }
        Gone {}
        Returned { facts: facts() }
        Annotated {
            owner: Some("Team Orders".to_owned()),
            tags: vec!["billing".to_owned()],
            critical: true,
            environment: Some(Environment::Staging),
        }
    }
    CalendarEvent {
        FreezeDeclared {
            freeze: FreezeId(uuid(70)),
            scope: Scope::Tag { tag: "billing".to_owned() },
            start: moment(3600),
            end: moment(7200),
            reason: "Closing of the year".to_owned(),
        }
        FreezeEnded { freeze: FreezeId(uuid(70)), reason: "The books are closed".to_owned() }
        WindowDefined {
            window: WindowId(uuid(71)),
            name: "Nightly".to_owned(),
            scope: Scope::Environment { environment: Environment::Prod },
            slots: Recurrence {
                cron: "0 22 * * mon-fri".to_owned(),
                zone: "Europe/Vienna".to_owned(),
                duration_s: 14_400,
            },
        }
        WindowRemoved { window: WindowId(uuid(71)), reason: "Replaced by Weekend".to_owned() }
    }
    ChangeEvent {
        Drafted { draft: draft(), rollback_of: Some(ChangeId(uuid(21))) }
        MadeBySchedule { schedule: ScheduleId(uuid(75)), editors: vec![PersonId(uuid(5))] }
        JoinedProject { project: ProjectId(uuid(76)) }
        Edited { draft: draft() }
        Planned { plan: plan() }
        Submitted {
            digest: plan().digest,
            environment: Environment::Prod,
            risk: risk(),
            quorum: quorum(),
            // As it was recorded before they were.
            tags: None,
            beforehand: None,
        }
        ApprovalGiven {
            digest: plan().digest,
            comment: Some("Checked with the team".to_owned()),
            as_admin: true,
            // As it was recorded before there were any.
            delegator: None,
        }
        Approved {
            digest: plan().digest,
            not_before: moment(900),
            until: moment(900 + 72 * 3600),
        }
        Rejected { digest: plan().digest, reason: "Not in this week".to_owned() }
        Withdrawn {}
        Cancelled { reason: "No longer needed".to_owned() }
        Expired {}
        FreezeOverridden {
            freeze: FreezeId(uuid(70)),
            justification: "The password has leaked".to_owned(),
        }
        WindowOverridden { justification: "The disk is full".to_owned() }
        GlassBroken {
            digest: plan().digest,
            justification: "The password has leaked".to_owned(),
        }
        Scheduled { opens: moment(7200), asked_by: None }
        Unscheduled { reason: "The target is not what it was".to_owned() }
        ExecutionStarted { run: run(), digest: plan().digest }
        UndoLimited { run: run(), until: moment(2_592_000) }
        Completed { run: run(), secrets: produced() }
        Failed { run: run(), reason: "permission denied".to_owned(), secrets: Vec::new() }
        OutcomeUnknown { run: run(), reason: "the answer got lost".to_owned(), secrets: produced() }
        Settled {
            run: run(),
            finding: Found::Applied,
            evidence: "psql says NOLOGIN since 14:03".to_owned(),
        }
        RollbackStarted { rollback: ChangeId(uuid(22)), run: run() }
        RolledBack { rollback: ChangeId(uuid(22)), run: run() }
        RollbackPartial {
            rollback: ChangeId(uuid(22)),
            run: run(),
            reason: "permission denied".to_owned(),
        }
        RollbackBlocked {
            rollback: ChangeId(uuid(22)),
            run: run(),
            reason: "somebody changed it".to_owned(),
        }
        Reviewed { comment: "It had to be; rotated within the hour".to_owned() }
        SecretRevealed { secret: SecretId(uuid(60)) }
    }
    ConnectionEvent {
        Created {
            name: "orders".to_owned(),
            connector: "postgres".to_owned(),
            environment: Environment::Prod,
            settings: json!({ "host": "db-1.example", "port": 5432 }),
            credentials: Some(SecretId(uuid(61))),
            host: Some(HostId(uuid(80))),
        }
        Renamed { name: "orders-eu".to_owned() }
        Relabelled { environment: Environment::Staging }
        Limited { limits: Limits { sessions: 4, per_minute: Some(120) } }
        DiscoveryScheduled { every_s: Some(21_600) }
        CredentialsReplaced {
            settings: json!({ "host": "db-2.example", "port": 5432 }),
            credentials: SecretId(uuid(62)),
        }
        Removed {}
        Tested { ok: true, checks: checks() }
        Discovered { found: 12, new: 3, changed: 1, gone: 0, duration_ms: 840 }
        DiscoveryFailed { kind: "unreachable".to_owned(), reason: "no route to host".to_owned() }
        CredentialsOpened {
            purpose: Purpose::Execute,
            change: Some(ChangeId(uuid(20))),
            reads_for: Some(ConnectionId(uuid(63))),
        }
    }
    GatewayEvent {
        Refused {
            cause: Cause::TokenUnknown,
            count: 12,
            since: moment(0),
            source: Some("203.0.113.0/24".to_owned()),
        }
    }
    HostEvent {
        Enrolled {
            hostname: "web-1.example".to_owned(),
            agent_version: "0.1.0".to_owned(),
            policy_hash: Some("5f2c".to_owned()),
            certificate: certificate(),
        }
        Renewed { certificate: certificate() }
        CameOnline {}
        WentOffline { reason: "no heartbeat".to_owned() }
        PolicyChanged { policy_hash: Some("6a3d".to_owned()) }
        AgentChanged { agent_version: "0.2.0".to_owned() }
        Locked { reason: "two users of one key".to_owned() }
        Revoked { reason: "sold".to_owned() }
        Refused {
            cause: Cause::HostRevoked,
            count: 3,
            since: moment(0),
            source: Some("2001:db8:1::/48".to_owned()),
        }
        OrderRefused {
            code: RefusalCode::PlanMismatch,
            count: 1,
            since: moment(0),
            job: JobId(uuid(81)),
            detail: "step 0 is not part of the approved plan".to_owned(),
        }
        OrderDistrusted {
            code: RefusalCode::BadSignature,
            count: 2,
            total: 5,
            last_at: moment(0),
        }
    }
    PersonEvent {
        Added { roles: vec![Role::Operator, Role::Approver] }
        RolesChanged { roles: Role::ALL.to_vec() }
        Disabled {}
        Enabled {}
        PasswordSet {}
        SignedIn { session: uuid(90) }
        SignedOut { session: uuid(90) }
        TokenCreated { token: uuid(91), kind: TokenKind::Machine, expires_at: Some(moment(86_400)) }
        TokenRevoked { token: uuid(91) }
        AgentInvited { hostname: Some("web-1.example".to_owned()), expires_at: moment(3600) }
        ApprovalsDelegated {
            delegation: uuid(92),
            to: PersonId(uuid(6)),
            from: moment(0),
            until: moment(86_400),
            reason: "On leave".to_owned(),
        }
        DelegationEnded { delegation: uuid(92) }
    }
    ManifestEvent {
        PageAdded { change: ChangeId(uuid(20)), steps: plan().steps }
    }
    PolicyEvent {
        Published { version: 2, document: document(), note: "Keys are rotated by two".to_owned() }
    }
    RolloutEvent {
        Started {
            change: ChangeId(uuid(20)),
            digest: plan().digest,
            manifest: ManifestId(uuid(33)),
            size: 400,
            strategy: Strategy {
                canary: 4,
                batch: 40,
                parallel: 20,
                pause_s: 60,
                max_failed: 2,
                hold_after_canary: true,
            },
            approvals: vec![PersonId(uuid(3)), PersonId(uuid(4))],
            undoes: Some(RunId(uuid(31))),
        }
        BatchBegun { no: 0, first: 0, count: 4 }
        BatchEnded {
            no: 0,
            tally: Tally { complete: 4, ..Tally::default() },
            moved: 0,
            undo_until: None,
        }
        Paused { reason: "Let us look at the first ones".to_owned() }
        Resumed {}
        Stopped { reason: "The disks of some are full".to_owned() }
        Finished {
            outcome: RunOutcome::Failed,
            reason: Some("Of 400 targets 42 are complete.".to_owned()),
            tally: Tally { complete: 42, failed: 2, unknown: 0, not_started: 356 },
        }
    }
    ProjectEvent {
        Created { name: "Move reporting".to_owned(), description: "To the new cluster".to_owned() }
        Renamed { name: "Move reports".to_owned(), description: String::new() }
        MemberAdded { change: ChangeId(uuid(20)), after: vec![ChangeId(uuid(21))] }
        MemberRemoved { change: ChangeId(uuid(20)) }
        DependenciesChanged { change: ChangeId(uuid(20)), after: Vec::new() }
        ExecutionAsked {}
        Blocked { change: ChangeId(uuid(20)), reason: "The change is failed.".to_owned() }
        Completed {}
        GoingBack { reason: "The reports are wrong".to_owned() }
        BackBlocked { change: ChangeId(uuid(20)), reason: "Its rollback is rejected.".to_owned() }
        WentBack {}
        Closed { reason: "It is moved".to_owned() }
    }
    RunEvent {
        Started {
            change: ChangeId(uuid(20)),
            plan: plan(),
            approvals: vec![PersonId(uuid(3)), PersonId(uuid(4))],
            undoes: Some(RunId(uuid(31))),
            part: None,
        }
        Claimed { epoch: 1, worker: uuid(95) }
        StepIntended {
            step: 0,
            epoch: 1,
            attempt: 1,
            key: "0190f3a1-0".to_owned(),
            before: Captured {
                fields: fields(),
                fingerprint: "a".repeat(64),
                sealed: Some(SecretId(uuid(63))),
            },
        }
        StepSucceeded {
            step: 0,
            epoch: 1,
            outcome: json!({ "rows": 1 }),
            produced: produced(), undo_until: None
        }
        StepFailed { step: 0, epoch: 1, reason: reason("denied", "permission denied") }
        StepUnknown { step: 0, epoch: 2, reason: reason("crash", "the worker went away") }
        StepReconciled {
            step: 0,
            finding: Finding::NotApplied,
            evidence: "The verifier is the old one.".to_owned(),
            observed: fields(),
            produced: produced(),
        }
        StepVerified { step: 0, observed: fields(), fingerprint: "b".repeat(64) }
        StepUnverified {
            step: 0,
            observed: fields(),
            reason: reason("unverified", "The verifier is the old one."),
        }
        StepBlocked {
            step: 0,
            before: fields(),
            after: fields(),
            now: fields(),
            reason: reason("moved", "Somebody changed the role since."),
        }
        CancelAsked { reason: "The wrong roles".to_owned() }
        LateReported {
            step: 0,
            epoch: 1,
            report: LateReport::Succeeded { outcome: json!({ "rows": 1 }), produced: produced() },
        }
        Finished {
            outcome: RunOutcome::OutcomeUnknown,
            reason: Some("the answer got lost".to_owned()),
            secrets: produced(),
        }
    }
    ScheduleEvent {
        Created { template: template(), timing: timing() }
        Edited { template: template(), timing: timing() }
        Paused { reason: "The team is on holiday".to_owned() }
        Resumed {}
        Deleted { reason: "The role is gone".to_owned() }
        Fired { tick: moment(7200), change: ChangeId(uuid(20)) }
        Skipped { tick: moment(7200), ticks: 1, why: Skip::Open { change: ChangeId(uuid(20)) } }
        Stalled { change: ChangeId(uuid(20)), reason: "The target is not there".to_owned() }
    }
}

fn template() -> Template {
    Template { ticket: Some("OPS-17".to_owned()), ..draft().into() }
}

fn timing() -> Timing {
    Timing { cron: "0 3 * * sun".to_owned(), zone: "Europe/Vienna".to_owned() }
}

fn uuid(no: u128) -> Uuid {
    Uuid::from_u128(0x0190_f3a1_7c00_7000_8000_0000_0000_0000 + no)
}

fn connection() -> ConnectionId {
    ConnectionId(uuid(50))
}

fn run() -> RunId {
    RunId(uuid(30))
}

fn facts() -> Facts {
    Facts {
        name: "app_orders".to_owned(),
        metadata: json!({ "login": true, "connection_limit": -1 }),
        relations: vec![Relation { kind: "member_of".to_owned(), to: AssetId(uuid(41)) }],
    }
}

fn draft() -> Draft {
    Draft {
        title: "Rotate the password of app_orders".to_owned(),
        reason: "It is a year old".to_owned(),
        ticket: Some("OPS-1234".to_owned()),
        change_type: "postgres.rotate_password".to_owned(),
        connection: connection(),
        targets: vec![AssetId(uuid(40))],
        parameters: json!({ "length": 32 }),
        window: Some(Window { start: moment(3600), end: moment(7200) }),
        rollout: None,
        auto_rollback: false,
    }
}

fn plan() -> Box<Plan> {
    let Draft { change_type, connection, targets, parameters, .. } = draft();
    let header = PlanHeader {
        change: ChangeId(uuid(20)),
        change_type: change_type.clone(),
        connection,
        targets,
        parameters: parameters.clone(),
        policy_version: policy::VERSION,
        author: PersonId(uuid(1)),
        editors: vec![PersonId(uuid(2))],
        rollback_of: Some(ChangeId(uuid(21))),
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let step = Step {
        no: 0,
        action: change_type,
        connection,
        target: TargetRef {
            asset: AssetId(uuid(40)),
            kind: "postgres_role".to_owned(),
            external_key: "role/app_orders".to_owned(),
            name: "app_orders".to_owned(),
        },
        parameters,
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::CompensateOnly {
            why: "sessions keep what they have".to_owned(),
        },
        before_fingerprint: "a".repeat(64),
        summary: "Sets a new password".to_owned(),
        rollback: "Sets the verifier of the old one".to_owned(),
        diff: vec![DiffLine {
            target: "app_orders".to_owned(),
            field: "password".to_owned(),
            before: Value::Null,
            after: json!("a new one"),
        }],
        undoes: Some(nexplane_core::plan::Undoes { run: RunId(uuid(31)), step: 0 }),
    };
    Box::new(Plan::new(header, vec![step], checks(), moment(0)))
}

fn checks() -> Vec<Check> {
    vec![Check {
        name: "role exists".to_owned(),
        ok: true,
        detail: "The role app_orders is there.".to_owned(),
    }]
}

fn risk() -> Risk {
    let factor = |name: &str, value, because: &str| Factor {
        name: name.to_owned(),
        value,
        because: because.to_owned(),
    };
    Risk {
        score: 9,
        level: RiskLevel::Critical,
        factors: vec![
            factor("base", 7.0, "This kind of change has a base risk of 7."),
            factor("environment", 2.1, "The environment is prod (×1.3)."),
        ],
    }
}

/// As it was recorded before rules said whether glass may be broken.
fn quorum() -> Quorum {
    Quorum {
        rule: "critical risk needs two approvers, one of them an admin, and 15 minutes".to_owned(),
        break_glass: false,
        ..policy::quorum(RiskLevel::Critical, Environment::Prod, false)
    }
}

/// Every field that there is, but for what came later.
fn document() -> PolicyDocument {
    let (from, break_glass) = (None, false);
    let ask = Ask { approvals: 2, admin: true, from, delay_s: 900, valid_s: 86_400, break_glass };
    let all = When {
        level: Some(vec![RiskLevel::Medium, RiskLevel::High]),
        environment: Some(vec![Environment::Prod]),
        change_type: Some(vec!["aws.*".to_owned(), "postgres.drop_user".to_owned()]),
        tag: Some(vec!["billing".to_owned()]),
        rollback: Some(false),
        reversibility: Some(vec![ReversibilityKind::OneWay]),
        effect_class: Some(vec![EffectClass::Unprotected]),
        score_at_least: Some(5),
    };
    let refused = When {
        change_type: Some(vec!["postgres.drop_user".to_owned()]),
        rollback: Some(false),
        ..When::default()
    };
    let reason = "roles are locked, not dropped".to_owned();
    let rules = vec![
        Rule { when: all, then: Then::Ask(ask.clone()) },
        Rule { when: refused, then: Then::Refuse { reason } },
        Rule { when: When::default(), then: Then::Ask(ask) },
    ];
    PolicyDocument { rules, on_conflict: OnConflict::Wait }
}

fn produced() -> Vec<Produced> {
    vec![Produced { id: SecretId(uuid(60)), name: "password".to_owned() }]
}

fn certificate() -> Certificate {
    Certificate { key_hash: "c".repeat(64), not_after: moment(86_400) }
}

fn fields() -> Vec<Field> {
    vec![Field::new("login", true), Field::redacted("password", "SCRAM-SHA-256 verifier")]
}

fn reason(kind: &str, message: &str) -> Reason {
    Reason { kind: kind.to_owned(), message: message.to_owned() }
}
