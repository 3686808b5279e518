//! A log in memory.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::asset::event::AssetEvent;
use crate::audit::{Auditor, Report};
use crate::catalog::{EffectClass, Reversibility};
use crate::change::event::{Draft, Window};
use crate::change::{Change, ChangeCommand as C, ChangeState};
use crate::event::{Event, Recorded};
use crate::freeze::InTheWay;
use crate::id::{AssetId, ChangeId, ConnectionId, FreezeId, PersonId, RunId, StreamId};
use crate::plan::{Plan, PlanHeader, Step, TargetRef};
use crate::policy::{Known, Owned, POLICY, Policy};
use crate::record::Header;
use crate::risk::{Environment, Risk, RiskLevel};
use crate::run::event::{Captured, Finding, Reason, RunOutcome};
use crate::run::{Run, RunCommand as R, RunState};
use crate::time::Timestamp;

pub const CHANGE: ChangeId = ChangeId(Uuid::from_u128(10));
pub const RUN: RunId = RunId(Uuid::from_u128(20));
pub const BACK: ChangeId = ChangeId(Uuid::from_u128(11));
pub const BACK_RUN: RunId = RunId(Uuid::from_u128(21));
pub const FREEZE: FreezeId = FreezeId(Uuid::from_u128(30));
pub const TARGET: AssetId = AssetId(Uuid::from_u128(40));

pub const AUTHOR: u128 = 1;
pub const EDITOR: u128 = 2;
pub const FIRST: u128 = 3;
pub const SECOND: u128 = 4;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

/// Signed in, with every role.
pub fn person(no: u128) -> Principal {
    let actor = Actor::user(PersonId(Uuid::from_u128(no)));
    Principal { actor, roles: Role::ALL.to_vec() }
}

pub fn address(no: u128) -> String {
    format!("person-{no}@example.org")
}

pub fn risk(score: u8) -> Risk {
    Risk { score, level: RiskLevel::of(score), factors: Vec::new() }
}

pub fn reason() -> Reason {
    Reason { kind: "test".to_owned(), message: "so it was".to_owned() }
}

pub fn draft(window: Option<Window>) -> Draft {
    Draft {
        title: "Rotate a password".to_owned(),
        reason: "It is old".to_owned(),
        ticket: None,
        change_type: "postgres.rotate".to_owned(),
        connection: ConnectionId(Uuid::from_u128(50)),
        targets: vec![TARGET],
        parameters: json!({ "length": 24 }),
        window,
        rollout: None,
        auto_rollback: false,
    }
}

/// The rules that a log breaks, in its order.
pub fn codes(events: &[Recorded]) -> Vec<&'static str> {
    let report = judge(events);
    assert_eq!(report.incomplete, Vec::new());
    report.violations.iter().map(|violation| violation.rule).collect()
}

pub fn judge(events: &[Recorded]) -> Report {
    let mut auditor = Auditor::starting_at(events.first().map_or(0, |first| first.position));
    for recorded in events {
        auditor.observe(recorded);
    }
    auditor.finish()
}

/// One second passes with every command.
#[derive(Clone, Default)]
pub struct Log {
    pub events: Vec<Recorded>,
    pub second: i64,
}

impl Log {
    pub fn wait(mut self, seconds: i64) -> Self {
        self.second += seconds;
        self
    }

    /// An event that no decision need have made.
    pub fn plant(
        mut self,
        stream: impl Into<StreamId>,
        by: Actor,
        event: impl Into<Event>,
    ) -> Self {
        self.push(stream.into(), by, event.into());
        self.second += 1;
        self
    }

    fn push(&mut self, stream: StreamId, by: Actor, event: Event) {
        let position = self.events.len() as u64;
        let id = Uuid::from_u128(u128::from(position));
        let version = self.events.iter().filter(|e| e.header.stream == stream).count() as u64 + 1;
        let header = Header {
            id,
            stream,
            version,
            kind: event.encode().kind,
            schema: 1,
            at: at(self.second),
            actor: by,
            command: id,
            correlation: id,
            causation: id,
        };
        self.events.push(Recorded { position, header, event });
    }

    pub fn state<D: Decider>(&self, stream: StreamId) -> D::State {
        let own = self.events.iter().filter(|e| e.header.stream == stream);
        own.fold(D::State::default(), |state, e| {
            let event = D::own(&e.event).expect("streams hold their own events");
            D::evolve(state, event, e.header.actor, e.header.at)
        })
    }

    pub fn tell<D: Decider>(
        mut self,
        stream: impl Into<StreamId>,
        by: &Principal,
        command: D::Command,
    ) -> Self {
        let stream = stream.into();
        let asked = Asked { by: by.clone(), at: at(self.second), command };
        let decided = D::decide(&self.state::<D>(stream), asked).expect("it is legitimate");
        for event in decided {
            self.push(stream, by.actor, event.into());
        }
        self.second += 1;
        self
    }

    pub fn change(self, id: ChangeId, by: u128, command: C) -> Self {
        self.tell::<Change>(id, &person(by), command)
    }

