//! What a change waits for, word by word.

use nexplane_core::actor::Actor;
use nexplane_core::api::ChangeView;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft, Found, Quorum, Window};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId, StreamId};
use nexplane_core::plan::{Check, Field, Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy::OnConflict;
use nexplane_core::record::Header;
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::run::event::{Captured, Finding, Reason, RunEvent, RunOutcome};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::fold_change;
use serde_json::json;
use uuid::Uuid;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(1));
const RUN: RunId = RunId(Uuid::from_u128(2));
const ROLLBACK: ChangeId = ChangeId(Uuid::from_u128(3));
const AUTHOR: PersonId = PersonId(Uuid::from_u128(4));
const EDITOR: PersonId = PersonId(Uuid::from_u128(5));
const APPROVER: PersonId = PersonId(Uuid::from_u128(6));

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Events in a row, one minute after the other from noon on.
#[derive(Clone)]
struct Story {
    events: Vec<Recorded>,
}

impl Story {
    fn drafted(window: Option<Window>, rollback_of: Option<ChangeId>) -> Self {
        let draft = Draft { window, ..draft() };
        Self { events: Vec::new() }.by(AUTHOR, ChangeEvent::Drafted { draft, rollback_of })
    }

    fn by<E: Into<Event>>(mut self, who: PersonId, event: E) -> Self {
        let event = event.into();
        let stream = match &event {
            Event::Run(_) => StreamId::from(RUN),
            Event::Asset(_)
            | Event::Calendar(_)
            | Event::Change(_)
            | Event::Connection(_)
            | Event::Gateway(_)
            | Event::Host(_)
            | Event::Manifest(_)
            | Event::Person(_)
            | Event::Policy(_)
            | Event::Project(_)
            | Event::Rollout(_)
            | Event::Schedule(_) => StreamId::from(CHANGE),
        };
        let position = self.events.len() as u64;
        let minutes = i64::try_from(position).unwrap();
        self.events.push(Recorded {
            position,
            header: Header {
                id: Uuid::from_u128(u128::from(position)),
                stream,
                version: self.events.iter().filter(|e| e.header.stream == stream).count() as u64
                    + 1,
                kind: event.encode().kind,
                schema: 1,
                at: at("2026-11-23T12:00:00Z").plus_seconds(60 * minutes),
                actor: Actor::user(who),
                command: Uuid::nil(),
                correlation: Uuid::nil(),
                causation: Uuid::nil(),
            },
            event,
        });
        self
    }

    fn then<E: Into<Event>>(self, event: E) -> Self {
        self.by(AUTHOR, event)
    }

    fn planned(self) -> Self {
        self.then(ChangeEvent::Planned { plan: Box::new(plan(true)) })
    }

    fn submitted(self, approvals: u32, admin: bool) -> Self {
        let quorum = Quorum {
            policy_version: 1,
            rule: "a rule".to_owned(),
            approvals,
            admin,
            delay_s: 0,
            valid_s: 3600,
            on_conflict: OnConflict::Wait,
            break_glass: true,
            seats: Vec::new(),
        };
        let risk = Risk { score: 7, level: RiskLevel::High, factors: Vec::new() };
        let environment = Environment::Prod;
        let digest = plan(true).digest;
        self.planned().then(ChangeEvent::Submitted {
            digest,
            environment,
            risk,
            quorum,
            tags: None,
            beforehand: None,
        })
    }

    fn approval(self, as_admin: bool) -> Self {
        let digest = plan(true).digest;
        self.by(
            APPROVER,
            ChangeEvent::ApprovalGiven { digest, comment: None, as_admin, delegator: None },
        )
    }

    fn approved(self, not_before: &str, until: &str) -> Self {
        let digest = plan(true).digest;
        self.then(ChangeEvent::Approved { digest, not_before: at(not_before), until: at(until) })
    }

    fn executing(self) -> Self {
        self.submitted(0, false)
            .approved("2026-11-23T12:03:00Z", "2026-11-26T12:03:00Z")
            .then(ChangeEvent::ExecutionStarted { run: RUN, digest: plan(true).digest })
    }

    fn claimed(self) -> Self {
        let started = RunEvent::Started {
            change: CHANGE,
            plan: Box::new(plan(true)),
            approvals: Vec::new(),
            undoes: None,
            part: None,
        };
        self.executing().then(started).then(RunEvent::Claimed { epoch: 1, worker: Uuid::nil() })
    }

    fn intended(self, step: u32) -> Self {
        let before = Captured { fields: Vec::new(), fingerprint: String::new(), sealed: None };
        let key = "k".to_owned();
        self.then(RunEvent::StepIntended { step, epoch: 1, attempt: 1, key, before })
    }

