//! A made-up installation and what happens in it: valid sequences of every type of event, in a
//! different order for each seed and always the same for one.

#[path = "history_recurring.rs"]
mod recurring;

use std::collections::HashMap;

use nexplane_core::actor::{Actor, Role};
use nexplane_core::asset::event::{AssetEvent, Facts, Relation};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft, Produced, Window};
use nexplane_core::connection::event::{ConnectionEvent, Purpose};
use nexplane_core::event::Event;
use nexplane_core::gateway::event::GatewayEvent;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::id::{
    AssetId, ChangeId, ConnectionId, GatewayId, HostId, JobId, PersonId, ProjectId, RunId,
    ScheduleId, SecretId, StreamId,
};
use nexplane_core::job::RefusalCode;
use nexplane_core::person::event::{PersonEvent, TokenKind};
use nexplane_core::plan::{
    Check, DiffLine, Field, Plan, PlanHeader, Step, TargetRef, Undoes, fingerprint,
};
use nexplane_core::policy;
use nexplane_core::refusal::Cause;
use nexplane_core::risk::{self, Environment, RiskInputs};
use nexplane_core::run::event::{Captured, Finding, Reason, RunEvent, RunOutcome};
use nexplane_core::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::support::Command;

/// 2026-11-23T12:00:00Z
pub const START: i64 = 1_795_435_200_000_000;

const GATEWAY: GatewayId = GatewayId(Uuid::from_u128(0x6a7e));

const TYPES: [&str; 4] = [
    "postgres.lock_user",
    "postgres.rotate_user_password",
    "host.set_file_content",
    "ldap.lock_user",
];
const ENVIRONMENTS: [Environment; 3] = [Environment::Prod, Environment::Staging, Environment::Dev];
const KINDS: [&str; 5] = ["member_of", "owns", "has_access_to", "uses", "runs_on"];

/// Small and good enough (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub fn uuid(&mut self) -> Uuid {
        // Of the kind that the system makes: version 8 is for the runs of parts.
        let random = Uuid::from_u64_pair(self.next(), self.next());
        uuid::Builder::from_u128(random.as_u128()).with_version(uuid::Version::SortRand).into_uuid()
    }
}

enum Phase {
    Draft { plan: Option<Plan> },
    Submitted { plan: Plan, needed: u32, approvers: Vec<PersonId> },
    Approved { plan: Plan },
    Executing(Box<Running>),
    Finished { plan: Plan, run: RunId, how: RunOutcome, secrets: Vec<Produced>, revealed: bool },
    RollingBack,
    Closed,
}

struct Running {
    plan: Plan,
    run: RunId,
    step: u32,
    attempt: u32,
    at: At,
    secrets: Vec<Produced>,
}

enum At {
    NotStarted,
    Unclaimed,
    Planned,
    Intended,
    Unknown,
    Effect,
    Ended(RunOutcome),
}

struct Subject {
    id: ChangeId,
    author: PersonId,
    editors: Vec<PersonId>,
    draft: Draft,
    rollback_of: Option<(ChangeId, RunId)>,
    phase: Phase,
}

struct Asset {
    id: AssetId,
    connection: ConnectionId,
    key: String,
    gone: bool,
}

