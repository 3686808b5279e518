//! The log, the lease, the network, the target, and what may happen next.

#![expect(clippy::indexing_slicing, reason = "workers are numbered, and there are two")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use nexplane_core::catalog::EffectClass;
use nexplane_core::run::event::{Finding, RunOutcome};
use nexplane_core::run::{Run, RunCommand, RunRejection, RunState, Running, StepPhase};
use stateright::{Model, Property};

use super::worker::{At, Worker};
use crate::run::wish;
use crate::*;

/// Ticks that a lease lasts.
pub const LEASE: u8 = 2;
/// Ticks that a worker counts on it, from before it asked.
pub const CERTAIN: u8 = 1;
/// Ticks that a message is on its way at most.
const FLIGHT: u8 = 2;
/// Ticks that an effect without an answer is waited for.
pub const SETTLE: u8 = FLIGHT;

pub const EPOCHS: u32 = 3;
pub const ATTEMPTS: u32 = 2;

/// As many moves come to the end when nothing fails, and far fewer.
const FAIR: usize = 100;

thread_local! {
    /// Worlds that are known to come to an end. A checker has a thread of its own.
    static ENDING: RefCell<HashSet<u64>> = RefCell::default();
}

pub const TWICE: &str = "no effect happens twice";
pub const NAKED: &str = "no effect happens without an intent in the log";
pub const EMPTY: &str = "no step counts as done without its effect";
pub const DENIED: &str = "what is said not to have happened does not happen";
pub const ENDS: &str = "when nothing more fails, it comes to an end";

/// What keeps it safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The log takes orders of the newest epoch only.
    EpochFence,
    /// A worker looks at its lease right before it intends, and before it sends.
    Deadline,
    /// An effect without an answer is waited for before the target is read.
    SettleWindow,
    /// The target is read before another attempt.
    ReadBack,
    /// The intent is in the log before anything is sent.
    IntentFirst,
}

impl Protection {
    pub const ALL: [Self; 5] =
        [Self::EpochFence, Self::Deadline, Self::SettleWindow, Self::ReadBack, Self::IntentFirst];
}

#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub class: EffectClass,
    pub without: Option<Protection>,
    /// How many crashes there are at most.
    pub crashes: u8,
}

/// What somebody knows of the run. Two of them are the same when the step is in the same phase, by the
/// same epoch's attempt: nothing else differs here.
#[derive(Clone, Debug)]
pub struct Known {
    state: Arc<RunState>,
    key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    is_finished: bool,
    epoch: u32,
    phase: Option<Discriminant<StepPhase>>,
    /// Of the intent.
    by: Option<(u32, u32)>,
    finding: Option<Finding>,
}

impl Known {
    fn new(state: RunState) -> Self {
        let run = match &state {
            RunState::Absent => None,
            RunState::Running(run) => Some(run),
            RunState::Finished(finished) => Some(&finished.run),
        };
        let phase = run.and_then(|run| run.steps.first());
        let (intent, finding) = match phase {
            None | Some(StepPhase::Planned | StepPhase::Blocked { .. }) => (None, None),
            Some(StepPhase::Reconciled { intent, finding }) => (Some(intent), Some(*finding)),
            Some(
                StepPhase::Intended(intent)
                | StepPhase::Failed { intent, .. }
                | StepPhase::Unknown { intent, .. },
            ) => (Some(intent), None),
            Some(StepPhase::Succeeded(effect) | StepPhase::Unverified { effect, .. }) => {
                (Some(&effect.intent), None)
            }
            Some(StepPhase::Verified(verified)) => (Some(&verified.effect.intent), None),
        };
        let key = Key {
            is_finished: matches!(state, RunState::Finished(_)),
            epoch: run.map_or(0, |run| run.epoch),
            phase: phase.map(discriminant),
            by: intent.map(|intent| (intent.epoch, intent.attempt)),
            finding,
        };
        Self { state: Arc::new(state), key }
    }

    pub fn state(&self) -> &RunState {
        &self.state
    }

    pub fn run(&self) -> Option<&Running> {
        match &*self.state {
            RunState::Absent => None,
            RunState::Running(run) => Some(run),
            RunState::Finished(finished) => Some(&finished.run),
        }
    }