    fn succeeded(self, step: u32) -> Self {
        let (outcome, produced) = (json!({}), Vec::new());
        self.then(RunEvent::StepSucceeded { step, epoch: 1, outcome, produced, undo_until: None })
    }

    fn verified(self, step: u32) -> Self {
        let fingerprint = String::new();
        self.then(RunEvent::StepVerified { step, observed: Vec::new(), fingerprint })
    }

    fn view(&self) -> ChangeView {
        fold_change(1, &self.events).unwrap()
    }

    #[track_caller]
    fn waits(&self, sentence: &str) {
        assert_eq!(self.view().waiting_for.as_deref(), Some(sentence), "{:?}", self.view().state);
    }

    #[track_caller]
    fn waits_for_nothing(&self) {
        assert_eq!(self.view().waiting_for, None, "{:?}", self.view().state);
    }
}

fn draft() -> Draft {
    Draft {
        title: "Lock".to_owned(),
        reason: "Leaver".to_owned(),
        ticket: None,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!({}),
        window: None,
        rollout: None,
        auto_rollback: false,
    }
}

fn plan(ok: bool) -> Plan {
    let step = |no: u32, name: &str| Step {
        no,
        action: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(9)),
            kind: "postgres_role".to_owned(),
            external_key: format!("role/{name}"),
            name: name.to_owned(),
        },
        parameters: json!({}),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: String::new(),
        summary: String::new(),
        rollback: String::new(),
        diff: Vec::new(),
        undoes: None,
    };
    let header = PlanHeader {
        change: CHANGE,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!({}),
        policy_version: 1,
        author: AUTHOR,
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let check = |ok| Check { name: "c".to_owned(), ok, detail: String::new() };
    let checks = vec![check(true), check(ok)];
    Plan::new(header, vec![step(0, "app"), step(1, "web")], checks, at("2026-11-23T12:00:00Z"))
}

fn reason() -> Reason {
    Reason { kind: "timeout".to_owned(), message: "no answer".to_owned() }
}

fn failed() -> ChangeEvent {
    ChangeEvent::Failed { run: RUN, reason: "no".to_owned(), secrets: Vec::new() }
}

#[test]
fn drafts() {
    let drafted = || Story::drafted(None, None);
    drafted().waits("Waits for its author to plan it.");
    drafted()
        .then(ChangeEvent::Planned { plan: Box::new(plan(false)) })
        .waits("Waits for its author to plan it again: 1 of 2 checks did not pass.");
    drafted().planned().waits("Waits for its author to submit it.");
    drafted()
        .submitted(2, false)
        .approval(false)
        .then(ChangeEvent::Withdrawn {})
        .waits("Waits for its author to submit it again; earlier approvals no longer count.");
    drafted()
        .submitted(2, false)
        .approval(false)
        .by(EDITOR, ChangeEvent::Edited { draft: draft() })
        .waits("Waits for its author to plan it.");
}

#[test]
fn submitted() {
    let drafted = || Story::drafted(None, None);
    drafted()
        .submitted(2, false)
        .waits("Waits for 2 more approvals of 2 by someone other than its author.");
    drafted()
        .submitted(2, false)
        .approval(false)
        .waits("Waits for 1 more approval of 2 by someone other than its author.");
    drafted().submitted(2, true).waits(
        "Waits for 2 more approvals of 2 by someone other than its author, one of them an admin.",
    );
    drafted()
        .submitted(2, true)
        .approval(false)
        .waits("Waits for 1 more approval of 2, by an admin other than its author.");
    drafted()
        .submitted(2, true)
        .approval(true)
        .waits("Waits for 1 more approval of 2 by someone other than its author.");
    drafted()
        .submitted(1, true)
        .approval(false)
        .waits("Waits for an approval by an admin other than its author.");
    drafted()
        .by(EDITOR, ChangeEvent::Edited { draft: draft() })
        .submitted(1, false)
        .waits("Waits for 1 more approval of 1 by someone other than its author and editors.");
    // Only the author edited it.
    drafted()
        .then(ChangeEvent::Edited { draft: draft() })
        .submitted(1, false)
        .waits("Waits for 1 more approval of 1 by someone other than its author.");
    // Approvals of another plan do not count.
    drafted()
        .submitted(2, false)
        .approval(false)
        .submitted(2, false)
        .waits("Waits for 2 more approvals of 2 by someone other than its author.");
}