pub struct History {
    random: Random,
    /// For what stands beside the rest and leaves it as it is for each seed.
    second: Random,
    now: i64,
    versions: HashMap<StreamId, u64>,
    people: Vec<PersonId>,
    connections: Vec<ConnectionId>,
    assets: Vec<Asset>,
    hosts: Vec<(HostId, u32)>,
    changes: Vec<Subject>,
    schedules: Vec<recurring::Recurring>,
    projects: Vec<ProjectId>,
    commands: Vec<Command>,
    count: usize,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let mut history = Self {
            random: Random::new(seed),
            second: Random::new(seed),
            now: START,
            versions: HashMap::new(),
            people: Vec::new(),
            connections: Vec::new(),
            assets: Vec::new(),
            hosts: Vec::new(),
            changes: Vec::new(),
            schedules: Vec::new(),
            projects: Vec::new(),
            commands: Vec::new(),
            count: 0,
        };
        for _ in 0..6 {
            history.add_person();
        }
        history.add_connection();
        for _ in 0..4 {
            history.add_asset();
        }
        history
    }

    /// What happens next: at least this many events.
    pub fn more(&mut self, events: usize) -> Vec<Command> {
        let end = self.count + events;
        while self.count < end {
            if self.second.one_in(20) {
                self.aside(Self::schedule_event);
            }
            if self.second.one_in(20) {
                self.aside(Self::project_event);
            }
            match self.random.below(40) {
                0 => self.connection_event(),
                1..=3 => self.asset_event(),
                4 => self.host_event(),
                5 => self.person_event(),
                6..=8 => self.draft_change(),
                _ => self.move_change(),
            }
        }
        std::mem::take(&mut self.commands)
    }

    /// Something that has its own chances, and is not counted.
    fn aside(&mut self, happens: impl FnOnce(&mut Self)) {
        let count = self.count;
        std::mem::swap(&mut self.random, &mut self.second);
        happens(self);
        std::mem::swap(&mut self.random, &mut self.second);
        self.count = count;
    }

    fn emit<E: Into<Event>>(&mut self, stream: StreamId, actor: Actor, events: Vec<E>) {
        self.now += 1_000 + i64::try_from(self.random.below(60_000_000)).unwrap();
        let version = self.versions.entry(stream).or_default();
        let expected = *version;
        *version += events.len() as u64;
        self.count += events.len();
        self.commands.push(Command {
            stream,
            expected,
            actor,
            at: Timestamp::from_micros(self.now),
            events: events.into_iter().map(Into::into).collect(),
        });
    }

    fn later(&self, seconds: i64) -> Timestamp {
        Timestamp::from_micros(self.now).plus_seconds(seconds)
    }

    fn person(&mut self) -> PersonId {
        self.random.pick(&self.people)
    }

    fn user(&mut self) -> Actor {
        Actor::user(self.person())
    }

    fn add_person(&mut self) {
        let id = PersonId(self.random.uuid());
        self.people.push(id);
        let roles = vec![Role::Operator, Role::Approver];
        self.emit(id.into(), Actor::SYSTEM, vec![PersonEvent::Added { roles }]);
    }

    fn person_event(&mut self) {
        let id = self.person();
        let token = self.random.uuid();
        let expires_at = Some(self.later(3600));
        let event = match self.random.below(12) {
            0 => return self.add_person(),
            1 => PersonEvent::RolesChanged { roles: vec![Role::Admin] },
            2 => PersonEvent::Disabled {},
            3 => PersonEvent::Enabled {},
            4 => PersonEvent::PasswordSet {},
            5 => PersonEvent::SignedIn { session: token },
            6 => PersonEvent::SignedOut { session: token },
            7 => PersonEvent::TokenCreated { token, kind: TokenKind::Machine, expires_at },
            8 => PersonEvent::TokenRevoked { token },
            9 => PersonEvent::ApprovalsDelegated {
                delegation: token,
                to: PersonId(token),
                from: self.later(0),
                until: self.later(900),
                reason: "away".to_owned(),
            },
            10 => PersonEvent::DelegationEnded { delegation: token },
            _ => PersonEvent::AgentInvited { hostname: None, expires_at: self.later(900) },
        };
        self.emit(id.into(), Actor::user(id), vec![event]);
    }

    fn add_connection(&mut self) {
        let id = ConnectionId(self.random.uuid());
        let number = self.connections.len();
        self.connections.push(id);
        let event = ConnectionEvent::Created {
            name: format!("db-{number}"),
            connector: "postgres".to_owned(),
            environment: self.random.pick(&ENVIRONMENTS),
            settings: json!({ "host": "db.example", "port": 5432 }),
            credentials: Some(SecretId(self.random.uuid())),
            host: None,
        };
        let by = self.user();
        self.emit(id.into(), by, vec![event]);
    }

    fn connection_event(&mut self) {
        let id = self.random.pick(&self.connections);
        let checks = vec![Check { name: "login".to_owned(), ok: true, detail: "fine".to_owned() }];
        let event = match self.random.below(12) {
            0 => return self.add_connection(),
            1 => ConnectionEvent::Renamed { name: format!("renamed-{}", self.count) },
            2 => ConnectionEvent::Relabelled { environment: self.random.pick(&ENVIRONMENTS) },
            3 => ConnectionEvent::CredentialsReplaced {
                settings: json!({ "host": "new.example" }),
                credentials: SecretId(self.random.uuid()),
            },
            4 if self.connections.len() > 3 => {
                self.connections.retain(|other| *other != id);
                ConnectionEvent::Removed {}
            }
            5 => ConnectionEvent::DiscoveryFailed {
                kind: "timeout".to_owned(),
                reason: "no answer within 10 s".to_owned(),
            },
            6 => ConnectionEvent::CredentialsOpened {
                purpose: Purpose::Discover,
                change: None,
                reads_for: None,
            },
            7 => ConnectionEvent::Tested { ok: false, checks: Vec::new() },
            8 => ConnectionEvent::Tested { ok: true, checks },
            _ => ConnectionEvent::Discovered {
                found: 3,
                new: 1,
                changed: 1,
                gone: 0,
                duration_ms: 7,
            },
        };
        let by = self.user();
        self.emit(id.into(), by, vec![event]);
    }

    fn facts(&mut self, name: &str) -> Facts {
        let mut relations: Vec<_> = (0..self.random.below(4))
            .filter_map(|_| {
                let to = self.random.below(self.assets.len().max(1));
                let kind = self.random.pick(&KINDS).to_owned();
                self.assets.get(to).map(|asset| Relation { kind, to: asset.id })
            })
            .collect();
        relations.sort();
        relations.dedup();
        let metadata = json!({ "can_login": self.random.one_in(2), "limit": self.random.below(9) });
        Facts { name: name.to_owned(), metadata, relations }
    }

    fn add_asset(&mut self) {
        let id = AssetId(self.random.uuid());
        let number = self.assets.len();
        let key = format!("role/app_{number}");
        let connection = self.random.pick(&self.connections);
        let event = AssetEvent::Discovered {
            connection,
            asset_type: "postgres_role".to_owned(),
            external_key: key.clone(),
            environment: self.random.pick(&ENVIRONMENTS),
            facts: self.facts(&format!("app_{number}")),
        };
        self.assets.push(Asset { id, connection, key, gone: false });
        self.emit(id.into(), Actor::SYSTEM, vec![event]);
    }

    fn asset_event(&mut self) {
        let index = self.random.below(self.assets.len());
        let id = self.assets[index].id;
        if self.random.one_in(3) {
            return self.add_asset();
        }
        let facts = self.facts(&format!("app_{index}"));
        let (by, event) = if self.assets[index].gone {
            self.assets[index].gone = false;
            (Actor::SYSTEM, AssetEvent::Returned { facts })
        } else {
            match self.random.below(5) {
                0 => {
                    self.assets[index].gone = true;
                    (Actor::SYSTEM, AssetEvent::Gone {})
                }
                1 => {
                    let event = AssetEvent::Annotated {
                        owner: Some("team-db".to_owned()),
                        tags: vec!["pci".to_owned(), "web".to_owned()],
                        critical: self.random.one_in(2),
                        environment: self.random.one_in(2).then_some(Environment::Prod),
                    };
                    (self.user(), event)
                }
                _ => {
                    let explained_by = self.changes.last().map(|change| change.id);
                    (Actor::SYSTEM, AssetEvent::Drifted { facts, explained_by })
                }
            }
        };
        self.emit(id.into(), by, vec![event]);
    }

    fn host_event(&mut self) {
        let certificate =
            Certificate { key_hash: "ab".repeat(32), not_after: self.later(24 * 3600) };
        if self.hosts.is_empty() || self.random.one_in(8) {
            let id = HostId(self.random.uuid());
            let hostname = format!("host-{}", self.hosts.len());
            self.hosts.push((id, 0));
            let enrolled = HostEvent::Enrolled {
                hostname: hostname.clone(),
                agent_version: "0.1.0".to_owned(),
                policy_hash: None,
                certificate,
            };
            self.emit(id.into(), Actor::agent(id), vec![enrolled]);
            let created = ConnectionEvent::Created {
                name: hostname,
                connector: "host".to_owned(),
                environment: Environment::Prod,
                settings: json!({}),
                credentials: None,
                host: Some(id),
            };
            return self.emit(ConnectionId(id.0).into(), Actor::SYSTEM, vec![created]);
        }
        // 0 offline, 1 online, 2 locked, 3 revoked
        let index = self.random.below(self.hosts.len());
        let (id, state) = self.hosts[index];
        let reason = || "no poll for 90 s".to_owned();
        let (state, event) = match (state, self.random.below(6)) {
            (3, _) => {
                let (cause, since) = (Cause::HostRevoked, self.later(0));
                (3, HostEvent::Refused { cause, count: 2, since, source: None })
            }
            (0..=2, 0) if self.random.one_in(4) => (3, HostEvent::Revoked { reason: reason() }),
            (0 | 1, 1) if self.random.one_in(4) => (2, HostEvent::Locked { reason: reason() }),
            (2, _) => {
                let (cause, since) = (Cause::TokenUnknown, self.later(0));
                let refused = GatewayEvent::Refused { cause, count: 1, since, source: None };
                return self.emit(GATEWAY.into(), Actor::SYSTEM, vec![refused]);
            }
            (state, 4) if self.random.one_in(2) => {
                let (code, job) = (RefusalCode::Expired, JobId(self.random.uuid()));
                let (since, detail) = (self.later(0), "the order ended".to_owned());
                (state, HostEvent::OrderRefused { code, count: 1, since, job, detail })
            }
            (state, 5) if self.random.one_in(2) => {
                let (code, last_at) = (RefusalCode::BadSignature, self.later(0));
                (state, HostEvent::OrderDistrusted { code, count: 1, total: 1, last_at })
            }
            (state, 2) => (state, HostEvent::Renewed { certificate }),
            (state, 6) => (state, HostEvent::AgentChanged { agent_version: "0.2.0".to_owned() }),
            (state, 3) => (state, HostEvent::PolicyChanged { policy_hash: Some("cd".repeat(32)) }),
            (0, _) => (1, HostEvent::CameOnline {}),
            (_, _) => (0, HostEvent::WentOffline { reason: reason() }),
        };
        self.hosts[index].1 = state;
        self.emit(id.into(), Actor::agent(id), vec![event]);
    }

    fn draft_change(&mut self) {
        let (id, author) = (ChangeId(self.random.uuid()), self.person());
        let targets = (0..=self.random.below(2))
            .map(|_| self.random.below(self.assets.len()))
            .map(|index| self.assets[index].id)
            .collect::<std::collections::BTreeSet<_>>();
        let window = self
            .random
            .one_in(6)
            .then(|| Window { start: self.later(3600), end: self.later(7200) });
        let draft = Draft {
            title: format!("Change {} of \"app\" – ümlaut", self.changes.len()),
            reason: "Leaver process, O'Neil".to_owned(),
            ticket: self.random.one_in(2).then(|| "OPS-17".to_owned()),
            change_type: self.random.pick(&TYPES).to_owned(),
            connection: self.random.pick(&self.connections),
            targets: targets.into_iter().collect(),
            parameters: json!({ "note": "x", "n": 1.5, "big": u64::MAX }),
            window,
            rollout: None,
            auto_rollback: false,
        };
        let drafted = ChangeEvent::Drafted { draft: draft.clone(), rollback_of: None };
        let machine = self.random.one_in(5);
        let by = if machine { Actor::machine(author) } else { Actor::user(author) };
        let mut events = vec![drafted];
        let editor = self.second.pick(&self.people);
        let mut editors = Vec::new();
        if machine && self.second.one_in(2) {
            self.count = self.count.saturating_sub(1);
            let schedule = ScheduleId(self.second.uuid());
            editors.extend((editor != author).then_some(editor));
            events.push(ChangeEvent::MadeBySchedule { schedule, editors: editors.clone() });
        }
        self.emit(id.into(), by, events);
        let phase = Phase::Draft { plan: None };
        self.changes.push(Subject { id, author, editors, draft, rollback_of: None, phase });
    }

    fn plan(&mut self, subject: &Subject) -> Plan {
        let undoes = subject.rollback_of.map(|(_, run)| run);
        let steps = (0..)
            .zip(&subject.draft.targets)
            .map(|(no, asset)| Step {
                no,
                action: subject.draft.change_type.clone(),
                connection: subject.draft.connection,
                target: TargetRef {
                    asset: *asset,
                    kind: "postgres_role".to_owned(),
                    external_key: self
                        .assets
                        .iter()
                        .find(|known| known.id == *asset)
                        .map_or_else(String::new, |known| {
                            format!("{}/{}", known.connection, known.key)
                        }),
                    name: format!("app_{no}"),
                },
                parameters: subject.draft.parameters.clone(),
                effect_class: EffectClass::Verifiable,
                reversibility: Reversibility::Reversible,
                before_fingerprint: fingerprint(&json!({ "can_login": true })),
                summary: "Sets NOLOGIN.".to_owned(),
                rollback: "Sets LOGIN.".to_owned(),
                diff: vec![DiffLine {
                    target: format!("app_{no}"),
                    field: "can_login".to_owned(),
                    before: json!(true),
                    after: json!(false),
                }],
                undoes: undoes.map(|run| Undoes { run, step: no }),
            })
            .collect();
        let ok = !self.random.one_in(8);
        let checks = vec![Check { name: "exists".to_owned(), ok, detail: "the role".to_owned() }];
        let header = PlanHeader {
            change: subject.id,
            change_type: subject.draft.change_type.clone(),
            connection: subject.draft.connection,
            targets: subject.draft.targets.clone(),
            parameters: json!({ "salt": self.random.below(1000) }),
            policy_version: policy::VERSION,
            author: subject.author,
            editors: subject.editors.clone(),
            rollback_of: subject.rollback_of.map(|(change, _)| change),
            rollout: None,
            auto_rollback: false,
            limit_s: None,
        };
        Plan::new(header, steps, checks, Timestamp::from_micros(self.now))
    }

    fn move_change(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        // Young changes move more often, so that most of them come to an end.
        let recent = self.changes.len().min(12);
        let back = if self.random.one_in(6) { self.changes.len() } else { recent };
        let index = self.changes.len() - 1 - self.random.below(back);
        let mut subject = self.changes.remove(index);
        let phase = std::mem::replace(&mut subject.phase, Phase::Closed);
        subject.phase = self.step(&mut subject, phase);
        self.changes.insert(index, subject);
    }

    fn step(&mut self, subject: &mut Subject, phase: Phase) -> Phase {
        let stream = StreamId::from(subject.id);
        let author = Actor::user(subject.author);
        match phase {
            Phase::Draft { plan } => {
                if self.random.one_in(25) {
                    let reason = "not needed any more".to_owned();
                    self.emit(stream, author, vec![ChangeEvent::Cancelled { reason }]);
                    return Phase::Closed;
                }
                let ready = plan.as_ref().is_some_and(Plan::is_ready);
                match plan {
                    Some(plan) if ready && !self.random.one_in(8) => self.submit(subject, plan),
                    plan if subject.rollback_of.is_none() && self.random.one_in(6) => {
                        subject.draft.title.push('!');
                        let editor = self.person();
                        subject.editors.push(editor);
                        subject.editors.sort();
                        subject.editors.dedup();
                        let draft = subject.draft.clone();
                        self.emit(stream, Actor::user(editor), vec![ChangeEvent::Edited { draft }]);
                        drop(plan);
                        Phase::Draft { plan: None }
                    }
                    _ => {
                        let plan = self.plan(subject);
                        let planned = ChangeEvent::Planned { plan: Box::new(plan.clone()) };
                        self.emit(stream, author, vec![planned]);
                        Phase::Draft { plan: Some(plan) }
                    }
                }
            }
            Phase::Submitted { plan, needed, approvers } => {
                self.review(subject, plan, needed, approvers)
            }
            Phase::Approved { plan } => match self.random.below(12) {
                0 => {
                    self.now += 73 * 3600 * 1_000_000;
                    self.emit(stream, Actor::SYSTEM, vec![ChangeEvent::Expired {}]);
                    Phase::Closed
                }
                1 => {
                    self.emit(stream, author, vec![ChangeEvent::Withdrawn {}]);
                    Phase::Draft { plan: Some(plan) }
                }
                _ => {
                    let run = RunId(self.random.uuid());
                    let by = self.user();
                    let digest = plan.digest.clone();
                    self.emit(stream, by, vec![ChangeEvent::ExecutionStarted { run, digest }]);
                    Phase::Executing(Box::new(Running {
                        plan,
                        run,
                        step: 0,
                        attempt: 0,
                        at: At::NotStarted,
                        secrets: Vec::new(),
                    }))
                }
            },
            Phase::Executing(running) => self.execute(subject, *running),
            Phase::Finished { plan, run, how, secrets, revealed } => {
                self.after(subject, plan, run, how, secrets, revealed)
            }
            Phase::RollingBack | Phase::Closed => phase,
        }
    }

    fn submit(&mut self, subject: &Subject, plan: Plan) -> Phase {
        let environment = self.random.pick(&ENVIRONMENTS);
        let base = u8::try_from(2 + self.random.below(8)).unwrap();
        let risk = risk::score(&RiskInputs {
            base,
            environment,
            dependants: &[],
            reversibility: &Reversibility::Reversible,
            history: risk::History::default(),
        });
        let quorum = policy::quorum(risk.level, environment, subject.rollback_of.is_some());
        let (needed, digest) = (quorum.approvals, plan.digest.clone());
        let mut events = vec![ChangeEvent::Submitted {
            digest: digest.clone(),
            environment,
            risk,
            quorum,
            tags: None,
            beforehand: None,
        }];
        if needed == 0 {
            events.push(self.approved(digest));
        }
        self.emit(subject.id.into(), Actor::user(subject.author), events);
        if needed == 0 {
            Phase::Approved { plan }
        } else {
            Phase::Submitted { plan, needed, approvers: Vec::new() }
        }
    }

    fn approved(&self, digest: String) -> ChangeEvent {
        ChangeEvent::Approved { digest, not_before: self.later(0), until: self.later(72 * 3600) }
    }

    fn review(
        &mut self,
        subject: &mut Subject,
        plan: Plan,
        needed: u32,
        mut approvers: Vec<PersonId>,
    ) -> Phase {
        let stream = StreamId::from(subject.id);
        let digest = plan.digest.clone();
        match self.random.below(14) {
            0 => {
                let rejected = ChangeEvent::Rejected { digest, reason: "not now".to_owned() };
                let by = self.user();
                self.emit(stream, by, vec![rejected]);
                Phase::Closed
            }
            1 => {
                let by = Actor::user(subject.author);
                self.emit(stream, by, vec![ChangeEvent::Withdrawn {}]);
                Phase::Draft { plan: Some(plan) }
            }
            2 => {
                let plan = self.plan(subject);
                let planned = ChangeEvent::Planned { plan: Box::new(plan.clone()) };
                self.emit(stream, Actor::user(subject.author), vec![planned]);
                Phase::Draft { plan: Some(plan) }
            }
            _ => {
                let Some(approver) = self.people.iter().copied().find(|person| {
                    *person != subject.author
                        && !subject.editors.contains(person)
                        && !approvers.contains(person)
                }) else {
                    return Phase::Submitted { plan, needed, approvers };
                };
                approvers.push(approver);
                let comment = self.random.one_in(2).then(|| "looks right".to_owned());
                let mut events = vec![ChangeEvent::ApprovalGiven {
                    digest: digest.clone(),
                    comment,
                    as_admin: true,
                    delegator: None,
                }];
                let complete = approvers.len() >= needed as usize;
                if complete {
                    events.push(self.approved(digest));
                }
                self.emit(stream, Actor::user(approver), events);
                if complete {
                    Phase::Approved { plan }
                } else {
                    Phase::Submitted { plan, needed, approvers }
                }
            }
        }
    }

    fn execute(&mut self, subject: &Subject, mut running: Running) -> Phase {
        let stream = StreamId::from(running.run);
        let (step, back) = (running.step, subject.rollback_of.is_some());
        let field = || vec![Field::new("can_login", false)];
        let reason = |kind: &str| Reason { kind: kind.to_owned(), message: format!("was {kind}") };
        let fail = if back { RunOutcome::RollbackPartial } else { RunOutcome::Failed };
        let (next, event) = match running.at {
            At::NotStarted => {
                let undoes = subject.rollback_of.map(|(_, run)| run);
                if let Some((original, _)) = subject.rollback_of {
                    let (rollback, run) = (subject.id, running.run);
                    let started = ChangeEvent::RollbackStarted { rollback, run };
                    self.emit(original.into(), Actor::SYSTEM, vec![started]);
                }
                let (change, plan) = (subject.id, Box::new(running.plan.clone()));
                (
                    At::Unclaimed,
                    RunEvent::Started { change, plan, approvals: Vec::new(), undoes, part: None },
                )
            }
            At::Unclaimed => {
                (At::Planned, RunEvent::Claimed { epoch: 1, worker: self.random.uuid() })
            }
            At::Planned if back && self.random.one_in(10) => {
                let (before, after, now) = (field(), field(), field());
                let blocked =
                    RunEvent::StepBlocked { step, before, after, now, reason: reason("moved") };
                (At::Ended(RunOutcome::RollbackBlocked), blocked)
            }
            At::Planned => {
                running.attempt += 1;
                let before = Captured {
                    fields: vec![Field::new("can_login", true)],
                    fingerprint: fingerprint(&json!(true)),
                    sealed: Some(SecretId(self.random.uuid())),
                };
                let (attempt, key) = (running.attempt, format!("{}-{step}", running.run));
                (At::Intended, RunEvent::StepIntended { step, epoch: 1, attempt, key, before })
            }
            At::Intended => match self.random.below(12) {
                0 => (
                    At::Ended(fail),
                    RunEvent::StepFailed { step, epoch: 1, reason: reason("refused") },
                ),
                1 => (
                    At::Unknown,
                    RunEvent::StepUnknown { step, epoch: 1, reason: reason("timeout") },
                ),
                n => {
                    let id = SecretId(self.random.uuid());
                    let secret = Produced { id, name: "password".to_owned() };
                    let produced = if n < 5 { vec![secret] } else { Vec::new() };
                    running.secrets.extend(produced.iter().cloned());
                    let outcome = json!({ "rows": 1 });
                    (
                        At::Effect,
                        RunEvent::StepSucceeded {
                            step,
                            epoch: 1,
                            outcome,
                            produced,
                            undo_until: None,
                        },
                    )
                }
            },
            At::Unknown => {
                let finding =
                    self.random.pick(&[Finding::Applied, Finding::NotApplied, Finding::Conflict]);
                let next = match finding {
                    Finding::Applied => At::Effect,
                    Finding::NotApplied => At::Planned,
                    Finding::Conflict => At::Ended(RunOutcome::OutcomeUnknown),
                };
                let evidence = "read rolcanlogin".to_owned();
                let reconciled = RunEvent::StepReconciled {
                    step,
                    finding,
                    evidence,
                    observed: field(),
                    produced: Vec::new(),
                };
                (next, reconciled)
            }
            At::Effect if self.random.one_in(15) => {
                let reason = reason("unverified");
                (At::Ended(fail), RunEvent::StepUnverified { step, observed: field(), reason })
            }
            At::Effect => {
                running.step += 1;
                running.attempt = 0;
                let last = running.step as usize >= running.plan.steps.len();
                let next = if last { At::Ended(RunOutcome::Complete) } else { At::Planned };
                let fingerprint = fingerprint(&json!(false));
                (next, RunEvent::StepVerified { step, observed: field(), fingerprint })
            }
            At::Ended(outcome) => return self.end(subject, running, outcome),
        };
        self.emit(stream, Actor::SYSTEM, vec![event]);
        running.at = next;
        Phase::Executing(Box::new(running))
    }

    fn end(&mut self, subject: &Subject, running: Running, outcome: RunOutcome) -> Phase {
        let Running { plan, run, secrets, .. } = running;
        let reason = "the step says why".to_owned();
        let (this, system) = (subject.id, Actor::SYSTEM);
        let finished =
            RunEvent::Finished { outcome, reason: Some(reason.clone()), secrets: secrets.clone() };
        self.emit(run.into(), system, vec![finished]);
        let own = match outcome {
            RunOutcome::Complete => ChangeEvent::Completed { run, secrets: secrets.clone() },
            RunOutcome::Failed => {
                ChangeEvent::Failed { run, reason: reason.clone(), secrets: secrets.clone() }
            }
            RunOutcome::OutcomeUnknown => ChangeEvent::OutcomeUnknown {
                run,
                reason: reason.clone(),
                secrets: secrets.clone(),
            },
            RunOutcome::RollbackPartial => {
                ChangeEvent::RollbackPartial { rollback: this, run, reason: reason.clone() }
            }
            RunOutcome::RollbackBlocked => {
                ChangeEvent::RollbackBlocked { rollback: this, run, reason: reason.clone() }
            }
        };
        self.emit(this.into(), system, vec![own]);
        let Some((original, _)) = subject.rollback_of else {
            return Phase::Finished { plan, run, how: outcome, secrets, revealed: false };
        };
        let rollback = this;
        let undone = match outcome {
            RunOutcome::Complete => ChangeEvent::RolledBack { rollback, run },
            RunOutcome::RollbackBlocked => ChangeEvent::RollbackBlocked { rollback, run, reason },
            RunOutcome::Failed | RunOutcome::OutcomeUnknown | RunOutcome::RollbackPartial => {
                ChangeEvent::RollbackPartial { rollback, run, reason }
            }
        };
        self.emit(original.into(), system, vec![undone]);
        Phase::Closed
    }

    fn after(
        &mut self,
        subject: &Subject,
        plan: Plan,
        run: RunId,
        how: RunOutcome,
        secrets: Vec<Produced>,
        revealed: bool,
    ) -> Phase {
        if !revealed && let Some(secret) = secrets.first() {
            let event = ChangeEvent::SecretRevealed { secret: secret.id };
            self.emit(subject.id.into(), Actor::user(subject.author), vec![event]);
            return Phase::Finished { plan, run, how, secrets, revealed: true };
        }
        match how {
            RunOutcome::Complete | RunOutcome::Failed if self.random.one_in(3) => {
                let (id, author) = (ChangeId(self.random.uuid()), self.person());
                let draft = Draft { title: "Undo".to_owned(), ..subject.draft.clone() };
                let rollback_of = Some(subject.id);
                let drafted = ChangeEvent::Drafted { draft: draft.clone(), rollback_of };
                self.emit(id.into(), Actor::user(author), vec![drafted]);
                self.changes.push(Subject {
                    id,
                    author,
                    editors: Vec::new(),
                    draft,
                    rollback_of: Some((subject.id, run)),
                    phase: Phase::Draft { plan: None },
                });
                Phase::RollingBack
            }
            RunOutcome::Complete
            | RunOutcome::Failed
            | RunOutcome::OutcomeUnknown
            | RunOutcome::RollbackPartial
            | RunOutcome::RollbackBlocked => Phase::Finished { plan, run, how, secrets, revealed },
        }
    }
}