    pub fn phase(&self) -> Option<&StepPhase> {
        self.run()?.steps.first()
    }

    pub const fn epoch(&self) -> u32 {
        self.key.epoch
    }

    pub const fn is_finished(&self) -> bool {
        self.key.is_finished
    }

    /// The attempt that the step is at.
    pub fn attempt(&self) -> u32 {
        self.key.by.map_or(0, |(_, attempt)| attempt)
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// The row of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// None when that worker crashed: another process comes back.
    pub holder: Option<usize>,
    pub left: u8,
}

/// An effect on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub from: usize,
    pub epoch: u32,
    pub attempt: u32,
    /// How often it was asked for again with the same key.
    pub again: u8,
    pub left: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub log: Known,
    pub lease: Option<Lease>,
    pub workers: [Worker; 2],
    pub flying: Vec<Message>,
    /// How often the target has had the effect.
    pub effects: u8,
    /// An effect came before its intent was in the log.
    naked: bool,
    /// The log refused a worker of an older epoch.
    pub fenced_off: bool,
    crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Take(usize),
    Beat(usize),
    Move(usize),
    /// The answer is not waited for any longer.
    GiveUp(usize),
    Crash(usize),
    Deliver(usize),
    /// The same, and the answer is lost.
    DeliverUnheard(usize),
    /// The target says no.
    Refuse(usize),
    Lose(usize),
    Tick,
}

impl World {
    /// Who waits for the answer to a message.
    fn waits_for(&self, message: &Message) -> bool {
        let worker = &self.workers[message.from];
        worker.at == At::Waiting && worker.epoch == message.epoch && worker.again == message.again
    }

    fn hear(&mut self, message: &Message, yes: bool) {
        if self.waits_for(message) {
            self.workers[message.from].at = At::Heard { yes };
        }
    }

    fn tick(&mut self) {
        self.lease = self
            .lease
            .filter(|lease| lease.left > 1)
            .map(|lease| Lease { left: lease.left - 1, ..lease });
        for worker in &mut self.workers {
            worker.certain = worker.certain.saturating_sub(1);
            if let At::Settling { left } = &mut worker.at {
                *left = left.saturating_sub(1);
            }
        }
        for message in &mut self.flying {
            message.left -= 1;
        }
        self.flying.retain(|message| message.left > 0);
    }

    pub fn is_held_by(&self, worker: usize) -> bool {
        self.lease.is_some_and(|lease| lease.holder == Some(worker))
    }
}

impl Protocol {
    pub fn has(self, protection: Protection) -> bool {
        self.without != Some(protection)
    }

    /// Tells the log; answers whether it agreed. A worker that it refuses leaves the run alone.
    pub fn tell(world: &mut World, worker: usize, command: RunCommand) -> bool {
        let asked = Asked { by: Principal::SYSTEM, at: moment(0), command };
        match Run::decide(world.log.state(), asked) {
            Ok(events) => {
                world.log = Known::new(fold::<Run>(world.log.state().clone(), &events));
                world.workers[worker].seen = Some(world.log.clone());
                true
            }
            Err(no) => {
                world.fenced_off |= matches!(no, RunRejection::Fenced { .. });
                world.workers[worker].leave();
                false
            }
        }
    }

    pub fn send(world: &mut World, from: usize, attempt: u32) {
        let Worker { epoch, again, .. } = world.workers[from];
        world.flying.push(Message { from, epoch, attempt, again, left: FLIGHT });
    }

    /// What the target makes of a message: yes or no.
    fn take_effect(self, world: &mut World, message: &Message) -> bool {
        match self.class {
            // It remembers the key, which is the same for all attempts, and its answer.
            EffectClass::Keyed if world.effects > 0 => true,
            // It is no longer at the version that the message names.
            EffectClass::Fenced if world.effects > 0 => false,
            EffectClass::Keyed
            | EffectClass::Fenced
            | EffectClass::Verifiable
            | EffectClass::Unprotected => {
                world.effects += 1;
                world.naked |= world.log.attempt() < message.attempt;
                true
            }
        }
    }

