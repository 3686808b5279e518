//! A worker: what it knows, which is gone when it crashes, and its next move.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "workers are numbered, and there are two; what cannot be is a defect of the model"
)]

use nexplane_core::catalog::EffectClass;
use nexplane_core::run::StepPhase;
use nexplane_core::run::event::Finding;

use super::world::{ATTEMPTS, Known, Protection, Protocol, SETTLE, World};
use crate::run::wish::{Luck, Wish, order};

/// How often a target that remembers keys is asked again before a person is.
const ASKED_AGAIN: u8 = 2;

/// Where a worker is in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// It has no run.
    Away,
    /// It has the lease, and read the run.
    Taken,
    /// Its epoch's claim is in the log, and its last report.
    Ready,
    /// It has read the target before an attempt.
    Looked { moved: bool },
    /// All is ready to be sent.
    Sending,
    /// It was sent, and there is no answer.
    Waiting,
    /// The target answered; the log does not know it.
    Heard { yes: bool },
    /// It waits until what is on its way must have arrived.
    Settling { left: u8 },
    /// It knows what became of an effect; the log does not.
    Found(Finding),
    /// It has read the target after the effect; the log does not know it.
    Read { satisfied: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub at: At,
    pub epoch: u32,
    /// Ticks for which nobody else can have the lease, as far as it knows.
    pub certain: u8,
    /// How often it asked again with the same key.
    pub again: u8,
    /// The run as it was after its last append.
    pub seen: Option<Known>,
}

impl Worker {
    pub const AWAY: Self = Self { at: At::Away, epoch: 0, certain: 0, again: 0, seen: None };

    pub fn leave(&mut self) {
        *self = Self::AWAY;
    }

    pub fn is_settling(&self) -> bool {
        matches!(self.at, At::Settling { left: 1.. })
    }

    fn phase(&self) -> &StepPhase {
        self.seen.as_ref().and_then(Known::phase).expect("it has read the run")
    }

    /// Of the attempt that it is at, or is about to begin.
    fn attempt(&self) -> u32 {
        let seen = self.seen.as_ref().expect("it has read the run");
        seen.attempt()
            + u32::from(!matches!(self.phase(), StepPhase::Intended(_) | StepPhase::Unknown { .. }))
    }
}

impl Protocol {
    pub fn may_go_on(worker: &Worker) -> bool {
        match worker.at {
            At::Away | At::Waiting | At::Settling { left: 1.. } => false,
            At::Looked { moved: false } => worker.attempt() <= ATTEMPTS,
            At::Taken
            | At::Ready
            | At::Looked { moved: true }
            | At::Sending
            | At::Heard { .. }
            | At::Settling { left: 0 }
            | At::Found(_)
            | At::Read { .. } => true,
        }
    }

    /// The worker's next move. An order that the log refuses ends it.
    pub fn go_on(self, world: &mut World, no: usize) {
        match world.workers[no].at {
            At::Away | At::Waiting | At::Settling { left: 1.. } => {}
            At::Taken => {
                if self.order(world, no, Wish::Claim, Luck::Good) {
                    world.workers[no].epoch = world.log.epoch();
                    world.workers[no].at = At::Ready;
                }
            }
            At::Ready => self.begin(world, no),
            At::Looked { moved: true } => self.report(world, no, Wish::Block, Luck::Moved),
            At::Looked { moved: false } => {
                if self.is_certain(world, no)
                    && (!self.has(Protection::IntentFirst)
                        || self.order(world, no, Wish::Intend, Luck::Good))
                {
                    world.workers[no].at = At::Sending;
                }
            }
            At::Sending => {
                if self.is_certain(world, no) {
                    Self::send(world, no, world.workers[no].attempt());
                    world.workers[no].at = At::Waiting;
                }
            }
            At::Heard { yes } if world.workers[no].again > 0 => {
                let finding = if yes { Finding::Applied } else { Finding::Conflict };
                world.workers[no].at = At::Found(finding);
            }
            At::Heard { yes } => {
                if !self.has(Protection::IntentFirst)
                    && !self.order(world, no, Wish::Intend, Luck::Good)
                {
                    return;
                }
                let wish = if yes { Wish::Succeed } else { Wish::Fail };
                self.report(world, no, wish, Luck::Good);
            }
            At::Settling { left: 0 } => self.settle(world, no),
            At::Found(finding) => self.report(world, no, Wish::Reconcile, Luck::Lost(finding)),
            At::Read { satisfied } => {
                let wish = if satisfied { Wish::Verify } else { Wish::Unverify };
                self.report(world, no, wish, Luck::Good);
            }
        }
    }