    pub fn run(self, command: R) -> Self {
        self.tell::<Run>(RUN, &Principal::SYSTEM, command)
    }

    pub fn plan(&self, id: ChangeId) -> Plan {
        let state = self.state::<Change>(id.into());
        let subject = state.subject().expect("it is drafted");
        let header = PlanHeader {
            change: id,
            change_type: subject.draft.change_type.clone(),
            connection: subject.draft.connection,
            targets: subject.draft.targets.clone(),
            parameters: subject.draft.parameters.clone(),
            policy_version: self.state::<Policy>(POLICY.into()).version,
            author: subject.author,
            editors: subject.editors.iter().copied().collect(),
            rollback_of: subject.rollback_of,
            rollout: None,
            auto_rollback: subject.draft.auto_rollback,
            limit_s: Some(86_400),
        };
        Plan::new(header, vec![step(0), step(1)], Vec::new(), at(self.second))
    }

    /// Of the target.
    fn tags(&self) -> BTreeSet<String> {
        let newest = self.events.iter().rev().find_map(|recorded| {
            let Event::Asset(AssetEvent::Annotated { tags, .. }) = &recorded.event else {
                return None;
            };
            Some(tags)
        });
        newest.into_iter().flatten().cloned().collect()
    }

    /// The owner of the target, and the first two people as `person-3@example.org` and so on, approvers.
    fn known(&self) -> Known {
        let owner = self.events.iter().rev().find_map(|recorded| {
            let Event::Asset(AssetEvent::Annotated { owner, .. }) = &recorded.event else {
                return None;
            };
            Some(owner.clone())
        });
        let owned = Owned { name: "app_rw".to_owned(), owner: owner.flatten() };
        let people = [FIRST, SECOND].map(|no| (address(no), PersonId(Uuid::from_u128(no))));
        Known {
            targets: [(TARGET, owned)].into(),
            approvers: people.iter().map(|(_, person)| *person).collect(),
            people: people.into(),
        }
    }

    pub fn planned(self, id: ChangeId) -> Self {
        let plan = Box::new(self.plan(id));
        self.change(id, AUTHOR, C::RecordPlan { plan })
    }

    pub fn submitted(self, id: ChangeId, environment: Environment, score: u8) -> Self {
        let log = self.planned(id);
        let tags = log.tags();
        let known = log.known();
        let policy = log.state::<Policy>(POLICY.into());
        log.change(id, AUTHOR, C::Submit { environment, risk: risk(score), tags, known, policy })
    }

    pub fn drafted() -> Self {
        Self::default().change(CHANGE, AUTHOR, C::Draft { draft: draft(None), rollback_of: None })
    }

    pub fn digest(&self, id: ChangeId) -> String {
        let state = self.state::<Change>(id.into());
        state.plan().expect("it is planned").digest.clone()
    }

    pub fn approved_by(self, id: ChangeId, by: u128) -> Self {
        let digest = self.digest(id);
        self.change(id, by, C::Approve { digest, comment: None, frozen: Vec::new() })
    }

    /// High risk in production: edited once, approved by two.
    pub fn approved() -> Self {
        let edited = Draft { reason: "It is too old".to_owned(), ..draft(None) };
        Self::drafted()
            .change(CHANGE, EDITOR, C::Edit { draft: edited })
            .submitted(CHANGE, Environment::Prod, 7)
            .approved_by(CHANGE, FIRST)
            .approved_by(CHANGE, SECOND)
    }

    pub fn executing(self) -> Self {
        self.change(CHANGE, AUTHOR, C::StartExecution { run: RUN, in_the_way: InTheWay::default() })
    }

    pub fn started(self, change: ChangeId, run: RunId, undoes: Option<RunId>) -> Self {
        let ChangeState::Executing(execution) = self.state::<Change>(change.into()) else {
            panic!("not executing")
        };
        let command = R::Start {
            change,
            plan: execution.plan,
            approvals: execution.approvers,
            undoes,
            part: None,
        };
        self.tell::<Run>(run, &Principal::SYSTEM, command)
    }

    pub fn claimed(self, after: u32) -> Self {
        self.run(R::Claim { worker: Uuid::nil(), after })
    }

    /// Executing with its run claimed.
    pub fn running() -> Self {
        Self::approved().executing().started(CHANGE, RUN, None).claimed(0)
    }

    pub fn intended(self, step: u32, epoch: u32) -> Self {
        self.run(intend(step, epoch))
    }

    pub fn done(self, step: u32, epoch: u32) -> Self {
        self.intended(step, epoch).run(succeed(step, epoch)).run(verify(step, epoch))
    }

    pub fn unknown(self, step: u32, epoch: u32) -> Self {
        self.run(R::LoseSight { step, epoch, reason: reason() })
    }

    pub fn reconciled(self, step: u32, epoch: u32, finding: Finding) -> Self {
        self.run(R::Reconcile {
            step,
            epoch,
            finding,
            evidence: "read".to_owned(),
            observed: Vec::new(),
            produced: Vec::new(),
        })
    }