    fn apply(self, world: &World, action: Action) -> World {
        let mut world = world.clone();
        match action {
            Action::Take(no) => {
                world.lease = Some(Lease { holder: Some(no), left: LEASE });
                world.workers[no] = Worker {
                    at: At::Taken,
                    certain: CERTAIN,
                    seen: Some(world.log.clone()),
                    ..Worker::AWAY
                };
            }
            Action::Beat(no) => {
                world.lease = Some(Lease { holder: Some(no), left: LEASE });
                world.workers[no].certain = CERTAIN;
            }
            Action::Move(no) => self.go_on(&mut world, no),
            Action::GiveUp(no) => self.give_up(&mut world, no),
            Action::Crash(no) => {
                world.crashes += 1;
                world.workers[no].leave();
                if let Some(lease) = &mut world.lease
                    && lease.holder == Some(no)
                {
                    lease.holder = None;
                }
            }
            Action::Deliver(index) => {
                let message = world.flying.remove(index);
                let yes = self.take_effect(&mut world, &message);
                world.hear(&message, yes);
            }
            Action::DeliverUnheard(index) => {
                let message = world.flying.remove(index);
                self.take_effect(&mut world, &message);
            }
            Action::Refuse(index) => {
                let message = world.flying.remove(index);
                world.hear(&message, false);
            }
            Action::Lose(index) => {
                world.flying.remove(index);
            }
            Action::Tick => world.tick(),
        }
        world
    }

    /// Whether the run ends when nothing more fails: messages arrive and are heard, hearts beat, and
    /// everybody has their turn.
    fn comes_to_an_end(self, world: &World) -> bool {
        let mut world = world.clone();
        let mut course = Vec::new();
        for _ in 0..FAIR {
            let mut place = DefaultHasher::new();
            world.hash(&mut place);
            let place = place.finish();
            if world.log.is_finished() || ENDING.with_borrow(|ending| ending.contains(&place)) {
                ENDING.with_borrow_mut(|ending| ending.extend(course));
                return true;
            }
            course.push(place);
            let action = fair(&world);
            world = self.apply(&world, action);
        }
        false
    }
}