#[test]
fn approved() {
    let window = |start: &str, end: &str| Some(Window { start: at(start), end: at(end) });
    let with = |window| Story::drafted(window, None).submitted(0, false);
    with(None)
        .approved("2026-11-23T12:03:00Z", "2026-11-26T12:03:59.9Z")
        .waits("Waits for an operator to execute it, until 2026-11-26 12:03 UTC.");
    // The delay of critical changes. To the minute, but never too early and never too late.
    with(None).approved("2026-11-23T12:18:00.000001Z", "2026-11-26T12:18:00Z").waits(
        "Waits for an operator to execute it, from 2026-11-23 12:19 UTC until 2026-11-26 12:18 UTC.",
    );
    with(window("2026-11-24T02:00:00Z", "2026-11-24T04:00:00Z"))
        .approved("2026-11-23T12:03:00Z", "2026-11-26T12:03:00Z")
        .waits(
            "Waits for an operator to execute it, from 2026-11-24 02:00 UTC until 2026-11-24 04:00 \
             UTC.",
        );
    with(window("2026-11-23T10:00:00Z", "2026-12-24T04:00:00Z"))
        .approved("2026-11-23T12:03:00Z", "2026-11-26T12:03:00Z")
        .waits("Waits for an operator to execute it, until 2026-11-26 12:03 UTC.");
    with(window("2026-11-30T10:00:00Z", "2026-12-24T04:00:00Z"))
        .approved("2026-11-23T12:03:00Z", "2026-11-26T12:03:00Z")
        .waits(
            "Cannot start any more: the time left ends at 2026-11-26 12:03 UTC and it may not begin \
             before 2026-11-30 10:00 UTC; its author can withdraw it.",
        );
}

#[test]
fn executing() {
    let executing = || Story::drafted(None, None).executing();
    let claimed = || Story::drafted(None, None).claimed();
    executing().waits("Waits for Nexplane to begin its run.");
    claimed().waits("Waits for Nexplane to begin step 1 of 2, postgres.lock_user on app.");
    claimed().intended(0).waits("Waits for the answer to step 1 of 2, postgres.lock_user on app.");
    claimed()
        .intended(0)
        .succeeded(0)
        .waits("Waits for Nexplane to verify step 1 of 2, postgres.lock_user on app.");
    let second = || claimed().intended(0).succeeded(0).verified(0);
    second().waits("Waits for Nexplane to begin step 2 of 2, postgres.lock_user on web.");
    let unknown =
        || second().intended(1).then(RunEvent::StepUnknown { step: 1, epoch: 1, reason: reason() });
    unknown().waits(
        "Waits for Nexplane to find out by reading the target what became of step 2 of 2, \
         postgres.lock_user on web.",
    );
    let reconciled = |finding| {
        unknown().then(RunEvent::StepReconciled {
            step: 1,
            finding,
            evidence: "read".to_owned(),
            observed: vec![Field::new("can_login", true)],
            produced: Vec::new(),
        })
    };
    reconciled(Finding::NotApplied).waits(
        "Waits for Nexplane to go on after reading what became of step 2 of 2, postgres.lock_user on \
         web.",
    );
    second()
        .intended(1)
        .succeeded(1)
        .verified(1)
        .waits("Waits for Nexplane to record how its run ended.");
    second()
        .intended(1)
        .then(RunEvent::StepFailed { step: 1, epoch: 1, reason: reason() })
        .waits("Waits for Nexplane to record how its run ended.");

    let ended = |outcome| RunEvent::Finished { outcome, reason: None, secrets: Vec::new() };
    let unknown = reconciled(Finding::Conflict).then(ended(RunOutcome::OutcomeUnknown)).then(
        ChangeEvent::OutcomeUnknown {
            run: RUN,
            reason: "conflict".to_owned(),
            secrets: Vec::new(),
        },
    );
    unknown.waits(
        "Waits for an operator or admin other than its author to look at the target and settle it \
         as applied or not applied: what became of step 2 of 2, postgres.lock_user on web is \
         unknown, and nothing may be undone until then.",
    );
    for finding in [Found::Applied, Found::NotApplied] {
        let evidence = "I looked.".to_owned();
        unknown
            .clone()
            .then(ChangeEvent::Settled { run: RUN, finding, evidence })
            .waits_for_nothing();
    }
}