    /// What comes next by what it has seen of the step.
    fn begin(self, world: &mut World, no: usize) {
        let worker = &world.workers[no];
        let seen = worker.seen.clone().expect("it has read the run");
        let settles = self.class != EffectClass::Unprotected && worker.again < ASKED_AGAIN;
        let over = seen.run().is_some_and(|run| run.outcome().is_some());
        match worker.phase() {
            StepPhase::Unknown { .. } if settles => {
                let left = if self.has(Protection::SettleWindow) { SETTLE } else { 0 };
                world.workers[no].at = At::Settling { left };
            }
            _ if over => {
                if self.order(world, no, Wish::Finish, Luck::Good) {
                    world.lease = world.lease.filter(|lease| lease.holder != Some(no));
                    world.workers[no].leave();
                }
            }
            StepPhase::Planned => {
                world.workers[no].at = At::Looked { moved: world.effects > 0 };
            }
            StepPhase::Reconciled { finding: Finding::NotApplied, .. } => {
                let moved = self.has(Protection::ReadBack) && world.effects > 0;
                world.workers[no].at = At::Looked { moved };
            }
            // Another epoch's: it may have been sent or not.
            StepPhase::Intended(_) => self.report(world, no, Wish::LoseSight, Luck::Good),
            StepPhase::Succeeded(_) | StepPhase::Reconciled { finding: Finding::Applied, .. } => {
                world.workers[no].at = At::Read { satisfied: world.effects > 0 };
            }
            StepPhase::Verified(_)
            | StepPhase::Unverified { .. }
            | StepPhase::Failed { .. }
            | StepPhase::Unknown { .. }
            | StepPhase::Reconciled { .. }
            | StepPhase::Blocked { .. } => panic!("it is over: {seen:?}"),
        }
    }

    fn settle(self, world: &mut World, no: usize) {
        if !self.has(Protection::ReadBack) {
            world.workers[no].at = At::Found(Finding::NotApplied);
        } else if self.class == EffectClass::Keyed {
            if self.is_certain(world, no) {
                world.workers[no].again += 1;
                world.workers[no].at = At::Sending;
            }
        } else {
            world.workers[no].at = At::Found(match world.effects {
                0 => Finding::NotApplied,
                1 => Finding::Applied,
                _ => Finding::Conflict,
            });
        }
    }

    pub fn give_up(self, world: &mut World, no: usize) {
        if world.workers[no].again > 0 {
            world.workers[no].at = At::Ready;
        } else if self.has(Protection::IntentFirst) {
            self.report(world, no, Wish::LoseSight, Luck::Good);
        } else {
            world.workers[no].leave();
        }
    }

    /// Right before an effect may happen: whether nobody else can have the run. If not, it is left alone.
    fn is_certain(self, world: &mut World, no: usize) -> bool {
        let certain = !self.has(Protection::Deadline) || world.workers[no].certain > 0;
        if !certain {
            world.workers[no].leave();
        }
        certain
    }

    fn report(self, world: &mut World, no: usize, wish: Wish, luck: Luck) {
        if self.order(world, no, wish, luck) {
            world.workers[no].at = At::Ready;
        }
    }

    fn order(self, world: &mut World, no: usize, wish: Wish, luck: Luck) -> bool {
        let worker = &world.workers[no];
        let epoch = match (wish, self.has(Protection::EpochFence)) {
            (Wish::Claim, true) => worker.seen.as_ref().map_or(0, Known::epoch),
            (_, true) => worker.epoch,
            // The log takes it for an order of the newest.
            (_, false) => world.log.epoch(),
        };
        Self::tell(world, no, order(wish, 0, epoch, luck))
    }
}
