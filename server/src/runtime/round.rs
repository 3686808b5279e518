//! One round over a batch: what the parts that are carried out at the same time know of each other, and what
//! they look at while they wait for their turn at a target.
//!
//! Who waits may hold up others, in the same batch as well. So a part that was not begun gives its turn up
//! when its rollout is paused, and ends when no part is to be begun any more.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nexplane_core::aggregate::Reject as _;
use nexplane_core::rollout::event::Tally;
use nexplane_core::rollout::{Hold as Brake, Rolling, Rollout, RolloutState};
use nexplane_core::run::event::Reason;
use nexplane_core::run::{Held, RunCommand, RunRejection, Running};

use super::engine::{Hold, Left, PartOf};
use super::step::STOPPED;
use crate::stream;

const TOO_BAD: &str = "more did not end well than was agreed.";

/// What the parts of a batch know of each other.
#[derive(Debug)]
pub(super) struct Round<'a> {
    rolling: &'a Rolling,
    /// Parts of the batch that did not end well.
    bad: AtomicU32,
    /// One of them was left for later.
    is_left: AtomicBool,
    /// Something was intended in the rollout: it is not to begin any more.
    has_begun: AtomicBool,
}

impl<'a> Round<'a> {
    /// `bad` ended already, and not well.
    pub(super) const fn new(rolling: &'a Rolling, bad: u32, has_begun: bool) -> Self {
        let (is_left, has_begun) = (AtomicBool::new(false), AtomicBool::new(has_begun));
        Self { rolling, bad: AtomicU32::new(bad), is_left, has_begun }
    }

    /// A part of it was intended.
    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    pub(super) fn count_bad(&self) {
        self.bad.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// This worker goes on with none that it is not in the middle of.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }

    /// Why no part is begun any more, although nobody has stopped the rollout yet: that happens as soon as the
    /// batch has ended.
    pub(super) fn held(&self) -> Option<Held> {
        let failed = self.bad.load(Ordering::Relaxed);
        let so_far = Tally { failed, ..Tally::default() };
        let reason = || TOO_BAD.to_owned();
        self.rolling.is_too_bad(so_far, 0).then(|| Held::Stopped { reason: reason() })
    }
}

/// Why a rollout in this state begins nothing.
pub(super) fn brake(state: RolloutState) -> Option<Held> {
    match state {
        RolloutState::Rolling(rolling) => match rolling.hold {
            Brake::Free => None,
            Brake::Paused { .. } => Some(Held::Paused),
            Brake::Stopped { reason } => Some(Held::Stopped { reason }),
        },
        RolloutState::Absent | RolloutState::Finished(..) => {
            Some(Held::Stopped { reason: "it is over".to_owned() })
        }
    }
}

impl Hold<'_> {
    /// Whether a part that waits is not to wait any longer: the run as it then is, when it was stopped.
    /// Another run waits until it may not begin any more; its step then says so.
    pub(super) async fn gives_up(&self, run: &Running) -> Result<Option<Running>, Left> {
        let Some(PartOf { rollout, round, .. }) = self.part else {
            return Ok(self.refusal(run).await?.map(|_| run.clone()));
        };
        if round.is_left() {
            return Err(Left::Leaving);
        }
        if run.has_begun {
            return Ok(None);
        }
        let state = stream::load::<Rollout>(&self.targets.log, rollout.into()).await?.state;
        let no = match brake(state).or_else(|| round.held()) {
            None => {
                return match self.refusal(run).await? {
                    None => Ok(None),
                    Some(no) => Err(Left::NotBegun(no.to_string())),
                };
            }
            Some(Held::Paused) => return Err(Left::Paused),
            Some(Held::Stopped { reason }) => RunRejection::Stopped { reason },
        };
        debug_assert_eq!(no.code().rsplit('.').next(), Some(STOPPED));
        self.time_left()?;
        let reason = Reason { kind: STOPPED.to_owned(), message: no.to_string() };
        let (epoch, nothing) = (self.epoch, Vec::new);
        let (before, after, now) = (nothing(), nothing(), nothing());
        let command = RunCommand::Block { step: 0, epoch, before, after, now, reason };
        self.tell(command).await.map(Some)
    }
}