#[test]
fn afterwards() {
    let ended = || Story::drafted(None, None).claimed().then(failed());
    ended().waits_for_nothing();
    let started = || ended().then(ChangeEvent::RollbackStarted { rollback: ROLLBACK, run: RUN });
    started().waits("Waits for its rollback to finish.");
    let reason = || "moved".to_owned();
    started().then(ChangeEvent::RolledBack { rollback: ROLLBACK, run: RUN }).waits_for_nothing();
    started()
        .then(ChangeEvent::RollbackPartial { rollback: ROLLBACK, run: RUN, reason: reason() })
        .waits(
            "Waits for an operator: part of it is undone and part is not; roll it back again, or \
             settle the rest with a new change.",
        );
    started()
        .then(ChangeEvent::RollbackBlocked { rollback: ROLLBACK, run: RUN, reason: reason() })
        .waits(
            "Waits for an operator: the rollback was stopped before anything was undone; settle what \
             stopped it, then roll it back again.",
        );
    // The rollback itself is at its end.
    Story::drafted(None, Some(ROLLBACK))
        .claimed()
        .then(ChangeEvent::RollbackBlocked { rollback: CHANGE, run: RUN, reason: reason() })
        .waits_for_nothing();
    let drafted = || Story::drafted(None, None);
    drafted().then(ChangeEvent::Cancelled { reason: reason() }).waits_for_nothing();
    let digest = plan(true).digest;
    drafted()
        .submitted(1, false)
        .then(ChangeEvent::Rejected { digest, reason: reason() })
        .waits_for_nothing();
}

#[test]
fn a_review_of_broken_glass() {
    let glass = || ChangeEvent::GlassBroken {
        digest: plan(true).digest,
        justification: "The key has leaked.".to_owned(),
    };
    // An approval that was given stays what it is, and none is made of the glass.
    let broken = Story::drafted(None, None)
        .submitted(2, false)
        .approval(false)
        .by(EDITOR, glass())
        .approved("2026-11-23T12:05:00Z", "2026-11-23T16:05:00Z");
    let view = broken.view();
    assert_eq!((view.approvals.len(), view.glass.len(), view.glass[0].by), (1, 1, EDITOR));
    assert!(view.review_required && view.review_due.is_none());
    broken.waits("Waits for an operator to execute it, until 2026-11-23 16:05 UTC.");
    let withdrawn = broken.clone().then(ChangeEvent::Withdrawn {}).view();
    assert!(withdrawn.glass[0].superseded && withdrawn.review_required);

    // Cancelled at 12:06; what it failed or was rolled back to afterwards moves nothing.
    let ended = broken.then(ChangeEvent::Cancelled { reason: "over".to_owned() });
    assert_eq!(ended.view().review_due, Some(at("2026-11-26T12:06:00Z")));
    ended.waits(
        "Waits for an approver or admin who had no part in it to review that glass was broken for \
         it, due by 2026-11-26 12:06 UTC.",
    );
    let reviewed = ended.by(APPROVER, ChangeEvent::Reviewed { comment: "fine".to_owned() });
    reviewed.waits_for_nothing();
    assert_eq!((reviewed.view().review_required, reviewed.view().review_due), (false, None));
    let overridden = ChangeEvent::WindowOverridden { justification: "now".to_owned() };
    Story::drafted(None, None)
        .submitted(1, false)
        .then(overridden)
        .then(ChangeEvent::Cancelled { reason: "over".to_owned() })
        .waits(
            "Waits for an approver or admin who had no part in it to review what was overridden \
             for it, due by 2026-11-26 12:04 UTC.",
        );
}

#[test]
fn what_cannot_follow_changes_nothing() {
    let closed =
        Story::drafted(None, None).then(ChangeEvent::Cancelled { reason: "no".to_owned() });
    let before = closed.view();
    let after = closed
        .planned()
        .then(ChangeEvent::Edited { draft: Draft { title: "Other".to_owned(), ..draft() } })
        .then(failed())
        .then(ChangeEvent::SecretRevealed { secret: Uuid::nil().into() })
        .view();
    let known = ChangeView {
        version: before.version,
        position: before.position,
        updated_at: before.updated_at,
        ..after.clone()
    };
    assert_eq!(known, before);
    assert_eq!(after.version, before.version + 4);
}

#[test]
fn the_plan_that_is_shown_is_honest_about_its_weakest_step() {
    let mut plan = plan(true);
    plan.steps[1].effect_class = EffectClass::Unprotected;
    plan.steps[1].reversibility = Reversibility::OneWay { why: "it is gone".to_owned() };
    let view =
        Story::drafted(None, None).then(ChangeEvent::Planned { plan: Box::new(plan) }).view();
    let shown = view.plan.unwrap();
    assert_eq!(shown.effect_class, EffectClass::Unprotected);
    assert!(!shown.reversible);
    assert_eq!(shown.reversibility, Reversibility::OneWay { why: "it is gone".to_owned() });
}
