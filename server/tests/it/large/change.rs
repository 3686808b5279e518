//! Changes, from their draft to what became of them.

use std::collections::BTreeSet;

use nexplane_core::actor::Role;
use nexplane_core::aggregate::Principal;
use nexplane_core::catalog::ActionSpec;
use nexplane_core::change::event::{Draft, Found, Window};
use nexplane_core::change::{
    Change, ChangeCommand, ChangeState, Finish, Outcome, may_roll_back, rollback_draft,
};
use nexplane_core::connection::{ConnectionCommand, Purpose};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{ChangeId, ConnectionId, PersonId, ProjectId, RunId};
use nexplane_core::plan::{
    Check, DiffLine, Field, Plan, PlanHeader, Step, TargetRef, Undoes, fingerprint,
};
use nexplane_core::policy::Known;
use nexplane_core::project::ProjectCommand;
use nexplane_core::risk::{self, Dependant, History, RiskInputs};
use nexplane_core::run::event::{Captured, Reason};
use nexplane_core::run::{Run, RunCommand, RunState, Terms};
use nexplane_core::time::Timestamp;
use serde_json::json;

use super::{DAY_S, Kept, Life, SYSTEM, Size, Thing, World};

/// Members of a project.
const MEMBERS: usize = 5;
const WHY: [&str; 8] = [
    "The auditors asked for it in spring.",
    "It follows from the incident of last week, see the report.",
    "The team has moved, and nobody needs it any more.",
    "The vendor no longer supports the old setting.",
    "Capacity runs out within the month.",
    "The runbook says so, and it was never done here.",
    "A customer has to see it before the end of the quarter.",
    "It is what all others have, and this one differs.",
];