    pub fn finished(self, epoch: u32) -> Self {
        self.run(R::Finish { epoch }).ended(CHANGE, RUN)
    }

    /// The change is told how its run ended.
    pub fn ended(self, this: ChangeId, run: RunId) -> Self {
        let (outcome, why) = self.outcome(run);
        let command = C::RecordOutcome {
            this,
            run,
            outcome,
            reason: why,
            secrets: Vec::new(),
            undo_until: None,
        };
        self.tell::<Change>(this, &Principal::SYSTEM, command)
    }

    pub fn outcome(&self, run: RunId) -> (RunOutcome, String) {
        let RunState::Finished(finished) = self.state::<Run>(run.into()) else {
            panic!("not finished")
        };
        (finished.outcome, finished.reason.unwrap_or_default())
    }

    pub fn complete() -> Self {
        Self::running().done(0, 1).done(1, 1).finished(1)
    }

    /// Of the completed change, up to the start of its run.
    pub fn rolling_back(self) -> Self {
        self.change(BACK, AUTHOR, C::Draft { draft: draft(None), rollback_of: Some(CHANGE) })
            .submitted(BACK, Environment::Prod, 7)
            .approved_by(BACK, FIRST)
            .change(
                BACK,
                AUTHOR,
                C::StartExecution { run: BACK_RUN, in_the_way: InTheWay::default() },
            )
    }

    pub fn undoing(self) -> Self {
        let command = C::StartRollback { rollback: BACK, run: BACK_RUN, later: Vec::new() };
        self.rolling_back()
            .tell::<Change>(CHANGE, &Principal::SYSTEM, command)
            .started(BACK, BACK_RUN, Some(RUN))
            .back(R::Claim { worker: Uuid::nil(), after: 0 })
    }

    pub fn back(self, command: R) -> Self {
        self.tell::<Run>(BACK_RUN, &Principal::SYSTEM, command)
    }

    pub fn undone(self, step: u32) -> Self {
        self.back(intend(step, 1)).back(succeed(step, 1)).back(verify(step, 1))
    }

    pub fn back_finished(self) -> Self {
        self.back(R::Finish { epoch: 1 }).ended(BACK, BACK_RUN).rolled_back()
    }

    pub fn rolled_back(self) -> Self {
        let (outcome, reason) = self.outcome(BACK_RUN);
        let command = C::RecordRollback { rollback: BACK, run: BACK_RUN, outcome, reason };
        self.tell::<Change>(CHANGE, &Principal::SYSTEM, command)
    }

    /// The events, with one of them changed.
    pub fn altered(mut self, kind: &str, change: impl FnOnce(&mut Recorded)) -> Vec<Recorded> {
        let last = self.events.iter_mut().rev().find(|e| e.header.kind == kind);
        change(last.expect("there is one"));
        self.events
    }

    /// The events without the last of a type; positions and versions close the gap.
    pub fn without(mut self, kind: &str) -> Vec<Recorded> {
        let index = self.events.iter().rposition(|e| e.header.kind == kind).expect("there is one");
        let taken = self.events.remove(index);
        for later in self.events.iter_mut().skip(index) {
            later.position -= 1;
            if later.header.stream == taken.header.stream {
                later.header.version -= 1;
            }
        }
        self.events
    }
}

pub fn step(no: u32) -> Step {
    Step {
        no,
        action: "postgres.rotate".to_owned(),
        connection: ConnectionId(Uuid::from_u128(50)),
        target: TargetRef {
            asset: TARGET,
            kind: "postgres_role".to_owned(),
            external_key: "app".to_owned(),
            name: "app".to_owned(),
        },
        parameters: json!({}),
        effect_class: if no == 0 { EffectClass::Verifiable } else { EffectClass::Unprotected },
        reversibility: Reversibility::Reversible,
        before_fingerprint: "f0".to_owned(),
        summary: "Sets a password".to_owned(),
        rollback: "Sets the old one".to_owned(),
        diff: Vec::new(),
        undoes: None,
    }
}

pub fn intend(step: u32, epoch: u32) -> R {
    let before = Captured { fields: Vec::new(), fingerprint: "f0".to_owned(), sealed: None };
    let (key, in_the_way) = ("k".to_owned(), InTheWay::default());
    R::Intend { step, epoch, key, before, in_the_way, held: None, terms: None }
}

pub fn succeed(step: u32, epoch: u32) -> R {
    R::Succeed { step, epoch, outcome: json!({}), produced: Vec::new(), undo_until: None }
}

pub fn verify(step: u32, epoch: u32) -> R {
    R::Verify { step, epoch, observed: Vec::new(), fingerprint: "f1".to_owned() }
}

pub fn block(step: u32) -> R {
    let (before, after, now) = (Vec::new(), Vec::new(), Vec::new());
    R::Block { step, epoch: 1, before, after, now, reason: reason() }
}