fn fair(world: &World) -> Action {
    if !world.flying.is_empty() {
        return Action::Deliver(0);
    }
    let mut waits = false;
    for (no, worker) in world.workers.iter().enumerate() {
        if worker.at == At::Away {
            continue;
        }
        if world.is_held_by(no) && worker.certain < CERTAIN {
            return Action::Beat(no);
        }
        match worker.at {
            At::Settling { left: 1.. } => waits = true,
            At::Waiting => return Action::GiveUp(no),
            At::Away
            | At::Taken
            | At::Ready
            | At::Looked { .. }
            | At::Sending
            | At::Heard { .. }
            | At::Settling { left: 0 }
            | At::Found(_)
            | At::Read { .. } => return Action::Move(no),
        }
    }
    let free = |no: &usize| world.lease.is_none() || world.is_held_by(*no);
    match (0..world.workers.len()).find(free) {
        Some(no) if !waits => Action::Take(no),
        _ => Action::Tick,
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let start = RunCommand::Start {
            change: wish::CHANGE,
            plan: Box::new(wish::plan(&[self.class])),
            approvals: vec![OWNER],
            undoes: None,
            part: None,
        };
        let asked = Asked { by: Principal::SYSTEM, at: moment(0), command: start };
        let events = Run::decide(&RunState::Absent, asked).expect("nothing has happened yet");
        vec![World {
            log: Known::new(fold::<Run>(RunState::Absent, &events)),
            lease: None,
            workers: [Worker::AWAY, Worker::AWAY],
            flying: Vec::new(),
            effects: 0,
            naked: false,
            fenced_off: false,
            crashes: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (no, worker) in world.workers.iter().enumerate() {
            if worker.at == At::Away {
                let free = world.lease.is_none() || world.is_held_by(no);
                if free && !world.log.is_finished() && world.log.epoch() < EPOCHS {
                    actions.push(Action::Take(no));
                }
                continue;
            }
            if world.is_held_by(no)
                && (worker.certain < CERTAIN || world.lease.is_some_and(|l| l.left < LEASE))
            {
                actions.push(Action::Beat(no));
            }
            if world.crashes < self.crashes {
                actions.push(Action::Crash(no));
            }
            if worker.at == At::Waiting {
                actions.push(Action::GiveUp(no));
            } else if Self::may_go_on(worker) {
                actions.push(Action::Move(no));
            }
        }
        for (index, message) in world.flying.iter().enumerate() {
            actions.extend([Action::DeliverUnheard(index), Action::Lose(index)]);
            if world.waits_for(message) {
                actions.push(Action::Deliver(index));
                if message.again == 0 {
                    actions.push(Action::Refuse(index));
                }
            }
        }
        let runs = |worker: &Worker| worker.certain > 0 || worker.is_settling();
        if world.lease.is_some() || !world.flying.is_empty() || world.workers.iter().any(runs) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(self.apply(world, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(TWICE, |_, world: &World| world.effects <= 1),
            Property::always(NAKED, |_, world: &World| !world.naked),
            Property::always(EMPTY, |_, world: &World| {
                let is_done = match world.log.phase() {
                    Some(
                        StepPhase::Succeeded(_)
                        | StepPhase::Verified(_)
                        | StepPhase::Reconciled { finding: Finding::Applied, .. },
                    ) => true,
                    Some(
                        StepPhase::Planned
                        | StepPhase::Intended(_)
                        | StepPhase::Unverified { .. }
                        | StepPhase::Failed { .. }
                        | StepPhase::Unknown { .. }
                        | StepPhase::Reconciled { .. }
                        | StepPhase::Blocked { .. },
                    )
                    | None => false,
                };
                !is_done || world.effects > 0
            }),
            Property::always(DENIED, |_, world: &World| {
                let is_denied = match world.log.phase() {
                    Some(
                        StepPhase::Failed { .. }
                        | StepPhase::Blocked { .. }
                        | StepPhase::Reconciled { finding: Finding::NotApplied, .. },
                    ) => true,
                    Some(
                        StepPhase::Planned
                        | StepPhase::Intended(_)
                        | StepPhase::Succeeded(_)
                        | StepPhase::Verified(_)
                        | StepPhase::Unverified { .. }
                        | StepPhase::Unknown { .. }
                        | StepPhase::Reconciled { .. },
                    )
                    | None => false,
                };
                !is_denied || world.effects == 0
            }),
            Property::always(ENDS, |model: &Self, world: &World| model.comes_to_an_end(world)),
        ];
        if self.without.is_some() {
            return properties;
        }
        properties.extend([
            Property::sometimes("it completes", |_, world: &World| {
                outcome(world) == Some(RunOutcome::Complete)
            }),
            Property::sometimes("the target says no", |_, world: &World| {
                outcome(world) == Some(RunOutcome::Failed)
            }),
            Property::sometimes("a worker that lost its lease is refused", |_, world: &World| {
                world.fenced_off
            }),
            Property::sometimes(
                "the last epoch completes what others began",
                |_, world: &World| {
                    world.log.epoch() == EPOCHS
                        && (outcome(world) == Some(RunOutcome::Complete)
                            || outcome(world) == Some(RunOutcome::OutcomeUnknown))
                },
            ),
        ]);
        match self.class {
            EffectClass::Fenced | EffectClass::Verifiable => {
                properties.push(Property::sometimes(
                    "the last attempt completes",
                    |_, world: &World| {
                        world.log.attempt() == ATTEMPTS
                            && outcome(world) == Some(RunOutcome::Complete)
                    },
                ));
            }
            EffectClass::Keyed | EffectClass::Unprotected => {
                properties
                    .push(Property::always("it is never attempted again", |_, world: &World| {
                        world.log.attempt() <= 1
                    }));
                properties.push(Property::sometimes("a person is asked", |_, world: &World| {
                    outcome(world) == Some(RunOutcome::OutcomeUnknown)
                }));
            }
        }
        properties
    }
}

fn outcome(world: &World) -> Option<RunOutcome> {
    match world.log.state() {
        RunState::Finished(finished) => Some(finished.outcome),
        RunState::Absent | RunState::Running(_) => None,
    }
}