/// Has all changes begin, but rollbacks, which follow from others.
pub(super) fn begin(world: &mut World, size: Size) {
    // About one in sixteen is undone, by a change of its own.
    let from = if size.goes_well { 5 } else { 95 };
    for _ in 0..size.changes * 16 / 17 {
        let at = world.moment(from, 100);
        let fate = Fate::by(world, at);
        world.begin(at, Changing::new(fate));
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Complete,
    Failed,
    Unknown,
    Settled,
    RolledBack,
    /// Somebody moves the target before it is undone.
    Blocked,
    Rejected,
    Cancelled,
    Expired,
    /// Nobody submits it.
    Draft,
    /// Nobody approves it.
    Waiting,
    /// It begins after the year.
    Scheduled,
    /// Its first answer does not come.
    Executing,
}

impl Fate {
    fn by(world: &mut World, at: Timestamp) -> Self {
        let left = world.end.seconds_since(at);
        match world.chance.below(1_000) {
            0..100 if (DAY_S..2 * DAY_S).contains(&left) => Self::Scheduled,
            100..200 if (2 * DAY_S..4 * DAY_S).contains(&left) => Self::Executing,
            0..200 if !world.goes_well => Self::Unknown,
            200..400 if !world.goes_well => Self::Settled,
            0..700 | 785..845 if !world.goes_well => Self::Failed,
            0..700 => Self::Complete,
            700..760 => Self::Failed,
            760..770 => Self::Unknown,
            770..785 => Self::Settled,
            785..835 => Self::RolledBack,
            835..845 => Self::Blocked,
            845..885 => Self::Rejected,
            885..925 => Self::Cancelled,
            925..955 => Self::Expired,
            955..980 => Self::Draft,
            _ => Self::Waiting,
        }
    }
}

enum Phase {
    Draft,
    Plan,
    Submit,
    Review,
    Execute,
    Run,
    Claim,
    Intend(u32),
    Answer(u32),
    Verify(u32),
    Finish,
    Report,
    After,
}

struct Changing {
    fate: Fate,
    phase: Phase,
    id: ChangeId,
    place: usize,
    things: Vec<Thing>,
    author: Option<Principal>,
    change: Option<Kept<Change>>,
    run: Option<Kept<Run>>,
    /// On a rollback: what it undoes.
    undone: Option<Box<Kept<Change>>>,
}

impl Changing {
    fn new(fate: Fate) -> Self {
        Self {
            fate,
            phase: Phase::Draft,
            id: ChangeId(uuid::Uuid::nil()),
            place: 0,
            things: Vec::new(),
            author: None,
            change: None,
            run: None,
            undone: None,
        }
    }

    fn tell(&mut self, world: &mut World, by: &Principal, at: Timestamp, command: ChangeCommand) {
        let World { chance, out, .. } = world;
        self.change.as_mut().unwrap().tell((chance, out), by, at, command);
    }

    fn state(&self) -> &ChangeState {
        &self.change.as_ref().unwrap().state
    }

    fn author(&self) -> Principal {
        self.author.clone().unwrap()
    }

    fn own(&self) -> PersonId {
        self.author().actor.person().unwrap()
    }

    fn draft(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        self.id = ChangeId(world.id(at));
        self.author = Some(world.somebody(Role::Operator, &[]));
        let (draft, rollback_of) = match &self.undone {
            Some(undone) => {
                let of = ChangeId(undone.id.id);
                (rollback_draft(of, &undone.state.subject()?.draft), Some(of))
            }
            None => (self.drafted(world)?, None),
        };
        self.change = Some(Kept::new(self.id));
        let by = self.author();
        self.tell(world, &by, at, ChangeCommand::Draft { draft, rollback_of });
        if self.undone.is_none() && world.chance.percent(3) {
            self.join(at, world);
        }
        match self.fate {
            Fate::Complete if self.undone.is_none() => {
                world.made.change.get_or_insert(self.id);
            }
            Fate::Waiting => world.made.submitted = Some(self.id),
            _ => {}
        }
        self.phase = Phase::Plan;
        Some(at.plus_seconds(world.chance.between(30, 900)))
    }

    fn drafted(&mut self, world: &mut World) -> Option<Draft> {
        let (place, action) = (0..50).find_map(|_| {
            // What waits for an answer waits for an agent: nobody asks a made-up target.
            let no = world.chance.below(world.places.len());
            let place = &world.places[no];
            if self.fate == Fate::Executing && place.connector != "host" {
                return None;
            }
            let thing = (!place.assets.is_empty()).then(|| world.chance.pick(&place.assets))?;
            let spec = world.catalog.connector(&place.connector)?;
            let fitting: Vec<&ActionSpec> =
                spec.actions.iter().filter(|a| a.target_types.contains(&thing.kind)).collect();
            let action = (!fitting.is_empty()).then(|| (*world.chance.pick(&fitting)).clone())?;
            self.things = vec![thing.clone()];
            Some((no, action))
        })?;
        self.place = place;
        let World { chance, places, end, .. } = world;
        let place = &places[place];
        for _ in 1..(if chance.percent(75) { 1 } else { 2 + chance.below(5) }) {
            let other = chance.pick(&place.assets);
            if action.target_types.contains(&other.kind) {
                self.things.push(other.clone());
            }
        }
        let mut seen = BTreeSet::new();
        self.things.retain(|thing| seen.insert(thing.id));
        let day = end.plus_seconds(DAY_S / 2);
        Some(Draft {
            title: format!("{} of {}", action.title, self.things[0].name),
            reason: format!("{} {}", chance.pick(&WHY), chance.pick(&WHY)),
            ticket: chance.percent(60).then(|| format!("OPS-{}", chance.below(40_000))),
            change_type: action.id,
            connection: ConnectionId(place.stream.id.id),
            targets: self.things.iter().map(|thing| thing.id).collect(),
            parameters: action.example,
            window: (self.fate == Fate::Scheduled)
                .then(|| Window { start: day, end: day.plus_seconds(DAY_S / 2) }),
            rollout: None,
            auto_rollback: false,
        })
    }

    /// Makes it a member of the project that is open at present.
    fn join(&mut self, at: Timestamp, world: &mut World) {
        let by = self.author();
        let (project, mut stream, members) = world.project.take().unwrap_or_else(|| {
            let id = ProjectId(world.id(at));
            let mut stream = Kept::new(id);
            let World { chance, out, .. } = world;
            let name = format!("Move {} to another site", self.things[0].name);
            let command =
                ProjectCommand::Create { name, description: (*chance.pick(&WHY)).to_owned() };
            stream.tell((chance, out), &by, at, command);
            (id, stream, 0)
        });
        self.tell(world, &by, at, ChangeCommand::JoinProject { project, member_of: None });
        let command = ProjectCommand::AddMember {
            change: self.id,
            after: Vec::new(),
            joined: Some(project),
            this: project,
        };
        let World { chance, out, .. } = world;
        stream.tell((chance, out), &by, at, command);
        world.made.project = Some(project);
        if members + 1 < MEMBERS {
            world.project = Some((project, stream, members + 1));
        }
    }

    fn plan(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let by = self.author();
        self.open(at, world, &by, Purpose::Plan);
        let subject = self.state().subject()?.clone();
        let spec = world.catalog.action(&subject.draft.change_type)?.clone();
        let undone = self.undone.as_ref().and_then(|undone| match &undone.state {
            ChangeState::Finished(finish) => Some(finish.execution.run),
            _ => None,
        });
        let steps = (0..).zip(&self.things).map(|(no, thing)| Step {
            no,
            action: spec.id.clone(),
            connection: subject.draft.connection,
            target: TargetRef {
                asset: thing.id,
                kind: thing.kind.clone(),
                external_key: thing.key.clone(),
                name: thing.name.clone(),
            },
            parameters: subject.draft.parameters.clone(),
            effect_class: spec.effect_class,
            reversibility: spec.reversibility.clone(),
            before_fingerprint: fingerprint(&json!({ "setting": "as it was" })),
            summary: format!("{} of {}", spec.title, thing.name),
            rollback: "It is put back as it was.".to_owned(),
            diff: vec![DiffLine {
                target: thing.name.clone(),
                field: "setting".to_owned(),
                before: json!("as it was"),
                after: json!("as it is wanted"),
            }],
            undoes: undone.map(|run| Undoes { run, step: no }),
        });
        let header = PlanHeader {
            change: self.id,
            change_type: spec.id.clone(),
            connection: subject.draft.connection,
            targets: subject.draft.targets.clone(),
            parameters: subject.draft.parameters.clone(),
            policy_version: world.policy.version,
            author: subject.author,
            editors: subject.editors.iter().copied().collect(),
            rollback_of: subject.rollback_of,
            rollout: None,
            auto_rollback: false,
            limit_s: None,
        };
        let ok = self.fate != Fate::Draft || self.id.0.as_bytes()[14] > 100;
        let detail = if ok { "It is there." } else { "It is not there. Look at its name." };
        let check = Check { name: "target".to_owned(), ok, detail: detail.to_owned() };
        let plan = Box::new(Plan::of_a_run(header, steps.collect(), vec![check], at));
        self.tell(world, &by, at, ChangeCommand::RecordPlan { plan });
        if self.fate == Fate::Draft {
            return None;
        }
        self.phase = Phase::Submit;
        Some(at.plus_seconds(world.chance.between(30, 3_000)))
    }

    /// Records that credentials were used, where there are some.
    fn open(&self, at: Timestamp, world: &mut World, by: &Principal, purpose: Purpose) {
        let World { chance, out, places, .. } = world;
        let place = &mut places[self.place];
        if place.has_credentials {
            let command = ConnectionCommand::OpenCredentials {
                purpose,
                change: Some(self.id),
                reads_for: None,
            };
            place.stream.tell((chance, out), by, at, command);
        }
    }

    fn submit(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let spec = world.catalog.action(&self.state().subject()?.draft.change_type)?;
        let environment = world.places[self.place].environment;
        let dependants: Vec<_> = (0..world.chance.below(12) / 3)
            .map(|no| Dependant { depth: 1, critical: no == 2 })
            .collect();
        let (finished, failed) = world.history;
        let risk = risk::score(&RiskInputs {
            base: spec.base_risk,
            environment,
            dependants: &dependants,
            reversibility: &spec.reversibility,
            history: History { finished, failed },
        });
        let tags = self.things.iter().flat_map(|thing| thing.tags.iter().cloned()).collect();
        let (known, policy) = (Known::default(), world.policy.clone());
        let by = self.author();
        self.tell(world, &by, at, ChangeCommand::Submit { environment, risk, tags, known, policy });
        self.phase = if matches!(self.state(), ChangeState::Approved(_)) {
            Phase::Execute
        } else if self.fate == Fate::Waiting {
            return None;
        } else {
            Phase::Review
        };
        Some(at.plus_seconds(world.chance.between(300, DAY_S / 3)))
    }

    /// One approval more, or its end.
    fn review(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let ChangeState::Submitted(submission) = self.state() else { return None };
        let mut but: Vec<PersonId> = submission.approvals.iter().map(|given| given.by).collect();
        let (given, needed) = (u32::try_from(but.len()).ok()?, submission.quorum.approvals);
        but.push(self.own());
        let wants_admin = submission.quorum.admin && given + 1 == needed;
        let digest = submission.plan.digest.clone();
        match self.fate {
            Fate::Rejected => {
                let by = world.somebody(Role::Approver, &but);
                let reason = "Not in this quarter.".to_owned();
                self.tell(world, &by, at, ChangeCommand::Reject { reason });
                return None;
            }
            Fate::Cancelled => {
                let by = self.author();
                let reason = "It is not needed any more.".to_owned();
                self.tell(world, &by, at, ChangeCommand::Cancel { reason });
                return None;
            }
            _ => {}
        }
        let mut by = world.somebody(Role::Approver, &but);
        while wants_admin && !by.has(Role::Admin) {
            by = world.somebody(Role::Approver, &but);
        }
        let comment =
            world.chance.percent(30).then(|| "Looked at the plan with the team.".to_owned());
        self.tell(world, &by, at, ChangeCommand::Approve { digest, comment, frozen: Vec::new() });
        if let ChangeState::Approved(approval) = self.state() {
            let until = approval.until;
            self.phase = Phase::Execute;
            if self.fate == Fate::Expired {
                return Some(until);
            }
            return Some(at.plus_seconds(world.chance.between(1_000, DAY_S / 2)));
        }
        Some(at.plus_seconds(world.chance.between(300, DAY_S / 3)))
    }

    fn execute(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let ChangeState::Approved(approval) = self.state() else { return None };
        if at >= approval.until || self.fate == Fate::Expired {
            let until = approval.until;
            if at < until {
                return Some(until);
            }
            self.tell(world, &SYSTEM, at, ChangeCommand::Expire);
            return None;
        }
        if self.fate == Fate::Cancelled || self.fate == Fate::Rejected {
            let by = self.author();
            let reason = "It was done by hand.".to_owned();
            self.tell(world, &by, at, ChangeCommand::Cancel { reason });
            return None;
        }
        if let Some(undone) = &self.undone
            && may_roll_back(&undone.state, &self.author(), at, &[]).is_err()
        {
            return None;
        }
        let run = RunId(world.id(at));
        let by = world.somebody(Role::Operator, &[]);
        let in_the_way = InTheWay::default();
        self.tell(world, &by, at, ChangeCommand::StartExecution { run, in_the_way });
        if !matches!(self.state(), ChangeState::Executing(_)) {
            return None;
        }
        self.run = Some(Kept::new(run));
        self.phase = Phase::Run;
        Some(at.plus_seconds(1))
    }

    fn order(&mut self, at: Timestamp, world: &mut World, command: RunCommand) {
        let World { chance, out, .. } = world;
        self.run.as_mut().unwrap().tell((chance, out), &SYSTEM, at, command);
    }

    fn start(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let ChangeState::Executing(execution) = self.state() else { return None };
        let execution = execution.clone();
        let mut undoes = None;
        if let Some(undone) = &mut self.undone {
            let World { chance, out, .. } = world;
            let (rollback, run, later) = (self.id, execution.run, Vec::new());
            let command = ChangeCommand::StartRollback { rollback, run, later };
            undone.tell((chance, out), &SYSTEM, at, command);
            if let ChangeState::Finished(Finish { execution, .. }) = &undone.state {
                undoes = Some(execution.run);
            }
        }
        self.open(at, world, &SYSTEM, Purpose::Execute);
        let command = RunCommand::Start {
            change: self.id,
            plan: execution.plan,
            approvals: execution.approvers,
            undoes,
            part: None,
        };
        self.order(at, world, command);
        self.phase = Phase::Claim;
        Some(at)
    }

    fn intend(&mut self, at: Timestamp, world: &mut World, step: u32) -> Option<Timestamp> {
        let field = |value: &str| vec![Field::new("setting", value)];
        if self.fate == Fate::Blocked && self.undone.is_some() {
            let kind = "moved".to_owned();
            let message = "Somebody set it to something else meanwhile.".to_owned();
            let command = RunCommand::Block {
                step,
                epoch: 1,
                before: field("as it was"),
                after: field("as it is wanted"),
                now: field("as somebody else wanted it"),
                reason: Reason { kind, message },
            };
            self.order(at, world, command);
            self.phase = Phase::Finish;
            return Some(at);
        }
        let ChangeState::Executing(execution) = self.state() else { return None };
        let terms = Some(Terms::of(self.id, execution, None, Vec::new()));
        let before = Captured {
            fields: field("as it was"),
            fingerprint: fingerprint(&json!({ "setting": "as it was" })),
            sealed: None,
        };
        let key = format!("{}/{step}/1", execution.run);
        let (in_the_way, held) = (InTheWay::default(), None);
        let command = RunCommand::Intend { step, epoch: 1, key, before, in_the_way, held, terms };
        self.order(at, world, command);
        if self.fate == Fate::Executing {
            return None;
        }
        self.phase = Phase::Answer(step);
        Some(at)
    }

    fn answer(&mut self, at: Timestamp, world: &mut World, step: u32) -> Option<Timestamp> {
        let (epoch, first) = (1, self.undone.is_none());
        let reason = |kind: &str, message: &str| Reason {
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        let command = match self.fate {
            Fate::Failed => {
                let reason = reason("refused", "The target says that it may not be changed.");
                RunCommand::Fail { step, epoch, reason }
            }
            Fate::Unknown | Fate::Settled if first => {
                let reason = reason("timeout", "There was no answer within 60 s.");
                RunCommand::LoseSight { step, epoch, reason }
            }
            _ => {
                let outcome = json!({ "changed": true });
                let (produced, undo_until) = (Vec::new(), None);
                let command = RunCommand::Succeed { step, epoch, outcome, produced, undo_until };
                self.order(at, world, command);
                self.phase = Phase::Verify(step);
                return Some(at);
            }
        };
        let lost = matches!(command, RunCommand::LoseSight { .. });
        self.order(at, world, command);
        if lost {
            let command = RunCommand::Reconcile {
                step,
                epoch,
                finding: nexplane_core::run::event::Finding::Conflict,
                evidence: "The target says neither.".to_owned(),
                observed: vec![Field::new("setting", "something else")],
                produced: Vec::new(),
            };
            self.order(at, world, command);
        }
        self.phase = Phase::Finish;
        Some(at)
    }

    fn verify(&mut self, at: Timestamp, world: &mut World, step: u32) -> Option<Timestamp> {
        let command = RunCommand::Verify {
            step,
            epoch: 1,
            observed: vec![Field::new("setting", "as it is wanted")],
            fingerprint: fingerprint(&json!({ "setting": "as it is wanted" })),
        };
        self.order(at, world, command);
        let is_last = usize::try_from(step).ok()? + 1 == self.things.len();
        self.phase = if is_last { Phase::Finish } else { Phase::Intend(step + 1) };
        Some(at)
    }

    fn report(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let run = self.run.as_ref()?;
        let RunState::Finished(finished) = &run.state else { return None };
        let (outcome, run) = (finished.outcome, RunId(run.id.id));
        let reason = finished.reason.clone().unwrap_or_else(|| "It went well.".to_owned());
        let command = ChangeCommand::RecordOutcome {
            this: self.id,
            run,
            outcome,
            reason: reason.clone(),
            secrets: Vec::new(),
            undo_until: None,
        };
        self.tell(world, &SYSTEM, at, command);
        world.history.0 += 1;
        world.history.1 += u32::from(self.fate == Fate::Failed);
        if let Some(undone) = &mut self.undone {
            let World { chance, out, .. } = world;
            let command = ChangeCommand::RecordRollback { rollback: self.id, run, outcome, reason };
            undone.tell((chance, out), &SYSTEM, at, command);
            return None;
        }
        self.phase = Phase::After;
        match self.fate {
            Fate::RolledBack | Fate::Blocked | Fate::Settled => {
                Some(at.plus_seconds(world.chance.between(600, 2 * DAY_S)))
            }
            _ => None,
        }
    }

    fn after(&mut self, at: Timestamp, world: &mut World) {
        let ChangeState::Finished(finish) = self.state() else { return };
        if finish.how == Outcome::Unknown {
            let by = world.somebody(Role::Operator, &[self.own()]);
            let applied = !world.goes_well && world.chance.percent(50);
            let finding = if applied { Found::Applied } else { Found::NotApplied };
            let evidence = "Looked at the target.".to_owned();
            self.tell(world, &by, at, ChangeCommand::Settle { finding, evidence, read: None });
            return;
        }
        let by = self.author();
        if may_roll_back(self.state(), &by, at, &[]).is_err() {
            return;
        }
        let undone = self.change.take().map(Box::new);
        let (place, things) = (self.place, self.things.clone());
        world.begin(at, Changing { place, things, undone, ..Self::new(self.fate) });
    }
}

impl Life for Changing {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        match self.phase {
            Phase::Draft => self.draft(at, world),
            Phase::Plan => self.plan(at, world),
            Phase::Submit => self.submit(at, world),
            Phase::Review => self.review(at, world),
            Phase::Execute => self.execute(at, world),
            Phase::Run => self.start(at, world),
            Phase::Claim => {
                let worker = world.id(at);
                self.order(at, world, RunCommand::Claim { worker, after: 0 });
                self.phase = Phase::Intend(0);
                Some(at)
            }
            Phase::Intend(step) => self.intend(at, world, step),
            Phase::Answer(step) => self.answer(at, world, step),
            Phase::Verify(step) => self.verify(at, world, step),
            Phase::Finish => {
                self.order(at, world, RunCommand::Finish { epoch: 1 });
                self.phase = Phase::Report;
                Some(at.plus_seconds(world.chance.between(1, 60)))
            }
            Phase::Report => self.report(at, world),
            Phase::After => {
                self.after(at, world);
                None
            }
        }
    }
}
